//! The desk of break-glass, put together around probes, a clock and a shared log of the test's choice: for outages, for a
//! database that is lost at one exact step, for clocks that move. The journal, PostgreSQL, the object server and the policies
//! are the real ones.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Value, json};
use stint::audit::{
    AuditReceipt, AuditRow, AuditStore, Door, FingerprintKey, LogParts, LogSettings, Origin, SigningKey, StoreError,
    StreamHead,
};
use stint::break_glass::ceremony::UseKind;
use stint::break_glass::desk::{
    BreakGlassDesk, BreakGlassParts, BreakGlassRefusal, EmergencyJournal, EmergencyLog, EmergencyRecord, Granted,
    HeldEmergencies, NotMerged, ServerFacts,
};
use stint::break_glass::journal::{Journal, JournalParts};
use stint::break_glass::watch::{AlertParts, Alerts, Conditions, ServiceProbe};
use stint::clock::{Clock, SystemClock};
use stint::desk::SessionProber;
use stint::lease::{AssumeRole, Capabilities};
use stint::object_server::probe::Prober;
use stint::object_server::s3::{S3Client, S3Settings};
use stint::object_server::{
    LeaseToEnd, MinioServer, NewSession, ObjectServer, ObjectServerError, SelfTest, SelfTestTraits, ServerSettings,
    TemporaryCredentials,
};
use stint::policy::{PolicyFiles, PolicySet};
use stint::postgres::PostgresStore;
use stint::telemetry::Metrics;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::custodians::{ALL, cancellation, draft, policies, request, review};
use crate::harness::database::fresh_database;
use crate::harness::object_server::{Reply, ScriptedObjectServer};

const DEADLINE: Duration = Duration::from_secs(10);

/// The machine's clock, moved by so many seconds; the time that only goes forward goes faster by as much as a test says.
#[derive(Debug)]
struct MovedClock {
    real: SystemClock,
    moved: AtomicI64,
    passed: Mutex<Duration>,
}

impl MovedClock {
    fn start() -> Arc<Self> {
        Arc::new(Self { real: SystemClock::start(), moved: AtomicI64::new(0), passed: Mutex::default() })
    }

    /// Somebody sets the wall clock.
    fn set_by(&self, seconds: i64) {
        self.moved.store(seconds, Ordering::SeqCst);
    }

    /// Time passes, for whoever does not look at the wall.
    fn pass(&self, by: Duration) {
        *self.passed.lock().unwrap() += by;
    }
}

impl Clock for MovedClock {
    fn now(&self) -> OffsetDateTime {
        self.real.now() + time::Duration::seconds(self.moved.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        self.real.elapsed() + *self.passed.lock().unwrap()
    }
}

/// Issuers and a database that answer, or not.
#[derive(Debug)]
struct Reachable {
    issuers: AtomicBool,
    log: AtomicBool,
}

#[async_trait]
impl ServiceProbe for Reachable {
    async fn issuers_answer(&self) -> bool {
        self.issuers.load(Ordering::SeqCst)
    }

    async fn log_answers(&self) -> bool {
        self.log.load(Ordering::SeqCst)
    }
}

/// The journal with the shared log behind it, which a test takes away.
#[derive(Debug)]
struct Shared {
    journal: Arc<Journal>,
    store: Arc<PostgresStore>,
    up: AtomicBool,
}

impl Shared {
    fn away(&self) -> Result<(), StoreError> {
        if self.up.load(Ordering::SeqCst) { Ok(()) } else { Err(StoreError::Unavailable("taken away".into())) }
    }
}

#[async_trait]
impl EmergencyJournal for Shared {
    fn instance(&self) -> Uuid {
        self.journal.instance().as_uuid()
    }

    async fn rows(&self) -> Result<Vec<AuditRow>, StoreError> {
        Ok(self.journal.records()?)
    }

    async fn merge(&self) -> Result<(), NotMerged> {
        self.away().map_err(|_| NotMerged::Away)?;
        self.journal.merge_into(self.store.as_ref()).await.map(|_| ()).map_err(|_| NotMerged::Refused)
    }

    fn waits(&self) -> bool {
        !self.journal.is_merged()
    }

