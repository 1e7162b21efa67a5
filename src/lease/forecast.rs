//! How many leases are expected to be asked for in the next hour, from those that are open. It expects that every holder comes
//! back, and asks again when a lease of the same length would: an upper bound where work ends, a lower one where it grows.

use std::time::Duration;

use time::OffsetDateTime;

use super::refresh_load::RefreshLoad;
use super::returns::WHOLE;
use super::{GoesBy, LeaseTerms};

/// How far ahead.
const HOUR: Duration = Duration::from_hours(1);
/// A return after the first is spread over so many places within the jitter.
const PLACES: u32 = 8;
/// No holder is expected back sooner than this after the last time, or one of a short lease would be expected for ever.
const SOONEST: Duration = Duration::from_mins(5);

/// Open leases that began and end together, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenCount {
    /// When they were issued, to the minute.
    pub issued_at: OffsetDateTime,
    /// When they really end, to five seconds.
    pub ends_at: OffsetDateTime,
    /// What their holders go by.
    pub by: GoesBy,
    /// How many.
    pub leases: u64,
}

impl OpenCount {
    fn terms(&self, grace: Duration, draw: f64) -> Option<LeaseTerms> {
        LeaseTerms::new(self.issued_at, self.ends_at, grace, draw, None)
    }

    /// When its holders ask the next time, in parts of all of them.
    fn returns(&self, grace: Duration) -> Vec<(OffsetDateTime, u64)> {
        let part = |(at, parts): (OffsetDateTime, u32)| (at, u64::from(parts).saturating_mul(self.leases));
        match self.by {
            GoesBy::Expiration => {
                self.terms(grace, 0.0).iter().flat_map(|terms| self.by.returns(terms)).map(part).collect()
            }
            // The draw is not on record, its range is.
            GoesBy::RefreshAfter => (0..PLACES)
                .filter_map(|place| self.terms(grace, (f64::from(place) + 0.5) / f64::from(PLACES)))
                .map(|terms| part((terms.refresh_after, WHOLE / PLACES)))
                .collect(),
        }
    }
}

impl RefreshLoad {
    /// The next return of every holder.
    #[must_use]
    pub fn of(counts: &[OpenCount], grace: Duration, now: OffsetDateTime) -> Self {
        let mut load = Self::new(now);
        for (at, parts) in counts.iter().flat_map(|count| count.returns(grace)) {
            load.expect(at, parts);
        }
        load
    }
}

/// What is expected of the next hour.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// When it was made.
    pub at: OffsetDateTime,
    /// Open leases then.
    pub open: u64,
    /// Leases expected to be asked for in each minute.
    pub minutes: Vec<f64>,
    /// The highest rate, per second.
    pub peak_per_second: f64,
    /// When it begins.
    pub peak_at: OffsetDateTime,
}

impl Forecast {
    /// Of the open leases.
    #[must_use]
    pub fn of(counts: &[OpenCount], grace: Duration, jitter: f64, now: OffsetDateTime) -> Self {
        let mut load = RefreshLoad::new(now);
        for count in counts {
            for (at, parts) in count.returns(grace) {
                let wait = Duration::try_from(at - count.issued_at).unwrap_or_default();
                expect_on(&mut load, (at, parts), wait.max(SOONEST), jitter, now + HOUR);
            }
        }
        let (peak_per_second, after) = load.peak();
        let open = counts.iter().map(|count| count.leases).sum();
        Self { at: now, open, minutes: load.minutes(), peak_per_second, peak_at: now + after }
    }

    /// Leases expected within so many minutes.
    #[must_use]
    pub fn within(&self, minutes: usize) -> f64 {
        self.minutes.iter().take(minutes).sum()
    }
}

/// The return, and those after it: each about as long after the one before, spread by the jitter.
fn expect_on(
    load: &mut RefreshLoad,
    (first, parts): (OffsetDateTime, u64),
    wait: Duration,
    jitter: f64,
    end: OffsetDateTime,
) {
    load.expect(first, parts);
    let mut nth: u32 = 1;
    while first + wait.saturating_mul(nth).mul_f64(1.0 - jitter / 2.0) < end {
        for place in 0..PLACES {
            let off = ((f64::from(place) + 0.5) / f64::from(PLACES) - 0.5) * jitter;
            load.expect(first + wait.saturating_mul(nth).mul_f64((1.0 + off).max(0.0)), parts / u64::from(PLACES));
        }
        nth += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);
    const GRACE: Duration = Duration::from_mins(5);

    fn count(issued: i64, minutes: i64, by: GoesBy, leases: u64) -> OpenCount {
        let issued_at = NOON + time::Duration::minutes(issued);
        OpenCount { issued_at, ends_at: issued_at + time::Duration::minutes(minutes), by, leases }
    }

    fn near(told: f64, expected: f64) -> bool {
        (told - expected).abs() < 0.01 * expected.max(1.0)
    }

    #[test]
    fn nothing_open_is_nothing_expected() {
        let forecast = Forecast::of(&[], GRACE, 0.2, NOON);
        assert_eq!((forecast.open, forecast.minutes.len(), forecast.within(60)), (0, 60, 0.0));
        assert!(near(forecast.peak_per_second, 0.0));
    }

    #[test]
    fn sdks_are_expected_at_their_leads_before_the_advertised_end() {
        // Advertised to end in 50 minutes: half come in 35, a third in 45, a sixth in 50.
        let forecast = Forecast::of(&[count(-5, 60, GoesBy::Expiration, 600)], GRACE, 0.0, NOON);
        assert_eq!(forecast.open, 600);
        for (minute, expected) in [(34, 0.0), (35, 300.0), (45, 200.0), (50, 100.0), (51, 0.0)] {
            assert!(near(forecast.minutes[minute], expected), "{minute}: {}", forecast.minutes[minute]);
        }
        assert!(near(forecast.peak_per_second, 60.0), "300 in one bucket of five seconds");
        assert_eq!(forecast.peak_at, NOON + Duration::from_mins(35));
        assert!(near(forecast.within(60), 600.0));
    }

    #[test]
    fn readers_of_refresh_after_are_expected_over_its_whole_range() {
        // Of 55 minutes advertised they come after 28 to 35.
        let forecast = Forecast::of(&[count(0, 60, GoesBy::RefreshAfter, 800)], GRACE, 0.2, NOON);
        assert!(near(forecast.minutes[28..36].iter().sum(), 800.0), "{:?}", forecast.minutes);
        assert!(forecast.minutes[28..35].iter().all(|minute| *minute > 90.0), "{:?}", forecast.minutes);
        assert!(forecast.minutes[..28].iter().all(|minute| *minute == 0.0));
    }

    #[test]
    fn a_short_lease_is_expected_again_and_again_and_not_for_ever() {
        // 15 minutes advertised 10: asked for at half of it at the latest, every five minutes or so.
        let forecast = Forecast::of(&[count(0, 15, GoesBy::RefreshAfter, 96)], GRACE, 0.0, NOON);
        assert!((900.0..=1_250.0).contains(&forecast.within(60)), "{}", forecast.within(60));
    }

    #[test]
    fn the_load_for_draws_holds_the_next_return_alone() {
        let counts = [count(-5, 20, GoesBy::Expiration, 10), count(-40, 50, GoesBy::Expiration, 7)];
        let load = RefreshLoad::of(&counts, GRACE, NOON);
        let told: f64 = load.minutes().iter().sum();
        // Those who came already are not expected: half of the first, of the second too.
        assert!(near(told, 5.0 + 3.5), "{told}");
    }
}
