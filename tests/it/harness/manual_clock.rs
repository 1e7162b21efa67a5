//! A clock that stands still until a test moves it.

use std::sync::Mutex;
use std::time::Duration;

use stint::clock::Clock;
use time::OffsetDateTime;

/// The instant at which every [`ManualClock`] starts, in seconds since 1970.
pub(crate) const START: i64 = 1_795_300_000;

/// Both clocks of a service, moved together.
#[derive(Debug, Default)]
pub(crate) struct ManualClock(Mutex<Duration>);

impl ManualClock {
    /// Time passes.
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(START).unwrap() + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}
