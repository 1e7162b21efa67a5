//! What the next hour is expected to ask for, as the desk tells of it.

use serde::Serialize;
use time::OffsetDateTime;

use crate::audit::instant;
use crate::lease::{Forecast, LeaseRules, OpenCount};

/// A forecast, from the leases that are open.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LeaseForecast {
    /// When it was made, RFC 3339.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// Open leases then, of all instances.
    pub open_leases: u64,
    /// Leases expected to be asked for.
    pub expected: ExpectedWithin,
    /// The highest rate of the hour, per second.
    pub peak_per_second: f64,
    /// When it begins, RFC 3339.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub peak_at: OffsetDateTime,
    /// `lease.mints_per_second`, if it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_per_second: Option<u32>,
    /// The sixty minutes.
    pub minutes: Vec<ExpectedMinute>,
}

/// Leases expected within so long.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ExpectedWithin {
    /// Five minutes.
    pub minutes_5: f64,
    /// Fifteen.
    pub minutes_15: f64,
    /// Sixty.
    pub minutes_60: f64,
}

/// One minute.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ExpectedMinute {
    /// When it begins, RFC 3339.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub from: OffsetDateTime,
    /// Leases expected in it.
    pub expected: f64,
}

impl LeaseForecast {
    pub(super) fn of(counts: &[OpenCount], rules: &LeaseRules, now: OffsetDateTime) -> Self {
        let forecast = Forecast::of(counts, rules.grace, rules.jitter, now);
        let within = |minutes| hundredths(forecast.within(minutes));
        let expected = ExpectedWithin { minutes_5: within(5), minutes_15: within(15), minutes_60: within(60) };
        let mut from = forecast.at;
        let mut minutes = Vec::with_capacity(forecast.minutes.len());
        for expected in &forecast.minutes {
            minutes.push(ExpectedMinute { from, expected: hundredths(*expected) });
            from += time::Duration::MINUTE;
        }
        Self {
            at: forecast.at,
            open_leases: forecast.open,
            expected,
            peak_per_second: hundredths(forecast.peak_per_second),
            peak_at: forecast.peak_at,
            cap_per_second: rules.mints_per_second.map(std::num::NonZeroU32::get),
            minutes,
        }
    }
}

/// More digits would say more than anybody knows.
fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
