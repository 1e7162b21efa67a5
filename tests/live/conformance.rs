//! `stint object-server verify` on a real MinIO: everything passes on one that is set up as documented, and each thing that
//! is set up wrong fails its own check. With `STINT_LIVE_ROWS` naming a directory, what was seen becomes a row of
//! `docs/compatibility.md` there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use serde_json::Value;
use tokio_util::task::TaskTracker;

use super::harness::{AwsEmulator, Ceph, Database, Ended, Minio, PARENT, Rustfs, Seaweedfs, Site, keep_row, named_by};
use super::signed::Key;

/// Outcome and text of each check.
fn checks(ended: &Ended) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let report = ended.json();
    let checks = report["checks"].as_array().expect("checks").iter();
    checks.map(|check| (text(&check["name"]), (text(&check["outcome"]), text(&check["seen"])))).collect()
}

fn outcome<'a>(checks: &'a BTreeMap<String, (String, String)>, name: &str) -> &'a str {
    &checks[name].0
}

async fn prepared(environment: &[(&str, &str)]) -> (Minio, Database, Site) {
    prepared_on(Minio::bare(environment).await).await
}

async fn prepared_on(minio: Minio) -> (Minio, Database, Site) {
    let database = Database::start().await;
    let site = Site::new(&minio, &database.url());
    let bootstrap = site.run(&["bootstrap"]);
    assert_eq!(bootstrap.code, Some(0), "{bootstrap:?}");
    (minio, database, site)
}

/// Nothing of a run is left on the server.
fn nothing_is_left(minio: &Minio) {
    for bucket in ["server/recordings", "server/textures"] {
        for what in ["--versions", "--incomplete"] {
            let listed = minio.as_root(&["ls", "--recursive", what, bucket]);
            assert!(listed.status.success() && listed.stdout.is_empty(), "{listed:?}");
        }
    }
    let buckets = minio.as_root(&["ls", "server"]);
    assert!(!String::from_utf8_lossy(&buckets.stdout).contains("stint-verify"), "{buckets:?}");
}

#[tokio::test]
async fn a_server_set_up_as_documented_keeps_what_stint_rests_on() {
    everything_is_kept(Minio::bare(&[]).await, &Minio::release()).await;
}

#[tokio::test]
async fn minio_last_set_up_as_documented_keeps_what_stint_rests_on() {
    everything_is_kept(Minio::bare_last().await, &Minio::last_version()).await;
}

