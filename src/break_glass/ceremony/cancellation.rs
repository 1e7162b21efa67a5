//! The cancellation of a use: one custodian burns a request that is not used yet, or ends its lease before the time.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::document::{self, Nonce};
use super::wording::{is_line, line, shown};
use super::{CeremonyError, moment};

const LONGEST_WHY: usize = 1000;

/// A cancellation that was read or written in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancellationDocument {
    nonce: Nonce,
    why: String,
    written_at: OffsetDateTime,
    canonical: Vec<u8>,
}

/// Members in the order of their names, so that serializing makes the canonical form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "use")]
    nonce: Uuid,
    version: String,
    why: String,
    written_at: String,
}

impl CancellationDocument {
    pub(super) const VERSION: &'static str = "stint break-glass cancellation 1";

    /// Writes a cancellation of the use that `nonce` names; a fraction of a second of `written_at` is dropped.
    pub fn write(nonce: Nonce, why: String, written_at: OffsetDateTime) -> Result<Self, CeremonyError> {
        let written_at = moment::spelled(written_at);
        let wire = Wire { nonce: nonce.uuid(), why, written_at, version: Self::VERSION.to_owned() };
        Self::parse(&document::canonical(&wire))
    }

    /// Reads the bytes that were signed.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        let wire: Wire = document::read(bytes)?;
        let malformed = CeremonyError::DocumentMalformed;
        if wire.version != Self::VERSION {
            return Err(CeremonyError::DocumentOther { expected: "cancellation" });
        }
        if !is_line(&wire.why, LONGEST_WHY) {
            return Err(malformed("why must be one visible line of at most 1000 bytes"));
        }
        Ok(Self {
            nonce: Nonce::of(wire.nonce).ok_or(malformed("the use is not a nonce (UUID version 4)"))?,
            written_at: moment::parse(&wire.written_at).ok_or(malformed("the time is not UTC in whole seconds"))?,
            why: wire.why,
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

    /// Why: one line.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// When it was written.
    #[must_use]
    pub fn written_at(&self) -> OffsetDateTime {
        self.written_at
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        [
            "CANCELLATION OF A USE OF EMERGENCY CREDENTIALS\n".to_owned(),
            line("use", &self.nonce.to_string()),
            line("why", &shown(&self.why)),
            line("written at", &moment::spelled(self.written_at)),
        ]
        .concat()
    }
}
