//! Which lease has an access key: the key itself, whole, is what is looked up, and it is in memory once.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::lease::LeaseId;
use crate::object_server::TemporaryCredentials;

/// Leases by access key id.
#[derive(Default)]
pub(super) struct KeyIndex(HashMap<ByKey, LeaseId>);

impl KeyIndex {
    /// From now on the key of these finds the lease.
    pub(super) fn insert(&mut self, credentials: &Arc<TemporaryCredentials>, lease: LeaseId) {
        // With its own credentials as the key: those of a lease before would go with that one.
        self.0.remove(credentials.access_key_id.expose());
        self.0.insert(ByKey(Arc::clone(credentials)), lease);
    }

    /// The key of these finds that lease no more.
    pub(super) fn remove(&mut self, credentials: &TemporaryCredentials, lease: LeaseId) {
        if self.find(credentials.access_key_id.expose()) == Some(lease) {
            self.0.remove(credentials.access_key_id.expose());
        }
    }

    pub(super) fn find(&self, access_key_id: &str) -> Option<LeaseId> {
        self.0.get(access_key_id).copied()
    }
}

/// Credentials that are equal when their access key ids are.
struct ByKey(Arc<TemporaryCredentials>);

impl Borrow<str> for ByKey {
    fn borrow(&self) -> &str {
        self.0.access_key_id.expose()
    }
}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<str>::borrow(self).hash(state);
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<str>::borrow(self) == Borrow::<str>::borrow(other)
    }
}

impl Eq for ByKey {}
