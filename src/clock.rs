//! The only place that asks the time. Everything that judges by time takes it as an argument, so that a test can
//! stand at any second and a clock that steps back is a case, not a surprise.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};
use time::OffsetDateTime;
use uuid::Uuid;

/// A source of wall-clock time and of time that only goes forward.
pub trait Clock: Debug + Send + Sync {
    /// The wall clock, UTC. May step in either direction: use it for claims, expiries and rows, never for waiting.
    fn now(&self) -> OffsetDateTime;

    /// Time since some fixed point of this process. Never steps back: use it for cooldowns, cache ages and latencies.
    fn elapsed(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] counts from this call.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the time")]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the time")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A version 7 UUID (RFC 9562 section 5.7) of this instant: ids of leases, events, requests and streams sort by time.
pub fn time_ordered_id(now: OffsetDateTime, rng: &mut dyn Rng) -> Uuid {
    let millis = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &rng.random()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    proptest! {
        #[test]
        fn an_id_carries_the_time_and_the_version(seconds in 0_i64..4_000_000_000, seed: u64) {
            let now = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            let id = time_ordered_id(now, &mut StdRng::seed_from_u64(seed));
            prop_assert_eq!(id.get_version_num(), 7);
            prop_assert_eq!(id.get_timestamp().unwrap().to_unix().0, u64::try_from(seconds).unwrap());
        }
    }
}
