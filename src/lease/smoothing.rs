//! Lengths under a cap. What is expected back is known by its time, and a new lease is drawn so that its own return falls where
//! there is room: only within the bounds that any draw has. Where there is no room the least loaded draw is taken, and said.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::{Rng, RngExt};
use time::OffsetDateTime;

use super::refresh_load::{BUCKET, RefreshLoad};
use super::returns::WHOLE;
use super::{GoesBy, LeaseTerms, LengthRange};

/// Draws that are compared. More would send every instance to the same hole; one alone would find few.
const CANDIDATES: usize = 8;
/// Lengths that are looked through one by one where none of those fits, for holders that go by `refresh_after`.
const STEP: Duration = Duration::from_mins(1);

/// What was drawn for one lease.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// The real length, whole seconds.
    pub length: Duration,
    /// Where in its range `refresh_after` lies, 0 to 1.
    pub refresh: f64,
    /// Whether its return fits under the cap.
    pub fits: bool,
}

/// Draws under one cap, for one service.
#[derive(Debug)]
pub struct Smoothing {
    /// Parts that a bucket may hold.
    most: u64,
    known: Mutex<Known>,
}

/// What is expected: as the log says, of every instance; and what was drawn here since the log was asked.
#[derive(Debug)]
struct Known {
    from_log: RefreshLoad,
    since: RefreshLoad,
    asking: Option<RefreshLoad>,
}

impl Smoothing {
    /// At most so many mints a second, as far as draws can bring it about.
    #[must_use]
    pub fn new(mints_per_second: NonZeroU32, now: OffsetDateTime) -> Self {
        let most = u64::from(mints_per_second.get()) * u64::from(BUCKET) * u64::from(WHOLE);
        let none = || RefreshLoad::new(now);
        Self { most, known: Mutex::new(Known { from_log: none(), since: none(), asking: None }) }
    }

    /// The log is being asked: what is drawn from here on it does not know yet.
    pub fn ask(&self, now: OffsetDateTime) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let drawn = std::mem::replace(&mut known.since, RefreshLoad::new(now));
        match &mut known.asking {
            // It was asked in vain before: what was drawn then is still not known to be in it.
            Some(asking) => {
                asking.advance(now);
                asking.add(&drawn);
            }
            None => known.asking = Some(drawn),
        }
    }

    /// The log has answered.
    pub fn learn(&self, from_log: RefreshLoad) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.from_log = from_log;
        known.asking = None;
    }

    /// Draws one lease, and expects it back.
    pub fn draw(
        &self,
        lengths: LengthRange,
        grace: Duration,
        by: GoesBy,
        now: OffsetDateTime,
        rng: &mut dyn Rng,
    ) -> Drawn {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.from_log.advance(now);
        known.since.advance(now);
        let load = |choice: &Choice| known.load(choice, grace, by, now);
        let candidates: Vec<Choice> = (0..CANDIDATES).map(|_| (lengths.draw(rng), rng.random())).collect();
        let usual = (lengths.longest(), 0.0);
        let mut chosen = candidates.into_iter().min_by_key(load).unwrap_or(usual);
        if load(&chosen) > self.most {
            let all = every(lengths, grace, by, now);
            // From anywhere: instances that look at the same hole must not fill it from the same side.
            let begin = rng.random_range(0..all.len().max(1));
            let mut turned = all.iter().cycle().skip(begin).take(all.len());
            let found = turned.find(|choice| load(choice) <= self.most);
            let least = || all.iter().min_by_key(|choice| load(choice));
            let found = found.or_else(least).filter(|choice| load(choice) < load(&chosen));
            chosen = found.copied().unwrap_or(chosen);
        }
        let fits = load(&chosen) <= self.most;
        let (length, refresh) = chosen;
        if let Some(terms) = terms(&chosen, grace, now) {
            for (at, parts) in by.returns(&terms) {
                known.since.expect(at, parts.into());
            }
        }
        Drawn { length, refresh, fits }
    }
}

