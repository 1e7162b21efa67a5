//! Why the desk refuses. Every code is stable. The words help a custodian who has a true document in hand; what a stranger
//! may know is no more than the status says.

use std::time::Duration;

use uuid::Uuid;

use crate::audit::AuditError;
use crate::break_glass::ceremony::CeremonyError;
use crate::lease::LeaseError;
use crate::object_server::ObjectServerError;

/// Why nothing was granted, cancelled or closed.
#[derive(Debug, thiserror::Error)]
pub enum BreakGlassRefusal {
    /// There is no `break-glass.toml`, or no journal.
    #[error("break-glass is not configured here")]
    NotConfigured,
    /// Too many documents in this time.
    #[error("too many documents in this time: wait {} s, then submit it again", .0.as_secs().max(1))]
    TooMany(Duration),
    /// The document, its signatures or its quorum do not hold.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// The clock of this instance stands before what it has recorded.
    #[error(
        "the clock of this instance stands before its own records: correct it (or, if it was ahead when they were written, wait, \
         or use another instance); nothing was used"
    )]
    ClockMovedBack,
    /// The request names another instance.
    #[error(
        "the request names the instance {0}: submit it there, or have a new one signed for this instance; nothing was used"
    )]
    OtherInstance(Uuid),
    /// The nonce was used or cancelled.
    #[error("this request was used or cancelled before, and works once: have a new one signed")]
    NonceUsed,
    /// The nonce is another instance's use.
    #[error("another instance uses this request: its answer is the one; have a new one signed if that is lost")]
    NonceOwnedElsewhere,
    /// The last use waits for its review.
    #[error(
        "the review of the use {0} is open: two custodians other than its requester close it (`stint break-glass review`), or a \
         request of kind \"declared\" overrides it once"
    )]
    ReviewOpen(Uuid),
    /// It was overridden once already.
    #[error(
        "the review of the use {0} is open and was overridden once: it must be closed first (`stint break-glass review`)"
    )]
    ReviewOverridden(Uuid),
    /// What was seen is no emergency.
    #[error(
        "this instance sees no outage that has lasted long enough: wait, and submit the same request again, or have one of \
         kind \"declared\" signed by the higher quorum; nothing was used"
    )]
    NoEmergency,
    /// Without the shared log nobody knows whether another instance used it.
    #[error(
        "the request names no instance, and the shared log is away: only a request that names this instance works now; have one \
         signed (`stint break-glass request --url` asks for its id); nothing was used"
    )]
    NeedsSharedLog,
    /// What was used before cannot be read: no nonce can be told to be free.
    #[error("what was used before cannot be read here: use another instance; its operator finds the cause in the log")]
    StateUnknown,
    /// The object server mints nothing.
    #[error(
        "the object server issues no credentials now: {0}; nothing was used, submit the same request again when it does"
    )]
    ObjectServer(#[source] ObjectServerError),
    /// It may have minted, and the answer is lost.
    #[error(
        "the object server broke off ({0}): the request is used, and what may have come of it was ended or ends by itself"
    )]
    MayHaveMinted(#[source] ObjectServerError),
    /// The lease cannot be planned.
    #[error("the role cannot be leased here: {0}")]
    Lease(#[from] LeaseError),
    /// The journal cannot record it: nothing leaves.
    #[error("it cannot be recorded here, so nothing was issued: {0}")]
    Audit(#[from] AuditError),
    /// It was minted, and what became of it cannot be recorded: nothing leaves.
    #[error(
        "it could not be recorded after it was minted, and was withdrawn: the request is used; have a new one signed ({0})"
    )]
    NotRecorded(#[source] AuditError),
    /// The credential cannot be sealed: it was ended.
    #[error("the credentials could not be sealed for the recipient, and were ended: the request is used")]
    NotSealed,
    /// A drill's credential did not do as it must.
    #[error("the drill failed, and its request is used: {0}")]
    DrillFailed(String),
    /// Nothing is known of a use of this nonce.
    #[error(
        "no use of this nonce is known here: ask the instance that granted it, or wait until the shared log answers"
    )]
    NoSuchUse,
    /// Its lease is over, or the review is closed.
    #[error("there is nothing left to do: {0}")]
    AlreadyDone(&'static str),
    /// A review waits for the end of the lease.
    #[error("the lease of this use is still good: cancel it, or wait for its end, then close the review")]
    LeaseOpen,
    /// Nobody reviews what has not happened yet.
    #[error("this review was written before the use was over: write it anew, and have it signed")]
    ReviewTooEarly,
}

impl BreakGlassRefusal {
    /// The codes of every refusal of its own after the intent upon which a credential may exist at the object server: it was asked
    /// once to end it, and may have been away. The object server's own are beside them.
    pub const MAY_HAVE_MINTED: [&str; 3] = ["drill_failed", "not_sealed", "not_recorded"];

    /// The stable code: in rows, counters, problem details and the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotConfigured => "break_glass_not_configured",
            Self::TooMany(_) => "rate_limited",
            Self::Ceremony(error) => error.code(),
            Self::ClockMovedBack => "clock_moved_back",
            Self::OtherInstance(_) => "other_instance",
            Self::NonceUsed => "nonce_used",
            Self::NonceOwnedElsewhere => super::OWNED_ELSEWHERE,
            Self::ReviewOpen(_) => "review_open",
            Self::ReviewOverridden(_) => "review_overridden",
            Self::NoEmergency => "no_emergency",
            Self::NeedsSharedLog => "shared_log_away",
            Self::StateUnknown => "state_unknown",
            Self::ObjectServer(error) | Self::MayHaveMinted(error) => error.code(),
            Self::Lease(error) => error.code(),
            Self::Audit(error) => error.code(),
            Self::NotRecorded(_) => "not_recorded",
            Self::NotSealed => "not_sealed",
            Self::DrillFailed(_) => "drill_failed",
            Self::NoSuchUse => "use_unknown",
            Self::AlreadyDone(_) => "already_done",
            Self::LeaseOpen => "lease_open",
            Self::ReviewTooEarly => "review_too_early",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_that_may_leave_a_credential_behind_is_known_by_its_code() {
        let left = [
            BreakGlassRefusal::DrillFailed("x".to_owned()),
            BreakGlassRefusal::NotSealed,
            BreakGlassRefusal::NotRecorded(AuditError::Unavailable),
        ];
        assert_eq!(left.map(|refusal| refusal.code()), BreakGlassRefusal::MAY_HAVE_MINTED);
    }
}
