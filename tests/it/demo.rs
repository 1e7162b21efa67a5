//! The demo from outside: what it shows, what it starts, and that nothing of it is left, however it ends.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};
use stint::audit::AuditRow;
use stint::postgres::PostgresStore;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::harness::binary::{Running, eventually, http, run, stint};
use crate::harness::database::server_directory;
use crate::harness::service::sts_form;

const NONE: [PathBuf; 0] = [];
const NO_SECRETS: [&str; 0] = [];
const CLIENTS: [&str; 7] = ["admin", "studio", "viewer", "livekit-egress", "studio-rclone", "backup-agent", "nobody"];

/// Where demos of one test keep what they write; a user that is not root must be able to pass through.
struct Stage(TempDir);

impl Stage {
    fn new() -> Self {
        Self(server_directory())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn demo(&self, more: &[&str]) -> Command {
        let mut command = stint(["demo"]);
        command.args(more).env("TMPDIR", self.0.path());
        command
    }

    /// A demo that stays up, once it has written its lines.
    async fn up(&self, name: &str, more: &[&str]) -> Demo {
        let file = self.path(&format!("{name}.env"));
        let mut command = self.demo(&["--env-file", file.to_str().unwrap()]);
        // A group of its own, as a shell gives it.
        std::os::unix::process::CommandExt::process_group(command.args(more), 0);
        let running = Running::start(command);
        eventually("the lines are written", async || file.exists()).await;
        Demo { running, lines: Lines::read(&file) }
    }

    /// The temporary directories of demos.
    fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("stint-demo-")).collect()
    }
}

/// A running demo.
struct Demo {
    running: Running,
    lines: Lines,
}

/// What a shell knows after it has read the file.
struct Lines {
    stint: String,
    s3: String,
    token: String,
    database: String,
    config: PathBuf,
}

impl Lines {
    fn read(file: &Path) -> Self {
        let script = r#". "$1"; printf '%s\n' "$STINT_URL" "$STINT_S3_URL" "$STINT_TOKEN_URL" "$STINT_DATABASE_URL" "$STINT_CONFIG""#;
        let output = Command::new("sh").args(["-eu", "-c", script, "sh"]).arg(file).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let [stint, s3, token, database, config] = text.lines().collect::<Vec<_>>().try_into().unwrap();
        let own = str::to_owned;
        Self { stint: own(stint), s3: own(s3), token: own(token), database: own(database), config: config.into() }
    }

    /// The addresses of all four servers.
    fn addresses(&self) -> Vec<SocketAddr> {
        let authority = |url: &String| {
            let (_scheme, rest) = url.split_once("://").unwrap();
            let authority = rest.split('/').next().unwrap();
            authority.rsplit('@').next().unwrap().parse().unwrap()
        };
        [&self.stint, &self.s3, &self.token, &self.database].map(authority).into()
    }

    fn directory(&self) -> &Path {
        self.config.parent().unwrap()
    }

    /// The process id of the demo's PostgreSQL.
    fn postgres(&self) -> u32 {
        let pid_file = fs::read_to_string(self.directory().join("postgres/data/postmaster.pid")).unwrap();
        pid_file.lines().next().unwrap().parse().unwrap()
    }

    async fn ready(&self) -> StatusCode {
        http().get(format!("{}/health/ready", self.stint)).send().await.unwrap().status()
    }

