//! The start without PostgreSQL, through the real program: break-glass alone, then the whole service on the same socket with
//! everything that the journal had. And a program that is killed while it merges.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use stint::audit::{AuditLog, Emergency, EmergencyContext, EmergencyFacts, Inspection, Ledger, LogParts, LogSettings};
use stint::break_glass::ceremony::UseKind;
use stint::break_glass::desk::EmergencyRecord;
use stint::break_glass::journal::{Journal, JournalParts};
use stint::clock::SystemClock;
use stint::postgres::PostgresStore;
use time::OffsetDateTime;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::binary::{Running, Site, eventually, http};
use crate::harness::custodians::{ALL, draft, policies, request};
use crate::harness::database::{connect, fresh_database, one};
use crate::harness::demo_server::Demo;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::service::now;
use crate::harness::tokens::Forge;
use crate::verify::{PRIVATE, key};

const DEADLINE: Duration = Duration::from_secs(20);

/// The way to PostgreSQL, shut and open: shut, it cuts what goes through and closes what comes.
struct Way {
    address: SocketAddr,
    open: watch::Sender<bool>,
    _ends: DropGuard,
}

impl Way {
    async fn to(database: &SecretString) -> Self {
        let (_, server) = database.expose_secret().rsplit_once('@').unwrap();
        let server: SocketAddr = server.split_once('/').unwrap().0.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, open, stop) =
            (listener.local_addr().unwrap(), watch::Sender::new(false), CancellationToken::new());
        let (passing, tasks, ends) = (open.clone(), TaskTracker::new(), stop.clone().drop_guard());
        tasks.clone().spawn(stop.run_until_cancelled_owned(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut open = passing.subscribe();
                if !*open.borrow() {
                    continue;
                }
                tasks.spawn(async move {
                    let mut server = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = open.wait_for(|open| !open) => {}
                    }
                });
            }
        }));
        Self { address, open, _ends: ends }
    }

    fn open(&self) {
        self.open.send_replace(true);
    }

    fn url(&self, database: &SecretString) -> SecretString {
        let (user, server) = database.expose_secret().rsplit_once('@').unwrap();
        SecretString::from(format!("{user}@{}/{}", self.address, server.split_once('/').unwrap().1))
    }
}

