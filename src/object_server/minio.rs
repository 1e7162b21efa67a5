//! MinIO (RELEASE.2025-04-22 to 2025-10-15, Silo): `AssumeRole` as a built-in user. Rights come from that parent user and
//! are narrowed by the session policy; `TokenRevokeType` carries the lease id, so that one lease can be ended alone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::minio_admin::MinioLister;
use super::minio_keys::BOUND_KEYS;
use super::minting::Minting;
use super::s3::S3Key;
use super::signing::Scope;
use super::sts_call::{StsCaller, refusal};
use super::{
    ConfigError, LeaseToEnd, ObjectServer, ObjectServerError, ParentListing, ServerSettings, TemporaryCredentials, wire,
};
use crate::audit::{AuditReceipt, KeyFingerprint};
use crate::clock::Clock;
use crate::lease::{
    AssumeRole, Beyond, Capabilities, Conditions, Durations, OnUnknownAction, PolicyLanguage, Revocation, Rights,
    SessionName, SizeLimit, SizeUnit,
};

/// Answers 503 until users can be looked up, which `live` and `ready` do not. All of them need not be read by then.
const HEALTH: &str = "/minio/health/cluster";
const REVOKE: &str = "/minio/admin/v3/revoke-tokens/builtin";

/// Admin actions that make accounts, or rights for accounts: a session that holds one outlives its lease.
/// `admin:InspectData`, which reads the secrets of all users from disk, cannot be among them: MinIO refuses a policy that
/// names it, although `admin:*` grants it. The parent's own policy keeps it away, by naming its admin actions one by one.
const ACCOUNT_MAKING: [&str; 13] = [
    "admin:CreateServiceAccount",
    "admin:UpdateServiceAccount",
    "admin:CreateUser",
    "admin:EnableUser",
    "admin:AddUserToGroup",
    "admin:AttachUserOrGroupPolicy",
    "admin:UpdatePolicyAssociation",
    "admin:CreatePolicy",
    "admin:ImportIAM",
    "admin:ExportIAM",
    "admin:ConfigUpdate",
    "admin:SiteReplicationAdd",
    "admin:SiteReplicationOperation",
];

/// S3 actions for which RELEASE.2025-04-22 refuses a policy.
const UNKNOWN_ACTIONS: &[&str] = &[
    "s3:DeleteBucketWebsite",
    "s3:GetAccelerateConfiguration",
    "s3:GetBucketAcl",
    "s3:GetBucketCORS",
    "s3:GetBucketLogging",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketQOS",
    "s3:GetBucketRequestPayment",
    "s3:GetBucketWebsite",
    "s3:GetInventoryConfiguration",
    "s3:GetObjectAcl",
    "s3:GetObjectTorrent",
    "s3:GetObjectVersionAcl",
    "s3:HeadObject",
    "s3:PutAccelerateConfiguration",
    "s3:PutBucketAcl",
    "s3:PutBucketCORS",
    "s3:PutBucketLogging",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketQOS",
    "s3:PutBucketRequestPayment",
    "s3:PutBucketWebsite",
    "s3:PutInventoryConfiguration",
    "s3:PutObjectAcl",
    "s3:PutObjectVersionAcl",
];

/// A MinIO server.
#[derive(Debug)]
pub struct MinioServer {
    caller: StsCaller,
    parent: String,
    lister: MinioLister,
    capabilities: Capabilities,
}

/// The body of a refusal by the admin API.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AdminRefusal {
    code: String,
}

impl MinioServer {
    /// Prepares the client; connects to nothing.
    pub fn new(settings: ServerSettings, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let parent = settings.access_key.clone();
        let lister = MinioLister::new(&settings, Arc::clone(&clock))?;
        Ok(Self { caller: StsCaller::new(settings, clock)?, parent, lister, capabilities: capabilities() })
    }

    /// Lists the parent's sessions with this key instead of the parent's own: for a parent that is denied
    /// `admin:ListServiceAccounts`, as by `admin:*`. The key needs that one right and no other.
    #[must_use]
    pub fn listing_as(self, key: S3Key) -> Self {
        Self { lister: self.lister.asking_as(key), ..self }
    }

    async fn mint(&self, minting: &Minting<'_>) -> Result<TemporaryCredentials, ObjectServerError> {
        self.caller.mint(minting, &[("TokenRevokeType", &minting.lease.to_string())]).await
    }

