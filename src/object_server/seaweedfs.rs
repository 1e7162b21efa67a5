//! SeaweedFS (4.48 and later): `AssumeRole` of a role whose trust policy names the parent. Its sessions are tokens that
//! nobody keeps, so nothing can be revoked; it passes over every condition and action that it does not know.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::StatusCode;

use super::minting::Minting;
use super::sts_call::{Answer, StsCaller, deny_statements, refusal};
use super::{ConfigError, LeaseToEnd, ObjectServer, ObjectServerError, ServerSettings, TemporaryCredentials, wire};
use crate::audit::AuditReceipt;
use crate::clock::Clock;
use crate::lease::{
    AssumeRole, Beyond, Capabilities, Conditions, Durations, OnUnknownAction, PolicyLanguage, Revocation, Rights,
    RoleArn, SessionName, SizeLimit, SizeUnit,
};

/// Up to 4.44 the secret key is the SHA-256 of the session id in the token: whoever sees a token, in a log or a presigned
/// URL, has the secret (`weed/iam/sts/token_utils.go`, mended by pull request 11383). In 4.48 it was seen to be random.
const OLDEST: Version = Version { major: 4, minor: 48 };
const OLDEST_TEXT: &str = "4.48, because older releases make the secret key from the session token";

/// S3 actions whose names are nowhere in release 4.48.
const UNKNOWN_ACTIONS: &[&str] = &[
    "s3:DeleteBucketWebsite",
    "s3:DeleteObjectVersionTagging",
    "s3:ForceDeleteBucket",
    "s3:GetAccelerateConfiguration",
    "s3:GetBucketCORS",
    "s3:GetBucketLogging",
    "s3:GetBucketPolicyStatus",
    "s3:GetBucketQOS",
    "s3:GetBucketWebsite",
    "s3:GetInventoryConfiguration",
    "s3:GetObjectTorrent",
    "s3:GetObjectVersionAcl",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectVersionForReplication",
    "s3:GetObjectVersionTagging",
    "s3:GetReplicationConfiguration",
    "s3:HeadBucket",
    "s3:HeadObject",
    "s3:ListAllMyBuckets",
    "s3:ListenBucketNotification",
    "s3:ListenNotification",
    "s3:PutAccelerateConfiguration",
    "s3:PutBucketCORS",
    "s3:PutBucketLogging",
    "s3:PutBucketQOS",
    "s3:PutBucketWebsite",
    "s3:PutInventoryConfiguration",
    "s3:PutObjectFanOut",
    "s3:PutObjectVersionAcl",
    "s3:PutObjectVersionTagging",
    "s3:PutReplicationConfiguration",
    "s3:ReplicateDelete",
    "s3:ReplicateObject",
    "s3:ReplicateTags",
    "s3:ResetBucketReplicationState",
    "s3:RestoreObject",
];

/// A SeaweedFS server.
#[derive(Debug)]
pub struct SeaweedfsServer {
    caller: StsCaller,
    role: RoleArn,
    capabilities: Capabilities,
}

impl SeaweedfsServer {
    /// Prepares the client; connects to nothing.
    pub fn new(settings: ServerSettings, role: RoleArn, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        Ok(Self { caller: StsCaller::new(settings, clock)?, role, capabilities: capabilities() })
    }

    async fn mint(&self, minting: &Minting<'_>) -> Result<TemporaryCredentials, ObjectServerError> {
        let answer = self.caller.ask(minting, &[("RoleArn", self.role.as_str())]).await?;
        let credentials = self.caller.believe(&answer)?;
        // Asked of the very answer: between a probe and the mint the server may have been replaced.
        demand_version(&answer)?;
        Ok(credentials)
    }
}

#[async_trait]
impl ObjectServer for SeaweedfsServer {
    async fn assume_role(
        &self,
        receipt: &AuditReceipt,
        request: &AssumeRole,
    ) -> Result<TemporaryCredentials, ObjectServerError> {
        self.mint(&Minting::on_record(receipt, request)?).await
    }

    /// A blocklist of sessions exists in the source, and nothing fills it (`weed/iam/integration/iam_manager.go`).
    async fn revoke(&self, _: &LeaseToEnd) -> Result<(), ObjectServerError> {
        Err(ObjectServerError::NotRevocable { smallest: Revocation::Role })
    }

