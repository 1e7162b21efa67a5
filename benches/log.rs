//! The log's benchmark: appending beside single-row commits and beside COPY, what sealing costs, and a generated year of
//! sealed rows that is verified and asked. One run on one machine, so that only ratios mean anything. Run by
//! `tests/run bench log`, or `cargo bench --bench log`; `--help` names what can be set.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a benchmark is a program for one person at a terminal: it may print, time itself and give up"
)]

mod ledger;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::sealing::SealingCost;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use stint::audit::{Inspection, Ledger as _, Progress, Selection, SigningKey};
use stint::clock::{Clock, SystemClock};
use stint::demo::database::PrivatePostgres;
use stint::evidence::{self, Formats, Order};
use stint::postgres::PostgresStore;

const HELP: &str = "\
The log's benchmark: appending, sealing, verifying, asking. Arguments name the parts to run; without any all are run:
  append      events per second beside single-row commits and COPY, and what sealing costs
  year        a generated year of sealed rows: loading, verifying, the five questions

STINT_BENCH_SECONDS=5           how long each figure of `append` is measured
STINT_BENCH_ROWS=1000000        how many rows the year has
STINT_BENCH_SEED=1              what the year is made from
STINT_BENCH_COMMIT_DELAY_US=0   makes PostgreSQL wait before each flush of `append`, as a disk would
";

/// Signs the generated year, so that its bytes are the same in every run. Made for this; known to everybody.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIO4yn+A53sCFyv6/JDtYlljAza5CsOePpTDv34cO5VBm\n-----END PRIVATE KEY-----\n";

