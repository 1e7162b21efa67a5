//! Times in documents: UTC, whole seconds, one spelling: `2026-11-22T14:05:00Z`.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

const SECONDS: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// The one spelling.
pub(super) fn spelled(instant: OffsetDateTime) -> String {
    instant.to_offset(UtcOffset::UTC).format(SECONDS).unwrap_or_default()
}

/// Reads that spelling.
pub(super) fn parse(text: &str) -> Option<OffsetDateTime> {
    let instant = PrimitiveDateTime::parse(text, SECONDS).ok()?.assume_utc();
    // A year of more digits than four, or a sign, would be a second spelling.
    (spelled(instant) == text).then_some(instant)
}
