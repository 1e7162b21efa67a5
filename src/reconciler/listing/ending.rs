//! Ending orphans, each alone. MinIO ends by lease id, which its list does not show: the id is that of the lease that the
//! log closed, or of one of the leases that were intended, never issued, and would end when the orphan does. Those may not
//! live anyway. A credential that carries no such id cannot be ended without ending every other of its parent: it is told, and
//! left to end by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::ListingReconciler;
use super::compare::possible;
use super::records::UnissuedLease;
use super::report::{FoundOrphan, ReconcileError};
use crate::audit::{KeyFingerprint, Orphan, OrphanFate, Orphanhood};
use crate::lease::LeaseId;
use crate::object_server::LeaseToEnd;

/// Leases ended in one pass: at MinIO each is a scan of all sessions under the lock that every request takes.
const MOST: usize = 20;

impl ListingReconciler {
    /// Asks the server to end them, and lists again: only what is gone is said to be revoked.
    pub(super) async fn end(
        &self,
        found: &mut [FoundOrphan],
        unissued: &[UnissuedLease],
        open: &BTreeSet<LeaseId>,
    ) -> Result<(), ReconcileError> {
        let mut asked: BTreeMap<LeaseId, KeyFingerprint> = BTreeMap::new();
        let mut candidates: Vec<Vec<LeaseId>> = Vec::with_capacity(found.len());
        for FoundOrphan { orphan, .. } in found.iter() {
            // An id that an open lease has too would take that lease with it.
            let mut leases = candidates_of(orphan, unissued);
            leases.retain(|lease| !open.contains(lease) && (asked.len() < MOST || asked.contains_key(lease)));
            asked.extend(leases.iter().map(|lease| (*lease, orphan.parent.clone())));
            candidates.push(leases);
        }
        if asked.is_empty() {
            return Ok(());
        }
        for (lease, parent) in &asked {
            let to_end = LeaseToEnd { id: *lease, parent: Some(parent.clone()) };
            if let Err(error) = self.parts.object_server.revoke(&to_end).await {
                tracing::warn!(lease_id = %lease, %error, "an orphan could not be revoked yet");
                if error.is_away() {
                    return Ok(());
                }
            }
        }
        let (listed, _) = self.list().await?;
        let left: BTreeSet<KeyFingerprint> = listed.into_iter().map(|credential| credential.key).collect();
        for (found, leases) in found.iter_mut().zip(candidates) {
            if leases.is_empty() || left.contains(&found.orphan.key_fingerprint) {
                continue;
            }
            // Of several that were ended, which one it was cannot be told.
            if let [only] = leases.as_slice() {
                found.orphan.lease = Some(*only);
            }
            self.tell(&found.orphan, OrphanFate::Revoked).await?;
            found.fate = OrphanFate::Revoked;
            found.is_new = true;
        }
        Ok(())
    }
}

fn candidates_of(orphan: &Orphan, unissued: &[UnissuedLease]) -> Vec<LeaseId> {
    match (orphan.lease, orphan.why) {
        (Some(named), _) => vec![named],
        (None, Orphanhood::NoLease) => possible(orphan, unissued).map(|lease| lease.id).collect(),
        (None, Orphanhood::LeaseClosed) => Vec::new(),
    }
}
