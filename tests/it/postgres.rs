//! The log in a real PostgreSQL: what goes in comes back, nothing goes out, and a server that dies refuses and heals.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, Executor, PgConnection};
use stint::audit::{
    AuditError, AuditLog, AuditRow, AuditStore, Digest, Door, Event, EventKind, LogParts, LogSettings, Position,
    RecordedEffect, Refused, SequencedEvent, SigningKey, StoreError,
};
use stint::clock::{Clock, SystemClock};
use stint::demo::database::{PrivatePostgres, PrivateSettings};
use stint::postgres::PostgresStore;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::database::{THROWAWAY, fresh_database, server_directory};
use crate::harness::events::{bare_event, request, whole_event};
use crate::harness::sealer::Sealer;

const DEADLINE: Duration = Duration::from_secs(2);

async fn store(url: &SecretString) -> PostgresStore {
    PostgresStore::connect(url, DEADLINE).await.unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

async fn plain(url: &SecretString) -> PgConnection {
    PgConnection::connect(url.expose_secret()).await.unwrap()
}

/// Appends one bare event as a stream of its own.
async fn append_one(store: &PostgresStore) {
    store.append(&Sealer::start().next([bare_event()])).await.unwrap();
}

#[tokio::test]
async fn every_field_of_an_event_comes_back_as_it_went_in() {
    let store = store(&fresh_database().await).await;
    let (mut stream, event) = (Sealer::start(), whole_event());
    store.append(&stream.next([event.clone()])).await.unwrap();
    let lease = event.lease.clone().unwrap();
    let rows = store.lease_events(lease.id).await.unwrap();
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    let (request, identity) = (event.request.unwrap(), event.identity.unwrap());
    let expected = AuditRow {
        stream: stream.stream().0,
        seq: 0,
        id: event.id,
        occurred_at: event.occurred_at,
        kind: "lease.issued".to_owned(),
        effect: "allow".to_owned(),
        reason: "granted".to_owned(),
        door: Some("leases".to_owned()),
        address: Some("2001:db8::7".parse().unwrap()),
        request_id: Some(request.origin.request_id),
        requested_role: request.requested_role,
        requested_seconds: Some(7_200),
        session_name: request.session_name,
        token_sha256: request.token_sha256,
        issuer: Some(identity.issuer),
        subject: identity.subject,
        client: identity.client,
        groups: identity.groups,
        jti: identity.jti,
        role: event.role,
        roles: event.roles,
        matched_rule: event.matched_rule,
        policy_hash: event.policy_hash,
        lease_id: Some(lease.id.as_uuid()),
        role_session_name: Some(lease.role_session_name),
        session_policy_sha256: Some(lease.session_policy_sha256),
        granted_seconds: Some(3_541),
        key_fingerprint: lease.key_fingerprint.map(|fingerprint| fingerprint.as_str().to_owned()),
        ends_at: lease.ends_at,
        count: Some(3),
        network: Some("2001:db8::/48".to_owned()),
        heads: event.heads.iter().map(ToString::to_string).collect(),
        key_id: event.key_id.map(Digest::to_hex),
        detail: event.detail,
        actor: event.actor,
        parent_fingerprint: lease.parent.map(|fingerprint| fingerprint.as_str().to_owned()),
        refused_after_ms: Some(1_250),
        freeze_id: Some(uuid::Uuid::from_u128(7)),
    };
    assert_eq!(row, &expected);
}

#[tokio::test]
async fn what_an_event_does_not_speak_of_is_null() {
    let store = store(&fresh_database().await).await;
    append_one(&store).await;
    let rows = store.recent(10).await.unwrap();
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.seq, row.kind.as_str(), row.effect.as_str()), (0, "policy.loaded", "not_applicable"));
    assert_eq!((&row.subject, &row.lease_id, &row.door, &row.ends_at), (&None, &None, &None, &None));
    assert_eq!((&row.groups, &row.roles), (&Vec::new(), &Vec::new()));
}

#[tokio::test]
async fn a_nul_in_a_claim_is_replaced_and_does_not_refuse_the_batch() {
    let store = store(&fresh_database().await).await;
    let mut event = whole_event();
    event.identity.as_mut().unwrap().jti = Some("a\0b".to_owned());
    store.append(&Sealer::start().next([event])).await.unwrap();
    assert_eq!(store.recent(1).await.unwrap()[0].jti.as_deref(), Some("a\u{fffd}b"));
}

