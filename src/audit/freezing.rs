//! Freezes of the installation, as the log tells them: set and lifted by somebody who is answerable, each under an id of its
//! own. A role that a self-test closed is told in the same types of events without an id: that is the state of one process.

use super::event::{Event, FreezeFacts, Request};
use super::revocation::cut;
use super::{AuditError, AuditLog, EventKind, RecordedEffect, RevokedBy};
use crate::lease::{Freeze, FreezeId, Frozen};

/// The reason of a freeze that somebody set or lifted.
const OPERATOR: &str = "operator";

impl AuditLog {
    /// Commits a freeze, and answers it as it is on record: from here on it is in force.
    pub async fn set_freeze(&self, id: FreezeId, frozen: Frozen, by: &RevokedBy) -> Result<Freeze, AuditError> {
        let event = self.freezing(EventKind::FreezeSet, RecordedEffect::Deny, id, &frozen, by);
        let (set_at, why) = (event.occurred_at, event.detail.clone());
        self.write(event).await?;
        Ok(Freeze { id, frozen, set_at, actor: by.actor.clone(), why })
    }

    /// Commits that a freeze is lifted.
    pub async fn lift_freeze(&self, freeze: &Freeze, by: &RevokedBy) -> Result<(), AuditError> {
        let Freeze { id, frozen, .. } = freeze;
        self.write(self.freezing(EventKind::FreezeLifted, RecordedEffect::Allow, *id, frozen, by)).await
    }

    fn freezing(
        &self,
        kind: EventKind,
        effect: RecordedEffect,
        id: FreezeId,
        frozen: &Frozen,
        by: &RevokedBy,
    ) -> Event {
        Event {
            request: Some(Request::for_no_lease(by.origin, by.token_sha256.clone())),
            actor: Some(by.actor.clone()),
            detail: cut(by.why.as_deref()),
            freeze: Some(FreezeFacts { id, frozen: Some(frozen.clone()) }),
            ..self.event(kind, effect, OPERATOR)
        }
    }
}
