//! Keeps one lease renewed. All exchanges are made by one loop, so any number of local callers share one, none of them
//! can end it by hanging up, and a failure is asked about as seldom as the loop asks. What was handed out last stays good
//! through an outage until it ends.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::back_off::BackOff;
use super::fault::{Fault, Kind};
use super::lease::{Lease, Shared};
use super::service::Fresh;
use crate::clock::Clock;

/// Longest sleep: a timer stands still while the machine sleeps, so the lease is looked at again this often.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);
/// Least time between two exchanges that worked: a service that hands out leases due at once must not be stormed.
const LEAST_BETWEEN: Duration = Duration::from_secs(5);
/// Most that a renewal is put off, and as a share of what is left then.
const MOST_JITTER: Duration = Duration::from_secs(30);
const JITTER_SHARE: f64 = 0.05;
/// How long callers are told the same failure before one of them makes the loop try again.
const REMEMBERED: Duration = Duration::from_secs(3);
/// From which difference of clocks on an operator is told.
const SKEW_TOLD: time::Duration = time::Duration::minutes(1);

/// Whoever makes leases.
#[async_trait]
pub trait Lessor: std::fmt::Debug + Send + Sync {
    /// Makes one exchange.
    async fn lease(&self, fresh: Fresh) -> Result<Lease, Fault>;
}

#[derive(Debug, Clone, Default)]
struct State {
    lease: Option<Shared>,
    failure: Option<Failure>,
}

#[derive(Debug, Clone)]
struct Failure {
    fault: Arc<Fault>,
    /// By [`Clock::elapsed`].
    until: Duration,
}

#[derive(Debug)]
struct Wake {
    /// Somebody wants a lease and there is none.
    wanted: Notify,
    /// Somebody wants a new lease whatever there is.
    anew: Notify,
}

/// The loop.
#[derive(Debug)]
pub struct Renewer {
    lessor: Arc<dyn Lessor>,
    clock: Arc<dyn Clock>,
    rng: StdRng,
    states: watch::Sender<State>,
    wake: Arc<Wake>,
}

/// What the loop has: for any number of callers.
#[derive(Debug, Clone)]
pub struct Leases {
    states: watch::Receiver<State>,
    wake: Arc<Wake>,
    clock: Arc<dyn Clock>,
}

/// Why the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Due,
    Wanted,
    Anew,
    End,
}

impl Renewer {
    /// A loop that has not asked yet, and the handle for its callers.
    pub fn new(lessor: Arc<dyn Lessor>, clock: Arc<dyn Clock>, rng: StdRng) -> (Self, Leases) {
        let (states, receiver) = watch::channel(State::default());
        let wake = Arc::new(Wake { wanted: Notify::new(), anew: Notify::new() });
        let leases = Leases { states: receiver, wake: Arc::clone(&wake), clock: Arc::clone(&clock) };
        (Self { lessor, clock, rng, states, wake }, leases)
    }

