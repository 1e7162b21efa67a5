//! Months of the log: where rows go, what a new stream must name, and how a month that is over leaves.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use sqlx::AssertSqlSafe;
use stint::audit::{AuditStore, Batch, Event, EventKind, FreezeFacts, Inspection, Ledger, StreamHead};
use stint::lease::{FreezeId, Frozen};
use stint::postgres::PostgresStore;
use time::{Duration as Span, OffsetDateTime};
use uuid::Uuid;

use crate::harness::database::{connect, fresh_database, migrate_to, migrated, one, run};
use crate::harness::events::{bare_event, whole_event};
use crate::harness::months::{month, partition};
use crate::harness::sealer::Sealer;

const DEADLINE: Duration = Duration::from_secs(20);

async fn partitions(url: &SecretString) -> Vec<String> {
    sqlx::query_scalar(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'audit_event'::regclass order by 1",
    )
    .fetch_all(&mut connect(url).await)
    .await
    .unwrap()
}

#[tokio::test]
async fn each_month_has_its_partition_to_the_millisecond_and_another_goes_to_the_default() {
    let (url, serving) = migrated().await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    let millisecond = Span::milliseconds(1);
    let cases = [
        (month(-1), partition(month(-1))),
        (month(0) - millisecond, partition(month(-1))),
        (month(0), partition(month(0))),
        (month(1) - millisecond, partition(month(0))),
        (month(1), partition(month(1))),
        (month(2) - millisecond, partition(month(1))),
        (month(2), "audit_event_default".to_owned()),
        (month(-1) - millisecond, "audit_event_default".to_owned()),
        (month(-240), "audit_event_default".to_owned()),
    ];
    for (start, expected) in cases {
        let mut stream = Sealer::at(start);
        store.open(stream.stream(), stream.key.public()).await.unwrap();
        store.append(&stream.next([bare_event()])).await.unwrap();
        let place = format!("select tableoid::regclass::text from audit_event where stream = '{}'", stream.stream().0);
        let place: String = one(&mut connect(&url).await, &place).await;
        assert_eq!(place, expected, "{start}");
    }
    assert_eq!(partitions(&url).await.len(), 4, "three months and the default");
    let mut serving = connect(&serving).await;
    let random = run(&mut serving, "select audit_make_room(gen_random_uuid())").await.unwrap_err();
    assert!(random.contains("version 7"), "{random}");
}

#[tokio::test]
async fn two_instances_that_open_at_once_both_do() {
    let (url, serving) = migrated().await;
    let stores = futures::future::join_all((0..8).map(|_| PostgresStore::connect(&serving, DEADLINE))).await;
    let opened = stores.iter().map(|store| async {
        let mut stream = Sealer::start();
        let store = store.as_ref().unwrap();
        store.open(stream.stream(), stream.key.public()).await?;
        store.append(&stream.next([bare_event()])).await
    });
    for opened in futures::future::join_all(opened).await {
        opened.unwrap();
    }
    let places: i64 = one(&mut connect(&url).await, "select count(*) from audit_event_default").await;
    assert_eq!(places, 0);
}

#[tokio::test]
async fn a_reader_of_everything_does_not_keep_a_stream_from_opening() {
    let (url, serving) = migrated().await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    let mut reader = connect(&url).await;
    run(&mut reader, "begin; select from audit_event; select from audit_seal").await.unwrap();
    let mut stream = Sealer::start();
    store.open(stream.stream(), stream.key.public()).await.unwrap();
    store.append(&stream.next([bare_event()])).await.unwrap();
    run(&mut reader, "rollback").await.unwrap();
    let place: String = one(&mut connect(&url).await, "select tableoid::regclass::text from audit_event").await;
    assert_eq!(place, "audit_event_default", "no partition could be made");
}

#[tokio::test]
async fn the_month_ahead_has_its_partition_before_it_begins() {
    let (url, serving) = migrated().await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    let stream = Sealer::start();
    store.open(stream.stream(), stream.key.public()).await.unwrap();
    assert_eq!(partitions(&url).await, [partition(month(0)), partition(month(1)), "audit_event_default".to_owned()]);
}

