//! Keyed fingerprints of access key ids. An id alone lets someone write objects on an unpatched MinIO
//! (CVE-2026-40344, CVE-2026-41145), so rows hold an HMAC of it: whoever holds the key *and* an id can join the two,
//! whoever reads only the table learns no id.

use std::fmt;

use aws_lc_rs::hmac;

use crate::lease::ParentId;

/// The key of the fingerprints: shared by all instances, or their rows could not be searched together.
#[derive(Clone)]
pub struct FingerprintKey(hmac::Key);

impl FingerprintKey {
    /// Derives the key from a secret of any length, bound to this one use.
    #[must_use]
    pub fn derive(secret: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&root, b"stint access key fingerprint v1");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// The fingerprint of one access key id.
    #[must_use]
    pub fn fingerprint(&self, access_key_id: &str) -> KeyFingerprint {
        KeyFingerprint::from(self.parent(access_key_id))
    }

    /// The id of the parent with this access key id: the same digest, so that rows name it by its fingerprint.
    #[must_use]
    pub fn parent(&self, access_key_id: &str) -> ParentId {
        let tag = hmac::sign(&self.0, access_key_id.as_bytes());
        let mut digest = [0; 16];
        for (to, from) in digest.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        ParentId::from_digest(digest)
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey([redacted])")
    }
}

/// The first 128 bits of HMAC-SHA256, lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyFingerprint(String);

impl From<ParentId> for KeyFingerprint {
    fn from(parent: ParentId) -> Self {
        Self(parent.to_hex())
    }
}

impl KeyFingerprint {
    /// Reads back what [`KeyFingerprint::as_str`] spells: 32 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == 32 && digits).then(|| Self(text.to_owned()))
    }

    /// 32 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_the_key_and_the_id() {
        let key = FingerprintKey::derive(b"one");
        assert_eq!(key.fingerprint("AKIA1"), key.fingerprint("AKIA1"));
        assert_ne!(key.fingerprint("AKIA1"), key.fingerprint("AKIA2"));
        assert_ne!(key.fingerprint("AKIA1"), FingerprintKey::derive(b"two").fingerprint("AKIA1"));
        assert_eq!(key.fingerprint("AKIA1").as_str().len(), 32);
        assert_eq!(KeyFingerprint::from(key.parent("AKIA1")), key.fingerprint("AKIA1"));
    }
}
