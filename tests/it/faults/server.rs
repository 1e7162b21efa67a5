//! The processes of a private PostgreSQL: found through its data, and ended by their ids.

use std::fs;
use std::path::Path;
use std::process::Command;

use stint::demo::database::PrivatePostgres;

use crate::harness::binary::eventually;

/// Kills the server and every process of it, and waits until nothing of it is left.
pub(super) async fn power_cut(directory: &Path, server: PrivatePostgres) {
    let processes = processes(directory);
    assert!(processes.len() > 4, "a server has processes: {processes:?}");
    server.kill().await.unwrap();
    for process in &processes {
        // It may have ended with its parent.
        let _ = Command::new("kill").args(["-s", "KILL", "--", process]).output().unwrap();
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

pub(super) fn is_gone(process: &str) -> bool {
    field(process, 0).is_none_or(|state| state == "Z")
}

/// A field of `/proc/<pid>/stat`, counted from the state: the fields before it may hold spaces.
fn field(process: &str, place: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(place).map(str::to_owned)
}