fn main() {
    // Cargo adds `--bench`.
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if parts.iter().any(|part| !["append", "year"].contains(&part.as_str())) {
        print!("{HELP}");
        return;
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(bench(&parts));
}

async fn bench(parts: &[String]) {
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    println!("stint log benchmark; on a shared machine only the ratios of one run mean anything");
    let cost = SealingCost::measure();
    println!(
        "\n## Sealing, on one core\none event of 1.2 kB: canonical form {:.2} us, leaf hash and its part of the tree {:.2} us; \
         one commit: statement and signature {:.2} us",
        us(cost.canonical),
        us(cost.hash),
        us(cost.sign),
    );
    let directory = tempfile::Builder::new().prefix("stint-bench-").tempdir().unwrap();
    open_to_others(directory.path());
    if wanted("append") {
        let database = PrivatePostgres::start(&directory.path().join("append")).await.expect("PostgreSQL starts");
        slow_commits(database.url()).await;
        let length = Duration::from_secs(setting("STINT_BENCH_SECONDS", 5));
        ledger::append::measure(database.url(), &directory.path().join("append"), length, cost).await;
        database.stop().await.unwrap();
    }
    if wanted("year") {
        year(&directory.path().join("year")).await;
    }
}

/// A year of rows, verified and asked.
async fn year(directory: &Path) {
    let (rows, seed) = (setting("STINT_BENCH_ROWS", 1_000_000), setting("STINT_BENCH_SEED", 1));
    // Set for loading: rows that come with their partition need no journal where nobody replicates it.
    let database = PrivatePostgres::start(directory).await.expect("PostgreSQL starts");
    let settings = [
        "wal_level = minimal",
        "max_wal_senders = 0",
        "max_wal_size = '4GB'",
        "shared_buffers = '1GB'",
        "autovacuum = off",
    ];
    alter(database.url(), &settings).await;
    database.stop().await.unwrap();
    let database = PrivatePostgres::start(directory).await.expect("PostgreSQL starts");

    let key = SigningKey::from_pem(KEY.as_bytes()).expect("the key");
    let ledger = ledger::load(database.url(), key, seed, rows).await;
    println!(
        "\n## A year of {} events under {} seals, from seed {seed}\nmade, sealed and copied in {:.1} s ({:.0} rows/s), \
         indexed in {:.1} s; {:.2} GB, {:.0} bytes an event",
        ledger.events,
        ledger.seals,
        ledger.copied_in.as_secs_f64(),
        ledger.events as f64 / ledger.copied_in.as_secs_f64(),
        ledger.indexed_in.as_secs_f64(),
        ledger.bytes as f64 / 1e9,
        ledger.bytes as f64 / ledger.events as f64,
    );
    verify(database.url(), &ledger, directory).await;
    let key = SigningKey::from_pem(KEY.as_bytes()).expect("the key");
    ledger::questions::measure(database.url(), &key, &ledger.landmarks).await;
    database.stop().await.unwrap();
}

/// How fast the year is verified: from the database, and from a bundle of it.
async fn verify(url: &SecretString, ledger: &ledger::Ledger, directory: &Path) {
    let store = PostgresStore::connect(url, Duration::from_secs(5)).await.expect("the schema");
    let key = *SigningKey::from_pem(KEY.as_bytes()).expect("the key").public();
    let quiet: Progress = Arc::new(|_tally| {});
    let (cpu, begun) = (ledger::cpu::of_process(std::process::id()), Instant::now());
    let inspection = Inspection { trusted: vec![key], ..Inspection::default() };
    let report = store.verify(inspection, Arc::clone(&quiet)).await.expect("the log can be read");
    let (took, cpu) = (begun.elapsed(), ledger::cpu::of_process(std::process::id()).saturating_sub(cpu));
    assert!(report.is_whole() && report.rows == ledger.events && report.seals == ledger.seals, "{:?}", report.findings);
    println!(
        "verified from the database: {:.0} rows/s ({:.1} s; {:.2} us of this process' CPU a row, the rest is PostgreSQL's \
         COPY); {} streams, {} of them cut",
        report.rows as f64 / took.as_secs_f64(),
        took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / report.rows as f64,
        report.streams,
        report.warnings.len(),
    );

    let bundle = directory.join("bundle");
    let begun = Instant::now();
    write_bundle(&store, &bundle).await;
    println!("written as a bundle: {:.0} rows/s", ledger.events as f64 / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let inspection = Inspection { trusted: vec![key], ..Inspection::default() };
    let report = tokio::task::block_in_place(|| evidence::verify(&bundle, &inspection, &quiet)).expect("a bundle");
    assert!(report.is_whole() && report.rows == ledger.events, "{:?}", report.findings);
    println!("verified from the bundle: {:.0} rows/s", report.rows as f64 / begun.elapsed().as_secs_f64());
}

async fn write_bundle(store: &PostgresStore, bundle: &Path) {
    let order = Order {
        directory: bundle.to_owned(),
        formats: Formats { csv: false, parquet: false },
        partial: false,
        selection: "everything".to_owned(),
        made_at: SystemClock::start().now(),
        key: None,
        checkpoint: None,
    };
    let (pieces, taken) = tokio::sync::mpsc::channel(64);
    let quiet: Progress = Arc::new(|_tally| {});
    let (ended, whole) = tokio::sync::oneshot::channel();
    let writing = move || evidence::write(order, taken, || whole.blocking_recv().unwrap_or(false), &quiet);
    let writing = tokio::task::spawn_blocking(writing);
    let read = store.extract(Selection::Everything, pieces).await;
    ended.send(read.is_ok()).expect("the writer waits");
    read.expect("the log can be read");
    writing.await.unwrap().expect("the bundle is written");
}

/// Machines for tests often acknowledge a flush that no disk has done; what is measured with a delay says so.
async fn slow_commits(database: &SecretString) {
    let delay = setting("STINT_BENCH_COMMIT_DELAY_US", 0);
    if delay > 0 {
        alter(database, &[&format!("commit_delay = {delay}"), "commit_siblings = 0"]).await;
        println!("\nevery commit of PostgreSQL is delayed by {delay} us, as by a disk that flushes");
    }
}

async fn alter(database: &SecretString, settings: &[&str]) {
    let mut connection = PgConnection::connect(database.expose_secret()).await.unwrap();
    for setting in settings {
        connection.execute(AssertSqlSafe(format!("alter system set {setting}"))).await.unwrap();
    }
    connection.execute("select pg_reload_conf()").await.unwrap();
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// PostgreSQL runs as another user than root and must be able to pass through.
fn open_to_others(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711)).unwrap();
}

fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
