//! The journal and a real PostgreSQL: merged at whatever step either dies, by two instances, beside the service's own log; and
//! what the database itself keeps of emergencies.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use stint::audit::{
    AuditLog, AuditStore, Batch, Emergency, EmergencyContext, EmergencyFacts, Event, EventKind, Inspection, Ledger,
    LogParts, LogSettings, PolicySetText, Seal, SigningKey, StoreError, StreamHead, StreamId, VerifyingKey,
};
use stint::break_glass::desk::EmergencyRecord;
use stint::break_glass::journal::{Journal, JournalError, JournalFirst, JournalParts, JournalStanding};
use stint::clock::SystemClock;
use stint::postgres::PostgresStore;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::database::{connect, migrated, one, run};
use crate::harness::events::bare_event;
use crate::harness::months::month;
use crate::harness::sealer::Sealer;
use crate::verify::key;

const DEADLINE: Duration = Duration::from_secs(20);

fn open(directory: &Path) -> Arc<Journal> {
    let directory = directory.join("journal");
    let parts = JournalParts { directory, keys: vec![*key().public()], room: 256 * 1024, rng: rand::make_rng() };
    Arc::new(Journal::open(parts).unwrap())
}

async fn store(url: &SecretString) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::connect(url, DEADLINE).await.unwrap())
}

/// A log as the service has one.
struct Writing {
    log: AuditLog,
    tasks: TaskTracker,
}

impl Writing {
    fn over(store: Arc<dyn AuditStore>) -> Self {
        Self::sealed_with(store, key())
    }

    fn sealed_with(store: Arc<dyn AuditStore>, key: SigningKey) -> Self {
        let tasks = TaskTracker::new();
        let settings = LogSettings { deadline: DEADLINE, queue: 16 };
        let parts = LogParts { store, clock: Arc::new(SystemClock::start()), rng: rand::make_rng(), key, settings };
        Self { log: AuditLog::open(parts, &tasks), tasks }
    }

    async fn say(&self, what: Emergency, nonce: Uuid) -> Uuid {
        let facts =
            EmergencyFacts { incident: Some("INC-1".to_owned()), nonce: Some(nonce), ..EmergencyFacts::default() };
        self.log.emergency(what, "said", &facts, EmergencyContext::default()).await.unwrap()
    }

