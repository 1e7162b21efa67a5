//! Keeping up with the other instances: what they froze and which leases they had ended, soon after they said so. A
//! notification makes it at once; without one it is read all the same, every three quarters of a second.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{FreezeWatch, HeldCredentials, SharedState};
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// Between two readings that nobody asked for: less than how old a reading may be, so that no exchange waits for one.
const POLL: Duration = Duration::from_millis(750);
/// Between two readings that somebody asked for: whoever can connect can notify without end.
const REST: Duration = Duration::from_millis(20);
/// How far back revocations are looked for before the last reading: a row is dated when it is handed to a log and seen when it
/// is committed, and the clocks of the instances differ.
const OVERLAP: time::Duration = time::Duration::minutes(2);
/// Every so many readings, some thirty seconds, they are looked for as far back as a lease lasts: a clock may be behind by more.
const DEEP: u32 = 40;
const LEASE: time::Duration = time::Duration::hours(2);

/// What it is made of.
#[derive(Debug)]
pub struct WatchParts {
    /// What is frozen; kept fresh.
    pub freezes: Arc<FreezeWatch>,
    /// Where revocations are read.
    pub shared: Arc<dyn SharedState>,
    /// What is not to be handed out again.
    pub held: Arc<HeldCredentials>,
    /// Told when another instance may have said something.
    pub wake: Arc<Notify>,
    /// Shows how many freezes are in force.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Keeps up with the other instances.
#[derive(Debug)]
pub struct Watch {
    parts: WatchParts,
    /// Up to here every revocation is known.
    read_to: OffsetDateTime,
    looks: u32,
}

impl Watch {
    /// Begins now: what was revoked before is in nobody's memory.
    #[must_use]
    pub fn new(parts: WatchParts) -> Self {
        let read_to = parts.clock.now();
        Self { parts, read_to, looks: 0 }
    }

    /// Reads until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let keeping_up = async {
            loop {
                self.look().await;
                sleep(REST).await;
                // Woken or not.
                let _ = timeout(POLL, self.parts.wake.notified()).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeping_up => {}
        }
    }

    /// Reads what is frozen and what was revoked.
    pub async fn look(&mut self) {
        // That it cannot be read is told where it is read, and refuses there.
        if let Ok(freezes) = self.parts.freezes.read().await {
            self.parts.metrics.freezes(freezes.len());
        }
        let now = self.parts.clock.now();
        // A clock that stepped back must not skip what was said meanwhile.
        self.looks = self.looks.wrapping_add(1);
        let back = if self.looks.is_multiple_of(DEEP) { LEASE } else { OVERLAP };
        self.parts.held.end(now);
        match self.parts.shared.revoked_since(self.read_to.min(now) - back).await {
            Ok(leases) => {
                for lease in leases {
                    self.parts.held.withdraw(lease);
                }
                self.read_to = now;
            }
            Err(error) => tracing::warn!(%error, "revocations of other instances cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::freeze_watch::tests::{PausedClock, Scripted};
    use super::*;
    use crate::lease::Freezes;

    fn watch() -> (Watch, Arc<Scripted>, Arc<Notify>) {
        let scripted =
            Arc::new(Scripted { freezes: Mutex::new([Some(Freezes::default())].into()), ..Scripted::default() });
        let clock: Arc<dyn Clock> = Arc::new(PausedClock::start());
        let wake = Arc::new(Notify::new());
        let freezes = Arc::new(FreezeWatch::new(scripted.clone(), Arc::clone(&clock)));
        let held = Arc::new(HeldCredentials::default());
        let metrics = Arc::new(Metrics::default());
        let parts = WatchParts { freezes, shared: scripted.clone(), held, wake: Arc::clone(&wake), metrics, clock };
        (Watch::new(parts), scripted, wake)
    }

    #[tokio::test(start_paused = true)]
    async fn revocations_are_looked_for_from_before_the_last_reading() {
        let (mut watch, scripted, _wake) = watch();
        watch.look().await;
        sleep(Duration::from_mins(10)).await;
        watch.look().await;
        watch.look().await;
        let at = |minutes| OffsetDateTime::UNIX_EPOCH + time::Duration::minutes(minutes) - OVERLAP;
        assert_eq!(*scripted.since.lock().unwrap(), [at(0), at(0), at(10)]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_told_reads_at_once_and_whoever_is_not_reads_within_a_second() {
        let (watch, scripted, wake) = watch();
        let asked = || scripted.since.lock().unwrap().len();
        let stop = CancellationToken::new();
        let driving = async {
            sleep(Duration::from_millis(50)).await;
            assert_eq!(asked(), 1);
            wake.notify_one();
            sleep(Duration::from_millis(1)).await;
            assert_eq!(asked(), 2);
            sleep(Duration::from_secs(1)).await;
            assert_eq!(asked(), 3);
            for _ in 0..1000 {
                wake.notify_one();
                sleep(Duration::from_millis(1)).await;
            }
            assert!(asked() < 60, "{}: a storm of notifications is not a storm of questions", asked());
            stop.cancel();
        };
        tokio::join!(watch.run(stop.clone()), driving);
    }
}
