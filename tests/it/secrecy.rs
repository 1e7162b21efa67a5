//! Nothing that is secret leaves by a side door: every path of the real program with planted secrets, at the loudest log
//! level, and then a search through everything it wrote, sent, answered or put on record.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::harness::binary::{Running, Site, eventually, http, run, stint};
use crate::harness::database::fresh_database;
use crate::harness::hostile::hostile;
use crate::harness::object_server::{Reply, again};
use crate::harness::service::{now, sts_form, token_exchange_form};
use crate::harness::tokens::{Forge, Provider};

const PARENT_KEY: &str = "PLANTEDPARENTKEY0001";
const PARENT_SECRET: &str = "planted-parent-secret-key";
const FINGERPRINT_KEY: &str = "planted-fingerprint-key";
/// The one line of the signing key's PEM, made for this test only: what follows the first 22 characters is secret.
const SIGNING_KEY: &str = "MC4CAQAwBQYDK2VwBCIEIFBsYW50ZWRQbGFudGVkUGxhbnRlZFBsYW50ZWRQbGFu";
const SIGNING_SEED: &str = "PlantedPlantedPlantedPlantedPlan";
const MINTED_KEY: &str = "PLANTEDMINTEDKEY0001";
const MINTED_SECRET: &str = "planted/minted+secret/key/0123456789abcd";
const MINTED_TOKEN: &str = "planted-minted-session-token.0123456789";
/// What a server says in an answer that is not believed.
const SAID: &str = "planted-words-of-a-server";
/// Not a secret: what of a token is put on record. Where the search finds it, it would have found a secret too.
const SUBJECT: &str = "planted-subject-on-record";

/// A server that keeps every byte it hears, and says what it is told to, one request a connection.
struct Double {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    answer: Arc<Mutex<String>>,
    ends: Option<DropGuard>,
}

impl Double {
    async fn start(answer: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(bytes(answer))));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let ends = Some(stop.clone().drop_guard());
        let (ear, mouth) = (Arc::clone(&heard), Arc::clone(&answer));
        tasks.clone().spawn(stop.run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tasks.spawn(converse(stream, Arc::clone(&ear), Arc::clone(&mouth)));
            }
        }));
        Self { address, heard, answer, ends }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn says(&self, answer: Reply) {
        *self.answer.lock().unwrap() = bytes(answer);
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

fn bytes(reply: Reply) -> String {
    let Reply::Bytes(bytes) = reply else { panic!("only whole answers here") };
    bytes
}

async fn converse(mut stream: TcpStream, ear: Arc<Mutex<Vec<u8>>>, mouth: Arc<Mutex<String>>) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            break;
        }
    }
    let asked = {
        let mut ear = ear.lock().unwrap();
        ear.extend_from_slice(&request);
        ear.windows(7).filter(|heard| heard == b"POST / ").count()
    };
    let answer = mouth.lock().unwrap().clone();
    let answer = if asked > 1 { bytes(again(&Reply::Bytes(answer), asked)) } else { answer };
    // Whoever asked may have gone.
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    request.len() >= head.len() + 4 + length.unwrap_or(0)
}

/// Forwards connections until it is cut; with the tasks that end then.
async fn forwarder(to: String) -> (SocketAddr, DropGuard, TaskTracker) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (cut, tasks) = (CancellationToken::new(), TaskTracker::new());
    let guard = cut.clone().drop_guard();
    let connections = tasks.clone();
    tasks.spawn(cut.clone().run_until_cancelled_owned(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let to = to.clone();
            connections.spawn(cut.clone().run_until_cancelled_owned(async move {
                if let Ok(mut far) = TcpStream::connect(to).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            }));
        }
    }));
    tasks.close();
    (address, guard, tasks)
}

/// MinIO's answer with the planted credentials, ending in so many seconds.
fn minted(seconds: u64) -> Reply {
    let Reply::Bytes(answer) = Reply::credentials_for(Duration::from_secs(seconds)) else { panic!("bytes") };
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    Reply::http(200, "application/xml", &planted(body))
}

fn planted(body: &str) -> String {
    body.replace("GGCTIHYG44N04A0X14LN", MINTED_KEY)
        .replace("8g8imGgD2gOl91t2Rbr8rEo01fNI0W4euwOHjxz0", MINTED_SECRET)
        .replace("eyJhbGciOiJIUzUxMiJ9.e30.K4QlpL16", MINTED_TOKEN)
}

