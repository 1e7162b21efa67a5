//! What a lease must not be good for: anything outside of its policy, or anything without its own session token.

use reqwest::Method;

use super::super::s3::{S3Answer, S3Key, S3Request};
use super::check::{Tried, Verdict, judged};
use super::data::pattern;
use super::mint::Minted;
use super::{Run, SessionTokens};
use crate::lease::Rights;

impl Run<'_> {
    pub(super) async fn outside(&self, key: &S3Key) -> Verdict {
        const ADVICE: &str = "DO NOT USE IT: the server does not hold sessions to their policy, and every lease is as wide as the parent";
        match (self.subject.server.capabilities().rights, &self.subject.other_bucket) {
            (Rights::SessionPolicy, _) => judged(self.try_outside(key).await, ADVICE),
            (Rights::WholeBuckets(_), Some(other)) => judged(self.try_other_bucket(key, other).await, ADVICE),
            (Rights::WholeBuckets(_), None) => Verdict::noted(
                "not tried: leases hold whole buckets here, and there is no other bucket to try",
                "name a second bucket in buckets.toml",
            ),
        }
    }

    /// Another bucket, and the settings of its own, which whole buckets do not come with.
    async fn try_other_bucket(&self, key: &S3Key, other: &str) -> Tried<String> {
        let secret = self.outside_name();
        let at = |method| S3Request::object(method, other, &secret);
        let copy_source = format!("/{other}/{secret}");
        let copy = self.on(Method::PUT, &self.inside("copied")).header("x-amz-copy-source", &copy_source);
        let list = S3Request::bucket(Method::GET, other).query(&[("list-type", "2"), ("max-keys", "1")]);
        let own = |method| S3Request::bucket(method, &self.subject.bucket);
        for (deed, request) in [
            ("reading another bucket", at(Method::GET)),
            ("writing into another bucket", at(Method::PUT).body(*b"x")),
            ("copying from another bucket", copy),
            ("listing another bucket", list),
            ("deleting in another bucket", at(Method::DELETE)),
            ("reading its own bucket's lifecycle", own(Method::GET).query(&[("lifecycle", "")])),
            ("reading its own bucket's website", own(Method::GET).query(&[("website", "")])),
        ] {
            match self.send(key, request).await? {
                answer if answer.is_refusal() => {}
                answer if answer.is_success() => return Err(format!("{deed} was allowed")),
                answer => return Err(format!("{deed} was not refused but answered {}", answer.told())),
            }
        }
        Ok("reading, writing, copying, listing and deleting in another bucket are refused; leases hold whole buckets here"
            .to_owned())
    }

    async fn try_outside(&self, key: &S3Key) -> Tried<String> {
        let secret = self.outside_name();
        let placed = self.place(&secret).await;
        let copy_source = format!("/{}/{secret}", self.subject.bucket);
        let copy = self.on(Method::PUT, &self.inside("copied")).header("x-amz-copy-source", &copy_source);
        for (deed, request) in [
            ("reading another prefix", self.on(Method::GET, &secret)),
            ("writing into another prefix", self.on(Method::PUT, &secret).body(*b"x")),
            ("copying from another prefix", copy),
            ("listing another prefix", self.listing(&format!("{}outside/", self.prefix))),
            ("listing the whole bucket", self.listing("")),
            ("deleting in another prefix", self.on(Method::DELETE, &secret)),
        ] {
            match self.send(key, request).await? {
                answer if answer.is_refusal() => {}
                answer if answer.is_success() => return Err(format!("{deed} was allowed")),
                answer => return Err(format!("{deed} was not refused but answered {}", answer.told())),
            }
        }
        let there = if placed { "" } else { " (reading: of an object that is not there, for none could be placed)" };
        Ok(format!("reading, writing, copying, listing and deleting elsewhere are refused{there}"))
    }

    /// Puts an object where the lease must not reach, as somebody who may.
    async fn place(&self, name: &str) -> bool {
        for key in [self.subject.parent.as_ref(), self.subject.administrator.as_ref()].into_iter().flatten() {
            let put = self.send(key, self.on(Method::PUT, name).body(pattern(10))).await;
            if put.is_ok_and(|answer| answer.is_success()) {
                return true;
            }
        }
        false
    }

    pub(super) async fn token_is_needed(&self, one: &Minted, other: &Minted) -> Verdict {
        if self.subject.traits.session_tokens == SessionTokens::Unknown {
            return Verdict::noted(
                "this server has no session tokens: an access key and its secret are all there is",
                "whoever sees both needs nothing else until the lease ends: revoke it",
            );
        }
        judged(
            self.try_tokens(one, other).await,
            "DO NOT USE IT: whoever sees an access key and its secret in a URL or a log needs nothing else",
        )
    }

    async fn try_tokens(&self, one: &Minted, other: &Minted) -> Tried<String> {
        let name = self.inside("shared");
        let read = || self.on(Method::GET, &name);
        let whole = self.send(&one.key, read()).await?;
        if !whole.is_success() {
            return Err(format!("the whole key reads nothing either: {}", whole.told()));
        }
        let (bare, mixed) = (one.key.without_token(), one.key.with_token_of(&other.key));
        let mut told = Vec::new();
        for (what, answer) in [
            ("without its token", self.send(&bare, read()).await?),
            ("with the token of another lease", self.send(&mixed, read()).await?),
            ("in a URL without its token", self.url(&bare, &name).await?),
            ("in a URL with the token of another lease", self.url(&mixed, &name).await?),
        ] {
            // Which client error it is differs between servers, and does not matter.
            let faulted = answer.status() == 500 && self.subject.traits.session_tokens == SessionTokens::Faulted;
            if !faulted && !(400..500).contains(&answer.status()) {
                return Err(format!("{what} the key was answered {}", answer.told()));
            }
            told.push(answer.told());
        }
        told.dedup();
        // A server that is out of order answers 500 to whole keys too, and shows nothing about tokens.
        let again = self.send(&one.key, read()).await?;
        if !again.is_success() {
            return Err(format!("the whole key reads no longer: {}", again.told()));
        }
        Ok(format!("without its token, or with another's, a key is refused ({})", told.join(", ")))
    }

    async fn url(&self, key: &S3Key, name: &str) -> Tried<S3Answer> {
        let read = self.subject.client.read_presigned(key, &self.on(Method::GET, name)).await;
        read.map_err(|error| error.to_string())
    }
}
