//! A bearer token nobody has checked. It is a secret from the moment it arrives: a refused token may be valid elsewhere.

use secrecy::{ExposeSecret, SecretString};

use super::TokenDigest;

/// A token as it came in. It has no fields to misuse: only the verifier can look inside.
#[derive(Debug)]
pub struct Unverified(SecretString);

impl Unverified {
    /// Takes what a door found where the token belongs; surrounding ASCII white space is dropped (every SDK sends the
    /// token file's trailing newline). Any text is taken: judging it is the verifier's job.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(SecretString::from(text.trim_ascii()))
    }

    /// SHA-256 of the token.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(self.0.expose_secret())
    }

    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}
