//! RustFS (1.0.1): MinIO's `AssumeRole` as a built-in user. It shortens a length silently,
//! and its revocation ends all sessions of a parent or, when a type is given, none: one lease cannot be ended alone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::StatusCode;

use super::minio_admin::MinioLister;
use super::minting::Minting;
use super::s3::S3Key;
use super::sts_call::{StsCaller, refusal};
use super::{
    ConfigError, LeaseToEnd, ObjectServer, ObjectServerError, ParentListing, ServerSettings, TemporaryCredentials,
    minio,
};
use crate::audit::{AuditReceipt, KeyFingerprint};
use crate::clock::Clock;
use crate::lease::{
    AssumeRole, Beyond, Capabilities, Conditions, Durations, OnUnknownAction, PolicyLanguage, Revocation, Rights,
    SessionName,
};

/// Answers 503 until its users are loaded and its disks are there.
const HEALTH: &str = "/health/ready";

/// S3 actions for which 1.0.1 refuses a policy. It calls encryption and lifecycle by other names than AWS does.
const UNKNOWN_ACTIONS: &[&str] = &[
    "s3:DeleteBucketWebsite",
    "s3:GetAccelerateConfiguration",
    "s3:GetBucketCORS",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketQOS",
    "s3:GetBucketRequestPayment",
    "s3:GetBucketWebsite",
    "s3:GetEncryptionConfiguration",
    "s3:GetInventoryConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetObjectTorrent",
    "s3:GetObjectVersionAcl",
    "s3:HeadObject",
    "s3:PutAccelerateConfiguration",
    "s3:PutBucketCORS",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketQOS",
    "s3:PutBucketRequestPayment",
    "s3:PutBucketWebsite",
    "s3:PutEncryptionConfiguration",
    "s3:PutInventoryConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutObjectVersionAcl",
];

/// A RustFS server.
#[derive(Debug)]
pub struct RustfsServer {
    caller: StsCaller,
    parent: String,
    lister: MinioLister,
    capabilities: Capabilities,
}

impl RustfsServer {
    /// Prepares the client; connects to nothing.
    pub fn new(settings: ServerSettings, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let parent = settings.access_key.clone();
        let lister = MinioLister::new(&settings, Arc::clone(&clock))?;
        Ok(Self { caller: StsCaller::new(settings, clock)?, parent, lister, capabilities: capabilities() })
    }

    /// As [`MinioServer::listing_as`](super::MinioServer::listing_as).
    #[must_use]
    pub fn listing_as(self, key: S3Key) -> Self {
        Self { lister: self.lister.asking_as(key), ..self }
    }
}

#[async_trait]
impl ObjectServer for RustfsServer {
    async fn assume_role(
        &self,
        receipt: &AuditReceipt,
        request: &AssumeRole,
    ) -> Result<TemporaryCredentials, ObjectServerError> {
        self.caller.mint(&Minting::on_record(receipt, request)?, &[]).await
    }

    /// `revoke-tokens` with a type answers 200 and revokes nothing, and without one ends every session of the parent
    /// (`src/admin/handlers/idp_compat.rs`): neither is asked for.
    async fn revoke(&self, _: &LeaseToEnd) -> Result<(), ObjectServerError> {
        Err(ObjectServerError::NotRevocable { smallest: Revocation::Parent })
    }

    /// Every session of the parent, stint's or not. The parent needs `admin:RemoveServiceAccount`.
    async fn revoke_all(&self, _: Option<&KeyFingerprint>) -> Result<(), ObjectServerError> {
        minio::revoke_tokens(&self.caller, &self.parent, ("fullRevoke", "true"), StatusCode::OK).await
    }

    /// Sealed under MinIO's path as MinIO seals it, and plain under its own (`list-access-keys-bulk`).
    async fn live_credentials(&self) -> Result<Vec<ParentListing>, ObjectServerError> {
        Ok(vec![self.lister.list().await?])
    }

