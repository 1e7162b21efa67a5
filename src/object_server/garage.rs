//! Garage (2.0 and later), which has no STS: a lease is a key of its own that expires, made over the admin API with rights
//! on whole buckets. The key is named by its lease, so that it can be found and deleted. There are no session tokens.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

use super::garage_admin::{GarageAdmin, KeyRow, MadeKey, made_key_id, within};
use super::keys_in_use::KeysInUse;
use super::minting::Minting;
use super::sts_call::Answer;
use super::{
    Absence, AccessKeyId, ConfigError, LeaseToEnd, ListedCredential, ObjectServer, ObjectServerError, ParentListing,
    TemporaryCredentials, wire,
};
use crate::audit::AuditReceipt;
use crate::clock::Clock;
use crate::lease::{
    AssumeRole, Beyond, BucketGrant, BucketRight, BucketRights, Capabilities, Conditions, Durations, LeaseId,
    OnUnknownAction, PolicyLanguage, Revocation, Rights, SessionName, SizeLimit, SizeUnit,
};

/// What the two rights give, as measured on release 2.5.0 (`tests/live/garage.rs`). The third, owner, gives a bucket's
/// website, CORS rules, lifecycle and deletion, and is never given.
const RIGHTS: BucketRights = BucketRights {
    read: BucketRight {
        on_bucket: &[
            "s3:GetBucketAcl",
            "s3:GetBucketLocation",
            "s3:GetBucketVersioning",
            "s3:ListBucket",
            "s3:ListBucketMultipartUploads",
        ],
        on_objects: &["s3:GetObject", "s3:ListMultipartUploadParts"],
    },
    write: BucketRight { on_bucket: &[], on_objects: &["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"] },
    // A key lists the buckets that it has rights on, and no others.
    of_every_key: &["s3:ListAllMyBuckets"],
};

/// What the names of leases' keys begin with.
const PREFIX: &str = "stint-lease-";
/// How long ending a lease may take in all: a long list of keys is read page by page.
const REVOCATION: Duration = Duration::from_secs(30);
/// How long listing all of them may take.
const LISTING: Duration = Duration::from_mins(1);
/// Longest secret that is believed.
const LONGEST_SECRET: usize = 256;

/// How to reach Garage's admin API.
#[derive(Debug)]
pub struct GarageSettings {
    /// `http(s)://host[:port]` of the admin API, no path.
    pub admin_endpoint: String,
    /// A token of this use alone, whose scope is `CreateKey`, `AllowBucketKey`, `DeleteKey`, `ListKeys`, `ListBuckets`.
    pub admin_token: SecretString,
    /// What the log calls whoever holds the token.
    pub parent: String,
    /// Bound on one mint, with all of its calls.
    pub timeout: Duration,
}

/// A Garage cluster.
#[derive(Debug)]
pub struct GarageServer {
    admin: GarageAdmin,
    parent: AccessKeyId,
    keys: KeysInUse,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    capabilities: Capabilities,
}

impl GarageServer {
    /// Prepares the client; connects to nothing.
    pub fn new(settings: &GarageSettings, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        if settings.timeout.is_zero() {
            return Err(ConfigError::Timeout);
        }
        let admin = GarageAdmin::new(&settings.admin_endpoint, &settings.admin_token)?;
        let parent = AccessKeyId::parse(&settings.parent).ok_or(ConfigError::Word { what: "parent's name" })?;
        let keys = KeysInUse::of_parent(parent.expose());
        Ok(Self { admin, parent, keys, timeout: settings.timeout, clock, capabilities: capabilities() })
    }

