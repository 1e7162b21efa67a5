//! The instance's signing key: Ed25519 (RFC 8032), PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it. It
//! signs seals and checkpoints, nothing else. The private half is never shown; the public halves stay in the database,
//! and an auditor should hold copies of their own.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use super::merkle::Digest;

/// What every Ed25519 `SubjectPublicKeyInfo` begins with (RFC 8410 section 4): only the 32 bytes of the key follow.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Names a key: SHA-256 of its `SubjectPublicKeyInfo` in DER, so that
/// `openssl pkey -pubin -in key.pem -outform DER | sha256sum` shows it.
pub type KeyId = Digest;

/// A key file that cannot be used. The file's content is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM, or not the expected kind of it.
    #[error("is not an Ed25519 private key in PKCS#8 PEM: make one with `openssl genpkey -algorithm ed25519`")]
    Private,
    /// Not an Ed25519 public key in PEM.
    #[error("is not an Ed25519 public key in PEM: `openssl pkey -in key.pem -pubout` writes it")]
    Public,
    /// The system has no randomness.
    #[error("the system's random source failed")]
    Randomness,
}

/// The private half. Not `Clone`, not printable.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

impl SigningKey {
    /// Reads PKCS#8 (version 1 or 2) in PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::Private)?;
        Self::of(Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| KeyError::Private)?)
    }

    /// A key that lives as long as this process: its seals can be checked, but nobody can know the key beforehand.
    pub fn generate() -> Result<Self, KeyError> {
        Self::of(Ed25519KeyPair::generate().map_err(|_| KeyError::Randomness)?)
    }

    fn of(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| KeyError::Private)?;
        let public = VerifyingKey::from_spki(der.as_ref()).ok_or(KeyError::Private)?;
        Ok(Self { pair, public })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs a statement.
    #[must_use]
    pub fn sign(&self, statement: &[u8]) -> Signature {
        Signature(self.pair.sign(statement).as_ref().try_into().unwrap_or([0; 64]))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.public.id()).finish_non_exhaustive()
    }
}

/// The public half.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// Reads a `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        der.strip_prefix(SPKI_PREFIX.as_slice())?.try_into().ok().map(Self)
    }

    /// Reads `-----BEGIN PUBLIC KEY-----`.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyError::Public)?;
        Self::from_spki(&der).ok_or(KeyError::Public)
    }

    /// `-----BEGIN PUBLIC KEY-----`, with a newline at its end.
    #[must_use]
    pub fn to_pem(&self) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(self.to_spki()))
    }

    /// The `SubjectPublicKeyInfo` in DER, 44 bytes.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), self.0.as_slice()].concat()
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        Digest::of(&self.to_spki())
    }

    /// Whether this key's private half signed the statement.
    #[must_use]
    pub fn verifies(&self, statement: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(statement, &signature.0).is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.id())
    }
}

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Reads exactly 64 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 64 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// 128 lower-case hex digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `openssl genpkey -algorithm ed25519`, for this test only.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIO4yn+A53sCFyv6/JDtYlljAza5CsOePpTDv34cO5VBm\n-----END PRIVATE KEY-----\n";

    #[test]
    fn a_key_written_by_openssl_is_read_and_signs() {
        let key = SigningKey::from_pem(PRIVATE.as_bytes()).unwrap();
        let signature = key.sign(b"statement");
        assert!(key.public().verifies(b"statement", &signature));
        assert!(!key.public().verifies(b"Statement", &signature));
        assert!(!SigningKey::generate().unwrap().public().verifies(b"statement", &signature));
    }

    #[test]
    fn a_public_key_survives_its_pem_and_is_named_by_its_der() {
        let key = *SigningKey::from_pem(PRIVATE.as_bytes()).unwrap().public();
        assert_eq!(VerifyingKey::from_pem(key.to_pem().as_bytes()).unwrap(), key);
        assert_eq!(key.id(), Digest::of(&key.to_spki()));
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_repeated() {
        for pem in ["", "planted-secret", "-----BEGIN PRIVATE KEY-----\nplanted\n-----END PRIVATE KEY-----\n"] {
            let error = SigningKey::from_pem(pem.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("planted"));
        }
        let public = SigningKey::generate().unwrap().public().to_pem();
        assert_eq!(SigningKey::from_pem(public.as_bytes()).unwrap_err(), KeyError::Private);
        assert_eq!(VerifyingKey::from_pem(PRIVATE.as_bytes()).unwrap_err(), KeyError::Public);
    }

    #[test]
    fn a_printed_key_shows_its_name_only() {
        let key = SigningKey::from_pem(PRIVATE.as_bytes()).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey {{ id: {}, .. }}", key.public().id()));
    }
}
