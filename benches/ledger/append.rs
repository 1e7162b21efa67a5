//! Events per second through the log beside the same rows committed one by one, and beside one COPY of them all.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use stint::audit::{
    AuditLog, Chain, Door, Event, EventKind, Identity, LogParts, LogSettings, Origin, RecordedEffect, Refused, Request,
    SigningKey, StreamId,
};
use stint::clock::SystemClock;
use stint::postgres::PostgresStore;
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::copy::{EVENT_COLUMNS, Sheet};
use super::cpu;
use super::sealing::SealingCost;
use super::stream::seal;

const CLIENTS: [usize; 4] = [1, 16, 64, 256];
/// Nobody gives a service more connections than this to a PostgreSQL of two cores, and more made the peer slower here.
const PEER_CONNECTIONS: usize = 64;
const COPIED: u64 = 100_000;

struct Figures {
    count: u64,
    rate: f64,
    p50: Duration,
    p99: Duration,
}

/// The table of this part.
pub(crate) async fn measure(url: &SecretString, directory: &Path, length: Duration, cost: SealingCost) {
    PostgresStore::connect(url, Duration::from_secs(5)).await.expect("the schema");
    let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
    connection.execute("create table bench_event (like audit_event including all)").await.unwrap();
    println!(
        "\n## Appending: one event, one caller who waits for its commit\n\
         peer: the same columns, checks and indexes without seals, one INSERT and commit per event, a connection per client \
         (at most {PEER_CONNECTIONS})\n{:>8} {:>10} {:>10} {:>7} {:>10} {:>10} {:>10} {:>10} {:>13} {:>9} {:>11} {:>9}",
        "clients",
        "single/s",
        "log/s",
        "ratio",
        "single p50",
        "log p50",
        "single p99",
        "log p99",
        "events/commit",
        "sealing",
        "+canonical",
        "of all"
    );
    let mut fastest: f64 = 0.0;
    for clients in CLIENTS {
        let single = one_by_one(url, clients, length).await;
        let before = (cpu::of_process(std::process::id()), cpu::of_postgres(directory));
        let (log, commits) = through_the_log(url, clients, length).await;
        let ours = cpu::of_process(std::process::id()).saturating_sub(before.0);
        let database = cpu::of_postgres(directory).saturating_sub(before.1);
        let sealing = cost.seals(log.count, commits).as_secs_f64();
        fastest = fastest.max(log.rate);
        println!(
            "{clients:>8} {:>10.0} {:>10.0} {:>7.2} {:>10} {:>10} {:>10} {:>10} {:>13.1} {:>7.1} % {:>9.1} % {:>7.1} %",
            single.rate,
            log.rate,
            log.rate / single.rate,
            ms(single.p50),
            ms(log.p50),
            ms(single.p99),
            ms(log.p99),
            log.count as f64 / commits as f64,
            sealing / ours.as_secs_f64() * 100.0,
            cost.whole(log.count, commits).as_secs_f64() / ours.as_secs_f64() * 100.0,
            sealing / (ours + database).as_secs_f64() * 100.0,
        );
    }
    println!(
        "sealing: leaf hashes, Merkle roots and signatures as a share of this process' CPU (which does nothing but append, \
         unlike the service: see the exchange benchmark); the same with the canonical form, which the store needs anyway; \
         and the first as a share of this process' and PostgreSQL's CPU together"
    );
    let copied = copied_at_once(&mut connection).await;
    println!(
        "one COPY of {COPIED} such rows in one transaction: {copied:.0} rows/s; the log's best is {:.2} of it",
        fastest / copied
    );
    connection.execute("drop table bench_event").await.unwrap();
}

async fn through_the_log(url: &SecretString, clients: usize, length: Duration) -> (Figures, u64) {
    let store = PostgresStore::connect(url, Duration::from_secs(5)).await.expect("the schema");
    let tasks = TaskTracker::new();
    let settings = LogSettings { deadline: Duration::from_secs(5), queue: 4_096 };
    let log = Arc::new(AuditLog::open(
        LogParts {
            store: Arc::new(store),
            clock: Arc::new(SystemClock::start()),
            rng: StdRng::seed_from_u64(1),
            key: SigningKey::generate().expect("a key"),
            settings,
        },
        &tasks,
    ));
    log.refuse(refused()).await.expect("the log takes events");
    let meter = log.meter();
    let before = meter.read();
    let appended = Arc::clone(&log);
    let append = move || {
        let log = Arc::clone(&appended);
        async move { log.refuse(refused()).await.expect("the log takes events") }
    };
    let figures = load(clients, length, append).await;
    let commits = meter.read().commits - before.commits;
    drop(log);
    tasks.close();
    tasks.wait().await;
    (figures, commits)
}