#[tokio::test]
async fn the_head_is_the_last_seal_of_its_own_stream() {
    let store = store(&fresh_database().await).await;
    let (mut ours, mut theirs) = (Sealer::start(), Sealer::start());
    assert_eq!(store.head(ours.stream()).await.unwrap(), None);
    store.append(&ours.next([bare_event(), bare_event()])).await.unwrap();
    let last = ours.next([bare_event()]);
    store.append(&last).await.unwrap();
    store.append(&theirs.next([bare_event()])).await.unwrap();
    let found = store.head(ours.stream()).await.unwrap().unwrap();
    assert_eq!(found, last.seal);
    assert!(found.is_signed_by(ours.key.public()));
}

#[tokio::test]
async fn a_number_that_the_stream_has_is_refused_and_nothing_of_the_batch_is_kept() {
    let store = store(&fresh_database().await).await;
    let mut stream = Sealer::start();
    store.append(&stream.next([bare_event()])).await.unwrap();
    let claims = |seq| SequencedEvent { position: Position { stream: stream.stream(), seq }, event: bare_event() };
    let seq_taken = stream.sealed([claims(1), claims(0)]);
    assert!(matches!(store.append(&seq_taken).await, Err(StoreError::Unavailable(_))));
    let mut number_taken = stream.draft([bare_event()]);
    number_taken.seal.number = 0;
    assert!(matches!(store.append(&number_taken).await, Err(StoreError::Unavailable(_))));
    assert_eq!(store.recent(10).await.unwrap().len(), 1);
    store.append(&stream.next([bare_event(), bare_event()])).await.unwrap();
}

#[tokio::test]
async fn an_event_that_breaks_a_rule_is_rejected_and_nothing_of_the_batch_is_kept() {
    let store = store(&fresh_database().await).await;
    let mut stream = Sealer::start();
    let broken = Event { reason: "", ..bare_event() };
    let batch = stream.draft([bare_event(), broken]);
    assert!(matches!(store.append(&batch).await, Err(StoreError::Rejected(_))));
    assert_eq!(store.recent(10).await.unwrap(), []);
    assert_eq!(store.head(stream.stream()).await.unwrap(), None);
    store.append(&stream.next([bare_event()])).await.unwrap();
}

#[tokio::test]
async fn a_row_or_a_seal_that_a_trigger_swallows_is_never_acknowledged() {
    for (kept, returned, taken) in [
        ("audit_event", "case when new.reason = 'opened' then new end", false),
        ("audit_event", "null", false),
        ("audit_seal", "null", false),
        ("audit_event", "new", true),
    ] {
        let url = fresh_database().await;
        let store = store(&url).await;
        let mut stream = Sealer::start();
        store.open(stream.stream(), stream.key.public()).await.unwrap();
        let mut administrator = plain(&url).await;
        let swallow = format!(
            "create function swallow() returns trigger language plpgsql as $$ begin return {returned}; end $$;
             create trigger swallow before insert on {kept} for each row execute function swallow()"
        );
        administrator.execute(sqlx::AssertSqlSafe(swallow)).await.unwrap();
        let opened = stint::audit::Event { reason: "opened", ..bare_event() };
        let appended = store.append(&stream.next([opened, bare_event()])).await;
        assert_eq!(appended.is_ok(), taken, "{kept} {returned}: {appended:?}");
        let sealed: i64 =
            sqlx::query_scalar("select count(*) from audit_seal").fetch_one(&mut administrator).await.unwrap();
        assert_eq!(sealed, i64::from(taken));
    }
}

#[tokio::test]
async fn update_delete_and_truncate_are_refused_for_the_owner_too() {
    let url = fresh_database().await;
    let store = store(&url).await;
    append_one(&store).await;
    let mut owner = plain(&url).await;
    for change in [
        "update audit_event set reason = 'x'",
        "update audit_event set reason = 'x' where false",
        "delete from audit_event",
        "truncate audit_event",
        "insert into audit_event select * from audit_event on conflict (stream, seq) do update set reason = 'x'",
        "set session_replication_role = replica; delete from audit_event",
    ] {
        let error = owner.execute(change).await.expect_err(change).to_string();
        assert!(error.contains("audit_event is append-only"), "{change}: {error}");
    }
    assert_eq!(store.recent(10).await.unwrap()[0].reason, "loaded");
}

