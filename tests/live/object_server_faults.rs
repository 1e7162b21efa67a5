//! What happens to the object server happens to no lease that was handed out: every answer is a lease that works or a
//! typed refusal, every lease has its fate on record, and after the reconciler nothing is left that nobody was given.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use stint::audit::{AuditLog, LogParts, LogSettings, SigningKey};
use stint::clock::{Clock, SystemClock};
use stint::object_server::{MinioServer, ObjectServer, ServerSettings};
use stint::postgres::{PostgresLoneIntents, PostgresStore};
use stint::reconciler::{Reconciler, ReconcilerParts};
use stint::telemetry::Metrics;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::clock::MovedClock;
use crate::dialect::ADMINS;
use crate::harness::{Ceph, Database, Issuer, Keys, Load, Minio, PARENT, Seaweedfs, Stint, Told, until};
use crate::signed::Key;

const CLIENTS: usize = 6;
const LEASE: &str = "ttl = \"60m\"";
const AWAY: &str = "object_server_unavailable";

/// The service before MinIO, serving.
async fn ready(issuer: &Issuer, database: &Database, minio: &Minio) -> Stint {
    let stint = Stint::start(issuer.url(), database, minio, LEASE).await;
    stint.until_ready().await;
    stint
}

/// What was issued; everything else must be a refusal of this kind.
fn issued(told: &[Told]) -> Vec<(&str, &Keys)> {
    let mut issued = Vec::new();
    for told in told {
        match told {
            Told::Issued(lease, keys) => issued.push((lease.as_str(), keys)),
            Told::ComeBack(code) => assert_eq!(code, AWAY),
            Told::Strange(said) => panic!("a client was told {said}"),
        }
    }
    issued
}

fn key(keys: &Keys) -> Key {
    Key { access: keys.access_key.clone(), secret: keys.secret_key.clone(), token: Some(keys.session_token.clone()) }
}

/// Every lease that a client was told of works, and its issue is on record; every intent has a fate.
async fn every_lease_works(told: &[Told], endpoint: &str, database: &Database) {
    let issued = issued(told);
    for (lease, keys) in &issued {
        let put = key(keys).s3("PUT", &format!("{endpoint}/assets/{lease}"), "x").await;
        assert_eq!(put.status, 200, "{lease}: {put:?}");
    }
    let on_record: Vec<String> =
        sqlx::query_scalar("select lease_id::text from audit_event where type = 'lease.issued'")
            .fetch_all(&mut database.connection().await)
            .await
            .expect("the log can be read");
    let on_record: BTreeSet<&str> = on_record.iter().map(String::as_str).collect();
    assert_eq!(on_record, issued.iter().map(|(lease, _)| *lease).collect());
    let fates = database.rows("lease.issued").await + database.rows("lease.failed").await;
    assert_eq!(database.rows("lease.intended").await, fates);
}

fn adapter(minio: &Minio) -> MinioServer {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = ServerSettings {
        endpoint: minio.endpoint(),
        region: "us-east-1".to_owned(),
        access_key: PARENT.to_owned(),
        secret_key: SecretString::from(minio.parent_secret()),
        timeout: Duration::from_secs(5),
    };
    MinioServer::new(settings, Arc::new(SystemClock::start())).unwrap()
}

