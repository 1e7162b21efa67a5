//! Ceph's object gateway (16.2): `AssumeRole` of a role whose trust policy names the parent. Its sessions are tokens that
//! nobody keeps. A session may assume any role that trusts its parent, without a policy, unless that role's trust policy
//! denies sessions: docs/object-servers.md says how.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::StatusCode;

use super::minting::Minting;
use super::sts_call::{StsCaller, deny_statements, refusal};
use super::{ConfigError, LeaseToEnd, ObjectServer, ObjectServerError, ServerSettings, TemporaryCredentials, wire};
use crate::audit::AuditReceipt;
use crate::clock::Clock;
use crate::lease::{
    AssumeRole, Beyond, Capabilities, Conditions, Durations, OnUnknownAction, PolicyLanguage, Revocation, Rights,
    RoleArn, SessionName, SizeLimit, SizeUnit,
};

/// What a question about readiness would be narrowed to, were it ever granted.
const NOTHING: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["s3:*"],"Resource":["*"]}]}"#;

/// S3 actions for which 16.2.15 calls a policy malformed.
const UNKNOWN_ACTIONS: &[&str] = &[
    "s3:DeleteBucketCors",
    "s3:ForceDeleteBucket",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketQOS",
    "s3:GetEncryptionConfiguration",
    "s3:GetInventoryConfiguration",
    "s3:GetObjectAttributes",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectVersionForReplication",
    "s3:HeadBucket",
    "s3:HeadObject",
    "s3:ListenBucketNotification",
    "s3:ListenNotification",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketQOS",
    "s3:PutEncryptionConfiguration",
    "s3:PutInventoryConfiguration",
    "s3:PutObjectFanOut",
    "s3:ReplicateDelete",
    "s3:ReplicateObject",
    "s3:ReplicateTags",
    "s3:ResetBucketReplicationState",
];

/// A Ceph object gateway.
#[derive(Debug)]
pub struct CephServer {
    caller: StsCaller,
    role: RoleArn,
    capabilities: Capabilities,
}

impl CephServer {
    /// Prepares the client; connects to nothing.
    pub fn new(settings: ServerSettings, role: RoleArn, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        Ok(Self { caller: StsCaller::new(settings, clock)?, role, capabilities: capabilities() })
    }

    async fn mint(&self, minting: &Minting<'_>) -> Result<TemporaryCredentials, ObjectServerError> {
        self.caller.mint(minting, &[("RoleArn", self.role.as_str())]).await
    }
}

#[async_trait]
impl ObjectServer for CephServer {
    async fn assume_role(
        &self,
        receipt: &AuditReceipt,
        request: &AssumeRole,
    ) -> Result<TemporaryCredentials, ObjectServerError> {
        self.mint(&Minting::on_record(receipt, request)?).await
    }

    async fn revoke(&self, _: &LeaseToEnd) -> Result<(), ObjectServerError> {
        Err(ObjectServerError::NotRevocable { smallest: Revocation::Role })
    }

