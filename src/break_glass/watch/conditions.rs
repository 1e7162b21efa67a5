//! Whether the issuers or the log are down, as this service found by asking them itself, every few seconds. Nothing a
//! caller sends has a part in it, and nothing is kept over a restart: a process that has just started has seen no outage.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng, RngExt as _};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::silence::{Outage, Silence, Standing};
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// Between two rounds of probes, at least.
const EVERY: Duration = Duration::from_secs(4);
/// And so much more at most: what is silent in step with a probe (a proxy that drops every fifth second) is not silent
/// for long.
const JITTER_MILLIS: u64 = 2000;
/// How long a probe may take, whatever its adapter does.
const PATIENCE: Duration = Duration::from_secs(6);

/// Asks what an emergency is about.
///
/// An implementor MUST ask anew each time, MUST be done within a few seconds, and MUST answer true in doubt: for whatever
/// is wrong on this side of the wire, and for an answer that is merely a bad one.
#[async_trait]
pub trait ServiceProbe: fmt::Debug + Send + Sync {
    /// Whether any configured issuer answers at all.
    async fn issuers_answer(&self) -> bool;

    /// Whether the log's store answers at all.
    async fn log_answers(&self) -> bool;
}

/// What can be said now of both conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    issuer: Standing,
    log: Standing,
}

impl Judged {
    /// `issuer_down`, if it holds: no issuer has answered for the minimum time.
    #[must_use]
    pub fn issuer_down(&self) -> Option<Outage> {
        down(self.issuer)
    }

    /// `log_down`, if it holds: PostgreSQL has not answered for the minimum time.
    #[must_use]
    pub fn log_down(&self) -> Option<Outage> {
        down(self.log)
    }

    /// How the issuers stand, for the status.
    #[must_use]
    pub fn issuer(&self) -> Standing {
        self.issuer
    }

    /// How the log stands, for the status.
    #[must_use]
    pub fn log(&self) -> Standing {
        self.log
    }
}

fn down(standing: Standing) -> Option<Outage> {
    match standing {
        Standing::Down(outage) => Some(outage),
        Standing::Unknown | Standing::Answers | Standing::Silent(_) => None,
    }
}

/// Probes, and what they brought.
#[derive(Debug)]
pub struct Conditions {
    probe: Arc<dyn ServiceProbe>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    rng: Mutex<StdRng>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    issuer: Silence,
    log: Silence,
}

impl Conditions {
    /// Nothing is known before [`Conditions::run`] has probed.
    #[must_use]
    pub fn new(probe: Arc<dyn ServiceProbe>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>, rng: StdRng) -> Self {
        Self { probe, clock, metrics, rng: Mutex::new(rng), seen: Mutex::default() }
    }

    /// Judges, where silence counts from `minimum` on (`minimum_outage` of the policy in force).
    #[must_use]
    pub fn judged(&self, minimum: Duration) -> Judged {
        let elapsed = self.clock.elapsed();
        let seen = self.seen();
        Judged { issuer: seen.issuer.standing(elapsed, minimum), log: seen.log.standing(elapsed, minimum) }
    }

