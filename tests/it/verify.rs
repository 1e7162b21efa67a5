//! The log in a real PostgreSQL, tampered with by somebody who may do everything: each change is found and named.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use stint::audit::{
    AuditLog, AuditStore, Chain, Checkpoint, Door, Event, EventKind, Fault, Finding, Identity, Inquiry, Inspection,
    Ledger, LogParts, LogSettings, Origin, RecordedEffect, Refused, Report, Request, Seal, SigningKey, StreamHead,
    StreamId, VerifyingKey,
};
use stint::clock::{Clock, SystemClock};
use stint::postgres::PostgresStore;
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::database::fresh_database;
use crate::harness::manual_clock::ManualClock;
use crate::harness::sealer::Sealer;

const DEADLINE: Duration = Duration::from_secs(2);
/// Written by `openssl genpkey -algorithm ed25519`, for tests only.
pub(crate) const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIO4yn+A53sCFyv6/JDtYlljAza5CsOePpTDv34cO5VBm\n-----END PRIVATE KEY-----\n";

pub(crate) fn key() -> SigningKey {
    SigningKey::from_pem(PRIVATE.as_bytes()).unwrap()
}

/// A log of four streams: one that ended with its month, the one after it, one of another process, and one that names them
/// all and has not been closed.
pub(crate) struct Tampered {
    pub(crate) url: SecretString,
    pub(crate) store: Arc<PostgresStore>,
    pub(crate) streams: Vec<StreamId>,
    connection: PgConnection,
}

const TABLES: [&str; 3] = ["audit_event", "audit_seal", "audit_key"];

impl Tampered {
    pub(crate) async fn new() -> Self {
        let url = fresh_database().await;
        let store = Arc::new(PostgresStore::connect(&url, DEADLINE).await.unwrap());
        let clock = Arc::new(ManualClock::default());
        write_log(&store, clock.clone(), Some(&clock)).await;
        write_log(&store, Arc::new(SystemClock::start()), None).await;
        let last = write_last(&store).await;
        let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
        disarm(&mut connection).await;
        let rows = sqlx::query("select stream from audit_seal group by stream order by stream");
        let rows = rows.fetch_all(&mut connection).await.unwrap();
        // Named, or the one that names: a stream's id tells a clock's time, which need not be the order of naming.
        let mut streams: Vec<StreamId> = rows.iter().map(|row| StreamId(row.get(0))).collect();
        streams.sort_by_key(|stream| *stream == last);
        assert_eq!(streams.len(), 4);
        connection.execute("create schema backup").await.unwrap();
        for table in TABLES {
            let copy = format!("create table backup.{table} as table {table}");
            connection.execute(AssertSqlSafe(copy)).await.unwrap();
        }
        Self { url, store, streams, connection }
    }

    pub(crate) async fn execute(&mut self, statement: &str) -> u64 {
        let done = self.connection.execute(AssertSqlSafe(statement.to_owned())).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}")).rows_affected()
    }

    /// As it was.
    pub(crate) async fn restore(&mut self) {
        for table in TABLES {
            self.execute(&format!("truncate {table}")).await;
            self.execute(&format!("insert into {table} select * from backup.{table}")).await;
        }
    }

    pub(crate) async fn verify(&self, inspection: Inspection) -> Report {
        self.store.verify(inspection, Arc::new(|_| {})).await.unwrap()
    }

    async fn found(&self) -> Vec<Finding> {
        self.verify(pinned()).await.findings
    }

    /// What is found after one statement, which must change something.
    async fn after(&mut self, statement: &str) -> Vec<Finding> {
        assert!(self.execute(statement).await > 0, "{statement} changed nothing");
        let found = self.found().await;
        self.restore().await;
        found
    }

    async fn checkpoint(&self) -> Checkpoint {
        Checkpoint::take(self.store.heads().await.unwrap(), OffsetDateTime::UNIX_EPOCH, &key())
    }

    /// The stream that holds the most.
    fn stream(&self) -> Uuid {
        self.streams[0].0
    }
}

pub(crate) fn pinned() -> Inspection {
    Inspection { trusted: vec![*key().public()], ..Inspection::default() }
}

