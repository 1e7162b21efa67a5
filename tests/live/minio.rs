//! MinIO alone: every fact that the adapter and docs/object-servers.md rest on, asked of the server itself. Compiled twice:
//! as `minio` it asks the pinned release, which `STINT_LIVE_MINIO` names, as `minio_last` the newest that can be had, which
//! `STINT_LIVE_MINIO_LAST` names. `STINT_LIVE_MC` names the admin client.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use stint::clock::SystemClock;
use stint::lease::{Conditions, LeaseId};
use stint::object_server::s3::S3Key;
use stint::object_server::{MinioServer, ObjectServer, ObjectServerError, ServerSettings};
use tempfile::TempDir;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::dialect::{
    Sts, goes_by_its_own_clock, keys_stand_beside_their_actions, knows_its_actions, questions, refused_keys,
};
use crate::harness::free_port;
use crate::signed::{Answer, Key, unsigned};

const ROOT: &str = "root:rootsecret";
const MINTER: &str = "minter:mintersecret";
const FORM: &str = "Action=AssumeRole&Version=2011-06-15&DurationSeconds=900&RoleSessionName=alice-7";
const EVERYTHING: &str = r#"{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}"#;
const READ_A: &str = r#"{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::recordings/a/*"]}"#;
const NO_ADMIN: &str = r#"{"Effect":"Deny","Action":["admin:*"]}"#;

/// Where the two differ, the newest answers otherwise.
fn is_newest() -> bool {
    module_path!().ends_with("minio_last")
}

fn data(directory: &Path) -> String {
    directory.join("data").to_str().unwrap().to_owned()
}

/// A server of one test; killed when dropped.
struct Minio {
    server: Child,
    directory: TempDir,
    address: String,
}

#[expect(clippy::disallowed_methods, reason = "the runner names the binaries in the environment")]
fn binary(variable: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} must name the binary")))
}

fn policy(statements: &[&str]) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","))
}

fn lease(id: u128) -> LeaseId {
    LeaseId::from_uuid(Uuid::from_u128(id))
}