#[tokio::test]
async fn migrations_run_from_empty_and_again() {
    let url = fresh_database().await;
    drop(store(&url).await);
    drop(store(&url).await);
    let applied: i64 = sqlx::query_scalar("select count(*) from _sqlx_migrations where success")
        .fetch_one(&mut plain(&url).await)
        .await
        .unwrap();
    assert_eq!(applied, i64::try_from(std::fs::read_dir("migrations").unwrap().count()).unwrap());
}

#[tokio::test]
async fn instances_that_start_together_migrate_once() {
    let url = fresh_database().await;
    let started = join_all((0..4).map(|_| PostgresStore::connect(&url, DEADLINE))).await;
    for store in started {
        store.unwrap();
    }
}

#[tokio::test]
async fn every_event_type_and_effect_is_one_that_the_table_takes() {
    let store = store(&fresh_database().await).await;
    let kinds = [
        EventKind::ExchangeRefused,
        EventKind::LeaseIntended,
        EventKind::LeaseIssued,
        EventKind::LeaseFailed,
        EventKind::LeaseAbandoned,
        EventKind::PolicyLoaded,
        EventKind::AuditRead,
        EventKind::StreamOpened,
        EventKind::StreamClosed,
    ];
    for kind in kinds {
        for effect in [RecordedEffect::Allow, RecordedEffect::Deny, RecordedEffect::NotApplicable] {
            for door in Door::ALL {
                let mut event = Event { kind, effect, ..whole_event() };
                event.request.as_mut().unwrap().origin.door = door;
                store.append(&Sealer::start().next([event])).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_server_default_of_asynchronous_commit_does_not_reach_the_log() {
    let url = fresh_database().await;
    plain(&url)
        .await
        .execute(
            "do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$",
        )
        .await
        .unwrap();
    let store = store(&url).await;
    let mut other = plain(&url).await;
    let default: String = sqlx::query_scalar("show synchronous_commit").fetch_one(&mut other).await.unwrap();
    assert_eq!(default, "off", "the twin: a session that does not ask");
    // A row's commit is flushed when it is acknowledged, which with `off` it is not yet.
    other.execute("create table commit_mode (mode text)").await.unwrap();
    other
        .execute(
            "create function note_mode() returns trigger language plpgsql as $$
             begin insert into commit_mode values (current_setting('synchronous_commit')); return null; end $$;
             create trigger note_mode after insert on audit_event for each statement execute function note_mode()",
        )
        .await
        .unwrap();
    append_one(&store).await;
    let used: String = sqlx::query_scalar("select mode from commit_mode").fetch_one(&mut other).await.unwrap();
    assert_eq!(used, "on");
}

#[tokio::test]
async fn concurrent_writers_of_two_instances_keep_gapless_streams() {
    let url = fresh_database().await;
    let tasks = TaskTracker::new();
    let logs = [open(store(&url).await, &tasks), open(store(&url).await, &tasks)];
    let writes = (0..200).map(|n| logs[n % 2].refuse(refused()));
    assert!(join_all(writes).await.into_iter().all(|written| written.is_ok()));
    assert!(logs.iter().all(|log| log.meter().read().commits <= 11), "{:?}", logs.map(|log| log.meter().read()));
    let seqs: Vec<(Uuid, Vec<i64>)> =
        sqlx::query_as("select stream, array_agg(seq order by seq) from audit_event group by stream")
            .fetch_all(&mut plain(&url).await)
            .await
            .unwrap();
    assert_eq!(seqs.len(), 2);
    assert!(seqs.into_iter().all(|(_, seqs)| seqs == (0..=100).collect::<Vec<_>>()), "stream.opened and its share");
}

#[tokio::test]
async fn a_lock_on_the_table_refuses_within_the_deadline() {
    let url = fresh_database().await;
    let tasks = TaskTracker::new();
    let log = open(store(&url).await, &tasks);
    log.refuse(refused()).await.unwrap();
    let mut blocker = plain(&url).await;
    blocker.execute("begin; lock table audit_event in access exclusive mode").await.unwrap();
    let started = SystemClock::start();
    assert!(log.refuse(refused()).await.is_err());
    assert!(started.elapsed() < DEADLINE + Duration::from_millis(500), "{:?}", started.elapsed());
    blocker.execute("rollback").await.unwrap();
    written_again(&log).await;
}

#[tokio::test]
async fn a_server_that_dies_refuses_within_the_deadline_and_heals_after_its_restart() {
    let directory = server_directory();
    let server = PrivatePostgres::start_with(directory.path(), THROWAWAY).await.unwrap();
    let (port, url) = (server.port(), server.url().clone());
    let tasks = TaskTracker::new();
    let log = open(store(&url).await, &tasks);
    log.refuse(refused()).await.unwrap();

    let sessions: Vec<i32> =
        sqlx::query_scalar("select pid from pg_stat_activity").fetch_all(&mut plain(&url).await).await.unwrap();
    server.kill().await.unwrap();
    gone(&sessions).await;
    let started = SystemClock::start();
    assert_eq!(log.refuse(refused()).await, Err(AuditError::Unavailable));
    assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    assert!(!log.is_healthy());

    let again = PrivateSettings { port: Some(port), ..THROWAWAY };
    let server = PrivatePostgres::start_with(directory.path(), again).await.unwrap();
    written_again(&log).await;
    assert!(log.is_healthy());
    let seqs: Vec<i64> = sqlx::query_scalar("select seq from audit_event order by stream, seq")
        .fetch_all(&mut plain(&url).await)
        .await
        .unwrap();
    assert_eq!(seqs, (0..i64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn sessions_cut_by_the_server_cost_no_caller_a_refusal() {
    let url = fresh_database().await;
    let tasks = TaskTracker::new();
    let log = open(store(&url).await, &tasks);
    log.refuse(refused()).await.unwrap();
    plain(&url).await
        .execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
        .await
        .unwrap();
    assert_eq!(log.refuse(refused()).await, Ok(()));
}

#[tokio::test]
async fn the_rows_and_the_password_of_a_private_server_survive_its_restart() {
    let directory = server_directory();
    let server = PrivatePostgres::start(directory.path()).await.unwrap();
    let first = server.url().clone();
    let kept = store(&first).await;
    append_one(&kept).await;
    let fsync: String = sqlx::query_scalar("show fsync").fetch_one(&mut plain(&first).await).await.unwrap();
    assert_eq!(fsync, "on");
    drop(kept);

    // Started again while the first still runs, as after a crash of the program that started it.
    let second = PrivatePostgres::start_with(directory.path(), THROWAWAY).await.unwrap();
    assert_eq!(store(second.url()).await.recent(10).await.unwrap().len(), 1);
    second.stop().await.unwrap();
    assert!(plain_refused(&first).await);
    drop(server);
}

#[tokio::test]
async fn a_private_server_demands_its_password() {
    let url = fresh_database().await;
    let (before, _) = url.expose_secret().split_once("stint:").unwrap();
    let (_, after) = url.expose_secret().split_once('@').unwrap();
    assert!(plain_refused(&SecretString::from(format!("{before}stint:wrong@{after}"))).await);
    plain(&url).await.close().await.unwrap();
}

async fn plain_refused(url: &SecretString) -> bool {
    PgConnection::connect(url.expose_secret()).await.is_err()
}

fn open(store: PostgresStore, tasks: &TaskTracker) -> AuditLog {
    let settings = LogSettings { deadline: DEADLINE, queue: 1_024 };
    let (clock, key) = (Arc::new(SystemClock::start()), SigningKey::generate().unwrap());
    let parts = LogParts { store: Arc::new(store), clock, rng: rand::make_rng(), key, settings };
    AuditLog::open(parts, tasks)
}

fn refused() -> Refused {
    let identity = whole_event().identity.unwrap();
    Refused { request: request(), identity, reason: "no_role", policy_hash: None, freeze: None, obligation: None }
}

/// Waits for the sessions of a killed server: one that has not noticed yet would still commit, and rightly say so.
async fn gone(sessions: &[i32]) {
    let started = SystemClock::start();
    while sessions.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
        assert!(started.elapsed() < Duration::from_secs(10), "sessions outlive their server");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writes until the log takes it; the writer looks at the store at least once a second.
async fn written_again(log: &AuditLog) {
    let started = SystemClock::start();
    while log.refuse(refused()).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "the log does not heal");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
