//! `stint agent serve` beside a workload, and the lines that it prints for it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::{server::Server, until};

/// A running agent.
pub(crate) struct Agent {
    _server: Server,
    directory: TempDir,
}

impl Agent {
    /// Starts it for one role, with this token, and waits until it holds a lease.
    pub(crate) async fn serve(stint: &str, role: &str, token: &str) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        let [file, lines] = ["workload-token", "variables"].map(|name| directory.path().join(name));
        fs::write(&file, token).expect("our own directory");
        let mut agent = Command::new(env!("CARGO_BIN_EXE_stint"));
        agent.args(["agent", "serve", "--server", stint, "--role", role]).arg("--token-file").arg(file);
        agent.arg("--env-file").arg(&lines).env("XDG_RUNTIME_DIR", directory.path());
        let server = Server::start("agent", directory.path(), "TERM", &agent);
        until("the agent holds a lease", Duration::from_secs(30), async || server.output().contains("# ready")).await;
        Self { _server: server, directory }
    }

    /// What points an SDK at it.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let lines = fs::read_to_string(self.directory.path().join("variables")).expect("the agent wrote them");
        let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        lines.lines().filter_map(pair).collect()
    }
}
