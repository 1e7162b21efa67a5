//! What runs beside a workload, from outside: the real program, before the real service or before a double that lies.

mod client_credentials;
mod exec;
mod faults;
mod files;
mod process;
mod serve;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use crate::harness::binary::{Running, eventually, http, stint};
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::service::{Seen, Service, Setup, now};
use crate::harness::tokens::Forge;

/// The real life of what the object server's double mints.
const REAL_LIFE: Duration = Duration::from_secs(3590);

/// A token that the service takes.
fn good_token() -> String {
    Forge::shared().authentik.token(now())
}

/// A workload's place: a token file, and whatever else it writes.
struct Workload {
    directory: TempDir,
    server: String,
}

impl Workload {
    /// With a good token, before this service.
    fn before(server: &str) -> Self {
        let workload = Self { directory: tempfile::tempdir().unwrap(), server: server.to_owned() };
        workload.put_token(&good_token());
        workload
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put_token(&self, token: &str) {
        fs::write(self.path("token"), token).unwrap();
    }

    /// `stint` with these words, and everything about the lease in its environment.
    fn stint(&self, words: &[&str]) -> Command {
        let mut command = stint(words);
        command.env("STINT_URL", &self.server).env("STINT_TOKEN_FILE", self.path("token"));
        command.env("XDG_RUNTIME_DIR", self.directory.path()).env("HOME", self.directory.path());
        command
    }

    /// `stint agent serve`, once it listens.
    async fn serve(&self, more: &[&str]) -> Agent {
        let env = self.path("agent.env");
        let mut command = self.stint(&["agent", "serve", "--env-file"]);
        command.arg(&env).args(more);
        let running = Running::start(command);
        eventually("the lines are written", async || env.exists()).await;
        Agent { running, lines: Lines::read(&env) }
    }
}

/// The lines of `--env-file`, as a shell reads them.
struct Lines {
    uri: String,
    token_file: PathBuf,
}

impl Lines {
    fn read(file: &Path) -> Self {
        let script =
            r#". "$1"; printf '%s\n' "$AWS_CONTAINER_CREDENTIALS_FULL_URI" "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE""#;
        let output = Command::new("sh").args(["-eu", "-c", script, "sh"]).arg(file).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let [uri, token_file] = text.lines().collect::<Vec<_>>().try_into().unwrap();
        Self { uri: uri.to_owned(), token_file: token_file.into() }
    }
}

/// A running `stint agent serve`.
struct Agent {
    running: Running,
    lines: Lines,
}

impl Agent {
    /// Waits for its first lease.
    async fn ready(self) -> Self {
        eventually("it is ready", async || self.running.stdout().contains("# ready: ")).await;
        self
    }

    fn token(&self) -> String {
        fs::read_to_string(&self.lines.token_file).unwrap()
    }

    /// The address of another path of the same port.
    fn url(&self, path: &str) -> String {
        self.lines.uri.replace("/credentials", path)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Seen {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        Seen { status, headers, body: answer.text().await.unwrap() }
    }

    /// As an SDK asks.
    async fn credentials(&self) -> Seen {
        self.send(http().get(&self.lines.uri).header("authorization", self.token())).await
    }

    /// Asks until it has an answer of this kind.
    async fn until(&self, status: StatusCode) -> Seen {
        let mut seen = None;
        eventually(&format!("{status}"), async || {
            let answer = self.credentials().await;
            let found = answer.status == status;
            seen = Some(answer);
            found
        })
        .await;
        seen.unwrap()
    }

    async fn ends(mut self) -> i32 {
        self.running.signal("TERM");
        self.running.ended().await.expect("it ends by itself, not by the signal")
    }
}

/// The real service before an object server that mints.
async fn service() -> (Service, ScriptedObjectServer) {
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    // The double mints one length whatever it is asked for.
    let setup = Setup { more: "[lease]\njitter = 0.0", ..Setup::with(object_server.endpoint()) };
    let service = Service::start(setup).await;
    (service, object_server)
}

/// How often a lease was issued.
async fn issued(service: &Service) -> usize {
    service.rows().await.iter().filter(|row| row.kind == "lease.issued").count()
}

/// How often the service was asked for a lease and gave one, be it one that was out already.
async fn exchanged(service: &Service) -> usize {
    let rows = service.rows().await;
    rows.iter().filter(|row| row.kind == "lease.issued" || row.kind == "lease.reused").count()
}

fn instant(text: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(text.as_str().unwrap(), &Rfc3339).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A service's answer of a lease of so many minutes, by a clock that is so far ahead.
fn leased(key: &str, minutes: i64, ahead: time::Duration) -> Reply {
    let there = OffsetDateTime::from_unix_timestamp(now()).unwrap() + ahead;
    let at = |minutes| (there + time::Duration::minutes(minutes)).format(&Rfc3339).unwrap();
    let id = key.bytes().fold(0_u64, |id, byte| id * 31 % 999_983 + u64::from(byte));
    let body = json!({
        "lease_id": format!("01935a00-0000-7000-8000-{id:012x}"), "role": "team", "issued_at": at(0),
        "credentials": {
            "access_key_id": key, "secret_access_key": "planted-secret", "session_token": "planted-session-token",
            "expiration": at(minutes),
        },
        "refresh_after": at(minutes / 2), "ttl_seconds": minutes * 60,
    })
    .to_string();
    let date = there.format(&Rfc2822).unwrap().replace("+0000", "GMT");
    Reply::Bytes(format!(
        "HTTP/1.1 201 Created\r\ndate: {date}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n{body}",
        body.len()
    ))
}

/// A refusal of the service.
fn refusal(status: u16, code: &str) -> Reply {
    Reply::http(
        status,
        "application/problem+json",
        &json!({"code": code, "title": "no", "request_id": "r-1"}).to_string(),
    )
}