/// Takes every guard away, as a superuser can.
async fn disarm(connection: &mut PgConnection) {
    let disarm = r"
        do $$
        declare guard record;
        begin
            for guard in
                select tgrelid::regclass as kept, tgname as name from pg_trigger
                join pg_class on pg_class.oid = tgrelid
                where not tgisinternal and tgparentid = 0 and relnamespace = 'public'::regnamespace
            loop
                execute format('drop trigger %I on %s', guard.name, guard.kept);
            end loop;
            for guard in
                select conrelid::regclass as kept, conname as name from pg_constraint
                where contype = 'c' and connamespace = 'public'::regnamespace and coninhcount = 0
            loop
                execute format('alter table %s drop constraint %I', guard.kept, guard.name);
            end loop;
        end
        $$";
    connection.execute(disarm).await.unwrap();
}

fn request() -> Request {
    Request {
        origin: Origin { door: Door::Sts, address: Some("203.0.113.9".parse().unwrap()), request_id: Uuid::now_v7() },
        requested_role: Some("studio".to_owned()),
        requested_seconds: Some(3600),
        session_name: Some("=cmd()".to_owned()),
        token_sha256: Some("ab".repeat(32)),
    }
}

fn identity() -> Identity {
    Identity {
        issuer: "authentik".to_owned(),
        subject: Some("ünïcode \"sub\" \u{1}\t".to_owned()),
        client: Some("client".to_owned()),
        groups: vec!["a".to_owned(), "b,{c}".to_owned()],
        jti: Some("j".to_owned()),
    }
}

/// A process: alone and together, with a change of the month in the middle if its clock can be moved.
async fn write_log(store: &Arc<PostgresStore>, clock: Arc<dyn Clock>, moved: Option<&ManualClock>) {
    let tasks = TaskTracker::new();
    let settings = LogSettings { deadline: DEADLINE, queue: 64 };
    let store: Arc<dyn AuditStore> = store.clone();
    let log = AuditLog::open(LogParts { store, clock, rng: rand::make_rng(), key: key(), settings }, &tasks);
    let refuse = || async {
        let refused = Refused {
            request: request(),
            identity: identity(),
            reason: "no_role",
            policy_hash: Some("cd".repeat(32)),
            freeze: None,
            obligation: None,
        };
        log.refuse(refused).await.unwrap();
    };
    log.policy_loaded("cd".repeat(32), vec!["studio".to_owned()]).await.unwrap();
    refuse().await;
    join_all((0..8).map(|_| refuse())).await;
    refuse().await;
    if let Some(clock) = moved {
        clock.advance(Duration::from_hours(24 * 20));
        refuse().await;
        join_all((0..4).map(|_| refuse())).await;
    }
    let inquiry = Inquiry {
        request: Request { token_sha256: None, ..request() },
        identity: identity(),
        effect: RecordedEffect::Allow,
        reason: "read",
        detail: "everything".to_owned(),
    };
    log.read(inquiry).await.unwrap();
    drop(log);
    tasks.close();
    tasks.wait().await;
}

/// A stream that names every head there is, and is still being written.
async fn write_last(store: &PostgresStore) -> StreamId {
    let mut sealer = Sealer::start();
    sealer.key = key();
    store.open(sealer.stream(), sealer.key.public()).await.unwrap();
    let heads = store.heads().await.unwrap();
    let opened = Event { heads, key_id: Some(key().public().id()), ..event(EventKind::StreamOpened) };
    store.append(&sealer.next([opened])).await.unwrap();
    store.append(&sealer.next([event(EventKind::PolicyLoaded), event(EventKind::PolicyLoaded)])).await.unwrap();
    sealer.stream()
}

fn event(kind: EventKind) -> Event {
    Event {
        id: Uuid::now_v7(),
        occurred_at: OffsetDateTime::from_unix_timestamp(1_795_300_000).unwrap(),
        kind,
        effect: RecordedEffect::NotApplicable,
        reason: "loaded",
        request: None,
        identity: None,
        role: None,
        roles: Vec::new(),
        matched_rule: None,
        policy_hash: None,
        lease: None,
        refusals: None,
        heads: Vec::new(),
        key_id: None,
        detail: None,
        actor: None,
        orphan: None,
        refused_after: None,
        freeze: None,
    }
}