    /// Asks for a session of no length, narrowed to nothing. The gateway looks at the key first, then at the role and
    /// whom it trusts, and last at the length: that refusal proves all the rest, and nothing is minted.
    async fn ready(&self) -> Result<(), ObjectServerError> {
        let question = [
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("DurationSeconds", "0"),
            ("RoleSessionName", "readiness"),
            ("Policy", NOTHING),
            ("RoleArn", self.role.as_str()),
        ];
        let answer = self.caller.form(&question).await?;
        match (answer.status, wire::error_code(&answer.body)) {
            (StatusCode::BAD_REQUEST, Some(code)) if code == "InvalidArgument" => Ok(()),
            (StatusCode::OK, _) => Err(ObjectServerError::Nonsense { what: "a session of no length" }),
            (status, code) => Err(refusal(status, code)),
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        server: "Ceph",
        rights: Rights::SessionPolicy,
        session_policy: SizeLimit { most: 2048, unit: SizeUnit::Bytes },
        // One of about 1,565 ends the gateway's process.
        resource: 1100,
        durations: Durations {
            // `rgw_sts_min_session_duration` can be lower; no lease is.
            shortest: Duration::from_mins(15),
            longest: Duration::from_hours(12),
            beyond: Beyond::Refused,
        },
        revocation: Revocation::Role,
        session_name: SessionName::Identity,
        language: PolicyLanguage {
            admin_actions: false,
            unknown_actions: UNKNOWN_ACTIONS,
            on_unknown_action: OnUnknownAction::Refuses,
            // The negations are not here: a key that is absent fails them, where AWS lets it pass, so that a Deny of
            // every prefix but one allows a listing without a prefix; and of several values one that differs is enough.
            // `Null` and `Bool` ignore their value.
            conditions: Conditions::Only {
                operators: &[
                    "StringEquals",
                    "StringEqualsIgnoreCase",
                    "StringLike",
                    "IpAddress",
                    "NumericEquals",
                    "NumericLessThan",
                    "NumericLessThanEquals",
                    "NumericGreaterThan",
                    "NumericGreaterThanEquals",
                    "DateLessThan",
                    "DateLessThanEquals",
                    "DateGreaterThan",
                    "DateGreaterThanEquals",
                ],
                keys: &[
                    "s3:prefix",
                    "s3:delimiter",
                    "s3:max-keys",
                    "s3:x-amz-acl",
                    "s3:ExistingObjectTag/",
                    "s3:RequestObjectTag/",
                    "aws:SourceIp",
                    "aws:CurrentTime",
                    "aws:UserAgent",
                    "aws:Referer",
                ],
            },
        },
        deny_statements: deny_statements(),
        deny_statements_for_admins: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::minting;
    use super::super::scripted::{Received, Reply, ScriptedObjectServer};
    use super::super::settings::for_double;
    use super::*;
    use crate::clock::SystemClock;
    use time::macros::datetime;

    const ROLE: &str = "arn:aws:iam:::role/broker";
    /// 16.2.15 as captured: no namespace, the expiration second and in nanoseconds.
    const ANSWER: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>8Npw7M6qKksek4Jog8y</AccessKeyId>\
        <Expiration>2999-01-01T00:00:00.332427856Z</Expiration>\
        <SecretAccessKey>M6O256JUTY1CQT40QA1YUOCTWAD8JFK1PH4GDGF</SecretAccessKey>\
        <SessionToken>IteNOsfDruI3NyYk3CQBKO5JCH/XAdLllIN1tGiqMWdReFG1UrdBy8lhTirn+luiytcHqw==</SessionToken>\
        </Credentials><AssumedRoleUser><Arn>arn:aws:sts:::assumed-role/broker/alice-7</Arn>\
        <AssumeRoleId>cf0645fd-28a1-4b3b-8577-cdc114ac7efe:alice-7</AssumeRoleId></AssumedRoleUser>\
        <PackedPolicySize>0</PackedPolicySize></AssumeRoleResult></AssumeRoleResponse>";

    fn refuses(status: u16, code: &str) -> Reply {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message></Message>\
             <RequestId>tx00000ebe14afa78819fff-006b02648f-100e-default</RequestId>\
             <HostId>100e-default-default</HostId></Error>"
        );
        Reply::http(status, "application/xml", &body)
    }

    async fn start(reply: Reply) -> (CephServer, ScriptedObjectServer) {
        let double = ScriptedObjectServer::start(vec![reply]).await;
        let role = RoleArn::parse(ROLE).unwrap();
        let clock = Arc::new(SystemClock::start());
        (CephServer::new(for_double(double.endpoint()), role, clock).unwrap(), double)
    }

    async fn mint(reply: Reply) -> (Result<TemporaryCredentials, ObjectServerError>, Vec<Received>) {
        let (server, double) = start(reply).await;
        (server.mint(&minting::example()).await, double.received())
    }

    #[tokio::test]
    async fn a_bare_refusal_keeps_its_code() {
        for (status, code) in [
            (403, "AccessDenied"),
            (404, "NoSuchEntity"),
            (400, "InvalidArgument"),
            (400, "PackedPolicyTooLarge"),
            (405, "MethodNotAllowed"),
        ] {
            let error = mint(refuses(status, code)).await.0.unwrap_err();
            assert!(!error.may_have_minted());
            assert_eq!(error.to_string(), format!("the object server refused with {code} (HTTP {status})"));
        }
        assert!(matches!(mint(refuses(503, "SlowDown")).await.0, Err(ObjectServerError::NotReady)));
    }

    #[tokio::test]
    async fn a_session_without_an_end_is_not_believed() {
        let spoilt = ANSWER.replace("<Expiration>2999-01-01T00:00:00.332427856Z</Expiration>", "");
        let error = mint(Reply::http(200, "application/xml", &spoilt)).await.0.unwrap_err();
        assert!(matches!(error, ObjectServerError::Nonsense { .. }) && error.may_have_minted());
    }

    #[tokio::test]
    async fn an_answer_without_a_namespace_and_with_nanoseconds_is_read() {
        let (minted, received) = mint(Reply::http(200, "application/xml", ANSWER)).await;
        let minted = minted.unwrap();
        assert_eq!(minted.access_key_id.expose(), "8Npw7M6qKksek4Jog8y");
        assert_eq!(minted.expiration, datetime!(2999-01-01 00:00:00.332427856 UTC));
        let [request] = received.as_slice() else { panic!("{received:?}") };
        assert_eq!(
            request.body,
            "Action=AssumeRole&Version=2011-06-15&DurationSeconds=900&RoleSessionName=alice-7&Policy=%7B%22Statement%22%3A\
             %5B%7B%22Action%22%3A%5B%22s3%3AGetObject%22%5D%2C%22Resource%22%3A%5B%22arn%3Aaws%3As3%3A%3A%3Aa%20b%2Bc%2F\
             %2A%22%5D%7D%5D%7D&RoleArn=arn%3Aaws%3Aiam%3A%3A%3Arole%2Fbroker"
        );
    }

    #[tokio::test]
    async fn only_the_refusal_of_no_length_means_ready() {
        for (status, code) in [(403, "AccessDenied"), (404, "NoSuchEntity"), (400, "MalformedPolicyDocument")] {
            let ready = start(refuses(status, code)).await.0.ready().await;
            assert!(matches!(ready, Err(ObjectServerError::Refused { .. })), "{code}");
        }
        let granted = start(Reply::http(200, "application/xml", ANSWER)).await.0.ready().await;
        assert!(matches!(granted, Err(ObjectServerError::Nonsense { .. })));
        let (server, double) = start(refuses(400, "InvalidArgument")).await;
        server.ready().await.unwrap();
        let [asked] = double.received().try_into().unwrap();
        assert!(asked.body.contains("&DurationSeconds=0&") && asked.body.contains("Deny"), "{}", asked.body);
    }

    #[tokio::test]
    async fn no_lease_is_said_to_be_revoked() {
        let (server, double) = start(refuses(400, "InvalidArgument")).await;
        let error = server.revoke(&minting::example().lease.into()).await.unwrap_err();
        assert!(matches!(error, ObjectServerError::NotRevocable { smallest: Revocation::Role }));
        assert_eq!(double.received(), []);
    }
}
