//! An intent read back from the log that has no fate there: the process died, or its outcome could not be committed; or one
//! that failed, or was given up, although something may exist under it. It is what the reconciler closes; it proves nothing
//! about what exists at the object server.

use time::OffsetDateTime;

use super::event::{Door, Identity, LeaseFacts, Origin, Request};
use super::{AuditRow, EventKind, KeyFingerprint};
use crate::lease::LeaseId;

/// One of them.
#[derive(Debug, Clone)]
pub struct LoneIntent {
    pub(super) request: Option<Request>,
    pub(super) identity: Identity,
    pub(super) role: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) matched_rule: Option<String>,
    pub(super) policy_hash: Option<String>,
    pub(super) lease: LeaseFacts,
    said_at: OffsetDateTime,
    given_up: bool,
}

/// A row that no version of stint writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the row is no intent, or lacks what every intent has")]
pub struct NotAnIntent;

impl LoneIntent {
    /// The lease.
    #[must_use]
    pub fn lease_id(&self) -> LeaseId {
        self.lease.id
    }

    /// The parent that was to mint it, where the intent says.
    #[must_use]
    pub fn parent(&self) -> Option<&KeyFingerprint> {
        self.lease.parent.as_ref()
    }

    /// Whether its exchange said itself that it could not revoke it: then there is nobody left to wait for.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// When a credential minted for it must have ended by the clocks of the service: what was asked of the object server,
    /// counted from the row. The mint came some seconds later, and clocks differ: whoever relies on it adds to it.
    #[must_use]
    pub fn must_end_at(&self) -> OffsetDateTime {
        self.said_at
            .saturating_add(time::Duration::seconds(i64::try_from(self.lease.granted_seconds).unwrap_or(i64::MAX)))
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
        let granted = row.granted_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let door = row.door.as_deref().and_then(Door::parse);
        let request = door.zip(row.request_id).map(|(door, request_id)| Request {
            origin: Origin { door, address: row.address, request_id },
            requested_role: row.requested_role,
            requested_seconds: row.requested_seconds.and_then(|seconds| u64::try_from(seconds).ok()),
            session_name: row.session_name,
            token_sha256: row.token_sha256,
        });
        Ok(Self {
            request,
            identity: Identity {
                issuer: row.issuer.ok_or(NotAnIntent)?,
                subject: row.subject,
                client: row.client,
                groups: row.groups,
                jti: row.jti,
            },
            role: row.role,
            roles: row.roles,
            matched_rule: row.matched_rule,
            policy_hash: row.policy_hash,
            lease: LeaseFacts {
                id: LeaseId::from_uuid(row.lease_id.ok_or(NotAnIntent)?),
                role_session_name: row.role_session_name.ok_or(NotAnIntent)?,
                session_policy_sha256: row.session_policy_sha256.ok_or(NotAnIntent)?,
                session_policy: None,
                granted_seconds: granted.ok_or(NotAnIntent)?,
                parent: row.parent_fingerprint.as_deref().and_then(KeyFingerprint::parse),
                key_fingerprint: None,
                ends_at: None,
            },
            said_at: row.occurred_at,
            given_up,
        })
    }
}