fn faults(findings: &[Finding]) -> Vec<(Fault, Option<u64>, Option<u64>)> {
    findings.iter().map(|finding| (finding.fault, finding.number, finding.seq)).collect()
}

#[track_caller]
fn assert_names(findings: &[Finding], stream: Uuid, fault: Fault, seq: Option<u64>) {
    let named = |finding: &Finding| {
        finding.fault == fault && finding.stream == Some(StreamId(stream)) && (seq.is_none() || finding.seq == seq)
    };
    assert!(findings.iter().any(named), "{fault:?} at {seq:?}: {findings:#?}");
}

#[tokio::test]
async fn a_log_that_nobody_touched_is_whole() {
    let mut log = Tampered::new().await;
    let report = log.verify(pinned()).await;
    assert_eq!(report.findings, []);
    assert_eq!(faults(&report.warnings), [(Fault::StreamNotClosed, Some(1), Some(2))]);
    let rows: i64 =
        sqlx::query_scalar("select count(*) from audit_event").fetch_one(&mut log.connection).await.unwrap();
    assert_eq!((report.streams, report.rows), (4, u64::try_from(rows).unwrap()));
    assert!(report.keys_pinned && report.rows >= 25);
    assert!(!log.verify(Inspection::default()).await.keys_pinned);

    // The copy from the backup is as good as the rows it replaced: what the other tests start from.
    log.restore().await;
    assert_eq!(log.found().await, []);
}

#[tokio::test]
async fn an_edit_of_any_column_of_any_row_is_found_and_named() {
    let mut log = Tampered::new().await;
    let stream = log.stream();
    let columns = sqlx::query(
        "select attname, format_type(atttypid, null) from pg_attribute
         where attrelid = 'audit_event'::regclass and attnum > 0 and not attisdropped",
    );
    let columns = columns.fetch_all(&mut log.connection).await.unwrap();
    assert!(columns.len() >= 34);
    for column in columns {
        let (name, kind): (String, String) = (column.get(0), column.get(1));
        let other = match (name.as_str(), kind.as_str()) {
            // Elsewhere: a row that is gone here, and one too many there.
            ("stream", _) | (_, "uuid") => format!("'{}'", Uuid::now_v7()),
            ("seq", _) => "seq + 1000".to_owned(),
            (_, "bigint") => format!("coalesce({name}, 0) + 1"),
            (_, "timestamp with time zone") => {
                format!("coalesce({name}, '2026-01-01 00:00+00') + interval '1 microsecond'")
            }
            (_, "text[]") => format!("{name} || '{{x}}'::text[]"),
            (_, "inet") => "'203.0.113.9/24'".to_owned(),
            (_, "cidr") => "'203.0.113.0/24'".to_owned(),
            (_, "text") => format!("coalesce({name}, '') || 'x'"),
            (name, kind) => panic!("how is {name} {kind} edited?"),
        };
        for seq in [0_u64, 2] {
            let edit = format!("update audit_event set {name} = {other} where stream = '{stream}' and seq = {seq}");
            let found = log.after(&edit).await;
            let fault = if name == "stream" || name == "seq" { Fault::RowMissing } else { Fault::RowEdited };
            assert_names(&found, stream, fault, Some(seq));
        }
    }
    assert_eq!(log.found().await, [], "the log is as it was");
}

#[tokio::test]
async fn an_edit_that_hides_behind_the_same_text_is_found() {
    let mut log = Tampered::new().await;
    let stream = log.stream();
    for edit in [
        "groups = array['a', null, 'b,{c}']",
        "groups = array[array['a', 'b,{c}']]",
        "groups = '[0:1]={a,\"b,{c}\"}'",
        "occurred_at = 'infinity'",
        "detail = ''",
        "address = null",
    ] {
        let found = log.after(&format!("update audit_event set {edit} where stream = '{stream}' and seq = 2")).await;
        assert_eq!(faults(&found).len(), 1, "{edit}: {found:#?}");
        assert_names(&found, stream, Fault::RowEdited, Some(2));
    }
}

