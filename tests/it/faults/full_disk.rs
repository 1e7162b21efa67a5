//! A disk that is full: no page can be added to a table, or nothing to the server's own log. Exchanges are refused, and
//! come again by themselves when there is room.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use stint::demo::database::{Durability, PrivatePostgres, PrivateSettings};
use tempfile::TempDir;

use super::server::{is_gone, power_cut, processes};
use crate::harness::binary::eventually;
use crate::harness::database::server_directory;
use crate::harness::faulted::{Stage, Told};

const MOUNTED: &str = "stint-small-disk-";

/// A small file system in memory; unmounted when dropped.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// Nothing where this user may not mount: the system's words say why.
    fn mount() -> Result<Self, String> {
        unmount_what_dead_tests_left();
        let name = format!("{MOUNTED}{}", std::process::id());
        let disk = Self { directory: server_directory() };
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=144m,mode=0711", &name]).arg(disk.directory.path());
        match mount.output() {
            Ok(Output { status, .. }) if status.success() => Ok(disk),
            Ok(Output { stderr, .. }) => Err(String::from_utf8_lossy(&stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let mut ballast = File::create(&path).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while ballast.write_all(&vec![b'x'; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is just ending may still have files open.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

fn unmount_what_dead_tests_left() {
    for line in fs::read_to_string("/proc/mounts").unwrap_or_default().lines() {
        let mut words = line.split(' ');
        let (Some(name), Some(place)) = (words.next(), words.next()) else { continue };
        let owner = name.strip_prefix(MOUNTED);
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            let _ = Command::new("umount").args(["--lazy", place]).output();
            let _ = fs::remove_dir(place);
        }
    }
}

/// Exchanges until the log cannot be written, which takes a few: a page has room for several rows.
async fn until_refused(stage: &Stage, address: std::net::SocketAddr) {
    for _ in 0..500 {
        match stage.clients.exchange(address).await {
            Told::Issued { .. } => {}
            Told::ComeBack { code } => return assert_eq!(code, "log_unavailable"),
            told @ (Told::Denied { .. } | Told::Nothing | Told::Strange(_)) => panic!("{told:?}"),
        }
    }
    panic!("500 exchanges on a full disk");
}

#[tokio::test]
async fn a_table_that_cannot_grow_refuses_and_serves_again_when_there_is_room() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => {
            // Past the capture of the test runner: a check that did not run must be seen.
            let _ = writeln!(std::io::stderr(), "SKIPPED: full disk: no file system can be mounted here: {reason}");
            return;
        }
    };
    let mut settings = PrivateSettings { durability: Durability::Full, port: None };
    let mut server = PrivatePostgres::start_with(disk.path(), settings).await.unwrap();
    settings.port = Some(server.port());
    let stage = Stage::on(server.url().clone()).await;
    let (mut service, address) = stage.serve().await;
    assert!(stage.clients.exchange(address).await.lease().is_some());

    let ballast = disk.fill();
    until_refused(&stage, address).await;
    until_refused(&stage, address).await;
    fs::remove_file(ballast).unwrap();
    // Where there was no room for the server's own log either, it has ended itself.
    if processes(disk.path()).iter().all(|process| is_gone(process)) {
        power_cut(disk.path(), server).await;
        server = PrivatePostgres::start_with(disk.path(), settings).await.unwrap();
    }
    eventually("the service heals", async || stage.clients.exchange(address).await.lease().is_some()).await;

    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));
    let log = stage.audited().await;
    assert_eq!(log.streams().len(), 1);
    server.stop().await.unwrap();
}

/// From now on the process cannot write beyond the first bytes of any file.
fn limit_its_files(process: &str) {
    let Ok(about) = fs::metadata(format!("/proc/{process}")) else { return };
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--fsize=8192", "--pid", process]);
    if fs::metadata("/proc/self").unwrap().uid() != about.uid() {
        // As the user who runs the server: not even root may limit another user's process everywhere.
        prlimit.uid(about.uid()).gid(about.gid());
    }
    let limited = prlimit.output().unwrap();
    assert!(limited.status.success() || is_gone(process), "{limited:?}");
}

#[tokio::test]
async fn a_server_that_cannot_write_its_own_log_refuses_and_serves_again_after_its_restart() {
    let directory = server_directory();
    let mut settings = PrivateSettings { durability: Durability::Full, port: None };
    let server = PrivatePostgres::start_with(directory.path(), settings).await.unwrap();
    settings.port = Some(server.port());
    let stage = Stage::on(server.url().clone()).await;
    let (mut service, address) = stage.serve().await;
    assert!(stage.clients.exchange(address).await.lease().is_some());

    // As on a disk without room, for the server's own log too.
    for process in processes(directory.path()) {
        limit_its_files(&process);
    }
    until_refused(&stage, address).await;
    until_refused(&stage, address).await;
    let words = directory.path().join("server.log");
    eventually("the server says why", async || fs::read_to_string(&words).unwrap().contains("File too large")).await;
    power_cut(directory.path(), server).await;
    let server = PrivatePostgres::start_with(directory.path(), settings).await.unwrap();
    eventually("the service heals", async || stage.clients.exchange(address).await.lease().is_some()).await;

    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));
    let log = stage.audited().await;
    assert_eq!(log.streams().len(), 1);
    server.stop().await.unwrap();
}
