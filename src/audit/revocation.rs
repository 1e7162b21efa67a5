//! A lease that is ended before its time, as the log tells it: first that somebody wants it ended, before the object server
//! is asked; then what was seen of it. Each row repeats what the lease's other rows say, and names who had it done.

use std::time::Duration;

use time::OffsetDateTime;

use super::event::{Event, Identity, Origin, Request};
use super::recorded_lease::RecordedLease;
use super::{AuditError, AuditLog, AuditRow, EventKind, KeyFingerprint, RecordedEffect};
use crate::lease::LeaseId;

/// The reason of the first row of a lease that is to be ended.
pub const REQUESTED: &str = "requested";
/// The detail of a row that no operator's request led to.
const BY_COMPARISON: &str = "the object server lists it no more";
/// How much of an operator's reason is kept, in characters.
const LONGEST_DETAIL: usize = 2048;

/// A lease on record as issued, read back from its row.
#[derive(Debug, Clone)]
pub struct LeaseOnRecord {
    lease: RecordedLease,
    issued_at: OffsetDateTime,
    ends_at: OffsetDateTime,
}

/// A row that no version of stint writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the row is no issued lease, or lacks what every issued lease has")]
pub struct NotALease;

impl LeaseOnRecord {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.lease.facts.id
    }

    /// The parent that minted it, where the row says.
    #[must_use]
    pub fn parent(&self) -> Option<&KeyFingerprint> {
        self.lease.facts.parent.as_ref()
    }

    /// The fingerprint of its key, where the row says.
    #[must_use]
    pub fn key_fingerprint(&self) -> Option<&KeyFingerprint> {
        self.lease.facts.key_fingerprint.as_ref()
    }

    /// Its holder.
    #[must_use]
    pub fn holder(&self) -> &Identity {
        &self.lease.identity
    }

    /// The role granted, or `any`.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.lease.role.as_deref()
    }

    /// Every role combined into it.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.lease.roles
    }

    /// When it was issued, by the clock of the service.
    #[must_use]
    pub fn issued_at(&self) -> OffsetDateTime {
        self.issued_at
    }

    /// Its real end at the object server.
    #[must_use]
    pub fn ends_at(&self) -> OffsetDateTime {
        self.ends_at
    }
}

impl TryFrom<AuditRow> for LeaseOnRecord {
    type Error = NotALease;

    fn try_from(row: AuditRow) -> Result<Self, NotALease> {
        if row.kind != EventKind::LeaseIssued.as_str() {
            return Err(NotALease);
        }
        let (issued_at, ends_at) = (row.occurred_at, row.ends_at.ok_or(NotALease)?);
        let lease = RecordedLease::read(row).ok_or(NotALease)?;
        Ok(Self { lease, issued_at, ends_at })
    }
}

/// Who has leases ended, by which way, and why.
#[derive(Debug, Clone)]
pub struct RevokedBy {
    /// The request that asks for it.
    pub origin: Origin,
    /// SHA-256 of the operator's token, hex; none on the command line.
    pub token_sha256: Option<String>,
    /// `issuer:subject`, or `os:` and the user of the command line.
    pub actor: String,
    /// Why, in the operator's words; cut at 2,048 characters.
    pub why: Option<String>,
}

/// What was seen of a lease that was to be ended: the reason of the second row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The object server refused the very credential.
    RefusedAtServer {
        /// From asking it to its first refusal.
        after: Duration,
    },
    /// The object server does not list the credential any more.
    GoneFromListing,
    /// The object server says that it ended it, and nobody saw it refused. It counts as open until somebody does.
    Unproven,
    /// The object server cannot end it: it ends at its expiration.
    EndsByItself,
    /// The object server could not be asked, or refused. It can be asked again.
    Failed,
}

impl Revoked {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::RefusedAtServer { .. } => "refused_at_server",
            Self::GoneFromListing => "gone_from_listing",
            Self::Unproven => "revoked_unproven",
            Self::EndsByItself => "ends_by_itself",
            Self::Failed => "revoke_failed",
        }
    }

    /// Whether somebody saw that the credential is worth nothing any more.
    #[must_use]
    pub fn is_proven(self) -> bool {
        match self {
            Self::RefusedAtServer { .. } | Self::GoneFromListing => true,
            Self::Unproven | Self::EndsByItself | Self::Failed => false,
        }
    }
}

impl AuditLog {
    /// Commits that a lease is to be ended: before the object server is asked. From here on it is never handed out again.
    pub async fn request_revocation(&self, lease: &LeaseOnRecord, by: &RevokedBy) -> Result<(), AuditError> {
        self.write(Event { detail: cut(by.why.as_deref()), ..self.revocation(lease, by, REQUESTED) }).await
    }