#[tokio::test]
async fn rows_that_are_gone_are_named() {
    let mut log = Tampered::new().await;
    let stream = log.stream();
    let last: i64 = sqlx::query_scalar("select max(seq) from audit_event where stream = $1")
        .bind(stream)
        .fetch_one(&mut log.connection)
        .await
        .unwrap();
    for seq in [0, 1, 5, last] {
        let found = log.after(&format!("delete from audit_event where stream = '{stream}' and seq = {seq}")).await;
        assert_names(&found, stream, Fault::RowMissing, Some(u64::try_from(seq).unwrap()));
        assert_eq!(found.len(), 1, "{found:#?}");
    }
    let found = log.after(&format!("delete from audit_event where stream = '{stream}'")).await;
    assert_names(&found, stream, Fault::RowMissing, Some(0));
}

#[tokio::test]
async fn rows_that_were_swapped_inserted_or_doubled_are_named() {
    let mut log = Tampered::new().await;
    let stream = log.stream();
    let swap = format!(
        "update audit_event set seq = case seq when 3 then -4 else -3 end where stream = '{stream}' and seq in (3, 4);
         update audit_event set seq = -seq where stream = '{stream}' and seq < 0"
    );
    let found = log.after(&swap).await;
    assert_eq!(
        faults(&found).iter().map(|fault| (fault.0, fault.2)).collect::<Vec<_>>(),
        [(Fault::RowEdited, Some(3)), (Fault::RowEdited, Some(4))]
    );

    let columns = sqlx::query_scalar::<_, String>(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
         where attrelid = 'audit_event'::regclass and attnum > 0 and not attisdropped and attname not in ('stream', 'seq')",
    );
    let columns = columns.fetch_one(&mut log.connection).await.unwrap();
    let elsewhere = Uuid::now_v7();
    for (stream_of, seq) in [(stream, 5_000), (elsewhere, 0), (Uuid::nil(), 3), (Uuid::max(), 7)] {
        let insert = format!(
            "insert into audit_event (stream, seq, {columns})
             select '{stream_of}', {seq}, {columns} from audit_event where stream = '{stream}' and seq = 3"
        );
        let found = log.after(&insert).await;
        assert_names(&found, stream_of, Fault::RowUnsealed, Some(seq));
        // Of a stream that was closed it is told too that something follows its end.
        assert_eq!(found.len(), if stream_of == stream { 2 } else { 1 }, "{found:#?}");
    }
    let shift = format!("update audit_event set seq = seq + 100000 where stream = '{stream}' and seq >= 4");
    let found = log.after(&shift).await;
    assert_names(&found, stream, Fault::RowMissing, Some(4));
    assert_names(&found, stream, Fault::RowUnsealed, Some(100_004));
}

#[tokio::test]
async fn rows_that_stand_where_no_stream_is_read_are_found() {
    let mut log = Tampered::new().await;
    let stream = log.stream();
    let copy = |place: &str| {
        format!(
            "create temporary table inserted as select * from audit_event where stream = '{stream}' and seq = 2;
             update inserted set {place}; insert into audit_event select * from inserted; drop table inserted"
        )
    };
    let before_all = format!("stream = '{}', seq = '{}'", Uuid::nil(), i64::MIN);
    log.execute(&copy(&before_all)).await;
    assert_eq!(faults(&log.found().await), [(Fault::RowUnsealed, None, None)]);
    log.restore().await;
    log.execute("alter table audit_event drop constraint audit_event_pkey").await;
    log.execute("alter table audit_event alter stream drop not null, alter seq drop not null, alter id drop not null")
        .await;
    assert_eq!(log.found().await, [], "the constraints alone say nothing");
    for place in ["stream = null", "seq = null", "stream = null, seq = null, id = null"] {
        log.execute(&copy(place)).await;
        let found = log.found().await;
        assert!(faults(&found).contains(&(Fault::RowUnsealed, None, None)), "{place}: {found:#?}");
        log.restore().await;
    }
}

