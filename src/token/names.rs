//! Small values of the token room: names that were checked once and are passed around afterwards.

use std::fmt;

use serde::Serialize;

/// The name an operator gave to an `[[issuer]]` block (`authentik`). Roles and rows speak of issuers by this name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct IssuerName(String);

impl IssuerName {
    /// Accepts 1 to 64 characters of `A-Za-z0-9._-`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let fits = (1..=64).contains(&name.len());
        let clean = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        (fits && clean).then(|| Self(name.to_owned()))
    }

    /// The name as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IssuerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `sub` claim of a verified token: unique only together with its issuer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Subject(String);

impl Subject {
    /// What an object server is told of a lease that is nobody's, minted by `stint object-server verify`. In no row: there
    /// the subject is missing.
    #[must_use]
    pub fn verification() -> Self {
        Self("stint-verify".to_owned())
    }

    /// Accepts 1 to 255 bytes (OIDC Core 2 allows 255 ASCII characters) without control characters.
    #[must_use]
    pub fn parse(subject: &str) -> Option<Self> {
        let fits = (1..=255).contains(&subject.len());
        (fits && !subject.chars().any(char::is_control)).then(|| Self(subject.to_owned()))
    }

    /// The subject, byte for byte as the issuer sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One member of the groups claim: exact bytes, never trimmed, folded or normalised.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Group(String);

impl Group {
    /// Accepts 1 to 256 bytes without control characters.
    #[must_use]
    pub fn parse(group: &str) -> Option<Self> {
        let fits = (1..=256).contains(&group.len());
        (fits && !group.chars().any(char::is_control)).then(|| Self(group.to_owned()))
    }

    /// The group's name as the issuer sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of the whole compact token: lets a row be joined to a token somebody still holds, without storing it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// Lower-case hex, 64 characters.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenDigest({})", self.to_hex())
    }
}