/// Its data is at the last of the arguments.
fn launch(address: &str, data: &[String], environment: &[(&str, &str)]) -> Child {
    Command::new(binary(if is_newest() { "STINT_LIVE_MINIO_LAST" } else { "STINT_LIVE_MINIO" }))
        .args(["server", "--quiet", "--address", address])
        .args(data)
        .env("MINIO_ROOT_USER", "root")
        .env("MINIO_ROOT_PASSWORD", "rootsecret")
        .envs(environment.iter().copied())
        .env("MINIO_BROWSER", "off")
        .env("MINIO_UPDATE", "off")
        .env("MINIO_CI_CD", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Minio {
    /// A server with the buckets `recordings` and `backups`, and the parent `minter` under these statements.
    async fn start(parent: &[&str]) -> Self {
        Self::start_with(parent, &[]).await
    }

    async fn start_with(parent: &[&str], environment: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let server = launch(&address, &[data(directory.path())], environment);
        Self { server, directory, address }.prepared(parent).await
    }

    async fn prepared(self, parent: &[&str]) -> Self {
        let minio = self;
        minio.becomes_ready().await;
        let file = minio.directory.path().join("parent.json");
        std::fs::write(&file, policy(parent)).unwrap();
        minio.must(&["mb", "server/recordings", "server/backups"]);
        minio.must(&["admin", "user", "add", "server", "minter", "mintersecret"]);
        minio.must(&["admin", "policy", "create", "server", "stint-parent", file.to_str().unwrap()]);
        minio.must(&["admin", "policy", "attach", "server", "stint-parent", "--user", "minter"]);
        for object in ["/recordings/a/1", "/recordings/b/1"] {
            assert_eq!(Key::parent().s3("PUT", &minio.at(object), "x").await.status, 200);
        }
        minio
    }

    /// Kills it, and starts it on what it has on disk.
    async fn start_again(&mut self, environment: &[(&str, &str)]) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        self.server = launch(&self.address, &[data(self.directory.path())], environment);
        self.becomes_ready().await;
    }

    /// As the service does: the adapter's own probe, until it says yes.
    async fn becomes_ready(&self) {
        let adapter = self.adapter();
        let ready = async {
            loop {
                match adapter.ready().await {
                    Ok(()) => break,
                    Err(ObjectServerError::Unreachable(_) | ObjectServerError::NotReady) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(1), ready).await.expect("MinIO did not become ready in a minute");
    }

    fn adapter(&self) -> MinioServer {
        let settings = ServerSettings {
            endpoint: self.at(""),
            region: "us-east-1".to_owned(),
            access_key: "minter".to_owned(),
            secret_key: SecretString::from("mintersecret"),
            timeout: Duration::from_secs(10),
        };
        MinioServer::new(settings, Arc::new(SystemClock::start())).unwrap()
    }

    /// What the adapter denies a role that holds admin rights.
    fn no_accounts(&self) -> String {
        let statements = self.adapter().capabilities().deny_statements_for_admins.clone();
        statements.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn mc(&self, login: &str, arguments: &[&str]) -> Output {
        Command::new(binary("STINT_LIVE_MC"))
            .args(["--quiet", "--config-dir"])
            .arg(self.directory.path().join("mc"))
            .args(arguments)
            .env("MC_HOST_server", format!("http://{login}@{}", self.address))
            .output()
            .unwrap()
    }

    fn must(&self, arguments: &[&str]) {
        let output = self.mc(ROOT, arguments);
        assert!(output.status.success(), "mc {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Whether this key can make a permanent key of the parent.
    fn can_make_account(&self, key: &Key) -> bool {
        let login = format!("{}:{}:{}", key.access, key.secret, key.token.as_deref().unwrap_or_default());
        let output = self.mc(&login, &["admin", "user", "svcacct", "add", "server", "minter"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || errors.contains("Access Denied"), "{errors}");
        output.status.success()
    }

    async fn assume_role(&self, policy: &str, extra: &str) -> Answer {
        let policy = form_urlencoded::Serializer::new(String::new()).append_pair("Policy", policy).finish();
        Key::parent().sts(&self.at(""), &format!("{FORM}&{policy}{extra}")).await
    }

    async fn session(&self, statements: &[&str]) -> Key {
        Key::minted(&self.assume_role(&policy(statements), "").await)
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

#[tokio::test]
async fn a_session_policy_narrows_the_parent_and_never_widens_it() {
    let minio =
        Minio::start(&[r#"{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::recordings/*"]}"#, NO_ADMIN])
            .await;
    let narrow = minio.session(&[READ_A, NO_ADMIN]).await;
    assert_eq!(narrow.s3("GET", &minio.at("/recordings/a/1"), "").await.status, 200);
    assert_eq!(narrow.s3("GET", &minio.at("/recordings/b/1"), "").await.refusal(), (403, "AccessDenied"));
    assert_eq!(narrow.s3("PUT", &minio.at("/recordings/a/1"), "y").await.refusal(), (403, "AccessDenied"));
    let wide = minio.session(&[EVERYTHING, NO_ADMIN]).await;
    assert_eq!(wide.s3("PUT", &minio.at("/recordings/b/2"), "y").await.status, 200);
    assert_eq!(wide.s3("PUT", &minio.at("/backups/x"), "y").await.refusal(), (403, "AccessDenied"));
}

#[tokio::test]
async fn a_session_key_is_worth_nothing_without_its_token() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let (session, other) = (minio.session(&[READ_A]).await, minio.session(&[READ_A]).await);
    let object = minio.at("/recordings/a/1");
    for token in [None, other.token.as_deref()] {
        let refused = session.with_token(token).s3("GET", &object, "").await;
        assert_eq!(refused.refusal(), (403, "InvalidTokenId"));
    }
    assert_eq!(unsigned("GET", &session.presign(&object), &[], "").await.body, "x");
    assert_eq!(unsigned("GET", &session.with_token(None).presign(&object), &[], "").await.status, 403);
}

/// CVE-2025-62506: for itself only explicit Denies count, so that a narrow session makes a permanent key of its parent. The
/// newest looks at the session policy; without one it is as it was, and no reason to drop the Deny.
#[tokio::test]
async fn only_an_explicit_deny_keeps_a_session_from_making_a_permanent_key() {
    let open = Minio::start(&[EVERYTHING]).await;
    assert_eq!(
        open.can_make_account(&open.session(&[READ_A]).await),
        !is_newest(),
        "a session policy that allows a read"
    );
    let unbounded = Key::minted(&Key::parent().sts(&open.at(""), FORM).await);
    assert!(open.can_make_account(&unbounded), "a session without a policy");
    for deny in [NO_ADMIN, &open.no_accounts()] {
        assert!(!open.can_make_account(&open.session(&[READ_A, deny]).await), "{deny}");
    }
    let closed = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    assert!(!closed.can_make_account(&closed.session(&[READ_A]).await), "the parent's own Deny");
    assert!(!closed.mc(MINTER, &["admin", "user", "svcacct", "add", "server", "minter"]).status.success());
    assert!(closed.mc(ROOT, &["admin", "user", "svcacct", "add", "server", "minter"]).status.success());
}

#[tokio::test]
async fn a_parent_that_is_denied_all_admin_actions_revokes_one_lease_alone() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let session = async |id| {
        let answer = minio.assume_role(&policy(&[READ_A, NO_ADMIN]), &format!("&TokenRevokeType={}", lease(id))).await;
        Key::minted(&answer)
    };
    let (doomed, spared) = (session(7).await, session(8).await);
    let object = minio.at("/recordings/a/1");
    assert_eq!(doomed.s3("GET", &object, "").await.status, 200);
    minio.adapter().revoke(&lease(7).into()).await.unwrap();
    assert_eq!(doomed.s3("GET", &object, "").await.refusal(), (403, "InvalidAccessKeyId"));
    assert_eq!(spared.s3("GET", &object, "").await.status, 200);
    // A lease that is gone, or never was, is revoked without complaint.
    minio.adapter().revoke(&lease(7).into()).await.unwrap();
    minio.adapter().revoke(&lease(9).into()).await.unwrap();
}

#[tokio::test]
async fn nobody_revokes_for_another_user_but_every_session_can_end_its_siblings() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let (session, sibling) = (minio.session(&[READ_A, NO_ADMIN]).await, minio.session(&[READ_A, NO_ADMIN]).await);
    let revoke = |user| minio.at(&format!("/minio/admin/v3/revoke-tokens/builtin?fullRevoke=true&user={user}"));
    assert_eq!(Key::parent().s3("POST", &revoke("root"), "").await.status, 403);
    assert_eq!(session.s3("POST", &revoke("root"), "").await.status, 403);
    // No policy stops this: it is why workloads must not reach the admin path.
    assert_eq!(session.s3("POST", &revoke("minter"), "").await.status, 204);
    assert_eq!(sibling.s3("GET", &minio.at("/recordings/a/1"), "").await.refusal(), (403, "InvalidAccessKeyId"));
}

#[tokio::test]
async fn only_a_built_in_user_mints_and_says_so_in_one_form() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let session = minio.session(&[READ_A, NO_ADMIN]).await;
    assert_eq!(session.sts(&minio.at(""), FORM).await.refusal(), (403, "AccessDenied"));
    let forger = Key { secret: "wrong".to_owned(), ..Key::parent() };
    assert_eq!(forger.sts(&minio.at(""), FORM).await.refusal(), (403, "AccessDenied"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    // Scope `s3` and a query beside the body each miss AssumeRole.
    assert_ne!(Key::parent().send("s3", "POST", &minio.at("/"), &form, FORM).await.status, 200);
    let with_query = minio.at("/?Action=AssumeRole&Version=2011-06-15");
    assert_ne!(Key::parent().send("sts", "POST", &with_query, &form, FORM).await.status, 200);
    assert_eq!(Key::parent().sts(&minio.at(""), "Action=AssumeRole").await.refusal(), (400, "MissingParameter"));
}

#[tokio::test]
async fn lengths_and_policies_are_bounded_as_the_adapter_states() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let of_length = async |seconds: &str| {
        let form = FORM.replace("DurationSeconds=900", &format!("DurationSeconds={seconds}"));
        Key::parent().sts(&minio.at(""), &form).await
    };
    assert_eq!(of_length("899").await.refusal(), (400, "InvalidParameterValue"));
    assert_eq!(of_length("3600").await.status, 200);
    assert_eq!(of_length("31536001").await.refusal(), (400, "InvalidParameterValue"));

    let of_size = async |size: usize, letter: &str| {
        let long = |length| policy(&[&READ_A.replace("recordings/a", &letter.repeat(length))]);
        let rest = long(0).len();
        minio.assume_role(&long((size - rest) / if letter == "&" { 6 } else { 1 }), "").await.status
    };
    let limit = minio.adapter().capabilities().session_policy.most;
    assert_eq!((of_size(limit, "x").await, of_size(limit + 1, "x").await), (200, 400));
    assert_eq!((of_size(limit, "&").await, of_size(limit + 6, "&").await), (200, 400), "& counts six");
    for fault in [
        r#"{"Effect":"Allow","Action":["sts:*"],"Resource":["*"]}"#,
        r#"{"Effect":"Allow","Action":["s3:Nonsense"],"Resource":["arn:aws:s3:::b/*"]}"#,
        r#"{"Effect":"Allow","Action":["s3:GetObject","admin:ServerInfo"],"Resource":["arn:aws:s3:::b/*"]}"#,
        r#"{"Effect":"Allow","NotAction":["s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]}"#,
    ] {
        assert_eq!(minio.assume_role(&policy(&[fault]), "").await.refusal(), (400, "InvalidParameterValue"), "{fault}");
    }
}

#[tokio::test]
async fn every_action_is_known_or_declared_unknown() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let endpoint = minio.at("");
    let sts = Sts { endpoint: &endpoint, parent: Key::parent(), role: None };
    knows_its_actions(&sts, minio.adapter().capabilities()).await;
}

#[tokio::test]
async fn the_conditions_that_are_claimed_are_enforced() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    assert_eq!(Key::parent().s3("PUT", &minio.at("/recordings/a/1?tagging="), tags).await.status, 200);
    let endpoint = minio.at("");
    let sts = Sts { endpoint: &endpoint, parent: Key::parent(), role: None };
    let mut unenforced = Vec::new();
    for question in questions() {
        if !question.is_enforced(&sts, "recordings").await {
            unenforced.push((question.operator, question.key));
        }
    }
    let Conditions::Bound { unknown, .. } = minio.adapter().capabilities().language.conditions else {
        panic!("another claim")
    };
    assert_eq!(unenforced.iter().map(|(_, key)| *key).collect::<Vec<_>>(), unknown);
    assert_eq!(refused_keys(&sts).await, unknown);
}

/// What `stint object-server reconcile` rests on: who may list, that the listing is opened, and that it is whole.
#[tokio::test]
async fn the_parent_lists_its_sessions_unless_it_is_denied_and_then_one_right_of_another_is_enough() {
    let open = Minio::start(&[EVERYTHING]).await;
    assert!(listed(&open.adapter()).await.is_empty());
    // More than one fragment of 16 KiB.
    let mut minted = Vec::new();
    for _ in 0..150 {
        minted.push(open.session(&[READ_A, NO_ADMIN]).await.access);
    }
    minted.sort();
    assert_eq!(listed(&open.adapter()).await, minted);

    let denied = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let session = denied.session(&[READ_A, NO_ADMIN]).await;
    let refused = denied.adapter().live_credentials().await.unwrap_err();
    assert!(
        matches!(&refused, ObjectServerError::Refused { status: 403, code } if code == "AccessDenied"),
        "{refused}"
    );
    let file = denied.directory.path().join("list.json");
    std::fs::write(&file, policy(&[r#"{"Effect":"Allow","Action":["admin:ListServiceAccounts"]}"#])).unwrap();
    denied.must(&["admin", "user", "add", "server", "lister", "listersecret"]);
    denied.must(&["admin", "policy", "create", "server", "list", file.to_str().unwrap()]);
    denied.must(&["admin", "policy", "attach", "server", "list", "--user", "lister"]);
    let key = |secret: &str| S3Key::long_lived(SecretString::from("lister"), SecretString::from(secret));
    assert_eq!(listed(&denied.adapter().listing_as(key("listersecret"))).await, [session.access]);
    assert!(denied.adapter().listing_as(key("anothersecret")).live_credentials().await.is_err());
}

async fn listed(adapter: &MinioServer) -> Vec<String> {
    let [listing] = adapter.live_credentials().await.unwrap().try_into().unwrap();
    assert_eq!(listing.parent.expose(), "minter");
    let mut keys: Vec<String> = listing
        .credentials
        .iter()
        .map(|credential| {
            assert!(credential.ends_at.is_some() && credential.lease.is_none());
            credential.access_key_id.expose().to_owned()
        })
        .collect();
    keys.sort();
    keys
}

/// What the root secret signs is worth nothing under another: the one switch that ends all sessions of all parents.
#[tokio::test]
async fn a_new_root_secret_ends_every_session_for_good() {
    let mut minio = Minio::start(&[EVERYTHING]).await;
    let session = minio.session(&[READ_A, NO_ADMIN]).await;
    let read = async |minio: &Minio| session.s3("GET", &minio.at("/recordings/a/1"), "").await.status;
    assert_eq!(read(&minio).await, 200);
    minio.start_again(&[("MINIO_ROOT_PASSWORD", "anothersecret")]).await;
    assert_eq!(read(&minio).await, 403);
    assert_eq!(Key::parent().s3("GET", &minio.at("/recordings/a/1"), "").await.status, 200, "users go by their own");
    minio.start_again(&[]).await;
    assert_eq!(read(&minio).await, 403, "it removed what it could not read");
}

/// The length that is asked for counts for nothing then: what the server says is believed only where it fits what was asked.
#[tokio::test]
async fn a_server_with_a_length_of_its_own_ignores_the_one_that_is_asked_for() {
    let minio = Minio::start_with(&[EVERYTHING], &[("MINIO_STS_DURATION", "2h")]).await;
    let answer = minio.assume_role(&policy(&[READ_A, NO_ADMIN]), "").await;
    let end = answer.element("Expiration").unwrap_or_else(|| panic!("{answer:?}"));
    let end = OffsetDateTime::parse(end, &time::format_description::well_known::Rfc3339).unwrap();
    let length = end - crate::harness::now();
    assert!(length > time::Duration::minutes(110), "900 seconds were asked for: {length}");
}

/// Anybody writes the header, so a condition on the address keeps nobody out who may reach the server himself.
#[tokio::test]
async fn a_condition_on_the_address_believes_what_the_client_says() {
    let minio = Minio::start(&[EVERYTHING]).await;
    let from_afar = READ_A.replacen('{', r#"{"Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.7"}},"#, 1);
    let session = minio.session(&[&from_afar, NO_ADMIN]).await;
    let (url, none) = (minio.at("/recordings/a/1"), "");
    assert_eq!(session.s3("GET", &url, none).await.status, 403);
    for header in ["x-forwarded-for", "x-real-ip"] {
        assert_eq!(session.send("s3", "GET", &url, &[(header, "203.0.113.7")], none).await.status, 200, "{header}");
        assert_eq!(session.send("s3", "GET", &url, &[(header, "203.0.113.8")], none).await.status, 403, "{header}");
    }
}

/// Nodes share a disk, not a memory: the one that was asked forgets the session, and one that has read it goes on.
#[tokio::test]
async fn a_node_that_has_read_a_session_honours_it_after_another_ended_it() {
    let directory = TempDir::new().unwrap();
    let addresses = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let drive = |(node, address): (usize, &String)| {
        ["a", "b"].map(|disk| format!("http://{address}{}", directory.path().join(format!("{node}{disk}")).display()))
    };
    let drives: Vec<String> = addresses.iter().enumerate().flat_map(drive).collect();
    let [first, second] = addresses.map(|address| {
        // In a container it looks for another address of its own than this one.
        let server = launch(&address, &drives, &[("_MINIO_SERVER_LOCAL", &address)]);
        Minio { server, directory: TempDir::new().unwrap(), address }
    });
    second.becomes_ready().await;
    let first = first.prepared(&[EVERYTHING]).await;
    let ended = lease(1);
    let token_type = format!("&TokenRevokeType={ended}");
    let session = Key::minted(&first.assume_role(&policy(&[READ_A, NO_ADMIN]), &token_type).await);
    let read = async |node: &Minio| session.s3("GET", &node.at("/recordings/a/1"), "").await.status;
    assert_eq!((read(&first).await, read(&second).await), (200, 200));
    first.adapter().revoke(&ended.into()).await.unwrap();
    assert_eq!((read(&first).await, read(&second).await), (403, 200));
    second.adapter().revoke(&ended.into()).await.unwrap();
    assert_eq!(read(&second).await, 403, "each node ends what it has read");
}

/// Sessions are read from disk when they are used (`cmd/iam-store.go`, `LoadIAMCache` leaves them out, `LoadUser` reads one),
/// and both the list and a revocation look only at those in memory: a server that has started since says of one that nobody
/// has used that it is not there, and that it has ended it.
#[tokio::test]
async fn a_session_that_nobody_used_since_the_server_started_is_neither_listed_nor_revoked() {
    let rights = r#"{"Effect":"Allow","Action":["admin:ListServiceAccounts"]}"#;
    let mut minio = Minio::start(&[EVERYTHING, rights]).await;
    let adapter = minio.adapter();
    let (used, unused) = (lease(1), lease(2));
    let session = async |minio: &Minio, lease: &LeaseId| {
        let token_type = format!("&TokenRevokeType={lease}");
        Key::minted(&minio.assume_role(&policy(&[READ_A, NO_ADMIN]), &token_type).await)
    };
    let [used_key, unused_key] = [session(&minio, &used).await, session(&minio, &unused).await];
    let mut both = [used_key.access.clone(), unused_key.access.clone()];
    both.sort();
    assert_eq!(listed(&adapter).await, both, "what it minted itself it lists");

    minio.start_again(&[]).await;
    let read = async |key: &Key| key.s3("GET", &minio.at("/recordings/a/1"), "").await.status;
    assert_eq!(read(&used_key).await, 200);
    assert_eq!(listed(&adapter).await, [used_key.access.as_str()]);
    adapter.revoke(&unused.into()).await.unwrap();
    adapter.revoke(&used.into()).await.unwrap();
    assert_eq!(read(&used_key).await, 403);
    assert_eq!(read(&unused_key).await, 200, "it answered 204");
    assert_eq!(listed(&adapter).await, [unused_key.access.as_str()], "from its first use on");
    adapter.revoke(&unused.into()).await.unwrap();
    assert_eq!(read(&unused_key).await, 403);
}

/// Every condition key beside every action: what the adapter refuses at load is exactly what the server refuses.
#[tokio::test]
async fn a_key_stands_beside_the_actions_that_the_adapter_says() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let endpoint = minio.at("");
    let sts = Sts { endpoint: &endpoint, parent: Key::parent(), role: None };
    let mut others: Vec<String> =
        ["s3:*", "s3:Get*", "s3:List*", "s3:?utObject", "s3:Put*Tagging"].map(str::to_owned).into();
    others.extend(["admin:*", "admin:ServerInfo", "admin:Server*"].map(str::to_owned));
    keys_stand_beside_their_actions(&sts, minio.adapter().capabilities(), &others).await;
}

#[tokio::test]
async fn what_happens_to_the_parent_happens_to_its_sessions() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let session = minio.session(&[READ_A, NO_ADMIN]).await;
    let read = async || session.s3("GET", &minio.at("/recordings/a/1"), "").await.status;
    assert_eq!(read().await, 200);
    minio.must(&["admin", "user", "disable", "server", "minter"]);
    assert_eq!(read().await, 403);
    assert_eq!(Key::parent().sts(&minio.at(""), FORM).await.refusal(), (403, "AccessDenied"));
    minio.must(&["admin", "user", "enable", "server", "minter"]);
    assert_eq!(read().await, 200, "an enabled parent revives its sessions");
    minio.must(&["admin", "user", "add", "server", "minter", "anothersecret"]);
    assert_eq!(read().await, 200, "a new secret of the parent ends no session");
    minio.must(&["admin", "user", "remove", "server", "minter"]);
    assert_eq!(read().await, 403);
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_mints_nothing() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let endpoint = minio.at("");
    goes_by_its_own_clock(&Sts { endpoint: &endpoint, parent: Key::parent(), role: None }).await;
}

/// What else of the STS and of sessions was read in the source: a service account mints nothing, a session deletes its
/// parent's service accounts, and a parent that is made anew revives its sessions.
#[tokio::test]
async fn service_accounts_and_a_parent_made_anew_are_as_read() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let account = [
        "admin",
        "user",
        "svcacct",
        "add",
        "server",
        "minter",
        "--access-key",
        "SERVICEACCOUNT",
        "--secret-key",
        "servicesecret",
    ];
    minio.must(&account);
    let account = Key { access: "SERVICEACCOUNT".to_owned(), secret: "servicesecret".to_owned(), token: None };
    assert_eq!(
        account.sts(&minio.at(""), FORM).await.refusal(),
        (403, "AccessDenied"),
        "a service account mints nothing"
    );

    let session = minio.session(&[READ_A, NO_ADMIN]).await;
    let delete = minio.at("/minio/admin/v3/delete-service-account?accessKey=SERVICEACCOUNT");
    assert_eq!(
        session.s3("DELETE", &delete, "").await.status,
        204,
        "no policy stops it: keep workloads off the admin path"
    );

    let read = async || session.s3("GET", &minio.at("/recordings/a/1"), "").await.status;
    minio.must(&["admin", "user", "remove", "server", "minter"]);
    assert_eq!(read().await, 403);
    minio.must(&["admin", "user", "add", "server", "minter", "mintersecret"]);
    minio.must(&["admin", "policy", "attach", "server", "stint-parent", "--user", "minter"]);
    assert_eq!(read().await, 200, "a parent of the same name revives what was minted under the one before");
}

/// MinIO takes 8 KiB of headers in all; the token carries the session policy twice encoded.
#[tokio::test]
async fn the_largest_session_policy_still_makes_usable_keys() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let filler = |length: usize| {
        let resource = |n: usize| format!("arn:aws:s3:::recordings/{n}{}", "x".repeat(length / 2));
        format!(r#"{{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["{}","{}"]}}"#, resource(1), resource(2))
    };
    let limit = minio.adapter().capabilities().session_policy.most;
    let rest = policy(&[READ_A, &filler(0), NO_ADMIN]).len();
    let session = minio.session(&[READ_A, &filler(limit - rest), NO_ADMIN]).await;
    assert!(session.token.as_ref().unwrap().len() > 3500);
    assert_eq!(session.s3("GET", &minio.at("/recordings/a/1"), "").await.status, 200);
    assert_eq!(unsigned("GET", &session.presign(&minio.at("/recordings/a/1")), &[], "").await.status, 200);
}

/// `admin:InspectData` downloads raw files of the backend, the users' secrets among them. `admin:*` grants it, and no policy
/// may name it: only a parent that names its admin actions one by one keeps it from an admin's session.
#[tokio::test]
async fn a_parent_that_names_its_admin_actions_keeps_the_backend_from_admin_sessions() {
    let inspect = "/minio/admin/v3/inspect-data?volume=.minio.sys&file=config/iam/users/minter/identity.json";
    let every_admin = r#"{"Effect":"Allow","Action":["admin:*"]}"#;
    let open = Minio::start(&[EVERYTHING, every_admin]).await;
    let named = open.assume_role(&policy(&[r#"{"Effect":"Deny","Action":["admin:InspectData"]}"#]), "").await;
    assert_eq!(named.refusal(), (400, "InvalidParameterValue"));
    let admin = open.session(&[every_admin, &open.no_accounts()]).await;
    assert_eq!(admin.s3("GET", &open.at(inspect), "").await.status, 200, "the pinned release is known to allow it");

    let info = r#"{"Effect":"Allow","Action":["admin:ServerInfo"]}"#;
    let closed = Minio::start(&[EVERYTHING, info]).await;
    let admin = closed.session(&[every_admin, &closed.no_accounts()]).await;
    assert_eq!(admin.s3("GET", &closed.at("/minio/admin/v3/info"), "").await.status, 200);
    assert_eq!(admin.s3("GET", &closed.at(inspect), "").await.status, 403);
}

/// What a role without a word on versions may do to them: on the pinned release delete them, on the newest not.
#[tokio::test]
async fn a_version_is_deleted_only_by_whom_nothing_denies_it() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    minio.must(&["version", "enable", "server/recordings"]);
    let object = minio.at("/recordings/a/1");
    let version = async || {
        assert_eq!(Key::parent().s3("PUT", &object, "y").await.status, 200);
        let listed = Key::parent().s3("GET", &minio.at("/recordings?versions=&prefix=a%2F1"), "").await;
        format!("{object}?versionId={}", listed.element("VersionId").unwrap())
    };
    let delete = r#"{"Effect":"Allow","Action":["s3:DeleteObject"],"Resource":["arn:aws:s3:::recordings/a/*"]}"#;
    let named = delete.replace("s3:DeleteObject", "s3:DeleteObjectVersion");
    let denied = named.replace("Allow", "Deny");
    for (statements, status) in
        [(vec![delete], if is_newest() { 403 } else { 204 }), (vec![delete, &named], 204), (vec![delete, &denied], 403)]
    {
        let session = minio.session(&[&statements[..], &[NO_ADMIN]].concat()).await;
        assert_eq!(session.s3("DELETE", &version().await, "").await.status, status, "{statements:?}");
        assert_eq!(session.s3("DELETE", &object, "").await.status, 204, "the object itself: {statements:?}");
    }
}

/// `"Action":"*"` counts as a statement of the STS, whose Resource is not looked at.
#[tokio::test]
async fn a_star_as_action_forgets_its_resource() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let star = r#"{"Effect":"Allow","Action":["*"],"Resource":["arn:aws:s3:::recordings/a/*"]}"#;
    let session = minio.session(&[star]).await;
    assert_eq!(session.s3("PUT", &minio.at("/backups/x"), "y").await.status, 200);
}

/// Bucket requests match as `bucket/`.
#[tokio::test]
async fn s3_star_on_the_objects_of_a_bucket_grants_the_bucket_too() {
    let minio = Minio::start(&[EVERYTHING, NO_ADMIN]).await;
    let objects = r#"{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::recordings/*"]}"#;
    let session = minio.session(&[objects]).await;
    let everyone = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},
        "Action":["s3:GetObject"],"Resource":["arn:aws:s3:::recordings/*"]}]}"#;
    assert_eq!(session.s3("PUT", &minio.at("/recordings?policy="), everyone).await.status, 204);
    assert_eq!(unsigned("GET", &minio.at("/recordings/b/1"), &[], "").await.status, 200);
    let listed = objects.replace("s3:*", "s3:GetObject\",\"s3:PutObject");
    let session = minio.session(&[&listed]).await;
    assert_eq!(session.s3("PUT", &minio.at("/recordings?policy="), everyone).await.refusal(), (403, "AccessDenied"));
}