    async fn revoke_tokens(&self, which: (&str, &str)) -> Result<(), ObjectServerError> {
        revoke_tokens(&self.caller, &self.parent, which, StatusCode::NO_CONTENT).await
    }
}

/// Asks for the end of a parent's sessions.
pub(super) async fn revoke_tokens(
    caller: &StsCaller,
    parent: &str,
    which: (&str, &str),
    done: StatusCode,
) -> Result<(), ObjectServerError> {
    let query = wire::form(&[which, ("user", parent)]);
    let answer = caller.post(Scope::S3, &format!("{REVOKE}?{query}"), None).await?;
    if answer.status == done {
        return Ok(());
    }
    let refused: Option<AdminRefusal> = serde_json::from_slice(&answer.body).ok();
    Err(refusal(answer.status, refused.and_then(|refused| wire::clean_code(&refused.code))))
}

#[async_trait]
impl ObjectServer for MinioServer {
    async fn assume_role(
        &self,
        receipt: &AuditReceipt,
        request: &AssumeRole,
    ) -> Result<TemporaryCredentials, ObjectServerError> {
        self.mint(&Minting::on_record(receipt, request)?).await
    }

    /// The parent revokes its own sessions, for which MinIO asks no right and heeds no Deny (`cmd/admin-handlers-users.go`,
    /// `RevokeTokens`). Other nodes of a cluster honour the key until their next reload, 5 to 15 minutes.
    async fn revoke(&self, lease: &LeaseToEnd) -> Result<(), ObjectServerError> {
        self.revoke_tokens(("tokenRevokeType", &lease.id.to_string())).await
    }

    /// Every session of the parent, stint's or not.
    async fn revoke_all(&self, _: Option<&KeyFingerprint>) -> Result<(), ObjectServerError> {
        self.revoke_tokens(("fullRevoke", "true")).await
    }

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

/// What RELEASE.2025-04-22 takes.
pub(super) fn capabilities() -> Capabilities {
    Capabilities {
        server: "MinIO",
        rights: Rights::SessionPolicy,
        session_policy: SizeLimit { most: 2048, unit: SizeUnit::GoEncodedBytes },
        resource: 1100,
        durations: Durations {
            shortest: Duration::from_mins(15),
            longest: Duration::from_hours(365 * 24),
            beyond: Beyond::Refused,
        },
        revocation: Revocation::Lease,
        session_name: SessionName::Ignored,
        language: PolicyLanguage {
            admin_actions: true,
            unknown_actions: UNKNOWN_ACTIONS,
            on_unknown_action: OnUnknownAction::Refuses,
            conditions: Conditions::Bound { unknown: &["s3:x-amz-acl"], bound: BOUND_KEYS },
        },
        deny_statements: vec![json!({"Effect": "Deny", "Action": ["admin:*"]})],
        deny_statements_for_admins: vec![json!({"Effect": "Deny", "Action": ACCOUNT_MAKING})],
    }
}

#[cfg(test)]
mod tests {
    use super::super::minting;
    use super::super::scripted::{Received, Reply, ScriptedObjectServer, answer, assume_role_response};
    use super::super::settings::for_double;
    use super::*;
    use crate::clock::SystemClock;
    use secrecy::{ExposeSecret, SecretString};

    async fn mint_at(endpoint: &str, timeout: Duration) -> Result<TemporaryCredentials, ObjectServerError> {
        let settings = ServerSettings { timeout, ..for_double(endpoint) };
        let server = MinioServer::new(settings, Arc::new(SystemClock::start())).unwrap();
        server.mint(&minting::example()).await
    }

    /// One mint against a server that answers so, and what the server saw.
    async fn mint(reply: Reply) -> (Result<TemporaryCredentials, ObjectServerError>, Vec<Received>) {
        let double = ScriptedObjectServer::start(vec![reply]).await;
        let minted = mint_at(double.endpoint(), Duration::from_secs(20)).await;
        (minted, double.received())
    }

    async fn refused(reply: Reply) -> ObjectServerError {
        let (minted, received) = mint(reply).await;
        assert_eq!(received.len(), 1, "sent more than once");
        minted.unwrap_err()
    }

    fn is_nonsense(error: &ObjectServerError) -> bool {
        matches!(error, ObjectServerError::Nonsense { .. }) && error.may_have_minted()
    }

    fn credentials_xml() -> String {
        assume_role_response("2999-01-01T00:00:00Z")
    }