fn opened(heads: Vec<StreamHead>) -> Event {
    Event { kind: EventKind::StreamOpened, reason: "opened", heads, ..bare_event() }
}

fn closed() -> Event {
    Event { kind: EventKind::StreamClosed, reason: "stopped", ..bare_event() }
}

/// Opens a stream as the log's writer does; what it named.
async fn begin(store: &PostgresStore, stream: &mut Sealer) -> Vec<StreamHead> {
    let mut heads = store.open(stream.stream(), stream.key.public()).await.unwrap();
    store.append(&stream.next([opened(heads.clone())])).await.unwrap();
    heads.sort();
    heads
}

async fn append(store: &PostgresStore, stream: &mut Sealer, event: Event) -> Batch {
    let batch = stream.next([event]);
    store.append(&batch).await.unwrap();
    batch
}

#[tokio::test]
async fn a_stream_is_named_when_it_has_grown_and_only_then() {
    let store = PostgresStore::connect(&fresh_database().await, DEADLINE).await.unwrap();
    let [mut first, mut second, mut third, mut fourth, mut fifth] = [(); 5].map(|()| Sealer::start());
    assert_eq!(begin(&store, &mut first).await, []);
    let grown = append(&store, &mut first, bare_event()).await;
    assert_eq!(begin(&store, &mut second).await, [grown.seal.head()]);
    let named: Vec<_> = begin(&store, &mut third).await.iter().map(|head| (head.stream, head.number)).collect();
    assert_eq!(named, [(second.stream(), 0)], "the second alone: the first has not grown");
    let grown = append(&store, &mut first, bare_event()).await;
    let closed = append(&store, &mut second, closed()).await;
    let named = begin(&store, &mut fourth).await;
    assert_eq!(named.len(), 3, "two have grown, the third is new");
    assert!(named.contains(&grown.seal.head()) && named.contains(&closed.seal.head()));
    let named = begin(&store, &mut fifth).await;
    assert_eq!(named.iter().map(|head| head.stream).collect::<Vec<_>>(), [fourth.stream()]);
}

#[tokio::test]
async fn a_stream_that_another_instance_closed_months_late_is_named_too() {
    let store = PostgresStore::connect(&fresh_database().await, DEADLINE).await.unwrap();
    let mut idle = Sealer::at(month(-5));
    begin(&store, &mut idle).await;
    let mut live = Sealer::start();
    assert_eq!(begin(&store, &mut live).await.len(), 1);
    let now = OffsetDateTime::from_unix_timestamp(crate::harness::service::now()).unwrap();
    let late = append(&store, &mut idle, Event { occurred_at: now, ..closed() }).await;
    let mut next = Sealer::start();
    assert!(begin(&store, &mut next).await.contains(&late.seal.head()));
}

#[tokio::test]
async fn a_head_that_is_none_keeps_nobody_from_opening() {
    let url = fresh_database().await;
    let store = PostgresStore::connect(&url, DEADLINE).await.unwrap();
    let mut stream = Sealer::start();
    begin(&store, &mut stream).await;
    let forged =
        "insert into audit_event (stream, seq, id, occurred_at, type, effect, reason, heads) select stream, 9, id,
        occurred_at, type, effect, reason, '{nonsense,:::,------------------------------------:1:}' from audit_event";
    run(&mut connect(&url).await, forged).await.unwrap();
    assert_eq!(begin(&store, &mut Sealer::start()).await.len(), 1);
}

#[tokio::test]
async fn one_event_names_a_thousand_heads_and_the_next_one_the_rest() {
    let store = PostgresStore::connect(&fresh_database().await, DEADLINE).await.unwrap();
    let mut streams: Vec<Sealer> = (0..1_003).map(|_| Sealer::start()).collect();
    for stream in &mut streams {
        append(&store, stream, bare_event()).await;
    }
    assert_eq!(begin(&store, &mut Sealer::start()).await.len(), 1_000);
    assert_eq!(begin(&store, &mut Sealer::start()).await.len(), 4, "three that were left, and the stream before");
}

