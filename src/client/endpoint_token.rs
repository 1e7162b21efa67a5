//! The secret between the agent and its callers: 256 random bits in a file that only the caller's user can read. Loopback
//! is shared by every user of the machine, and by every page in their browsers.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::{CryptoRng, RngExt};
use secrecy::{ExposeSecret, SecretString};

use super::private_file;

/// Random bytes of a token.
const BYTES: usize = 32;

/// The token of an endpoint.
#[derive(Debug)]
pub struct EndpointToken(SecretString);

/// The token's file; it is removed when dropped, and the directory that was made for it.
#[derive(Debug)]
pub struct TokenFileOnDisk {
    path: PathBuf,
    directory: Option<PathBuf>,
}

impl EndpointToken {
    /// A new token.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(SecretString::from(URL_SAFE_NO_PAD.encode(rng.random::<[u8; BYTES]>())))
    }

    /// Whether these bytes are the token, in a time that does not depend on where they differ.
    #[must_use]
    pub(super) fn is(&self, given: &[u8]) -> bool {
        verify_slices_are_equal(self.0.expose_secret().as_bytes(), given).is_ok()
    }

    /// Writes the token to `path` without a newline at its end: botocore, Go and Rust fail with one, and JS then asks
    /// silently without a token.
    pub fn write(&self, path: &Path, mode: u32) -> io::Result<TokenFileOnDisk> {
        private_file::write(path, self.0.expose_secret().as_bytes(), mode)?;
        Ok(TokenFileOnDisk { path: path.to_owned(), directory: None })
    }

    /// Writes the token into a directory of its own below `parent`, with an unguessable name that nobody can have taken.
    pub fn write_below(&self, parent: &Path, rng: &mut impl CryptoRng) -> io::Result<TokenFileOnDisk> {
        let directory = parent.join(format!("stint-agent-{}", hex::encode(rng.random::<[u8; 8]>())));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let mut file = self.write(&directory.join("token"), 0o600).inspect_err(|_| {
            // The fault is told; an empty directory is not.
            let _ = std::fs::remove_dir(&directory);
        })?;
        file.directory = Some(directory);
        Ok(file)
    }
}

impl TokenFileOnDisk {
    /// Where the token is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TokenFileOnDisk {
    fn drop(&mut self) {
        // A token without its endpoint opens nothing: what cannot be removed does no harm.
        let _ = std::fs::remove_file(&self.path);
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_holds_the_bare_token_for_one_user_and_goes_with_its_directory() {
        let parent = tempfile::tempdir().unwrap();
        let rng = &mut StdRng::seed_from_u64(1);
        let token = EndpointToken::generate(rng);
        let file = token.write_below(parent.path(), rng).unwrap();
        let text = std::fs::read(file.path()).unwrap();
        assert_eq!(text.len(), 43);
        assert!(token.is(&text) && !text.ends_with(b"\n"));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(file.path()), mode(file.path().parent().unwrap())), (0o600, 0o700));
        drop(file);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let rng = &mut StdRng::seed_from_u64(2);
        let (token, other) = (EndpointToken::generate(rng), EndpointToken::generate(rng));
        let text = token.0.expose_secret().to_owned();
        assert!(token.is(text.as_bytes()));
        for wrong in [&text[1..], &text[..42], "", &format!("{text}\n"), &format!("{text} ")] {
            assert!(!token.is(wrong.as_bytes()), "{wrong:?}");
        }
        assert!(!other.is(text.as_bytes()));
        assert!(!format!("{token:?}").contains(&text));
    }
}