    fn head(&self) -> Option<StreamHead> {
        self.journal.head_now()
    }
}

#[async_trait]
impl EmergencyRecord for Shared {
    async fn owner(&self, nonce: Uuid) -> Result<Option<Uuid>, StoreError> {
        self.away()?;
        self.store.owner(nonce).await
    }

    async fn rows(&self) -> Result<Vec<AuditRow>, StoreError> {
        self.away()?;
        EmergencyRecord::rows(self.store.as_ref()).await
    }
}

/// What happens while the object server mints.
type Meanwhile = Box<dyn Fn() + Send + Sync>;

/// The object server, with something that happens while it mints.
struct Minting {
    server: MinioServer,
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl std::fmt::Debug for Minting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Minting")
    }
}

#[async_trait]
impl ObjectServer for Minting {
    async fn assume_role(
        &self,
        receipt: &AuditReceipt,
        request: &AssumeRole,
    ) -> Result<TemporaryCredentials, ObjectServerError> {
        if let Some(meanwhile) = self.meanwhile.lock().unwrap().take() {
            meanwhile();
        }
        self.server.assume_role(receipt, request).await
    }

    async fn revoke(&self, lease: &LeaseToEnd) -> Result<(), ObjectServerError> {
        self.server.revoke(lease).await
    }

    async fn ready(&self) -> Result<(), ObjectServerError> {
        Ok(())
    }

    fn capabilities(&self) -> &Capabilities {
        self.server.capabilities()
    }
}

struct Bench {
    desk: BreakGlassDesk,
    conditions: Arc<Conditions>,
    probes: Arc<Reachable>,
    shared: Arc<Shared>,
    server: Arc<Minting>,
    clock: Arc<MovedClock>,
    known: Value,
    _directory: TempDir,
}

impl Bench {
    /// Its object server answers this, one after the other.
    async fn start(replies: Vec<Reply>) -> (Self, ScriptedObjectServer) {
        let scripted = ScriptedObjectServer::start(replies).await;
        let (clock, directory) = (MovedClock::start(), TempDir::new().unwrap());
        let real: Arc<dyn Clock> = clock.clone();
        let files = policies().iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        let mut set = PolicyFiles(files.collect());
        let role = b"documents = [\"team\"]\n[[allow]]\ngroups = [\"team-a\"]\n".to_vec();
        set.0.insert("roles/team.toml".to_owned(), role);
        set.0.insert("documents/team.json".to_owned(), set.0["documents/emergency-read.json"].clone());
        let set = PolicySet::compile(&set, &[]).unwrap();
        let key = SigningKey::generate().unwrap();
        let journal = Arc::new(
            Journal::open(JournalParts {
                directory: directory.path().join("journal"),
                keys: vec![*key.public()],
                room: Journal::ROOM,
                rng: rand::make_rng(),
            })
            .unwrap(),
        );
        let store = Arc::new(PostgresStore::connect(&fresh_database().await, DEADLINE).await.unwrap());
        let shared = Arc::new(Shared { journal: Arc::clone(&journal), store, up: AtomicBool::new(true) });
        let tasks = TaskTracker::new();
        let log: Arc<dyn AuditStore> = journal;
        let settings = LogSettings { deadline: DEADLINE, queue: 64 };
        let log = LogParts { store: log, clock: Arc::clone(&real), rng: rand::make_rng(), key, settings };
        let probes = Arc::new(Reachable { issuers: AtomicBool::new(true), log: AtomicBool::new(true) });
        let metrics = Arc::new(Metrics::default());
        let conditions =
            Arc::new(Conditions::new(probes.clone(), Arc::clone(&real), Arc::clone(&metrics), rand::make_rng()));
        let alerts =
            AlertParts { sink: None, instance: None, clock: Arc::clone(&real), metrics, rng: rand::make_rng() };
        let s3 = || {
            let settings = S3Settings {
                endpoint: scripted.endpoint().to_owned(),
                region: "us-east-1".to_owned(),
                timeout: Duration::from_secs(5),
            };
            S3Client::new(settings, Arc::clone(&real)).unwrap()
        };
        let server = MinioServer::new(
            ServerSettings {
                endpoint: scripted.endpoint().to_owned(),
                region: "us-east-1".to_owned(),
                access_key: "parent".to_owned(),
                secret_key: SecretString::from("parent-secret"),
                timeout: Duration::from_secs(5),
            },
            Arc::clone(&real),
        )
        .unwrap();
        let server = Arc::new(Minting { server, meanwhile: Mutex::default() });
        let traits =
            SelfTestTraits { has_minio_admin: true, new_session: NewSession::OfItself, asks_rights_first: true };
        let known = json!({"instance": shared.journal.instance().as_uuid(), "policy_hash": set.hash().to_hex()});
        let desk = BreakGlassDesk::new(BreakGlassParts {
            policies: Arc::new(ArcSwap::from_pointee(set)),
            journal: shared.clone(),
            log: Arc::new(EmergencyLog::new(log, tasks.clone())),
            record: shared.clone(),
            conditions: Arc::clone(&conditions),
            alerts: Arc::new(Alerts::new(alerts)),
            object_server: server.clone(),
            server: ServerFacts {
                endpoint: scripted.endpoint().to_owned(),
                region: "us-east-1".to_owned(),
                accesses: "its log",
                own_parents: BTreeSet::from([stint::policy::RoleName::parse("emergency-read").unwrap()]),
            },
            self_test: Arc::new(SelfTest::new(s3(), Vec::new(), traits)),
            probe: Arc::new(SessionProber::new(Prober::new(s3()))),
            held: Arc::new(HeldEmergencies::default()),
            fingerprints: FingerprintKey::derive(b"test"),
            clock: real,
            rng: Mutex::new(rand::make_rng()),
            tasks,
        });
        let bench = Self { desk, conditions, probes, shared, server, clock, known, _directory: directory };
        (bench, scripted)
    }

    fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    fn request(&self, kind: UseKind) -> (Uuid, String) {
        let draft = draft(kind, &self.known, self.now());
        (draft.nonce.uuid(), request(&draft, &ALL))
    }

    async fn submit(&self, envelope: &str) -> Result<Granted, BreakGlassRefusal> {
        self.desk.submit(envelope.as_bytes(), origin()).await
    }

    /// A probe every ten seconds, so many times.
    async fn probe(&self, times: usize) {
        for _ in 0..times {
            self.clock.pass(Duration::from_secs(10));
            self.conditions.probe().await;
        }
    }

    fn log_is(&self, up: bool) {
        self.shared.up.store(up, Ordering::SeqCst);
        self.probes.log.store(up, Ordering::SeqCst);
    }

    fn journal(&self) -> Vec<String> {
        self.shared.journal.records().unwrap().into_iter().map(|row| row.kind).collect()
    }

    async fn in_the_log(&self) -> Vec<String> {
        EmergencyRecord::rows(self.shared.store.as_ref()).await.unwrap().into_iter().map(|row| row.kind).collect()
    }

    async fn review(&self, used: Uuid) -> Result<Value, BreakGlassRefusal> {
        let envelope = review(used, &["bob", "carol"], self.now());
        self.desk.review(envelope.as_bytes(), origin()).await.map(|told| serde_json::to_value(told).unwrap())
    }
}

fn origin() -> Origin {
    Origin { door: Door::BreakGlass, address: None, request_id: Uuid::nil() }
}

fn minted(times: usize) -> Vec<Reply> {
    vec![Reply::credentials_for(Duration::from_mins(15)); times]
}

fn code(refused: Result<Granted, BreakGlassRefusal>) -> &'static str {
    refused.unwrap_err().code()
}

