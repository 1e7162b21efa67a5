//! Ending orphans, each alone. MinIO ends by lease id, which its list does not show: the id is that of the lease that the
//! log closed, or of one of the leases that were intended, never issued, and would end when the orphan does. Those may not
//! live anyway. A credential that carries no such id cannot be ended without ending every other of its parent: it is told, and
//! left to end by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::{ABOUT_TO_END, possible};
use super::records::{Turn, UnissuedLease};
use super::report::{FoundOrphan, ReconcileError};
use super::{ListingReconciler, Open, leases_of};
use crate::audit::{KeyFingerprint, Orphan, OrphanFate, Orphanhood};
use crate::lease::LeaseId;
use crate::object_server::LeaseToEnd;

/// Leases ended in one pass: at MinIO each is a scan of all sessions under the lock that every request takes.
const MOST: usize = 20;

impl ListingReconciler {
    /// Asks the server to end them, and lists again: only what is gone is said to be revoked.
    pub(super) async fn end(
        &self,
        turn: &mut dyn Turn,
        found: &mut [FoundOrphan],
        unissued: &[UnissuedLease],
        open: &Open,
    ) -> Result<(), ReconcileError> {
        let mut asked: BTreeMap<LeaseId, KeyFingerprint> = BTreeMap::new();
        let mut candidates: Vec<Vec<LeaseId>> = Vec::with_capacity(found.len());
        for FoundOrphan { orphan, .. } in found.iter() {
            // An id that an open lease has too would take that lease with it.
            let mut leases = candidates_of(orphan, unissued);
            leases.retain(|lease| !open.leases.contains(lease) && (asked.len() < MOST || asked.contains_key(lease)));
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
        if self.is_partial(turn, &left, open).await? {
            tracing::warn!("the second list lacks open leases: it shows of no orphan that it is gone");
            return Ok(());
        }
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

impl ListingReconciler {
    /// Whether a list lacks the key of a lease that was in the one before, and that nobody has ended since: a server that has
    /// just started may list what it has loaded so far.
    pub(super) async fn is_partial(
        &self,
        turn: &mut dyn Turn,
        listed: &BTreeSet<KeyFingerprint>,
        open: &Open,
    ) -> Result<bool, ReconcileError> {
        let lacking: Vec<KeyFingerprint> = open.listed.difference(listed).cloned().collect();
        let now = self.parts.clock.now();
        let leases = leases_of(turn, &lacking).await?;
        Ok(leases.iter().any(|lease| !lease.closed && !lease.revocation_wanted && lease.ends_at > now + ABOUT_TO_END))
    }
}

/// The leases by which an orphan may be ended: those that our log knows. A server that names one itself lists every
/// installation's, so a name alone is no right: the key may be live in another log, or in what a restored one has forgotten.
fn candidates_of(orphan: &Orphan, unissued: &[UnissuedLease]) -> Vec<LeaseId> {
    match orphan.why {
        Orphanhood::LeaseClosed => orphan.lease.into_iter().collect(),
        Orphanhood::NoLease => possible(orphan, unissued).map(|lease| lease.id).collect(),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::audit::FingerprintKey;

    #[test]
    fn a_lease_that_the_server_names_and_the_log_does_not_know_is_not_ended() {
        let fingerprints = FingerprintKey::derive(b"test");
        let (named, ends_at) = (LeaseId::from_uuid(Uuid::from_u128(7)), datetime!(2026-11-22 12:30 UTC));
        let parent = fingerprints.fingerprint("parent");
        let no_lease = Orphan {
            key_fingerprint: fingerprints.fingerprint("key"),
            parent: parent.clone(),
            ends_at: Some(ends_at),
            lease: Some(named),
            why: Orphanhood::NoLease,
        };
        let failed = UnissuedLease { id: named, parent: Some(parent), ends_at, undecided: false };
        let other = UnissuedLease { id: LeaseId::from_uuid(Uuid::from_u128(8)), ..failed.clone() };
        assert!(candidates_of(&no_lease, &[]).is_empty());
        assert!(candidates_of(&no_lease, std::slice::from_ref(&other)).is_empty());
        assert_eq!(candidates_of(&no_lease, &[other, failed]), [named]);
        assert_eq!(candidates_of(&Orphan { why: Orphanhood::LeaseClosed, ..no_lease }, &[]), [named]);
    }
}
