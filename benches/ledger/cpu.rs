//! Processor time, as Linux counts it: of one process, and of PostgreSQL with all its sessions.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// What `_SC_CLK_TCK` is on every Linux that counts.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of a process so far; nothing where there is no /proc.
pub(crate) fn of_process(pid: u32) -> Duration {
    stat(pid).map_or(Duration::ZERO, |stat| ticks(stat.own))
}

/// The same of the private PostgreSQL in `directory`: the server, its living sessions, and those it has buried.
pub(crate) fn of_postgres(directory: &Path) -> Duration {
    let file = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
    let postmaster = file.lines().next().and_then(|pid| pid.parse().ok());
    let Some((parent, head)) = postmaster.and_then(|pid| Some((pid, stat(pid)?))) else { return Duration::ZERO };
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
    let children: u64 = pids.filter_map(stat).filter(|child| child.parent == parent).map(|child| child.own).sum();
    ticks(head.own + head.buried + children)
}

struct Stat {
    parent: u32,
    own: u64,
    buried: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, spaces and parentheses too: fields count from behind it (proc(5)).
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        own: number(11)? + number(12)?,
        buried: number(13)? + number(14)?,
    })
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}
