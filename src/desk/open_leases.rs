//! Open leases: issued, not past their end, and neither abandoned nor on record as ended. A lease whose end was only wished
//! for, or could not be brought about, is open still.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Selection;
use crate::audit::question::Place;
use crate::audit::{LeaseOnRecord, Revoked, StoreError};

/// The latest `lease.revoked` of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its reason.
    pub reason: String,
    /// When.
    pub at: OffsetDateTime,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct OpenLease {
    /// The lease.
    pub lease: LeaseOnRecord,
    /// Its latest `lease.revoked`, if it has one.
    pub last_said: Option<Said>,
}

impl OpenLease {
    /// Whether it is on record already that it ends by itself.
    #[must_use]
    pub fn is_left_to_itself(&self) -> bool {
        self.last_said.as_ref().is_some_and(|said| said.reason == Revoked::EndsByItself.code())
    }

    /// What was said last of its end, if that is less than so long ago. Of a mere wish, that it is unproven.
    #[must_use]
    pub fn said_within(&self, length: Duration, now: OffsetDateTime) -> Option<Revoked> {
        let said = self.last_said.as_ref().filter(|said| now - said.at < length)?;
        let outcomes = [Revoked::EndsByItself, Revoked::Failed];
        Some(outcomes.into_iter().find(|outcome| outcome.code() == said.reason).unwrap_or(Revoked::Unproven))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::issued;

    #[test]
    fn what_was_said_counts_for_so_long_and_no_longer() {
        let (at, length) = (OffsetDateTime::UNIX_EPOCH, Duration::from_secs(30));
        let said = |reason: &str, later: u64| {
            let last_said = Some(Said { reason: reason.to_owned(), at });
            let open = OpenLease { lease: issued(7, "ada", "studio", &[]), last_said };
            open.said_within(length, at + Duration::from_secs(later))
        };
        assert_eq!(said("revoke_failed", 29), Some(Revoked::Failed));
        assert_eq!(said("revoke_failed", 30), None);
        assert_eq!(said("ends_by_itself", 1), Some(Revoked::EndsByItself));
        assert_eq!(said("requested", 1), Some(Revoked::Unproven));
        let unsaid = OpenLease { lease: issued(7, "ada", "studio", &[]), last_said: None };
        assert_eq!(unsaid.said_within(length, at), None);
    }
}
