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
