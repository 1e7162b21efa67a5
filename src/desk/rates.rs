//! How often each holder and each role was vended to, and how many exchanges of a holder are under way: in memory, of this
//! process. Bounded: whoever was quiet for as long as the rate counts is forgotten.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;

use crate::clock::Clock;
use crate::lease::{OverQuota, Quota, Quotas, Rate};
use crate::policy::RoleName;
use crate::token::VerifiedToken;

/// The most that are remembered of each kind, some 200 bytes each. Only verified tokens come here, so it takes as many holders;
/// one more is turned away until one of them was quiet.
const MOST: usize = 100_000;
/// Those that were quiet are forgotten every so many exchanges.
const TURNS: usize = 4096;
/// Between two times that the quiet are looked for because there is no place.
const PAUSE: Duration = Duration::from_secs(1);
/// What to tell whoever finds no place.
const FULL: Duration = Duration::from_secs(5);

/// A holder: issuer and subject.
type Holder = (String, String);

/// What was used of the rates, and what is under way.
#[derive(Debug)]
pub struct Rates {
    subjects: Option<Limiter<Holder>>,
    roles: Option<Limiter<RoleName>>,
    at_once: Arc<AtOnce>,
}

impl Rates {
    /// By these quotas, with at most so many exchanges of one holder under way.
    #[must_use]
    pub fn new(quotas: &Quotas, at_once: usize, clock: &Arc<dyn Clock>) -> Self {
        Self {
            subjects: quotas.rate_per_subject.and_then(|rate| Limiter::new(rate, clock)),
            roles: quotas.rate_per_role.and_then(|rate| Limiter::new(rate, clock)),
            at_once: Arc::new(AtOnce { most: at_once, holders: Mutex::default() }),
        }
    }

    /// One more exchange of this holder, if it may; it is under way until what is answered is dropped.
    pub fn begin(&self, token: &VerifiedToken) -> Result<UnderWay, OverQuota> {
        let holder = (token.issuer().as_str().to_owned(), token.subject().as_str().to_owned());
        self.begin_of(holder)
    }

    fn begin_of(&self, holder: Holder) -> Result<UnderWay, OverQuota> {
        if let Some(subjects) = &self.subjects {
            subjects.take(&holder).map_err(|wait| OverQuota::new(Quota::RatePerSubject, wait))?;
        }
        AtOnce::begin(&self.at_once, holder)
    }

    /// One more exchange under these roles, if each of them may.
    pub fn of_roles(&self, roles: &[RoleName]) -> Result<(), OverQuota> {
        let Some(limiter) = &self.roles else { return Ok(()) };
        for role in roles {
            limiter.take(role).map_err(|wait| OverQuota::new(Quota::RatePerRole, wait))?;
        }
        Ok(())
    }
}

/// One rate, for each key.
#[derive(Debug)]
pub struct Limiter<K: Hash + Eq + Clone + Debug> {
    governor: RateLimiter<K, HashMapStateStore<K>, ByClock, NoOpMiddleware<Duration>>,
    clock: ByClock,
    taken: AtomicUsize,
    /// On the monotonic clock.
    forgot_at: Mutex<Duration>,
}

impl<K: Hash + Eq + Clone + Debug> Limiter<K> {
    /// Nothing was taken yet; none for a rate of nothing.
    #[must_use]
    pub fn new(rate: Rate, clock: &Arc<dyn Clock>) -> Option<Self> {
        let quota = governor::Quota::with_period(rate.per() / rate.events().get())?.allow_burst(rate.events());
        let clock = ByClock(Arc::clone(clock));
        let governor = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Some(Self { governor, clock, taken: AtomicUsize::new(0), forgot_at: Mutex::default() })
    }

