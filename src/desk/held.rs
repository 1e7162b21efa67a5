//! The credentials of leases that are out, in memory only: for the proof that a revoked one is refused. Bounded, each
//! wiped when its lease has ended or when it is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::key_index::KeyIndex;
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
    /// The role's name, or `any`.
    pub role: String,
    /// The name the object server sees.
    pub session_name: String,
}

/// A lease found by its access key. It may have ended.
#[derive(Debug)]
pub struct HeldKey {
    /// What its holder has.
    pub credentials: Arc<TemporaryCredentials>,
    /// The role's name, or `any`.
    pub role: String,
    /// The name the object server sees.
    pub session_name: String,
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
    /// Locked after `held`.
    keys: Mutex<KeyIndex>,
}

impl HeldCredentials {
    /// Keeps the credentials of a lease until it ends. Lease ids sort by when they were drawn: what ended goes first.
    pub fn keep(&self, id: LeaseId, lease: HeldLease, now: OffsetDateTime) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(oldest) = held.first_entry() {
            if oldest.get().lease.credentials.expiration > now {
                break;
            }
            let ended = oldest.remove();
            self.keys().remove(&ended.lease.credentials);
        }
        if held.len() < MOST {
            self.keys().insert(&lease.credentials, id);
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

    /// Forgets those of a lease.
    pub fn forget(&self, lease: LeaseId) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(forgotten) = held.remove(&lease) {
            self.keys().remove(&forgotten.lease.credentials);
        }
    }

    /// The lease that has this access key, as long as it is held: also one that has ended.
    #[must_use]
    pub fn by_key(&self, access_key_id: &str) -> Option<HeldKey> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let id = self.keys().find(access_key_id)?;
        let HeldLease { credentials, role, session_name, .. } = &held.get(&id)?.lease;
        let (credentials, role, session_name) = (Arc::clone(credentials), role.clone(), session_name.clone());
        Some(HeldKey { credentials, role, session_name })
    }

    fn keys(&self) -> MutexGuard<'_, KeyIndex> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HeldCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldCredentials")
    }
}
