//! What every row about a lease says of it: read back from the log, and said again in the next row about it.

use super::event::{Event, Identity, LeaseFacts};
use super::{AuditRow, KeyFingerprint};
use crate::lease::LeaseId;

/// The lease of one row: whose it is, what was granted, and its facts.
#[derive(Debug, Clone)]
pub(super) struct RecordedLease {
    pub(super) identity: Identity,
    pub(super) role: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) matched_rule: Option<String>,
    pub(super) policy_hash: Option<String>,
    pub(super) facts: LeaseFacts,
}

impl RecordedLease {
    /// Nothing where the row lacks what every row about a lease has.
    pub(super) fn read(row: AuditRow) -> Option<Self> {
        Some(Self {
            identity: Identity {
                issuer: row.issuer?,
                subject: row.subject,
                client: row.client,
                groups: row.groups,
                jti: row.jti,
            },
            role: row.role,
            roles: row.roles,
            matched_rule: row.matched_rule,
            policy_hash: row.policy_hash,
            facts: LeaseFacts {
                id: LeaseId::from_uuid(row.lease_id?),
                role_session_name: row.role_session_name?,
                session_policy_sha256: row.session_policy_sha256?,
                session_policy: None,
                granted_seconds: u64::try_from(row.granted_seconds?).ok()?,
                parent: row.parent_fingerprint.as_deref().and_then(KeyFingerprint::parse),
                key_fingerprint: row.key_fingerprint.as_deref().and_then(KeyFingerprint::parse),
                ends_at: row.ends_at,
            },
        })
    }

    /// The event about this lease that says `said` of it.
    pub(super) fn event(self, said: Event) -> Event {
        Event {
            identity: Some(self.identity),
            role: self.role,
            roles: self.roles,
            matched_rule: self.matched_rule,
            policy_hash: self.policy_hash,
            lease: Some(self.facts),
            ..said
        }
    }
}
