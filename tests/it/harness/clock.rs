//! A clock that a test moves.

use std::sync::Mutex;
use std::time::Duration;

use stint::clock::{Clock, SystemClock};
use time::OffsetDateTime;

/// The machine's time, and what a test added to it.
#[derive(Debug)]
pub(crate) struct MovedClock {
    machine: SystemClock,
    ahead: Mutex<Duration>,
}

impl MovedClock {
    /// The machine's time.
    pub(crate) fn start() -> Self {
        Self { machine: SystemClock::start(), ahead: Mutex::default() }
    }

    /// Moves it forward.
    pub(crate) fn advance(&self, by: Duration) {
        *self.ahead.lock().unwrap() += by;
    }
}

impl Clock for MovedClock {
    fn now(&self) -> OffsetDateTime {
        self.machine.now() + *self.ahead.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.machine.elapsed() + *self.ahead.lock().unwrap()
    }
}