/// A length, and where in its range `refresh_after` lies.
type Choice = (Duration, f64);

impl Known {
    fn parts_at(&self, at: OffsetDateTime) -> u64 {
        let asking = self.asking.as_ref().map_or(0, |asking| asking.parts_at(at));
        self.from_log.parts_at(at).saturating_add(self.since.parts_at(at)).saturating_add(asking)
    }

    /// The fullest bucket that this lease would come back to, with it.
    fn load(&self, choice: &Choice, grace: Duration, by: GoesBy, now: OffsetDateTime) -> u64 {
        let Some(terms) = terms(choice, grace, now) else { return u64::MAX };
        by.returns(&terms).map(|(at, parts)| self.parts_at(at).saturating_add(parts.into())).max().unwrap_or(0)
    }
}

fn terms((length, refresh): &Choice, grace: Duration, now: OffsetDateTime) -> Option<LeaseTerms> {
    LeaseTerms::new(now, now + *length, grace, *refresh, None)
}

/// One choice for every bucket that a return can be moved to.
fn every(lengths: LengthRange, grace: Duration, by: GoesBy, now: OffsetDateTime) -> Vec<Choice> {
    match by {
        GoesBy::Expiration => {
            stepped(lengths, Duration::from_secs(BUCKET.into())).map(|length| (length, 0.0)).collect()
        }
        GoesBy::RefreshAfter => {
            let refreshes = |length: Duration| {
                let [latest, earliest] = [0.0, 1.0].map(|draw| terms(&(length, draw), grace, now));
                let spread =
                    latest.zip(earliest).map(|(latest, earliest)| latest.refresh_after - earliest.refresh_after);
                let seconds = spread.and_then(|spread| u32::try_from(spread.whole_seconds()).ok()).unwrap_or(0);
                let steps = seconds / BUCKET + 1;
                (0..=steps).map(move |step| (length, f64::from(step) / f64::from(steps)))
            };
            stepped(lengths, STEP).flat_map(refreshes).collect()
        }
    }
}

