//! A server as a child process that cannot outlive the tests: a shell stands between, and ends the server's process group
//! when the pipe to it closes, which the kernel does for us even when the test process is killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// `$1` is the signal, the rest the command. `set -m` gives the server a process group of its own.
const GUARD: &str = r#"
set -m
trap : INT TERM HUP
signal=$1; shift
"$@" </dev/null &
server=$!
read -r _
kill -s "$signal" -- "-$server" 2>/dev/null
for _ in {1..100}; do kill -0 "$server" 2>/dev/null || exit 0; sleep 0.05; done
kill -s KILL -- "-$server" 2>/dev/null
wait
"#;

/// A running server; dropping it ends it.
pub(crate) struct Server {
    guard: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its output in `<logs>/<name>.log`; `signal` is what ends it at once.
    pub(crate) fn start(name: &str, logs: &Path, signal: &str, command: &Command) -> Self {
        let log = logs.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).expect("the log file opens");
        let errors = output.try_clone().expect("the log file is shared");
        let mut guard = Command::new("bash");
        guard.args(["-c", GUARD, name, signal]).arg(command.get_program()).args(command.get_args());
        guard.stdin(Stdio::piped()).stdout(output).stderr(errors);
        for (key, value) in command.get_envs() {
            guard.env(key, value.map(OsString::from).unwrap_or_default());
        }
        if let Some(directory) = command.get_current_dir() {
            guard.current_dir(directory);
        }
        Self { guard: guard.spawn().expect("bash starts"), log }
    }

    /// Sends a signal to the server: the guard's one child.
    pub(crate) fn signal(&self, name: &str) {
        let guard = self.guard.id();
        let children = fs::read_to_string(format!("/proc/{guard}/task/{guard}/children")).expect("Linux tells");
        let status = Command::new("kill").args(["-s", name, children.trim()]).status().expect("kill runs");
        assert!(status.success(), "SIG{name} was sent");
    }

    /// Everything the server has printed.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().ok();
        if std::thread::panicking() {
            show_with_the_failure(&format!("end of {}", self.log.display()), &self.output());
        }
    }
}

/// The last lines of `text`, through the panic hook's stream: libtest shows them with the failure.
pub(super) fn show_with_the_failure(what: &str, text: &str) {
    let tail: Vec<&str> = text.lines().rev().take(30).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    let text = format!("---- {what}\n{}\n", tail.join("\n"));
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).ok();
}
