//! Lone intents in a real PostgreSQL, made as they come about: an exchange whose process ends at one exact step, or whose
//! outcome cannot be recorded. The reconciler closes them, once, and touches nothing that is under way.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use stint::audit::{
    AuditLog, AuditRow, AuditStore, Batch, Door, LogParts, LogSettings, PolicySetText, Seal, SigningKey, StoreError,
    StreamHead, StreamId, VerifyingKey,
};
use stint::clock::Clock;
use stint::object_server::{MinioServer, ServerSettings};
use stint::postgres::{PostgresLoneIntents, PostgresStore};
use stint::reconciler::{Reconciler, ReconcilerParts};
use stint::telemetry::Metrics;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

use crate::harness::clock::MovedClock;
use crate::harness::database::fresh_database;
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::parts::Parts;
use crate::harness::service::now;
use crate::harness::tokens::Forge;

const DEADLINE: Duration = Duration::from_secs(2);
const REAL_LIFE: Duration = Duration::from_secs(3590);
/// The longest that an intent is left in doubt.
const DOUBT: Duration = Duration::from_mins(1);

/// The real store, which goes wrong at one kind of event.
#[derive(Debug)]
struct Faulty {
    inner: PostgresStore,
    kind: &'static str,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    Fails,
    /// Says when it was reached, and goes on when told.
    Waits {
        reached: Arc<Notify>,
        go: Arc<Notify>,
    },
}

#[async_trait]
impl AuditStore for Faulty {
    async fn open(&self, stream: StreamId, key: &VerifyingKey) -> Result<Vec<StreamHead>, StoreError> {
        self.inner.open(stream, key).await
    }

    async fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.records.iter().any(|record| record.contains(&format!("\"type\":\"{}\"", self.kind))) {
            match &self.fault {
                Fault::Fails => return Err(StoreError::Unavailable("it fails here".into())),
                Fault::Waits { reached, go } => {
                    reached.notify_one();
                    go.notified().await;
                }
            }
        }
        self.inner.append(batch).await
    }

    async fn head(&self, stream: StreamId) -> Result<Option<Seal>, StoreError> {
        self.inner.head(stream).await
    }

    async fn keep_policy_set(&self, set: &PolicySetText) -> Result<(), StoreError> {
        self.inner.keep_policy_set(set).await
    }
}

async fn store(database: &SecretString) -> PostgresStore {
    PostgresStore::connect(database, DEADLINE).await.unwrap()
}

fn token() -> String {
    Forge::shared().authentik.token(now())
}

/// What dies is a runtime: nothing in it is told, and its connections break.
struct Process {
    thread: thread::JoinHandle<()>,
    kill: oneshot::Sender<()>,
}

impl Process {
    fn start<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) -> Self {
        let (kill, killed) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = work() => panic!("it was to be killed half-way"),
                    _ = killed => {}
                }
            });
        });
        Self { thread, kill }
    }

    fn kill(self) {
        self.kill.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// An exchange whose process dies while the object server works on the mint.
async fn killed_before_the_mint(database: &SecretString) {
    let silent = ScriptedObjectServer::start(vec![Reply::Silence]).await;
    let (url, endpoint) = (database.clone(), silent.endpoint().to_owned());
    let process = Process::start(async move || {
        let parts = Parts::with(Arc::new(store(&url).await), &endpoint);
        parts.exchange(&token()).await.unwrap_err();
    });
    while silent.received().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    process.kill();
}

/// An exchange whose process dies after the mint, before its outcome is committed.
async fn killed_before_the_outcome(database: &SecretString) {
    killed_before_the_outcome_of(Door::Leases, database).await;
}

async fn killed_before_the_outcome_of(door: Door, database: &SecretString) {
    let minting = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (url, endpoint, told) = (database.clone(), minting.endpoint().to_owned(), Arc::clone(&reached));
    let process = Process::start(async move || {
        let fault = Fault::Waits { reached: told, go };
        let faulty = Faulty { inner: store(&url).await, kind: "lease.issued", fault };
        let parts = Parts::with(Arc::new(faulty), &endpoint);
        parts.exchange_at(door, &token()).await.unwrap_err();
    });
    reached.notified().await;
    process.kill();
}

/// One instance's reconciler, with clocks of its own.
struct Instance {
    reconciler: Reconciler,
    clock: Arc<MovedClock>,
    metrics: Arc<Metrics>,
}

impl Instance {
    async fn start(database: &SecretString, object_server: &ScriptedObjectServer) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let moved = Arc::new(MovedClock::start());
        let clock: Arc<dyn Clock> = moved.clone();
        let store = Arc::new(store(database).await);
        let parts = LogParts {
            store: store.clone(),
            clock: Arc::clone(&clock),
            rng: rand::make_rng(),
            key: SigningKey::generate().unwrap(),
            settings: LogSettings { deadline: DEADLINE, queue: 64 },
        };
        let log = AuditLog::open(parts, &TaskTracker::new());
        let server = ServerSettings {
            endpoint: object_server.endpoint().to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "parent".to_owned(),
            secret_key: SecretString::from("parent-secret"),
            timeout: DEADLINE,
        };
        let metrics = Arc::new(Metrics::default());
        let reconciler = Reconciler::new(ReconcilerParts {
            lone_intents: Arc::new(PostgresLoneIntents::new(store)),
            object_server: Arc::new(MinioServer::new(server, Arc::clone(&clock)).unwrap()),
            log: Arc::new(log),
            clock,
            metrics: Arc::clone(&metrics),
        });
        Self { reconciler, clock: moved, metrics }
    }

    async fn pass_after(&mut self, time: Duration) {
        self.clock.advance(time);
        self.reconciler.pass().await;
    }

    fn counts(&self, line: &str) -> bool {
        self.metrics.encode().lines().any(|counted| counted == line)
    }
}

