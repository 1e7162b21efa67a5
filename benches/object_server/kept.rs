//! What a MinIO keeps of the temporary credentials it has minted: on disk, and in memory.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::harness::Minio;
use crate::load::resident;

/// Below `.minio.sys/config/iam/sts`.
pub(super) struct Kept {
    /// One directory each.
    pub(super) sessions: usize,
    pub(super) files: u64,
    /// Written in them.
    pub(super) bytes: u64,
    /// Taken on the disk, directories included.
    pub(super) on_disk: u64,
}

impl Kept {
    pub(super) fn by(minio: &Minio) -> Self {
        let mut kept = Self { sessions: minio.minted(), files: 0, bytes: 0, on_disk: 0 };
        kept.walk(&minio.sessions());
        kept
    }

    fn walk(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            self.on_disk += metadata.blocks() * 512;
            if metadata.is_dir() {
                self.walk(&entry.path());
            } else {
                self.files += 1;
                self.bytes += metadata.len();
            }
        }
    }
}

/// Resident memory of the server, in megabytes. It is found by its address, for a shell stands between it and us.
pub(super) fn resident_mb(minio: &Minio) -> f64 {
    let address = minio.endpoint().replace("http://", "");
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    let pid = pids.find(|pid| {
        let is_minio = fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("minio"));
        is_minio && fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&address))
    });
    resident::megabytes(pid.expect("MinIO runs"))
}
