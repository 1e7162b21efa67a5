//! Open leases: issued, not past their end, and neither abandoned nor on record as ended. A lease whose end was only wished
//! for, or could not be brought about, is open still.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Selection;
use crate::audit::question::Place;
use crate::audit::{LeaseOnRecord, REQUESTED, Revoked, StoreError};

/// One of them.
#[derive(Debug, Clone)]
pub struct OpenLease {
    /// The lease.
    pub lease: LeaseOnRecord,
    /// The reason of its latest `lease.revoked`, if it has one.
    pub last_said: Option<String>,
}

impl OpenLease {
    /// Whether the wish for its end is the latest that is on record.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.last_said.as_deref() == Some(REQUESTED)
    }

    /// Whether it is on record already that it ends by itself.
    #[must_use]
    pub fn is_left_to_itself(&self) -> bool {
        self.last_said.as_deref() == Some(Revoked::EndsByItself.code())
    }
}

/// A page of them, in the order in which they were issued.
#[derive(Debug)]
pub struct OpenPage {
    /// The leases.
    pub leases: Vec<OpenLease>,
    /// Where the next page goes on; none: there is no more.
    pub next: Option<Place>,
}

/// Where open leases are found.
///
/// An implementor MUST answer only leases that `selection` covers and that are open at `at`, MUST bound a page, and MUST NOT
/// leave one out: a lease that is not found is not ended.
#[async_trait]
pub trait OpenLeases: std::fmt::Debug + Send + Sync {
    /// The page after a place.
    async fn open(
        &self,
        selection: &Selection,
        at: OffsetDateTime,
        after: Option<Place>,
    ) -> Result<OpenPage, StoreError>;
}
