//! The few calls of MinIO's admin API that `bootstrap`, `verify` and `rotate` need: the parent user, its policy, and the two things
//! that a parent and its sessions must never be able to do; and the listing of temporary keys that `reconcile` needs. Signed
//! like S3; some bodies are encrypted with the secret of whoever calls.

mod opened_body;
mod sealed_body;
mod temporary_keys;

use aws_lc_rs::rand::fill;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use sealed_body::Unsealable;
use sealed_body::seal;
pub(super) use temporary_keys::MinioLister;

use super::s3::{S3Answer, S3Client, S3Error, S3Key, S3Request};

const ADMIN: &str = "/minio/admin/v3";

/// The admin API as one caller.
#[derive(Debug)]
pub(super) struct MinioAdmin<'a> {
    pub(super) client: &'a S3Client,
    pub(super) key: &'a S3Key,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// No answer.
    #[error(transparent)]
    Call(#[from] S3Error),
    /// The body could not be encrypted.
    #[error(transparent)]
    Unsealable(#[from] Unsealable),
    /// The server refused.
    #[error("{what}: {told}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Status and code.
        told: String,
    },
    /// The answer is not what its status promises.
    #[error("{what}: the answer makes no sense")]
    Nonsense {
        /// What was asked.
        what: &'static str,
    },
}

/// A built-in user.
#[derive(Debug, Deserialize)]
pub(super) struct UserInfo {
    /// Its policies, separated by commas.
    #[serde(rename = "policyName", default)]
    pub(super) policies: String,
    /// `enabled` or `disabled`.
    #[serde(default)]
    pub(super) status: String,
    /// The groups whose policies it has too.
    #[serde(rename = "memberOf", default)]
    pub(super) groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyInfo {
    policy: Value,
}

impl MinioAdmin<'_> {
    /// A user, or nothing when there is none of this name: root and service accounts are none.
    pub(super) async fn user(&self, name: &str) -> Result<Option<UserInfo>, AdminError> {
        const WHAT: &str = "reading the user";
        let answer = self.call(Method::GET, "user-info", &[("accessKey", name)], Vec::new()).await?;
        if answer.status() == 404 && answer.code().as_deref() == Some("XMinioAdminNoSuchUser") {
            return Ok(None);
        }
        let answer = succeeded(WHAT, answer)?;
        serde_json::from_slice(answer.body()).map(Some).map_err(|_| AdminError::Nonsense { what: WHAT })
    }

    /// Makes a user, or gives one another secret.
    pub(super) async fn put_user(&self, name: &str, secret: &SecretString) -> Result<(), AdminError> {
        let body = json!({"secretKey": secret.expose_secret(), "status": "enabled"});
        let body = seal(self.key.secret_key(), body.to_string().as_bytes())?;
        succeeded("writing the user", self.call(Method::PUT, "add-user", &[("accessKey", name)], body).await?)?;
        Ok(())
    }

    /// Enables or disables a user, and with it all its sessions.
    pub(super) async fn set_status(&self, name: &str, enabled: bool) -> Result<(), AdminError> {
        let query = [("accessKey", name), ("status", if enabled { "enabled" } else { "disabled" })];
        let answer = self.call(Method::PUT, "set-user-status", &query, Vec::new()).await?;
        succeeded("changing the user's status", answer)?;
        Ok(())
    }

    /// Deletes a user.
    pub(super) async fn delete_user(&self, name: &str) -> Result<(), AdminError> {
        let answer = self.call(Method::DELETE, "remove-user", &[("accessKey", name)], Vec::new()).await?;
        succeeded("deleting the user", answer)?;
        Ok(())
    }

    /// A named policy, or nothing when there is none.
    pub(super) async fn policy(&self, name: &str) -> Result<Option<Value>, AdminError> {
        const WHAT: &str = "reading the policy";
        let query = [("name", name), ("v", "2")];
        let answer = self.call(Method::GET, "info-canned-policy", &query, Vec::new()).await?;
        if answer.status() == 404 && answer.code().as_deref() == Some("XMinioAdminNoSuchPolicy") {
            return Ok(None);
        }
        let answer = succeeded(WHAT, answer)?;
        let info: Result<PolicyInfo, _> = serde_json::from_slice(answer.body());
        info.map(|info| Some(info.policy)).map_err(|_| AdminError::Nonsense { what: WHAT })
    }