    async fn token(&self, client: &str) -> String {
        let (status, answer) = ask(http().post(&self.token).body(credentials(client, "demo"))).await;
        assert_eq!(status, StatusCode::OK, "{client}: {answer}");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn lease(&self, client: &str) -> (StatusCode, Value) {
        lease_at(&self.stint, &self.token(client).await).await
    }

    async fn rows(&self) -> Vec<AuditRow> {
        let database = SecretString::from(self.database.clone());
        PostgresStore::connect(&database, Duration::from_secs(5)).await.unwrap().recent(100).await.unwrap()
    }
}

async fn lease_at(stint: &str, token: &str) -> (StatusCode, Value) {
    let request = http().post(format!("{stint}/v1/leases")).bearer_auth(token).body("{}");
    ask(request.header("content-type", "application/json")).await
}

async fn ask(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    (answer.status(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

fn credentials(client: &str, secret: &str) -> String {
    format!("grant_type=client_credentials&client_id={client}&client_secret={secret}")
}

/// Not there, or a zombie that nobody has asked about.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.starts_with(" Z"))
}

fn is_closed(address: &SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

/// Words as long as a secret key (40 characters), or made like an access key id or a token.
fn secrets_in(text: &str) -> Vec<&str> {
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || "+=_-".contains(c);
    let words = text.split(|c| !part_of_word(c));
    let is_key_id = |word: &str| word.len() >= 16 && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let is_digest = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    words.filter(|w| w.starts_with("eyJ") || is_key_id(w) || (w.len() >= 40 && !is_digest(w))).collect()
}

#[test]
fn secrets_would_be_found() {
    for secret in ["eyJhbGciOiJ9.e30.x", "GGCTIHYG44N04A0X14LN", "8g8imGgD2gOl91t2Rbr8rEo01fNI0W4euwOHjxz0"] {
        assert_eq!(secrets_in(&format!("key {secret}\n")).len(), 1, "{secret}");
    }
}

#[test]
fn an_emergency_is_played_to_its_end_and_leaves_nothing() {
    let stage = Stage::new();
    let output = stage.demo(&["--emergency"]).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    for line in [
        "submitted at once 409 no_emergency",
        "issuer_down holds, log_down holds",
        "PUT s3://recordings/rescue/take-1.mp4 200 allowed",
        "the same again    409 nonce_used",
        "another           409 review_open",
        "PUT s3://recordings/rescue/take-2.mp4 403 refused",
        "everything it started has ended",
    ] {
        assert!(out.contains(line), "{line} is not in\n{out}");
    }
    assert_eq!(stage.leftovers(), NONE);
}

#[tokio::test]
async fn once_walks_one_exchange_shows_every_step_and_leaves_nothing() {
    let stage = Stage::new();
    let ended = run(stage.demo(&["--once"])).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stderr, "");
    let mut rest = ended.stdout.as_str();
    for text in [
        "stint demo: starting in ",
        "PostgreSQL     127.0.0.1:",
        "livekit-egress gets a token",
        "[\"egress-write\"]",
        "role           livekit-egress",
        "secret and session token not shown",
        "200 allowed",
        "403 refused",
        "403 \"access_denied\"",
        "policy.loaded",
        "lease.intended",
        "lease.issued",
        "exchange.refused",
        "an administrator changes who got the lease",
        "verify         whole: ",
        "update         refused: audit_event",
        "row 3 now says sub somebody-else",
        "verify         FOUND row_edited: row 3, event ",
        "rollback       the change was never committed",
        "verify         whole: ",
        "everything it started has ended",
    ] {
        let (_, after) = rest.split_once(text).unwrap_or_else(|| panic!("{text} is not in, or out of order:\n{rest}"));
        rest = after;
    }
    assert!(!ended.stdout.contains("export "), "nothing to paste: it has all ended");
    let wide: Vec<&str> = ended.stdout.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "{wide:?}");
    assert_eq!(secrets_in(&ended.stdout), NO_SECRETS);
    assert_eq!(stage.leftovers(), NONE);
}

#[tokio::test]
async fn the_lines_are_written_once_everything_is_ready_and_every_client_gets_a_token() {
    let stage = Stage::new();
    let file = stage.path("d.env");
    fs::write(&file, "export STINT_URL='http://127.0.0.1:1'\n").unwrap();
    let mut running = Running::start(stage.demo(&["--env-file", file.to_str().unwrap()]));
    eventually("the lines of an earlier run go", async || !file.exists()).await;
    eventually("the lines are written", async || file.exists()).await;
    let lines = Lines::read(&file);
    assert_eq!(lines.ready().await, StatusCode::OK);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it holds a password");
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 5);

    for client in CLIENTS {
        let token = lines.token(client).await;
        assert_eq!(token.split('.').count(), 3);
        let basic = http().post(&lines.token).basic_auth(client, Some("demo")).body("grant_type=client_credentials");
        assert_eq!(ask(basic).await.0, StatusCode::OK, "{client}");
        for refused in [
            http().post(&lines.token).body(credentials(client, "wrong")),
            http().post(&lines.token).body("grant_type=client_credentials").basic_auth(client, Some("wrong")),
        ] {
            assert_eq!(ask(refused).await, (StatusCode::UNAUTHORIZED, json!({"error": "invalid_client"})));
        }
        let expected = if client == "nobody" { StatusCode::FORBIDDEN } else { StatusCode::CREATED };
        let (status, answer) = lease_at(&lines.stint, &token).await;
        assert_eq!(status, expected, "{client}: {answer}");
    }
    let nobody = sts_form(&lines.token("nobody").await, &[]);
    let sts = http().post(&lines.stint).header("content-type", "application/x-www-form-urlencoded").body(nobody);
    let sts = sts.send().await.unwrap();
    assert_eq!(sts.status(), StatusCode::FORBIDDEN);
    assert!(sts.text().await.unwrap().contains("<Code>AccessDenied</Code>"));

    let printed = running.stdout();
    let token_file = fs::read_to_string(lines.directory().join("studio.token")).unwrap();
    assert!(!printed.contains(&token_file) && secrets_in(&printed) == NO_SECRETS, "{printed}");
    running.signal("INT");
    assert_eq!(running.ended().await, Some(0));
    assert_eq!(running.stderr(), "");
}

#[tokio::test]
async fn a_second_service_works_against_the_same_servers() {
    let stage = Stage::new();
    let demo = stage.up("d", &[]).await;
    // As in a shell that has read the lines.
    let mut serve = stint(["serve", "--config"]);
    serve.arg(&demo.lines.config).env("STINT_URL", &demo.lines.stint).env("STINT_S3_URL", &demo.lines.s3);
    serve.env("STINT_TOKEN_URL", &demo.lines.token).env("STINT_DATABASE_URL", &demo.lines.database);
    serve.env("STINT_CONFIG", &demo.lines.config).env("STINT_HTTP__LISTEN", "127.0.0.1:0");
    serve.env("STINT_TELEMETRY__LOG", "info").env("STINT_TELEMETRY__LOG_FORMAT", "json");
    let mut second = Running::start(serve);
    let address = second.listens().await;
    let (status, answer) = lease_at(&format!("http://{address}"), &demo.lines.token("studio").await).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    second.signal("TERM");
    assert_eq!(second.ended().await, Some(0));

    let rows = demo.lines.rows().await;
    let lease = rows.iter().find(|row| row.kind == "lease.issued").unwrap();
    assert_eq!(lease.lease_id.unwrap().to_string(), answer["lease_id"].as_str().unwrap());
    assert!(rows.iter().any(|row| row.stream != lease.stream), "each service has a stream of its own");
    assert_eq!(demo.lines.ready().await, StatusCode::OK);
}

/// A terminal sends Ctrl-C to every process of the group: PostgreSQL must not end under the service.
#[tokio::test]
async fn ctrl_c_in_a_terminal_ends_everything_that_was_started() {
    let stage = Stage::new();
    let mut demo = stage.up("d", &[]).await;
    let postgres = demo.lines.postgres();
    assert!(!is_gone(postgres) && demo.lines.addresses().iter().all(|address| !is_closed(address)));
    // Somebody who never finishes a request does not hold it up.
    let mut stuck = tokio::net::TcpStream::connect(demo.lines.addresses()[2]).await.unwrap();
    stuck.write_all(b"POST /application/o/tok").await.unwrap();

    demo.running.signal_group("INT");
    assert_eq!(demo.running.ended().await, Some(0), "{}", demo.running.stderr());
    assert_eq!(demo.running.stderr(), "");
    assert!(demo.running.stdout().ends_with("stint demo: everything it started has ended\n"));
    assert!(is_gone(postgres));
    assert!(demo.lines.addresses().iter().all(is_closed));
    assert_eq!(stage.leftovers(), NONE);
}

#[tokio::test]
async fn ctrl_c_while_it_starts_ends_it_as_well() {
    let stage = Stage::new();
    let mut command = stage.demo(&[]);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut running = Running::start(command);
    eventually("it has begun", async || running.stdout().contains("starting in")).await;
    running.signal_group("INT");
    assert_eq!(running.ended().await, Some(0), "{}", running.stderr());
    assert_eq!(stage.leftovers(), NONE);
}

#[tokio::test]
async fn a_crash_leaves_nothing_running_and_the_next_run_sweeps_up() {
    let stage = Stage::new();
    let mut demo = stage.up("d", &[]).await;
    let postgres = demo.lines.postgres();
    demo.running.signal("KILL");
    assert_eq!(demo.running.ended().await, None);
    eventually("PostgreSQL ends by itself", async || is_gone(postgres)).await;
    assert!(demo.lines.addresses().iter().all(is_closed));
    assert_eq!(stage.leftovers().len(), 1, "nobody was left to remove it");
    let next = run(stage.demo(&["--once"])).await;
    assert_eq!(next.code, Some(0), "{}", next.stderr);
    assert_eq!(stage.leftovers(), NONE);
}

#[tokio::test]
async fn a_named_directory_keeps_policies_objects_and_log_between_runs() {
    let stage = Stage::new();
    let data = stage.path("it's my data");
    let first = run(stage.demo(&["--once", "--data", data.to_str().unwrap()])).await;
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let object = data.join("objects/recordings/demo/take-1.mp4");
    assert!(object.is_file());
    fs::write(data.join("objects/textures/mine.txt"), "mine").unwrap();
    let role = "documents = [\"spacemusic-viewers\"]\n[[allow]]\ngroups = [\"guests\"]\n";
    fs::write(data.join("policies/roles/guests.toml"), role).unwrap();

    let mut demo = stage.up("d", &["--data", data.to_str().unwrap()]).await;
    assert_eq!(demo.lines.directory(), data.canonicalize().unwrap());
    let rows = demo.lines.rows().await;
    let mut streams: Vec<_> = rows.iter().map(|row| row.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    assert_eq!(streams.len(), 2, "the rows of the first run are there");
    assert!(rows.iter().all(|row| row.subject.as_deref() != Some("somebody-else")), "what was tampered with is undone");
    let keys: Vec<_> = rows.iter().filter_map(|row| row.key_id.as_deref()).collect();
    assert_eq!((keys.len(), keys[0]), (2, keys[1]), "both runs sealed with the key that was kept");
    assert_eq!(fs::metadata(data.join("audit.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(rows.iter().filter(|row| row.kind == "lease.issued").count(), 2);
    let loaded = rows.iter().find(|row| row.kind == "policy.loaded").unwrap();
    assert!(loaded.roles.contains(&"guests".to_owned()), "{:?}", loaded.roles);
    assert_eq!(fs::read_to_string(data.join("objects/textures/mine.txt")).unwrap(), "mine");
    demo.running.signal("INT");
    assert_eq!(demo.running.ended().await, Some(0));
    assert!(object.is_file());
}

#[tokio::test]
async fn a_directory_in_use_is_left_to_the_demo_that_uses_it() {
    let stage = Stage::new();
    let data = stage.path("data");
    let demo = stage.up("d", &["--data", data.to_str().unwrap()]).await;
    let second = run(stage.demo(&["--once", "--data", data.to_str().unwrap()])).await;
    assert_eq!(second.code, Some(1));
    let place = data.canonicalize().unwrap();
    let told = format!("stint: another stint demo uses {}: choose another --data\n", place.display());
    assert_eq!(second.stderr, told);
    assert_eq!(demo.lines.lease("studio").await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn two_demos_at_once_do_not_disturb_each_other() {
    let stage = Stage::new();
    let (mut one, two) = tokio::join!(stage.up("one", &[]), stage.up("two", &[]));
    for demo in [&one, &two] {
        assert_eq!(demo.lines.lease("studio").await.0, StatusCode::CREATED);
        let issued = demo.lines.rows().await.iter().filter(|row| row.kind == "lease.issued").count();
        assert_eq!(issued, 2, "its own walk and this lease");
    }
    let foreign = lease_at(&two.lines.stint, &one.lines.token("studio").await).await;
    assert_eq!(foreign.0, StatusCode::UNAUTHORIZED, "another issuer's token");
    one.running.signal("TERM");
    assert_eq!(one.running.ended().await, Some(0));
    assert_eq!(two.lines.lease("studio").await.0, StatusCode::CREATED);
    assert_eq!(two.lines.ready().await, StatusCode::OK);
}

/// PostgreSQL does not run as root, and who it runs as instead cannot pass a closed directory.
#[tokio::test]
async fn a_directory_below_a_closed_one_is_told_with_the_cure() {
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let data = closed.path().join("data");
    let ended = run(Stage::new().demo(&["--once", "--data", data.to_str().unwrap()])).await;
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        let place = closed.path().canonicalize().unwrap();
        assert!(ended.stderr.contains(&place.display().to_string()), "{}", ended.stderr);
        assert!(ended.stderr.contains("`chmod o+x` it, or choose another directory"), "{}", ended.stderr);
    } else {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named_before_anything_starts() {
    let stage = Stage::new();
    let file = stage.path("absent/d.env");
    let ended = run(stage.demo(&["--once", "--env-file", file.to_str().unwrap()])).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("there is no directory") && ended.stderr.contains("absent"), "{}", ended.stderr);

    fs::write(stage.path("file"), "").unwrap();
    let data = stage.path("file/data");
    let ended = run(stage.demo(&["--once", "--data", data.to_str().unwrap()])).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains(data.to_str().unwrap()), "{}", ended.stderr);
}
