//! How many returns are expected when: a row of buckets of five seconds over the next hour and five minutes, longer than any lease
//! lasts. Its size is fixed, whatever is put into it.

use std::collections::VecDeque;
use std::time::Duration;

use time::OffsetDateTime;

use super::returns::WHOLE;

/// Seconds in a bucket.
pub(super) const BUCKET: u32 = 5;
/// Buckets: 65 minutes.
const BUCKETS: usize = 780;

/// Expected returns. What lies in the past, or beyond its end, is not kept.
#[derive(Debug, Clone)]
pub struct RefreshLoad {
    first: i64,
    parts: VecDeque<u64>,
}

impl RefreshLoad {
    /// Nothing is expected.
    #[must_use]
    pub fn new(now: OffsetDateTime) -> Self {
        Self { first: bucket(now), parts: VecDeque::from(vec![0; BUCKETS]) }
    }

    /// Forgets what is past. A clock that steps back changes nothing.
    pub fn advance(&mut self, now: OffsetDateTime) {
        let passed = usize::try_from(bucket(now).saturating_sub(self.first)).unwrap_or(0);
        self.parts.drain(..passed.min(BUCKETS));
        self.parts.resize(BUCKETS, 0);
        self.first = self.first.max(bucket(now));
    }

    /// Expects one more return, or `times` of them, by so many parts.
    pub(super) fn expect(&mut self, at: OffsetDateTime, parts: u64) {
        if let Some(expected) = self.index(at).and_then(|index| self.parts.get_mut(index)) {
            *expected = expected.saturating_add(parts);
        }
    }

    /// The parts in the bucket of an instant.
    pub(super) fn parts_at(&self, at: OffsetDateTime) -> u64 {
        self.index(at).and_then(|index| self.parts.get(index)).copied().unwrap_or(0)
    }

    /// Adds another row, bucket by bucket.
    pub(super) fn add(&mut self, other: &Self) {
        for (index, parts) in (0_i64..).zip(&other.parts) {
            let place = usize::try_from(other.first + index - self.first).ok();
            if let Some(expected) = place.and_then(|place| self.parts.get_mut(place)) {
                *expected = expected.saturating_add(*parts);
            }
        }
    }

    /// Returns expected in each minute of the next hour, from now on.
    #[must_use]
    pub fn minutes(&self) -> Vec<f64> {
        let parts: Vec<u64> = self.parts.iter().copied().collect();
        parts.chunks(12).take(60).map(|minute| whole(minute.iter().sum())).collect()
    }

    /// The highest rate of the next hour, per second, and in how many seconds it begins.
    #[must_use]
    pub fn peak(&self) -> (f64, Duration) {
        let hour = self.parts.iter().take(720).enumerate();
        let (index, parts) = hour.max_by_key(|(index, parts)| (**parts, usize::MAX - index)).unwrap_or((0, &0));
        let seconds = u64::from(BUCKET).saturating_mul(u64::try_from(index).unwrap_or(0));
        (whole(*parts) / f64::from(BUCKET), Duration::from_secs(seconds))
    }

    fn index(&self, at: OffsetDateTime) -> Option<usize> {
        usize::try_from(bucket(at) - self.first).ok().filter(|index| *index < BUCKETS)
    }
}

fn bucket(at: OffsetDateTime) -> i64 {
    at.unix_timestamp().div_euclid(i64::from(BUCKET))
}

/// Parts as returns. More than four billion are told as that.
pub(super) fn whole(parts: u64) -> f64 {
    let (returns, rest) = (parts / u64::from(WHOLE), parts % u64::from(WHOLE));
    let exact = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    exact(returns) + exact(rest) / f64::from(WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

    fn seconds(n: i64) -> OffsetDateTime {
        NOON + time::Duration::seconds(n)
    }

    #[test]
    fn what_is_expected_is_told_by_the_minute_and_by_its_highest_rate() {
        let mut load = RefreshLoad::new(NOON);
        for at in [0, 4, 61, 62, 64, 3599] {
            load.expect(seconds(at), u64::from(WHOLE));
        }
        let minutes = load.minutes();
        assert_eq!((minutes.len(), minutes[0], minutes[1], minutes[59]), (60, 2.0, 3.0, 1.0));
        assert_eq!(load.peak(), (0.6, Duration::from_mins(1)));
    }

    #[test]
    fn the_past_and_what_lies_beyond_are_not_kept_and_the_size_is_fixed() {
        let mut load = RefreshLoad::new(NOON);
        for at in [-1, 3900, 1_000_000, i64::from(i32::MIN)] {
            load.expect(seconds(at), 1);
        }
        load.expect(seconds(3899), 7);
        assert_eq!(load.parts.iter().sum::<u64>(), 7);
        load.advance(seconds(3895));
        assert_eq!((load.parts_at(seconds(3899)), load.parts.len()), (7, BUCKETS));
        load.advance(NOON);
        assert_eq!(load.parts_at(seconds(3899)), 7, "a clock that steps back changes nothing");
        load.advance(seconds(1_000_000));
        assert_eq!((load.parts.iter().sum::<u64>(), load.parts.len()), (0, BUCKETS));
    }

    #[test]
    fn rows_of_different_beginnings_are_added_by_their_times() {
        let (mut load, mut later) = (RefreshLoad::new(NOON), RefreshLoad::new(seconds(60)));
        load.expect(seconds(100), 1);
        later.expect(seconds(100), 2);
        later.expect(seconds(3930), 4);
        load.add(&later);
        assert_eq!(load.parts_at(seconds(100)), 3);
        assert_eq!(load.parts.iter().sum::<u64>(), 3, "beyond its end");
    }
}
