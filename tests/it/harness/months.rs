//! Months around the current one, and what their partitions are called.

use time::OffsetDateTime;

use super::service::now;

/// The first instant of the month that lies this many months from the current one.
pub(crate) fn month(offset: i32) -> OffsetDateTime {
    let today = OffsetDateTime::from_unix_timestamp(now()).unwrap();
    let months = today.year() * 12 + i32::from(u8::from(today.month())) - 1 + offset;
    let month = time::Month::try_from(u8::try_from(months.rem_euclid(12) + 1).unwrap()).unwrap();
    time::Date::from_calendar_date(months.div_euclid(12), month, 1).unwrap().midnight().assume_utc()
}

pub(crate) fn partition(start: OffsetDateTime) -> String {
    format!("audit_event_{}_{:02}", start.year(), u8::from(start.month()))
}