    async fn end(self) {
        drop(self.log);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// One process's use of a journal, in good order: four commits.
async fn use_of(directory: &Path) -> Uuid {
    let nonce = Uuid::new_v4();
    let writing = Writing::over(open(directory));
    writing.say(Emergency::Requested, nonce).await;
    writing.say(Emergency::Granted, nonce).await;
    writing.end().await;
    nonce
}

async fn is_whole(store: &PostgresStore) {
    let inspection = Inspection { trusted: vec![*key().public()], ..Inspection::default() };
    let report = store.verify(inspection, Arc::new(|_| {})).await.unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
}

/// A real store whose process dies at a call: before it, or after it took effect and before it was answered.
#[derive(Debug)]
struct Dying {
    store: Arc<PostgresStore>,
    calls: AtomicUsize,
    at: usize,
    late: bool,
}

impl Dying {
    async fn call<T>(&self, work: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let died = || Err(StoreError::Unavailable("the process died".into()));
        match call.cmp(&self.at) {
            std::cmp::Ordering::Less => work.await,
            std::cmp::Ordering::Equal if self.late => work.await.and_then(|_unheard| died()),
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => died(),
        }
    }
}

#[async_trait]
impl AuditStore for Dying {
    async fn open(&self, stream: StreamId, key: &VerifyingKey) -> Result<Vec<StreamHead>, StoreError> {
        self.call(self.store.open(stream, key)).await
    }

    async fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.call(self.store.append(batch)).await
    }

    async fn head(&self, stream: StreamId) -> Result<Option<Seal>, StoreError> {
        self.call(self.store.head(stream)).await
    }

    async fn keep_policy_set(&self, set: &PolicySetText) -> Result<(), StoreError> {
        self.call(self.store.keep_policy_set(set)).await
    }
}

#[tokio::test]
async fn a_process_that_dies_at_any_step_of_a_merge_leaves_nothing_out_and_nothing_twice() {
    let (_, serving) = migrated().await;
    let store = store(&serving).await;
    let mut nonces = Vec::new();
    // Two streams: opened, two events, closed; room and head of each, and four appends.
    for (at, late) in (0..12).flat_map(|at| [(at, false), (at, true)]) {
        let directory = TempDir::new().unwrap();
        nonces.extend([use_of(directory.path()).await, use_of(directory.path()).await]);
        let dying = Dying { store: store.clone(), calls: AtomicUsize::new(0), at, late };
        let error = open(directory.path()).merge_into(&dying).await.unwrap_err();
        assert!(matches!(error, JournalError::Unmerged(_)), "{at} {late}: {error}");
        let journal = open(directory.path());
        journal.merge_into(store.as_ref()).await.unwrap();
        assert_eq!(journal.standing(), JournalStanding::Merged);
    }
    let rows = store.rows().await.unwrap();
    for nonce in &nonces {
        let of =
            rows.iter().filter(|row| row.detail.as_ref().is_some_and(|detail| detail.contains(&nonce.to_string())));
        let told: Vec<&str> = of.map(|row| row.kind.as_str()).collect();
        assert_eq!(told, ["break_glass.requested", "break_glass.granted"]);
    }
    assert_eq!(rows.len(), nonces.len() * 2);
    is_whole(&store).await;
}

#[tokio::test]
async fn two_instances_merge_their_journals_while_both_write_the_log() {
    let (_, serving) = migrated().await;
    let store = store(&serving).await;
    let instance = async || {
        let directory = TempDir::new().unwrap();
        let before = use_of(directory.path()).await;
        let journal = open(directory.path());
        let service = Writing::over(Arc::new(JournalFirst::new(journal.clone(), store.clone())));
        let emergency = Writing::over(journal.clone());
        for _ in 0..10 {
            let nonce = Uuid::new_v4();
            let claim = emergency.say(Emergency::Requested, nonce).await;
            service.say(Emergency::DrillOverdue, before).await;
            assert_eq!(store.owner(nonce).await.unwrap(), Some(claim), "in the log before the next commit");
        }
        emergency.end().await;
        service.end().await;
        journal.merge_into(store.as_ref()).await.unwrap();
        before
    };
    let (one, other) = tokio::join!(instance(), instance());
    assert_ne!(one, other);
    assert_eq!(store.rows().await.unwrap().len(), 2 * (2 + 20));
    is_whole(&store).await;
}

#[tokio::test]
async fn the_first_to_ask_owns_a_nonce_until_its_own_stream_gives_it_back() {
    let (_, serving) = migrated().await;
    let store = store(&serving).await;
    let (first, second) = (Writing::over(store.clone()), Writing::over(store.clone()));
    let nonce = Uuid::new_v4();
    assert_eq!(store.owner(nonce).await.unwrap(), None);
    let claim = first.say(Emergency::Requested, nonce).await;
    second.say(Emergency::Requested, nonce).await;
    assert_eq!(store.owner(nonce).await.unwrap(), Some(claim));
    second.say(Emergency::Failed, nonce).await;
    assert_eq!(store.owner(nonce).await.unwrap(), Some(claim), "it was never the second's to give");
    first.say(Emergency::Failed, nonce).await;
    assert_eq!(store.owner(nonce).await.unwrap(), None);
    let again = second.say(Emergency::Requested, nonce).await;
    assert_eq!(store.owner(nonce).await.unwrap(), Some(again));
    // Many at once: one owner, and everybody sees the same.
    let (contested, writers) = (Uuid::new_v4(), (0..8).map(|_| Writing::over(store.clone())).collect::<Vec<_>>());
    let claims =
        futures::future::join_all(writers.iter().map(|writer| writer.say(Emergency::Requested, contested))).await;
    assert!(claims.contains(&store.owner(contested).await.unwrap().unwrap()));
    for writing in writers.into_iter().chain([first, second]) {
        writing.end().await;
    }
    is_whole(&store).await;
}

fn emergency(what: Emergency, detail: Option<&str>) -> Event {
    Event {
        kind: EventKind::BreakGlass(what),
        detail: detail.map(str::to_owned),
        id: Uuid::now_v7(),
        reason: "said",
        ..bare_event()
    }
}

#[tokio::test]
async fn an_event_whose_detail_names_no_nonce_is_kept_all_the_same() {
    let (url, serving) = migrated().await;
    let store = store(&serving).await;
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let strange = [
        None,
        Some(""),
        Some("for people"),
        Some("[]"),
        Some("null"),
        Some(r#"{"nonce":7}"#),
        Some(r#"{"nonce":{}}"#),
        Some(r#"{"nonce":null}"#),
        Some(r#"{"nonce":"'; drop table audit_event; --"}"#),
        Some(r#"{"nonce":"\u0000"}"#),
        Some(deep.as_str()),
    ];
    let mut stream = Sealer::start();
    for detail in strange {
        for what in [Emergency::Requested, Emergency::Failed] {
            store.append(&stream.next([emergency(what, detail)])).await.unwrap();
        }
    }
    let mut owner = connect(&url).await;
    assert_eq!(one::<i64>(&mut owner, "select count(*) from audit_break_glass_nonce").await, 0);
    assert_eq!(store.rows().await.unwrap().len(), strange.len() * 2);
}

#[tokio::test]
async fn the_serving_role_cannot_give_a_nonce_back_or_take_one() {
    let (_, serving) = migrated().await;
    let writing = Writing::over(store(&serving).await);
    writing.say(Emergency::Requested, Uuid::new_v4()).await;
    let mut connection = connect(&serving).await;
    let all = "select count(*) from audit_break_glass_nonce";
    assert_eq!(one::<i64>(&mut connection, all).await, 1, "it may read");
    for change in [
        "delete from audit_break_glass_nonce",
        "truncate audit_break_glass_nonce",
        "update audit_break_glass_nonce set event_id = gen_random_uuid()",
        "insert into audit_break_glass_nonce (nonce, event_id, stream) select gen_random_uuid(), gen_random_uuid(), gen_random_uuid()",
        "select audit_claim_nonce()",
        "alter table audit_event disable trigger audit_event_claim_nonce",
    ] {
        let refused = run(&mut connection, change).await.unwrap_err();
        assert!(refused.contains("permission denied") || refused.contains("must be owner"), "{change}: {refused}");
    }
    assert_eq!(one::<i64>(&mut connection, all).await, 1);
    writing.end().await;
}

#[tokio::test]
async fn a_month_with_an_open_review_stays_until_it_is_closed() {
    // A process that died before it could say that a review is open left the claim alone.
    for owed in [Emergency::ReviewOpened, Emergency::Requested] {
        let (url, serving) = migrated().await;
        let store = store(&serving).await;
        let detail = format!(r#"{{"kind":"outage","nonce":"{}"}}"#, Uuid::new_v4());
        let mut stream = Sealer::at(month(-1));
        store.open(stream.stream(), stream.key.public()).await.unwrap();
        store.append(&stream.next_at([emergency(owed, Some(&detail))], month(-1))).await.unwrap();
        let retire = format!("set role stint_owner; select * from audit_retire('{}')", month(-1).date());
        let refused = run(&mut connect(&url).await, &retire).await.unwrap_err();
        assert!(refused.contains("is open"), "{owed:?}: {refused}");
        let mut later = Sealer::start();
        store.open(later.stream(), later.key.public()).await.unwrap();
        store.append(&later.next([emergency(Emergency::ReviewClosed, Some(&detail))])).await.unwrap();
        run(&mut connect(&url).await, &retire).await.unwrap();
    }
}

#[tokio::test]
async fn a_month_with_a_drill_or_with_a_use_that_came_to_nothing_does_not_stay() {
    for (kind, events) in
        [("drill", vec![Emergency::Requested]), ("outage", vec![Emergency::Requested, Emergency::Failed])]
    {
        let (url, serving) = migrated().await;
        let store = store(&serving).await;
        let detail = format!(r#"{{"kind":"{kind}","nonce":"{}"}}"#, Uuid::new_v4());
        let mut stream = Sealer::at(month(-1));
        store.open(stream.stream(), stream.key.public()).await.unwrap();
        for event in events {
            store.append(&stream.next_at([emergency(event, Some(&detail))], month(-1))).await.unwrap();
        }
        let retire = format!("set role stint_owner; select * from audit_retire('{}')", month(-1).date());
        run(&mut connect(&url).await, &retire).await.unwrap();
    }
}

#[tokio::test]
async fn emergencies_are_an_action_of_their_own_in_the_form_of_flex_auth() {
    let (url, serving) = migrated().await;
    let writing = Writing::over(store(&serving).await);
    writing.say(Emergency::Granted, Uuid::new_v4()).await;
    let action = "select action from flex_auth_event where metadata->>'stint_type' = 'break_glass.granted'";
    assert_eq!(one::<String>(&mut connect(&url).await, action).await, "break_glass");
    writing.end().await;
}