async fn one_by_one(url: &SecretString, clients: usize, length: Duration) -> Figures {
    let connections = clients.min(PEER_CONNECTIONS);
    let options: PgConnectOptions = url.expose_secret().parse().unwrap();
    let size = u32::try_from(connections).expect("few");
    let pool = PgPoolOptions::new().max_connections(size).min_connections(size).acquire_timeout(Duration::from_mins(1));
    let pool = pool.connect_with(options).await.unwrap();
    // Everybody has a session, with the statement prepared.
    let mut sessions = Vec::new();
    for _ in 0..connections {
        sessions.push(pool.acquire().await.unwrap());
    }
    drop(sessions);
    join_all((0..connections).map(|_| insert(pool.clone()))).await;
    let shared = pool.clone();
    let figures = load(clients, length, move || insert(shared.clone())).await;
    pool.close().await;
    figures
}

async fn insert(pool: PgPool) {
    const ROW: &str = "insert into bench_event (stream, seq, id, occurred_at, type, effect, reason, door, address, \
        request_id, requested_role, requested_seconds, session_name, token_sha256, issuer, subject, client, groups, jti, \
        policy_hash) values ($1, 0, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)";
    let Refused { request, identity, reason, policy_hash, freeze: _, obligation: _ } = refused();
    let insert = sqlx::query(ROW)
        .bind(Uuid::now_v7())
        .bind(Uuid::now_v7())
        .bind(OffsetDateTime::now_utc())
        .bind("exchange.refused")
        .bind("deny")
        .bind(reason)
        .bind(request.origin.door.as_str())
        .bind(request.origin.address)
        .bind(request.origin.request_id)
        .bind(request.requested_role)
        .bind(request.requested_seconds.map(|seconds| i64::try_from(seconds).expect("short")))
        .bind(request.session_name)
        .bind(request.token_sha256)
        .bind(identity.issuer)
        .bind(identity.subject)
        .bind(identity.client)
        .bind(identity.groups)
        .bind(identity.jti)
        .bind(policy_hash);
    insert.execute(&pool).await.expect("the row is taken");
}

async fn copied_at_once(connection: &mut PgConnection) -> f64 {
    let key = SigningKey::generate().expect("a key");
    let mut chain = Chain::start(StreamId(Uuid::now_v7()));
    let mut sheet = Sheet::default();
    let now = OffsetDateTime::now_utc();
    seal(&mut chain, (0..COPIED).map(|_| event(now).into()), now, &key, |record, _canonical| sheet.event(record));
    let into = format!("copy bench_event ({EVENT_COLUMNS}) from stdin (format binary)");
    connection.execute(AssertSqlSafe("truncate bench_event".to_owned())).await.unwrap();
    let begun = Instant::now();
    let mut copying = connection.copy_in_raw(&into).await.unwrap();
    copying.send(Sheet::header()).await.unwrap();
    for part in sheet.bytes.chunks(1 << 20) {
        copying.send(part).await.unwrap();
    }
    copying.send(Sheet::trailer().as_slice()).await.unwrap();
    copying.finish().await.unwrap();
    COPIED as f64 / begun.elapsed().as_secs_f64()
}

fn event(now: OffsetDateTime) -> Event {
    let Refused { request, identity, reason, policy_hash, freeze: _, obligation: _ } = refused();
    Event {
        id: Uuid::now_v7(),
        occurred_at: now,
        kind: EventKind::ExchangeRefused,
        effect: RecordedEffect::Deny,
        reason,
        request: Some(request),
        identity: Some(identity),
        role: None,
        roles: Vec::new(),
        matched_rule: None,
        policy_hash,
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

/// What one exchange that policy turns away says. Each is of another token.
fn refused() -> Refused {
    let request_id = Uuid::now_v7();
    Refused {
        request: Request {
            origin: Origin { door: Door::Sts, address: "10.0.8.1".parse().ok(), request_id },
            requested_role: Some("any".to_owned()),
            requested_seconds: Some(3_600),
            session_name: Some("botocore-session-1790000000".to_owned()),
            token_sha256: Some(format!("{0:032x}{0:032x}", request_id.as_u128())),
        },
        identity: Identity {
            issuer: "authentik".to_owned(),
            subject: Some("ab".repeat(32)),
            client: Some("studio-app".to_owned()),
            groups: vec!["spacemusic-studio".to_owned()],
            jti: Some(request_id.simple().to_string()),
        },
        reason: "no_role",
        policy_hash: Some("ab".repeat(32)),
        freeze: None,
        obligation: None,
    }
}

async fn load<W, F>(clients: usize, length: Duration, work: W) -> Figures
where
    W: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let over = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let workers: Vec<_> = (0..clients)
        .map(|_| {
            let (over, work) = (Arc::clone(&over), work.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    work().await;
                    times.push(begun.elapsed());
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(length).await;
    over.store(true, Ordering::Relaxed);
    let mut times: Vec<Duration> = join_all(workers).await.into_iter().flat_map(|worker| worker.unwrap()).collect();
    let took = begun.elapsed();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let count = u64::try_from(times.len()).expect("small");
    Figures { count, rate: count as f64 / took.as_secs_f64(), p50: at(50), p99: at(99) }
}

pub(super) fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}