    /// Commits what was seen of it. `told` is what the object server said, if anything: a code, never its words.
    pub async fn tell_revocation(
        &self,
        lease: &LeaseOnRecord,
        by: &RevokedBy,
        seen: Revoked,
        told: Option<&str>,
    ) -> Result<(), AuditError> {
        let refused_after = match seen {
            Revoked::RefusedAtServer { after } => Some(after),
            Revoked::GoneFromListing | Revoked::Unproven | Revoked::EndsByItself | Revoked::Failed => None,
        };
        self.write(Event { refused_after, detail: cut(told), ..self.revocation(lease, by, seen.code()) }).await
    }

    /// Commits that a lease whose end was asked for before is gone from the object server's list. Nobody asks for it now: the
    /// comparison of the list with the log saw it.
    pub async fn tell_gone(&self, lease: &LeaseOnRecord) -> Result<(), AuditError> {
        let event = self.of_lease(lease, Revoked::GoneFromListing.code());
        self.write(Event { detail: Some(BY_COMPARISON.to_owned()), ..event }).await
    }

    fn revocation(&self, lease: &LeaseOnRecord, by: &RevokedBy, reason: &'static str) -> Event {
        Event {
            request: Some(Request::for_no_lease(by.origin, by.token_sha256.clone())),
            actor: Some(by.actor.clone()),
            ..self.of_lease(lease, reason)
        }
    }

    fn of_lease(&self, lease: &LeaseOnRecord, reason: &'static str) -> Event {
        lease.lease.clone().event(self.event(EventKind::LeaseRevoked, RecordedEffect::Deny, reason))
    }
}

pub(super) fn cut(text: Option<&str>) -> Option<String> {
    text.map(|text| text.chars().take(LONGEST_DETAIL).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use uuid::Uuid;

    /// A lease of a subject, as its row tells it.
    pub(crate) fn issued(n: u128, subject: &str, role: &str, groups: &[&str]) -> LeaseOnRecord {
        let row = serde_json::json!({
            "effect": "allow", "granted_seconds": 900, "id": Uuid::from_u128(n), "issuer": "authentik",
            "subject": subject, "groups": groups, "role": role, "roles": [role], "lease_id": Uuid::from_u128(n),
            "occurred_at": "2026-11-22T03:00:00.000000Z", "ends_at": "2026-11-22T04:00:00.000000Z",
            "key_fingerprint": "0123456789abcdef0123456789abcdef", "reason": "granted", "role_session_name": "s",
            "seq": 1, "session_policy_sha256": "0".repeat(64), "stream": Uuid::from_u128(n), "type": "lease.issued",
        });
        LeaseOnRecord::try_from(serde_json::from_value::<AuditRow>(row).unwrap()).unwrap()
    }

    #[test]
    fn a_row_that_is_no_issued_lease_or_lacks_its_end_is_refused() {
        let whole = || {
            serde_json::json!({
                "effect": "allow", "granted_seconds": 900, "id": Uuid::nil(), "issuer": "a", "lease_id": Uuid::nil(),
                "occurred_at": "2026-11-22T03:00:00.000000Z", "ends_at": "2026-11-22T04:00:00.000000Z", "reason": "granted",
                "role_session_name": "s", "seq": 1, "session_policy_sha256": "0".repeat(64), "stream": Uuid::nil(),
                "type": "lease.issued",
            })
        };
        let read = |row| LeaseOnRecord::try_from(serde_json::from_value::<AuditRow>(row).unwrap());
        assert!(read(whole()).is_ok());
        for member in ["ends_at", "issuer", "lease_id", "granted_seconds", "role_session_name"] {
            let mut row = whole();
            row.as_object_mut().unwrap().remove(member);
            assert_eq!(read(row).unwrap_err(), NotALease, "{member}");
        }
        let mut row = whole();
        row["type"] = "lease.intended".into();
        assert_eq!(read(row).unwrap_err(), NotALease);
    }

    #[test]
    fn only_a_refusal_or_an_absence_that_was_seen_is_proof() {
        assert!(Revoked::RefusedAtServer { after: Duration::ZERO }.is_proven());
        assert!(Revoked::GoneFromListing.is_proven());
        for seen in [Revoked::Unproven, Revoked::EndsByItself, Revoked::Failed] {
            assert!(!seen.is_proven(), "{}", seen.code());
        }
    }
}