async fn everything_is_kept(minio: Minio, version: &str) {
    let (minio, database, site) = prepared_on(minio).await;
    let ended = site.run(&["verify", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let seen = checks(&ended);
    assert_eq!(seen.len(), 21);
    for (name, (outcome, told)) in &seen {
        // That sessions end is not awaited: the shortest takes a quarter of an hour.
        let expected = if name == "expiry" { "noted" } else { "passed" };
        assert_eq!(outcome, expected, "{name}: {told}");
    }
    nothing_is_left(&minio);
    assert_eq!(minio.minted(), 0, "the sessions were ended");

    // The two mints are on record as nobody's, each with its outcome, in a stream that was closed.
    for kind in ["lease.intended", "lease.issued"] {
        let told = "select count(*) from audit_event where type = $1 and door = 'cli' and role = 'stint:verify' \
                    and subject is null and effect = 'not_applicable'";
        let query = sqlx::query_scalar::<_, i64>(told).bind(kind);
        let rows = query.fetch_one(&mut database.connection().await).await.expect("the log can be read");
        assert_eq!((rows, database.rows(kind).await), (2, 2), "{kind}");
    }
    assert_eq!(database.rows("stream.closed").await, 1);
    keep_row("MinIO", version, &ended.json());
}

#[tokio::test]
async fn the_table_says_the_same_and_without_an_administrators_key_less() {
    let (minio, _database, site) = prepared(&[]).await;
    site.configure("access_key = \"root\"\n", "");
    site.configure(&format!("secret_key = \"{}\"\n", minio.root_secret()), "");
    let ended = site.run(&["verify", "--bucket", "textures"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in [
        "passed  outside-is-refused",
        "n/a     lifecycle",
        "noted   expiry",
        "passed  cleanup",
        "ok: 21 checks, none failed",
    ] {
        assert!(ended.stdout.contains(line), "{line}: {ended:?}");
    }
    nothing_is_left(&minio);
}

#[tokio::test]
async fn a_parent_that_is_too_powerful_fails_its_checks() {
    let (minio, _database, site) = prepared(&[]).await;
    minio.must(&["admin", "policy", "attach", "server", "consoleAdmin", "--user", PARENT]);
    minio.must(&["admin", "policy", "detach", "server", PARENT, "--user", PARENT]);
    let ended = site.run(&["verify", "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let seen = checks(&ended);
    for failed in ["parent-reads-no-secrets", "parent-makes-no-keys"] {
        assert_eq!(outcome(&seen, failed), "failed", "{failed}");
    }
    // Its sessions carry their own Deny.
    for passed in ["no-permanent-key", "outside-is-refused", "cleanup", "parent-is-not-root"] {
        assert_eq!(outcome(&seen, passed), "passed", "{passed}: {}", seen[passed].1);
    }
    let keys = minio.as_root(&["--json", "admin", "accesskey", "ls", "server", "--all", "--svcacc-only"]);
    assert!(
        !String::from_utf8_lossy(&keys.stdout).contains("STINTTRIAL"),
        "the key that was made to try is gone: {keys:?}"
    );
    nothing_is_left(&minio);
}

/// An identity provider that publishes no key.
async fn provider() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let issuer = format!("http://{}", listener.local_addr().expect("an address"));
    let discovery = serde_json::json!({
        "issuer": issuer, "jwks_uri": format!("{issuer}/keys"), "token_endpoint": format!("{issuer}/token"),
        "authorization_endpoint": format!("{issuer}/authorize"), "response_types_supported": ["code"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
    });
    let router = axum::Router::new()
        .route("/.well-known/openid-configuration", axum::routing::get(async move || discovery.to_string()))
        .route("/keys", axum::routing::get(async || r#"{"keys":[]}"#));
    TaskTracker::new().spawn(axum::serve(listener, router).into_future());
    issuer
}

/// On threads of its own: MinIO asks the provider while the command is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_on_of_the_servers_own_is_told() {
    let issuer = provider().await;
    let configuration = format!("{issuer}/.well-known/openid-configuration");
    let (minio, _database, site) = prepared(&[
        ("MINIO_IDENTITY_OPENID_CONFIG_URL", &configuration),
        ("MINIO_IDENTITY_OPENID_CLIENT_ID", "minio"),
        ("MINIO_IDENTITY_OPENID_CLIENT_SECRET", "client-secret"),
        ("MINIO_IDENTITY_OPENID_CLAIM_NAME", "groups"),
    ])
    .await;
    let ended = site.run(&["verify", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let seen = checks(&ended);
    assert_eq!(outcome(&seen, "own-sign-on"), "noted", "{seen:?}");
    assert!(ended.stdout.contains("CVE-2026-33322"), "{ended:?}");
    nothing_is_left(&minio);
}

#[tokio::test]
async fn root_as_the_parent_is_told() {
    let (minio, _database, site) = prepared(&[]).await;
    let (parent, secret) =
        (format!("access_key = \"{PARENT}\""), format!("secret_key = \"{}\"", minio.parent_secret()));
    site.configure("[object_server.bootstrap]\naccess_key = \"root\"\n", "[object_server.bootstrap]\n");
    site.configure(&format!("secret_key = \"{}\"\n", minio.root_secret()), "");
    site.configure(&parent, "access_key = \"root\"");
    site.configure(&secret, &format!("secret_key = \"{}\"", minio.root_secret()));
    let ended = site.run(&["verify", "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let seen = checks(&ended);
    assert_eq!(outcome(&seen, "parent-is-not-root"), "failed", "{seen:?}");
    nothing_is_left(&minio);
}

#[tokio::test]
async fn a_parent_without_rights_mints_leases_that_are_good_for_nothing_and_that_is_told() {
    let (minio, _database, site) = prepared(&[]).await;
    minio.must(&["admin", "policy", "attach", "server", "diagnostics", "--user", PARENT]);
    minio.must(&["admin", "policy", "detach", "server", PARENT, "--user", PARENT]);
    let ended = site.run(&["verify", "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let seen = checks(&ended);
    for failed in ["round-trip", "multipart", "presigned", "list", "token-is-needed", "revocation"] {
        assert_eq!(outcome(&seen, failed), "failed", "{failed}");
    }
    assert_eq!(outcome(&seen, "outside-is-refused"), "passed");
    nothing_is_left(&minio);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_it_before_anything_is_minted() {
    let (minio, mut database, site) = prepared(&[]).await;
    database.stop();
    let ended = site.run(&["verify"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("postgres"), "{ended:?}");
    assert_eq!(minio.minted(), 0);
    nothing_is_left(&minio);
}

#[tokio::test]
async fn an_interrupted_run_cleans_up() {
    let (minio, _database, site) = prepared(&[]).await;
    let mut run = site.stint(&["verify"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("stint runs");
    let mut told = BufReader::new(run.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("mint ") {
        line.clear();
        assert_ne!(told.read_line(&mut line).expect("text"), 0, "it ended before it minted");
    }
    let pid = run.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().expect("kill runs").success());
    let mut rest = String::new();
    told.read_to_string(&mut rest).expect("text");
    run.wait().expect("our child");
    assert!(rest.contains("passed  cleanup"), "{rest}");
    assert_eq!(minio.minted(), 0, "its sessions were ended");
    nothing_is_left(&minio);
}

/// What the server's program calls itself: the first word that looks like a version.
fn version(variable: &str, argument: &str) -> String {
    let output = Command::new(named_by(variable)).arg(argument).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.split_whitespace().find(is_version).unwrap_or_else(|| panic!("no version in {text}")).to_owned()
}

/// Sets a bucket up on a server of roles, and asks everything of it.
async fn set_up_and_verified(endpoint: &str, kind: &str, administrator: &str, bucket: &str) -> (Ended, Ended) {
    let server = format!("{kind}\nendpoint = \"{endpoint}\"\naccess_key = \"minter\"\nsecret_key = \"mintersecret\"");
    let administrator = Key { access: administrator.to_owned(), secret: format!("{administrator}secret"), token: None };
    set_up_and_verified_as(&server, &administrator, bucket).await
}

/// The same, with all that is said of the server.
async fn set_up_and_verified_as(server: &str, administrator: &Key, bucket: &str) -> (Ended, Ended) {
    let database = Database::start().await;
    let own = format!("access_key = \"{}\"\nsecret_key = \"{}\"", administrator.access, administrator.secret);
    let site = Site::of(server, &own, &database.url(), bucket);
    let bootstrap = site.run(&["bootstrap"]);
    (bootstrap, site.run(&["verify", "--json"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn ceph_set_up_as_documented_keeps_what_stint_rests_on() {
    let ceph = Ceph::shared().await;
    ceph.role("verified", true).await;
    let kind = format!("kind = \"ceph\"\nrole_arn = \"{}\"", Ceph::arn("verified"));
    let (bootstrap, ended) = set_up_and_verified(ceph.endpoint(), &kind, "owner", "conformance").await;
    assert_eq!(bootstrap.code, Some(0), "{bootstrap:?}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    keep_row("Ceph RGW", &version("STINT_LIVE_RADOSGW", "--version"), &ended.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn ceph_with_the_hole_in_its_trust_policy_fails() {
    let ceph = Ceph::shared().await;
    ceph.role("chained", false).await;
    let kind = format!("kind = \"ceph\"\nrole_arn = \"{}\"", Ceph::arn("chained"));
    let (_, ended) = set_up_and_verified(ceph.endpoint(), &kind, "owner", "conformance-open").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(outcome(&checks(&ended), "no-new-session"), "failed", "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_set_up_as_documented_keeps_what_stint_rests_on() {
    let server = Seaweedfs::shared().await;
    let kind = format!("kind = \"seaweedfs\"\nrole_arn = \"{}\"", Seaweedfs::role("Vend"));
    let (bootstrap, ended) = set_up_and_verified(server.endpoint(), &kind, "admin", "conformance").await;
    assert_eq!(bootstrap.code, Some(0), "{bootstrap:?}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    keep_row("SeaweedFS", &version("STINT_LIVE_WEED", "version"), &ended.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn rustfs_set_up_as_documented_keeps_what_stint_rests_on() {
    let server = Rustfs::shared().await;
    let (bootstrap, ended) = set_up_and_verified_as(&server.configuration(), &Rustfs::root(), "conformance").await;
    assert_eq!(bootstrap.code, Some(0), "{bootstrap:?}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    keep_row("RustFS", &version("STINT_LIVE_RUSTFS", "--version"), &ended.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn rustfs_under_a_parent_that_is_more_than_a_user_fails() {
    let server = Rustfs::shared().await;
    let admin = serde_json::json!({"Effect": "Allow", "Action": ["admin:*"]});
    let s3 = serde_json::json!({"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]});
    server.user("careless", &[s3, admin]).await;
    let careless = server.configuration().replace("minter", "careless");
    let (_, ended) = set_up_and_verified_as(&careless, &Rustfs::root(), "conformance-careless").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let seen = checks(&ended);
    assert_eq!(outcome(&seen, "parent-is-not-root"), "passed", "{seen:?}");
    for failed in ["parent-reads-no-secrets", "parent-makes-no-keys"] {
        assert_eq!(outcome(&seen, failed), "failed", "{failed}: {seen:?}");
    }
    assert!(ended.stdout.contains("it made a permanent key of the parent; it was deleted"), "{ended:?}");
    assert_eq!(outcome(&seen, "no-permanent-key"), "passed", "the Deny of its session policy stops it: {seen:?}");
}

/// No word on AWS itself: only that `stint` and the emulator read AWS's documentation in the same way.
#[tokio::test(flavor = "multi_thread")]
async fn the_aws_emulator_set_up_as_documented_keeps_what_stint_rests_on() {
    let emulator = AwsEmulator::shared().await;
    let (bootstrap, ended) =
        set_up_and_verified_as(&emulator.configuration(), emulator.administrator(), "conformance").await;
    assert_eq!(bootstrap.code, Some(0), "{bootstrap:?}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    keep_row("AWS emulator", &format!("MiniStack {}", emulator.release().await), &ended.json());
}