#[tokio::test]
async fn seals_that_are_gone_or_changed_are_named() {
    let mut log = Tampered::new().await;
    let stream = log.stream();
    let at = |number: u64| format!("where stream = '{stream}' and number = {number}");
    for number in [0_u64, 2] {
        let found = log.after(&format!("delete from audit_seal {}", at(number))).await;
        assert_names(&found, stream, Fault::SealMissing, None);
        assert!(found.iter().any(|finding| finding.number == Some(number)), "{found:#?}");
        assert_names(&found, stream, Fault::RowUnsealed, None);
    }
    let edits = [
        ("number = number + 1000", Fault::SealMissing),
        ("first_seq = first_seq + 1", Fault::SealForged),
        ("last_seq = last_seq + 1", Fault::SealForged),
        ("leaves = overlay(leaves placing '\\x00'::bytea from 1)", Fault::SealRoot),
        ("leaves = ''", Fault::SealRoot),
        ("leaves = leaves || '\\x00'", Fault::SealMalformed),
        ("root = overlay(root placing '\\x00'::bytea from 1)", Fault::SealForged),
        ("root = ''", Fault::SealMalformed),
        ("previous = overlay(previous placing '\\x00'::bytea from 1)", Fault::SealChain),
        ("sealed_at = sealed_at + interval '1 microsecond'", Fault::SealForged),
        ("key_id = repeat('ab', 32)", Fault::SealKeyUnknown),
        ("signature = overlay(signature placing '\\x00'::bytea from 1)", Fault::SealForged),
    ];
    for (edit, fault) in edits {
        let found = log.after(&format!("update audit_seal set {edit} {}", at(1))).await;
        assert_names(&found, stream, fault, None);
        assert!(found.iter().any(|finding| finding.number == Some(1)), "{edit}: {found:#?}");
    }
    let columns: i64 = sqlx::query_scalar(
        "select count(*) from pg_attribute where attrelid = 'audit_seal'::regclass and attnum > 0 and not attisdropped",
    )
    .fetch_one(&mut log.connection)
    .await
    .unwrap();
    assert_eq!(columns, 10, "every column of a seal but its stream was edited above");
}

#[tokio::test]
async fn a_stream_that_was_cut_or_taken_away_is_named_by_the_one_that_named_it() {
    let mut log = Tampered::new().await;
    for stream in log.streams.clone().into_iter().take(3) {
        let found = log
            .after(&format!(
                "with gone as (
                     delete from audit_seal where stream = '{0}'
                     and number = (select max(number) from audit_seal where stream = '{0}') returning first_seq
                 )
                 delete from audit_event where stream = '{0}' and seq >= (select first_seq from gone)",
                stream.0
            ))
            .await;
        assert_names(&found, stream.0, Fault::StreamCut, None);
        assert_eq!(found.len(), 1, "{found:#?}");

        log.execute(&format!("delete from audit_seal where stream = '{}'", stream.0)).await;
        let found = log.after(&format!("delete from audit_event where stream = '{}'", stream.0)).await;
        assert_names(&found, stream.0, Fault::StreamMissing, Some(0));
    }
}

