//! JSON Web Keys (RFC 7517) narrowed to what may verify RS256. One bad key never spoils the set.

use std::fmt;

/// A `kid`: 1 to 256 bytes, used only as an exact map key. Printed escaped.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// Accepts 1 to 256 bytes.
    #[must_use]
    pub fn parse(kid: &str) -> Option<Self> {
        (1..=256).contains(&kid.len()).then(|| Self(kid.to_owned()))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({:?})", self.0)
    }
}

/// One RSA public key that passed every eligibility rule.
#[derive(Debug, Clone)]
pub struct VerificationKey {}

/// The eligible keys of one JWKS document.
#[derive(Debug, Clone, Default)]
pub struct KeySet {}

/// Why a JWKS document as a whole is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not a JSON object with a `keys` array.
    #[error("not a JSON object")]
    Malformed,
}

impl KeySet {
    /// Reads a JWKS document.
    pub fn parse(_document: &[u8]) -> Result<Self, KeySetError> {
        todo!()
    }
}