fn stepped(lengths: LengthRange, step: Duration) -> impl Iterator<Item = Duration> {
    let (mut next, longest) = (Some(lengths.shortest()), lengths.longest());
    std::iter::from_fn(move || {
        let length = next?;
        next = (length < longest).then(|| (length + step).min(longest));
        Some(length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);
    const GRACE: Duration = Duration::from_mins(5);

    fn cap(mints: u32) -> Smoothing {
        Smoothing::new(NonZeroU32::new(mints).unwrap(), NOON)
    }

    fn hour() -> LengthRange {
        LengthRange::new(Duration::from_hours(1), 0.2, Duration::from_mins(15))
    }

    /// The fullest bucket.
    fn peak(smoothing: &Smoothing) -> u64 {
        let known = smoothing.known.lock().unwrap();
        (0..780).map(|n| known.parts_at(NOON + time::Duration::seconds(5 * n))).max().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn whatever_is_expected_no_draw_leaves_its_bounds(
            bound in 900_u64..=3600, jitter in 0.0..=0.75, grace in 1_u64..=600, mints in 1_u32..5,
            leases in 1_usize..120, by_expiration: bool, seed: u64,
        ) {
            let smoothing = cap(mints);
            let by = if by_expiration { GoesBy::Expiration } else { GoesBy::RefreshAfter };
            let lengths = LengthRange::new(Duration::from_secs(bound), jitter, Duration::from_mins(15));
            let mut rng = StdRng::seed_from_u64(seed);
            for _ in 0..leases {
                let drawn = smoothing.draw(lengths, Duration::from_secs(grace), by, NOON, &mut rng);
                prop_assert!(drawn.length >= lengths.shortest() && drawn.length <= lengths.longest());
                prop_assert!(drawn.length >= Duration::from_mins(15) && drawn.length.subsec_nanos() == 0);
                prop_assert!((0.0..=1.0).contains(&drawn.refresh));
            }
        }

        #[test]
        fn the_peak_stays_under_the_cap_as_long_as_draws_say_that_they_fit(
            mints in 1_u32..4, leases in 1_usize..1_500, by_expiration: bool, seed: u64,
        ) {
            let smoothing = cap(mints);
            let by = if by_expiration { GoesBy::Expiration } else { GoesBy::RefreshAfter };
            let mut rng = StdRng::seed_from_u64(seed);
            let all_fit = (0..leases).all(|_| smoothing.draw(hour(), GRACE, by, NOON, &mut rng).fits);
            prop_assert_eq!(peak(&smoothing) <= smoothing.most, all_fit);
        }

        #[test]
        fn a_draw_fits_whenever_any_allowed_draw_would(
            taken in proptest::collection::vec(0_u64..=96, 780), by_expiration: bool, seed: u64,
        ) {
            let smoothing = cap(1);
            let by = if by_expiration { GoesBy::Expiration } else { GoesBy::RefreshAfter };
            let room = smoothing.most - u64::from(WHOLE);
            let mut expected = RefreshLoad::new(NOON);
            // Nearly everything is full: what is free is a hole that eight draws hardly find.
            for (n, taken) in (0_i64..).zip(&taken) {
                let parts = if *taken == 96 { room } else { smoothing.most };
                expected.expect(NOON + time::Duration::seconds(5 * n), parts);
            }
            smoothing.learn(expected);
            let feasible = {
                let known = smoothing.known.lock().unwrap();
                let lengths = hour().shortest().as_secs()..=hour().longest().as_secs();
                let draws = match by {
                    GoesBy::Expiration => 0..=0_u32,
                    GoesBy::RefreshAfter => 0..=200,
                };
                let mut choices = lengths.step_by(7).flat_map(|length| {
                    draws.clone().map(move |draw| (Duration::from_secs(length), f64::from(draw) / 200.0))
                });
                choices.any(|choice| known.load(&choice, GRACE, by, NOON) <= smoothing.most)
            };
            let drawn = smoothing.draw(hour(), GRACE, by, NOON, &mut StdRng::seed_from_u64(seed));
            prop_assert!(drawn.fits || !feasible);
        }
    }

    #[test]
    fn more_than_can_be_spread_is_said_and_spread_all_the_same() {
        let (smoothing, mut rng) = (cap(1), StdRng::seed_from_u64(1));
        let fits: Vec<bool> =
            (0..4_000).map(|_| smoothing.draw(hour(), GRACE, GoesBy::RefreshAfter, NOON, &mut rng).fits).collect();
        assert!(fits[..900].iter().all(|fits| *fits), "there was room");
        assert!(fits[3_000..].iter().all(|fits| !fits), "there is none left");
        // 4,000 over the seventeen minutes that a refresh can be moved over are four a second.
        assert!(peak(&smoothing) <= smoothing.most * 5, "{} of {}", peak(&smoothing), smoothing.most);
    }

    #[test]
    fn what_the_log_says_takes_the_place_of_what_was_drawn_before_it_was_asked() {
        let (smoothing, mut rng) = (cap(1_000), StdRng::seed_from_u64(1));
        let mut draw = || smoothing.draw(hour(), GRACE, GoesBy::RefreshAfter, NOON, &mut rng);
        let total = || {
            let known = smoothing.known.lock().unwrap();
            (0..780).map(|n| known.parts_at(NOON + time::Duration::seconds(5 * n))).sum::<u64>() / u64::from(WHOLE)
        };
        draw();
        smoothing.ask(NOON);
        draw();
        assert_eq!(total(), 2, "while it is asked nothing is forgotten");
        smoothing.ask(NOON);
        assert_eq!(total(), 2, "nor when it did not answer");
        draw();
        smoothing.learn(RefreshLoad::new(NOON));
        assert_eq!(total(), 1, "what was drawn after it was asked is not in it");
    }
}
