//! The load benchmark: exchanges through the real `stint` binary beside the object server's own `AssumeRole`, in one
//! run, on one machine, so that only ratios mean anything. Run by `tests/run bench`, or `cargo bench --bench exchange`.
//!
//! `STINT_BENCH_MINIO` names a MinIO binary and `STINT_BENCH_MC` its admin client; without them only the embedded object
//! server is measured, and that is said. `STINT_BENCH_SECONDS` sets the length of one measurement,
//! `STINT_BENCH_COMMIT_DELAY_US` a delay of each commit.

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

#[path = "ledger/cpu.rs"]
mod cpu;
#[path = "ledger/sealing.rs"]
mod sealing;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use base64::Engine as _;
use sealing::SealingCost;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection, Row};
use stint::clock::{Clock, SystemClock};
use stint::demo::database::PrivatePostgres;
use stint::demo::issuer::DemoIssuer;
use stint::demo::object_server::{DemoObjectServer, ParentKey};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const CLIENTS: [usize; 3] = [1, 16, 64];
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::recordings/*"]},{"Effect":"Deny","Action":["admin:*"]}]}"#;

fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(bench());
}

async fn bench() {
    let seconds = std::env::var("STINT_BENCH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(5);
    let length = Duration::from_secs(seconds);
    let directory = tempfile::Builder::new().prefix("stint-bench-").tempdir().unwrap();
    open_to_others(directory.path());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    println!(
        "stint load benchmark: {seconds} s per figure; on a shared machine only the ratios of one run mean anything"
    );

    let database = PrivatePostgres::start(&directory.path().join("postgres")).await.expect("PostgreSQL starts");
    let issuer = DemoIssuer::start(Arc::clone(&clock), &tasks, stop.clone()).await.map_err(|f| f.0).unwrap();
    stint::postgres::PostgresStore::connect(database.url(), Duration::from_secs(5)).await.expect("the schema");
    slow_commits(database.url()).await;
    let commit = raw_commit(database.url()).await;
    println!("\none commit of one such row on the same PostgreSQL: p50 {}", ms(commit));

    let parent = ParentKey { access_key: "stint-parent".into(), secret_key: SecretString::from("bench-parent-secret") };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let embedded = format!("http://{}", listener.local_addr().unwrap());
    let objects = directory.path().join("objects");
    std::fs::create_dir_all(&objects).unwrap();
    DemoObjectServer::start(listener, &objects, parent.clone(), clock, &tasks, stop.clone()).unwrap();

    let token = token(&issuer.token_url()).await;
    measure(
        "embedded object server",
        &embedded,
        &parent,
        &issuer,
        &token,
        database.url(),
        directory.path(),
        commit,
        length,
    )
    .await;

    match (std::env::var("STINT_BENCH_MINIO"), std::env::var("STINT_BENCH_MC")) {
        (Ok(minio), Ok(mc)) => {
            let server =
                Minio::start(Path::new(&minio), Path::new(&mc), &directory.path().join("minio"), &parent).await;
            let place = directory.path();
            measure("MinIO", &server.url, &parent, &issuer, &token, database.url(), place, commit, length).await;
        }
        _ => println!("\nSKIPPED: MinIO: STINT_BENCH_MINIO and STINT_BENCH_MC name no binaries"),
    }
    stop.cancel();
    database.stop().await.unwrap();
}

#[expect(clippy::too_many_arguments, reason = "one call per server, all of it measured")]
async fn measure(
    name: &str,
    endpoint: &str,
    parent: &ParentKey,
    issuer: &DemoIssuer,
    token: &str,
    database: &SecretString,
    directory: &Path,
    commit: Duration,
    length: Duration,
) {
    let cost = SealingCost::measure();
    let service = Service::start(directory, &issuer.issuer(), endpoint, parent, database).await;
    println!(
        "\n## {name}\nready after {}, idle resident memory {:.1} MB",
        ms(service.ready_after),
        service.resident_mb()
    );
    println!(
        "{:>8} {:>12} {:>12} {:>7} {:>10} {:>10} {:>10} {:>10} {:>13}",
        "clients", "direct/s", "stint/s", "ratio", "direct p50", "stint p50", "direct p99", "stint p99", "exch./commit"
    );
    for clients in CLIENTS {
        let direct = Arc::new(DirectMint { endpoint: endpoint.to_owned(), parent: parent.clone() });
        let direct = load(clients, length, direct).await;
        let before = Commits::count(database).await;
        let steps_before = service.steps().await;
        let cpu_before = service.cpu(directory);
        let exchange = Arc::new(Exchange { url: service.url.clone(), token: token.to_owned() });
        let ours = load(clients, length, exchange).await;
        let (ours_cpu, postgres_cpu) = service.cpu(directory);
        let ours_cpu = ours_cpu.saturating_sub(cpu_before.0);
        let postgres_cpu = postgres_cpu.saturating_sub(cpu_before.1);
        let commits = Commits::count(database).await.since(before);
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
        println!("         share of each step: {}", service.shares(&steps_before).await);
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
    let junk = load(16, length, Arc::new(Junk { url: service.url.clone(), token: forged(token) })).await;
    println!(
        "{} junk tokens (right issuer, unknown kid) refused at {:.0}/s, p99 {}; resident memory {before:.1} MB before, \
         {:.1} MB after",
        junk.count,
        junk.rate,
        ms(junk.p99),
        service.resident_mb(),
    );
}

/// One kind of request, sent by many clients.
trait Request: Send + Sync + 'static {
    fn send(&self, http: &reqwest::Client) -> impl Future<Output = ()> + Send;
}

struct DirectMint {
    endpoint: String,
    parent: ParentKey,
}

impl Request for DirectMint {
    async fn send(&self, http: &reqwest::Client) {
        let body = form(&[
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("DurationSeconds", "3600"),
            ("RoleSessionName", "bench"),
            ("Policy", POLICY),
        ]);
        let url = format!("{}/", self.endpoint);
        let identity =
            Credentials::new(&self.parent.access_key, self.parent.secret_key.expose_secret(), None, None, "b").into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("sts")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .unwrap();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let request = SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(body.as_bytes()));
        let signed = sign(request.unwrap(), &params.into()).unwrap();
        let mut request = http.post(&url).header(headers[0].0, headers[0].1);
        for (name, value) in signed.output().headers() {
            request = request.header(name, value);
        }
        complete(request.body(body)).await;
    }
}

struct Exchange {
    url: String,
    token: String,
}

impl Request for Exchange {
    async fn send(&self, http: &reqwest::Client) {
        let body = form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", "arn:aws:iam::000000000000:role/livekit-egress"),
            ("RoleSessionName", "bench"),
            ("WebIdentityToken", &self.token),
        ]);
        let request = http.post(&self.url).header("content-type", "application/x-www-form-urlencoded");
        complete(request.body(body)).await;
    }
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

async fn complete(request: reqwest::RequestBuilder) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    assert!(status.is_success() && text.contains("<SecretAccessKey>"), "{status}: {text}");
}

struct Figures {
    count: usize,
    rate: f64,
    p50: Duration,
    p99: Duration,
}

async fn load<R: Request>(clients: usize, length: Duration, request: Arc<R>) -> Figures {
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(clients).build().unwrap();
    for _ in 0..clients.min(8) {
        request.send(&http).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let workers: Vec<_> = (0..clients)
        .map(|_| {
            let (http, request, over) = (http.clone(), Arc::clone(&request), Arc::clone(&over));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    request.send(&http).await;
                    times.push(begun.elapsed());
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(length).await;
    over.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await.unwrap());
    }
    let took = started.elapsed();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    Figures { count: times.len(), rate: times.len() as f64 / took.as_secs_f64(), p50: at(50), p99: at(99) }
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

/// Machines for tests often acknowledge a flush that no disk has done. `STINT_BENCH_COMMIT_DELAY_US` makes PostgreSQL wait
/// before each flush, as a disk would; what is measured then says so.
async fn slow_commits(database: &SecretString) {
    let Some(delay) = std::env::var("STINT_BENCH_COMMIT_DELAY_US").ok().and_then(|us| us.parse::<u32>().ok()) else {
        return;
    };
    let mut connection = PgConnection::connect(database.expose_secret()).await.unwrap();
    for statement in [
        format!("alter system set commit_delay = {delay}"),
        "alter system set commit_siblings = 0".to_owned(),
        "select pg_reload_conf()".to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    println!("\nevery commit of PostgreSQL is delayed by {delay} us, as by a disk that flushes");
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

/// The real binary, configured for this run.
struct Service {
    child: Child,
    url: String,
    ready_after: Duration,
}

impl Service {
    async fn start(directory: &Path, issuer: &str, s3: &str, parent: &ParentKey, database: &SecretString) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = String::new();
        write!(
            config,
            "[http]\nlisten = \"127.0.0.1:{port}\"\n[postgres]\nurl = \"{}\"\n[[issuer]]\nname = \"authentik\"\n\
             issuer = \"{issuer}\"\naudiences = [\"stint\"]\nprofile = \"authentik\"\n[object_server]\nkind = \"minio\"\n\
             endpoint = \"{s3}\"\naccess_key = \"{}\"\nsecret_key = \"{}\"\n[policies]\ndirectory = \"{}/policies\"\n\
             [telemetry]\nlog = \"warn\"\n",
            database.expose_secret(),
            parent.access_key,
            parent.secret_key.expose_secret(),
            env!("CARGO_MANIFEST_DIR"),
        )
        .unwrap();
        let file = directory.join(format!("stint-{port}.toml"));
        std::fs::write(&file, config).unwrap();
        let begun = Instant::now();
        let binary = env!("CARGO_BIN_EXE_stint");
        let child = Command::new(binary).arg("serve").arg("--config").arg(file).spawn().expect("stint starts");
        let mut service = Self { child, url: format!("http://127.0.0.1:{port}/"), ready_after: Duration::ZERO };
        wait_for(&format!("{}health/ready", service.url)).await;
        service.ready_after = begun.elapsed();
        service
    }

    fn resident_mb(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Processor time so far: the service's, and that of PostgreSQL with its sessions.
    fn cpu(&self, directory: &Path) -> (Duration, Duration) {
        (cpu::of_process(self.child.id()), cpu::of_postgres(&directory.join("postgres")))
    }

    /// Seconds spent so far in each step.
    async fn steps(&self) -> Vec<(String, f64)> {
        let text = reqwest::get(format!("{}metrics", self.url)).await.unwrap().text().await.unwrap();
        let sums = text.lines().filter_map(|line| line.strip_prefix("stint_step_duration_seconds_sum{step=\""));
        sums.filter_map(|line| line.split_once("\"} ").map(|(step, sum)| (step.to_owned(), sum.parse().unwrap())))
            .collect()
    }

    async fn shares(&self, before: &[(String, f64)]) -> String {
        let spent: Vec<(String, f64)> = self
            .steps()
            .await
            .into_iter()
            .map(|(step, sum)| {
                let earlier = before.iter().find(|(name, _)| *name == step).map_or(0.0, |(_, sum)| *sum);
                (step, sum - earlier)
            })
            .collect();
        let total: f64 = spent.iter().map(|(_, sum)| sum).sum();
        let share = |(step, sum): &(String, f64)| format!("{step} {:.1} %", sum / total * 100.0);
        spent.iter().map(share).collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Minio {
    child: Child,
    url: String,
}

impl Minio {
    async fn start(minio: &Path, mc: &Path, directory: &Path, parent: &ParentKey) -> Self {
        std::fs::create_dir_all(directory.join("data")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(minio)
            .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")])
            .arg(directory.join("data"))
            .envs([("MINIO_ROOT_USER", "bench-root"), ("MINIO_ROOT_PASSWORD", "bench-root-secret")])
            .envs([("MINIO_BROWSER", "off"), ("MINIO_UPDATE", "off"), ("MINIO_CI_CD", "1")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("MinIO starts");
        let server = Self { child, url: format!("http://127.0.0.1:{port}") };
        wait_for(&format!("{}/minio/health/cluster", server.url)).await;
        let policy = directory.join("parent.json");
        let allow = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}"#;
        std::fs::write(&policy, allow).unwrap();
        let admin = |arguments: &[&str]| {
            let host = format!("http://bench-root:bench-root-secret@127.0.0.1:{port}");
            let mut command = Command::new(mc);
            command.arg("--config-dir").arg(directory.join("mc")).args(arguments).env("MC_HOST_bench", host);
            assert!(command.stdout(Stdio::null()).status().unwrap().success(), "mc {arguments:?}");
        };
        admin(&["admin", "user", "add", "bench", &parent.access_key, parent.secret_key.expose_secret()]);
        admin(&["admin", "policy", "create", "bench", "parent", policy.to_str().unwrap()]);
        admin(&["admin", "policy", "attach", "bench", "parent", "--user", &parent.access_key]);
        server
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn wait_for(url: &str) {
    let begun = Instant::now();
    while !reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(begun.elapsed() < Duration::from_mins(1), "{url} is not ready");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn token(url: &str) -> String {
    let body =
        form(&[("grant_type", "client_credentials"), ("client_id", "livekit-egress"), ("client_secret", "demo")]);
    let request = reqwest::Client::new().post(url).header("content-type", "application/x-www-form-urlencoded");
    let text = request.body(body).send().await.unwrap().text().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

fn form(fields: &[(&str, &str)]) -> String {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

/// PostgreSQL runs as another user than root and must be able to pass through.
fn open_to_others(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711)).unwrap();
}

fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}