    #[tokio::test]
    async fn a_truthful_answer_yields_its_credentials() {
        let (minted, _) = mint(Reply::credentials_for(Duration::from_mins(15))).await;
        let minted = minted.unwrap();
        assert_eq!(minted.access_key_id.expose(), "GGCTIHYG44N04A0X14LN");
        assert_eq!(minted.secret_access_key.expose_secret(), "8g8imGgD2gOl91t2Rbr8rEo01fNI0W4euwOHjxz0");
        assert_eq!(minted.session_token.expose_secret(), "eyJhbGciOiJIUzUxMiJ9.e30.K4QlpL16");
        assert!(!format!("{minted:?}").contains("8g8imGgD2"));
    }

    #[tokio::test]
    async fn the_request_has_the_one_form_that_minio_routes_to_assume_role() {
        let (_, received) = mint(Reply::credentials_for(Duration::from_mins(15))).await;
        let [request] = received.as_slice() else { panic!("{received:?}") };
        assert_eq!(request.line, "POST / HTTP/1.1");
        assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
        assert!(request.headers["authorization"].contains("/us-east-1/sts/aws4_request,"));
        assert_eq!(request.headers["x-amz-content-sha256"].len(), 64);
        assert!(!request.headers.contains_key("accept-encoding"), "a compressed answer escapes the size bound");
        assert_eq!(
            request.body,
            "Action=AssumeRole&Version=2011-06-15&DurationSeconds=900&RoleSessionName=alice-7&Policy=%7B%22Statement%22%3A\
             %5B%7B%22Action%22%3A%5B%22s3%3AGetObject%22%5D%2C%22Resource%22%3A%5B%22arn%3Aaws%3As3%3A%3A%3Aa%20b%2Bc%2F\
             %2A%22%5D%7D%5D%7D&TokenRevokeType=00000000-0000-0000-0000-000000000007"
        );
    }