    async fn mint(&self, minting: &Minting<'_>) -> Result<TemporaryCredentials, ObjectServerError> {
        let grants = granted_by(minting.session_policy)?;
        let begun = self.clock.elapsed();
        // The last quarter of the time is for taking back what was begun.
        let left = || (self.timeout / 4 * 3).saturating_sub(self.clock.elapsed().saturating_sub(begun));
        let located = within(left(), self.admin.locate(&grants)).await?;
        let name = key_name(minting.lease);
        let end = (self.clock.now() + minting.duration).to_offset(UtcOffset::UTC);
        let end = end.replace_nanosecond(0).map_err(|_| ObjectServerError::Unsendable)?;
        let made = within(left(), self.admin.create_key(&name, end)).await?;
        // What has another name is not ours to delete, whatever the answer calls it.
        let Some(key) = made_key_id(&made, &name) else {
            return Err(ObjectServerError::Nonsense { what: "not the key that was asked for" });
        };
        // Nor is what another lease holds.
        let taken = self.keys.take(&key, end, self.clock.now());
        taken.map_err(|what| ObjectServerError::Nonsense { what })?;
        let finished = match believe(&made, end, self.clock.now()) {
            Ok(believed) => within(left(), self.allow(&key, &located)).await.map(|()| believed),
            Err(error) => Err(error),
        };
        match finished {
            Ok((secret_access_key, expiration)) => {
                // There is none, and most SDKs refuse credentials without one: the lease's id stands in its place, which
                // Garage does not look at.
                let session_token = SecretString::from(minting.lease.to_string());
                Ok(TemporaryCredentials { access_key_id: key, secret_access_key, session_token, expiration })
            }
            Err(cause) => Err(self.take_back(&key, cause).await),
        }
    }

    /// One after the other: Garage locks them against each other anyway.
    async fn allow(&self, key: &AccessKeyId, located: &[(String, &BucketGrant)]) -> Result<(), ObjectServerError> {
        for (bucket, grant) in located {
            self.admin.allow(bucket, key, grant).await?;
        }
        Ok(())
    }

    async fn take_back(&self, key: &AccessKeyId, cause: ObjectServerError) -> ObjectServerError {
        let cause = Box::new(cause);
        match within(self.timeout / 4, self.admin.delete_key(key.expose())).await {
            Ok(()) => ObjectServerError::Undone { cause },
            Err(error) => {
                tracing::error!(%error, "a key that is not handed out could not be deleted");
                ObjectServerError::LeftBehind { cause }
            }
        }
    }
}

#[async_trait]
impl ObjectServer for GarageServer {
    async fn assume_role(
        &self,
        receipt: &AuditReceipt,
        request: &AssumeRole,
    ) -> Result<TemporaryCredentials, ObjectServerError> {
        self.mint(&Minting::on_record(receipt, request)?).await
    }

    /// A deleted key is refused at once. One that is not there has ended: it was deleted, or never made.
    async fn revoke(&self, lease: &LeaseToEnd) -> Result<(), ObjectServerError> {
        within(REVOCATION, async {
            let name = key_name(lease.id);
            for key in self.admin.keys(|key| key.name == name).await? {
                self.admin.delete_key(&key.id).await?;
            }
            Ok(())
        })
        .await
    }

    /// The keys that are named by a lease, also those that ended and that nobody has deleted.
    async fn live_credentials(&self) -> Result<Vec<ParentListing>, ObjectServerError> {
        let rows = within(LISTING, self.admin.keys(|key| key.name.starts_with(PREFIX))).await?;
        let credentials = rows.iter().map(listed).collect::<Result<_, _>>()?;
        let parent = self.parent.expose();
        let parent = AccessKeyId::parse(parent).ok_or(ObjectServerError::Unsendable)?;
        Ok(vec![ParentListing { parent, absence: Absence::Gone, credentials }])
    }

