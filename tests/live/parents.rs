//! Several parents on a real MinIO: a role's ceiling is the server's own, a role is cut without the others, and a key
//! rotates under load with no exchange refused.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sqlx::PgConnection;
use stint::audit::FingerprintKey;
use tokio_util::task::TaskTracker;

use crate::harness::{Answer, Boto3, Database, Ended, Keys, Minio, PARENT, Stint, now, until};
use crate::signed::Key;

const REFUSED: &str = "AccessDenied";
const VIEWERS: &str = "viewers-parent";
const VIEWERS_SECRET: &str = "planted-secret-of-the-viewers-parent";
const UNUSED: &str = "unused-parent";
const UNUSED_SECRET: &str = "planted-secret-of-the-unused-parent";
const READ_ONLY: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::*"]},
    {"Effect":"Deny","Action":["admin:*"]}]}"#;
const EVERYTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}"#;

/// An issuer whose key the service reads from a file: these tests are about the other side.
struct Issuer {
    pair: RsaKeyPair,
    block: String,
}

impl Issuer {
    fn new(keys: &Path) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let n = encode(pair.public_key().modulus().big_endian_without_leading_zero());
        let e = encode(pair.public_key().exponent().big_endian_without_leading_zero());
        let key = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k", "n": n, "e": e});
        std::fs::write(keys, json!({"keys": [key]}).to_string()).expect("our own directory");
        let block = format!(
            "issuer = \"https://auth.example/\"\naudiences = [\"stint\"]\nprofile = \"authentik\"\nkeys = {{ jwks_file = \
             {:?} }}",
            keys.display().to_string()
        );
        Self { pair, block }
    }

    fn token(&self, group: &str) -> String {
        let now = now().unix_timestamp();
        let claims = json!({
            "iss": "https://auth.example/", "aud": "stint", "azp": "stint", "sub": format!("sub-{group}"),
            "iat": now - 60, "exp": now + 3600, "groups": [group], "auth_time": now - 60, "sid": "0f1e2d3c",
            "uid": "Rk3vYq0sT1uWxYz2", "acr": "goauthentik.io/providers/oauth2/default", "amr": ["pwd"],
            "preferred_username": group, "scope": "openid email profile",
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&json!({"alg": "RS256", "kid": "k", "typ": "JWT"})), part(&claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).expect("signed");
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

struct Site {
    stint: Stint,
    minio: Minio,
    database: Database,
    issuer: Issuer,
    directory: tempfile::TempDir,
}

impl Site {
    /// The default parent of the other tests, one of read-only rights for viewers, and one that is retired and never minted.
    async fn start() -> Self {
        let (database, minio) = (Database::start().await, Minio::start().await);
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        let policy = directory.path().join("read-only.json");
        std::fs::write(&policy, READ_ONLY).expect("our own directory");
        minio.must(&["admin", "policy", "create", "server", "read-only", policy.to_str().expect("text")]);
        for (user, secret) in [(VIEWERS, VIEWERS_SECRET), (UNUSED, UNUSED_SECRET)] {
            minio.must(&["admin", "user", "add", "server", user, secret]);
            minio.must(&["admin", "policy", "attach", "server", "read-only", "--user", user]);
        }
        let settings = format!(
            "kind = \"minio\"\nendpoint = \"{}\"\naccess_key = \"{PARENT}\"\nsecret_key = \"{}\"\n\
             [[object_server.parent]]\nroles = [\"spacemusic-viewers\"]\naccess_key = \"{VIEWERS}\"\nsecret_key = \
             \"{VIEWERS_SECRET}\"\n[[object_server.retired_parent]]\naccess_key = \"{UNUSED}\"\nsecret_key = \
             \"{UNUSED_SECRET}\"\n[object_server.bootstrap]\naccess_key = \"root\"\nsecret_key = \"{}\"\n\
             [audit]\nfingerprint_key = \"fingerprints\"\n",
            minio.endpoint(),
            minio.parent_secret(),
            minio.root_secret(),
        );
        let issuer = Issuer::new(&directory.path().join("keys.json"));
        let stint = Stint::start_trusting(&issuer.block, &settings, &database, "ttl = \"60m\"", &[]).await;
        stint.until_ready().await;
        Self { stint, minio, database, issuer, directory }
    }

    async fn ask(&self, client: &str) -> Answer {
        self.stint.lease(&self.issuer.token(client), &json!({})).await
    }

    async fn keys(&self, client: &str) -> Keys {
        let answer = self.ask(client).await;
        assert_eq!(answer.status, 201, "{client}: {}", answer.body);
        answer.keys()
    }

    fn walk(&self, keys: &Keys, steps: &[&str]) -> Vec<String> {
        Boto3::against(&self.minio).holding(keys).walk(steps)
    }

    fn rotate(&self, more: &[&str]) -> Ended {
        let mut stint = Command::new(env!("CARGO_BIN_EXE_stint"));
        stint.env_clear().args(["object-server", "rotate", "--config"]).arg(self.stint.config()).args(more);
        let output = stint.output().expect("stint runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Whether MinIO has this user, enabled.
    fn has_user(&self, name: &str) -> bool {
        let told = self.minio.as_root(&["--json", "admin", "user", "info", "server", name]);
        String::from_utf8_lossy(&told.stdout).contains("\"userStatus\":\"enabled\"")
    }
}

fn fingerprint(access_key: &str) -> String {
    FingerprintKey::derive(b"fingerprints").fingerprint(access_key).as_str().to_owned()
}

async fn leases_under(connection: &mut PgConnection, access_key: &str) -> i64 {
    let query = "select count(*) from audit_event where type = 'lease.issued' and parent_fingerprint = $1";
    let count = sqlx::query_scalar(query).bind(fingerprint(access_key)).fetch_one(connection);
    count.await.expect("the log can be read")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("the new key's file").trim().to_owned()
}

#[tokio::test]
async fn a_roles_ceiling_is_the_servers_own_and_one_role_is_cut_without_the_others() {
    let site = Site::start().await;
    let (studio, viewer) = (site.keys("spacemusic-studio").await, site.keys("spacemusic-viewers").await);
    assert_eq!(site.walk(&studio, &["put:exports/reel"]), ["ok"]);
    assert_eq!(site.walk(&viewer, &["get:exports/reel", "put:exports/reel"]), ["ok", REFUSED]);
    let mut connection = site.database.connection().await;
    assert_eq!(leases_under(&mut connection, PARENT).await, 1);
    assert_eq!(leases_under(&mut connection, VIEWERS).await, 1);

    // A session policy that is wider than the role, as a fault in stint would send: the server still holds the ceiling.
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("Action", "AssumeRole"), ("Version", "2011-06-15"), ("DurationSeconds", "900")])
        .append_pair("Policy", EVERYTHING)
        .finish();
    let parent = Key { access: VIEWERS.to_owned(), secret: VIEWERS_SECRET.to_owned(), token: None };
    let wide = Key::minted(&parent.sts(&site.minio.endpoint(), &form).await);
    let object = format!("{}/exports/reel", site.minio.endpoint());
    assert_eq!(wide.s3("GET", &object, "").await.status, 200);
    assert_eq!(wide.s3("PUT", &object, "x").await.refusal(), (403, "AccessDenied"));

    site.minio.must(&["admin", "user", "disable", "server", VIEWERS]);
    assert_ne!(site.walk(&viewer, &["get:exports/reel"]), ["ok"], "at once");
    assert_eq!(site.walk(&studio, &["get:exports/reel"]), ["ok"], "the others go on");
    assert_eq!(site.ask("spacemusic-viewers").await.status, 503, "and no new lease of that role");
    assert_eq!(site.ask("spacemusic-studio").await.status, 201);
    site.minio.must(&["admin", "user", "enable", "server", VIEWERS]);
    assert_eq!(site.walk(&viewer, &["get:exports/reel"]), ["ok"], "enabling revives what has not expired");
    assert_eq!(site.ask("spacemusic-viewers").await.status, 201);
}

#[tokio::test]
async fn each_parent_is_verified_and_the_one_that_fails_is_named() {
    let site = Site::start().await;
    let verify = || {
        let ended = site.stint.run(&["object-server", "verify", "--bucket", "exports", "--json"]);
        let report: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        let checks = report["checks"].as_array().unwrap_or_else(|| panic!("{report}")).clone();
        let failed: Vec<String> = checks
            .iter()
            .filter(|check| check["outcome"] == "failed")
            .map(|check| {
                format!("{} {}", check["parent"].as_str().unwrap_or("-"), check["name"].as_str().unwrap_or("-"))
            })
            .collect();
        let minted = checks.iter().filter(|check| check["name"] == "mint" && check["outcome"] == "passed").count();
        (ended.status.code(), minted, failed)
    };
    assert_eq!(verify(), (Some(0), 2, Vec::new()));
    site.minio.must(&["admin", "user", "disable", "server", VIEWERS]);
    let (code, minted, failed) = verify();
    assert_eq!((code, minted), (Some(1), 1), "{failed:?}");
    assert!(failed.contains(&"the parent of spacemusic-viewers mint".to_owned()), "{failed:?}");
    assert!(!failed.iter().any(|failed| failed.starts_with("the default parent")), "{failed:?}");
}

/// Exchanges, one after another on each of four lines, until told to stop; the statuses that were no 201.
fn load(site: &Site, token: &str, stop: &Arc<AtomicBool>) -> (TaskTracker, Arc<std::sync::Mutex<Vec<u16>>>) {
    let (tasks, told) = (TaskTracker::new(), Arc::new(std::sync::Mutex::new(Vec::new())));
    for _ in 0..4 {
        let (url, token) = (site.stint.url("/v1/leases"), token.to_owned());
        let (stop, told) = (Arc::clone(stop), Arc::clone(&told));
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = Answer::to_json(&url, &token, &json!({})).await;
                told.lock().expect("the list").push(answer.map_or(0, |answer| answer.status));
            }
        });
    }
    tasks.close();
    (tasks, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_rotates_under_load_with_no_exchange_refused_and_ends_when_nothing_hangs_on_it() {
    let site = Site::start().await;
    let answer = site.ask("spacemusic-studio").await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let (lease, early) = (answer.json()["lease_id"].as_str().expect("an id").to_owned(), answer.keys());
    assert_eq!(site.walk(&early, &["put:exports/reel"]), ["ok"]);
    let stop = Arc::new(AtomicBool::new(false));
    let (tasks, told) = load(&site, &site.issuer.token("spacemusic-studio"), &stop);

    let into = site.directory.path().join("new");
    let directory = into.to_str().expect("text");
    let planned = site.rotate(&["--plan"]);
    assert_eq!(planned.code, Some(0), "{planned:?}");
    assert!(planned.stdout.starts_with("the default parent: its policies are stint-parent"), "{planned:?}");
    assert!(!into.exists());
    let rotated = site.rotate(&["--into", directory]);
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    assert!(rotated.stdout.contains("passed  mint") && rotated.stdout.contains("passed  cleanup"), "{rotated:?}");
    let (access_key, secret_key) = (read(&into.join("access_key")), read(&into.join("secret_key")));
    for output in [&rotated.stdout, &rotated.stderr] {
        assert!(!output.contains(&secret_key) && !output.contains(&access_key), "no key is printed");
    }
    let policies = site.minio.as_root(&["--json", "admin", "user", "info", "server", &access_key]);
    assert!(String::from_utf8_lossy(&policies.stdout).contains("\"policyName\":\"stint-parent\""), "{policies:?}");
    let again = site.rotate(&["--into", directory]);
    assert_eq!((again.code, read(&into.join("access_key"))), (Some(0), access_key.clone()), "{again:?}");

    // What it said, put into the configuration; the service goes on with the new key.
    let old = format!("access_key = \"{PARENT}\"\nsecret_key = \"{}\"\n", site.minio.parent_secret());
    let new = format!("access_key_file = \"{directory}/access_key\"\nsecret_key_file = \"{directory}/secret_key\"\n");
    let retired = "[object_server.bootstrap]";
    let moved = std::fs::read_to_string(site.stint.config()).expect("written");
    let moved =
        moved.replace(&old, &new).replace(retired, &format!("[[object_server.retired_parent]]\n{old}{retired}"));
    std::fs::write(site.stint.config(), &moved).expect("our own directory");
    site.stint.reconfigure("[lease]", "[lease]");
    until("leases are the new parent's", Duration::from_secs(30), async || {
        leases_under(&mut site.database.connection().await, &access_key).await > 10
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    tasks.wait().await;
    let told = told.lock().expect("the list").clone();
    assert!(told.len() > 20 && told.iter().all(|status| *status == 201), "{told:?}");
    assert_eq!(site.walk(&early, &["get:exports/reel"]), ["ok"], "leases of the old one live on");
    let done = site.rotate(&["--into", directory]);
    assert!(done.code == Some(1) && done.stderr.contains("is configured already"), "{done:?}");

    // The one that never minted goes; the one with open leases stays, and the command says until when.
    let planned = site.rotate(&["--finish", "--plan"]);
    assert!(planned.stdout.contains("retired_parent[0]: nothing hangs on it: would disable"), "{planned:?}");
    assert!(site.has_user(UNUSED) && site.has_user(PARENT));
    let finished = site.rotate(&["--finish"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("retired_parent[0]: its user is deleted"), "{finished:?}");
    assert!(finished.stdout.contains("retired_parent[1]: not before 20"), "{finished:?}");
    assert!(finished.stdout.contains("of its leases are open, and it last minted"), "{finished:?}");
    assert!(!site.has_user(UNUSED) && site.has_user(PARENT));
    assert_eq!(site.walk(&early, &["get:exports/reel"]), ["ok"]);
    let again = site.rotate(&["--finish"]);
    assert!(again.stdout.contains("retired_parent[0]: there is no such user any more"), "{again:?}");

    // A lease is ended under the parent that minted it: any other says yes, and ends nothing.
    let (url, token) = (site.stint.url(&format!("/v1/leases/{lease}")), site.issuer.token("spacemusic-studio"));
    let ended = Answer::to_delete(&url, &token).await.expect("stint answers");
    assert_eq!((ended.status, &ended.json()["outcome"]), (200, &json!("refused_at_server")), "{}", ended.body);
    assert_eq!(site.walk(&early, &["get:exports/reel"]), ["InvalidAccessKeyId"]);
    let logged = site.stint.log();
    for secret in [secret_key.as_str(), access_key.as_str(), VIEWERS_SECRET, UNUSED_SECRET, site.minio.parent_secret()]
    {
        assert!(!logged.contains(secret), "a parent's key is in the log");
    }
}