    /// Probes every few seconds until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let probing = async {
            loop {
                self.probe().await;
                sleep(self.pause()).await;
            }
        };
        stop.run_until_cancelled(probing).await;
    }

    /// One round: both at once, each for a bounded time.
    pub async fn probe(&self) {
        let (issuer, log) = tokio::join!(bounded(self.probe.issuers_answer()), bounded(self.probe.log_answers()));
        let (elapsed, now) = (self.clock.elapsed(), self.clock.now());
        let mut seen = self.seen();
        for (name, answered, turned) in
            [("issuer", issuer, seen.issuer.note(issuer, elapsed, now)), ("log", log, seen.log.note(log, elapsed, now))]
        {
            self.metrics.probe_answered(name, answered);
            match (turned, answered) {
                (true, false) => tracing::warn!(probed = name, "it does not answer; the emergency's clock runs"),
                (true, true) => tracing::info!(probed = name, "it answers again; the emergency's clock is stopped"),
                (false, _) => (),
            }
        }
    }

    fn pause(&self) -> Duration {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        jittered(&mut *rng)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn jittered(rng: &mut dyn Rng) -> Duration {
    EVERY + Duration::from_millis(rng.random_range(0..=JITTER_MILLIS))
}

/// A probe that hangs is silence: what is probed has not answered.
async fn bounded(asked: impl Future<Output = bool>) -> bool {
    timeout(PATIENCE, asked).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use rand::SeedableRng as _;
    use time::OffsetDateTime;

    use super::*;

    const MINIMUM: Duration = Duration::from_secs(30);

    /// Answers what it is told to, or hangs; each round takes five seconds of the clock.
    #[derive(Debug, Default)]
    struct Switch {
        issuer: AtomicBool,
        log: AtomicBool,
        hangs: AtomicBool,
        rounds: AtomicU32,
        elapsed: Mutex<Duration>,
        wall: Mutex<i64>,
    }

    #[async_trait]
    impl ServiceProbe for Switch {
        async fn issuers_answer(&self) -> bool {
            self.rounds.fetch_add(1, Ordering::Relaxed);
            *self.elapsed.lock().unwrap() += Duration::from_secs(5);
            if self.hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            self.issuer.load(Ordering::Relaxed)
        }

        async fn log_answers(&self) -> bool {
            self.log.load(Ordering::Relaxed)
        }
    }

    impl Clock for Switch {
        fn now(&self) -> OffsetDateTime {
            OffsetDateTime::from_unix_timestamp(*self.wall.lock().unwrap()).unwrap()
        }

        fn elapsed(&self) -> Duration {
            *self.elapsed.lock().unwrap()
        }
    }

    fn conditions(switch: &Arc<Switch>) -> Conditions {
        Conditions::new(switch.clone(), switch.clone(), Arc::new(Metrics::default()), StdRng::seed_from_u64(1))
    }

    async fn rounds(conditions: &Conditions, rounds: usize) -> Judged {
        for _ in 0..rounds {
            conditions.probe().await;
        }
        conditions.judged(MINIMUM)
    }

    #[tokio::test]
    async fn each_condition_is_judged_by_its_own_probe() {
        let switch = Arc::new(Switch::default());
        let conditions = conditions(&switch);
        switch.log.store(true, Ordering::Relaxed);
        let judged = rounds(&conditions, 7).await;
        assert!(judged.issuer_down().is_some() && judged.log_down().is_none(), "{judged:?}");
        assert_eq!(judged.log(), Standing::Answers);
        switch.log.store(false, Ordering::Relaxed);
        switch.issuer.store(true, Ordering::Relaxed);
        let judged = rounds(&conditions, 7).await;
        assert!(judged.issuer_down().is_none() && judged.log_down().is_some(), "{judged:?}");
    }

    #[tokio::test]
    async fn an_outage_of_seconds_is_none() {
        let switch = Arc::new(Switch::default());
        let conditions = conditions(&switch);
        assert_eq!(conditions.judged(MINIMUM).issuer(), Standing::Unknown);
        let judged = rounds(&conditions, 6).await;
        assert!(matches!(judged.issuer(), Standing::Silent(outage) if outage.probes() == 6), "{judged:?}");
        assert!(judged.issuer_down().is_none());
        assert!(rounds(&conditions, 1).await.issuer_down().is_some());
    }

    #[tokio::test]
    async fn a_restart_starts_the_count_anew() {
        let switch = Arc::new(Switch::default());
        assert!(rounds(&conditions(&switch), 7).await.issuer_down().is_some());
        assert!(rounds(&conditions(&switch), 6).await.issuer_down().is_none());
    }

    #[tokio::test]
    async fn a_wall_clock_that_is_moved_makes_no_outage_and_ends_none() {
        let switch = Arc::new(Switch::default());
        let conditions = conditions(&switch);
        rounds(&conditions, 3).await;
        *switch.wall.lock().unwrap() += 86_400;
        assert!(rounds(&conditions, 3).await.issuer_down().is_none());
        *switch.wall.lock().unwrap() -= 2 * 86_400;
        let outage = rounds(&conditions, 1).await.issuer_down().expect("seven rounds are thirty seconds");
        assert_eq!((outage.since(), outage.lasted()), (OffsetDateTime::UNIX_EPOCH, MINIMUM));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_silence_and_does_not_stop_the_next() {
        let switch = Arc::new(Switch::default());
        switch.issuer.store(true, Ordering::Relaxed);
        switch.hangs.store(true, Ordering::Relaxed);
        let judged = rounds(&conditions(&switch), 7).await;
        assert!(judged.issuer_down().is_some(), "{judged:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_probes_every_few_seconds_until_it_is_told_to_stop() {
        let switch = Arc::new(Switch::default());
        let conditions = conditions(&switch);
        let stop = CancellationToken::new();
        let minute = async {
            sleep(Duration::from_mins(1)).await;
            stop.cancel();
        };
        tokio::join!(conditions.run(stop.clone()), minute);
        let rounds = switch.rounds.load(Ordering::Relaxed);
        assert!((10..=15).contains(&rounds), "{rounds}");
    }

    #[test]
    fn the_pause_is_uneven_and_bounded() {
        let mut rng = StdRng::seed_from_u64(1);
        let pauses: std::collections::BTreeSet<Duration> = (0..50).map(|_| jittered(&mut rng)).collect();
        assert!(pauses.len() > 10);
        assert!(pauses.iter().all(|pause| (EVERY..=EVERY + Duration::from_secs(2)).contains(pause)));
    }
}
