//! An intent read back from the log that has no fate there: the process died, or its outcome could not be committed; or one
//! that failed, or was given up, although something may exist under it. It is what the reconciler closes; it proves nothing
//! about what exists at the object server.

use time::OffsetDateTime;

use super::break_glass::BREAK_GLASS;
use super::event::{Door, LeaseFacts, Origin, Request};
use super::recorded_lease::RecordedLease;
use super::{AuditRow, EventKind, KeyFingerprint};
use crate::lease::LeaseId;

/// One of them.
#[derive(Debug, Clone)]
pub struct LoneIntent {
    pub(super) request: Option<Request>,
    pub(super) lease: RecordedLease,
    said_at: OffsetDateTime,
    given_up: bool,
    emergency: bool,
}

/// A row that no version of stint writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the row is no intent, or lacks what every intent has")]
pub struct NotAnIntent;

impl LoneIntent {
    /// The lease.
    #[must_use]
    pub fn lease_id(&self) -> LeaseId {
        self.lease.facts.id
    }

    /// The parent that was to mint it, where the intent says.
    #[must_use]
    pub fn parent(&self) -> Option<&KeyFingerprint> {
        self.lease.facts.parent.as_ref()
    }

    /// Whether its exchange said itself that it could not revoke it: then there is nobody left to wait for.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Whether it is of break-glass, and still an intent: what became of it may stand in the journal of the instance that granted
    /// it, where nobody else reads it before it is merged.
    #[must_use]
    pub fn is_of_emergency(&self) -> bool {
        self.emergency
    }

    /// When a credential minted for it must have ended by the clocks of the service: what was asked of the object server,
    /// counted from the row. The mint came some seconds later, and clocks differ: whoever relies on it adds to it.
    #[must_use]
    pub fn must_end_at(&self) -> OffsetDateTime {
        self.said_at.saturating_add(time::Duration::seconds(
            i64::try_from(self.lease.facts.granted_seconds).unwrap_or(i64::MAX),
        ))
    }
}

impl TryFrom<AuditRow> for LoneIntent {
    type Error = NotAnIntent;

    fn try_from(row: AuditRow) -> Result<Self, NotAnIntent> {
        let given_up = row.kind == EventKind::LeaseAbandoned.as_str();
        // A failed one is not given up: a server that lost the answer may still mint.
        let others = [EventKind::LeaseIntended, EventKind::LeaseFailed];
        if !given_up && !others.iter().any(|kind| row.kind == kind.as_str()) {
            return Err(NotAnIntent);
        }
        let door = row.door.as_deref().and_then(Door::parse);
        let request = door.zip(row.request_id).map(|(door, request_id)| Request {
            origin: Origin { door, address: row.address, request_id },
            requested_role: row.requested_role.clone(),
            requested_seconds: row.requested_seconds.and_then(|seconds| u64::try_from(seconds).ok()),
            session_name: row.session_name.clone(),
            token_sha256: row.token_sha256.clone(),
        });
        let said_at = row.occurred_at;
        let of_break_glass = door == Some(Door::BreakGlass) || row.issuer.as_deref() == Some(BREAK_GLASS);
        let emergency = of_break_glass && row.kind == EventKind::LeaseIntended.as_str();
        let recorded = RecordedLease::read(row).ok_or(NotAnIntent)?;
        // Nobody was handed a key, and nothing that a row says of one or of its end is repeated.
        let facts = LeaseFacts { key_fingerprint: None, ends_at: None, ..recorded.facts };
        Ok(Self { request, lease: RecordedLease { facts, ..recorded }, said_at, given_up, emergency })
    }
}
