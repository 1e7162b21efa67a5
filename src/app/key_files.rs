//! A new parent's key in two files, which the configuration can name as they are. They are on disk before the server hears
//! of the key, so that a rotation that breaks off goes on with the same one.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::object_server::rotation::{NewKey, NoRandomness};

/// Longer than any key.
const MOST: usize = 1024;

/// Why there are no such files.
#[derive(Debug, thiserror::Error)]
pub enum KeyFilesError {
    /// The disk, or who may use it.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// One file of the two, or nothing in one: it broke off before the server heard of the key.
    #[error("{0} holds half a key, which no server has heard of: remove it and run this again")]
    Half(PathBuf),
    /// No key can be drawn.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// A directory with `access_key` and `secret_key`, mode 600.
#[derive(Debug, Clone)]
pub struct KeyFiles(PathBuf);

impl KeyFiles {
    /// Where they are, or shall be.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// `access_key`
    #[must_use]
    pub fn access_key(&self) -> PathBuf {
        self.0.join("access_key")
    }

    /// `secret_key`
    #[must_use]
    pub fn secret_key(&self) -> PathBuf {
        self.0.join("secret_key")
    }

    /// The key that is in them, if there is one.
    pub fn read(&self) -> Result<Option<NewKey>, KeyFilesError> {
        match (read(&self.access_key())?, read(&self.secret_key())?) {
            (None, None) => Ok(None),
            (Some(access_key), Some(secret_key)) => Ok(Some(NewKey { access_key, secret_key })),
            (Some(_), None) | (None, Some(_)) => Err(KeyFilesError::Half(self.0.clone())),
        }
    }

    /// The key that is in them, or a new one that is in them from now on, on disk.
    pub fn read_or_draw(&self) -> Result<NewKey, KeyFilesError> {
        if let Some(key) = self.read()? {
            return Ok(key);
        }
        let key = NewKey::draw()?;
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| KeyFilesError::Io(path, error)
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(at(&self.0))?;
        for (path, text) in [(self.secret_key(), &key.secret_key), (self.access_key(), &key.access_key)] {
            write(&path, text).map_err(at(&path))?;
        }
        File::open(&self.0).and_then(|directory| directory.sync_all()).map_err(at(&self.0))?;
        Ok(key)
    }
}

fn write(path: &Path, text: &SecretString) -> std::io::Result<()> {
    // A file that is there is never written over: it may be the key of another rotation.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.expose_secret().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn read(path: &Path) -> Result<Option<SecretString>, KeyFilesError> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() || text.len() > MOST => Err(KeyFilesError::Half(path.to_owned())),
        Ok(text) => Ok(Some(SecretString::from(text.trim()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KeyFilesError::Io(path.to_owned(), error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn files() -> (tempfile::TempDir, KeyFiles) {
        let directory = tempfile::tempdir().unwrap();
        let files = KeyFiles::new(directory.path().join("new"));
        (directory, files)
    }

    #[test]
    fn a_key_is_drawn_once_for_its_owner_alone_and_read_again_after() {
        let (_directory, files) = files();
        assert!(files.read().unwrap().is_none());
        let drawn = files.read_or_draw().unwrap();
        let again = files.read_or_draw().unwrap();
        assert_eq!(drawn.access_key.expose_secret(), again.access_key.expose_secret());
        assert_eq!(drawn.secret_key.expose_secret(), again.secret_key.expose_secret());
        for path in [files.access_key(), files.secret_key()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn half_a_key_is_refused_never_completed() {
        for half in ["access_key", "secret_key"] {
            let (_directory, files) = files();
            files.read_or_draw().unwrap();
            fs::remove_file(files.0.join(half)).unwrap();
            assert!(matches!(files.read_or_draw(), Err(KeyFilesError::Half(_))), "{half}");
            fs::write(files.0.join(half), "\n").unwrap();
            assert!(matches!(files.read_or_draw(), Err(KeyFilesError::Half(_))), "{half} is empty");
        }
    }
}