    /// Renews until `shutdown`; an exchange under way is dropped then.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let _ = shutdown.clone().run_until_cancelled_owned(self.renew()).await;
    }

    async fn renew(&mut self) {
        let mut back_off = BackOff::default();
        let mut fresh = Fresh::No;
        loop {
            let wait = match self.lessor.lease(fresh).await {
                Ok(lease) => {
                    back_off.reset();
                    self.publish(lease)
                }
                Err(fault) => {
                    let wait = back_off.after(&fault, &mut self.rng);
                    self.note(fault, wait)
                }
            };
            fresh = match self.until(wait).await {
                Next::End => return,
                Next::Anew => Fresh::Yes,
                Next::Due | Next::Wanted => self.reuse(),
            };
        }
    }

    /// A renewal before the service expects one must say so, or the same lease comes back.
    fn reuse(&self) -> Fresh {
        let state = self.states.borrow();
        let reused = |lease: &Shared| lease.is_live(&*self.clock) && lease.would_be_reused(&*self.clock);
        if state.lease.as_ref().is_some_and(reused) { Fresh::Yes } else { Fresh::No }
    }

    fn publish(&mut self, lease: Lease) -> Duration {
        let wait = self.wait(&lease);
        let (left, skew) = (lease.left(&*self.clock), lease.skew());
        tracing::info!(
            lease_id = %lease.id(), role = lease.role(), left_seconds = left.whole_seconds(),
            renewal_seconds = wait.as_secs(), "lease held"
        );
        if skew.abs() > SKEW_TOLD {
            tracing::warn!(
                ahead_seconds = skew.whole_seconds(),
                "this machine's clock and the service's differ: S3 refuses requests from 15 minutes on"
            );
        }
        self.states.send_modify(|state| *state = State { lease: Some(Arc::new(lease)), failure: None });
        wait
    }

    /// Until the renewal, and a little more: the service has spread its holders, and one that has several agents would
    /// see them together otherwise. Later, never earlier: earlier the service hands out the same lease again.
    fn wait(&mut self, lease: &Lease) -> Duration {
        let due = Duration::try_from(lease.renewal_in(&*self.clock)).unwrap_or_default();
        let left = Duration::try_from(lease.left(&*self.clock)).unwrap_or_default();
        let most = left.saturating_sub(due).mul_f64(JITTER_SHARE).min(MOST_JITTER);
        let jitter = most.mul_f64(self.rng.random_range(0.0..1.0));
        due.saturating_add(jitter).max(LEAST_BETWEEN)
    }

    fn note(&self, fault: Fault, wait: Duration) -> Duration {
        let asked = fault.retry_after().unwrap_or_default().min(wait);
        let until = self.clock.elapsed().saturating_add(REMEMBERED.max(asked));
        let held = self.states.borrow().lease.as_ref().map(|lease| lease.left(&*self.clock).whole_seconds());
        tracing::warn!(
            code = fault.code(),
            held_seconds = held.unwrap_or(0),
            again_seconds = wait.as_secs_f32(),
            "no lease: {fault}"
        );
        let failure = Some(Failure { fault: Arc::new(fault), until });
        self.states.send_modify(|state| {
            // What has ended is wiped, not kept until the next one comes.
            let lease = state.lease.take().filter(|lease| lease.is_live(&*self.clock));
            *state = State { lease, failure };
        });
        wait
    }

    /// There is no lease, and nobody was told why just now. Who asked while an exchange was under way has its outcome.
    fn is_missing(&self) -> bool {
        let state = self.states.borrow();
        let live = state.lease.as_ref().is_some_and(|lease| lease.is_live(&*self.clock));
        let told = state.failure.as_ref().is_some_and(|failure| self.clock.elapsed() < failure.until);
        !live && !told
    }

    /// Sleeps so long by either clock, or until somebody cannot wait.
    async fn until(&self, wait: Duration) -> Next {
        let begun = super::lease::Moment::local(&*self.clock);
        loop {
            let steady = self.clock.elapsed().saturating_sub(begun.elapsed);
            let wall = Duration::try_from(self.clock.now() - begun.wall).unwrap_or_default();
            let Some(rest) = wait.checked_sub(steady.max(wall)).filter(|rest| !rest.is_zero()) else {
                return Next::Due;
            };
            tokio::select! {
                () = self.wake.wanted.notified() => if self.is_missing() {
                    return Next::Wanted;
                },
                () = self.wake.anew.notified() => return Next::Anew,
                () = self.states.closed() => return Next::End,
                () = sleep(rest.min(LONGEST_SLEEP)) => {}
            }
        }
    }
}

impl Leases {
    /// The lease, if there is one that lives: no waiting, no lock held.
    #[must_use]
    pub fn held(&self) -> Option<Arc<Lease>> {
        self.states.borrow().lease.clone().filter(|lease| lease.is_live(&*self.clock))
    }

