//! The load benchmark: exchanges through the real `stint` binary beside the object server's own `AssumeRole`, in one
//! run, on one machine, so that only ratios mean anything. Run by `tests/run bench`, or `cargo bench --bench exchange`.
//!
//! `STINT_LIVE_MINIO` names a MinIO binary and `STINT_LIVE_MC` its admin client; without them only the embedded object
//! server is measured, and that is said. `STINT_BENCH_SECONDS` sets the length of one measurement,
//! `STINT_BENCH_COMMIT_DELAY_US` a delay of each commit.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a benchmark is a program for one person at a terminal: it may print, time itself and give up"
)]

#[path = "ledger/cpu.rs"]
mod cpu;
#[path = "../tests/live/harness"]
#[expect(dead_code, reason = "the live tests' MinIO as they start it; they ask more of it")]
mod harness {
    mod answer;
    mod environment;
    mod minio;
    mod patience;
    mod server;

    pub(crate) use answer::{Answer, Keys};
    pub(crate) use minio::{Minio, PARENT};
    pub(crate) use patience::{free_port, until};
}
mod load;
#[path = "ledger/sealing.rs"]
mod sealing;
#[path = "../tests/it/harness/signed.rs"]
#[expect(dead_code, reason = "the tests' own client; they ask more of it")]
mod signed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use load::exchange::Exchange;
use load::ground::Ground;
use load::mint::DirectMint;
use load::service::{Service, Steps};
use load::{Request, form, load, ms};
use sealing::SealingCost;
use secrecy::{ExposeSecret, SecretString};
use signed::Key;
use sqlx::{Connection, PgConnection, Row};
use stint::clock::SystemClock;
use stint::demo::object_server::{DemoObjectServer, ParentKey};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const CLIENTS: [usize; 4] = [1, 16, 64, 256];

fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(bench());
}

async fn bench() {
    let seconds = load::setting("STINT_BENCH_SECONDS", 5);
    let length = Duration::from_secs(seconds);
    println!(
        "stint load benchmark: {seconds} s per figure; on a shared machine only the ratios of one run mean anything"
    );
    let ground = Ground::start().await;
    let commit = raw_commit(ground.database()).await;
    println!("\none commit of one such row on the same PostgreSQL: p50 {}", ms(commit));

    let parent = Key { access: harness::PARENT.to_owned(), secret: "bench-parent-secret".to_owned(), token: None };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let embedded = format!("http://{}", listener.local_addr().unwrap());
    let objects = ground.directory().join("objects");
    std::fs::create_dir_all(&objects).unwrap();
    let keys = ParentKey { access_key: parent.access.clone(), secret_key: SecretString::from(parent.secret.as_str()) };
    let (clock, stop) = (Arc::new(SystemClock::start()), CancellationToken::new());
    DemoObjectServer::start(listener, &objects, keys, clock, &TaskTracker::new(), stop.clone()).unwrap();
    measure("embedded object server", &embedded, &parent, &ground, commit, length).await;

    if ["STINT_LIVE_MINIO", "STINT_LIVE_MC"].into_iter().all(|name| std::env::var_os(name).is_some()) {
        let minio = harness::Minio::start().await;
        let parent = Key { secret: minio.parent_secret().to_owned(), ..parent };
        measure("MinIO", &minio.endpoint(), &parent, &ground, commit, length).await;
    } else {
        println!("\nSKIPPED: MinIO: STINT_LIVE_MINIO and STINT_LIVE_MC name no binaries");
    }
    stop.cancel();
    ground.end().await;
}

