//! The parent on a server that has roles: it should hold nothing but the right to assume its role. What it can reach by
//! itself, it reaches without a lease, without a policy and without a row.

use reqwest::Method;

use super::super::s3::{S3Answer, S3Key, S3Request};
use super::Run;
use super::account::NO_PARENT;
use super::check::Verdict;

const IAM: &str = "2010-05-08";

impl Run<'_> {
    /// What the parent reaches without assuming anything.
    pub(super) async fn parent_holds_nothing(&self) -> Verdict {
        const ADVICE: &str = "take every right from the parent but the one to assume its role: SeaweedFS with empty actions, \
                              AWS with sts:AssumeRole alone";
        const OWNER: &str = "on Ceph what a session writes belongs to the parent, so it may have to own buckets; keep it from \
                             making more with radosgw-admin user modify --max-buckets=-1, and let no workload have its key";
        let mut deeds = Vec::new();
        let mut unknown = Vec::new();
        let Some(parent) = &self.subject.parent else { return Verdict::not_applicable(NO_PARENT) };
        let object = self.outside_name();
        let tried = format!("{}-p", self.scratch_name());
        for (deed, request) in [
            ("list the bucket", self.listing("")),
            ("write into it", self.on(Method::PUT, &object).body(*b"x")),
            ("make buckets", S3Request::bucket(Method::PUT, &tried)),
        ] {
            match self.send(parent, request).await {
                Ok(answer) if answer.is_success() => deeds.push(deed),
                Ok(answer) if answer.is_refusal() => {}
                Ok(answer) => unknown.push(format!("{deed}: {}", answer.told())),
                Err(error) => unknown.push(format!("{deed}: {error}")),
            }
        }
        let mut left = Vec::new();
        for (made, request) in [
            ("write into it", self.on(Method::DELETE, &object)),
            ("make buckets", S3Request::bucket(Method::DELETE, &tried)),
        ] {
            if deeds.contains(&made) && !self.send(parent, request).await.is_ok_and(|answer| answer.is_success()) {
                left.push(made);
            }
        }
        if !left.is_empty() {
            return Verdict::failed(format!("it may {}; REMOVE {tried} and {object} by hand", left.join(", ")), ADVICE);
        }
        match (deeds.is_empty(), unknown.is_empty(), self.subject.traits.sessions_write_as_parent) {
            (true, true, _) => {
                Verdict::passed("without assuming its role it may neither list, nor write, nor make buckets")
            }
            (true, false, _) => Verdict::noted(format!("not known: {}", unknown.join("; ")), ADVICE),
            (false, _, true) => Verdict::noted(format!("without assuming its role it may {}", deeds.join(", ")), OWNER),
            (false, _, false) => {
                Verdict::failed(format!("without assuming its role it may {}", deeds.join(", ")), ADVICE)
            }
        }
    }

    /// Whether the parent is shown the server's users and roles.
    pub(super) async fn reads_no_accounts(&self) -> Verdict {
        const ADVICE: &str = "the parent administers the server: take its IAM rights, on Ceph its caps, away";
        let Some(parent) = &self.subject.parent else { return Verdict::not_applicable(NO_PARENT) };
        let mut told = Vec::new();
        // Not its own keys, which SeaweedFS lists, without their secrets.
        for action in ["ListUsers", "ListRoles"] {
            match self.iam(parent, &[("Action", action)]).await {
                Ok(answer) if answer.is_success() => return Verdict::failed(format!("IAM answers {action}"), ADVICE),
                Ok(answer) => told.push(answer.told()),
                Err(error) => return Verdict::noted(format!("not known: {action}: {error}"), ADVICE),
            }
        }
        // Ceph's own API, which shows secret keys; elsewhere it is a bucket of this name.
        for path in ["/admin/user", "/admin/metadata/user"] {
            match self.send(parent, S3Request::path(Method::GET, path)).await {
                Ok(answer) if answer.is_success() => return Verdict::failed(format!("it may read {path}"), ADVICE),
                Ok(answer) => told.push(answer.told()),
                Err(error) => return Verdict::noted(format!("not known: {path}: {error}"), ADVICE),
            }
        }
        told.dedup();
        Verdict::passed(format!("it is shown neither users nor roles ({})", told.join(", ")))
    }

    /// Tries to make a key that does not end, and a user; and removes what came of it.
    pub(super) async fn makes_no_accounts(&self, key: &S3Key) -> Verdict {
        const ADVICE: &str = "take its IAM rights away: a permanent key outlives every lease";
        let user = self.scratch_name();
        let mut told = Vec::new();
        for (what, fields) in [
            ("a permanent key", &[("Action", "CreateAccessKey")][..]),
            ("a user", &[("Action", "CreateUser"), ("UserName", user.as_str())]),
        ] {
            match self.iam(key, fields).await {
                Ok(answer) if answer.is_success() => {
                    let removed = self.remove_made(key, &answer, &user).await;
                    return Verdict::failed(format!("it made {what}; {removed}"), ADVICE);
                }
                Ok(answer) if answer.status() >= 500 && answer.status() != 501 => {
                    return Verdict::noted(format!("{what}: neither made nor refused: {}", answer.told()), ADVICE);
                }
                Ok(answer) => told.push(answer.told()),
                Err(error) => return Verdict::noted(format!("not known: {what}: {error}"), ADVICE),
            }
        }
        told.dedup();
        Verdict::passed(format!("neither a key nor a user is made for it ({})", told.join(", ")))
    }

    /// Whoever could make it may remove it, and otherwise an administrator.
    async fn remove_made(&self, maker: &S3Key, made: &S3Answer, user: &str) -> String {
        let key = made.xml("CreateAccessKeyResponse").ok();
        let key = key.as_ref().and_then(|answer| answer.child("CreateAccessKeyResult")?.child("AccessKey"));
        let (id, owner) = (key.and_then(|key| key.text_of("AccessKeyId")), key.and_then(|key| key.text_of("UserName")));
        let mut fields = match id {
            Some(id) => vec![("Action", "DeleteAccessKey"), ("AccessKeyId", id)],
            None => vec![("Action", "DeleteUser"), ("UserName", user)],
        };
        fields.extend(owner.filter(|owner| !owner.is_empty()).map(|owner| ("UserName", owner)));
        for remover in [Some(maker), self.subject.administrator.as_ref()].into_iter().flatten() {
            if self.iam(remover, &fields).await.is_ok_and(|answer| answer.is_success()) {
                return "it was deleted".to_owned();
            }
        }
        format!("DELETE IT: {}", id.unwrap_or(user))
    }

    async fn iam(&self, key: &S3Key, fields: &[(&str, &str)]) -> Result<S3Answer, String> {
        let mut form = vec![("Version", IAM)];
        form.extend(fields);
        self.send(key, S3Request::sts(&form)).await
    }
}