/// A directory for `stint serve` with break-glass.
fn site(database: &SecretString, object_server: &str) -> Site {
    let site = Site::new(database, object_server);
    for (path, text) in policies() {
        site.write(&format!("policies/{path}"), text);
    }
    site.write("signing.pem", PRIVATE);
    fs::set_permissions(site.path().join("signing.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    site.configure(
        "[lease]",
        "[audit]\nsigning_key_file = \"signing.pem\"\n[break_glass]\njournal = \"journal\"\n[lease]",
    );
    site
}

fn journal(site: &Site) -> Arc<Journal> {
    let (directory, keys) = (site.path().join("journal"), vec![*key().public()]);
    Arc::new(Journal::open(JournalParts { directory, keys, room: Journal::ROOM, rng: rand::make_rng() }).unwrap())
}

/// An earlier process's emergency, each event of it a commit.
async fn emergency(site: &Site, incidents: &[&str]) {
    let (tasks, settings) = (TaskTracker::new(), LogSettings { deadline: DEADLINE, queue: 16 });
    let clock = Arc::new(SystemClock::start());
    let parts = LogParts { store: journal(site), clock, rng: rand::make_rng(), key: key(), settings };
    let log = AuditLog::open(parts, &tasks);
    for incident in incidents {
        let facts = EmergencyFacts {
            incident: Some((*incident).to_owned()),
            nonce: Some(Uuid::new_v4()),
            ..EmergencyFacts::default()
        };
        log.emergency(Emergency::Cancelled, "cancelled", &facts, EmergencyContext::default()).await.unwrap();
    }
    drop(log);
    tasks.close();
    tasks.wait().await;
}

/// The incidents of every event that the log has, in order.
async fn incidents(store: &PostgresStore) -> Vec<String> {
    let rows = store.rows().await.unwrap();
    rows.iter().filter_map(|row| EmergencyFacts::read(row).and_then(|(_, facts)| facts.incident)).collect()
}

async fn store(database: &SecretString) -> PostgresStore {
    PostgresStore::connect(database, DEADLINE).await.unwrap()
}

async fn is_whole(store: &PostgresStore) {
    let inspection = Inspection { trusted: vec![*key().public()], ..Inspection::default() };
    let report = store.verify(inspection, Arc::new(|_| {})).await.unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
}

async fn get(address: SocketAddr, path: &str) -> (StatusCode, String) {
    let answer = http().get(format!("http://{address}{path}")).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

async fn ready(address: SocketAddr) -> bool {
    get(address, "/health/ready").await.0 == StatusCode::OK
}

async fn lease(address: SocketAddr) -> (StatusCode, String) {
    let asked =
        http().post(format!("http://{address}/v1/leases")).body("{}").header("content-type", "application/json");
    let answer = asked.bearer_auth(Forge::shared().authentik.token(now())).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

async fn break_glass(address: SocketAddr, kind: UseKind) -> (StatusCode, Value) {
    let status: Value = serde_json::from_str(&get(address, "/v1/break-glass").await.1).unwrap();
    let instant = OffsetDateTime::from_unix_timestamp(now()).unwrap();
    let envelope = request(&draft(kind, &status, instant), &ALL);
    let asked = http().post(format!("http://{address}/v1/break-glass/requests")).body(envelope);
    let answer = asked.header("content-type", "application/json").send().await.unwrap();
    (answer.status(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn without_postgres_break_glass_alone_is_served_and_with_it_the_whole_service_on_the_same_socket() {
    let (database, demo) = (fresh_database().await, Demo::start().await);
    let way = Way::to(&database).await;
    let site = site(&way.url(&database), &demo.endpoint);
    emergency(&site, &["INC-1", "INC-2"]).await;
    let (running, address) = site.serve().await;
    assert!(running.stderr().contains("for break-glass alone"), "{}", running.stderr());

    assert_eq!(get(address, "/health/live").await.0, StatusCode::OK);
    let (status, checks) = get(address, "/health/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(checks.contains(r#"{"name":"log","ready":false}"#), "{checks}");
    assert_eq!(get(address, "/metrics").await.0, StatusCode::OK);
    let (status, told) = lease(address).await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && told.contains("log_unavailable"), "{status} {told}");
    for door in ["/v1/audit/events", "/v1/freezes", "/v1/leases"] {
        let asked = http().get(format!("http://{address}{door}")).bearer_auth(Forge::shared().authentik.token(now()));
        let answer = asked.send().await.unwrap();
        let (status, told) = (answer.status(), answer.text().await.unwrap());
        assert!(
            status == StatusCode::SERVICE_UNAVAILABLE && told.contains("log_unavailable"),
            "{door} {status} {told}"
        );
    }

    // A whole use: on the journal alone.
    let (status, granted) = break_glass(address, UseKind::Declared).await;
    assert_eq!((status, &granted["merged"]), (StatusCode::CREATED, &Value::Bool(false)), "{granted}");
    assert!(granted["receipt"].is_string());

    way.open();
    eventually("the whole service", async || ready(address).await).await;
    let (status, told) = lease(address).await;
    assert_eq!(status, StatusCode::CREATED, "{told}");
    let store = store(&database).await;
    let told = incidents(&store).await;
    assert_eq!(told[..2], ["INC-1", "INC-2"]);
    assert!(told[2..].iter().filter(|incident| *incident == "INC-7").count() >= 3, "{told:?}");
    is_whole(&store).await;
    // The journal came before anything else.
    let first: String =
        one(&mut connect(&database).await, "select type from audit_event where seq > 0 order by stream, seq limit 1")
            .await;
    assert_eq!(first, "break_glass.cancelled");

    // The use is known on the other side of the change: its review is open, and blocks.
    let (status, refused) = break_glass(address, UseKind::Outage).await;
    assert!(status.is_client_error(), "{refused}");
    assert_eq!(refused["reason"], "review_open", "{refused}");

    running.signal("TERM");
    let mut running = running;
    assert_eq!(running.ended().await, Some(0), "{}", running.stderr());
    let journal = journal(&site);
    assert!(journal.is_merged(), "the end of the journal's stream was handed on too, and put away");
    assert_eq!(journal.merge_into(&store).await.unwrap().commits, 0);
    is_whole(&store).await;
}

#[tokio::test]
async fn without_break_glass_a_start_without_postgres_fails_as_ever() {
    let database = fresh_database().await;
    let way = Way::to(&database).await;
    let site = Site::new(&way.url(&database), "http://127.0.0.1:9");
    let mut running = Running::start(site.stint("serve", &[]));
    assert_eq!(running.ended().await, Some(1));
    assert!(running.stderr().contains("postgres:"), "{}", running.stderr());
}

#[tokio::test]
async fn a_start_without_postgres_can_be_ended() {
    let database = fresh_database().await;
    let way = Way::to(&database).await;
    let site = site(&way.url(&database), "http://127.0.0.1:9");
    let (mut running, _) = site.serve().await;
    running.signal("TERM");
    assert_eq!(running.ended().await, Some(0), "{}", running.stderr());
    drop(journal(&site));
}

/// Killed before a commit of the merge reaches PostgreSQL, and after it did but nobody was told; each of the commits in turn.
#[tokio::test]
async fn a_service_killed_at_any_commit_of_its_merge_is_ended_by_its_next_start() {
    for fault in [Fault::HoldStatement, Fault::HoldAnswer] {
        for needle in ["stream.opened", "INC-1", "INC-2", "INC-3", "stream.closed"] {
            let database = fresh_database().await;
            drop(store(&database).await);
            let proxy = Proxy::before(&database).await;
            let site = site(&proxy.url(&database), "http://127.0.0.1:9");
            emergency(&site, &["INC-1", "INC-2", "INC-3"]).await;
            let trap = proxy.trap(needle, fault, 1);
            let mut running = Running::start(site.stint("serve", &[]));
            trap.sprung(1).await;
            running.signal("KILL");
            assert_eq!(running.ended().await, None);
            drop(trap);

            let (running, address) = site.serve().await;
            assert!(!running.stderr().contains("for break-glass alone"), "{}", running.stderr());
            assert_eq!(get(address, "/health/live").await.0, StatusCode::OK);
            let store = store(&database).await;
            let told = incidents(&store).await;
            assert_eq!(told, ["INC-1", "INC-2", "INC-3"], "{fault:?} {needle}");
            is_whole(&store).await;
        }
    }
}

/// Killed in a use of the glass: as soon as one of its events is on disk and on its way to PostgreSQL, each in turn.
#[tokio::test]
async fn a_service_killed_at_any_event_of_a_use_knows_the_use_after_its_next_start() {
    for needle in
        ["break_glass.requested", "lease.intended", "lease.issued", "break_glass.granted", "break_glass.review_opened"]
    {
        let (database, demo) = (fresh_database().await, Demo::start().await);
        drop(store(&database).await);
        let proxy = Proxy::before(&database).await;
        let site = site(&proxy.url(&database), &demo.endpoint);
        let (mut running, address) = site.serve().await;
        eventually("it is ready", async || ready(address).await).await;
        let status: Value = serde_json::from_str(&get(address, "/v1/break-glass").await.1).unwrap();
        let draft = draft(UseKind::Declared, &status, OffsetDateTime::from_unix_timestamp(now()).unwrap());
        let (used, envelope) = (draft.nonce.uuid(), request(&draft, &ALL));
        let submit = async |address: SocketAddr| {
            let url = format!("http://{address}/v1/break-glass/requests");
            http().post(url).body(envelope.clone()).header("content-type", "application/json").send().await
        };
        // The record itself: questions name types of events too.
        let record = format!("\"type\":\"{needle}\"").leak();
        let trap = proxy.trap(record, Fault::HoldStatement, 1);
        let killed = async {
            trap.sprung(1).await;
            running.signal("KILL");
            assert_eq!(running.ended().await, None);
        };
        let (_answer, ()) = tokio::join!(submit(address), killed);
        drop(trap);

        let (_running, address) = site.serve().await;
        eventually("it is ready", async || ready(address).await).await;
        let again = submit(address).await.unwrap().text().await.unwrap();
        let again: Value = serde_json::from_str(&again).unwrap();
        assert_eq!(again["reason"], "nonce_used", "{needle}: {again}");
        let status: Value = serde_json::from_str(&get(address, "/v1/break-glass").await.1).unwrap();
        assert_eq!(status["open_reviews"][0]["use"], used.to_string(), "{needle}: {status}");
        let store = store(&database).await;
        let rows = store.rows().await.unwrap();
        let claims = rows.iter().filter(|row| row.kind == "break_glass.requested");
        assert_eq!(claims.count(), 1, "{needle}: nothing lost and nothing twice");
        is_whole(&store).await;
    }
}

#[tokio::test]
async fn a_journal_that_does_not_verify_is_kept_and_told_and_lets_nothing_else_through() {
    let (database, demo) = (fresh_database().await, Demo::start().await);
    let site = site(&database, &demo.endpoint);
    emergency(&site, &["INC-1"]).await;
    let segment = site.path().join("journal/000001.stream");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[400] ^= 1;
    fs::write(&segment, &bytes).unwrap();

    let (running, address) = site.serve().await;
    let said = running.stderr();
    assert!(said.contains("does not verify") && said.contains("move it away"), "{said}");
    let (status, told) = lease(address).await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && told.contains("log_unavailable"), "{status} {told}");
    assert!(!ready(address).await);
    let store = store(&database).await;
    eventually("it is on record", async || store.rows().await.is_ok_and(|rows| !rows.is_empty())).await;
    let rows = store.rows().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(), ["break_glass.journal_refused"]);
    assert!(rows[0].detail.as_ref().unwrap().contains("does not verify"), "{:?}", rows[0].detail);
    assert_eq!(fs::read(&segment).unwrap(), bytes, "it is kept as it is");
    drop(running);

    // The cure that it told.
    fs::rename(site.path().join("journal"), site.path().join("for the inquiry")).unwrap();
    let (_running, address) = site.serve().await;
    assert_eq!(lease(address).await.0, StatusCode::CREATED);
    is_whole(&store).await;
}

/// The database goes away in the very moment in which it is told.
#[tokio::test]
async fn that_a_journal_does_not_verify_is_told_again_until_it_is_on_record() {
    let (database, demo) = (fresh_database().await, Demo::start().await);
    drop(store(&database).await);
    let proxy = Proxy::before(&database).await;
    let site = site(&proxy.url(&database), &demo.endpoint);
    emergency(&site, &["INC-1"]).await;
    let segment = site.path().join("journal/000001.stream");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[400] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let trap = proxy.trap("journal_refused", Fault::HoldStatement, 1);
    let (running, _) = site.serve().await;
    trap.sprung(1).await;
    eventually("it is tried in vain", async || running.stderr().contains("is not on record yet")).await;
    drop(trap);
    let store = store(&database).await;
    let told = async || {
        let rows = store.rows().await.unwrap();
        rows.iter().any(|row| row.kind == "break_glass.journal_refused")
    };
    eventually("it is on record", told).await;
}

#[tokio::test]
async fn a_journal_is_opened_by_one_service_at_a_time() {
    let database = fresh_database().await;
    let site = site(&database, "http://127.0.0.1:9");
    let (_running, _) = site.serve().await;
    let mut second = Running::start(site.stint("serve", &[]));
    assert_eq!(second.ended().await, Some(1));
    assert!(second.stderr().contains("is in use"), "{}", second.stderr());
}