    /// Writes a named policy.
    pub(super) async fn put_policy(&self, name: &str, policy: &Value) -> Result<(), AdminError> {
        let body = policy.to_string().into_bytes();
        succeeded("writing the policy", self.call(Method::PUT, "add-canned-policy", &[("name", name)], body).await?)?;
        Ok(())
    }

    /// Makes these the user's only policies, separated by commas.
    pub(super) async fn set_policies(&self, user: &str, policies: &str) -> Result<(), AdminError> {
        let query = [("policyName", policies), ("userOrGroup", user), ("isGroup", "false")];
        succeeded(
            "giving the user its policy",
            self.call(Method::PUT, "set-user-or-group-policy", &query, Vec::new()).await?,
        )?;
        Ok(())
    }

    /// Tries to make a permanent key of the caller. It must be refused; when it is not, the caller deletes it.
    pub(super) async fn try_permanent_key(&self, trial: &TrialKey) -> Result<S3Answer, AdminError> {
        let body = json!({"accessKey": trial.access_key, "secretKey": trial.secret_key.expose_secret()});
        let body = seal(self.key.secret_key(), body.to_string().as_bytes())?;
        Ok(self.call(Method::PUT, "add-service-account", &[], body).await?)
    }

    /// Deletes a permanent key.
    pub(super) async fn delete_permanent_key(&self, access_key: &str) -> Result<(), AdminError> {
        let query = [("accessKey", access_key)];
        let answer = self.call(Method::DELETE, "delete-service-account", &query, Vec::new()).await?;
        succeeded("deleting the key", answer)?;
        Ok(())
    }

    /// A read that shows the secrets of others: every user, every key, or raw files of the backend.
    pub(super) async fn try_read(&self, what: SecretRead) -> Result<S3Answer, AdminError> {
        let (call, query): (&str, &[(&str, &str)]) = match what {
            SecretRead::Accounts => ("export-iam", &[]),
            SecretRead::Backend => ("inspect-data", &[("volume", ".minio.sys"), ("file", "format.json")]),
            SecretRead::Configuration => ("config", &[]),
        };
        Ok(self.call(Method::GET, call, query, Vec::new()).await?)
    }

    async fn call(
        &self,
        method: Method,
        call: &str,
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<S3Answer, S3Error> {
        let request = S3Request::path(method, &format!("{ADMIN}/{call}")).query(query).body(body);
        self.client.send(self.key, &request).await
    }
}

/// A permanent key that must not come to be. If it does, nobody knows its secret.
#[derive(Debug)]
pub(super) struct TrialKey {
    access_key: String,
    secret_key: SecretString,
}

impl TrialKey {
    pub(super) fn draw() -> Result<Self, Unsealable> {
        let mut bytes = [0; 25];
        fill(&mut bytes).map_err(|_| Unsealable)?;
        let text = hex::encode(bytes);
        let (name, secret) = text.split_at(10);
        Ok(Self { access_key: format!("STINTTRIAL{name}"), secret_key: SecretString::from(secret) })
    }

    pub(super) fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Whether the server knows it: a yes to making it is worth as much as any other yes. `None` if it does not say.
    pub(super) async fn is_known_to(&self, client: &S3Client) -> Option<bool> {
        let key = S3Key::long_lived(SecretString::from(self.access_key.as_str()), self.secret_key.clone());
        let answer = client.send(&key, &S3Request::service(Method::GET)).await.ok()?;
        match answer.code() {
            Some(code) => Some(code != "InvalidAccessKeyId"),
            None => answer.xml("ListAllMyBucketsResult").is_ok().then_some(true),
        }
    }
}

/// What no parent may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretRead {
    /// Every user with its secret (`admin:ExportIAM`).
    Accounts,
    /// Raw files of the backend (`admin:InspectData`).
    Backend,
    /// The server's configuration, with its secrets (`admin:ConfigUpdate`).
    Configuration,
}

fn succeeded(what: &'static str, answer: S3Answer) -> Result<S3Answer, AdminError> {
    if answer.is_success() { Ok(answer) } else { Err(AdminError::Refused { what, told: answer.told() }) }
}
