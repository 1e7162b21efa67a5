//! The server as a stranger sees it: ready, on time, and with no sign-on of its own.

use reqwest::Method;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::super::s3::S3Request;
use super::Run;
use super::check::Verdict;

/// A clock off by this much is worth a look.
const WORTH_A_LOOK: time::Duration = time::Duration::seconds(5);
/// And by this much it breaks things: leases would end a minute early, or be refused as ending too late.
const TOO_MUCH: time::Duration = time::Duration::minutes(1);
/// A token that no issuer signed.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzdGludC12ZXJpZnkifQ.c3RpbnQ";

impl Run<'_> {
    pub(super) async fn ready(&self) -> Verdict {
        match self.subject.server.ready().await {
            Ok(()) => Verdict::passed("it answers, and says that it is ready"),
            Err(error) => {
                Verdict::failed(error.to_string(), "look at object_server.endpoint, and whether the server is up")
            }
        }
    }

    pub(super) async fn clock_skew(&self) -> Verdict {
        const ADVICE: &str = "run NTP on both machines: signatures and the ends of leases depend on it";
        let request = S3Request::service(Method::GET);
        let before = self.subject.clock.now();
        let client = &self.subject.client;
        let asked = match &self.subject.parent {
            Some(parent) => client.send(parent, &request).await,
            None => client.send_unsigned(&request).await,
        };
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => return Verdict::failed(error.to_string(), ADVICE),
        };
        let theirs = answer.header("date").and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
        let Some(theirs) = theirs else { return Verdict::noted("the server sends no Date", ADVICE) };
        // Between sending and receiving, and the header's whole second.
        let ours = before + answer.took() / 2;
        let skew = (theirs + time::Duration::milliseconds(500) - ours).abs();
        let seen = format!("{:.0} s apart", skew.as_seconds_f64());
        match skew {
            skew if skew >= TOO_MUCH => Verdict::failed(seen, ADVICE),
            skew if skew >= WORTH_A_LOOK => Verdict::noted(seen, ADVICE),
            _ => Verdict::passed(seen),
        }
    }

    /// A server that takes tokens itself mints without `stint`, without its policies and without a row.
    pub(super) async fn web_identity(&self) -> Verdict {
        const ADVICE: &str = "the server has a sign-on of its own: whoever gets a token past it gets credentials that stint \
                              neither bounds nor records (MinIO up to 2025-10-15 takes HS256 tokens signed with the client \
                              secret, CVE-2026-33322); take identity_openid out, or know that it stands beside stint";
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleSessionName", "stint-verify"),
            ("WebIdentityToken", TOKEN),
        ];
        let mut form = form.to_vec();
        form.extend(self.subject.traits.role_arn.as_deref().map(|arn| ("RoleArn", arn)));
        let answer = match self.subject.client.send_unsigned(&S3Request::sts(&form)).await {
            Ok(answer) => answer,
            Err(error) => return Verdict::failed(error.to_string(), ADVICE),
        };
        if answer.is_success() {
            return Verdict::failed("it took a token that nobody signed", ADVICE);
        }
        let message = answer.message().unwrap_or_default();
        // MinIO, when no provider goes by a claim: the role that stands for it does not exist.
        let off = message.contains("role/dummy-internal does not exist") || answer.status() == 501;
        if off {
            return Verdict::passed(
                "no provider of its own that goes by a claim; one bound to a role's ARN cannot be seen from here",
            );
        }
        Verdict::noted(format!("a token that nobody signed was refused with {}", answer.told()), ADVICE)
    }
}