/// The service, what was planted so far, and everything that came out where no secret may be.
struct Stage {
    http: reqwest::Client,
    address: SocketAddr,
    planted: BTreeSet<String>,
    /// Answers that carry no credentials, with their headers.
    answers: String,
    /// Answers that do.
    credentials: String,
}

impl Stage {
    /// A token, and each of its parts, is from now on looked for.
    fn plant(&mut self, token: &str) {
        let parts = token.split('.').map(str::trim).filter(|part| part.len() >= 20);
        self.planted.extend(parts.map(str::to_owned));
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    async fn send(&mut self, request: RequestBuilder) -> StatusCode {
        // Too long a head is answered while it is being sent.
        let Ok(answer) = request.send().await else { return StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE };
        let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
        let body = answer.text().await.unwrap_or_default();
        let place = if body.contains(MINTED_KEY) { &mut self.credentials } else { &mut self.answers };
        writeln!(place, "{status} {headers} {body}").unwrap();
        status
    }

    fn form(&self, form: impl Into<String>) -> RequestBuilder {
        let request = self.request(Method::POST, "/").header("content-type", "application/x-www-form-urlencoded");
        request.body(form.into())
    }

    fn json(&self, token: &str, body: impl Into<String>) -> RequestBuilder {
        let request = self.request(Method::POST, "/v1/leases").bearer_auth(token);
        request.header("content-type", "application/json").body(body.into())
    }

    /// One token through all four doors, the first by all three transports.
    async fn at_every_door(&mut self, token: &str) -> [StatusCode; 6] {
        self.plant(token);
        let query = sts_form(token, &[]);
        let fits_a_header = token.len() < 32 * 1024 && reqwest::header::HeaderValue::from_str(token).is_ok();
        let header = if fits_a_header { token } else { "planted-instead-of-an-unfit-token" };
        let exchange =
            self.request(Method::POST, "/v1/token").header("content-type", "application/x-www-form-urlencoded");
        let container = self.request(Method::GET, "/v1/roles/team/credentials").header("authorization", header);
        [
            self.send(self.form(query.clone())).await,
            self.send(self.request(Method::POST, &format!("/?{query}"))).await,
            self.send(self.request(Method::GET, &format!("/?{query}"))).await,
            self.send(self.json(header, "{}")).await,
            self.send(container).await,
            self.send(exchange.body(token_exchange_form(token, &[]))).await,
        ]
    }
}

/// Which of these are in there, as they are or in another spelling: of a form, of a `bytea`, of an encoded text.
fn found<'a>(planted: &'a BTreeSet<String>, place: &str) -> Vec<&'a str> {
    let is_there = |secret: &&str| {
        let percent = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string();
        let base64 = STANDARD.encode(secret);
        // Its last characters depend on what follows.
        let base64 = &base64[..base64.len() - 4];
        [secret, percent.as_str(), base64, &hex::encode(secret)].iter().any(|spelling| place.contains(*spelling))
    };
    planted.iter().map(String::as_str).filter(is_there).collect()
}

#[test]
fn the_search_finds_a_secret_in_every_spelling() {
    let secret = "planted/secret+with=signs and more";
    let planted = BTreeSet::from([secret.to_owned()]);
    for place in [
        format!("{{\"key\":\"{secret}\"}}"),
        form_urlencoded::byte_serialize(secret.replace(' ', "").as_bytes()).collect(),
        format!("\\\\x00{}ff", hex::encode(secret)),
        format!("Basic {}", STANDARD.encode(format!("{secret}:password"))),
    ] {
        let without_spaces = BTreeSet::from([secret.replace(' ', "")]);
        let hits = found(&planted, &place).len() + found(&without_spaces, &place).len();
        assert_eq!(hits, 1, "{place}");
    }
    assert_eq!(found(&planted, "planted/secret+with=other"), Vec::<&str>::new());
}

fn token(provider: &Provider) -> String {
    provider.draft(now()).claim("sub", SUBJECT).claim("nonce", uuid::Uuid::now_v7().to_string()).sign(&provider.key)
}

