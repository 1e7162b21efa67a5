//! What all instances have in common beyond the leases themselves: what is frozen, and which leases somebody wants ended. The
//! log says it, and this port reads it there.

use async_trait::async_trait;
use time::OffsetDateTime;

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
}
