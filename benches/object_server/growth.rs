//! What outstanding temporary credentials cost a MinIO: it writes an object for each, keeps each in memory, and reads all of
//! them one by one when it starts, and again every few minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::kept::{Kept, resident_mb};
use super::load_average;
use super::spread::Spread;
use crate::harness::{Minio, PARENT, told};
use crate::load::mint::DirectMint;
use crate::load::{Figures, Request, client, load, ms, setting, wait_for};
use crate::signed::Key;

/// As an exchange's, one bucket to read.
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::recordings/*"]},{"Effect":"Deny","Action":["admin:*"]}]}"#;
const MINTERS: usize = 16;
/// How many are revoked one by one at each level.
const REVOKED: usize = 10;
/// Most that a start may take: fifty thousand were seen to take seconds.
const LONGEST_START: Duration = Duration::from_mins(20);

/// What was seen with so many outstanding.
struct Level {
    outstanding: usize,
    /// Seconds that reading all users took.
    load: Spread,
    resident_mb: Spread,
    on_disk: u64,
    rate: f64,
}

/// All levels, on one server.
pub(crate) async fn measure() {
    let (length, rounds) = (Duration::from_secs(setting("STINT_BENCH_SECONDS", 5)), setting("STINT_BENCH_ROUNDS", 5));
    let levels = std::env::var("STINT_BENCH_CREDENTIALS").unwrap_or_else(|_| "1000,10000,50000".to_owned());
    let levels = levels.split(',').map(|level| level.trim().parse().expect("numbers, with commas between"));
    println!(
        "MinIO {} with outstanding temporary credentials: {} s per figure, {rounds} restarts at each level, files in the \
         page cache",
        told("STINT_LIVE_MINIO_RELEASE"),
        length.as_secs()
    );
    // It says itself when all users are loaded, and how long it took, in a metric.
    let mut minio = Minio::bare(&[("MINIO_PROMETHEUS_AUTH_TYPE", "public")]).await;
    minio.provision();
    let parent = Key { access: PARENT.to_owned(), secret: minio.parent_secret().to_owned(), token: None };
    let object = format!("{}/recordings/take", minio.endpoint());
    assert_eq!(parent.s3("PUT", &object, &"x".repeat(1024)).await.status, 200, "the object to read is written");
    let mut seen = Vec::new();
    for level in std::iter::once(0).chain(levels) {
        fill(&minio, &parent, level).await;
        seen.push(at_level(&mut minio, &parent, length, rounds).await);
    }
    conclude(&seen);
}

/// Mints until so many are outstanding, each good for half a day.
async fn fill(minio: &Minio, parent: &Key, level: usize) {
    let have = minio.minted();
    let (left, done) = (AtomicUsize::new(level.saturating_sub(have)), AtomicUsize::new(0));
    let (missing, begun, http) = (left.load(Ordering::Relaxed), Instant::now(), client(MINTERS));
    let mint = direct(minio, parent, "kept");
    let take = || left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let minter = async || {
        while take() {
            mint.send(&http).await;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(5000) || (done == missing && done > 0) {
                let rate = done as f64 / begun.elapsed().as_secs_f64();
                println!("   minted {done} of {missing} at {rate:.0}/s");
            }
        }
    };
    join_all((0..MINTERS).map(|_| minter())).await;
}

async fn at_level(minio: &mut Minio, parent: &Key, length: Duration, rounds: u64) -> Level {
    let busy = load_average();
    let kept = Kept::by(minio);
    println!(
        "\n## {} outstanding: {} files of {:.1} MB, {:.1} MB on disk; load averages {busy}",
        kept.sessions,
        kept.files,
        megabytes(kept.bytes),
        megabytes(kept.on_disk),
    );
    let (mut healthy, mut loads, mut resident) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        minio.stop();
        let begun = Instant::now();
        minio.launch();
        wait_for(&format!("{}/minio/health/cluster", minio.endpoint()), LONGEST_START).await;
        healthy.push(begun.elapsed().as_secs_f64());
        loads.push(loaded(minio).await.as_secs_f64());
        resident.push(resident_mb(minio));
    }
    let (reading, resident) = (Spread::of(loads), Spread::of(resident));
    println!(
        "started: /minio/health/cluster after {} s; all users read in {} s; resident then {} MB",
        Spread::of(healthy).with(2),
        reading.with(2),
        resident.with(0),
    );

    let mint = Arc::new(direct(minio, parent, "measured"));
    let get = Arc::new(Get::new(minio, &mint).await);
    let alone = load(1, length, Arc::clone(&mint)).await;
    let idle = load(1, length, Arc::clone(&get)).await;
    let (busy, many) = tokio::join!(load(1, length, get), load(MINTERS, length, mint));
    println!("mint, 1 client:               {}", tell(&alone));
    println!("mint, {MINTERS} clients and a reader: {}", tell(&many));
    println!("GET of 1 KiB, nobody mints:   {}", tell(&idle));
    println!("GET of 1 KiB, {MINTERS} mint:       {}", tell(&busy));

    let http = client(1);
    let mut revoked = Vec::new();
    for _ in 0..REVOKED {
        direct(minio, parent, "one").send(&http).await;
        revoked.push(revoke(minio, parent, &http, "one").await.as_secs_f64() * 1e3);
    }
    println!("one of them revoked: {} ms", Spread::of(revoked).with(2));
    // The level is what it was: what was minted to measure it goes.
    let before = minio.minted();
    let took = revoke(minio, parent, &http, "measured").await;
    println!("{} revoked at once: {:.1} s", before - minio.minted(), took.as_secs_f64());
    assert_eq!(minio.minted(), kept.sessions, "only what the level has is left");
    Level { outstanding: kept.sessions, load: reading, resident_mb: resident, on_disk: kept.on_disk, rate: many.rate }
}

/// Waits until the server has read all its users once; how long that took it, in its own words. No health check says it:
/// `/minio/health/cluster` is 200 as soon as there is a place to read them from, and users are read singly until then.
async fn loaded(minio: &Minio) -> Duration {
    let (http, begun) = (client(1), Instant::now());
    let url = format!("{}/minio/metrics/v3/cluster/iam", minio.endpoint());
    while begun.elapsed() < LONGEST_START {
        let metrics = http.get(&url).send().await.expect("an answer").text().await.expect("a body");
        let value = |name: &str| {
            let line = metrics.lines().find(|line| line.starts_with(&format!("minio_cluster_iam_{name}")))?;
            line.rsplit_once(' ')?.1.parse::<f64>().ok()
        };
        if value("sync_successes").is_some_and(|times| times > 0.0) {
            return Duration::from_secs_f64(value("last_sync_duration_millis").expect("it is beside it") / 1e3);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("MinIO has not read its users in {LONGEST_START:?}");
}

/// What one credential costs, from the lowest level to the highest, and what a bound on them would bound.
fn conclude(levels: &[Level]) {
    let (Some(least), Some(most)) = (levels.first(), levels.last()) else { return };
    let count = (most.outstanding - least.outstanding).max(1) as f64;
    let load = (most.load.median - least.load.median) / count;
    let memory = (most.resident_mb.median - least.resident_mb.median) / count;
    let disk = megabytes(most.on_disk - least.on_disk) / count;
    println!(
        "\n## One outstanding credential, from {} to {} of them\n{:.3} ms of every load of all users, {:.1} KB of memory, {:.1} KB on disk",
        least.outstanding,
        most.outstanding,
        load * 1e3,
        memory * 1e3,
        disk * 1e3,
    );
    let hour = most.rate * 3600.0;
    println!(
        "at {:.0} mints/s, leases of an hour and no bound, {hour:.0} would be outstanding; were it to go on in a straight line, \
         that is {:.0} s of every load and {:.1} GB of memory",
        most.rate,
        load.mul_add(hour, least.load.median),
        memory.mul_add(hour, least.resident_mb.median) / 1e3,
    );
}

fn direct(minio: &Minio, parent: &Key, revoke_type: &str) -> DirectMint {
    DirectMint::new(&minio.endpoint(), parent, POLICY, &[("TokenRevokeType", revoke_type)])
}

/// Ends all sessions of this type, as the adapter ends one lease; how long it took.
async fn revoke(minio: &Minio, parent: &Key, http: &reqwest::Client, revoke_type: &str) -> Duration {
    let path = "/minio/admin/v3/revoke-tokens/builtin";
    let url = format!("{}{path}?tokenRevokeType={revoke_type}&user={PARENT}", minio.endpoint());
    let begun = Instant::now();
    let mut request = http.post(&url).timeout(LONGEST_START);
    for (name, value) in parent.headers_at(0, "s3", "POST", &url, &[], "") {
        request = request.header(name, value);
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 204, "{:?}", answer.text().await);
    begun.elapsed()
}

/// One session reads one object.
struct Get {
    url: String,
    session: Key,
}

impl Get {
    async fn new(minio: &Minio, mint: &DirectMint) -> Self {
        let answer = crate::signed::Answer { status: 200, body: mint.ask(&client(1)).await };
        Self { url: format!("{}/recordings/take", minio.endpoint()), session: Key::minted(&answer) }
    }
}

impl Request for Get {
    async fn send(&self, http: &reqwest::Client) {
        let mut request = http.get(&self.url);
        for (name, value) in self.session.headers_at(0, "s3", "GET", &self.url, &[], "") {
            request = request.header(name, value);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        answer.bytes().await.expect("a body");
    }
}

fn tell(figures: &Figures) -> String {
    format!("{:.0}/s, p50 {}, p99 {}", figures.rate, ms(figures.p50), ms(figures.p99))
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
