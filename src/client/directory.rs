//! A directory whose `current` always is one whole generation of files: a new directory is written beside it, made
//! durable, and one rename of a symbolic link puts it in place. Whatever happens before that rename, the old files stay
//! as they were; one old generation is kept for readers that have opened its directory.

use std::fs::{self, DirBuilder, Permissions as FsPermissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::forms::Content;
use super::lock::{Lock, LockFault};
use super::private_file::{create, sync_directory};

/// The link that readers go through.
const CURRENT: &str = "current";
/// The next one, before it takes that name.
const NEXT: &str = ".current";
const GENERATION: &str = "gen-";
const LOCK: &str = ".lock";
/// What group and others may do with a directory that credentials are put into: not write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Entered by whom the files belong to, and left the agent's own: its owner could put a link in place of a generation, and have
/// the files that it leads to handed over.
const ENTERED: u32 = 0o711;

/// Whom the files belong to, and who may read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// The mode of files; directories can be entered by whoever reads.
    pub mode: u32,
    /// User and group; the process's own without it.
    pub owner: Option<(u32, u32)>,
}

/// Why files cannot be written there.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryFault {
    /// Another agent writes there.
    #[error(transparent)]
    Locked(#[from] LockFault),
    /// It is not as this program leaves it.
    #[error("{0}: {1}")]
    Unusable(PathBuf, &'static str),
    /// A step failed; the files that were there are as they were.
    #[error("{what} {path}: {error}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: String,
        /// How it failed.
        error: io::Error,
    },
}

/// A locked directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    permissions: Permissions,
    /// The generation that `current` is, if there is one.
    generation: u64,
    _lock: Lock,
}

impl Permissions {
    fn directory_mode(self) -> u32 {
        // Whoever may read a file may enter its directory, and only its owner may write into it.
        (self.mode & 0o555) | 0o700 | ((self.mode & 0o444) >> 2)
    }

    fn give(self, path: &Path, mode: u32) -> io::Result<()> {
        if let Some((user, group)) = self.owner {
            lchown(path, Some(user), Some(group))?;
        }
        fs::set_permissions(path, FsPermissions::from_mode(mode))
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryFault {
    let path = path.display().to_string();
    move |error| DirectoryFault::Failed { what, path, error }
}

impl Directory {
    /// Takes the directory for this process, and makes it if it is missing.
    pub fn open(path: &Path, permissions: Permissions) -> Result<Self, DirectoryFault> {
        let unusable = |why| DirectoryFault::Unusable(path.to_owned(), why);
        if !path.exists() {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            if let Some(parent) = parent {
                fs::create_dir_all(parent).map_err(failed("making", parent))?;
            }
            DirBuilder::new().mode(0o700).create(path).map_err(failed("making", path))?;
            let entered = if permissions.owner.is_some() { ENTERED } else { permissions.directory_mode() };
            fs::set_permissions(path, FsPermissions::from_mode(entered)).map_err(failed("opening", path))?;
        }
        let found = fs::metadata(path).map_err(failed("reading", path))?;
        if !found.is_dir() {
            return Err(unusable("is no directory"));
        }
        if found.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(unusable("can be written by others, who could put their own files in place: chmod go-w"));
        }
        if ![0, geteuid().as_raw()].contains(&found.uid()) {
            return Err(unusable("is another user's, who could put links in place of its files"));
        }
        let lock = Lock::take(&path.join(LOCK))?;
        let generation = match fs::symlink_metadata(path.join(CURRENT)) {
            Ok(link) if !link.is_symlink() => {
                return Err(unusable(
                    "holds a `current` that is no symbolic link: it is somebody else's, move it away",
                ));
            }
            Ok(_) => fs::read_link(path.join(CURRENT)).ok().and_then(|target| number(&target)).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed("reading", &path.join(CURRENT))(error)),
        };
        let newest = generations(path).into_iter().max().unwrap_or(0);
        let directory = Self { path: path.to_owned(), permissions, generation, _lock: lock };
        // A writer that was killed left a generation that nobody was shown.
        directory.clean(generation);
        Ok(Self { generation: generation.max(newest), ..directory })
    }

    /// Where readers find the files.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.path.join(CURRENT)
    }

    /// Puts these files in place of those that are there, all at once.
    pub(super) fn replace(&mut self, files: &[Content]) -> Result<(), DirectoryFault> {
        let shown = fs::read_link(self.current()).ok().and_then(|target| number(&target));
        let next = self.generation.saturating_add(1);
        let made = self.path.join(format!("{GENERATION}{next}"));
        let placed = self.write(&made, files).and_then(|()| self.show(next));
        if placed.is_err() {
            // Nobody was shown it; on a full disk its space is what is missing.
            let _ = fs::remove_dir_all(&made);
            return placed;
        }
        self.generation = next;
        self.clean(shown.unwrap_or(next));
        Ok(())
    }

    fn write(&self, made: &Path, files: &[Content]) -> Result<(), DirectoryFault> {
        DirBuilder::new().mode(0o700).create(made).map_err(failed("making", made))?;
        for (name, content) in files {
            let file = made.join(name);
            create(&file, content.as_bytes(), 0o600).map_err(failed("writing", &file))?;
            self.permissions.give(&file, self.permissions.mode).map_err(failed("handing over", &file))?;
        }
        self.permissions.give(made, self.permissions.directory_mode()).map_err(failed("handing over", made))?;
        sync_directory(made).map_err(failed("making durable", made))
    }

    fn show(&self, generation: u64) -> Result<(), DirectoryFault> {
        let (next, current) = (self.path.join(NEXT), self.current());
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("removing", &next)(error)),
            Ok(()) | Err(_) => {}
        }
        symlink(format!("{GENERATION}{generation}"), &next).map_err(failed("linking", &next))?;
        fs::rename(&next, &current).map_err(failed("replacing", &current))?;
        // The swap is done: that it may be undone by a power cut is no reason to call it undone.
        if let Err(error) = sync_directory(&self.path) {
            tracing::warn!(%error, "the new files are in place, but not yet durable");
        }
        Ok(())
    }

    /// Removes all generations but the newest shown one and this one.
    fn clean(&self, kept: u64) {
        for old in generations(&self.path) {
            if old != kept && old != self.generation {
                let _ = fs::remove_dir_all(self.path.join(format!("{GENERATION}{old}")));
            }
        }
    }
}

