//! Between what the real length of one lease may be drawn. No draw, however it is chosen, leaves these bounds.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::plan::{LONGEST, SHORTEST};

/// Whole seconds, both ends included; never under 15 minutes nor over an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LengthRange {
    shortest: u64,
    longest: u64,
}

impl LengthRange {
    /// `[bound·(1−jitter), bound]`, cut at the shortest session that the server gives.
    #[must_use]
    pub fn new(bound: Duration, jitter: f64, least: Duration) -> Self {
        let shortest = shortest_length(bound, jitter).max(least).as_secs();
        Self { shortest, longest: bound.as_secs().max(shortest) }
    }

    /// This length and no other, however short: an emergency's.
    #[must_use]
    pub fn exactly(length: Duration) -> Self {
        Self { shortest: length.as_secs(), longest: length.as_secs() }
    }

    /// The shortest.
    #[must_use]
    pub fn shortest(self) -> Duration {
        Duration::from_secs(self.shortest)
    }

    /// The longest.
    #[must_use]
    pub fn longest(self) -> Duration {
        Duration::from_secs(self.longest)
    }

    /// Uniform.
    pub fn draw(self, rng: &mut dyn Rng) -> Duration {
        Duration::from_secs(rng.random_range(self.shortest..=self.longest))
    }
}

pub(super) fn shortest_length(bound: Duration, jitter: f64) -> Duration {
    let cut = bound.mul_f64(1.0 - jitter.clamp(0.0, 1.0));
    Duration::from_secs(cut.as_secs()).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn draw(bound: Duration, jitter: f64, least: Duration, rng: &mut StdRng) -> Duration {
        LengthRange::new(bound, jitter, least).draw(rng)
    }

    proptest! {
        #[test]
        fn a_length_never_leaves_its_bounds(bound in 900_u64..=3600, jitter in 0.0..=1.0, seed: u64) {
            let length = draw(Duration::from_secs(bound), jitter, SHORTEST, &mut StdRng::seed_from_u64(seed));
            prop_assert!(length >= SHORTEST && length <= LONGEST);
            prop_assert!(length <= Duration::from_secs(bound));
            prop_assert!(length.as_secs_f64() + 1.0 >= (1.0 - jitter) * Duration::from_secs(bound).as_secs_f64());
        }
    }

    #[test]
    fn lengths_are_spread_over_the_whole_range() {
        let mut rng = StdRng::seed_from_u64(7);
        let lengths: Vec<u64> = (0..10_000).map(|_| draw(LONGEST, 0.2, SHORTEST, &mut rng).as_secs()).collect();
        let (low, high) = (lengths.iter().min().unwrap(), lengths.iter().max().unwrap());
        assert!(*low < 2890 && *high > 3590, "drawn from {low} to {high}");
        let first_half = lengths.iter().filter(|length| **length < 3240).count();
        assert!((4700..=5300).contains(&first_half), "{first_half} of 10,000 in the lower half");
    }

    #[test]
    fn without_jitter_a_length_is_its_bound() {
        let bound = Duration::from_mins(42);
        assert_eq!(draw(bound, 0.0, SHORTEST, &mut StdRng::seed_from_u64(1)), bound);
    }

    #[test]
    fn jitter_never_draws_a_length_below_what_the_server_gives() {
        let (bound, least) = (Duration::from_mins(25), Duration::from_mins(20));
        let mut rng = StdRng::seed_from_u64(3);
        assert!((0..1000).all(|_| draw(bound, 1.0, least, &mut rng) >= least));
        assert!((0..1000).any(|_| draw(bound, 1.0, SHORTEST, &mut rng) < least));
    }
}
