//! Instants as rows hold them and seals sign them: UTC, whole microseconds, always six digits:
//! `2026-11-22T03:00:00.123456Z`. One spelling, or what is read back would hash to something else.

use serde::{Deserialize, Deserializer, Serializer, de};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

const SIX_DIGITS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// What a row can hold of an instant, in UTC.
#[must_use]
pub fn whole_microseconds(instant: OffsetDateTime) -> OffsetDateTime {
    let instant = instant.to_offset(time::UtcOffset::UTC);
    let whole = instant.microsecond() * 1_000;
    instant.replace_nanosecond(whole).unwrap_or(instant)
}

/// The one spelling.
#[must_use]
pub fn format(instant: OffsetDateTime) -> String {
    instant.to_offset(time::UtcOffset::UTC).format(SIX_DIGITS).unwrap_or_default()
}

/// Serializes in the one spelling.
pub fn serialize<S: Serializer>(instant: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*instant))
}

/// Reads RFC 3339 with any offset.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    OffsetDateTime::parse(&text, &Rfc3339).map_err(de::Error::custom)
}

/// The same for an instant that may be missing.
pub mod option {
    use serde::{Deserialize, Deserializer, Serializer};
    use time::OffsetDateTime;

    /// Serializes in the one spelling, or null.
    pub fn serialize<S: Serializer>(instant: &Option<OffsetDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match instant {
            Some(instant) => super::serialize(instant, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads RFC 3339 or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error> {
        #[derive(Deserialize)]
        struct Present(#[serde(with = "super")] OffsetDateTime);
        Ok(Option::<Present>::deserialize(deserializer)?.map(|Present(instant)| instant))
    }
}
