//! The journal's directory: who may write it, the one process that has it open, and the room that is made in advance. Every
//! name in it stands, and every block of a segment is allocated, before there is an emergency: what is written then neither
//! makes a file nor grows one, so a full disk cannot stop it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::head::{HeadFile, NOFOLLOW};
use super::segment::Segment;
use super::{InstanceId, JournalError};

/// A chunk of zeros.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// Far more than an instance id.
const LONGEST_ID: u64 = 128;

/// An open directory that no other process has open.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held until the process ends, however it ends.
    _lock: File,
}

impl Directory {
    /// Makes it if it is not there, checks who may write it, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = || JournalError::io(path);
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => path.parent().map_or(Ok(()), sync)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed()(error)),
        }
        let about = fs::metadata(path).map_err(failed())?;
        let ours = about.is_dir() && about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o022 == 0;
        if !ours {
            return Err(JournalError::Exposed { path: path.to_owned() });
        }
        let lock_path = path.join("lock");
        let lock = plain().create(true).open(&lock_path).map_err(JournalError::io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(JournalError::io(&lock_path)(error)),
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The instance id; none where there is no file of it.
    pub(super) fn instance(&self) -> Result<Option<InstanceId>, JournalError> {
        let path = self.path.join("instance");
        let file = match plain().open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(JournalError::io(&path)(error)),
        };
        let mut line = String::new();
        file.take(LONGEST_ID).read_to_string(&mut line).map_err(JournalError::io(&path))?;
        InstanceId::parse(&line).map(Some).ok_or_else(|| self.unverified("the file instance holds no instance id"))
    }

    /// Makes the instance id durable: the last step of a new journal.
    pub(super) fn keep_instance(&self, instance: InstanceId) -> Result<(), JournalError> {
        self.make("instance", |file| writeln!(file, "{instance}")).map(drop)
    }

    /// The head; none where there is no file of it.
    pub(super) fn head(&self) -> Result<Option<HeadFile>, JournalError> {
        let path = self.path.join("head");
        if !path.exists() {
            return Ok(None);
        }
        let read = HeadFile::open(&path)?;
        read.map(Some).ok_or_else(|| self.unverified("the file head says nothing that was ever written to it"))
    }

    /// Makes the head of a journal without frames.
    pub(super) fn keep_head(&self) -> Result<(), JournalError> {
        self.make("head", |file| file.write_all(&HeadFile::empty())).map(drop)
    }

    /// Every segment, in order. Numbers without a gap, each once: whoever takes one out of the middle is found.
    pub(super) fn segments(&self) -> Result<Vec<Segment>, JournalError> {
        let entries = fs::read_dir(&self.path).map_err(JournalError::io(&self.path))?;
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(JournalError::io(&self.path))?.path();
            match path.extension().and_then(OsStr::to_str) {
                Some("new") => fs::remove_file(&path).map_err(JournalError::io(&path))?,
                Some(kind @ ("stream" | "merged")) => {
                    let number: Option<u64> =
                        path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse().ok());
                    let merged = kind == "merged";
                    match number.filter(|number| self.segment_path(*number, merged) == path) {
                        Some(number) => found.push((number, merged, path)),
                        None => return Err(self.unverified(&format!("{} is no segment's name", path.display()))),
                    }
                }
                Some(_) | None => {}
            }
        }
        found.sort();
        for (expected, (number, ..)) in (1_u64..).zip(&found) {
            if expected != *number {
                return Err(self.unverified(&format!("segment {expected} is missing, or there twice")));
            }
        }
        found.into_iter().map(|(number, merged, path)| Segment::open(&path, number, merged)).collect()
    }

    /// Makes a segment full of zeros, so that its blocks are allocated; on a file system that keeps what is overwritten
    /// (btrfs, ZFS) an overwrite needs new ones all the same.
    pub(super) fn reserve(&self, number: u64, room: u64) -> Result<Segment, JournalError> {
        let made = self.make(&segment_name(number, false), |file| {
            let mut left = room;
            while let Some(chunk) = ZEROS.get(..usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len())) {
                if chunk.is_empty() {
                    break;
                }
                file.write_all(chunk)?;
                left = left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            }
            Ok(())
        })?;
        Segment::open(&made, number, false)
    }

    /// Says by its name that a segment is merged.
    pub(super) fn mark_merged(&self, segment: &mut Segment) -> Result<(), JournalError> {
        let to = self.segment_path(segment.number(), true);
        fs::rename(segment.path(), &to).map_err(JournalError::io(segment.path()))?;
        segment.renamed(to);
        sync(&self.path)
    }

    pub(super) fn unverified(&self, finding: &str) -> JournalError {
        JournalError::Unverified { path: self.path.clone(), finding: finding.to_owned() }
    }

    fn segment_path(&self, number: u64, merged: bool) -> PathBuf {
        self.path.join(segment_name(number, merged))
    }

    /// Makes a file that is there whole, under its name, or not at all.
    fn make(&self, name: &str, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<PathBuf, JournalError> {
        let (aside, path) = (self.path.join(format!("{name}.new")), self.path.join(name));
        let made = plain()
            .create_new(true)
            .open(&aside)
            .and_then(|mut file| fill(&mut file).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&aside, &path));
        if let Err(error) = made {
            // Room that was taken in vain; it may not be there.
            let _ = fs::remove_file(&aside);
            return Err(JournalError::io(&path)(error));
        }
        sync(&self.path)?;
        Ok(path)
    }
}

fn segment_name(number: u64, merged: bool) -> String {
    format!("{number:06}.{}", if merged { "merged" } else { "stream" })
}

/// Files that only their owner reads and writes, and no link to others.
pub(super) fn plain() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).truncate(false).mode(0o600).custom_flags(NOFOLLOW);
    options
}

/// Makes names durable: a file whose directory was not synced can be gone after a power cut.
fn sync(directory: &Path) -> Result<(), JournalError> {
    // Of `journal`, a relative path of one part, the parent is the empty path.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory).and_then(|open| open.sync_all()).map_err(JournalError::io(directory))
}
