//! What all documents share: canonical JSON (RFC 8785) of a closed shape, at most 16 KiB, read only in the one spelling that
//! is written. Two readers who understand the same bytes differently are an attack on whoever signed them.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CancellationDocument, CeremonyError, RequestDocument, ReviewDocument};
use crate::audit::Digest;

/// Most bytes of a document.
pub const LARGEST_DOCUMENT: usize = 16 * 1024;

/// Names one use, once: a random UUID (version 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce(Uuid);

impl Nonce {
    /// Accepts a UUID of version 4: others can be guessed.
    #[must_use]
    pub fn of(uuid: Uuid) -> Option<Self> {
        (uuid.get_version_num() == 4).then_some(Self(uuid))
    }

    /// A new one from 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Reads its one spelling, lower case with hyphens.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().filter(|uuid| uuid.to_string() == text).and_then(Self::of)
    }

    /// As a UUID.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Any document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Emergency credentials are asked for.
    Request(RequestDocument),
    /// A use was looked into.
    Review(ReviewDocument),
    /// A use shall not be, or shall end.
    Cancellation(CancellationDocument),
}

/// Which document it is: read before the rest, which its own reader reads strictly.
#[derive(Deserialize)]
struct Version {
    version: String,
}

impl Document {
    /// Reads the bytes that were signed.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        if bytes.len() > LARGEST_DOCUMENT {
            return Err(CeremonyError::DocumentTooLarge);
        }
        let read: Result<Version, _> = serde_json::from_slice(bytes);
        let version = read.map_err(|_| CeremonyError::DocumentMalformed("not a JSON object with one version"))?.version;
        match version.as_str() {
            RequestDocument::VERSION => RequestDocument::parse(bytes).map(Self::Request),
            ReviewDocument::VERSION => ReviewDocument::parse(bytes).map(Self::Review),
            CancellationDocument::VERSION => CancellationDocument::parse(bytes).map(Self::Cancellation),
            _ => Err(CeremonyError::DocumentMalformed("its version is not known")),
        }
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        match self {
            Self::Request(document) => document.canonical(),
            Self::Review(document) => document.canonical(),
            Self::Cancellation(document) => document.canonical(),
        }
    }

    /// The SHA-256 of those bytes: what custodians compare over another channel.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical())
    }

    /// For people: every member on its line, nothing of it able to move a terminal.
    #[must_use]
    pub fn shown(&self) -> String {
        let members = match self {
            Self::Request(document) => document.shown(),
            Self::Review(document) => document.shown(),
            Self::Cancellation(document) => document.shown(),
        };
        format!("{members}{}", super::wording::line("sha256", &self.digest().to_hex()))
    }
}

/// Reads one closed shape in its one spelling.
pub(super) fn read<W: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<W, CeremonyError> {
    if bytes.len() > LARGEST_DOCUMENT {
        return Err(CeremonyError::DocumentTooLarge);
    }
    let malformed = CeremonyError::DocumentMalformed("a member is missing, unknown, given twice or of another kind");
    let wire: W = serde_json::from_slice(bytes).map_err(|_| malformed)?;
    // Another order, spacing or escape of the same members is another text.
    if canonical(&wire) == bytes {
        Ok(wire)
    } else {
        Err(CeremonyError::DocumentMalformed("not canonical JSON (RFC 8785)"))
    }
}

/// The canonical bytes: members of `W` stand in the order of their names, and hold strings and whole numbers only.
pub(super) fn canonical<W: Serialize>(wire: &W) -> Vec<u8> {
    serde_json::to_vec(wire).unwrap_or_default()
}
