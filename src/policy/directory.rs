//! The policy directory as text: read once, bounded, and nothing followed out of it. A Kubernetes `ConfigMap` mount,
//! whose files are symbolic links through `..data`, is read like plain files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::compile::hash;
use super::{PolicyHash, Problem};

/// Most files of a policy directory.
pub(super) const MOST_FILES: usize = 256;
/// Most bytes of one file.
pub(super) const MOST_BYTES: usize = 64 * 1024;
/// The link that a `ConfigMap` mount swaps when its content changes.
const MOUNT_LINK: &str = "..data";

/// The files of a policy directory: relative path (`/`-separated) → content.
#[derive(Debug, Clone, Default)]
pub struct PolicyFiles(pub BTreeMap<String, Vec<u8>>);

impl PolicyFiles {
    /// Reads the directory and its direct subdirectories: at most 256 files of 64 KiB, names that begin with a dot left
    /// out, no link followed out of the directory. Every fault is named.
    pub fn read(directory: &Path) -> Result<Self, Vec<Problem>> {
        let whole = |message: String| vec![Problem::of_file(&directory.display().to_string(), message)];
        let root = fs::canonicalize(directory).map_err(|error| whole(format!("cannot be read: {error}")))?;
        let mounted = fs::read_link(root.join(MOUNT_LINK)).ok();
        let mut reading = Reading { root: root.clone(), files: BTreeMap::new(), problems: Vec::new() };
        reading.directory(&root, "");
        // A half-old, half-new directory was never reviewed by anyone.
        if fs::read_link(root.join(MOUNT_LINK)).ok() != mounted {
            reading.problems.extend(whole("changed while it was read: read it again".to_owned()));
        }
        if reading.problems.is_empty() { Ok(Self(reading.files)) } else { Err(reading.problems) }
    }

    /// The hash of a set with exactly these files, whether or not they compile.
    #[must_use]
    pub fn hash(&self) -> PolicyHash {
        hash(self)
    }
}

struct Reading {
    root: PathBuf,
    files: BTreeMap<String, Vec<u8>>,
    problems: Vec<Problem>,
}

impl Reading {
    fn directory(&mut self, path: &Path, prefix: &str) {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.problem(prefix, format!("cannot be read: {error}")),
        };
        for entry in entries {
            if self.files.len() + self.problems.len() > MOST_FILES {
                return;
            }
            match entry.map(|entry| entry.file_name().into_string()) {
                Ok(Ok(name)) if name.starts_with('.') => {}
                Ok(Ok(name)) => self.entry(&path.join(&name), &format!("{prefix}{name}"), prefix.is_empty()),
                Ok(Err(name)) => self.problem(prefix, format!("a file's name is not UTF-8: {}", name.display())),
                Err(error) => self.problem(prefix, format!("cannot be listed: {error}")),
            }
        }
    }

    fn entry(&mut self, path: &Path, name: &str, at_top: bool) {
        let found = fs::canonicalize(path).and_then(|real| fs::metadata(&real).map(|about| (real, about)));
        match found {
            Err(error) => self.problem(name, format!("cannot be read: {error}")),
            Ok((real, _)) if !real.starts_with(&self.root) => {
                self.problem(name, "is a link out of the policy directory: copy the file".to_owned());
            }
            Ok((real, about)) if about.is_dir() && at_top => self.directory(&real, &format!("{name}/")),
            Ok((_, about)) if about.is_dir() => {
                self.problem(name, "is a directory: documents and roles have none inside".to_owned());
            }
            // A pipe or a device could block or never end.
            Ok((_, about)) if !about.is_file() => self.problem(name, "is not a plain file".to_owned()),
            Ok((real, _)) => match read_bounded(&real) {
                Ok(Some(content)) if self.files.len() < MOST_FILES => drop(self.files.insert(name.to_owned(), content)),
                Ok(Some(_)) => self.problem(name, format!("is one file too many: a policy directory has {MOST_FILES}")),
                Ok(None) => self.problem(name, format!("is longer than {MOST_BYTES} bytes")),
                Err(error) => self.problem(name, format!("cannot be read: {error}")),
            },
        }
    }

    fn problem(&mut self, file: &str, message: String) {
        self.problems.push(Problem::of_file(file, message));
    }
}

/// The content, or `None` if it is too long.
fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let bound = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    let mut content = Vec::new();
    fs::File::open(path)?.take(bound + 1).read_to_end(&mut content)?;
    Ok((content.len() <= MOST_BYTES).then_some(content))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("documents")).unwrap();
        fs::write(directory.path().join("documents/a.json"), "{}").unwrap();
        directory
    }

    fn problem(directory: &tempfile::TempDir) -> String {
        PolicyFiles::read(directory.path()).unwrap_err().remove(0).to_string()
    }

    #[test]
    fn plain_files_are_read_and_dot_files_left_out() {
        let directory = directory();
        fs::write(directory.path().join(".git"), "x").unwrap();
        fs::write(directory.path().join("operators.toml"), "").unwrap();
        let files = PolicyFiles::read(directory.path()).unwrap();
        assert_eq!(files.0.keys().collect::<Vec<_>>(), ["documents/a.json", "operators.toml"]);
    }

    #[test]
    fn a_config_map_mount_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("..2026_01/documents")).unwrap();
        fs::write(path("..2026_01/documents/a.json"), "{}").unwrap();
        fs::write(path("..2026_01/buckets.toml"), "").unwrap();
        symlink("..2026_01", path("..data")).unwrap();
        symlink("..data/documents", path("documents")).unwrap();
        symlink("..data/buckets.toml", path("buckets.toml")).unwrap();
        let files = PolicyFiles::read(directory.path()).unwrap();
        assert_eq!(files.0.keys().collect::<Vec<_>>(), ["buckets.toml", "documents/a.json"]);
    }

    #[test]
    fn a_link_out_of_the_directory_is_refused() {
        let (directory, outside) = (directory(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), "x").unwrap();
        symlink(outside.path().join("secret"), directory.path().join("documents/b.json")).unwrap();
        assert!(problem(&directory).contains("link out of the policy directory"));
    }

    #[test]
    fn a_dangling_or_circular_link_is_refused() {
        let dangling = directory();
        symlink("nowhere", dangling.path().join("documents/b.json")).unwrap();
        assert!(problem(&dangling).contains("cannot be read"));
        let circular = directory();
        symlink("../documents", circular.path().join("documents/again")).unwrap();
        assert!(problem(&circular).contains("is a directory"));
    }

    #[test]
    fn size_and_number_are_bounded() {
        let long = directory();
        fs::write(long.path().join("documents/b.json"), vec![b' '; MOST_BYTES]).unwrap();
        assert!(PolicyFiles::read(long.path()).is_ok());
        fs::write(long.path().join("documents/b.json"), vec![b' '; MOST_BYTES + 1]).unwrap();
        assert!(problem(&long).contains("longer than"));
        let many = directory();
        for i in 0..MOST_FILES {
            fs::write(many.path().join(format!("documents/{i}.json")), "{}").unwrap();
        }
        assert!(problem(&many).contains("too many"));
    }

    #[test]
    fn a_missing_directory_is_refused() {
        let gone = directory().path().join("gone");
        assert!(PolicyFiles::read(&gone).unwrap_err()[0].message.contains("cannot be read"));
    }

    #[test]
    fn a_socket_is_refused() {
        let directory = directory();
        let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("operators.toml")).unwrap();
        assert!(problem(&directory).contains("not a plain file"));
    }
}