    /// `GetCallerIdentity` needs no right and proves the parent's key, the STS and the release; the role is proven by the
    /// first mint only.
    async fn ready(&self) -> Result<(), ObjectServerError> {
        let answer = self.caller.get_caller_identity().await?;
        match answer.status {
            StatusCode::OK => demand_version(&answer),
            status => Err(refusal(status, wire::error_code(&answer.body))),
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

/// A release of SeaweedFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// Reads `SeaweedFS 30GB 4.48`, what the STS and S3 say in `Server`.
    fn of_server(header: &str) -> Option<Self> {
        let (major, minor) = header.strip_prefix("SeaweedFS ")?.rsplit(' ').next()?.split_once('.')?;
        let digits = minor.find(|c: char| !c.is_ascii_digit()).map_or(Some(minor), |end| minor.get(..end))?;
        Some(Self { major: major.parse().ok()?, minor: digits.parse().ok()? })
    }
}

/// An answer that does not name its release is refused like one of an old release.
fn demand_version(answer: &Answer) -> Result<(), ObjectServerError> {
    let version = answer.server.as_deref().and_then(Version::of_server);
    if version.is_some_and(|version| version >= OLDEST) {
        return Ok(());
    }
    let found = version.map_or_else(
        || "an answer without it (a proxy in front must leave the header Server alone)".to_owned(),
        |Version { major, minor }| format!("{major}.{minor}"),
    );
    Err(ObjectServerError::Outdated { found, oldest: OLDEST_TEXT })
}

fn capabilities() -> Capabilities {
    Capabilities {
        server: "SeaweedFS",
        rights: Rights::SessionPolicy,
        session_policy: SizeLimit { most: 2048, unit: SizeUnit::Bytes },
        resource: 1100,
        durations: Durations {
            shortest: Duration::from_mins(15),
            longest: Duration::from_hours(12),
            // Beyond the role's own maximum; beyond 12 hours it is refused.
            beyond: Beyond::Shortened,
        },
        revocation: Revocation::Role,
        session_name: SessionName::Identity,
        language: PolicyLanguage {
            admin_actions: false,
            unknown_actions: UNKNOWN_ACTIONS,
            on_unknown_action: OnUnknownAction::Ignores,
            // `Null` lets everything through, whatever its value.
            conditions: Conditions::Only {
                operators: &[
                    "StringEquals",
                    "StringNotEquals",
                    "StringEqualsIgnoreCase",
                    "StringNotEqualsIgnoreCase",
                    "StringLike",
                    "StringNotLike",
                    "IpAddress",
                    "NotIpAddress",
                ],
                keys: &["s3:prefix", "aws:SourceIp"],
            },
        },
        deny_statements: deny_statements(),
        deny_statements_for_admins: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::minting;
    use super::super::scripted::{Received, Reply, ScriptedObjectServer, answer};
    use super::super::settings::for_double;
    use super::*;
    use crate::clock::SystemClock;
    use time::macros::datetime;

    const ROLE: &str = "arn:aws:iam::000000000000:role/Vend";
    /// Release 4.48 as captured, the expiration as a server west of Greenwich writes it.
    const ANSWER: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<AssumeRoleResponse \
        xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
        <AccessKeyId>ASIAdf59e8238e598d51</AccessKeyId>\
        <SecretAccessKey>yBMJ61nUJ1qmQ9aAMc/N7gCT3uxUZGoAuUl98geoiqw=</SecretAccessKey>\
        <SessionToken>eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.91pLBbl7r71eiMAl20v</SessionToken>\
        <Expiration>2998-12-31T19:00:00-05:00</Expiration></Credentials><AssumedRoleUser>\
        <AssumedRoleId>Vend:alice-7</AssumedRoleId><Arn>arn:aws:sts::000000000000:assumed-role/Vend/alice-7</Arn>\
        </AssumedRoleUser><PackedPolicySize>5</PackedPolicySize></AssumeRoleResult><ResponseMetadata>\
        <RequestId>18EA410661A581DBA783FABD</RequestId></ResponseMetadata></AssumeRoleResponse>";
    const IDENTITY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<GetCallerIdentityResponse \
        xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
        <Arn>arn:aws:iam::000000000000:user/minter</Arn><UserId>minter</UserId><Account>000000000000</Account>\
        </GetCallerIdentityResult></GetCallerIdentityResponse>";
    const NOW: &str = "SeaweedFS 8000GB 4.48";

    /// An answer of a server that calls itself so.
    fn of(server: &str, status: u16, body: &str) -> Reply {
        let whole = answer(status, "application/xml", body.len(), body);
        Reply::Bytes(whole.replacen("\r\n", &format!("\r\nServer: {server}\r\n"), 1))
    }

    async fn start(reply: Reply) -> (SeaweedfsServer, ScriptedObjectServer) {
        let double = ScriptedObjectServer::start(vec![reply]).await;
        let role = RoleArn::parse(ROLE).unwrap();
        let clock = Arc::new(SystemClock::start());
        (SeaweedfsServer::new(for_double(double.endpoint()), role, clock).unwrap(), double)
    }

    async fn mint(reply: Reply) -> (Result<TemporaryCredentials, ObjectServerError>, Vec<Received>) {
        let (server, double) = start(reply).await;
        (server.mint(&minting::example()).await, double.received())
    }

    #[tokio::test]
    async fn an_older_or_unnamed_release_mints_nothing_that_is_handed_on() {
        let unnamed = Reply::http(200, "application/xml", ANSWER);
        for reply in [of("SeaweedFS 30GB 4.44", 200, ANSWER), of("SeaweedFS 30GB 3.97", 200, ANSWER), unnamed] {
            let error = mint(reply).await.0.unwrap_err();
            assert!(matches!(error, ObjectServerError::Outdated { .. }) && error.may_have_minted(), "{error}");
            assert!(error.to_string().contains("4.48"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_older_or_unnamed_release_is_not_ready() {
        for reply in [of("SeaweedFS 30GB 4.44", 200, IDENTITY), of("nginx", 200, IDENTITY)] {
            let error = start(reply).await.0.ready().await.unwrap_err();
            assert!(matches!(error, ObjectServerError::Outdated { .. }), "{error}");
        }
        start(of(NOW, 200, IDENTITY)).await.0.ready().await.unwrap();
    }

    #[tokio::test]
    async fn a_refusal_is_read_in_both_forms() {
        let sts = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ErrorResponse \
            xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>AccessDenied</Code>\
            <Message>user admin is not authorized to assume role arn:aws:iam::000000000000:role/Vend</Message></Error>\
            <RequestId>18EA410D56CD55CDF8AAABBE</RequestId></ErrorResponse>";
        let bare = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>The \
            request signature we calculated does not match.</Message><Resource>/</Resource></Error>";
        for (body, expected) in [(sts, "AccessDenied"), (bare, "SignatureDoesNotMatch")] {
            let minted = mint(of(NOW, 403, body)).await.0;
            assert!(matches!(minted, Err(ObjectServerError::Refused { status: 403, code }) if code == expected));
            let ready = start(of(NOW, 403, body)).await.0.ready().await;
            assert!(matches!(ready, Err(ObjectServerError::Refused { status: 403, code }) if code == expected));
        }
        let starting = mint(of(NOW, 503, &sts.replace("AccessDenied", "ServiceUnavailable"))).await.0;
        assert!(matches!(starting, Err(ObjectServerError::NotReady)));
    }

    #[tokio::test]
    async fn the_role_is_named_and_the_end_is_read_in_universal_time() {
        let (minted, received) = mint(of(NOW, 200, ANSWER)).await;
        let minted = minted.unwrap();
        assert_eq!(minted.access_key_id.expose(), "ASIAdf59e8238e598d51");
        assert_eq!(minted.expiration, datetime!(2999-01-01 00:00 UTC));
        assert!(minted.expiration.offset().is_utc());
        let [request] = received.as_slice() else { panic!("{received:?}") };
        assert!(request.body.ends_with("&RoleArn=arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2FVend"), "{}", request.body);
        assert!(!request.body.contains("TokenRevokeType"));
    }

    #[tokio::test]
    async fn no_lease_is_said_to_be_revoked() {
        let (server, double) = start(of(NOW, 200, "")).await;
        let error = server.revoke(&minting::example().lease.into()).await.unwrap_err();
        assert!(matches!(error, ObjectServerError::NotRevocable { smallest: Revocation::Role }));
        assert_eq!(double.received(), []);
    }

    #[test]
    fn a_release_is_read_from_what_the_server_calls_itself() {
        let version = |text| Version::of_server(text).map(|Version { major, minor }| (major, minor));
        assert_eq!(version("SeaweedFS 8000GB 4.48"), Some((4, 48)));
        assert_eq!(version("SeaweedFS 30GB 4.100"), Some((4, 100)));
        assert_eq!(version("SeaweedFS 30GB 5.0-rc1"), Some((5, 0)));
        for no in ["", "SeaweedFS", "SeaweedFS 4", "nginx/1.25", "Weed 4.48", "SeaweedFS 30GB 4.x", "SeaweedFS 30GB .5"]
        {
            assert_eq!(version(no), None, "{no}");
        }
        assert!(Version { major: 4, minor: 100 } > OLDEST && Version { major: 5, minor: 0 } > OLDEST);
    }
}
