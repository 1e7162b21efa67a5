//! The real program as a child process: a clean environment, both streams kept, every wait bounded, ended by its own id.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tempfile::TempDir;

use super::tokens::Forge;

/// Longer than any start on a busy machine, and not for ever.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What the group of the forge's Authentik may have.
pub(crate) const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::recordings/*"]}]}"#;
pub(crate) const ROLE: &str = "documents = [\"recordings\"]\n[[allow]]\ngroups = [\"team-a\"]\n";

/// `stint` with these arguments and nothing in its environment but where programs are.
pub(crate) fn stint<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stint"));
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").args(arguments);
    command
}

/// What a program that ended left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs it to its end.
pub(crate) async fn run(command: Command) -> Ended {
    let mut running = Running::start(command);
    let code = running.ended().await;
    Ended { code, stdout: running.stdout(), stderr: running.stderr() }
}

/// A child; it is killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = Stream::follow(child.stdout.take().expect("piped"));
        let stderr = Stream::follow(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Everything it has written so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends a signal by name: to this child alone.
    pub(crate) fn signal(&self, name: &str) {
        kill(name, &self.pid().to_string());
    }

    /// Sends a signal to the whole process group that the child leads, as a terminal does.
    pub(crate) fn signal_group(&self, name: &str) {
        kill(name, &format!("-{}", self.pid()));
    }

    /// Waits for its end and for the end of both streams; the exit code, or none after a signal.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let mut status: Option<ExitStatus> = None;
        let told = format!("process {} ends", self.pid());
        eventually(&told, async || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        })
        .await;
        let streams = [&self.stdout, &self.stderr];
        eventually("its streams end", async || streams.iter().all(|stream| stream.is_at_end())).await;
        status.and_then(|status| status.code())
    }

    /// Waits until it says so on stderr.
    pub(crate) async fn says(&mut self, text: &str) {
        self.says_times(text, 1).await;
    }

    /// Waits until it has said so on stderr this often.
    pub(crate) async fn says_times(&mut self, text: &str, times: usize) {
        let waiting = eventually(text, async || {
            let ended = self.child.try_wait().expect("our child");
            let said = self.stderr.text();
            assert!(ended.is_none() || said.contains(text), "it ended with {ended:?} and never said {text}:\n{said}");
            said.matches(text).count() >= times
        });
        waiting.await;
    }

    /// Waits until the service listens; its address.
    pub(crate) async fn listens(&mut self) -> SocketAddr {
        self.says("stint listens").await;
        let said = self.stderr();
        let line = said.lines().find(|line| line.contains("stint listens")).expect("it was said");
        let line: Value = serde_json::from_str(line).expect("a JSON line");
        line["address"].as_str().expect("an address").parse().expect("an address")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kill(signal: &str, whom: &str) {
    let killed = Command::new("kill").args(["-s", signal, "--", whom]).status().expect("kill is installed");
    assert!(killed.success(), "kill -s {signal} {whom}");
}

/// One stream of a child, read by a thread as it comes.
struct Stream(Arc<Mutex<Bytes>>);

#[derive(Default)]
struct Bytes {
    bytes: Vec<u8>,
    at_end: bool,
}

impl Stream {
    fn follow(mut pipe: impl Read + Send + 'static) -> Self {
        let read = Arc::new(Mutex::new(Bytes::default()));
        let shared = Arc::clone(&read);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut chunk) {
                shared.lock().unwrap().bytes.extend_from_slice(&chunk[..n]);
            }
            shared.lock().unwrap().at_end = true;
        });
        Self(read)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap().bytes).into_owned()
    }

    fn is_at_end(&self) -> bool {
        self.0.lock().unwrap().at_end
    }
}

/// Polls until it holds; fails, saying what, after [`PATIENCE`].
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, poll).await.is_ok(), "not within {PATIENCE:?}: {what}");
}

/// A directory with a configuration and policies for `stint serve` and `stint check`.
pub(crate) struct Site(TempDir);

impl Site {
    /// A good one: the forge's Authentik with its keys in a file, one role `team`, any free port.
    pub(crate) fn new(database: &SecretString, object_server: &str) -> Self {
        let site = Self(tempfile::tempdir().expect("a temporary directory"));
        let provider = &Forge::shared().authentik;
        site.write("keys.json", provider.jwks());
        site.write("policies/documents/recordings.json", DOCUMENT);
        site.write("policies/roles/team.toml", ROLE);
        site.write(
            "stint.toml",
            format!(
                "[http]\nlisten = \"127.0.0.1:0\"\n[postgres]\nurl = \"{}\"\n[[issuer]]\nname = \"authentik\"\nissuer = \
                 \"{}\"\naudiences = [\"stint\"]\nprofile = \"authentik\"\nkeys = {{ jwks_file = \"keys.json\" \
                 }}\n[object_server]\nkind = \"minio\"\nendpoint = \"{object_server}\"\naccess_key = \
                 \"parent\"\nsecret_key = \"parent-secret\"\n[lease]\njitter = 0.0\nself_test = \"off\"\n",
                database.expose_secret(),
                provider.issuer,
            ),
        );
        site
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("stint.toml")
    }

    /// Writes a file below the directory.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("our own directory");
        fs::write(path, text).expect("our own directory");
    }

    /// Replaces a part of the configuration, which must be there.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("written");
        assert!(text.contains(from), "{from} is not in\n{text}");
        self.write("stint.toml", text.replace(from, to));
    }

    /// `stint <command> --config …` with more arguments.
    pub(crate) fn stint(&self, command: &str, more: &[&str]) -> Command {
        let mut command = stint([command, "--config"]);
        command.arg(self.config()).args(more);
        command
    }

    /// `stint serve`, and where it listens.
    pub(crate) async fn serve(&self) -> (Running, SocketAddr) {
        let mut running = Running::start(self.stint("serve", &[]));
        let address = running.listens().await;
        (running, address)
    }
}

/// A client that waits for an answer for a bounded time.
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client")
}