async fn measure(name: &str, endpoint: &str, parent: &Key, ground: &Ground, commit: Duration, length: Duration) {
    let cost = SealingCost::measure();
    let begun = Instant::now();
    let service = Service::start(
        ground,
        &format!(
            "kind = \"minio\"\nendpoint = \"{endpoint}\"\naccess_key = \"{}\"\nsecret_key = \"{}\"",
            parent.access, parent.secret
        ),
    )
    .await;
    println!("\n## {name}\nready after {}, idle resident memory {:.1} MB", ms(begun.elapsed()), service.resident_mb());
    let exchange = Arc::new(Exchange::new(service.url(), &ground.token));
    exchange.send(&load::client(1)).await;
    let direct = Arc::new(DirectMint::new(endpoint, parent, &ground.session_policy().await, &[]));
    println!(
        "{:>8} {:>12} {:>12} {:>7} {:>10} {:>10} {:>10} {:>10} {:>13}",
        "clients", "direct/s", "stint/s", "ratio", "direct p50", "stint p50", "direct p99", "stint p99", "exch./commit"
    );
    for clients in CLIENTS {
        let direct = load(clients, length, Arc::clone(&direct)).await;
        let before = Commits::count(ground.database()).await;
        let steps_before = service.steps().await;
        let cpu_before = service.cpu(ground);
        let ours = load(clients, length, Arc::clone(&exchange)).await;
        let (ours_cpu, postgres_cpu) = service.cpu(ground);
        let ours_cpu = ours_cpu.saturating_sub(cpu_before.0);
        let postgres_cpu = postgres_cpu.saturating_sub(cpu_before.1);
        let commits = Commits::count(ground.database()).await.since(before);
        println!(
            "{clients:>8} {:>12.0} {:>12.0} {:>7.2} {:>10} {:>10} {:>10} {:>10} {:>13.1}",
            direct.rate,
            ours.rate,
            ours.rate / direct.rate,
            ms(direct.p50),
            ms(ours.p50),
            ms(direct.p99),
            ms(ours.p99),
            ours.count as f64 * 2.0 / commits as f64,
        );
        if clients == 1 {
            let floor = commit * 2 + direct.p50;
            println!(
                "         p50 beside two commits and the direct mint ({}): {:.2}",
                ms(floor),
                ours.p50.as_secs_f64() / floor.as_secs_f64(),
            );
        }
        println!("         share of each step: {}", shares(&service.steps().await.since(&steps_before)));
        let (events, sealed) = (ours.count as u64 * 2, commits.unsigned_abs());
        let share = |cost: Duration, of: Duration| cost.as_secs_f64() / of.as_secs_f64() * 100.0;
        println!(
            "         sealing: {:.1} % of the service's CPU ({:.1} % with the canonical form), {:.1} % of it and PostgreSQL's",
            share(cost.seals(events, sealed), ours_cpu),
            share(cost.whole(events, sealed), ours_cpu),
            share(cost.seals(events, sealed), ours_cpu + postgres_cpu),
        );
    }
    println!("after the load: resident memory {:.1} MB", service.resident_mb());
    let before = service.resident_mb();
    let junk = Junk { url: service.url().to_owned(), token: forged(&ground.token) };
    let junk = load(16, length, Arc::new(junk)).await;
    println!(
        "{} junk tokens (right issuer, unknown kid) refused at {:.0}/s, p99 {}; resident memory {before:.1} MB before, \
         {:.1} MB after",
        junk.count,
        junk.rate,
        ms(junk.p99),
        service.resident_mb(),
    );
}

fn shares(Steps(spent): &Steps) -> String {
    let total: f64 = spent.iter().map(|(_, sum)| sum).sum();
    let share = |(step, sum): &(String, f64)| format!("{step} {:.1} %", sum / total * 100.0);
    spent.iter().map(share).collect::<Vec<_>>().join(", ")
}

/// A token nobody signed.
struct Junk {
    url: String,
    token: String,
}

impl Request for Junk {
    async fn send(&self, http: &reqwest::Client) {
        let body = form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("WebIdentityToken", &self.token),
        ]);
        let request = http.post(&self.url).header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 400);
        answer.bytes().await.expect("a body");
    }
}

/// The same claims under another `kid`.
fn forged(token: &str) -> String {
    let rest = token.split_once('.').expect("three parts").1;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"junk","typ":"JWT"}"#);
    format!("{header}.{rest}")
}

/// How many transactions wrote the log.
#[derive(Clone, Copy)]
struct Commits(i64);

impl Commits {
    async fn count(database: &SecretString) -> Self {
        let mut connection = PgConnection::connect(database.expose_secret()).await.unwrap();
        let row = sqlx::query("select count(distinct xmin::text) from audit_event").fetch_one(&mut connection).await;
        Self(row.unwrap().get(0))
    }

    fn since(self, before: Self) -> i64 {
        (self.0 - before.0).max(1)
    }
}

/// The p50 of committing one row of the log's shape (same columns, checks and indexes), one at a time, on one connection.
async fn raw_commit(database: &SecretString) -> Duration {
    const ROW: &str = "insert into bench_event (stream, seq, id, occurred_at, type, effect, reason, door, address, \
        request_id, requested_role, token_sha256, issuer, subject, client, groups, jti, role, roles, matched_rule, \
        policy_hash, lease_id, role_session_name, session_policy_sha256, granted_seconds) values (gen_random_uuid(), 0, \
        gen_random_uuid(), now(), 'lease.intended', 'allow', 'granted', 'sts', '127.0.0.1', gen_random_uuid(), 'any', $1, \
        'authentik', $1, 'client', '{egress-write}', $1, 'livekit-egress', '{livekit-egress}', \
        'roles/livekit-egress.toml#allow[0]', $1, gen_random_uuid(), $1, $1, 3600)";
    let mut connection = PgConnection::connect(database.expose_secret()).await.unwrap();
    let table = "create table bench_event (like audit_event including all)";
    sqlx::query(table).execute(&mut connection).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..1000 {
        let begun = Instant::now();
        sqlx::query(ROW).bind("a".repeat(64)).execute(&mut connection).await.unwrap();
        times.push(begun.elapsed());
    }
    sqlx::query("drop table bench_event").execute(&mut connection).await.unwrap();
    times.sort_unstable();
    times[times.len() / 2]
}
