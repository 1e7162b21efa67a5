//! Who was handed a lease that was out already: the other sessions of its holder, each with a row of its own in the log.

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::answer::Reused;
use crate::audit::question::{EventFilter, EventsQuestion, MOST, Order, Questions};
use crate::audit::{EventKind, StoreError};

/// Every time a lease was handed out again until `at`, oldest first: at most [`MOST`].
pub(super) async fn until(
    questions: &dyn Questions,
    lease_id: Uuid,
    at: OffsetDateTime,
) -> Result<Vec<Reused>, StoreError> {
    let filter = EventFilter {
        lease_id: Some(lease_id),
        kind: Some(EventKind::LeaseReused.as_str().to_owned()),
        // The first instant after, as rows have them.
        to: Some(at.saturating_add(Duration::MICROSECOND)),
        ..EventFilter::default()
    };
    let page = questions.events(&EventsQuestion { filter, order: Order::Time, after: None, limit: MOST }).await?;
    Ok(page.rows.into_iter().map(Reused::from).collect())
}
