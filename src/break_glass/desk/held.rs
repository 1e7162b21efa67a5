//! The emergency credentials that this process minted, until they end: only the very credential can show that it is worth
//! nothing any more. They are in memory alone, and are handed to nobody from here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::desk::HeldLease;

/// What is out, by nonce.
#[derive(Default)]
pub struct HeldEmergencies(Mutex<BTreeMap<Uuid, HeldLease>>);

impl HeldEmergencies {
    pub(super) fn keep(&self, nonce: Uuid, lease: HeldLease) {
        self.all().insert(nonce, lease);
    }

    pub(super) fn find(&self, nonce: Uuid) -> Option<HeldLease> {
        self.all().get(&nonce).cloned()
    }

    pub(super) fn forget(&self, nonce: Uuid) {
        self.all().remove(&nonce);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Uuid, HeldLease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HeldEmergencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldEmergencies")
    }
}
