//! What all instances have in common: what is frozen, which leases somebody wants ended, and how many are out. The log says it,
//! and this port reads it there.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{AllLeasesOut, LeasesOut};
use crate::audit::StoreError;
use crate::lease::{Freezes, LeaseId};

/// Where it is read.
///
/// An implementor MUST answer what is committed when it is asked, whichever instance said it; MUST answer within a bound of its
/// own; and MUST leave no freeze out: one that it cannot read covers everything.
#[async_trait]
pub trait SharedState: std::fmt::Debug + Send + Sync {
    /// Every freeze in force.
    async fn freezes(&self) -> Result<Freezes, StoreError>;

    /// The leases whose end was asked for at this time or later, by the clocks of those who said so.
    async fn revoked_since(&self, since: OffsetDateTime) -> Result<Vec<LeaseId>, StoreError>;

    /// The leases of a holder that are out at this time, whoever minted them, but for these.
    async fn out_of(
        &self,
        issuer: &str,
        subject: &str,
        at: OffsetDateTime,
        but: &[LeaseId],
    ) -> Result<LeasesOut, StoreError>;

    /// All leases that are out at this time, likewise.
    async fn out(&self, at: OffsetDateTime, but: &[LeaseId]) -> Result<AllLeasesOut, StoreError>;
}
