//! The credentials of leases that are out, in memory only: for the proof that a revoked one is refused. Bounded, each
//! wiped when its lease has ended or when it is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;

use crate::lease::{LeaseId, SessionPolicy};
use crate::object_server::TemporaryCredentials;

/// The most that are held, some four kilobytes each: 80 megabytes. Leases beyond are revoked like any other; what proves it is
/// the object server's list, where it keeps one.
const MOST: usize = 20_000;

/// One lease that is out.
#[derive(Debug, Clone)]
pub struct HeldLease {
    /// What its holder has.
    pub credentials: Arc<TemporaryCredentials>,
    /// What it may do with it.
    pub session_policy: SessionPolicy,
}

#[derive(Debug)]
struct Kept {
    lease: HeldLease,
    /// S3 was seen to allow what it is asked for as a proof.
    was_allowed: bool,
}

/// What this process minted and handed out, by lease.
#[derive(Default)]
pub struct HeldCredentials {
    held: Mutex<BTreeMap<LeaseId, Kept>>,
}

impl HeldCredentials {
    /// Keeps the credentials of a lease until it ends. Lease ids sort by when they were drawn: what ended goes first.
    pub fn keep(&self, id: LeaseId, lease: HeldLease, now: OffsetDateTime) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(oldest) = held.first_entry() {
            if oldest.get().lease.credentials.expiration > now {
                break;
            }
            oldest.remove();
        }
        if held.len() < MOST {
            held.insert(id, Kept { lease, was_allowed: false });
        }
    }

    /// The credentials of a lease, if they are held and have not ended.
    #[must_use]
    pub fn get(&self, lease: LeaseId, now: OffsetDateTime) -> Option<HeldLease> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&lease).map(|kept| &kept.lease).filter(|held| held.credentials.expiration > now).cloned()
    }

    /// Whether S3 was seen to take the credentials of a lease: only then is a refusal of them an end.
    pub(super) fn was_allowed(&self, lease: LeaseId) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(&lease).is_some_and(|kept| kept.was_allowed)
    }

    /// S3 took them.
    pub(super) fn note_allowed(&self, lease: LeaseId) {
        if let Some(kept) = self.held.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&lease) {
            kept.was_allowed = true;
        }
    }

    /// Another instance, or this one, was asked to end a lease: it is never handed out again. Its credential stays: this process
    /// may be the one that proves the end with it.
    pub fn withdraw(&self, _lease: LeaseId) {}

    /// Forgets those of a lease.
    pub fn forget(&self, lease: LeaseId) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&lease);
    }
}

impl fmt::Debug for HeldCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldCredentials")
    }
}
