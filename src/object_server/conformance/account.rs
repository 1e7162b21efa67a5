//! The parent: a user like any other, and far from an administrator. A minter that is more than that makes every lease
//! worth more than its policy.

use super::super::escape::{KeyAttempt, try_permanent_key};
use super::super::minio_admin::{AdminError, MinioAdmin, SecretRead};
use super::super::s3::{S3Error, S3Key};
use super::check::Verdict;
use super::{Accounts, Run};

pub(super) const NO_PARENT: &str = "this server has no parent: leases are made with a token";

impl Run<'_> {
    pub(super) async fn parent_is_a_user(&self) -> Verdict {
        const ADVICE: &str = "make a built-in user for stint (`stint object-server bootstrap` does): root's sessions may do \
                              everything, and a service account may not mint";
        if self.subject.traits.role_arn.is_some() {
            return self.parent_holds_nothing().await;
        }
        if self.subject.traits.accounts != Accounts::MinioAdmin {
            return Verdict::not_applicable("this server tells nobody what a key is");
        }
        let Some(parent) = &self.subject.parent else { return Verdict::not_applicable(NO_PARENT) };
        match self.admin(parent).user(parent.access_key()).await {
            Ok(Some(user)) => Verdict::passed(format!("a built-in user under the policy {}", told(&user.policies))),
            Ok(None) => Verdict::failed("it is no built-in user: it is root, or a service account", ADVICE),
            Err(error) => Verdict::noted(format!("not known: {error}"), ADVICE),
        }
    }

    pub(super) async fn parent_reads_no_secrets(&self) -> Verdict {
        const ADVICE: &str = "take the admin actions out of the parent's policy that let it: docs/deploy/parent-policy.json \
                              names the ones it may have, and never admin:*";
        match self.subject.traits.accounts {
            Accounts::MinioAdmin => {}
            Accounts::Iam => return self.reads_no_accounts().await,
            Accounts::Elsewhere => {
                return Verdict::not_applicable("this server has no admin API that shows secrets to a key");
            }
        }
        let Some(parent) = &self.subject.parent else { return Verdict::not_applicable(NO_PARENT) };
        let mut unknown = Vec::new();
        for (what, name) in [
            (SecretRead::Accounts, "every user and its secret (admin:ExportIAM)"),
            (SecretRead::Backend, "raw files of the backend (admin:InspectData)"),
            (SecretRead::Configuration, "the configuration with its secrets (admin:ConfigUpdate)"),
        ] {
            match self.admin(parent).try_read(what).await {
                Ok(answer) if answer.is_refusal() => {}
                Ok(answer) if answer.is_success() => return Verdict::failed(format!("it may read {name}"), ADVICE),
                // Longer than anything it may read.
                Err(AdminError::Call(S3Error::TooLarge { .. })) => {
                    return Verdict::failed(format!("it may read {name}"), ADVICE);
                }
                Ok(answer) => unknown.push(format!("{name}: {}", answer.told())),
                Err(error) => unknown.push(format!("{name}: {error}")),
            }
        }
        if unknown.is_empty() {
            Verdict::passed("it may read neither the users, nor the backend, nor the configuration")
        } else {
            Verdict::noted(format!("not known: {}", unknown.join("; ")), ADVICE)
        }
    }

    pub(super) async fn parent_makes_no_keys(&self) -> Verdict {
        match &self.subject.parent {
            Some(parent) => self.makes_no_keys(parent).await,
            None => Verdict::not_applicable(NO_PARENT),
        }
    }

    /// Tries to make a permanent key of the parent with this key, and removes it if that worked.
    pub(super) async fn makes_no_keys(&self, key: &S3Key) -> Verdict {
        const ADVICE: &str = "deny admin:CreateServiceAccount in the parent's policy: a permanent key outlives every lease \
                              (CVE-2025-62506)";
        match self.subject.traits.accounts {
            Accounts::MinioAdmin => {}
            Accounts::Iam => return self.makes_no_accounts(key).await,
            Accounts::Elsewhere => return Verdict::not_applicable("this server has no such API for a key of its own"),
        }
        let others: Vec<&S3Key> = self.subject.parent.iter().chain(&self.subject.administrator).collect();
        match try_permanent_key(&self.subject.client, key, &others).await {
            KeyAttempt::Refused(told) => Verdict::passed(format!("refused: {told}")),
            KeyAttempt::Imagined(told) => Verdict::noted(format!("answered {told}, but there is no such key"), ADVICE),
            KeyAttempt::Made(removed) => {
                Verdict::failed(format!("it made a permanent key of the parent; {removed}"), ADVICE)
            }
            KeyAttempt::Neither { told, .. } => Verdict::noted(format!("neither made nor refused: {told}"), ADVICE),
            KeyAttempt::Unknown(told) => Verdict::failed(told, ADVICE),
        }
    }

    fn admin<'s>(&'s self, key: &'s S3Key) -> MinioAdmin<'s> {
        MinioAdmin { client: &self.subject.client, key }
    }
}

/// A server's text, for a line.
fn told(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(128).collect()
}
