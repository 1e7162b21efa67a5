//! Why a document, a signature or a sealed answer is not taken. Each variant has a stable code, and words for the honest
//! custodian who made a mistake; none repeats text from outside.

use std::time::Duration;

use crate::policy::CustodianName;

/// Why the ceremony stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CeremonyError {
    /// More bytes than any document or envelope has.
    #[error("the document is larger than 16 KiB, or its file larger than 64 KiB")]
    DocumentTooLarge,
    /// Not a document in its one spelling.
    #[error("the document is not in its one spelling: {0}; write it anew with stint")]
    DocumentMalformed(&'static str),
    /// A document of another kind than was expected here.
    #[error("this is another document: a {expected} is wanted here")]
    DocumentOther {
        /// What is wanted: `request`, `review` or `cancellation`.
        expected: &'static str,
    },
    /// Not the form of a signed file.
    #[error("the file is not a document with signatures: {0}")]
    EnvelopeMalformed(&'static str),
    /// Files of different documents were brought together.
    #[error("the files do not hold the same document: every custodian must sign the very same bytes")]
    EnvelopesDiffer,
    /// Somebody signed, or is named as the requester, who is no custodian now.
    #[error("{0} is no custodian of the policy that is in force")]
    CustodianUnknown(CustodianName),
    /// A signature is not that custodian's over these bytes.
    #[error("the signature of {0} is not theirs over this document: let them sign it again")]
    SignatureInvalid(CustodianName),
    /// Too few custodians.
    #[error("{signed} custodians signed, {needed} are needed; a custodian counts once")]
    QuorumNotMet {
        /// How many different custodians signed.
        signed: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Somebody else wrote the requester's name.
    #[error("the requester {0} must be one of those who sign: otherwise anybody could be named")]
    RequesterUnsigned(CustodianName),
    /// Those who signed a review are not enough without the requester.
    #[error("a review is closed by {needed} custodians other than the requester; {signed} such signed")]
    ReviewersMissing {
        /// How many custodians other than the requester signed.
        signed: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Too old.
    #[error("the request is older than 30 minutes: write a new one")]
    WindowExpired,
    /// From a clock that is ahead.
    #[error("the request's time is more than a minute ahead of this instance's clock: set the clocks, or wait")]
    RequestedInTheFuture,
    /// The same of a review or a cancellation.
    #[error("the document's time is more than a minute ahead of this instance's clock: set the clocks, or wait")]
    WrittenInTheFuture,
    /// Signed for another policy directory than the one in force.
    #[error("the policies were changed since this was written, or the instance has others: write a new request")]
    PolicyChanged,
    /// No such role here.
    #[error("break-glass.toml has no such role")]
    RoleUnknown,
    /// The drill's role by anything but a drill.
    #[error("the drill's role is had by drills only")]
    OnlyForDrills,
    /// A drill of another role.
    #[error("a drill has the drill's role and no other")]
    NotTheDrillRole,
    /// `break-glass.toml` does not list a condition that allows this kind of use.
    #[error("break-glass.toml lists no condition under which this kind of use is allowed")]
    KindNotAllowed,
    /// Longer than the role is given for.
    #[error("the role is given for {} seconds at most", longest.as_secs())]
    LengthTooLong {
        /// The longest.
        longest: Duration,
    },
    /// Not an X25519 public key that a secret can be agreed with.
    #[error("the recipient is not a sound X25519 public key: write the request anew")]
    RecipientInvalid,
    /// A private key file that is none.
    #[error("the file is not the private key it should be: {0}")]
    KeyMalformed(&'static str),
    /// The passphrase does not open the key.
    #[error("the passphrase does not open the key")]
    PassphraseWrong,
    /// A passphrase that is guessed.
    #[error("the passphrase must have at least 12 characters")]
    PassphraseShort,
    /// An answer in a form that is never written.
    #[error("the sealed answer is not in the form that stint writes: {0}")]
    SealMalformed(&'static str),
    /// Sealed for somebody else, or changed on the way.
    #[error("the sealed answer does not open with this key: it is for another recipient, or was changed")]
    SealBroken,
    /// The credentials could not be sealed.
    #[error("the credentials could not be sealed")]
    SealFailed,
    /// The system's randomness failed.
    #[error("the system's random source failed")]
    Randomness,
}

impl CeremonyError {
    /// The stable code: in answers, rows and counters.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::DocumentTooLarge => "document_too_large",
            Self::DocumentMalformed(_) => "document_malformed",
            Self::DocumentOther { .. } => "document_other",
            Self::EnvelopeMalformed(_) => "envelope_malformed",
            Self::EnvelopesDiffer => "envelopes_differ",
            Self::CustodianUnknown(_) => "custodian_unknown",
            Self::SignatureInvalid(_) => "signature_invalid",
            Self::QuorumNotMet { .. } => "quorum_not_met",
            Self::RequesterUnsigned(_) => "requester_unsigned",
            Self::ReviewersMissing { .. } => "reviewers_missing",
            Self::WindowExpired => "window_expired",
            Self::RequestedInTheFuture => "requested_in_the_future",
            Self::WrittenInTheFuture => "written_in_the_future",
            Self::PolicyChanged => "policy_changed",
            Self::RoleUnknown => "role_unknown",
            Self::OnlyForDrills => "only_for_drills",
            Self::NotTheDrillRole => "not_the_drill_role",
            Self::KindNotAllowed => "kind_not_allowed",
            Self::LengthTooLong { .. } => "length_too_long",
            Self::RecipientInvalid => "recipient_invalid",
            Self::KeyMalformed(_) => "key_malformed",
            Self::PassphraseWrong => "passphrase_wrong",
            Self::PassphraseShort => "passphrase_short",
            Self::SealMalformed(_) => "seal_malformed",
            Self::SealBroken => "seal_broken",
            Self::SealFailed => "seal_failed",
            Self::Randomness => "randomness",
        }
    }
}
