//! Temporary credentials: secrets from the first byte parsed to the last byte answered.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;

/// What the object server minted. No `Clone`, no `Serialize`, a redacted `Debug`, zeroized on drop.
#[derive(Debug)]
pub struct TemporaryCredentials {
    /// The access key id.
    pub access_key_id: AccessKeyId,
    /// The secret access key.
    pub secret_access_key: SecretString,
    /// The session token.
    pub session_token: SecretString,
    /// The real end, as the server said it.
    pub expiration: OffsetDateTime,
}

/// An access key id: not a secret by AWS's book, but on an unpatched MinIO an id alone lets someone write
/// (CVE-2026-40344), so it is treated as one.
pub struct AccessKeyId(SecretString);

impl AccessKeyId {
    /// Accepts 1 to 128 characters of visible ASCII.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let clean = id.bytes().all(|b| b.is_ascii_graphic());
        ((1..=128).contains(&id.len()) && clean).then(|| Self(SecretString::from(id)))
    }

    /// The id.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKeyId([redacted])")
    }
}
