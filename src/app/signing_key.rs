//! The instance's signing key, from the file that `audit.signing_key_file` names: read once, at start.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::audit::{KeyError, SigningKey};

/// Far more than a key in PEM with whatever people write around it.
const LARGEST: u64 = 16 * 1024;

/// A signing key file that passed every check. Not printable.
pub struct SigningKeyFile(Zeroizing<Vec<u8>>);

/// A signing key that cannot be used. The file's content is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// Not there, or not readable.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Everybody on the machine can read it, and so sign whatever they like, or the group can replace it.
    #[error(
        "{}: others than its owner and group can read it, or others than its owner can write it: chmod 600 (or 640)",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// Not a key.
    #[error("{} {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
}

impl SigningKeyFile {
    /// Reads and checks the file. Its group may read it: that is how a secret is mounted for a service that does not run
    /// as its owner.
    pub fn read(path: &Path) -> Result<Self, SigningKeyError> {
        let unreadable = |source| SigningKeyError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        if mode & 0o027 != 0 {
            return Err(SigningKeyError::Exposed { path: path.to_owned() });
        }
        let mut pem = Zeroizing::new(Vec::new());
        file.take(LARGEST).read_to_end(&mut pem).map_err(unreadable)?;
        let key = SigningKey::from_pem(&pem);
        key.map_err(|source| SigningKeyError::Malformed { path: path.to_owned(), source })?;
        Ok(Self(pem))
    }

    /// The key: one for each who signs, for a key is never copied.
    pub fn key(&self) -> Result<SigningKey, KeyError> {
        SigningKey::from_pem(&self.0)
    }
}

impl std::fmt::Debug for SigningKeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKeyFile([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIO4yn+A53sCFyv6/JDtYlljAza5CsOePpTDv34cO5VBm\n-----END PRIVATE KEY-----\n";

    fn file(content: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.pem");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    #[test]
    fn a_key_that_only_its_owner_and_group_can_read_is_used() {
        for mode in [0o600, 0o400, 0o640, 0o440] {
            let (_kept, path) = file(PRIVATE, mode);
            assert!(SigningKeyFile::read(&path).unwrap().key().is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_or_the_group_can_replace_is_refused() {
        for mode in [0o644, 0o604, 0o660, 0o602] {
            let (_kept, path) = file(PRIVATE, mode);
            assert!(matches!(SigningKeyFile::read(&path), Err(SigningKeyError::Exposed { .. })), "{mode:o}");
        }
    }

    #[test]
    fn what_is_no_key_or_not_there_is_an_error_that_names_the_file_and_not_its_content() {
        let (_kept, path) = file("planted-secret", 0o600);
        for path in [path.clone(), path.with_extension("absent")] {
            let told = SigningKeyFile::read(&path).unwrap_err().to_string();
            assert!(told.contains(path.to_str().unwrap()) && !told.contains("planted"), "{told}");
        }
    }
}