    /// One more, or how long until there may be one.
    pub fn take(&self, key: &K) -> Result<(), Duration> {
        let is_turn = self.taken.fetch_add(1, Ordering::Relaxed).is_multiple_of(TURNS);
        if is_turn || self.governor.len() >= MOST {
            self.forget_quiet(is_turn);
        }
        if self.governor.len() >= MOST {
            return Err(FULL);
        }
        self.governor.check_key(key).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

impl<K: Hash + Eq + Clone + Debug> Limiter<K> {
    /// While there is no place at all, at most once a second: it looks at every one of them.
    fn forget_quiet(&self, in_any_case: bool) {
        let now = self.clock.now();
        {
            let mut last = self.forgot_at.lock().unwrap_or_else(PoisonError::into_inner);
            if !in_any_case && now < *last + PAUSE {
                return;
            }
            *last = now;
        }
        self.governor.retain_recent();
    }
}

/// Governor's clock, by ours.
#[derive(Debug, Clone)]
struct ByClock(Arc<dyn Clock>);

impl GovernorClock for ByClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How many exchanges of each holder are under way.
#[derive(Debug)]
struct AtOnce {
    most: usize,
    holders: Mutex<HashMap<Holder, usize>>,
}

impl AtOnce {
    fn begin(this: &Arc<Self>, holder: Holder) -> Result<UnderWay, OverQuota> {
        let mut holders = this.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = holders.entry(holder.clone()).or_default();
        if *under_way >= this.most {
            return Err(OverQuota::new(Quota::AtOncePerSubject, Duration::ZERO));
        }
        *under_way += 1;
        drop(holders);
        Ok(UnderWay { at_once: Arc::clone(this), holder })
    }
}

/// An exchange under way, until dropped.
#[derive(Debug)]
pub struct UnderWay {
    at_once: Arc<AtOnce>,
    holder: Holder,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut holders = self.at_once.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let left = holders.get_mut(&self.holder).map_or(0, |under_way| {
            *under_way = under_way.saturating_sub(1);
            *under_way
        });
        if left == 0 {
            holders.remove(&self.holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::freeze_watch::tests::PausedClock;
    use super::*;

    fn holder(subject: &str) -> Holder {
        ("authentik".to_owned(), subject.to_owned())
    }

    fn rates(quotas: &Quotas, at_once: usize) -> Rates {
        let clock: Arc<dyn Clock> = Arc::new(PausedClock::start());
        Rates::new(quotas, at_once, &clock)
    }

    fn per_subject(rate: &str) -> Quotas {
        Quotas { rate_per_subject: Rate::parse(rate), ..Quotas::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_has_its_rate_and_is_told_when_to_come_back_and_no_other_holder_notices() {
        let rates = rates(&per_subject("6/m"), 10);
        for _ in 0..6 {
            drop(rates.begin_of(holder("ada")).unwrap());
        }
        let over = rates.begin_of(holder("ada")).unwrap_err();
        assert_eq!((over.quota, over.retry_after), (Quota::RatePerSubject, Duration::from_secs(10)));
        assert!(rates.begin_of(holder("bob")).is_ok());
        assert!(rates.begin_of(("keycloak".to_owned(), "ada".to_owned())).is_ok(), "another issuer's is somebody else");
        tokio::time::sleep(over.retry_after).await;
        assert!(rates.begin_of(holder("ada")).is_ok());
        assert!(rates.begin_of(holder("ada")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_has_its_rate_whoever_asks() {
        let quotas = Quotas { rate_per_role: Rate::parse("2/s"), ..Quotas::default() };
        let rates = rates(&quotas, 10);
        let role = |name| [RoleName::parse(name).unwrap()];
        assert!(rates.of_roles(&role("studio")).is_ok() && rates.of_roles(&role("studio")).is_ok());
        assert_eq!(rates.of_roles(&role("studio")).unwrap_err().quota, Quota::RatePerRole);
        assert!(rates.of_roles(&role("viewer")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_has_so_many_exchanges_under_way_and_a_place_is_free_once_one_ends() {
        let rates = rates(&Quotas::default(), 2);
        let first = rates.begin_of(holder("ada")).unwrap();
        let _second = rates.begin_of(holder("ada")).unwrap();
        assert_eq!(rates.begin_of(holder("ada")).unwrap_err().quota, Quota::AtOncePerSubject);
        let bob = rates.begin_of(holder("bob")).unwrap();
        drop((first, bob));
        assert!(rates.begin_of(holder("ada")).is_ok());
        assert_eq!(rates.at_once.holders.lock().unwrap().len(), 1, "nobody is remembered who has nothing under way");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_quiet_is_forgotten_and_memory_is_bounded() {
        let rates = rates(&per_subject("60/m"), 10);
        let limiter = rates.subjects.as_ref().unwrap();
        for n in 0..MOST {
            assert!(limiter.take(&holder(&n.to_string())).is_ok());
        }
        assert_eq!(limiter.take(&holder("one more")), Err(FULL));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(limiter.take(&holder("one more")).is_ok());
        assert_eq!(limiter.governor.len(), 1);
    }
}