/// Every event about a lease, oldest first.
async fn fates(database: &SecretString) -> Vec<AuditRow> {
    let mut rows = store(database).await.recent(1000).await.unwrap();
    rows.retain(|row| row.kind.starts_with("lease."));
    rows.reverse();
    rows
}

fn told(rows: &[AuditRow]) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (row.kind.as_str(), row.reason.as_str())).collect()
}

const INTENDED: (&str, &str) = ("lease.intended", "granted");
const REVOKED: (&str, &str) = ("lease.abandoned", "revoked");

async fn is_closed_after_a_minute_of_doubt(database: &SecretString) {
    let object_server = ScriptedObjectServer::start(vec![Reply::http(204, "text/plain", "")]).await;
    let mut instance = Instance::start(database, &object_server).await;
    instance.pass_after(Duration::ZERO).await;
    instance.pass_after(DOUBT * 9 / 10).await;
    assert_eq!(told(&fates(database).await), [INTENDED]);
    assert!(object_server.received().is_empty() && instance.counts("stint_lone_intents 1"));

    instance.pass_after(DOUBT / 5).await;
    let rows = fates(database).await;
    assert_eq!(told(&rows), [INTENDED, REVOKED]);
    let [intended, abandoned] = rows.as_slice() else { panic!("{rows:?}") };
    let facts = |row: &AuditRow| {
        let AuditRow { issuer, subject, groups, jti, role, roles, matched_rule, policy_hash, lease_id, .. } =
            row.clone();
        let lease = (row.role_session_name.clone(), row.session_policy_sha256.clone(), row.granted_seconds);
        (issuer, subject, groups, jti, role, roles, matched_rule, policy_hash, lease_id, lease, row.request_id)
    };
    assert_eq!(facts(abandoned), facts(intended));
    assert_eq!(abandoned.effect, "deny", "what the intent allowed is taken back");
    assert_ne!((abandoned.stream, abandoned.id), (intended.stream, intended.id));
    let [revocation] = object_server.received().try_into().unwrap();
    assert!(revocation.line.contains(&intended.lease_id.unwrap().to_string()), "{revocation:?}");

    instance.pass_after(DOUBT).await;
    instance.pass_after(DOUBT).await;
    assert_eq!(fates(database).await.len(), 2, "once");
    assert!(instance.counts("stint_lone_intents 0"));
    assert!(instance.counts(r#"stint_leases_abandoned_total{reason="revoked"} 1"#));
}

#[tokio::test]
async fn an_intent_whose_process_was_killed_before_the_mint_is_revoked_and_closed() {
    let database = fresh_database().await;
    killed_before_the_mint(&database).await;
    is_closed_after_a_minute_of_doubt(&database).await;
}

#[tokio::test]
async fn an_intent_whose_process_was_killed_before_its_outcome_is_revoked_and_closed() {
    let database = fresh_database().await;
    killed_before_the_outcome(&database).await;
    is_closed_after_a_minute_of_doubt(&database).await;
}

#[tokio::test]
async fn a_slow_exchange_of_another_instance_is_never_touched_however_far_apart_the_clocks_are() {
    let database = fresh_database().await;
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let fault = Fault::Waits { reached: Arc::clone(&reached), go: Arc::clone(&go) };
    let faulty = Faulty { inner: store(&database).await, kind: "lease.issued", fault };
    let parts = Parts::with(Arc::new(faulty), object_server.endpoint());
    let mut instance = Instance::start(&database, &object_server).await;
    instance.clock.advance(Duration::from_hours(3));

    let exchange = TaskTracker::new().spawn(parts.exchange_of(&token()));
    reached.notified().await;
    instance.pass_after(Duration::ZERO).await;
    assert!(instance.counts("stint_lone_intents 1"), "it was seen");
    instance.pass_after(DOUBT * 9 / 10).await;
    assert_eq!(told(&fates(&database).await), [INTENDED]);
    go.notify_one();
    exchange.await.unwrap().unwrap();
    instance.pass_after(DOUBT).await;
    instance.pass_after(DOUBT).await;
    assert_eq!(told(&fates(&database).await), [INTENDED, ("lease.issued", "granted")]);
    assert!(!object_server.received().iter().any(|request| request.line.contains("revoke")));
}

/// What became of it is on the disk of the instance that granted it, which cannot reach the log: only time tells that it is over.
#[tokio::test]
async fn an_intent_of_break_glass_is_left_alone_until_its_lease_must_have_ended() {
    for (door, is_left_alone) in [(Door::BreakGlass, true), (Door::Leases, false)] {
        let database = fresh_database().await;
        killed_before_the_outcome_of(door, &database).await;
        let object_server = ScriptedObjectServer::start(vec![Reply::http(204, "text/plain", "")]).await;
        let mut instance = Instance::start(&database, &object_server).await;
        instance.pass_after(Duration::ZERO).await;
        instance.pass_after(DOUBT).await;
        instance.pass_after(Duration::from_hours(1)).await;
        let expected = if is_left_alone { vec![INTENDED] } else { vec![INTENDED, REVOKED] };
        assert_eq!(told(&fates(&database).await), expected, "{door:?}");
        assert_eq!(object_server.received().is_empty(), is_left_alone, "{door:?}");
        // The lease, five minutes for the mint and for clocks that differ, and ten to the next sweep over the life of a lease.
        instance.pass_after(Duration::from_mins(12)).await;
        instance.pass_after(DOUBT).await;
        assert_eq!(told(&fates(&database).await), [INTENDED, REVOKED], "{door:?}");
    }
}

#[tokio::test]
async fn of_two_instances_one_reconciles_and_the_other_takes_over_when_it_dies() {
    let database = fresh_database().await;
    killed_before_the_mint(&database).await;
    let object_server = ScriptedObjectServer::start(vec![Reply::http(204, "text/plain", "")]).await;
    let mut one = Instance::start(&database, &object_server).await;
    let mut two = Instance::start(&database, &object_server).await;
    for _ in 0..3 {
        one.pass_after(DOUBT).await;
        two.pass_after(DOUBT).await;
    }
    assert_eq!(told(&fates(&database).await), [INTENDED, REVOKED]);
    assert_eq!(object_server.received().len(), 1);
    assert!(!two.metrics.encode().contains("stint_leases_abandoned_total{"));

    killed_before_the_outcome(&database).await;
    drop(one);
    // The server notices the broken connection, and frees the lock, a moment later.
    while !two.counts("stint_lone_intents 1") {
        two.pass_after(Duration::ZERO).await;
    }
    assert_eq!(fates(&database).await.len(), 3, "with doubts of its own");
    two.pass_after(DOUBT).await;
    // The instances' clocks were moved: by time, both intents come first.
    assert_eq!(told(&fates(&database).await), [INTENDED, INTENDED, REVOKED, REVOKED]);
}

#[tokio::test]
async fn while_the_object_server_is_down_it_is_asked_at_a_pace_until_it_is_back() {
    let database = fresh_database().await;
    killed_before_the_outcome(&database).await;
    let object_server = ScriptedObjectServer::start(vec![
        Reply::Close,
        Reply::refusal(403, "AccessDenied"),
        Reply::http(204, "text/plain", ""),
    ])
    .await;
    let mut instance = Instance::start(&database, &object_server).await;
    instance.pass_after(Duration::ZERO).await;
    for (time, asked) in
        [(DOUBT, 1), (Duration::from_secs(5), 1), (Duration::from_secs(6), 2), (Duration::from_secs(9), 2)]
    {
        instance.pass_after(time).await;
        assert_eq!(object_server.received().len(), asked);
        assert_eq!(told(&fates(&database).await), [INTENDED]);
        assert!(instance.counts("stint_lone_intents_overdue 1"));
    }
    instance.pass_after(Duration::from_secs(12)).await;
    assert!(instance.counts("stint_lone_intents_overdue 0"));
    assert_eq!(told(&fates(&database).await), [INTENDED, REVOKED]);
}

#[tokio::test]
async fn what_could_not_be_revoked_until_its_end_has_expired() {
    let database = fresh_database().await;
    killed_before_the_outcome(&database).await;
    let object_server = ScriptedObjectServer::start(vec![Reply::refusal(403, "AccessDenied")]).await;
    let mut instance = Instance::start(&database, &object_server).await;
    instance.pass_after(Duration::ZERO).await;
    instance.pass_after(Duration::from_mins(64)).await;
    assert_eq!(told(&fates(&database).await), [INTENDED], "it may live for another minute");
    instance.pass_after(Duration::from_mins(2)).await;
    assert_eq!(told(&fates(&database).await), [INTENDED, ("lease.abandoned", "expired")]);
}

#[tokio::test]
async fn what_an_exchange_could_not_revoke_itself_is_revoked_later_and_said_again() {
    let database = fresh_database().await;
    let replies =
        vec![Reply::credentials_for(REAL_LIFE), Reply::refusal(503, "SlowDown"), Reply::http(204, "text/plain", "")];
    let object_server = ScriptedObjectServer::start(replies).await;
    let faulty = Faulty { inner: store(&database).await, kind: "lease.issued", fault: Fault::Fails };
    let parts = Parts::with(Arc::new(faulty), object_server.endpoint());
    assert_eq!(parts.exchange(&token()).await.unwrap_err().code(), "log_unavailable");
    parts.drained().await;
    let given_up = ("lease.abandoned", "revoke_failed");
    assert_eq!(told(&fates(&database).await), [INTENDED, given_up]);

    let mut instance = Instance::start(&database, &object_server).await;
    instance.pass_after(Duration::ZERO).await;
    assert_eq!(told(&fates(&database).await), [INTENDED, given_up, REVOKED]);
    instance.pass_after(DOUBT).await;
    assert_eq!((fates(&database).await.len(), object_server.received().len()), (3, 3));
}

/// The exchange asked once to end it; then the object server was away, or minted only afterwards.
#[tokio::test]
async fn a_failed_lease_that_may_have_been_minted_is_revoked_again_after_a_minute_of_doubt() {
    let database = fresh_database().await;
    let minting = ScriptedObjectServer::start(vec![Reply::Close, Reply::refusal(503, "SlowDown")]).await;
    let parts = Parts::with(Arc::new(store(&database).await), minting.endpoint());
    assert_eq!(parts.exchange(&token()).await.unwrap_err().code(), "object_server_interrupted");
    let failed = ("lease.failed", "object_server_interrupted");
    assert_eq!(told(&fates(&database).await), [INTENDED, failed]);

    let back = ScriptedObjectServer::start(vec![Reply::http(204, "text/plain", "")]).await;
    let mut instance = Instance::start(&database, &back).await;
    instance.pass_after(Duration::ZERO).await;
    instance.pass_after(DOUBT * 9 / 10).await;
    assert_eq!((back.received().len(), instance.counts("stint_lone_intents 1")), (0, true));
    instance.pass_after(DOUBT / 5).await;
    let rows = fates(&database).await;
    assert_eq!(told(&rows), [INTENDED, failed, REVOKED]);
    assert_eq!((rows[2].lease_id, &rows[2].subject), (rows[0].lease_id, &rows[0].subject));
    let [revocation] = back.received().try_into().unwrap();
    assert!(revocation.line.contains(&rows[0].lease_id.unwrap().to_string()), "{revocation:?}");
    instance.pass_after(DOUBT * 2).await;
    assert_eq!((fates(&database).await.len(), back.received().len()), (3, 1), "once");
}

#[tokio::test]
async fn a_failed_lease_of_which_nothing_exists_is_left_as_it_is() {
    let database = fresh_database().await;
    let refusing = ScriptedObjectServer::start(vec![Reply::refusal(403, "AccessDenied")]).await;
    let parts = Parts::with(Arc::new(store(&database).await), refusing.endpoint());
    assert_eq!(parts.exchange(&token()).await.unwrap_err().code(), "object_server_refused");
    let mut instance = Instance::start(&database, &refusing).await;
    instance.pass_after(Duration::ZERO).await;
    instance.pass_after(DOUBT * 2).await;
    assert_eq!(told(&fates(&database).await), [INTENDED, ("lease.failed", "object_server_refused")]);
    assert_eq!(refusing.received().len(), 1);
}