    async fn ready(&self) -> Result<(), ObjectServerError> {
        within(self.timeout, async {
            self.admin.health().await?;
            self.admin.one_key().await
        })
        .await
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

/// The name of a lease's key, which only its lease has.
fn key_name(lease: LeaseId) -> String {
    format!("{PREFIX}{lease}")
}

/// A key of the list. One whose end cannot be read makes the whole list worth nothing: it might be one that never ends.
fn listed(row: &KeyRow) -> Result<ListedCredential, ObjectServerError> {
    let nonsense = |what| ObjectServerError::Nonsense { what };
    let end =
        row.expiration.as_deref().map(|end| wire::instant(end).ok_or(nonsense("an unreadable expiration"))).transpose();
    Ok(ListedCredential {
        access_key_id: AccessKeyId::parse(&row.id).ok_or(nonsense("a key without a usable id"))?,
        ends_at: end?,
        lease: row.name.strip_prefix(PREFIX).and_then(|id| Uuid::parse_str(id).ok()).map(LeaseId::from_uuid),
    })
}

/// The grants of a session policy. Planning has proven that there are such: anything else here is a fault of ours.
fn granted_by(session_policy: &str) -> Result<Vec<BucketGrant>, ObjectServerError> {
    let policy = serde_json::from_str(session_policy).map_err(|_| ObjectServerError::Unsendable)?;
    RIGHTS.grants(&policy).map_err(|_| ObjectServerError::Unsendable)
}

/// The secret and the end of a key that is the one asked for: it ends, when asked or before, and has no right yet.
fn believe(
    answer: &Answer,
    asked_end: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<(SecretString, OffsetDateTime), ObjectServerError> {
    let nonsense = |what| ObjectServerError::Nonsense { what };
    let made: MadeKey<'_> = serde_json::from_slice(&answer.body).map_err(|_| nonsense("no whole key"))?;
    // What looks like an omission is a key for ever.
    let expiration = made.expiration.ok_or(nonsense("a key that never ends"))?;
    let expiration = wire::instant(expiration).ok_or(nonsense("an unreadable expiration"))?;
    if expiration > asked_end || expiration <= now || made.expired {
        return Err(ObjectServerError::ExpirationUnbelievable { expiration });
    }
    if made.permissions.create_bucket || !made.buckets.is_empty() {
        return Err(nonsense("a new key that has rights already"));
    }
    let secret = made.secret_access_key;
    if !(1..=LONGEST_SECRET).contains(&secret.len()) || !secret.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(nonsense("no usable secret access key"));
    }
    Ok((SecretString::from(secret), expiration))
}

fn capabilities() -> Capabilities {
    Capabilities {
        server: "Garage",
        rights: Rights::WholeBuckets(RIGHTS),
        // It never sees the policy: the bound is this service's own, and with it that on the calls of one mint.
        session_policy: SizeLimit { most: 2048, unit: SizeUnit::Bytes },
        resource: 1100,
        durations: Durations {
            // It takes any end at all; no lease is shorter or longer than this.
            shortest: Duration::from_mins(15),
            longest: Duration::from_hours(1),
            beyond: Beyond::Refused,
        },
        revocation: Revocation::Lease,
        session_name: SessionName::Ignored,
        language: PolicyLanguage {
            admin_actions: false,
            unknown_actions: &[],
            on_unknown_action: OnUnknownAction::Refuses,
            conditions: Conditions::Only { operators: &[], keys: &[] },
        },
        // A key reaches no API but S3's, and there is nothing to deny there.
        deny_statements: Vec::new(),
        deny_statements_for_admins: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::minting;
    use super::super::scripted::{Received, Reply, ScriptedObjectServer, answer};
    use super::*;
    use secrecy::ExposeSecret;
    use serde_json::{Value, json};
    use time::macros::datetime;

    const NAME: &str = "stint-lease-00000000-0000-0000-0000-000000000007";
    const KEY: &str = "GK31c2f218a2e44f485b94239e";
    const SECRET: &str = "b892c0665f0ada8a4755dae98baa3b133590e11dae3bcc1f9d769d67f16c3835";
    /// A quarter of an hour after [`Noon`], whole seconds.
    const END: &str = "2026-11-22T12:15:00Z";
    /// One bucket to read and write, one to read.
    const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Action":["s3:ListAllMyBuckets"],"Resource":["arn:aws:s3:::*"]},
        {"Effect":"Allow","Action":["s3:GetBucketAcl","s3:GetBucketLocation","s3:GetBucketVersioning","s3:ListBucket",
            "s3:ListBucketMultipartUploads","s3:GetObject","s3:ListMultipartUploadParts"],
         "Resource":["arn:aws:s3:::recordings","arn:aws:s3:::recordings/*","arn:aws:s3:::textures","arn:aws:s3:::textures/*"]},
        {"Effect":"Allow","Action":["s3:PutObject","s3:DeleteObject","s3:AbortMultipartUpload"],
         "Resource":["arn:aws:s3:::recordings/*"]}]}"#;

    /// A clock that stands still, a little after noon.
    #[derive(Debug)]
    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> OffsetDateTime {
            datetime!(2026-11-22 12:00:00.4 UTC)
        }

        fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn ok(body: &Value) -> Reply {
        Reply::http(200, "application/json", &body.to_string())
    }

    fn refuses(status: u16, code: &str) -> Reply {
        let body = json!({"code": code, "message": "no", "region": "garage", "path": "/v2/x"});
        Reply::http(status, "application/json", &body.to_string())
    }

    fn buckets() -> Value {
        json!([
            {"id": "0a", "created": END, "globalAliases": ["other"], "localAliases": []},
            {"id": "1b", "created": END, "globalAliases": ["recordings"], "localAliases": []},
            {"id": "2c", "created": END, "globalAliases": ["textures", "also"], "localAliases": []},
        ])
    }

    /// As release 2.5.0 says it.
    fn made() -> Value {
        json!({"accessKeyId": KEY, "created": "2026-11-22T12:00:00.412Z", "name": NAME, "expiration": END,
               "expired": false, "secretAccessKey": SECRET, "permissions": {"createBucket": false}, "buckets": []})
    }

    /// The answer to `CreateKey` with one thing changed.
    fn made_with(change: impl FnOnce(&mut Value)) -> Reply {
        let mut made = made();
        change(&mut made);
        ok(&made)
    }

    async fn start(replies: Vec<Reply>, timeout: Duration) -> (GarageServer, ScriptedObjectServer) {
        let double = ScriptedObjectServer::start(replies).await;
        let settings = GarageSettings {
            admin_endpoint: double.endpoint().to_owned(),
            admin_token: SecretString::from("abc.hunter2"),
            parent: "garage-admin".to_owned(),
            timeout,
        };
        (GarageServer::new(&settings, Arc::new(Noon)).unwrap(), double)
    }

    type Minted = Result<TemporaryCredentials, ObjectServerError>;

    async fn mint_under(policy: &'static str, replies: Vec<Reply>, timeout: Duration) -> (Minted, Vec<Received>) {
        let (server, double) = start(replies, timeout).await;
        let minted = server.mint(&Minting { session_policy: policy, ..minting::example() }).await;
        (minted, double.received())
    }

    async fn mint(replies: Vec<Reply>) -> (Minted, Vec<Received>) {
        mint_under(POLICY, replies, Duration::from_secs(20)).await
    }

    /// What becomes of a lease whose key was answered so, and every call that was made.
    async fn believed(made: Reply) -> (ObjectServerError, Vec<String>) {
        let (minted, received) = mint(vec![ok(&buckets()), made, ok(&Value::Null)]).await;
        (minted.unwrap_err(), lines(&received))
    }

    fn lines(received: &[Received]) -> Vec<String> {
        received.iter().map(|request| request.line.replace(" HTTP/1.1", "")).collect()
    }

    fn deletion() -> String {
        format!("POST /v2/DeleteKey?id={KEY}")
    }

    #[tokio::test]
    async fn a_key_without_an_end_is_deleted_and_never_handed_out() {
        for spoilt in [
            made_with(|made| made["expiration"] = Value::Null),
            made_with(|made| drop(made.as_object_mut().unwrap().remove("expiration"))),
        ] {
            let (error, lines) = believed(spoilt).await;
            assert!(error.to_string().contains("never ends") && !error.may_have_minted(), "{error}");
            assert_eq!(error.code(), "object_server_undone");
            assert_eq!(lines, ["GET /v2/ListBuckets?limit=500", "POST /v2/CreateKey", &deletion()]);
        }
    }

    #[tokio::test]
    async fn an_end_that_was_not_asked_for_is_not_believed() {
        for (expiration, expired) in [
            ("2026-11-22T12:15:01Z", false),
            ("2027-01-01T00:00:00Z", false),
            ("2026-11-22T12:00:00Z", false),
            (END, true),
        ] {
            let (error, lines) = believed(made_with(|made| {
                made["expiration"] = json!(expiration);
                made["expired"] = json!(expired);
            }))
            .await;
            assert!(error.to_string().contains("does not fit the lease"), "{error}");
            assert!(!error.may_have_minted());
            assert_eq!(lines.last(), Some(&deletion()));
        }
        let (error, _) = believed(made_with(|made| made["expiration"] = json!("soon"))).await;
        assert!(error.to_string().contains("unreadable expiration"), "{error}");
    }

    #[tokio::test]
    async fn a_key_with_rights_of_its_own_is_deleted() {
        for spoilt in [
            made_with(|made| made["permissions"]["createBucket"] = json!(true)),
            made_with(|made| made["buckets"] = json!([{"id": "0a"}])),
            made_with(|made| made["permissions"] = json!({})),
            made_with(|made| made["secretAccessKey"] = Value::Null),
            made_with(|made| made["secretAccessKey"] = json!("")),
            made_with(|made| made["secretAccessKey"] = json!("a b")),
        ] {
            let (error, lines) = believed(spoilt).await;
            assert!(matches!(error, ObjectServerError::Undone { .. }), "{error}");
            assert_eq!(lines.last(), Some(&deletion()));
        }
    }

    #[tokio::test]
    async fn a_key_of_another_name_is_not_deleted_by_its_id() {
        for spoilt in [
            made_with(|made| made["name"] = json!("operator")),
            made_with(|made| made["accessKeyId"] = json!("a b")),
            made_with(|made| drop(made.as_object_mut().unwrap().remove("accessKeyId"))),
            ok(&json!([])),
            Reply::http(200, "text/html", "<p>hello"),
            Reply::http(200, "application/json", ""),
        ] {
            let (error, lines) = believed(spoilt).await;
            assert!(matches!(error, ObjectServerError::Nonsense { .. }) && error.may_have_minted(), "{error}");
            assert_eq!(lines.len(), 2, "{lines:?}");
        }
    }

    #[tokio::test]
    async fn a_key_that_another_lease_holds_is_neither_handed_out_nor_deleted() {
        let replies = vec![ok(&buckets()), ok(&made()), ok(&json!({})), ok(&json!({})), ok(&buckets()), ok(&made())];
        let (server, double) = start(replies, Duration::from_secs(20)).await;
        let minting = Minting { session_policy: POLICY, ..minting::example() };
        assert!(server.mint(&minting).await.is_ok());
        assert!(matches!(server.mint(&minting).await, Err(ObjectServerError::Nonsense { .. })));
        assert!(!lines(&double.received()).contains(&deletion()));
    }

    #[tokio::test]
    async fn a_key_that_does_not_get_its_rights_is_deleted_again() {
        for (reply, told) in [
            (refuses(403, "AccessDenied"), "AccessDenied"),
            (refuses(404, "NoSuchBucket"), "NoSuchBucket"),
            (refuses(500, "InternalError"), "InternalError"),
            (refuses(503, "ServiceUnavailable"), "not ready"),
            (Reply::Close, "broke off"),
            (Reply::http(204, "application/json", ""), "unexpected status"),
        ] {
            // The second bucket fails: the key has rights on the first already.
            let replies = vec![ok(&buckets()), ok(&made()), ok(&json!({})), reply, ok(&Value::Null)];
            let (minted, received) = mint(replies).await;
            let error = minted.unwrap_err();
            assert!(matches!(error, ObjectServerError::Undone { .. }) && !error.may_have_minted(), "{error}");
            assert!(error.to_string().contains(told), "{error}");
            let allow = "POST /v2/AllowBucketKey".to_owned();
            let expected = [
                "GET /v2/ListBuckets?limit=500".to_owned(),
                "POST /v2/CreateKey".to_owned(),
                allow.clone(),
                allow,
                deletion(),
            ];
            assert_eq!(lines(&received), expected);
        }
    }

    #[tokio::test]
    async fn a_key_that_is_gone_when_it_is_deleted_is_deleted() {
        let replies = vec![ok(&buckets()), ok(&made()), refuses(500, "InternalError"), refuses(404, "NoSuchAccessKey")];
        assert!(matches!(mint(replies).await.0, Err(ObjectServerError::Undone { .. })));
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_deleted_either_may_have_been_minted() {
        for reply in
            [refuses(403, "AccessDenied"), refuses(404, "NotFound"), refuses(500, "InternalError"), Reply::Close]
        {
            let replies = vec![ok(&buckets()), ok(&made()), refuses(403, "AccessDenied"), reply];
            let error = mint(replies).await.0.unwrap_err();
            assert!(matches!(error, ObjectServerError::LeftBehind { .. }) && error.may_have_minted(), "{error}");
            assert_eq!(error.code(), "object_server_left_behind");
            assert!(error.to_string().contains("could not be deleted"), "{error}");
        }
    }

    #[tokio::test]
    async fn silence_half_way_leaves_time_to_take_the_key_back() {
        let replies = vec![ok(&buckets()), ok(&made()), Reply::Silence, ok(&Value::Null)];
        let (minted, received) = mint_under(POLICY, replies, Duration::from_millis(400)).await;
        let error = minted.unwrap_err();
        assert!(matches!(error, ObjectServerError::Undone { .. }), "{error}");
        assert!(error.to_string().contains("did not answer in time"), "{error}");
        assert_eq!(lines(&received).last(), Some(&deletion()));
        let replies = vec![ok(&buckets()), ok(&made()), Reply::Silence];
        let error = mint_under(POLICY, replies, Duration::from_millis(400)).await.0.unwrap_err();
        assert!(matches!(error, ObjectServerError::LeftBehind { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_key_that_may_have_been_made_is_told() {
        for reply in [Reply::Silence, Reply::Close, refuses(500, "InternalError"), refuses(503, "ServiceUnavailable")] {
            let (minted, received) = mint_under(POLICY, vec![ok(&buckets()), reply], Duration::from_millis(400)).await;
            let error = minted.unwrap_err();
            assert!(error.may_have_minted(), "{error}");
            assert_eq!(received.len(), 2, "never asked for again");
        }
        let (minted, _) = mint(vec![ok(&buckets()), refuses(403, "AccessDenied")]).await;
        assert!(!minted.unwrap_err().may_have_minted());
    }

    #[tokio::test]
    async fn nothing_is_made_where_a_bucket_cannot_be_found() {
        let without = json!([{"id": "1b", "globalAliases": ["recordings"]}]);
        let twice = json!([{"id": "1b", "globalAliases": ["recordings"]}, {"id": "2c", "globalAliases": ["textures"]},
                           {"id": "3d", "globalAliases": ["textures"]}]);
        // Reading the one would let the other be written.
        let one = json!([{"id": "1b", "globalAliases": ["recordings", "textures"]}]);
        for (list, code) in [
            (ok(&without), "NoSuchBucket"),
            (ok(&twice), "two buckets of one name"),
            (ok(&one), "BucketNamedTwice"),
            (ok(&json!({})), "no list"),
            (refuses(403, "AccessDenied"), "AccessDenied"),
        ] {
            let (minted, received) = mint(vec![list]).await;
            let error = minted.unwrap_err();
            assert!(error.to_string().contains(code), "{error}");
            assert_eq!(received.len(), 1);
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_left() {
        let huge = |length| Reply::Bytes(answer(200, "application/json", length, "[]"));
        for reply in [huge(2_000_000_000), Reply::Endless("HTTP/1.1 200 x\r\nconnection: close\r\n\r\n[".to_owned())] {
            let (minted, received) = mint(vec![reply]).await;
            assert!(matches!(minted, Err(ObjectServerError::Nonsense { .. })), "{minted:?}");
            assert_eq!(received.len(), 1);
        }
        let (minted, _) = mint(vec![ok(&buckets()), huge(2_000_000_000)]).await;
        assert!(minted.unwrap_err().may_have_minted());
        // The answer to the rights grows with the keys of the bucket, and is not read.
        let (minted, _) = mint(vec![ok(&buckets()), ok(&made()), huge(2_000_000_000)]).await;
        assert!(minted.is_ok(), "{minted:?}");
    }

    #[tokio::test]
    async fn a_policy_that_is_not_of_whole_buckets_is_never_sent() {
        let deny = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::recordings/*"]}]}"#;
        for policy in [deny, "{}", "", minting::example().session_policy] {
            let (minted, received) = mint_under(policy, vec![ok(&buckets())], Duration::from_secs(20)).await;
            assert!(matches!(minted, Err(ObjectServerError::Unsendable)), "{minted:?}");
            assert_eq!(received, []);
        }
    }

    #[tokio::test]
    async fn a_lease_is_a_key_that_ends_with_its_rights_and_no_others() {
        let (minted, received) = mint(vec![ok(&buckets()), ok(&made()), ok(&json!({}))]).await;
        let minted = minted.unwrap();
        assert_eq!(minted.access_key_id.expose(), KEY);
        assert_eq!(minted.secret_access_key.expose_secret(), SECRET);
        assert_eq!(minted.session_token.expose_secret(), "00000000-0000-0000-0000-000000000007");
        assert_eq!(minted.expiration, datetime!(2026-11-22 12:15 UTC));
        let [list, create, one, other] = received.as_slice() else { panic!("{received:?}") };
        for request in [list, create, one, other] {
            assert_eq!(request.headers.get("authorization").map(String::as_str), Some("Bearer abc.hunter2"));
        }
        let body = |request: &Received| serde_json::from_str::<Value>(&request.body).unwrap();
        assert_eq!(body(create), json!({"name": NAME, "expiration": END, "deny": {"createBucket": true}}));
        let right = |bucket: &str, write: bool| {
            json!({"bucketId": bucket, "accessKeyId": KEY,
                   "permissions": {"read": true, "write": write, "owner": false}})
        };
        assert_eq!((body(one), body(other)), (right("1b", true), right("2c", false)));
    }

    #[tokio::test]
    async fn a_lease_that_was_given_less_time_is_that_short() {
        let shorter = made_with(|made| made["expiration"] = json!("2026-11-22T13:10:00+01:00"));
        let minted = mint(vec![ok(&buckets()), shorter, ok(&json!({}))]).await.0.unwrap();
        assert_eq!(minted.expiration, datetime!(2026-11-22 12:10 UTC));
        assert!(minted.expiration.offset().is_utc());
    }

    async fn revoke(replies: Vec<Reply>) -> (Result<(), ObjectServerError>, Vec<String>) {
        let (server, double) = start(replies, Duration::from_secs(20)).await;
        let revoked = server.revoke(&LeaseToEnd::from(minting::example().lease)).await;
        (revoked, lines(&double.received()))
    }

    fn row(number: usize, name: &str) -> Value {
        json!({"id": format!("GK{number:024}"), "name": name, "created": null, "expiration": END, "expired": false})
    }

    #[tokio::test]
    async fn a_lease_that_could_not_be_deleted_is_not_said_to_be_revoked() {
        let list = ok(&json!([row(1, NAME)]));
        for (replies, asked) in [
            (vec![refuses(403, "AccessDenied")], 1),
            (vec![ok(&json!({}))], 1),
            (vec![list.clone(), refuses(403, "AccessDenied")], 2),
            (vec![list.clone(), Reply::Close], 2),
        ] {
            let (revoked, lines) = revoke(replies).await;
            assert!(revoked.is_err() && lines.len() == asked, "{lines:?}");
        }
        assert!(revoke(vec![list.clone(), refuses(404, "NoSuchAccessKey")]).await.0.is_ok());
        assert!(revoke(vec![list, ok(&Value::Null)]).await.0.is_ok());
    }

    #[tokio::test]
    async fn only_the_key_of_the_lease_is_deleted() {
        let others = [row(1, "operator"), row(2, &format!("{NAME}0")), row(3, "stint-lease-00000000")];
        let list = ok(&json!([others[0], others[1], row(9, NAME), others[2]]));
        let (revoked, lines) = revoke(vec![list, ok(&Value::Null)]).await;
        revoked.unwrap();
        assert_eq!(lines, ["GET /v2/ListKeys?limit=500", &format!("POST /v2/DeleteKey?id=GK{:024}", 9)]);
        let (revoked, lines) = revoke(vec![ok(&json!(others))]).await;
        revoked.unwrap();
        assert_eq!(lines.len(), 1, "a lease without a key has ended");
    }

    #[tokio::test]
    async fn a_long_list_is_read_to_its_end_and_one_that_repeats_itself_is_left() {
        let page: Vec<Value> = (1..=500).map(|number| row(number, "operator")).collect();
        let rest = [row(500, "operator"), row(501, NAME)];
        let (revoked, lines) = revoke(vec![ok(&json!(page)), ok(&json!(rest)), ok(&Value::Null)]).await;
        revoked.unwrap();
        let offset = format!("GET /v2/ListKeys?limit=500&offset=GK{:024}", 500);
        assert_eq!(lines, ["GET /v2/ListKeys?limit=500", &offset, &format!("POST /v2/DeleteKey?id=GK{:024}", 501)]);
        let (_, lines) = revoke(vec![ok(&json!(page))]).await;
        assert_eq!(lines.len(), 2, "the second page ends where the first ended");
    }

    #[tokio::test]
    async fn a_list_that_cannot_be_believed_is_no_list() {
        let list = async |rows: Value| {
            let (server, _double) = start(vec![ok(&rows)], Duration::from_secs(20)).await;
            server.live_credentials().await
        };
        let mut endless = row(1, NAME);
        endless["expiration"] = json!("never");
        let mut nameless = row(1, NAME);
        nameless["id"] = json!("");
        for spoilt in [json!([endless]), json!([row(2, NAME), nameless]), json!({})] {
            assert!(matches!(list(spoilt.clone()).await, Err(ObjectServerError::Nonsense { .. })), "{spoilt}");
        }
        let strange = row(3, "stint-lease-of-somebody");
        let [listing] = list(json!([row(1, "operator"), row(2, NAME), strange])).await.unwrap().try_into().unwrap();
        assert_eq!(listing.parent.expose(), "garage-admin");
        let told: Vec<_> =
            listing.credentials.iter().map(|one| (one.access_key_id.expose(), one.lease, one.ends_at)).collect();
        let end = Some(datetime!(2026-11-22 12:15 UTC));
        let (first, second) = (format!("GK{:024}", 2), format!("GK{:024}", 3));
        assert_eq!(told, [(first.as_str(), Some(minting::example().lease), end), (second.as_str(), None, end)]);
    }

    #[tokio::test]
    async fn ready_means_a_quorum_and_a_good_token() {
        let list = ok(&json!([]));
        for (replies, ready) in [
            (vec![Reply::http(200, "text/plain", "Garage is fully operational"), list.clone()], true),
            (vec![Reply::http(503, "text/plain", "Quorum is not available for some/all partitions"), list], false),
            (vec![Reply::http(200, "text/plain", ""), refuses(403, "AccessDenied")], false),
            (vec![Reply::http(200, "text/plain", ""), Reply::http(200, "text/html", "<p>hello")], false),
        ] {
            let (server, double) = start(replies, Duration::from_secs(20)).await;
            assert_eq!(server.ready().await.is_ok(), ready);
            let asked = double.received();
            assert_eq!(asked[0].headers.get("authorization"), None, "health needs no token");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_with_the_token() {
        let elsewhere = ScriptedObjectServer::start(vec![ok(&buckets())]).await;
        let head = format!(
            "HTTP/1.1 307 x\r\nlocation: {}/v2/ListBuckets\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            elsewhere.endpoint()
        );
        assert!(matches!(mint(vec![Reply::Bytes(head)]).await.0, Err(ObjectServerError::Nonsense { .. })));
        assert_eq!(elsewhere.received(), []);
    }

    #[tokio::test]
    async fn the_token_is_one_word_and_is_never_shown() {
        let settings = |token: &str| GarageSettings {
            admin_endpoint: "http://garage:3903".to_owned(),
            admin_token: SecretString::from(token),
            parent: "garage-admin".to_owned(),
            timeout: Duration::from_secs(5),
        };
        for bad in ["", "hunter2\r\nx: y", "hunter 2", &"x".repeat(129)] {
            assert!(GarageServer::new(&settings(bad), Arc::new(Noon)).is_err(), "{bad:?}");
        }
        let server = GarageServer::new(&settings("hunter2"), Arc::new(Noon)).unwrap();
        assert!(!format!("{server:?} {:?}", settings("hunter2")).contains("hunter2"));
        let no_time = GarageSettings { timeout: Duration::ZERO, ..settings("hunter2") };
        assert!(matches!(GarageServer::new(&no_time, Arc::new(Noon)), Err(ConfigError::Timeout)));
        let path = GarageSettings { admin_endpoint: "http://garage:3903/v2".to_owned(), ..settings("hunter2") };
        assert!(matches!(GarageServer::new(&path, Arc::new(Noon)), Err(ConfigError::Endpoint { .. })));
    }
}
