//! `stint object-server verify` against the demo's object server, which keeps its word, and against one that allows
//! everything to everybody, which must fail every check that keeps somebody out.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use stint::clock::SystemClock;
use stint::demo::object_server::{DemoObjectServer, ParentKey};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::harness::binary::{Ended, Running, Site, eventually, run, stint};
use crate::harness::bucket_server::{BucketServer, Lie};
use crate::harness::database::fresh_database;

const RECORDINGS: &str = "[[bucket]]\nname = \"recordings\"\nprivate = true\nexpire_days = 30\n";

async fn site(endpoint: &str) -> (Site, SecretString) {
    let database = fresh_database().await;
    let site = Site::new(&database, endpoint);
    site.write("policies/buckets.toml", RECORDINGS);
    (site, database)
}

async fn verify(site: &Site, more: &[&str]) -> Ended {
    let mut command = stint(["object-server", "verify", "--config"]);
    command.arg(site.config()).args(more);
    run(command).await
}

fn checks(ended: &Ended) -> BTreeMap<String, (String, String)> {
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap().iter();
    checks.map(|check| (text(&check["name"]), (text(&check["outcome"]), text(&check["seen"])))).collect()
}

async fn rows(database: &SecretString, kind: &str) -> i64 {
    let mut connection = PgConnection::connect(database.expose_secret()).await.unwrap();
    let query = "select count(*) from audit_event where type = $1 and role = 'stint:verify' and subject is null";
    sqlx::query_scalar(query).bind(kind).fetch_one(&mut connection).await.unwrap()
}

/// The demo's object server, until dropped.
async fn demo() -> (String, TempDir, tokio_util::sync::DropGuard) {
    let directory = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let parent = ParentKey { access_key: "parent".to_owned(), secret_key: SecretString::from("parent-secret") };
    let clock = Arc::new(SystemClock::start());
    let tasks = TaskTracker::new();
    let server = DemoObjectServer::start(listener, directory.path(), parent, clock, &tasks, stop.clone()).unwrap();
    (server.endpoint().to_owned(), directory, stop.drop_guard())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_its_word_passes_and_keeps_nothing() {
    let (endpoint, directory, _ends) = demo().await;
    let (site, database) = site(&endpoint).await;
    let ended = verify(&site, &["--json"]).await;
    let seen = checks(&ended);
    assert_eq!(seen.len(), 21, "{ended:?}");
    for name in [
        "ready",
        "clock",
        "mint",
        "round-trip",
        "multipart",
        "presigned",
        "list",
        "outside-is-refused",
        "token-is-needed",
        "no-permanent-key",
        "no-new-session",
        "revocation",
        "latency",
        "cleanup",
    ] {
        assert_eq!(seen[name].0, "passed", "{name}: {}", seen[name].1);
    }
    for name in ["new-bucket-is-private", "lifecycle"] {
        assert_eq!(seen[name].0, "not_applicable", "{name}: {}", seen[name].1);
    }
    assert!(!seen.values().any(|(outcome, _)| outcome == "failed"), "{seen:?}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!((rows(&database, "lease.intended").await, rows(&database, "lease.issued").await), (2, 2));
    let left = directory.path().join("recordings/stint-verify");
    let files = walk(&left);
    assert_eq!(files, Vec::<String>::new());
    assert!(!ended.stdout.contains("parent-secret"));
}

/// Every file below a directory; none when it is not there.
fn walk(directory: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let below = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }
    };
    entries.flat_map(below).collect()
}

#[tokio::test]
async fn a_server_that_allows_everything_fails_every_check_that_keeps_somebody_out() {
    let server = BucketServer::start(Lie::AllowsEverything).await;
    server.with_policy("recordings", "{}");
    let (site, _database) = site(server.endpoint()).await;
    site.configure("[lease]", "[object_server.bootstrap]\naccess_key = \"root\"\nsecret_key = \"rootsecret\"\n[lease]");
    let ended = verify(&site, &["--json"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let seen = checks(&ended);
    for name in [
        "parent-reads-no-secrets",
        "parent-makes-no-keys",
        "own-sign-on",
        "outside-is-refused",
        "token-is-needed",
        "no-permanent-key",
        "no-new-session",
        "revocation",
        "new-bucket-is-private",
    ] {
        assert_eq!(seen[name].0, "failed", "{name}: {}", seen[name].1);
    }
    assert!(ended.stderr.contains("failed: "), "{ended:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_one_failure_and_no_mint() {
    let (site, database) = site("http://127.0.0.1:1").await;
    let ended = verify(&site, &["--json"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let seen = checks(&ended);
    assert_eq!((seen["ready"].0.as_str(), seen["mint"].0.as_str()), ("failed", "not_applicable"));
    assert_eq!(rows(&database, "lease.intended").await, 0);
}

#[tokio::test]
async fn an_interrupted_run_says_so_and_fails() {
    let server = BucketServer::start(Lie::HangsOnObjects).await;
    server.with_policy("recordings", "{}");
    let (site, _database) = site(server.endpoint()).await;
    let mut command = stint(["object-server", "verify", "--config"]);
    command.arg(site.config());
    let mut running = Running::start(command);
    eventually("it mints", async || running.stdout().contains("mint ")).await;
    running.signal("INT");
    assert_eq!(running.ended().await, Some(1));
    assert!(running.stdout().contains("interrupted"), "{}", running.stdout());
}

#[tokio::test]
async fn a_bucket_must_be_named_somewhere_and_be_a_name() {
    let (site, _database) = site("http://127.0.0.1:1").await;
    let ended = verify(&site, &["--bucket", "../etc"]).await;
    assert!(ended.code == Some(1) && ended.stderr.contains("no bucket name"), "{ended:?}");
    site.write("policies/buckets.toml", "");
    let ended = verify(&site, &[]).await;
    assert!(ended.code == Some(1) && ended.stderr.contains("--bucket"), "{ended:?}");
}