    async fn ready(&self) -> Result<(), ObjectServerError> {
        match self.caller.get(HEALTH).await?.status {
            StatusCode::OK => Ok(()),
            status => Err(refusal(status, None)),
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

/// MinIO's, where RustFS does the same. Of conditions only those are claimed that were seen to be enforced.
fn capabilities() -> Capabilities {
    Capabilities {
        server: "RustFS",
        rights: Rights::SessionPolicy,
        durations: Durations {
            shortest: Duration::from_mins(15),
            longest: Duration::from_hours(12),
            beyond: Beyond::Shortened,
        },
        revocation: Revocation::Parent,
        session_name: SessionName::Ignored,
        language: PolicyLanguage {
            admin_actions: true,
            unknown_actions: UNKNOWN_ACTIONS,
            on_unknown_action: OnUnknownAction::Refuses,
            conditions: Conditions::Only { operators: &["StringEquals", "StringLike"], keys: &["s3:prefix"] },
        },
        ..minio::capabilities()
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{Received, Reply, ScriptedObjectServer};
    use super::super::settings::for_double;
    use super::super::{minting, sts_call};
    use super::*;
    use crate::clock::SystemClock;
    use time::macros::datetime;

    /// As 1.0.1 writes it, with a fraction of a second in its end.
    const ANSWER: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><AssumeRoleResponse \
        xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
        <AccessKeyId>TU9EEPLC9MXV8SH5Z4BH</AccessKeyId><SecretAccessKey>mA0pZ+1x9</SecretAccessKey>\
        <SessionToken>eyJhbGciOiJIUzUxMiJ9.e30.x</SessionToken><Expiration>2999-01-01T00:00:00.25Z</Expiration>\
        </Credentials></AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\
        </AssumeRoleResponse>";

    async fn server(reply: Reply) -> (RustfsServer, ScriptedObjectServer) {
        let double = ScriptedObjectServer::start(vec![reply]).await;
        let server = RustfsServer::new(for_double(double.endpoint()), Arc::new(SystemClock::start())).unwrap();
        (server, double)
    }

    async fn minted(reply: Reply) -> (Result<TemporaryCredentials, ObjectServerError>, Vec<Received>) {
        let (server, double) = server(reply).await;
        (server.caller.mint(&minting::example(), &[]).await, double.received())
    }

    #[tokio::test]
    async fn one_lease_is_never_revoked_by_ending_all() {
        let (server, double) = server(Reply::http(200, "application/json", r#"{"revoked":0}"#)).await;
        let error = server.revoke(&minting::example().lease.into()).await.unwrap_err();
        assert!(matches!(error, ObjectServerError::NotRevocable { smallest: Revocation::Parent }));
        assert_eq!(double.received(), []);
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_s3_code() {
        let body = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidRequest</Code></Error></ErrorResponse>";
        let (minted, _) = minted(Reply::http(400, "application/xml", body)).await;
        assert!(matches!(minted, Err(ObjectServerError::Refused { status: 400, code }) if code == "InvalidRequest"));
    }

    #[tokio::test]
    async fn a_truthful_answer_yields_its_credentials_and_its_own_end() {
        let (minted, received) = minted(Reply::http(200, "application/xml", ANSWER)).await;
        assert_eq!(minted.unwrap().expiration, datetime!(2999-01-01 00:00:00.25 UTC));
        let [request] = received.as_slice() else { panic!("{received:?}") };
        assert!(!request.body.contains("TokenRevokeType"), "it would promise what the server does not do");
    }

    #[tokio::test]
    async fn readiness_is_asked_where_rustfs_answers_it() {
        let (server, double) = server(Reply::http(200, "application/json", "{}")).await;
        server.ready().await.unwrap();
        assert_eq!(double.received().first().unwrap().line, "GET /health/ready HTTP/1.1");
        assert!(matches!(sts_call::refusal(StatusCode::SERVICE_UNAVAILABLE, None), ObjectServerError::NotReady));
    }
}
