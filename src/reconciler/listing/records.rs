//! The port to the log: which leases it knows, by the fingerprints of their keys.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::audit::{KeyFingerprint, LeaseOnRecord, OrphanFate, StoreError};
use crate::lease::LeaseId;

/// Where the log is asked.
///
/// An implementor MUST give a turn to one process at a time, and MUST let another have one when that one dies.
#[async_trait]
pub trait LeaseRecords: std::fmt::Debug + Send + Sync {
    /// Takes a turn, or nothing while another instance has it. It ends when it is dropped.
    async fn turn(&self) -> Result<Option<Box<dyn Turn>>, StoreError>;
}

/// The right to compare, and what is asked meanwhile.
#[async_trait]
pub trait Turn: Send {
    /// Leases that were issued, have not ended at `now`, and are not closed.
    async fn open_leases(&mut self, now: OffsetDateTime) -> Result<Vec<KnownLease>, StoreError>;

    /// Leases that were issued with one of these keys, whatever became of them.
    async fn leases_of(&mut self, keys: &[KeyFingerprint]) -> Result<Vec<KnownLease>, StoreError>;

    /// The issues of these leases, whole.
    async fn on_record(&mut self, leases: &[LeaseId]) -> Result<Vec<LeaseOnRecord>, StoreError>;

    /// Leases that were intended and never issued, and whose credential would end between these two instants.
    async fn unissued(&mut self, from: OffsetDateTime, to: OffsetDateTime) -> Result<Vec<UnissuedLease>, StoreError>;

    /// What was said before of these orphans: one entry for each time.
    async fn told(&mut self, keys: &[KeyFingerprint]) -> Result<Vec<(KeyFingerprint, OrphanFate)>, StoreError>;
}

/// A lease that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLease {
    /// Its id.
    pub id: LeaseId,
    /// The fingerprint of its key.
    pub key: KeyFingerprint,
    /// That of its parent, where the log says.
    pub parent: Option<KeyFingerprint>,
    /// Its real end.
    pub ends_at: OffsetDateTime,
    /// Whether it was abandoned, failed, or was seen to be refused or gone. That somebody asked for its end closes nothing: its
    /// key may be good.
    pub closed: bool,
    /// Whether somebody asked for its end.
    pub revocation_wanted: bool,
    /// Whether it was minted to be tried and ended at once, as by `stint object-server verify`.
    pub trial: bool,
}

/// A lease that was intended, and of which no credential is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnissuedLease {
    /// Its id.
    pub id: LeaseId,
    /// The fingerprint of its parent, where the log says.
    pub parent: Option<KeyFingerprint>,
    /// When a credential minted for it would end, counted from the intent.
    pub ends_at: OffsetDateTime,
    /// Whether it has no fate yet, or could not be revoked yet: then the reconciler of intents is at it.
    pub undecided: bool,
}
