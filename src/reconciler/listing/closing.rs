//! Closing what somebody asked to end and nobody saw end: the service was restarted, or another instance had minted it. Once
//! the server lists it no more, the wish has come true. A lease that nobody asked to end stays open, and is told.

use std::collections::BTreeSet;

use super::records::{KnownLease, Turn};
use super::report::ReconcileError;
use super::{KEYS, ListingReconciler};
use crate::lease::LeaseId;

impl ListingReconciler {
    /// Takes out of `missing` those whose end was asked for, puts on record that they are gone, and answers them. At most
    /// [`KEYS`]; the next pass goes on.
    pub(super) async fn close_gone(
        &self,
        turn: &mut dyn Turn,
        missing: &mut Vec<KnownLease>,
    ) -> Result<Vec<KnownLease>, ReconcileError> {
        // That its parent was listed is known only of a lease that names it.
        let wanted = missing.iter().filter(|lease| lease.revocation_wanted && lease.parent.is_some());
        let wanted: Vec<LeaseId> = wanted.map(|lease| lease.id).take(KEYS).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut gone = BTreeSet::new();
        for lease in turn.on_record(&wanted).await? {
            self.parts.log.tell_gone(&lease).await?;
            tracing::info!(lease_id = %lease.id(), "a lease that was to be ended is gone from the object server's list");
            gone.insert(lease.id());
        }
        let (closed, left) = std::mem::take(missing).into_iter().partition(|lease| gone.contains(&lease.id));
        *missing = left;
        Ok(closed)
    }
}
