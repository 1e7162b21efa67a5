//! Whom the answer is sealed for: an X25519 key pair of one request. The public half stands in the signed document; the
//! private half stays with whoever asked, in a file of its own.

use std::fmt;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pkcs8::SecretDocument;
use pkcs8::der::pem::LineEnding;
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::CeremonyError;

/// What an X25519 key begins with in PKCS#8 (RFC 8410): only its 32 bytes follow.
const SECRET_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20];
const LABEL: &str = "PRIVATE KEY";
/// Far more than a key in PEM.
const LARGEST: usize = 16 * 1024;

/// 2^255 − 19, little-endian: what is not below it is a second spelling of another key.
const PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    let [first, .., last] = &mut prime;
    (*first, *last) = (0xed, 0x7f);
    prime
};
/// The points of small order that are below the prime (RFC 7748 section 6.1): whatever the other side's key, the secret that
/// is agreed with one of these is zero, and everybody can open the answer.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        let [first, ..] = &mut one;
        *first = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    {
        let mut last_below = PRIME;
        let [first, ..] = &mut last_below;
        *first = 0xec;
        last_below
    },
];

/// An X25519 public key that a secret can be agreed with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecipientKey([u8; 32]);

impl RecipientKey {
    /// Reads base64url without padding, 43 characters.
    pub fn parse(text: &str) -> Result<Self, CeremonyError> {
        let bytes = if text.len() == 43 { URL_SAFE_NO_PAD.decode(text).ok() } else { None };
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(CeremonyError::RecipientInvalid)?;
        Self::from_bytes(bytes)
    }

    /// Accepts 32 bytes that are a key in its one spelling, and not of small order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, CeremonyError> {
        let below = bytes.iter().rev().lt(PRIME.iter().rev());
        if below && !SMALL_ORDER.contains(&bytes) { Ok(Self(bytes)) } else { Err(CeremonyError::RecipientInvalid) }
    }

    /// Base64url without padding.
    #[must_use]
    pub fn to_base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The 32 bytes.
    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecipientKey({})", self.to_base64url())
    }
}

/// The private half. Not `Clone`, not printable, zeroized when dropped.
pub struct RecipientSecret {
    bytes: Zeroizing<[u8; 32]>,
    public: RecipientKey,
}

impl RecipientSecret {
    /// A new key pair.
    pub fn generate(rng: &mut impl CryptoRng) -> Result<Self, CeremonyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self::of(bytes).ok_or(CeremonyError::Randomness)
    }

    /// Reads the file that [`RecipientSecret::to_pem`] made.
    pub fn from_pem(pem: &str) -> Result<Self, CeremonyError> {
        let malformed =
            CeremonyError::KeyMalformed("the recipient key that `stint break-glass request` wrote is wanted");
        if pem.len() > LARGEST {
            return Err(malformed);
        }
        let document = SecretDocument::from_pem(pem).ok().filter(|(label, _)| *label == LABEL);
        let Some((_, der)) = document else { return Err(malformed) };
        let bytes = der.as_bytes().strip_prefix(SECRET_PREFIX.as_slice()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Zeroizing::new).and_then(Self::of).ok_or(malformed)
    }

    /// PKCS#8 in PEM, in clear: the file lives as long as the request, in a directory of whoever asked.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, CeremonyError> {
        let document = SecretDocument::try_from(self.to_pkcs8().as_slice()).ok();
        let pem = document.and_then(|document| document.to_pem(LABEL, LineEnding::LF).ok());
        pem.ok_or(CeremonyError::KeyMalformed("it could not be written"))
    }

    /// The public half: what stands in the request.
    #[must_use]
    pub fn public(&self) -> RecipientKey {
        self.public
    }

    pub(super) fn to_private_key(&self) -> Option<PrivateKey> {
        PrivateKey::from_private_key(&X25519, self.bytes.as_slice()).ok()
    }

    #[cfg(test)]
    pub(super) fn secret_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([SECRET_PREFIX.as_slice(), self.bytes.as_slice()].concat())
    }

    fn of(bytes: Zeroizing<[u8; 32]>) -> Option<Self> {
        let private = PrivateKey::from_private_key(&X25519, bytes.as_slice()).ok()?;
        let public = private.compute_public_key().ok()?.as_ref().try_into().ok()?;
        Some(Self { bytes, public: RecipientKey::from_bytes(public).ok()? })
    }
}

impl fmt::Debug for RecipientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecipientSecret").field("public", &self.public).finish_non_exhaustive()
    }
}
