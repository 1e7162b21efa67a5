//! Where to search next. A first sweep looks back a week; from then on each pass reads what is new, with an overlap for
//! clocks that differ, and now and then the whole life of a lease again, for clocks that stepped.

use std::time::Duration;

use time::OffsetDateTime;

/// How far the first sweep after a start looks back: past it, whatever existed ended long ago, and only the row is open.
const FIRST: Duration = Duration::from_hours(7 * 24);
/// How far a deep sweep looks back: the longest lease, and an hour for a clock that stepped.
const DEEP: Duration = Duration::from_hours(2);
/// Between two deep sweeps.
const DEEP_EVERY: Duration = Duration::from_mins(10);
/// How far each pass reads again what it has read: instances' clocks differ, and a row is seen only once it is committed.
const OVERLAP: Duration = Duration::from_mins(5);

/// How far the log was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sweep {
    next: Option<OffsetDateTime>,
    /// When the next deep sweep is due, on the monotonic clock.
    deep_at: Duration,
}

impl Sweep {
    /// Where this pass begins.
    pub(super) fn begin(&mut self, now: OffsetDateTime, elapsed: Duration) -> OffsetDateTime {
        let from = match self.next {
            None => now - FIRST,
            Some(next) if elapsed >= self.deep_at => next.min(now - DEEP),
            Some(next) => return next,
        };
        self.deep_at = elapsed.saturating_add(DEEP_EVERY);
        from
    }

    /// Takes note of how far a search got, and answers where the next goes on; nothing when the sweep has caught up.
    pub(super) fn read(
        &mut self,
        from: OffsetDateTime,
        read_to: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Option<OffsetDateTime> {
        // A page full of one instant must not be read for ever.
        let next = read_to.map(|to| to.max(from + Duration::from_micros(1)));
        self.next = Some(next.unwrap_or(now - OVERLAP));
        next
    }
}

/// Since when to look for leases whose exchange could not revoke them.
pub(super) fn given_up_since(now: OffsetDateTime) -> OffsetDateTime {
    now - DEEP
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOON: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);
    const PASS: Duration = Duration::from_secs(10);

    #[test]
    fn the_first_sweep_looks_back_a_week_and_goes_on_page_by_page_over_passes() {
        let mut sweep = Sweep::default();
        let from = sweep.begin(NOON, Duration::ZERO);
        assert_eq!(from, NOON - FIRST);
        let page = from + Duration::from_hours(5);
        assert_eq!(sweep.read(from, Some(page), NOON), Some(page));
        assert_eq!(sweep.begin(NOON + PASS, PASS), page);
        assert_eq!(sweep.read(page, None, NOON + PASS), None);
        assert_eq!(sweep.begin(NOON + 2 * PASS, 2 * PASS), NOON + PASS - OVERLAP);
    }

    #[test]
    fn now_and_then_the_life_of_a_lease_is_read_again() {
        let mut sweep = Sweep::default();
        let from = sweep.begin(NOON, Duration::ZERO);
        sweep.read(from, None, NOON);
        let later = NOON + DEEP_EVERY;
        assert_eq!(sweep.begin(later, DEEP_EVERY / 2), NOON - OVERLAP);
        assert_eq!(sweep.begin(later, DEEP_EVERY), later - DEEP);
        assert_eq!(sweep.begin(later, DEEP_EVERY + PASS), NOON - OVERLAP, "once");
    }

    #[test]
    fn a_clock_that_steps_back_an_hour_leaves_nothing_out() {
        let mut sweep = Sweep::default();
        let from = sweep.begin(NOON, Duration::ZERO);
        sweep.read(from, None, NOON);
        let stepped = NOON - Duration::from_hours(1);
        assert_eq!(sweep.begin(stepped, DEEP_EVERY), stepped - DEEP);
        sweep.read(stepped - DEEP, None, stepped);
        assert_eq!(sweep.begin(stepped, DEEP_EVERY + PASS), stepped - OVERLAP);
    }

    #[test]
    fn a_page_full_of_one_instant_is_not_read_for_ever() {
        let mut sweep = Sweep::default();
        assert!(sweep.read(NOON, Some(NOON), NOON).unwrap() > NOON);
    }
}
