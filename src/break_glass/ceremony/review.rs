//! The review of a use: what two custodians other than the requester found when they looked into it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::document::{self, Nonce};
use super::wording::{is_text, line, shown};
use super::{CeremonyError, moment};

const LONGEST_FINDINGS: usize = 8000;

/// A review that was read or written in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewDocument {
    nonce: Nonce,
    findings: String,
    written_at: OffsetDateTime,
    canonical: Vec<u8>,
}

/// Members in the order of their names, so that serializing makes the canonical form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    findings: String,
    #[serde(rename = "use")]
    nonce: Uuid,
    version: String,
    written_at: String,
}

impl ReviewDocument {
    pub(super) const VERSION: &'static str = "stint break-glass review 1";

    /// Writes a review of the use that `nonce` names; a fraction of a second of `written_at` is dropped.
    pub fn write(nonce: Nonce, findings: String, written_at: OffsetDateTime) -> Result<Self, CeremonyError> {
        let written_at = moment::spelled(written_at);
        let wire = Wire { nonce: nonce.uuid(), findings, written_at, version: Self::VERSION.to_owned() };
        Self::parse(&document::canonical(&wire))
    }

    /// Reads the bytes that were signed.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        let wire: Wire = document::read(bytes)?;
        let malformed = CeremonyError::DocumentMalformed;
        if wire.version != Self::VERSION {
            return Err(CeremonyError::DocumentOther { expected: "review" });
        }
        if !is_text(&wire.findings, LONGEST_FINDINGS) {
            return Err(malformed("the findings must be visible text of at most 8000 bytes"));
        }
        Ok(Self {
            nonce: Nonce::of(wire.nonce).ok_or(malformed("the use is not a nonce (UUID version 4)"))?,
            written_at: moment::parse(&wire.written_at).ok_or(malformed("the time is not UTC in whole seconds"))?,
            findings: wire.findings,
            canonical: bytes.to_vec(),
        })
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// Which use: the nonce of its request.
    #[must_use]
    pub fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// What was found: one or several lines.
    #[must_use]
    pub fn findings(&self) -> &str {
        &self.findings
    }

    /// When it was written.
    #[must_use]
    pub fn written_at(&self) -> OffsetDateTime {
        self.written_at
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        [
            "REVIEW THAT CLOSES A USE OF EMERGENCY CREDENTIALS\n".to_owned(),
            line("use", &self.nonce.to_string()),
            line("findings", &shown(&self.findings)),
            line("written at", &moment::spelled(self.written_at)),
        ]
        .concat()
    }
}
