//! The only place that asks the time. Everything that judges by time takes it as an argument, so that a test can
//! stand at any second and a clock that steps back is a case, not a surprise.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

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
