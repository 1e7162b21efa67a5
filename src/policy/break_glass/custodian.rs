//! Custodians: who signs for emergency credentials, by name and Ed25519 key. A key is taken only in its one spelling, and
//! only if a signature under it proves that somebody holds its private half.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};

/// What every Ed25519 `SubjectPublicKeyInfo` begins with (RFC 8410 section 4): only the 32 bytes of the key follow.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A custodian's name: 1 to 64 characters of `A-Za-z0-9._-`. It is the `kid` of their signatures.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CustodianName(String);

impl CustodianName {
    /// Accepts a name as it stands.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let clean = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        ((1..=64).contains(&name.len()) && clean).then(|| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CustodianName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no custodian's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CustodianKeyError {
    /// Not base64 of an Ed25519 `SubjectPublicKeyInfo`.
    #[error("is not an Ed25519 public key as `stint break-glass keygen` prints it: base64 of its SubjectPublicKeyInfo")]
    Malformed,
    /// Not a point of the curve, or not in the one spelling it has.
    #[error("is no point of the curve in its one spelling (RFC 8032 section 5.1.3): make a key with keygen")]
    NotAPoint,
    /// Signatures that hold for any text, or for many keys at once, can be made under it without a private key.
    #[error("has a small order, so that anybody can sign under it: make a key with keygen")]
    Weak,
}

/// A custodian's Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CustodianKey(VerifyingKey);

impl CustodianKey {
    /// Reads base64 of a `SubjectPublicKeyInfo` in DER.
    pub fn parse(text: &str) -> Result<Self, CustodianKeyError> {
        // Longer than any key: nothing is decoded that cannot be one.
        let der = if text.len() <= 128 { STANDARD.decode(text).ok() } else { None };
        let der = der.ok_or(CustodianKeyError::Malformed)?;
        let bytes = der.strip_prefix(SPKI_PREFIX.as_slice()).and_then(|bytes| bytes.try_into().ok());
        Self::from_bytes(bytes.ok_or(CustodianKeyError::Malformed)?)
    }

    /// Reads the 32 bytes of a key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, CustodianKeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| CustodianKeyError::NotAPoint)?;
        let point = key.to_edwards();
        if key.is_weak() {
            return Err(CustodianKeyError::Weak);
        }
        // Two spellings of one key would be two custodians. A point outside the prime-order group is no key anybody made.
        if point.compress().as_bytes() != bytes || !point.is_torsion_free() {
            return Err(CustodianKeyError::NotAPoint);
        }
        Ok(Self(key))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Base64 of the `SubjectPublicKeyInfo`, as `public_key` in `break-glass.toml` has it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode([SPKI_PREFIX.as_slice(), self.as_bytes()].concat())
    }

    /// Whether this key's private half signed exactly these bytes. Strict: no malleable or mixed-order signature passes.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for CustodianKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustodianKey({})", self.to_base64())
    }
}

/// One custodian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custodian {
    pub(super) name: CustodianName,
    pub(super) key: CustodianKey,
    pub(super) contact: String,
}

impl Custodian {
    /// Their name.
    #[must_use]
    pub fn name(&self) -> &CustodianName {
        &self.name
    }

    /// Their key.
    #[must_use]
    pub fn key(&self) -> &CustodianKey {
        &self.key
    }

    /// How to reach them: shown to whoever must. Without control characters.
    #[must_use]
    pub fn contact(&self) -> &str {
        &self.contact
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    /// Every encoding of a point of small order, the non-canonical ones too.
    const SMALL: [&str; 10] = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];

    fn honest() -> VerifyingKey {
        SigningKey::from_bytes(&[7; 32]).verifying_key()
    }

    #[test]
    fn a_key_survives_its_spelling() {
        let key = CustodianKey::from_bytes(honest().as_bytes()).unwrap();
        assert_eq!(CustodianKey::parse(&key.to_base64()), Ok(key));
        assert!(key.to_base64().starts_with("MCowBQYDK2VwAyEA"));
    }

    #[test]
    fn a_key_of_small_order_is_refused_in_every_spelling() {
        for hex in SMALL {
            let bytes: [u8; 32] = hex::decode(hex).unwrap().try_into().unwrap();
            assert!(CustodianKey::from_bytes(&bytes).is_err(), "{hex}");
        }
        let first: [u8; 32] = hex::decode(SMALL[0]).unwrap().try_into().unwrap();
        assert_eq!(CustodianKey::from_bytes(&first), Err(CustodianKeyError::Weak));
    }

    #[test]
    fn a_point_off_the_curve_or_outside_the_prime_order_group_is_refused() {
        // About half of all bytes are no point; the first that is none stands for them.
        let off = (2..=255).map(|byte| [byte; 32]).find(|bytes| VerifyingKey::from_bytes(bytes).is_err()).unwrap();
        assert_eq!(CustodianKey::from_bytes(&off), Err(CustodianKeyError::NotAPoint));
        let small: [u8; 32] = hex::decode(SMALL[4]).unwrap().try_into().unwrap();
        let small = VerifyingKey::from_bytes(&small).unwrap().to_edwards();
        let mixed = (honest().to_edwards() + small).compress().to_bytes();
        assert_eq!(CustodianKey::from_bytes(&mixed), Err(CustodianKeyError::NotAPoint));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let whole = CustodianKey::from_bytes(honest().as_bytes()).unwrap().to_base64();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{whole}\n-----END PUBLIC KEY-----");
        let short = STANDARD.encode([SPKI_PREFIX.as_slice(), &[1; 31]].concat());
        // X25519's object identifier differs in one byte.
        let mut other = STANDARD.decode(&whole).unwrap();
        other[8] = 0x6e;
        for text in ["", "alice", &pem, &short, &STANDARD.encode(other), &format!("{whole}\n"), &"A".repeat(100_000)] {
            assert_eq!(CustodianKey::parse(text), Err(CustodianKeyError::Malformed), "{text:.80}");
        }
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for name in ["alice", "a.b_c-D9", &"x".repeat(64)] {
            assert!(CustodianName::parse(name).is_some(), "{name}");
        }
        for name in ["", "a b", "a@b", "ä", "a\u{1b}", &"x".repeat(65)] {
            assert!(CustodianName::parse(name).is_none(), "{name}");
        }
    }
}
