//! The processes of a private PostgreSQL: found through its data, and ended by their ids.

use std::fs;
use std::path::Path;
use std::process::Command;

use stint::demo::database::PrivatePostgres;

use crate::harness::binary::eventually;

/// Kills the server and every process of it, and waits until nothing of it is left.
pub(super) async fn power_cut(directory: &Path, server: PrivatePostgres) {
    let processes = processes(directory);
    server.kill().await.unwrap();
    for process in &processes {
        signal(process, "KILL");
    }
    eventually("nothing of the server is left", async || processes.iter().all(|process| is_gone(process))).await;
}

/// The server of this directory and its children; none where it does not run.
pub(super) fn processes(directory: &Path) -> Vec<String> {
    let pid_file = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
    let Some(parent) = pid_file.lines().next().map(str::trim) else { return Vec::new() };
    let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    let numbers = all.filter_map(|name| name.into_string().ok()).filter(|name| name.parse::<u32>().is_ok());
    numbers.filter(|process| process == parent || field(process, 1).as_deref() == Some(parent)).collect()
}

/// Those that serve a session of ours.
pub(super) fn sessions(directory: &Path) -> Vec<String> {
    let serves = |process: &String| {
        let title = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        title.starts_with("postgres: stint ")
    };
    processes(directory).into_iter().filter(serves).collect()
}

/// Sends a signal by name to a process that may have ended already.
pub(super) fn signal(process: &str, name: &str) {
    let _ = Command::new("kill").args(["-s", name, "--", process]).output().unwrap();
}

/// A server that stands still: it takes connections, as far as the kernel does that, and answers nothing. It goes on when
/// this is dropped.
pub(super) struct Frozen(Vec<String>);

impl Frozen {
    pub(super) fn server(directory: &Path) -> Self {
        let processes = processes(directory);
        // The parent first: it could make more.
        let frozen = Self(processes);
        frozen.0.iter().for_each(|process| signal(process, "STOP"));
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.iter().for_each(|process| signal(process, "CONT"));
    }
}

pub(super) fn is_gone(process: &str) -> bool {
    field(process, 0).is_none_or(|state| state == "Z")
}

/// A field of `/proc/<pid>/stat`, counted from the state: the fields before it may hold spaces.
fn field(process: &str, place: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(place).map(str::to_owned)
}
