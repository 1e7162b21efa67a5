//! A lease that is handed out again: one row for each time, committed before the credentials leave. The only maker of
//! [`ReuseReceipt`], without which nobody gets them.

use time::OffsetDateTime;

use super::event::{Event, Identity, LeaseFacts, Request};
use super::instant::whole_microseconds;
use super::log::lease_facts;
use super::{AuditError, AuditLog, EventKind, KeyFingerprint, RecordedEffect};
use crate::lease::{AssumeRole, LeaseId};
use crate::policy::{Grant, RoleName};
use crate::token::VerifiedToken;

/// Everything the row says: of whoever asks now, and of the lease as it was issued.
#[derive(Debug)]
pub struct Reuse<'a> {
    /// What was asked.
    pub request: &'a Request,
    /// Who asks.
    pub token: &'a VerifiedToken,
    /// What was granted, decided for this very request.
    pub grant: &'a Grant,
    /// What the lease was planned as.
    pub assume_role: &'a AssumeRole,
    /// The fingerprint of its key.
    pub key_fingerprint: &'a KeyFingerprint,
    /// Its real end.
    pub ends_at: OffsetDateTime,
}

/// Proof that one more handing out of one lease is committed. Not `Clone`: one row, one answer.
#[derive(Debug)]
pub struct ReuseReceipt {
    lease_id: LeaseId,
}

impl ReuseReceipt {
    /// The lease that may be handed out by this.
    #[must_use]
    pub fn lease_id(&self) -> LeaseId {
        self.lease_id
    }

    /// Any, for tests of what is done with one.
    #[cfg(test)]
    pub(crate) fn for_tests(lease_id: LeaseId) -> Self {
        Self { lease_id }
    }
}

impl AuditLog {
    /// Commits that a lease is handed out again.
    pub async fn reuse(&self, reuse: Reuse<'_>) -> Result<ReuseReceipt, AuditError> {
        let Reuse { request, token, grant, assume_role, key_fingerprint, ends_at } = reuse;
        let facts = LeaseFacts {
            // Kept beside the log since the intent.
            session_policy: None,
            key_fingerprint: Some(key_fingerprint.clone()),
            ends_at: Some(whole_microseconds(ends_at)),
            ..lease_facts(assume_role)
        };
        self.write(Event {
            request: Some(request.clone()),
            identity: Some(Identity::from(token)),
            role: Some(grant.role().to_owned()),
            roles: grant.roles().iter().map(RoleName::as_str).map(str::to_owned).collect(),
            matched_rule: Some(grant.rule().to_owned()),
            policy_hash: Some(grant.policy_hash().to_hex()),
            lease: Some(facts),
            ..self.event(EventKind::LeaseReused, RecordedEffect::Allow, "granted")
        })
        .await?;
        Ok(ReuseReceipt { lease_id: assume_role.lease_id() })
    }
}
