//! A server that an earlier run left behind on the same data. Nothing is stopped that was not proven to be one.

use std::fs;
use std::path::Path;

use super::{DatabaseError, Site, io};

/// Stops it, or clears away the pid file that a dead one left.
pub(super) async fn stop(site: &Site) -> Result<(), DatabaseError> {
    let pid_file = site.data().join("postmaster.pid");
    if !Path::new("/proc/self").exists() {
        // No way to prove anything: PostgreSQL itself refuses data that somebody serves.
        return Ok(());
    }
    let Ok(text) = fs::read_to_string(&pid_file) else { return Ok(()) };
    let pid = text.lines().next().and_then(|line| line.trim().parse::<u32>().ok());
    if pid.is_some_and(|pid| serves(pid, &site.data())) {
        return site.stop().await;
    }
    // The number may belong to somebody else by now, which would keep the server from starting.
    fs::remove_file(&pid_file).map_err(io(format!("removing {}", pid_file.display())))
}

/// Whether this process is a `postgres -D <data>`.
fn serves(pid: u32, data: &Path) -> bool {
    let Ok(command_line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut arguments = command_line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let is_postgres = arguments.next().is_some_and(|program| Path::new(program.as_ref()).ends_with("postgres"));
    is_postgres && arguments.any(|argument| Path::new(argument.as_ref()) == data)
}