#[tokio::test]
async fn an_outage_counts_once_the_service_has_seen_it_for_long_enough_and_an_answer_ends_it() {
    let (bench, _server) = Bench::start(minted(1)).await;
    let (_, envelope) = bench.request(UseKind::Outage);
    assert_eq!(code(bench.submit(&envelope).await), "no_emergency", "nothing was probed");
    bench.probes.issuers.store(false, Ordering::SeqCst);
    bench.probe(3).await;
    assert_eq!(code(bench.submit(&envelope).await), "no_emergency", "twenty seconds are none");
    bench.probes.issuers.store(true, Ordering::SeqCst);
    bench.probe(1).await;
    bench.probes.issuers.store(false, Ordering::SeqCst);
    bench.probe(3).await;
    assert_eq!(code(bench.submit(&envelope).await), "no_emergency", "it answered in between");
    bench.probe(1).await;
    let granted = bench.submit(&envelope).await.unwrap();
    assert!(granted.conditions.len() == 1 && granted.conditions[0].starts_with("issuer_down: "), "{granted:?}");
    assert_eq!(
        granted.review.rotate.as_deref(),
        Some("stint object-server rotate --role emergency-read --into NEW_DIRECTORY")
    );
}

#[tokio::test]
async fn without_the_shared_log_a_use_is_on_the_journal_and_in_the_log_once_that_answers() {
    let (bench, _server) = Bench::start(minted(1)).await;
    bench.log_is(false);
    bench.probe(4).await;
    let mut any = draft(UseKind::Outage, &bench.known, bench.now());
    any.instance = None;
    assert_eq!(code(bench.submit(&request(&any, &ALL)).await), "shared_log_away");
    let (used, envelope) = bench.request(UseKind::Outage);
    let granted = bench.submit(&envelope).await.unwrap();
    assert!(!granted.merged && granted.conditions[0].starts_with("log_down: "), "{granted:?}");
    assert_eq!(code(bench.submit(&envelope).await), "nonce_used", "the journal remembers it");
    let written = bench.journal();
    bench.log_is(true);
    bench.shared.merge().await.unwrap();
    let told =
        |kinds: &[String]| kinds.iter().filter(|kind| *kind != "break_glass.refused").cloned().collect::<Vec<_>>();
    assert_eq!(bench.in_the_log().await, told(&written));
    assert_eq!(code(bench.submit(&envelope).await), "nonce_used", "after the merge too");
    let status = serde_json::to_value(bench.desk.status().await.unwrap()).unwrap();
    assert_eq!(status["open_reviews"][0]["use"], json!(used));
}

#[tokio::test]
async fn a_log_that_is_lost_between_the_claim_and_the_grant_changes_nothing_for_a_request_that_names_the_instance() {
    let (bench, _server) = Bench::start(minted(1)).await;
    let shared = Arc::clone(&bench.shared);
    *bench.server.meanwhile.lock().unwrap() = Some(Box::new(move || shared.up.store(false, Ordering::SeqCst)));
    let (_, envelope) = bench.request(UseKind::Declared);
    let granted = bench.submit(&envelope).await.unwrap();
    assert!(!granted.merged);
    bench.log_is(true);
    bench.shared.merge().await.unwrap();
    assert_eq!(bench.in_the_log().await, ["break_glass.requested", "break_glass.granted", "break_glass.review_opened"]);
}

