//! Closing what somebody asked to end and nobody saw end: the service was restarted, or another instance had minted it. Once
//! the server lists it no more, the wish has come true; while it does, the wish stands, and the server is asked again. A lease
//! that nobody asked to end stays open, and is told.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::ABOUT_TO_END;
use super::records::{KnownLease, Turn};
use super::report::ReconcileError;
use super::{KEYS, ListingReconciler, Open};
use crate::audit::KeyFingerprint;
use crate::lease::{LeaseId, Revocation};
use crate::object_server::{Absence, LeaseToEnd};

/// Leases asked for again in one pass: at MinIO each is a scan of all sessions under the lock that every request takes.
const MOST: usize = 20;

impl ListingReconciler {
    /// Takes out of `missing` those whose end was asked for, puts on record that they are gone, and answers them. At most
    /// [`KEYS`]; the next pass goes on.
    pub(super) async fn close_gone(
        &self,
        turn: &mut dyn Turn,
        parents: &BTreeMap<KeyFingerprint, Absence>,
        missing: &mut Vec<KnownLease>,
    ) -> Result<Vec<KnownLease>, ReconcileError> {
        let is_gone = |lease: &&KnownLease| {
            // That its parent was listed is known only of a lease that names it.
            let absence = lease.parent.as_ref().and_then(|parent| parents.get(parent));
            lease.revocation_wanted
                && match absence {
                    Some(Absence::Gone) => true,
                    // Between two passes it may have started anew. Within one pass it is seen: see `end_wished`.
                    Some(Absence::GoneIfListedBefore) | None => false,
                }
        };
        let gone: Vec<KnownLease> = missing.iter().filter(is_gone).take(KEYS).cloned().collect();
        let closed = self.tell_gone(turn, gone).await?;
        missing.retain(|lease| !closed.iter().any(|closed| closed.id == lease.id));
        Ok(closed)
    }

    /// Asks again for the end of those that are listed in spite of a wish: a server that had just started may have said yes and
    /// found nothing to end. Answers those that a second list lacks.
    pub(super) async fn end_wished(
        &self,
        turn: &mut dyn Turn,
        wished: &[KnownLease],
        open: &Open,
    ) -> Result<Vec<KnownLease>, ReconcileError> {
        let ends_alone = self.parts.object_server.capabilities().revocation == Revocation::Lease;
        let now = self.parts.clock.now();
        let mut asked = Vec::new();
        for lease in wished.iter().filter(|lease| ends_alone && lease.ends_at > now + ABOUT_TO_END).take(MOST) {
            let to_end = LeaseToEnd { id: lease.id, parent: lease.parent.clone() };
            match self.parts.object_server.revoke(&to_end).await {
                Ok(()) => asked.push(lease.clone()),
                Err(error) => {
                    tracing::warn!(lease_id = %lease.id, %error, "a lease that is to be ended could not be ended yet");
                    if error.is_away() {
                        break;
                    }
                }
            }
        }
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let (listed, _) = self.list().await?;
        let left: BTreeSet<KeyFingerprint> = listed.into_iter().map(|credential| credential.key).collect();
        if self.is_partial(turn, &left, open).await? {
            return Ok(Vec::new());
        }
        asked.retain(|lease| !left.contains(&lease.key));
        self.tell_gone(turn, asked).await
    }

    async fn tell_gone(&self, turn: &mut dyn Turn, gone: Vec<KnownLease>) -> Result<Vec<KnownLease>, ReconcileError> {
        if gone.is_empty() {
            return Ok(gone);
        }
        let ids: Vec<LeaseId> = gone.iter().map(|lease| lease.id).collect();
        let mut told = BTreeSet::new();
        for lease in turn.on_record(&ids).await? {
            self.parts.log.tell_gone(&lease).await?;
            tracing::info!(lease_id = %lease.id(), "a lease that was to be ended is gone from the object server's list");
            told.insert(lease.id());
        }
        Ok(gone.into_iter().filter(|lease| told.contains(&lease.id)).collect())
    }
}