fn number(name: &Path) -> Option<u64> {
    name.to_str()?.strip_prefix(GENERATION)?.parse().ok()
}

fn generations(path: &Path) -> Vec<u64> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| number(Path::new(&entry.file_name()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    const PRIVATE: Permissions = Permissions { mode: 0o600, owner: None };

    fn files(text: &str) -> Vec<Content> {
        let file = |name| (name, Zeroizing::new(format!("{text} {name}")));
        vec![file("access-key"), file("secret-key")]
    }

    fn shown(path: &Path) -> (String, String) {
        let read = |name| fs::read_to_string(path.join(CURRENT).join(name)).unwrap();
        (read("access-key"), read("secret-key"))
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn files_appear_all_at_once_and_one_old_generation_is_kept() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("a/b");
        let mut directory = Directory::open(&path, PRIVATE).unwrap();
        assert_eq!(names(&path), [".lock"]);
        for text in ["first", "second", "third"] {
            directory.replace(&files(text)).unwrap();
            assert_eq!(shown(&path), (format!("{text} access-key"), format!("{text} secret-key")));
        }
        assert_eq!(names(&path), [".lock", "current", "gen-2", "gen-3"]);
        assert_eq!(
            (mode(&path), mode(&path.join("gen-3")), mode(&path.join("current/access-key"))),
            (0o700, 0o700, 0o600)
        );
    }

    #[test]
    fn a_reader_of_the_generation_before_can_finish() {
        let top = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(top.path(), PRIVATE).unwrap();
        directory.replace(&files("first")).unwrap();
        let opened = fs::canonicalize(directory.current()).unwrap();
        directory.replace(&files("second")).unwrap();
        assert_eq!(fs::read_to_string(opened.join("secret-key")).unwrap(), "first secret-key");
    }

    #[test]
    fn a_group_that_may_read_may_enter() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("shared");
        let mut directory = Directory::open(&path, Permissions { mode: 0o640, owner: None }).unwrap();
        directory.replace(&files("x")).unwrap();
        assert_eq!(
            (mode(&path), mode(&path.join("gen-1")), mode(&path.join("current/access-key"))),
            (0o750, 0o750, 0o640)
        );
    }

    #[test]
    fn a_second_agent_is_refused_until_the_first_ends() {
        let top = tempfile::tempdir().unwrap();
        let first = Directory::open(top.path(), PRIVATE).unwrap();
        let refused = Directory::open(top.path(), PRIVATE);
        assert!(matches!(refused, Err(DirectoryFault::Locked(LockFault::Held(_)))), "{refused:?}");
        drop(first);
        Directory::open(top.path(), PRIVATE).unwrap();
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_files_whole_and_nothing_else() {
        let top = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(top.path(), PRIVATE).unwrap();
        directory.replace(&files("old")).unwrap();
        // The second file's name cannot be made, after the first was written.
        let broken = [files("new").remove(0), ("no/such/directory", Zeroizing::new("x".to_owned()))];
        assert!(matches!(directory.replace(&broken), Err(DirectoryFault::Failed { .. })));
        assert_eq!(shown(top.path()), ("old access-key".to_owned(), "old secret-key".to_owned()));
        assert_eq!(names(top.path()), [".lock", "current", "gen-1"]);
        directory.replace(&files("new")).unwrap();
        assert_eq!(shown(top.path()).0, "new access-key");
    }

    #[test]
    fn what_a_killed_writer_left_is_cleaned_and_its_number_not_used_again() {
        let top = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(top.path(), PRIVATE).unwrap();
        directory.replace(&files("old")).unwrap();
        drop(directory);
        fs::create_dir(top.path().join("gen-7")).unwrap();
        fs::write(top.path().join("gen-7/access-key"), "half").unwrap();
        symlink("gen-7", top.path().join(NEXT)).unwrap();
        let mut directory = Directory::open(top.path(), PRIVATE).unwrap();
        assert_eq!(shown(top.path()).0, "old access-key");
        directory.replace(&files("new")).unwrap();
        assert_eq!(shown(top.path()).0, "new access-key");
        assert_eq!(names(top.path()), [".lock", "current", "gen-1", "gen-8"]);
    }

    #[test]
    fn a_place_of_somebody_else_is_not_taken_over() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join(CURRENT)).unwrap();
        assert!(matches!(Directory::open(top.path(), PRIVATE), Err(DirectoryFault::Unusable(..))));
        let open = top.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, FsPermissions::from_mode(0o777)).unwrap();
        assert!(matches!(Directory::open(&open, PRIVATE), Err(DirectoryFault::Unusable(..))));
        fs::write(top.path().join("file"), "").unwrap();
        assert!(matches!(Directory::open(&top.path().join("file"), PRIVATE), Err(DirectoryFault::Unusable(..))));
    }
}
