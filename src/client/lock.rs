//! A lock between processes (`flock`): it ends with its holder, however that ends, so none is ever left over.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How often a lock that somebody holds is tried again.
const BETWEEN: Duration = Duration::from_millis(20);

/// A held lock; dropping it lets the next one in.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockFault {
    /// Another process holds it.
    #[error("another process holds {0}")]
    Held(String),
    /// The lock's file cannot be used.
    #[error("the lock {0}: {1}")]
    Unusable(String, io::Error),
}

impl Lock {
    /// Takes the lock of this file, which is made if it is missing, or says that it is held.
    pub fn take(path: &Path) -> Result<Self, LockFault> {
        let shown = || path.display().to_string();
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        let file = file.map_err(|error| LockFault::Unusable(shown(), error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LockFault::Held(shown())),
            Err(TryLockError::Error(error)) => Err(LockFault::Unusable(shown(), error)),
        }
    }

    /// The same, waiting on this thread for as long as it takes: for a command that a person started, and can end.
    pub(super) fn wait_here(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        file.lock()?;
        Ok(Self(file))
    }

    /// The same, waiting so long for whoever holds it.
    pub(super) async fn wait(path: &Path, patience: Duration) -> Result<Self, LockFault> {
        let taken = async {
            loop {
                match Self::take(path) {
                    Err(LockFault::Held(_)) => sleep(BETWEEN).await,
                    outcome => return outcome,
                }
            }
        };
        timeout(patience, taken).await.unwrap_or_else(|_| Err(LockFault::Held(path.display().to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_lock_is_refused_and_a_free_one_is_taken_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = Lock::take(&path).unwrap();
        assert!(matches!(Lock::take(&path), Err(LockFault::Held(_))));
        assert!(matches!(Lock::wait(&path, Duration::from_millis(1)).await, Err(LockFault::Held(_))));
        drop(held);
        assert!(Lock::take(&path).is_ok());
        assert!(matches!(Lock::take(&directory.path().join("no/lock")), Err(LockFault::Unusable(..))));
    }
}