/// Every row and seal of a stream from `number` on, made anew with another key: what a superuser can always do.
async fn rewrite(log: &mut Tampered, stream: Uuid, other: &SigningKey) {
    let add = format!(
        "insert into audit_key (key_id, public_key) values ('{}', '{}') on conflict do nothing",
        other.public().id(),
        other.public().to_pem()
    );
    log.execute(&add).await;
    log.execute(&format!("update audit_event set subject = 'somebody else' where stream = '{stream}' and seq = 2"))
        .await;
    log.execute(&format!(
        "update audit_event set key_id = '{}' where stream = '{stream}' and seq = 0",
        other.public().id()
    ))
    .await;
    let rows = log.store.recent(1000).await.unwrap();
    let mut rows: Vec<_> = rows.into_iter().filter(|row| row.stream == stream).collect();
    rows.sort_by_key(|row| row.seq);
    let seals =
        sqlx::query("select number, first_seq, last_seq, sealed_at from audit_seal where stream = $1 order by number");
    let seals = seals.bind(stream).fetch_all(&mut log.connection).await.unwrap();
    let mut chain = Chain::start(StreamId(stream));
    for seal in seals {
        let (number, first, last): (i64, i64, i64) = (seal.get(0), seal.get(1), seal.get(2));
        let covered = rows.iter().filter(|row| (first..=last).contains(&row.seq));
        let made = Seal::make(&chain, covered.map(stint::audit::Record::leaf).collect(), seal.get(3), other);
        let leaves: String = made.leaves.iter().map(|leaf| leaf.to_hex()).collect();
        log.execute(&format!(
            "update audit_seal set leaves = '\\x{leaves}', root = '\\x{}', previous = '\\x{}', key_id = '{}',
             signature = '\\x{}' where stream = '{stream}' and number = {number}",
            made.root,
            made.previous,
            made.key_id,
            made.signature.to_hex()
        ))
        .await;
        chain = Chain::after(&made);
    }
}

#[tokio::test]
async fn a_stream_sealed_anew_with_another_key_is_found_by_the_pinned_key_and_by_whoever_named_it() {
    let mut log = Tampered::new().await;
    let stream = log.stream();
    let checkpoint = log.checkpoint().await;
    rewrite(&mut log, stream, &SigningKey::generate().unwrap()).await;
    let found = log.found().await;
    assert_names(&found, stream, Fault::SealKeyUntrusted, None);
    assert_names(&found, stream, Fault::HeadDiffers, None);
    // Without a pinned key the attacker's is believed, and only what was named elsewhere tells.
    let found = log.verify(Inspection::default()).await.findings;
    assert!(found.iter().all(|finding| finding.fault == Fault::HeadDiffers) && !found.is_empty(), "{found:#?}");
    let since = log.verify(Inspection { since: Some(checkpoint), ..pinned() }).await;
    assert_names(&since.findings, stream, Fault::HeadDiffers, None);
    log.restore().await;
    assert_eq!(log.found().await, []);
}

#[tokio::test]
async fn an_older_backup_is_whole_by_itself_and_not_since_the_checkpoint() {
    let mut log = Tampered::new().await;
    let last = log.streams[3].0;
    let checkpoint = log.checkpoint().await;
    assert!(checkpoint.heads().iter().any(|head| head.stream.0 == last));
    let whole = log.verify(Inspection { since: Some(checkpoint.clone()), ..pinned() }).await;
    assert_eq!(whole.findings, []);
    assert!(whole.rows_before > 0 && whole.rows < 10, "{whole:?}");
    let all = log.verify(Inspection { since: Some(checkpoint.clone()), all: true, ..pinned() }).await;
    assert_eq!((all.is_whole(), all.rows_before), (true, 0));

    log.execute(&format!("delete from audit_seal where stream = '{last}' and number > 0")).await;
    log.execute(&format!("delete from audit_event where stream = '{last}' and seq > 0")).await;
    assert_eq!(log.found().await, [], "nothing inside tells of it");
    let since = log.verify(Inspection { since: Some(checkpoint.clone()), ..pinned() }).await;
    assert_eq!(faults(&since.findings), [(Fault::StreamCut, Some(1), Some(1))]);
    log.execute(&format!("delete from audit_seal where stream = '{last}'")).await;
    log.execute(&format!("delete from audit_event where stream = '{last}'")).await;
    let since = log.verify(Inspection { since: Some(checkpoint.clone()), ..pinned() }).await;
    assert_names(&since.findings, last, Fault::StreamMissing, Some(0));
    log.restore().await;

    let forged =
        Checkpoint::take(checkpoint.heads().to_vec(), OffsetDateTime::UNIX_EPOCH, &SigningKey::generate().unwrap());
    let since = log.verify(Inspection { since: Some(forged), ..pinned() }).await;
    assert_eq!(faults(&since.findings), [(Fault::CheckpointForged, None, None)]);
}