    #[tokio::test]
    async fn a_web_page_instead_of_an_answer_is_nonsense() {
        assert!(is_nonsense(&refused(Reply::http(200, "text/html", "<!DOCTYPE html><p>hello")).await));
        assert!(is_nonsense(&refused(Reply::http(200, "text/html", "<html><br></html>")).await));
        assert!(is_nonsense(&refused(Reply::http(200, "application/json", r#"{"AccessKeyId":"A"}"#)).await));
        assert!(is_nonsense(&refused(Reply::http(200, "application/xml", "")).await));
        assert!(is_nonsense(&refused(Reply::http(204, "application/xml", &credentials_xml())).await));
    }

    #[tokio::test]
    async fn credentials_without_an_end_or_with_a_past_one_are_not_believed() {
        let no_end = credentials_xml().replace("<Expiration>2999-01-01T00:00:00Z</Expiration>", "");
        assert!(is_nonsense(&refused(Reply::http(200, "application/xml", &no_end)).await));
        assert!(is_nonsense(&refused(Reply::credentials("soon")).await));
        let error = refused(Reply::credentials("2020-01-01T00:00:00Z")).await;
        assert!(matches!(error, ObjectServerError::ExpirationUnbelievable { .. }) && error.may_have_minted());
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_64_kib_declared_or_not() {
        let fits = format!("{}<!--{}-->", credentials_xml(), "x".repeat(60_000));
        assert!(mint(Reply::http(200, "application/xml", &fits)).await.0.is_ok());
        let declared = Reply::Bytes(answer(200, "application/xml", 2_000_000_000, &credentials_xml()));
        assert!(is_nonsense(&refused(declared).await));
        let head = "HTTP/1.1 200 x\r\nconnection: close\r\n\r\n";
        assert!(mint(Reply::Bytes(format!("{head}{}", credentials_xml()))).await.0.is_ok());
        assert!(is_nonsense(&refused(Reply::Endless(format!("{head}{}", credentials_xml()))).await));
        let endless_refusal = Reply::Endless("HTTP/1.1 403 x\r\nconnection: close\r\n\r\n".to_owned());
        assert!(is_nonsense(&refused(endless_refusal).await));
        assert!(matches!(
            refused(Reply::Endless("HTTP/1.1 200 x\r\nx: ".to_owned())).await,
            ObjectServerError::Interrupted(_)
        ));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_interrupted_and_never_asked_for_again() {
        let cut = answer(200, "application/xml", credentials_xml().len() + 1, &credentials_xml());
        for reply in [Reply::Bytes(cut), Reply::Close, Reply::Bytes("HTTP/1.1 200".to_owned())] {
            let error = refused(reply).await;
            assert!(matches!(error, ObjectServerError::Interrupted(_)) && error.may_have_minted(), "{error:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_never_ends_is_left_after_the_bound() {
        let drip = answer(200, "application/xml", credentials_xml().len(), &credentials_xml());
        for reply in [Reply::Silence, Reply::Drip(drip)] {
            let double = ScriptedObjectServer::start(vec![reply]).await;
            let error = mint_at(double.endpoint(), Duration::from_millis(300)).await.unwrap_err();
            assert!(matches!(error, ObjectServerError::Interrupted(None)) && error.may_have_minted());
        }
    }

    #[tokio::test]
    async fn a_server_that_is_starting_is_told_from_one_that_refuses() {
        for code in ["STSNotInitialized", "STSIAMNotInitialized"] {
            let error = refused(Reply::refusal(503, code)).await;
            assert!(matches!(error, ObjectServerError::NotReady) && !error.may_have_minted());
        }
        let ObjectServerError::Refused { status: 403, code } = refused(Reply::refusal(403, "AccessDenied")).await
        else {
            panic!()
        };
        assert_eq!(code, "AccessDenied");
        let ObjectServerError::Refused { code, .. } = refused(Reply::http(400, "text/html", "<p>Bad<br>")).await else {
            panic!()
        };
        assert_eq!(code, "Unreadable");
        assert!(refused(Reply::refusal(500, "InternalError")).await.may_have_minted());
        assert!(!refused(Reply::refusal(400, "InvalidParameterValue")).await.may_have_minted());
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let elsewhere = ScriptedObjectServer::start(vec![Reply::credentials_for(Duration::from_mins(15))]).await;
        let head = format!("HTTP/1.1 307 x\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.endpoint());
        assert!(is_nonsense(&refused(Reply::Bytes(head)).await));
        assert_eq!(elsewhere.received(), []);
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_unreachable_and_nothing_can_have_been_minted() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = mint_at(&endpoint, Duration::from_secs(20)).await.unwrap_err();
        assert!(matches!(error, ObjectServerError::Unreachable(_)) && !error.may_have_minted());
        assert!(error.to_string().contains("refused") && !error.to_string().contains(&endpoint), "{error}");
    }

    /// A TLS handshake that fails is a connection that never was: the one case that is tried again, and once.
    #[tokio::test]
    async fn a_connection_that_fails_is_tried_once_more() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let mut connections = 0;
        let counting = async {
            loop {
                drop(listener.accept().await.unwrap());
                connections += 1;
            }
        };
        let error = tokio::select! {
            () = counting => unreachable!(),
            minted = mint_at(&endpoint, Duration::from_secs(20)) => minted.unwrap_err(),
        };
        assert!(matches!(error, ObjectServerError::Unreachable(_)) && !error.may_have_minted(), "{error:?}");
        assert_eq!(connections, 2);
    }

    #[test]
    fn settings_that_cannot_be_used_are_refused_before_anything_is_sent() {
        let settings = |endpoint: &str, access_key: &str, region: &str, timeout| ServerSettings {
            endpoint: endpoint.to_owned(),
            region: region.to_owned(),
            access_key: access_key.to_owned(),
            secret_key: SecretString::from("s"),
            timeout,
        };
        let new = |settings| MinioServer::new(settings, Arc::new(SystemClock::start())).map(|_| ());
        let second = Duration::from_secs(1);
        assert_eq!(new(settings("http://m:9000", "a", "us-east-1", second)), Ok(()));
        assert!(matches!(new(settings("m:9000", "a", "r", second)), Err(ConfigError::Endpoint { .. })));
        assert_eq!(new(settings("http://m", "a b", "r", second)), Err(ConfigError::Word { what: "access key" }));
        assert_eq!(new(settings("http://m", "a", "", second)), Err(ConfigError::Word { what: "region" }));
        assert_eq!(new(settings("http://m", "a", "r", Duration::ZERO)), Err(ConfigError::Timeout));
    }

    #[test]
    fn a_session_policy_keeps_room_beside_either_deny_block() {
        let capabilities = capabilities();
        let size = |block: &[serde_json::Value]| block.iter().map(|s| s.to_string().len()).sum::<usize>();
        assert_eq!(capabilities.session_policy.most, 2048);
        assert!(size(&capabilities.deny_statements) < 64);
        assert!(size(&capabilities.deny_statements_for_admins) < 512);
    }
}
