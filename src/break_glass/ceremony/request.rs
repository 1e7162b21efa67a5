//! The request: one document with everything that a use of the glass depends on. What is not in it cannot be chosen later,
//! and changing any of it changes the bytes that every custodian signed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::document::{self, Nonce};
use super::wording::{is_line, line, shown};
use super::{CeremonyError, RecipientKey, moment};
use crate::audit::Digest;
use crate::policy::{CustodianName, RoleName};

/// The bounds of a use: no emergency credential lives longer, whatever role it is of.
const SHORTEST_SECONDS: u64 = 60;
const LONGEST_SECONDS: u64 = 900;
const LONGEST_REASON: usize = 1000;
const LONGEST_INCIDENT: usize = 128;

/// What kind of use it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UseKind {
    /// The service sees the outage itself.
    Outage,
    /// The higher quorum says that there is an emergency.
    Declared,
    /// The path is tried with the harmless role.
    Drill,
}

impl UseKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Outage, Self::Declared, Self::Drill];

    /// The word in documents, answers and rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::Declared => "declared",
            Self::Drill => "drill",
        }
    }

    /// Reads that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What a request is made of, before it is checked and spelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestDraft {
    /// What kind of use.
    pub kind: UseKind,
    /// The role wanted.
    pub role: RoleName,
    /// Why: one line.
    pub reason: String,
    /// The incident it belongs to, as people name it: one line.
    pub incident: String,
    /// How long: 1 to 15 minutes, whole seconds.
    pub length: Duration,
    /// Whom the credentials are sealed for.
    pub recipient: RecipientKey,
    /// Names this use.
    pub nonce: Nonce,
    /// When it was asked; a fraction of a second is dropped.
    pub requested_at: OffsetDateTime,
    /// Who asks: a custodian.
    pub requester: CustodianName,
    /// The policy directory it was written for.
    pub policy_hash: Digest,
    /// The only instance that may honour it; none: any, while the log is up.
    pub instance: Option<Uuid>,
}

/// A request that was read or written in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestDocument {
    draft: RequestDraft,
    canonical: Vec<u8>,
}

/// Members in the order of their names, so that serializing makes the canonical form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    incident: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<Uuid>,
    kind: UseKind,
    length_seconds: u64,
    nonce: Uuid,
    policy_hash: String,
    reason: String,
    recipient: String,
    requested_at: String,
    requester: String,
    role: String,
    version: String,
}

impl RequestDocument {
    pub(super) const VERSION: &'static str = "stint break-glass request 1";

    /// Writes a request.
    pub fn write(draft: RequestDraft) -> Result<Self, CeremonyError> {
        let wire = Wire {
            incident: draft.incident,
            instance: draft.instance,
            kind: draft.kind,
            length_seconds: draft.length.as_secs(),
            nonce: draft.nonce.uuid(),
            policy_hash: draft.policy_hash.to_hex(),
            reason: draft.reason,
            recipient: draft.recipient.to_base64url(),
            requested_at: moment::spelled(draft.requested_at),
            requester: draft.requester.as_str().to_owned(),
            role: draft.role.as_str().to_owned(),
            version: Self::VERSION.to_owned(),
        };
        Self::parse(&document::canonical(&wire))
    }

    /// Reads the bytes that were signed.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        let wire: Wire = document::read(bytes)?;
        let malformed = CeremonyError::DocumentMalformed;
        if wire.version != Self::VERSION {
            return Err(CeremonyError::DocumentOther { expected: "request" });
        }
        if !is_line(&wire.reason, LONGEST_REASON) {
            return Err(malformed("the reason must be one visible line of at most 1000 bytes"));
        }
        if !is_line(&wire.incident, LONGEST_INCIDENT) {
            return Err(malformed("the incident must be one visible line of at most 128 bytes"));
        }
        if !(SHORTEST_SECONDS..=LONGEST_SECONDS).contains(&wire.length_seconds) {
            return Err(malformed("the length must be 60 to 900 seconds"));
        }
        let draft = RequestDraft {
            kind: wire.kind,
            role: RoleName::parse(&wire.role).ok_or(malformed("the role is not a role's name"))?,
            length: Duration::from_secs(wire.length_seconds),
            recipient: RecipientKey::parse(&wire.recipient)?,
            nonce: Nonce::of(wire.nonce).ok_or(malformed("the nonce is not a random UUID (version 4)"))?,
            requested_at: moment::parse(&wire.requested_at).ok_or(malformed("the time is not UTC in whole seconds"))?,
            requester: CustodianName::parse(&wire.requester)
                .ok_or(malformed("the requester is not a custodian's name"))?,
            policy_hash: Digest::parse(&wire.policy_hash)
                .ok_or(malformed("the policy hash is not 64 lower-case hex digits"))?,
            reason: wire.reason,
            incident: wire.incident,
            instance: wire.instance,
        };
        Ok(Self { draft, canonical: bytes.to_vec() })
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// What kind of use.
    #[must_use]
    pub fn kind(&self) -> UseKind {
        self.draft.kind
    }

    /// The role wanted.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.draft.role
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.draft.reason
    }

    /// The incident it belongs to.
    #[must_use]
    pub fn incident(&self) -> &str {
        &self.draft.incident
    }

    /// How long.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.draft.length
    }

    /// Whom the credentials are sealed for.
    #[must_use]
    pub fn recipient(&self) -> &RecipientKey {
        &self.draft.recipient
    }

    /// Names this use.
    #[must_use]
    pub fn nonce(&self) -> Nonce {
        self.draft.nonce
    }

    /// When it was asked.
    #[must_use]
    pub fn requested_at(&self) -> OffsetDateTime {
        self.draft.requested_at
    }

    /// Who asks.
    #[must_use]
    pub fn requester(&self) -> &CustodianName {
        &self.draft.requester
    }

    /// The policy directory it was written for.
    #[must_use]
    pub fn policy_hash(&self) -> Digest {
        self.draft.policy_hash
    }

    /// The only instance that may honour it; none: any, while the log is up.
    #[must_use]
    pub fn instance(&self) -> Option<Uuid> {
        self.draft.instance
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        let draft = &self.draft;
        let instance = draft.instance.map_or_else(|| "any, while the log is up".to_owned(), |id| id.to_string());
        let kind = match draft.kind {
            UseKind::Outage => "outage (the service must see it itself)",
            UseKind::Declared => "declared (no outage is needed: the higher quorum says so)",
            UseKind::Drill => "drill (the harmless role)",
        };
        [
            "REQUEST FOR EMERGENCY CREDENTIALS\n".to_owned(),
            line("kind", kind),
            line("role", draft.role.as_str()),
            line("length", &format!("{} seconds", draft.length.as_secs())),
            line("reason", &shown(&draft.reason)),
            line("incident", &shown(&draft.incident)),
            line("requester", draft.requester.as_str()),
            line("requested at", &moment::spelled(draft.requested_at)),
            line("recipient", &draft.recipient.to_base64url()),
            line("instance", &instance),
            line("policy hash", &draft.policy_hash.to_hex()),
            line("nonce", &draft.nonce.to_string()),
        ]
        .concat()
    }
}