#[tokio::test]
async fn what_comes_after_a_checkpoint_is_verified_and_what_was_before_only_with_all() {
    let mut log = Tampered::new().await;
    let checkpoint = log.checkpoint().await;
    let since = |all| Inspection { since: Some(checkpoint.clone()), all, ..pinned() };
    write_log(&log.store, Arc::new(SystemClock::start()), None).await;
    let known: Vec<Uuid> = log.streams.iter().map(|stream| stream.0).collect();
    let after: Uuid = sqlx::query_scalar("select distinct stream from audit_seal where stream <> all($1)")
        .bind(known)
        .fetch_one(&mut log.connection)
        .await
        .unwrap();
    assert_eq!(log.verify(since(false)).await.findings, []);
    log.execute(&format!("update audit_event set reason = 'x' where stream = '{after}' and seq = 3")).await;
    assert_names(&log.verify(since(false)).await.findings, after, Fault::RowEdited, Some(3));
    log.restore().await;

    let before = log.stream();
    log.execute(&format!("update audit_event set reason = 'x' where stream = '{before}' and seq = 3")).await;
    assert_eq!(log.verify(since(false)).await.findings, []);
    assert_names(&log.verify(since(true)).await.findings, before, Fault::RowEdited, Some(3));
}

#[tokio::test]
async fn a_detached_month_is_whole_as_long_as_its_heads_are_those_that_were_named_and_none_of_it_is_left() {
    let mut log = Tampered::new().await;
    let mut heads = Vec::new();
    for day in [2, 9] {
        let opened = time::Date::from_calendar_date(2001, time::Month::May, day).unwrap().midnight().assume_utc();
        let mut sealer = Sealer::at(opened);
        sealer.key = key();
        let opened = Event { key_id: Some(key().public().id()), ..event(EventKind::StreamOpened) };
        let batch = sealer.next([opened, event(EventKind::StreamClosed)]);
        log.store.append(&batch).await.unwrap();
        heads.push(batch.seal.head());
    }
    let mut sealer = Sealer::start();
    sealer.key = key();
    let naming = Event { heads: heads.clone(), key_id: Some(key().public().id()), ..event(EventKind::StreamOpened) };
    log.store.append(&sealer.next([naming])).await.unwrap();
    assert_eq!(log.found().await, []);

    for (retired, left) in heads.iter().zip([Some(Fault::StreamMissing), None]) {
        let StreamHead { stream: StreamId(stream), number, last_seq, hash } = retired;
        log.execute(&format!("delete from audit_seal where stream = '{stream}'")).await;
        log.execute(&format!("delete from audit_event where stream = '{stream}'")).await;
        log.execute(&format!(
            "insert into audit_retired_stream (stream, number, last_seq, hash, closed, named) values ('{stream}', {number}, {last_seq}, '\\x{hash}', true, true)"
        ))
        .await;
        let report = log.verify(pinned()).await;
        assert_eq!(report.findings.first().map(|finding| finding.fault), left, "{report:#?}");
    }
    let retired = |finding: &&Finding| finding.fault == Fault::StreamRetired;
    assert_eq!(log.verify(pinned()).await.warnings.iter().filter(retired).count(), 2);
    log.execute("update audit_retired_stream set hash = overlay(hash placing '\\x00'::bytea from 1)").await;
    assert_names(&log.found().await, heads[0].stream.0, Fault::HeadDiffers, None);
}

#[tokio::test]
async fn a_checkpoint_names_what_nobody_named_yet_and_no_more() {
    let log = Tampered::new().await;
    let heads = log.store.heads().await.unwrap();
    assert_eq!(heads.iter().map(|head| head.stream).collect::<Vec<_>>(), [log.streams[3]]);
}

#[tokio::test]
async fn a_key_that_is_not_trusted_is_told_from_one_that_nobody_knows() {
    let log = Tampered::new().await;
    let other: VerifyingKey = *SigningKey::generate().unwrap().public();
    let report = log.verify(Inspection { trusted: vec![other], ..Inspection::default() }).await;
    assert!(report.findings.iter().all(|finding| finding.fault == Fault::SealKeyUntrusted), "{report:#?}");
    assert!(!report.is_whole());
}
