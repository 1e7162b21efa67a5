//! The private file of a login, in the user's state directory: mode 600 in a directory of mode 700. One that others could read
//! or have written is refused, not repaired: what is in it may be known, or be somebody else's login.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use zeroize::Zeroizing;

use super::fault::LoginFault;
use super::session::Session;
use crate::client::lock::Lock;
use crate::client::private_file;

/// Largest file: three tokens fit several times.
const MOST_BYTES: u64 = 256 * 1024;

/// Where a login is kept.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

/// The same, held by this process alone.
#[derive(Debug)]
pub struct Locked {
    store: Store,
    _lock: Lock,
}

impl Store {
    /// In this directory, which is made when it is needed.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self(directory.join("login.json"))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Waits until no other process reads, renews or ends the login: two that renew at once would each take the other's
    /// refresh token for stolen, where the provider gives a new one each time.
    pub fn lock(self) -> Result<Locked, LoginFault> {
        let path = self.lock_file()?;
        let lock = Lock::wait_here(&path).map_err(|error| fault(&path, error.to_string()))?;
        Ok(Locked { store: self, _lock: lock })
    }

    /// The same, for what runs beside programs: a process that was stopped while it held the lock must not stop them too.
    pub(in crate::client) async fn lock_within(self, patience: Duration) -> Result<Locked, LoginFault> {
        let path = self.lock_file()?;
        let lock = Lock::wait(&path, patience).await.map_err(|error| fault(&path, error.to_string()))?;
        Ok(Locked { store: self, _lock: lock })
    }

    fn lock_file(&self) -> Result<PathBuf, LoginFault> {
        let directory = self.directory();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| fault(directory, error.to_string()))?;
        is_private(directory)?;
        Ok(self.0.with_extension("lock"))
    }

    fn directory(&self) -> &Path {
        self.0.parent().unwrap_or(Path::new("."))
    }

    /// The login, if there is one, without the lock: it is replaced whole.
    pub fn read(&self) -> Result<Option<Session>, LoginFault> {
        let path = &self.0;
        let failed = |error: io::Error| fault(path, error.to_string());
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(failed)?,
        };
        is_private(self.directory())?;
        if !found.is_file() {
            return Err(fault(path, "is no regular file".to_owned()));
        }
        let file = File::open(path).map_err(failed)?;
        // Of the opened file: the name could be another's by now.
        let opened = file.metadata().map_err(failed)?;
        if opened.uid() != geteuid().as_raw() {
            return Err(fault(path, "is another user's".to_owned()));
        }
        if opened.mode() & 0o077 != 0 {
            return Err(fault(path, "others may read or write it; log out and in again".to_owned()));
        }
        let mut text = Zeroizing::new(Vec::with_capacity(8192));
        file.take(MOST_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
        let whole = u64::try_from(text.len()).is_ok_and(|length| length <= MOST_BYTES);
        let session = whole.then(|| serde_json::from_slice(&text).ok()).flatten();
        session.map(Some).ok_or_else(|| fault(path, "is no login; log out and in again".to_owned()))
    }
}

impl Locked {
    /// The login, if there is one.
    pub fn read(&self) -> Result<Option<Session>, LoginFault> {
        self.store.read()
    }

    /// Keeps a login in place of the one before.
    pub fn write(&self, session: &Session) -> Result<(), LoginFault> {
        let path = &self.store.0;
        private_file::write(path, session.text().as_bytes(), 0o600).map_err(|error| fault(path, error.to_string()))
    }

    /// Forgets the login; whether there was a file.
    pub fn remove(&self) -> Result<bool, LoginFault> {
        match fs::remove_file(&self.store.0) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(fault(&self.store.0, error.to_string())),
        }
    }
}

fn fault(path: &Path, why: String) -> LoginFault {
    LoginFault::Store { path: path.to_owned(), why }
}

/// Of this user, and nobody else may write into it: whoever may could put a login of his own there.
fn is_private(directory: &Path) -> Result<(), LoginFault> {
    let found = fs::metadata(directory).map_err(|error| fault(directory, error.to_string()))?;
    match (found.uid() == geteuid().as_raw(), found.mode() & 0o022 == 0) {
        (true, true) => Ok(()),
        (false, _) => Err(fault(directory, "is another user's".to_owned())),
        (true, false) => Err(fault(directory, "others may write into it: chmod 700".to_owned())),
    }
}
