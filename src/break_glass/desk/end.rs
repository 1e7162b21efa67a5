//! The end of an emergency lease: asked of the object server, and seen by the very credential where this process holds it.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::break_glass_desk::BreakGlassDesk;
use super::state::GrantedUse;
use crate::audit::{KeyFingerprint, Revoked};
use crate::desk::Proof;
use crate::lease::Revocation;
use crate::object_server::{LeaseToEnd, ObjectServerError};

/// What was seen, and what the object server said: a code, never its words.
pub(super) struct Seen {
    pub(super) seen: Revoked,
    pub(super) told: Option<String>,
}

impl BreakGlassDesk {
    pub(super) async fn end(&self, nonce: Uuid, granted: &GrantedUse) -> Seen {
        let parts = self.parts();
        let ends_alone = parts.object_server.capabilities().revocation == Revocation::Lease;
        let held = parts.held.find(nonce).filter(|_| ends_alone);
        let proof = match held {
            Some(held) => Proof::begin(Arc::clone(&parts.probe), held, false).await,
            None => None,
        };
        let began = parts.clock.elapsed();
        let parent = granted.parent.as_deref().and_then(KeyFingerprint::parse);
        let asked = parts.object_server.revoke(&LeaseToEnd { id: granted.lease, parent }).await;
        match asked {
            Ok(()) => self.prove(proof, began).await,
            Err(ObjectServerError::NotRevocable { .. }) => Seen { seen: Revoked::EndsByItself, told: None },
            Err(error) => Seen { seen: Revoked::Failed, told: Some(error.code().to_owned()) },
        }
    }

    /// Whether the credential of a lease whose time is over is worth nothing any more; none where it is not held.
    pub(super) async fn is_refused(&self, nonce: Uuid) -> Option<bool> {
        let parts = self.parts();
        let held = parts.held.find(nonce)?;
        // It was allowed when it was minted: its drill tried it.
        let proof = Proof::begin(Arc::clone(&parts.probe), held, true).await;
        Some(self.prove(proof, parts.clock.elapsed()).await.seen.is_proven())
    }

    async fn prove(&self, proof: Option<Proof>, began: Duration) -> Seen {
        let Some(proof) = proof else { return Seen { seen: Revoked::Unproven, told: None } };
        match proof.first_refusal(self.parts().clock.as_ref(), began).await {
            Some(first) => Seen { seen: Revoked::RefusedAtServer { after: first.after }, told: Some(first.code) },
            None => Seen { seen: Revoked::Unproven, told: Some("still_allowed".to_owned()) },
        }
    }
}
