//! `stint agent files`: always whole, whatever happens to the disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::{Workload, leased, mode, service};
use crate::harness::binary::{Running, eventually, run};
use crate::harness::object_server::{Reply, ScriptedObjectServer};

fn files(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory.join("current")).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())).collect()
}

fn words<'a>(directory: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["agent", "files", "--directory", directory.to_str().unwrap()], more].concat()
}

#[tokio::test]
async fn once_writes_every_form_of_one_lease_and_tells() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let directory = workload.path("s3");
    let told = workload.path("told");
    let after = format!("cp \"$STINT_FILES/access-key\" {}", told.display());
    let more = ["--once", "--after", &after, "--s3-endpoint", "http://s3.example", "--profile", "work"];
    let ended = run(workload.stint(&words(&directory, &more))).await;
    assert_eq!(
        (ended.code, ended.stdout.trim()),
        (Some(0), directory.join("current").to_str().unwrap()),
        "{}",
        ended.stderr
    );
    let files = files(&directory);
    let (key, secret, token) = (&files["access-key"], &files["secret-key"], &files["session-token"]);
    assert_eq!(
        files["credentials"],
        format!("[work]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\naws_session_token = {token}\n")
    );
    assert!(files["rclone.conf"].contains(&format!("session_token = {token}\nendpoint = http://s3.example\n")));
    assert!(files["expiration"].ends_with('Z'));
    assert_eq!(fs::read_to_string(told).unwrap(), *key);
    assert_eq!((mode(&directory), mode(&directory.join("current/secret-key"))), (0o700, 0o600));
    assert!(!ended.stderr.contains(secret.as_str()));

    let failing = run(workload.stint(&words(&directory, &["--once", "--after", "exit 3"]))).await;
    assert_eq!(failing.code, Some(1));
    assert!(failing.stderr.contains("--after ended with exit status: 3"), "{}", failing.stderr);
}

#[tokio::test]
async fn two_agents_on_one_directory_are_one_too_many() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let directory = workload.path("s3");
    let mut first = Running::start(workload.stint(&words(&directory, &[])));
    first.says("files written").await;
    let second = run(workload.stint(&words(&directory, &[]))).await;
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("another process holds"), "{}", second.stderr);
    first.signal("TERM");
    assert_eq!(first.ended().await, Some(0));
    // What was written stays for its readers, and the directory is free.
    assert_eq!(files(&directory).len(), 6);
    assert_eq!(run(workload.stint(&words(&directory, &["--once"]))).await.code, Some(0));
}

#[tokio::test]
async fn a_refresh_sends_the_signal_and_swaps_everything() {
    let zero = time::Duration::ZERO;
    let double =
        ScriptedObjectServer::start(vec![leased("AKIAONE", 60, zero), Reply::Close, leased("AKIATWO", 60, zero)]);
    let double = double.await;
    let workload = Workload::before(double.endpoint());
    let (directory, pid, seen) = (workload.path("s3"), workload.path("pid"), workload.path("seen"));
    // A program that reads its files again when it is told to.
    let script = format!(
        "trap 'cat {0}/current/access-key >> {1}; echo >> {1}' HUP; echo up; while :; do sleep 0.05; done",
        directory.display(),
        seen.display()
    );
    let mut program = Command::new("/bin/sh");
    program.args(["-c", &script]);
    let program = Running::start(program);
    eventually("the program is up", async || program.stdout().contains("up")).await;
    fs::write(&pid, program.pid().to_string()).unwrap();
    let more = ["--signal", "HUP", "--pid-file", pid.to_str().unwrap()];
    let mut agent = Running::start(workload.stint(&words(&directory, &more)));
    let told = || fs::read_to_string(&seen).unwrap_or_default();
    eventually("the first", async || told() == "AKIAONE\n").await;
    agent.signal("HUP");
    agent.says("stint cannot be reached").await;
    assert_eq!(files(&directory)["access-key"], "AKIAONE");
    eventually("the second", async || told() == "AKIAONE\nAKIATWO\n").await;
    assert_eq!(files(&directory)["access-key"], "AKIATWO");
    agent.signal("TERM");
    assert_eq!(agent.ended().await, Some(0));
}

#[tokio::test]
async fn a_write_that_is_cut_short_leaves_the_old_files() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let directory = workload.path("s3");
    assert_eq!(run(workload.stint(&words(&directory, &["--once"]))).await.code, Some(0));
    let before = files(&directory);
    // No file may grow past no bytes at all: each write fails as on a disk that is full to the last byte.
    let program = env!("CARGO_BIN_EXE_stint");
    let mut limited = workload.stint(&[]);
    let script = format!("trap '' XFSZ; ulimit -f 0; exec {program} {}", words(&directory, &["--once"]).join(" "));
    let mut shell = Command::new("/bin/sh");
    shell.env_clear().envs(limited.get_envs().filter_map(|(name, value)| Some((name, value?)))).args(["-c", &script]);
    limited.env_clear();
    let ended = run(shell).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("writing "), "{}", ended.stderr);
    assert_eq!(files(&directory), before);
    let mut left: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".lock", "current", "gen-1"]);
}

/// A few pages in memory; unmounted when dropped.
struct TinyDisk(TempDir);

impl TinyDisk {
    fn mount(size: &str) -> Result<Self, String> {
        let disk = Self(tempfile::Builder::new().prefix("stint-tiny-").tempdir().unwrap());
        disk.mounted(&["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "stint-tiny"])?;
        Ok(disk)
    }

    fn mounted(&self, options: &[&str]) -> Result<(), String> {
        match Command::new("mount").args(options).arg(self.0.path()).output() {
            Ok(Output { status, .. }) if status.success() => Ok(()),
            Ok(Output { stderr, .. }) => Err(String::from_utf8_lossy(&stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

#[tokio::test]
async fn on_a_full_disk_the_old_files_stay_whole_until_there_is_room() {
    // Room for the four files of one generation, a page each, and not for those of a second.
    let disk = match TinyDisk::mount("24k") {
        Ok(disk) => disk,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: files on a full disk: nothing can be mounted here: {reason}");
            return;
        }
    };
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let directory = disk.0.path();
    let mut agent = Running::start(workload.stint(&words(directory, &["--write", "plain"])));
    agent.says("files written").await;
    let before = files(directory);
    assert_eq!(before.len(), 4);
    agent.signal("HUP");
    agent.says("the files stay as they were").await;
    assert_eq!(files(directory), before);
    disk.mounted(&["-o", "remount,size=1m"]).unwrap();
    agent.says_times("files written", 2).await;
    assert_ne!(files(directory)["access-key"], before["access-key"]);
    agent.signal("TERM");
    assert_eq!(agent.ended().await, Some(0));
}

#[tokio::test]
async fn options_that_would_show_the_files_to_everybody_are_refused() {
    let workload = Workload::before("http://127.0.0.1:1");
    let directory = workload.path("s3");
    for more in [
        &["--mode", "0644"][..],
        &["--mode", "600x"],
        &["--owner", "root"],
        &["--profile", "a]\n[b"],
        &["--s3-endpoint", "http://x\nenv_auth = true"],
        &["--signal", "KILL", "--pid-file", "x"],
        &["--signal", "HUP"],
        &["--write", "json"],
    ] {
        assert_eq!(run(workload.stint(&words(&directory, more))).await.code, Some(2), "{more:?}");
    }
    assert!(!directory.exists());
}
