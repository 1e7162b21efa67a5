//! Brings the year into PostgreSQL: one COPY per month and table, in the transaction that made the month's partitions, so
//! that nothing is written twice where `wal_level = minimal`; indexes are built when all rows are there.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use stint::audit::{SigningKey, StreamId};
use stint::postgres::PostgresStore;

use super::copy::{EVENT_COLUMNS, SEAL_COLUMNS, Sheet};
use super::world::{Landmark, World};
use super::year::{self, Piece};

/// What was loaded.
pub(crate) struct Ledger {
    pub(crate) events: u64,
    pub(crate) seals: u64,
    /// Making and copying the rows.
    pub(crate) copied_in: Duration,
    /// Building the indexes, and `vacuum analyze`.
    pub(crate) indexed_in: Duration,
    pub(crate) bytes: i64,
    pub(crate) landmarks: Vec<Landmark>,
}

/// Loads `rows` rows into an empty database.
pub(crate) async fn load(url: &SecretString, key: SigningKey, seed: u64, rows: u64) -> Ledger {
    PostgresStore::connect(url, Duration::from_secs(5)).await.expect("the schema");
    let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
    for setting in ["set synchronous_commit = off", "set maintenance_work_mem = '512MB'"] {
        connection.execute(setting).await.unwrap();
    }
    let world = World::new(seed);
    keep_texts(&mut connection, &world, &key).await;
    let indexes = drop_indexes(&mut connection).await;

    let begun = Instant::now();
    // Enough to keep both busy, and no more than a few megabytes.
    let (away, pieces) = sync_channel(8);
    let making = std::thread::spawn(move || year::live(&world, &key, seed, rows, &away));
    let (events, seals) = copy(&mut connection, pieces).await;
    let landmarks = making.join().expect("the year is made");
    let copied_in = begun.elapsed();

    let begun = Instant::now();
    for index in indexes {
        connection.execute(AssertSqlSafe(index)).await.unwrap();
    }
    connection.execute("vacuum (analyze) audit_event").await.unwrap();
    connection.execute("vacuum (analyze) audit_seal").await.unwrap();
    connection.execute("checkpoint").await.unwrap();
    let size = "select sum(pg_total_relation_size(relid))::bigint from \
        (select relid from pg_partition_tree('audit_event') union all select relid from pg_partition_tree('audit_seal')) t";
    let bytes = sqlx::query(size).fetch_one(&mut connection).await.unwrap().get(0);
    Ledger { events, seals, copied_in, indexed_in: begun.elapsed(), bytes, landmarks }
}

async fn copy(connection: &mut PgConnection, pieces: Receiver<Piece>) -> (u64, u64) {
    let into_events = format!("copy audit_event ({EVENT_COLUMNS}) from stdin (format binary)");
    let into_seals = format!("copy audit_seal ({SEAL_COLUMNS}) from stdin (format binary)");
    let (mut events, mut seals) = (0, 0);
    let mut next = pieces.recv();
    while let Ok(Piece::Month(streams)) = next {
        let mut month = connection.begin().await.unwrap();
        make_partitions(&mut month, streams[0]).await;
        let mut copying = month.copy_in_raw(&into_events).await.unwrap();
        copying.send(Sheet::header()).await.unwrap();
        next = pieces.recv();
        while let Ok(Piece::Events(sheet)) = &next {
            copying.send(sheet.bytes.as_slice()).await.unwrap();
            events += sheet.rows;
            next = pieces.recv();
        }
        copying.send(Sheet::trailer().as_slice()).await.unwrap();
        copying.finish().await.unwrap();
        if let Ok(Piece::Seals(sheet)) = &next {
            let mut copying = month.copy_in_raw(&into_seals).await.unwrap();
            for part in [Sheet::header(), &sheet.bytes, &Sheet::trailer()] {
                copying.send(part).await.unwrap();
            }
            copying.finish().await.unwrap();
            seals += sheet.rows;
        }
        month.commit().await.unwrap();
        next = pieces.recv();
    }
    (events, seals)
}

/// Those of the month in which this stream was opened. (`audit_make_room` makes none of a month long past.)
async fn make_partitions(connection: &mut PgConnection, stream: StreamId) {
    for table in ["audit_event", "audit_seal"] {
        let make = "select audit_make_partition($1::name, audit_month_of($2))";
        sqlx::query(make).bind(table).bind(stream.0).execute(&mut *connection).await.expect("a partition");
    }
}

async fn keep_texts(connection: &mut PgConnection, world: &World, key: &SigningKey) {
    let public = key.public();
    sqlx::query("insert into audit_key (key_id, public_key) values ($1, $2)")
        .bind(public.id().to_hex())
        .bind(public.to_pem())
        .execute(&mut *connection)
        .await
        .unwrap();
    for set in &world.sets {
        let insert = sqlx::query("insert into policy_set (hash, files) values ($1, $2)");
        insert.bind(&set.hash).bind(&set.files).execute(&mut *connection).await.unwrap();
    }
    for policy in world.session_policies.values() {
        let insert = sqlx::query("insert into session_policy (sha256, text) values ($1, $2) on conflict do nothing");
        insert.bind(&policy.sha256).bind(&policy.text).execute(&mut *connection).await.unwrap();
    }
}

/// Takes every index but the primary keys away, and gives back how to build them.
async fn drop_indexes(connection: &mut PgConnection) -> Vec<String> {
    let indexes = "select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) from pg_index i \
        where i.indrelid in ('audit_event'::regclass, 'audit_seal'::regclass) \
        and not exists (select from pg_constraint c where c.conindid = i.indexrelid)";
    let rows = sqlx::query(indexes).fetch_all(&mut *connection).await.unwrap();
    let mut definitions = Vec::new();
    for row in rows {
        let (name, definition): (String, String) = (row.get(0), row.get(1));
        connection.execute(AssertSqlSafe(format!("drop index {name}"))).await.unwrap();
        // What PostgreSQL shows of a partitioned index builds nothing on the partitions.
        definitions.push(definition.replacen(" ON ONLY ", " ON ", 1));
    }
    definitions
}