/// The reconciler of another instance, after its minute of doubt.
async fn reconciled(database: &Database, minio: &Minio) {
    let moved = Arc::new(MovedClock::start());
    let clock: Arc<dyn Clock> = moved.clone();
    let deadline = Duration::from_secs(5);
    let store = Arc::new(PostgresStore::connect(&SecretString::from(database.url()), deadline).await.unwrap());
    let parts = LogParts {
        store: store.clone(),
        clock: Arc::clone(&clock),
        rng: rand::make_rng(),
        key: SigningKey::generate().unwrap(),
        settings: LogSettings { deadline, queue: 64 },
    };
    let metrics = Arc::new(Metrics::default());
    let mut reconciler = Reconciler::new(ReconcilerParts {
        lone_intents: Arc::new(PostgresLoneIntents::new(store)),
        object_server: Arc::new(adapter(minio)),
        log: Arc::new(AuditLog::open(parts, &TaskTracker::new())),
        clock,
        metrics: Arc::clone(&metrics),
    });
    let open: i64 = sqlx::query_scalar(
        "select count(*) from audit_event where type = 'lease.failed' and reason = 'object_server_interrupted'",
    )
    .fetch_one(&mut database.connection().await)
    .await
    .unwrap();
    let passes = async {
        // The lock of the instance that was stopped is freed a moment later.
        while !metrics.encode().contains(&format!("stint_lone_intents {open}\n")) {
            reconciler.pass().await;
        }
        moved.advance(Duration::from_secs(61));
        while !metrics.encode().contains("stint_lone_intents 0\n") {
            reconciler.pass().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), passes).await.expect("every failed lease is closed");
    assert_eq!(database.rows("lease.abandoned").await, open);
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_killed_and_started_again_under_load_leaves_only_leases_that_work() {
    let (issuer, database, mut minio) = (Issuer::start().await, Database::start().await, Minio::start().await);
    let stint = ready(&issuer, &database, &minio).await;
    let token = issuer.studio();
    let load = Load::start(&stint, &token, CLIENTS);
    for _ in 0..3 {
        load.issues(20).await;
        minio.stop();
        load.turns_away(CLIENTS).await;
        minio.start_again().await;
    }
    load.issues(20).await;
    let told = load.end().await;
    every_lease_works(&told, &minio.endpoint(), &database).await;
    let failed: Vec<String> = sqlx::query_scalar("select distinct reason from audit_event where type = 'lease.failed'")
        .fetch_all(&mut database.connection().await)
        .await
        .unwrap();
    // Refused: a server that answers before it has read its users does not know the parent yet, and mints nothing.
    let known =
        ["object_server_interrupted", "object_server_unreachable", "object_server_not_ready", "object_server_refused"];
    assert!(failed.iter().all(|reason| known.contains(&reason.as_str())), "{failed:?}");

    drop(stint);
    reconciled(&database, &minio).await;
    let handed_out: BTreeSet<String> = issued(&told).iter().map(|(_, keys)| keys.access_key.clone()).collect();
    let listings = adapter(&minio).live_credentials().await.unwrap();
    let listed = listings.iter().flat_map(|listing| &listing.credentials);
    let listed: BTreeSet<String> = listed.map(|credential| credential.access_key_id.expose().to_owned()).collect();
    assert_eq!(listed, handed_out, "what nobody was given is ended, and nothing else");
    // What it wrote in the instant of its death nobody was given, and it reads it only when somebody uses it.
    let kept = minio.kept_keys();
    assert!(kept.is_superset(&handed_out), "{:?}", handed_out.difference(&kept));
    assert!(kept.len() - handed_out.len() <= 3 * CLIENTS, "{:?}", kept.difference(&handed_out));
}

/// Something that is done to the parent.
type Act<'a> = Box<dyn Fn() + 'a>;

#[tokio::test]
async fn a_parent_that_is_cut_off_mints_nothing_until_it_is_back() {
    let (issuer, database, minio) = (Issuer::start().await, Database::start().await, Minio::start().await);
    let stint = ready(&issuer, &database, &minio).await;
    let token = issuer.studio();
    let secret = minio.parent_secret();
    let policy = &["admin", "policy", "attach", "server", PARENT, "--user", PARENT];
    let add = |secret| minio.must(&["admin", "user", "add", "server", PARENT, secret]);
    let mc = |arguments: &[&str]| minio.must(arguments);
    let disabled: [Act<'_>; 2] = [
        Box::new(|| mc(&["admin", "user", "disable", "server", PARENT])),
        Box::new(|| mc(&["admin", "user", "enable", "server", PARENT])),
    ];
    let of_another_secret: [Act<'_>; 2] = [Box::new(|| add("another-secret-than-ours")), Box::new(|| add(secret))];
    let gone: [Act<'_>; 2] = [
        Box::new(|| mc(&["admin", "user", "remove", "server", PARENT])),
        Box::new(|| {
            add(secret);
            mc(policy);
        }),
    ];
    let without_rights: [Act<'_>; 2] =
        [Box::new(|| mc(&["admin", "policy", "detach", "server", PARENT, "--user", PARENT])), Box::new(|| mc(policy))];
    let (mut before, mut failed) = (0, 0);
    for [fault, cure] in [disabled, of_another_secret, gone, without_rights] {
        assert_eq!(stint.lease(&token, &json!({})).await.status, 201);
        before += 1;
        fault();
        let answer = stint.lease(&token, &json!({"fresh": true})).await;
        // A parent without any policy still mints; its sessions may do nothing.
        if answer.status == 201 {
            let assets = format!("{}/assets/x", minio.endpoint());
            assert_eq!(key(&answer.keys()).s3("PUT", &assets, "x").await.status, 403);
            before += 1;
        } else {
            assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some(AWAY)), "{}", answer.body);
            assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
            failed += 1;
        }
        assert_eq!((database.rows("lease.issued").await, database.rows("lease.failed").await), (before, failed));
        cure();
    }
    assert_eq!(stint.lease(&token, &json!({})).await.status, 201);
    assert!(failed >= 3, "{failed}");
    let reasons: Vec<String> =
        sqlx::query_scalar("select distinct reason from audit_event where type = 'lease.failed'")
            .fetch_all(&mut database.connection().await)
            .await
            .unwrap();
    assert_eq!(reasons, ["object_server_refused"], "nothing can have been minted");
}

const MOUNTED: &str = "stint-live-small-disk-";

/// A small file system in memory; unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Nothing where this user may not mount: the system's words say why.
    fn mount() -> Result<Self, String> {
        unmount_what_dead_tests_left();
        let name = format!("{MOUNTED}{}", std::process::id());
        // Not below target/: what is mounted there could not be cleared away.
        let disk = Self(tempfile::Builder::new().prefix("stint-live-").tempdir().unwrap());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=96m", &name]).arg(disk.0.path());
        match mount.output() {
            Ok(Output { status, .. }) if status.success() => Ok(disk),
            Ok(Output { stderr, .. }) => Err(String::from_utf8_lossy(&stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is just ending may still have files open.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

fn unmount_what_dead_tests_left() {
    for line in std::fs::read_to_string("/proc/mounts").unwrap_or_default().lines() {
        let mut words = line.split(' ');
        let (Some(name), Some(place)) = (words.next(), words.next()) else { continue };
        let owner = name.strip_prefix(MOUNTED);
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            let _ = Command::new("umount").args(["--lazy", place]).output();
            let _ = std::fs::remove_dir(place);
        }
    }
}

#[tokio::test]
async fn a_minio_whose_disk_is_full_mints_nothing_until_there_is_room() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => {
            // Past the capture of the test runner: a check that did not run must be seen.
            let _ = writeln!(std::io::stderr(), "SKIPPED: MinIO on a full disk: nothing can be mounted here: {reason}");
            return;
        }
    };
    let data = disk.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let (issuer, database, minio) = (Issuer::start().await, Database::start().await, Minio::on(&data).await);
    let stint = ready(&issuer, &database, &minio).await;
    let token = issuer.studio();
    assert_eq!(stint.lease(&token, &json!({})).await.status, 201);

    let ballast = disk.path().join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    drop(file);
    let before = minio.kept_keys();
    for _ in 0..3 {
        let answer = stint.lease(&token, &json!({"fresh": true})).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some(AWAY)), "{}", answer.body);
        assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    }
    std::fs::remove_file(ballast).unwrap();
    until("there is room again", Duration::from_secs(30), async || {
        stint.lease(&token, &json!({"fresh": true})).await.status == 201
    })
    .await;
    assert!(before.is_subset(&minio.kept_keys()));
    let reasons: Vec<String> =
        sqlx::query_scalar("select distinct reason from audit_event where type = 'lease.failed'")
            .fetch_all(&mut database.connection().await)
            .await
            .unwrap();
    assert_eq!(reasons, ["object_server_failed"]);
}

