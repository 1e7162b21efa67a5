//! What one comparison found, for the command, the metrics and the log.

use crate::audit::{AuditError, Orphan, OrphanFate, StoreError};
use crate::object_server::ObjectServerError;

use super::records::KnownLease;

/// How a pass ended.
#[derive(Debug)]
pub enum Pass {
    /// Another instance compares at this moment.
    Elsewhere,
    /// The server keeps no list of temporary credentials.
    NoList,
    /// The two sides were compared.
    Compared(Report),
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Credentials at the server that have not ended.
    pub live: usize,
    /// Credentials that the server still lists although they have ended.
    pub ended: usize,
    /// Live ones that belong to an open lease.
    pub with_lease: usize,
    /// Open leases that were looked for.
    pub open_leases: usize,
    /// Out of place, but perhaps only for this moment: credentials, and leases.
    pub in_doubt: usize,
    /// Credentials that belong to no open lease, beyond doubt.
    pub orphans: Vec<FoundOrphan>,
    /// Leases whose end was asked for before, and whose credential is not at the server: these are closed now.
    pub closed: Vec<KnownLease>,
    /// Open leases, which nobody asked to end, whose credential is not at the server, beyond doubt.
    pub missing: Vec<KnownLease>,
}

impl Report {
    /// Whether nothing is orphaned or missing.
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        self.missing.is_empty() && self.orphans.iter().all(|found| found.fate == OrphanFate::Revoked)
    }
}

/// An orphan, and what became of it.
#[derive(Debug)]
pub struct FoundOrphan {
    /// The credential.
    pub orphan: Orphan,
    /// What was done.
    pub fate: OrphanFate,
    /// Whether this is on record only now.
    pub is_new: bool,
}

/// Why the two sides could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The log could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever asks may not list.
    #[error(
        "the object server refuses its list of temporary credentials ({code}): a parent that is denied admin:* cannot list its \
         own. Give object_server.reconcile.access_key and secret_key of a user with admin:ListServiceAccounts and no other \
         right"
    )]
    NotPermitted {
        /// The server's code.
        code: String,
    },
    /// The object server gave no whole list.
    #[error("the list of temporary credentials: {0}")]
    ObjectServer(#[from] ObjectServerError),
    /// What was found could not be put on record: nothing was ended after it.
    #[error("what was found could not be put on record: {0}")]
    Log(#[from] AuditError),
}