/// Every table, every row, every column, as text, and what the catalogue says about them: what a dump would hold.
async fn dump(database: &SecretString) -> String {
    let mut connection = PgConnection::connect(database.expose_secret()).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    for table in ["audit_event", "audit_seal", "audit_key", "policy_set", "session_policy", "audit_retired_stream"] {
        assert!(tables.iter().any(|name| name == &format!("public.{table}")), "{table} is not among {tables:?}");
    }
    let mut dump = String::new();
    for table in tables {
        let rows = AssertSqlSafe(format!("select t::text from {table} t"));
        let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut connection).await.unwrap();
        writeln!(dump, "{table}\n{}", rows.join("\n")).unwrap();
    }
    let said: Vec<String> = sqlx::query_scalar(
        "select description from pg_description union all select prosrc from pg_proc
         union all select setconfig::text from pg_db_role_setting",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    dump + &said.join("\n")
}

/// A site with every issuer of the forge, one whose keys cannot be had, and the loudest telemetry there is.
fn site(database: &SecretString, object_server: &Double, keys: &Double, collector: &Double) -> Site {
    let site = Site::new(database, &object_server.url());
    site.configure("access_key = \"parent\"", &format!("access_key = \"{PARENT_KEY}\""));
    site.configure("secret_key = \"parent-secret\"", &format!("secret_key = \"{PARENT_SECRET}\""));
    site.write(
        "policies/operators.toml",
        "[[operator]]\nissuer = \"authentik\"\ngroups = [\"team-a\"]\npermissions = [\"audit.read\", \"lease.revoke\"]\n",
    );
    site.write("audit.pem", format!("-----BEGIN PRIVATE KEY-----\n{SIGNING_KEY}\n-----END PRIVATE KEY-----\n"));
    fs::set_permissions(site.path().join("audit.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut more = String::new();
    for provider in &Forge::shared().providers()[1..] {
        let file = format!("{}.json", provider.name);
        site.write(&file, provider.jwks());
        write!(
            more,
            "[[issuer]]\nname = \"{}\"\nissuer = \"{}\"\naudiences = [\"{}\"]\nprofile = \"{}\"\nkeys = {{ jwks_file = \
             \"{file}\" }}\n",
            provider.name, provider.issuer, provider.audience, provider.profile,
        )
        .unwrap();
    }
    write!(
        more,
        "[[issuer]]\nname = \"down\"\nissuer = \"https://down.example/\"\naudiences = [\"stint\"]\nprofile = \
         \"authentik\"\nkeys = {{ jwks_uri = \"{}/jwks\" }}\n[audit]\nfingerprint_key = \
         \"{FINGERPRINT_KEY}\"\nsigning_key_file = \"audit.pem\"\n[telemetry]\nlog = \"trace\"\nlog_format = \"json\"\notlp_endpoint = \"{}\"\n",
        keys.url(),
        collector.url(),
    )
    .unwrap();
    site.configure("[lease]\n", &format!("{more}[lease]\n"));
    site
}

#[tokio::test]
async fn no_planted_secret_is_found_outside_the_answers_that_are_for_it() {
    let forge = Forge::shared();
    let direct = fresh_database().await;
    let (scheme_and_user, server) = direct.expose_secret().rsplit_once('@').unwrap();
    let (server, name) = server.split_once('/').unwrap();
    let (forwarded, cut, connections) = forwarder(server.to_owned()).await;
    let database = SecretString::from(format!("{scheme_and_user}@{forwarded}/{name}"));
    let password = scheme_and_user.rsplit_once(':').unwrap().1;

    let mut object_server = Double::start(minted(3590)).await;
    let keys = Double::start(Reply::http(500, "text/html", SAID)).await;
    let collector = Double::start(Reply::http(200, "application/x-protobuf", "")).await;
    let site = site(&database, &object_server, &keys, &collector);
    let mut running = Running::start(site.stint("serve", &[]));
    let address = running.listens().await;
    let constants = [
        password,
        PARENT_KEY,
        PARENT_SECRET,
        FINGERPRINT_KEY,
        SIGNING_KEY,
        SIGNING_SEED,
        MINTED_KEY,
        MINTED_SECRET,
        MINTED_TOKEN,
        SAID,
        "planted-instead-of-an-unfit-token",
    ];
    let planted = constants.map(str::to_owned).into();
    let mut stage = Stage { http: http(), address, planted, answers: String::new(), credentials: String::new() };

    // Served, at every door.
    let good = token(&forge.authentik);
    let issued = [StatusCode::OK, StatusCode::OK, StatusCode::OK, StatusCode::CREATED, StatusCode::OK, StatusCode::OK];
    assert_eq!(stage.at_every_door(&good).await, issued);

    // Every token that is refused, and who is refused although the token is good.
    for case in hostile(forge, now()) {
        stage.at_every_door(&case.token).await;
    }
    let nobody =
        forge.authentik.draft(now()).claim("sub", SUBJECT).claim("groups", json!([])).sign(&forge.authentik.key);
    // The last is OAuth's: RFC 8693 section 2.2.2.
    let mut refused = [StatusCode::FORBIDDEN; 6];
    refused[5] = StatusCode::BAD_REQUEST;
    assert_eq!(stage.at_every_door(&nobody).await, refused);
    let down = forge.authentik.draft(now()).claim("iss", "https://down.example/").sign(&forge.authentik.key);
    stage.at_every_door(&down).await;

    malformed(&mut stage, &good).await;
    object_server_fails(&mut stage, &object_server).await;

    questions(&mut stage, &good, &nobody).await;
    let commands = commands(&site).await;
    revocations(&mut stage, &object_server, &good, &nobody).await;
    let commands = commands + &proofs(&site, &object_server).await;

    for path in ["/health/live", "/health/ready", "/metrics", "/openapi.json"] {
        stage.send(stage.request(Method::GET, path)).await;
    }
    assert!(stage.answers.contains("stint_exchanges_total{") && stage.answers.contains("\"openapi\""));

    // The object server gone, then the database too.
    object_server.ends = None;
    eventually("the object server is gone", async || TcpStream::connect(object_server.address).await.is_err()).await;
    stage.at_every_door(&token(&forge.authentik)).await;
    drop(cut);
    connections.wait().await;
    let unavailable = [StatusCode::SERVICE_UNAVAILABLE; 6];
    assert_eq!(stage.at_every_door(&token(&forge.authentik)).await, unavailable);
    assert_eq!(stage.at_every_door(&nobody).await, unavailable);
    eventually("readiness is not what it was a second ago", async || {
        stage.send(stage.request(Method::GET, "/health/ready")).await == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;

    let commands = commands + &commands_without_database(&site).await;

    running.signal("TERM");
    assert_eq!(running.ended().await, Some(0));
    let log = [running.stdout(), running.stderr()].concat();
    let rows = dump(&direct).await;

    // The search finds what is there: each place has what it is for.
    assert!(stage.planted.len() > 300, "{}", stage.planted.len());
    assert_eq!(found(&stage.planted, &stage.credentials), [MINTED_KEY, MINTED_TOKEN, MINTED_SECRET]);
    assert!(found(&stage.planted, &object_server.heard()).contains(&PARENT_KEY));
    for text in [SUBJECT, "lease.issued", "lease.reused", "lease.failed"] {
        assert!(rows.contains(text), "no row says {text}: {rows}");
    }
    assert!(log.contains("\"TRACE\"") || log.contains("\"DEBUG\""), "the log is at its loudest");
    for text in ["lease issued", "lease handed out again", "exchange refused", "request refused", "not ready"] {
        assert!(log.contains(text), "the log never says {text}");
    }
    let spans = collector.heard();
    for text in ["token.verify", "policy.decide", "audit.reuse", "http.request", "request_id"] {
        assert!(spans.contains(text), "no span says {text}");
    }

    for text in ["whole", "statement", SUBJECT, "lease.issued", "revoke_failed", "would be ended"] {
        assert!(commands.contains(text), "no command says {text}:\n{commands}");
    }
    for (place, text) in [
        ("the log", &log),
        ("spans", &spans),
        ("answers", &stage.answers),
        ("rows", &rows),
        ("commands and what they export", &commands),
    ] {
        assert_eq!(found(&stage.planted, text), Vec::<&str>::new(), "in {place}");
    }
}

/// What auditors ask, by whoever asks it, with secrets wherever something can be given.
async fn questions(stage: &mut Stage, good: &str, nobody: &str) {
    for path in [
        "/v1/audit/events".to_owned(),
        "/v1/audit/events?type=lease.issued&limit=5".to_owned(),
        format!("/v1/audit/events?subject={SUBJECT}"),
        "/v1/audit/export?format=csv".to_owned(),
        "/v1/audit/grants?from=2026-01-01T00:00:00Z".to_owned(),
        "/v1/audit/emergencies?from=2026-01-01T00:00:00Z".to_owned(),
        "/v1/audit/access?bucket=recordings&object=a&at=2026-01-01T00:00:00Z".to_owned(),
        format!("/v1/audit/access?key={MINTED_KEY}"),
        format!("/v1/audit/access?key={good}"),
        format!("/v1/audit/events?cursor={good}"),
        format!("/v1/audit/events?type={good}"),
        format!("/v1/audit/events?{good}=1"),
        format!("/v1/audit/events?from={good}"),
        format!("/v1/audit/events?request_id={good}"),
        format!("/v1/audit/events?subject={good}"),
        format!("/v1/audit/grants?subject={good}&from=2026-01-01T00:00:00Z"),
        format!("/v1/audit/export?format={good}"),
    ] {
        for token in [good, nobody] {
            stage.send(stage.request(Method::GET, &path).bearer_auth(token)).await;
        }
        stage.send(stage.request(Method::GET, &path)).await;
    }
    for form in [format!("key={MINTED_KEY}"), format!("key={good}"), format!("{good}=1"), good.to_owned()] {
        for token in [good, nobody] {
            let request = stage.request(Method::POST, "/v1/audit/access").bearer_auth(token);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            stage.send(request.body(form.clone())).await;
        }
    }
}

/// The desk, by whoever asks it, before a server that says yes, no and nonsense.
async fn revocations(stage: &mut Stage, object_server: &Double, good: &str, nobody: &str) {
    let refusal = format!("<Error><Code>InvalidAccessKeyId</Code><Message>{SAID}</Message></Error>");
    for answer in [
        Reply::http(403, "application/xml", &refusal),
        Reply::http(403, "application/json", &json!({"Code": format!("{SAID} {MINTED_SECRET}")}).to_string()),
        Reply::http(200, "text/html", SAID),
    ] {
        object_server.says(answer);
        for token in [good, nobody, "planted.planted.planted"] {
            for wish in [
                json!({"subject": SUBJECT, "issuer": "authentik", "reason": "leaked"}).to_string(),
                json!({"subject": good, "issuer": "authentik"}).to_string(),
                json!({"role": good, "issuer": good}).to_string(),
                json!({"group": good}).to_string(),
                format!("{{\"{good}\": 1}}"),
                good.to_owned(),
            ] {
                let request = stage.request(Method::POST, "/v1/revocations").bearer_auth(token);
                stage.send(request.header("content-type", "application/json").body(wish)).await;
            }
            for path in [format!("/v1/leases/{good}"), format!("/v1/leases/{}?{good}=1", uuid::Uuid::now_v7())] {
                stage.send(stage.request(Method::DELETE, &path).bearer_auth(token)).await;
            }
        }
    }
    assert!(stage.answers.contains("revoke_failed") && stage.answers.contains("lease_not_found"));
    object_server.says(minted(3590));
}

/// Revocations and comparisons from the command line, before a server that says yes and then lists keys in the clear, refuses
/// its list with words, or has none.
async fn proofs(site: &Site, object_server: &Double) -> String {
    let mut said = String::new();
    let listing = format!("[{{\"accessKey\":\"{MINTED_KEY}\",\"parentUser\":\"{PARENT_KEY}\"}}]");
    for (answer, outcome) in [
        (Reply::http(204, "text/plain", ""), "revoked_unproven"),
        (Reply::http(200, "application/octet-stream", &listing), "revoke"),
        (
            Reply::http(403, "application/json", &json!({"Code": "AccessDenied", "Message": SAID}).to_string()),
            "revoke_failed",
        ),
    ] {
        object_server.says(answer);
        for arguments in [
            vec!["lease", "revoke", "--issuer", "authentik", "--pace", "1000", "--json"],
            vec!["lease", "revoke", "--subject", SUBJECT, "--issuer", "authentik", "--pace", "1000"],
            vec!["object-server", "reconcile", "--json"],
            vec!["object-server", "reconcile", "--revoke-orphans"],
        ] {
            let mut command = stint(&arguments);
            command.arg("--config").arg(site.config());
            let ended = run(command).await;
            assert_eq!(ended.code, Some(1), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
            let told = ended.stdout + &ended.stderr;
            assert!(arguments[0] != "lease" || told.contains(outcome), "{arguments:?}: {told}");
            said += &told;
        }
    }
    object_server.says(minted(3590));
    said
}

/// What the program says of its log on the command line, and everything that an evidence bundle holds.
async fn commands(site: &Site) -> String {
    let bundle = site.path().join("bundle").to_str().unwrap().to_owned();
    let private = site.path().join("audit.pem").to_str().unwrap().to_owned();
    let misplaced = format!("key_fingerprint={MINTED_SECRET}");
    let mut said = String::new();
    for (code, arguments) in [
        (0, vec!["check"]),
        (0, vec!["audit", "verify"]),
        (0, vec!["audit", "verify", "--json"]),
        (0, vec!["audit", "head", "--json"]),
        (0, vec!["audit", "export", "--output", &bundle, "--format", "jsonl,csv"]),
        (0, vec!["audit", "verify", "--bundle", &bundle]),
        (0, vec!["audit", "query", "events", "--from", "2026-01-01T00:00:00Z", "--reveal", "--json"]),
        (0, vec!["audit", "query", "grants", "--group", "team-a", "--from", "2026-01-01T00:00:00Z"]),
        (0, vec!["audit", "query", "object", "recordings", "a", "--at", "2026-01-01T00:00:00Z", "--json"]),
        (0, vec!["audit", "query", "key", MINTED_KEY, "--at", "2026-01-01T00:00:00Z"]),
        (1, vec!["audit", "query", "events", "--filter", &misplaced]),
        (0, vec!["lease", "revoke", "--issuer", "authentik", "--dry-run"]),
        (1, vec!["lease", "revoke", "--issuer", "authentik", "--pace", "1000", "--json"]),
        (
            1,
            vec![
                "lease",
                "revoke",
                "--subject",
                SUBJECT,
                "--issuer",
                "authentik",
                "--reason",
                "leaked",
                "--pace",
                "1000",
            ],
        ),
        // Not empty any more.
        (1, vec!["audit", "export", "--output", &bundle]),
        // The private key where a public one belongs.
        (1, vec!["audit", "verify", "--key", &private]),
        (1, vec!["audit", "verify", "--since", &private]),
    ] {
        let mut command = stint(&arguments);
        if !arguments.contains(&"--bundle") {
            command.arg("--config").arg(site.config());
        }
        let ended = run(command).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
        said += &(ended.stdout + &ended.stderr);
    }
    for entry in fs::read_dir(&bundle).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            said += &String::from_utf8_lossy(&fs::read(path).unwrap());
        }
    }
    said
}

/// What it says of a database that cannot be reached.
async fn commands_without_database(site: &Site) -> String {
    let mut said = String::new();
    for arguments in [["audit", "verify"], ["audit", "head"]] {
        let mut command = stint(arguments);
        command.arg("--config").arg(site.config());
        let ended = run(command).await;
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.stdout);
        said += &(ended.stdout + &ended.stderr);
    }
    said
}

/// Requests that are no exchange, with a token wherever one can stand.
async fn malformed(stage: &mut Stage, good: &str) {
    let policy = |policy: &str| json!({"session_policy": policy}).to_string();
    let wide = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
    let long = format!("{good}{}", "x".repeat(80 * 1024));
    let basic = STANDARD.encode(format!("user:{good}"));
    stage.planted.insert(basic.clone());
    let exchange = |more: &[(&str, &str)]| {
        let request = stage.request(Method::POST, "/v1/token");
        request.header("content-type", "application/x-www-form-urlencoded").body(token_exchange_form(good, more))
    };
    let requests = [
        // Forms and query strings.
        stage.form(format!("{}&WebIdentityToken={good}", sts_form(good, &[]))),
        stage.form(sts_form(good, &[(good, "1")])),
        stage.form(sts_form(good, &[("RoleSessionName", good)])),
        stage.form(sts_form(good, &[("RoleArn", good)])),
        stage.form(sts_form(good, &[("DurationSeconds", good)])),
        stage.form(sts_form(good, &[("Policy", good)])),
        stage.form(sts_form(good, &[("Policy", wide)])),
        stage.form(sts_form(good, &[("Version", good)])),
        stage.form(sts_form(good, &[("Action", good)])),
        stage.form(format!("{}&x=%ff", sts_form(good, &[]))),
        exchange(&[("audience", good)]),
        exchange(&[("subject_token", good)]),
        exchange(&[("actor_token", good)]),
        exchange(&[("session_policy", good)]),
        exchange(&[(good, "1")]),
        stage.form(sts_form(&long, &[])),
        stage.form(good),
        stage.request(Method::GET, &format!("/?{good}")),
        stage.request(Method::GET, &format!("/?WebIdentityToken={good}")),
        stage.request(Method::GET, &format!("/?{}", sts_form(good, &[("Policy", "{")]))),
        stage.request(Method::PUT, &format!("/?{}", sts_form(good, &[]))).body(good.to_owned()),
        stage.request(Method::GET, &format!("/health/live?{good}")),
        stage.request(Method::GET, &format!("/{good}")),
        stage.request(Method::POST, "/").header("content-type", good).body(good.to_owned()),
        // JSON.
        stage.json(good, good),
        stage.json(good, format!("{{\"{good}\": 1}}")),
        stage.json(good, json!({"role": good}).to_string()),
        stage.json(good, json!({"session_name": good}).to_string()),
        stage.json(good, json!({"duration_seconds": good}).to_string()),
        stage.json(good, json!({"duration_seconds": 1}).to_string()),
        stage.json(good, policy(good)),
        stage.json(good, policy("{")),
        stage.json(good, policy(wide)),
        stage.json(good, json!({"role": "absent"}).to_string()),
        stage.json(good, format!("\"{long}\"")),
        stage.request(Method::POST, "/v1/leases").bearer_auth(good).header("content-type", good).body("{}"),
        stage.json(good, "{}").header("authorization", format!("Bearer {good}")),
        stage.request(Method::DELETE, "/v1/leases").bearer_auth(good),
        // Headers.
        stage.request(Method::POST, "/v1/leases").header("authorization", format!("Basic {basic}")),
        stage.request(Method::POST, "/v1/leases").header("authorization", format!("{good} {good}")),
        stage.request(Method::POST, "/v1/leases").header("cookie", good).header("x-token", good),
        stage.request(Method::GET, "/v1/roles/absent/credentials").header("authorization", good),
        stage.request(Method::GET, &format!("/v1/roles/{good}/credentials")).header("authorization", good),
        stage.request(Method::GET, "/v1/roles/%ff/credentials").header("authorization", good),
        stage.request(Method::GET, "/health/live").header("x-forwarded-for", good).header("user-agent", good),
        stage.request(Method::GET, "/health/live").header("x-request-id", good).header("traceparent", good),
        stage.request(Method::POST, "/v1/leases").header("authorization", &long[..70 * 1024]),
    ];
    for request in requests {
        let told = format!("{request:?}");
        let status = stage.send(request).await;
        assert_ne!(status, StatusCode::CREATED, "{told}");
    }
}

/// Answers of the object server that are not believed, with secrets in them.
async fn object_server_fails(stage: &mut Stage, object_server: &Double) {
    // Nobody who has a lease already: that would be handed out again.
    let forge = Forge::shared();
    let good = forge.authentik.draft(now()).claim("sub", "another-subject").sign(&forge.authentik.key);
    let refusal =
        format!("<ErrorResponse><Error><Code>AccessDenied</Code><Message>{SAID}</Message></Error></ErrorResponse>");
    let credentials = |expiration: &str| planted(&crate::harness::object_server::assume_role_response(expiration));
    let whole = credentials("2099-01-01T00:00:00Z");
    let without_end = whole.replace("<Expiration>2099-01-01T00:00:00Z</Expiration>", "");
    for answer in [
        Reply::http(403, "application/xml", &refusal),
        Reply::http(403, "application/xml", &refusal.replace("AccessDenied", &format!("{SAID} {MINTED_SECRET}"))),
        Reply::http(500, "text/html", &format!("<html>{SAID}</html>")),
        Reply::http(503, "application/xml", &refusal.replace("AccessDenied", "XMinioServerNotInitialized")),
        Reply::http(301, "text/plain", SAID),
        Reply::http(200, "text/html", &format!("<html>{SAID}</html>")),
        Reply::http(200, "application/xml", &without_end),
        Reply::http(200, "application/xml", &credentials(SAID)),
        Reply::http(200, "application/xml", &credentials("2001-01-01T00:00:00Z")),
        Reply::http(200, "application/xml", &whole),
        Reply::http(200, "application/xml", &whole[..whole.len() - 120]),
        Reply::http(200, "application/xml", &whole.replace("</SecretAccessKey>", "</Other>")),
        Reply::Bytes(SAID.to_owned()),
    ] {
        object_server.says(answer);
        for status in stage.at_every_door(&good).await {
            assert!(status.is_server_error(), "{status}");
        }
        stage.send(stage.request(Method::GET, "/health/ready")).await;
    }
    object_server.says(minted(3590));
}