#[tokio::test]
async fn what_surely_was_not_minted_frees_the_nonce_and_what_may_have_been_does_not() {
    let refusing = vec![Reply::refusal(403, "AccessDenied"), Reply::credentials_for(Duration::from_mins(15))];
    let (bench, _server) = Bench::start(refusing).await;
    let (_, envelope) = bench.request(UseKind::Declared);
    assert_eq!(code(bench.submit(&envelope).await), "object_server_refused");
    assert!(bench.desk.status().await.unwrap().open_reviews.is_empty());
    bench.submit(&envelope).await.unwrap();

    let failing = vec![Reply::refusal(500, "InternalError"), Reply::http(204, "text/plain", "")];
    let (bench, _server) = Bench::start(failing).await;
    let (used, envelope) = bench.request(UseKind::Declared);
    assert_eq!(code(bench.submit(&envelope).await), "object_server_failed");
    assert_eq!(code(bench.submit(&envelope).await), "nonce_used");
    assert_eq!(bench.desk.status().await.unwrap().open_reviews[0].r#use, used, "somebody must look");
    let (_, next) = bench.request(UseKind::Declared);
    assert_eq!(code(bench.submit(&next).await), "object_server_nonsense", "and nobody is shut out by it");
}

#[tokio::test]
async fn a_nonce_that_is_not_known_is_burnt_for_all_only_where_the_log_answers() {
    let (bench, _server) = Bench::start(minted(1)).await;
    let burn = async |used: Uuid| {
        let envelope = cancellation(used, "carol", bench.now());
        let told = bench.desk.cancel(envelope.as_bytes(), origin()).await.unwrap();
        (told.outcome, told.proven)
    };
    let (used, envelope) = bench.request(UseKind::Declared);
    bench.log_is(false);
    assert_eq!(burn(used).await, ("burnt_here", false), "another instance may have used it, and hears nothing");
    assert_eq!(code(bench.submit(&envelope).await), "nonce_used");
    bench.log_is(true);
    let (other, _) = bench.request(UseKind::Declared);
    assert_eq!(burn(other).await, ("burnt", true));
}

#[tokio::test]
async fn one_custodian_burns_no_more_nonces_than_there_are_requests_to_stop() {
    let (bench, _server) = Bench::start(minted(1)).await;
    let (mut burnt, mut refused) = (0, 0);
    for n in 0..20 {
        let envelope = cancellation(Uuid::from_u128(0x4000_8000_0000_0000_0000 + n), "carol", bench.now());
        match bench.desk.cancel(envelope.as_bytes(), origin()).await {
            Ok(_) => burnt += 1,
            Err(error) if error.code() == "rate_limited" => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((burnt, refused), (16, 4));
    let (used, envelope) = bench.request(UseKind::Declared);
    bench.submit(&envelope).await.unwrap();
    let end = cancellation(used, "carol", bench.now());
    assert!(bench.desk.cancel(end.as_bytes(), origin()).await.is_ok(), "what is known can always be ended");
}

#[tokio::test]
async fn a_review_that_was_signed_before_the_use_was_over_closes_nothing() {
    let (bench, _server) = Bench::start(minted(1)).await;
    let (used, envelope) = bench.request(UseKind::Declared);
    let early = review(used, &["bob", "carol"], bench.now());
    bench.submit(&envelope).await.unwrap();
    bench.clock.set_by(16 * 60);
    let refused = bench.desk.review(early.as_bytes(), origin()).await.unwrap_err();
    assert_eq!(refused.code(), "review_too_early");
    assert!(bench.review(used).await.is_ok());
}

#[tokio::test]
async fn a_clock_that_was_moved_back_grants_nothing() {
    let (bench, _server) = Bench::start(minted(1)).await;
    let (used, first) = bench.request(UseKind::Declared);
    bench.submit(&first).await.unwrap();
    // As it was written before, and kept for a day like this.
    bench.clock.set_by(-3600);
    let (_, old) = bench.request(UseKind::Declared);
    assert_eq!(code(bench.submit(&old).await), "clock_moved_back");
    bench.clock.set_by(0);
    assert_eq!(code(bench.submit(&old).await), "window_expired");
    let (_, next) = bench.request(UseKind::Declared);
    assert_eq!(bench.submit(&next).await.unwrap().review.overrides, Some(used));
}

#[tokio::test]
async fn the_end_of_a_lease_is_said_once_when_it_has_come_and_then_its_review_can_be_closed() {
    let (bench, _server) = Bench::start(minted(1)).await;
    let (used, envelope) = bench.request(UseKind::Declared);
    bench.submit(&envelope).await.unwrap();
    bench.desk.tick().await;
    assert_eq!(bench.review(used).await.unwrap_err().code(), "lease_open");
    bench.clock.set_by(16 * 60);
    for _ in 0..3 {
        bench.clock.pass(Duration::from_secs(5));
        bench.desk.tick().await;
    }
    assert_eq!(bench.journal().iter().filter(|kind| *kind == "break_glass.expired").count(), 1);
    let closed = bench.review(used).await.unwrap();
    assert_eq!(closed["rotate"], "stint object-server rotate --role emergency-read --into NEW_DIRECTORY");
    let late = cancellation(used, "carol", bench.now());
    assert_eq!(bench.desk.cancel(late.as_bytes(), origin()).await.unwrap_err().code(), "already_done");
}