    /// The lease; where there is none yet, the one that is being made, waited for with `patience`. A failure is told at
    /// once while it is remembered; then the first caller has it tried again.
    pub async fn lease(&self, patience: Duration) -> Result<Arc<Lease>, Arc<Fault>> {
        if let Some(lease) = self.held() {
            return Ok(lease);
        }
        let mut states = self.states.clone();
        match timeout(patience, self.wait(&mut states)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(states.borrow().failure.clone().map_or_else(|| Arc::new(Fault::NotYet), |failed| failed.fault))
            }
        }
    }

    async fn wait(&self, states: &mut watch::Receiver<State>) -> Result<Arc<Lease>, Arc<Fault>> {
        loop {
            {
                let state = states.borrow_and_update();
                if let Some(lease) = state.lease.as_ref().filter(|lease| lease.is_live(&*self.clock)) {
                    return Ok(Arc::clone(lease));
                }
                match &state.failure {
                    Some(failure) if self.clock.elapsed() < failure.until => return Err(Arc::clone(&failure.fault)),
                    Some(_) => self.wake.wanted.notify_one(),
                    // The first exchange is under way, or what was held has ended unseen.
                    None if state.lease.is_some() => self.wake.wanted.notify_one(),
                    None => {}
                }
            }
            if states.changed().await.is_err() {
                return Err(Arc::new(Fault::NotYet));
            }
        }
    }

    /// The first lease: an outage is waited out for so long, a refusal is told at once.
    pub async fn first(&mut self, patience: Duration) -> Result<Arc<Lease>, Arc<Fault>> {
        let mut last = Arc::new(Fault::NotYet);
        let settled = async {
            loop {
                match self.next().await? {
                    Err(fault) if fault.kind() == Kind::Outage => last = fault,
                    outcome => return Some(outcome),
                }
            }
        };
        match timeout(patience, settled).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(last),
        }
    }

    /// Asks for a new lease, whatever there is.
    pub fn renew(&self) {
        self.wake.anew.notify_one();
    }

    /// Waits for the outcome of an exchange that ended after the last call: a new lease, or why there is none.
    pub async fn next(&mut self) -> Option<Result<Arc<Lease>, Arc<Fault>>> {
        loop {
            self.states.changed().await.ok()?;
            let state = self.states.borrow_and_update().clone();
            match (state.failure, state.lease) {
                (Some(failure), _) => return Some(Err(failure.fault)),
                (None, Some(lease)) => return Some(Ok(lease)),
                (None, None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fault::Answered;
    use crate::client::lease::Moment;
    use crate::client::lease::tests::{NOON, wire};
    use futures::future::join_all;
    use rand::SeedableRng;
    use std::sync::Mutex;
    use time::OffsetDateTime;
    use tokio_util::sync::DropGuard;
    use tokio_util::task::TaskTracker;

    /// The paused clock of a test's runtime.
    #[derive(Debug)]
    struct Paused(tokio::time::Instant);

    impl Clock for Paused {
        fn now(&self) -> OffsetDateTime {
            NOON + self.elapsed()
        }

        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
    }

    /// Answers as it is told, and takes a while; leases are of an hour, due after `due` minutes.
    #[derive(Debug)]
    struct Double {
        clock: Arc<Paused>,
        fault: Mutex<Option<Fault>>,
        due: i64,
        asked: Mutex<Vec<(Duration, Fresh)>>,
    }

    #[async_trait]
    impl Lessor for Double {
        async fn lease(&self, fresh: Fresh) -> Result<Lease, Fault> {
            let begun = Moment::local(&*self.clock);
            self.asked.lock().unwrap().push((begun.elapsed, fresh));
            sleep(Duration::from_millis(20)).await;
            let fault = self.fault.lock().unwrap().clone();
            if let Some(fault) = fault {
                return Err(fault);
            }
            let ago = time::Duration::try_from(begun.elapsed).unwrap();
            // The wire's times count from noon, as the service's clock at each answer.
            Lease::read(wire(60, self.due).to_string().as_bytes(), Moment { server: NOON, ..begun })
                .inspect(|lease| assert!(lease.left(&*self.clock) > time::Duration::ZERO, "{ago}"))
        }
    }

    struct World {
        leases: Leases,
        double: Arc<Double>,
        clock: Arc<Paused>,
        _ends: DropGuard,
    }

    impl World {
        #[expect(clippy::disallowed_methods, reason = "the paused clock of a test")]
        fn start(due: i64, fault: Option<Fault>) -> Self {
            let clock = Arc::new(Paused(tokio::time::Instant::now()));
            let double = Double { clock: Arc::clone(&clock), fault: Mutex::new(fault), due, asked: Mutex::default() };
            let double = Arc::new(double);
            let (lessor, time): (Arc<dyn Lessor>, Arc<dyn Clock>) = (double.clone(), clock.clone());
            let (renewer, leases) = Renewer::new(lessor, time, StdRng::seed_from_u64(7));
            let shutdown = CancellationToken::new();
            TaskTracker::new().spawn(renewer.run(shutdown.clone()));
            Self { leases, double, clock, _ends: shutdown.drop_guard() }
        }

        fn set(&self, fault: Option<Fault>) {
            *self.double.fault.lock().unwrap() = fault;
        }

        fn asked(&self) -> Vec<(Duration, Fresh)> {
            self.double.asked.lock().unwrap().clone()
        }

        async fn lease(&self) -> Result<Arc<Lease>, Arc<Fault>> {
            self.leases.lease(Duration::from_millis(800)).await
        }

        async fn at_minute(&self, minute: u64) {
            sleep(Duration::from_secs(minute * 60).saturating_sub(self.clock.elapsed())).await;
        }
    }

    fn away() -> Fault {
        Fault::Unreachable("refused".to_owned())
    }

    fn denied() -> Fault {
        Fault::Refused(Answered::of(403, "access_denied"))
    }

    #[tokio::test(start_paused = true)]
    async fn callers_share_one_exchange_and_one_that_hangs_up_ends_nothing() {
        let world = World::start(33, None);
        let hung_up = timeout(Duration::from_millis(1), world.lease()).await;
        assert!(hung_up.is_err());
        let leases = join_all((0..50).map(|_| world.lease())).await;
        assert!(leases.iter().all(Result::is_ok));
        assert_eq!(world.asked().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_when_it_is_due_and_not_long_after() {
        let world = World::start(33, None);
        world.at_minute(32).await;
        assert_eq!(world.asked().len(), 1);
        world.at_minute(34).await;
        let asked = world.asked();
        assert_eq!(asked.len(), 2);
        let (at, fresh) = asked[1];
        assert!(at >= Duration::from_mins(33) && at <= Duration::from_mins(33) + MOST_JITTER, "{at:?}");
        assert_eq!(fresh, Fresh::No);
    }

    #[tokio::test(start_paused = true)]
    async fn boto_never_asks_in_vain_although_the_service_would_wait() {
        let world = World::start(55, None);
        world.at_minute(45).await;
        let asked = world.asked();
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert_eq!(asked[1].1, Fresh::Yes, "before refresh_after the same lease would come back");
        assert!(asked[1].0 <= Duration::from_mins(45));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_lease_is_handed_out_through_an_outage_until_it_ends() {
        let world = World::start(33, None);
        let first = world.lease().await.unwrap();
        world.set(Some(away()));
        for minute in [34, 45, 59] {
            world.at_minute(minute).await;
            assert!(Arc::ptr_eq(&world.lease().await.unwrap(), &first), "minute {minute}");
        }
        world.at_minute(61).await;
        assert_eq!(*world.lease().await.unwrap_err(), away());
        // 27 minutes of outage, asked at most every half minute or so, and as often when a caller wants it.
        assert!(world.asked().len() < 80, "{}", world.asked().len());
        world.set(None);
        sleep(REMEMBERED).await;
        assert!(world.lease().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_remembered_for_seconds_whoever_asks() {
        let world = World::start(33, Some(denied()));
        for _ in 0..100 {
            assert_eq!(*world.lease().await.unwrap_err(), denied());
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(world.asked().len(), 1);
        sleep(REMEMBERED).await;
        assert_eq!(*world.lease().await.unwrap_err(), denied());
        assert_eq!(world.asked().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waiting_sees_a_refusal_asked_about_at_most_once_a_minute_in_the_end() {
        let world = World::start(33, Some(denied()));
        world.at_minute(60).await;
        assert!((55..100).contains(&world.asked().len()), "{}", world.asked().len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_whose_leases_are_always_due_is_not_stormed() {
        let world = World::start(-1, None);
        world.at_minute(1).await;
        assert!(world.asked().len() <= 13, "{}", world.asked().len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_lease_can_be_asked_for_and_idle_callers_cause_nothing() {
        let world = World::start(33, None);
        world.lease().await.unwrap();
        for _ in 0..1000 {
            world.lease().await.unwrap();
        }
        assert_eq!(world.asked().len(), 1);
        world.leases.renew();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.asked().iter().map(|(_, fresh)| *fresh).collect::<Vec<_>>(), [Fresh::No, Fresh::Yes]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_lease_waits_out_an_outage_and_tells_a_refusal_at_once() {
        let mut world = World::start(33, Some(away()));
        assert_eq!(*world.leases.first(Duration::from_secs(10)).await.unwrap_err(), away());
        world.set(None);
        assert!(world.leases.first(Duration::from_mins(1)).await.is_ok());
        let mut world = World::start(33, Some(denied()));
        let begun = world.clock.elapsed();
        assert_eq!(*world.leases.first(Duration::from_mins(1)).await.unwrap_err(), denied());
        assert!(world.clock.elapsed() < begun + Duration::from_secs(1));
    }
}
