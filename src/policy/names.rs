//! Names of the policy room.

use std::fmt;

use serde::Serialize;

/// A role's name: 1 to 64 characters of `A-Za-z0-9+=,.@_-`, what IAM allows in a role ARN.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RoleName(String);

impl RoleName {
    /// Accepts a name as it stands.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let clean = name.bytes().all(Self::allowed);
        ((1..=64).contains(&name.len()) && clean).then(|| Self(name.to_owned()))
    }

    /// The name of the role that a document without a role file makes: every other character becomes `-`.
    #[must_use]
    pub fn of_document(document: &str) -> Option<Self> {
        let name: String =
            document.chars().map(|c| if u8::try_from(c).is_ok_and(Self::allowed) { c } else { '-' }).collect();
        Self::parse(&name)
    }

    fn allowed(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 over the whole compiled policy directory: says which text a decision was made under.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyHash([u8; 32]);

impl PolicyHash {
    pub(super) fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Any hash, for tests of what is told apart by one.
    #[cfg(test)]
    pub(crate) fn for_tests(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Lower-case hex, 64 characters.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for PolicyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyHash({})", self.to_hex())
    }
}