/// The service before a server of roles, and its bucket.
async fn served(object_server: &str, endpoint: &str, owner: &Key, issuer: &Issuer) -> (Stint, Database) {
    assert_eq!(owner.s3("PUT", &format!("{endpoint}/assets"), "").await.status, 200);
    let database = Database::start().await;
    let stint = Stint::start_before(object_server, issuer.url(), &database, LEASE, &ADMINS).await;
    stint.until_ready().await;
    (stint, database)
}

mod ceph {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn killed_and_started_again_under_load_leaves_only_leases_that_work() {
        let mut ceph = Ceph::start().await;
        ceph.role("broker", true).await;
        let object_server = format!(
            "kind = \"ceph\"\nendpoint = \"{}\"\nrole_arn = \"{}\"\naccess_key = \"minter\"\nsecret_key = \"mintersecret\"",
            ceph.endpoint(),
            Ceph::arn("broker"),
        );
        let issuer = Issuer::start().await;
        let (stint, database) = served(&object_server, ceph.endpoint(), &Ceph::key("minter"), &issuer).await;
        let load = Load::start(&stint, &issuer.studio(), CLIENTS);
        load.issues(20).await;
        ceph.stop();
        load.turns_away(CLIENTS).await;
        ceph.start_again().await;
        load.issues(20).await;
        every_lease_works(&load.end().await, ceph.endpoint(), &database).await;
    }
}

mod seaweedfs {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn killed_and_started_again_under_load_leaves_only_leases_that_work() {
        let mut server = Seaweedfs::start().await;
        let object_server = format!(
            "kind = \"seaweedfs\"\nendpoint = \"{}\"\nrole_arn = \"{}\"\naccess_key = \"minter\"\nsecret_key = \"mintersecret\"",
            server.endpoint(),
            Seaweedfs::role("Vend"),
        );
        let owner = Key { access: "admin".to_owned(), secret: "adminsecret".to_owned(), token: None };
        let issuer = Issuer::start().await;
        let (stint, database) = served(&object_server, server.endpoint(), &owner, &issuer).await;
        let load = Load::start(&stint, &issuer.studio(), CLIENTS);
        load.issues(20).await;
        server.stop();
        load.turns_away(CLIENTS).await;
        server.start_again().await;
        load.issues(20).await;
        every_lease_works(&load.end().await, server.endpoint(), &database).await;
    }
}