/// A month that is over, with one closed stream of three events and one that was cut; their heads.
async fn a_month_over(store: &PostgresStore) -> Vec<StreamHead> {
    let (mut whole, mut cut) = (Sealer::at(month(-1)), Sealer::at(month(-1) + Span::days(3)));
    begin(store, &mut whole).await;
    append(store, &mut whole, bare_event()).await;
    let last = append(store, &mut whole, closed()).await;
    begin(store, &mut cut).await;
    let final_one = append(store, &mut cut, bare_event()).await;
    vec![last.seal.head(), final_one.seal.head()]
}

async fn retire(url: &SecretString, month: OffsetDateTime) -> Result<(), String> {
    run(&mut connect(url).await, &format!("set role stint_owner; select * from audit_retire('{}')", month.date())).await
}

#[tokio::test]
async fn a_month_that_is_over_leaves_whole_and_its_heads_stay() {
    let (url, serving) = migrated().await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    let heads = a_month_over(&store).await;
    retire(&url, month(-1)).await.unwrap();
    assert_eq!(store.recent(10).await.unwrap(), []);
    let mut owner = connect(&url).await;
    let kept: Vec<(String, bool, bool)> = sqlx::query_as(
        "select format('%s:%s:%s:%s', stream, number, last_seq, encode(hash, 'hex')), closed, named
         from audit_retired_stream order by stream",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    // The first was named by the second; nobody has named the second.
    assert_eq!(kept, [(heads[0].to_string(), true, true), (heads[1].to_string(), false, false)]);

    let part = partition(month(-1));
    let rows: i64 = one(&mut owner, &format!("select count(*) from {part}")).await;
    assert_eq!(rows, 5, "still there, to be dumped");
    let edited = run(&mut owner, &format!("delete from {part}")).await.unwrap_err();
    assert!(edited.contains("append-only"), "{edited}");
    run(&mut owner, &format!("drop table {part}")).await.unwrap();

    let mut next = Sealer::start();
    assert_eq!(begin(&store, &mut next).await, [heads[1]], "what nobody had named");
    let named: Vec<_> = begin(&store, &mut Sealer::start()).await.iter().map(|head| head.stream).collect();
    assert_eq!(named, [next.stream()]);
    assert!(retire(&url, month(-1)).await.unwrap_err().contains("there are no partitions"));
}

#[tokio::test]
async fn a_month_that_is_not_over_or_not_whole_stays() {
    let (url, serving) = migrated().await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    begin(&store, &mut Sealer::start()).await;
    for early in [month(0), month(1)] {
        assert!(retire(&url, early).await.unwrap_err().contains("is not over"));
    }
    a_month_over(&store).await;
    let mut growing = Sealer::at(month(-1) + Span::days(5));
    let now = OffsetDateTime::from_unix_timestamp(crate::harness::service::now()).unwrap();
    store.append(&growing.next_at([bare_event()], now)).await.unwrap();
    assert!(retire(&url, month(-1)).await.unwrap_err().contains("may still grow"));
    store.append(&growing.next_at([closed()], now)).await.unwrap();

    let loose = "insert into audit_event (stream, seq, id, occurred_at, type, effect, reason) select stream, 900, id,
        occurred_at, type, effect, reason from audit_event order by stream limit 1";
    let mut owner = connect(&url).await;
    let retired = "select * from audit_retire((now() - interval '1 month')::date)";
    run(&mut owner, "begin").await.unwrap();
    run(&mut owner, loose).await.unwrap();
    assert!(run(&mut owner, retired).await.unwrap_err().contains("do not match"));
    run(&mut owner, "rollback").await.unwrap();
    let rows: i64 = one(&mut owner, "select count(*) from audit_retired_stream").await;
    assert_eq!(rows, 0);
    retire(&url, month(-1)).await.expect("the near twin: without the loose row");
}

#[tokio::test]
async fn a_month_in_which_a_freeze_was_set_stays_until_it_is_lifted() {
    let (url, serving) = migrated().await;
    let store = PostgresStore::connect(&serving, DEADLINE).await.unwrap();
    a_month_over(&store).await;
    let freeze = |kind| Event {
        kind,
        actor: Some("os:root".to_owned()),
        freeze: Some(FreezeFacts { id: FreezeId::from_uuid(Uuid::from_u128(7)), frozen: Some(Frozen::Everything) }),
        ..bare_event()
    };
    let (mut older, mut newer) = (Sealer::at(month(-1) + Span::days(5)), Sealer::start());
    begin(&store, &mut older).await;
    store.append(&older.next([freeze(EventKind::FreezeSet), closed()])).await.unwrap();
    assert!(retire(&url, month(-1)).await.unwrap_err().contains("is in force"));
    begin(&store, &mut newer).await;
    store.append(&newer.next([freeze(EventKind::FreezeLifted)])).await.unwrap();
    retire(&url, month(-1)).await.unwrap();
}

#[tokio::test]
async fn a_database_of_the_first_version_keeps_its_rows() {
    let url = fresh_database().await;
    migrate_to(1, &url).await;
    let mut owner = connect(&url).await;
    let old = "insert into audit_event (stream, seq, id, occurred_at, type, effect, reason)
        select gen_random_uuid(), n, gen_random_uuid(), now(), 'policy.loaded', 'not_applicable', 'loaded'
        from generate_series(0, 9) as n";
    run(&mut owner, old).await.unwrap();

    let store = PostgresStore::connect(&url, DEADLINE).await.unwrap();
    begin(&store, &mut Sealer::start()).await;
    assert_eq!(store.recent(10).await.unwrap().len(), 1);
    let kept: i64 = one(&mut owner, "select count(*) from audit_event_unsealed").await;
    assert_eq!(kept, 10);
    let error = run(&mut owner, "delete from audit_event_unsealed").await.unwrap_err();
    assert!(error.contains("audit_event_unsealed is append-only"), "{error}");
}

#[tokio::test]
async fn a_log_of_the_version_before_is_whole_after_its_columns_were_added() {
    const ADDED: [&str; 4] = ["actor", "parent_fingerprint", "refused_after_ms", "freeze_id"];
    let (made, older) = (fresh_database().await, fresh_database().await);
    let (store, mut stream) = (PostgresStore::connect(&made, DEADLINE).await.unwrap(), Sealer::start());
    let heads = store.open(stream.stream(), stream.key.public()).await.unwrap();
    let first = Event { key_id: Some(stream.key.public().id()), ..opened(heads) };
    store.append(&stream.next([first, bare_event(), bare_event()])).await.unwrap();
    migrate_to(2, &older).await;
    let (mut from, mut to) = (connect(&made).await, connect(&older).await);
    run(&mut to, &format!("select audit_make_room('{}')", stream.stream().0)).await.unwrap();
    for table in ["audit_key", "audit_event", "audit_seal"] {
        let rows = format!("select (to_jsonb(kept) - array['{}'])::text from {table} as kept", ADDED.join("', '"));
        for row in sqlx::query_scalar::<_, String>(AssertSqlSafe(rows)).fetch_all(&mut from).await.unwrap() {
            let insert = format!("insert into {table} select * from jsonb_populate_record(null::{table}, $1::jsonb)");
            sqlx::query(AssertSqlSafe(insert)).bind(row).execute(&mut to).await.unwrap();
        }
    }

    let store = PostgresStore::connect(&older, DEADLINE).await.unwrap();
    let inspection = Inspection { trusted: vec![*stream.key.public()], ..Inspection::default() };
    let report = store.verify(inspection, Arc::new(|_| {})).await.unwrap();
    assert_eq!((report.findings, report.rows), (Vec::new(), 3));
    store.append(&stream.next([whole_event()])).await.unwrap();
    let [event] = &store.recent(1).await.unwrap()[..] else { panic!("one row") };
    assert_eq!(event.actor.as_deref(), Some("authentik:ada"));
}
