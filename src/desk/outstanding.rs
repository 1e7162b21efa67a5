//! How many leases are out, of a holder, under a role and in all, whichever instance minted them. The log is counted; what this
//! process is minting is added to it, so that alone it never exceeds a limit.
//!
//! A holder's are counted at each mint: a limit is exceeded by at most the mints of that holder that are under way at other
//! instances. All and a role's are counted at most once a second, and for a twentieth of the time: such a limit is exceeded by
//! at most what other instances mint between two counts, and never so that one instance alone would.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use super::SharedState;
use crate::clock::Clock;
use crate::lease::{LeaseId, OverQuota, Quota, Quotas};
use crate::policy::RoleName;
use crate::token::VerifiedToken;

/// Between two counts of all leases, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two counts, as a multiple of how long one takes.
const SHARE: u32 = 20;
/// How many pauses old a count may be for those who find somebody counting.
const STALE: u32 = 4;

/// Leases that are out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeasesOut {
    /// How many.
    pub count: u64,
    /// When the first of them ends.
    pub first_end: Option<OffsetDateTime>,
}

/// All leases that are out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllLeasesOut {
    /// In all.
    pub all: LeasesOut,
    /// Under each role, alone or combined with others.
    pub by_role: BTreeMap<String, LeasesOut>,
}

/// Why there is no room for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// A quota is used up.
    #[error(transparent)]
    Over(#[from] OverQuota),
    /// The leases that are out cannot be counted.
    #[error("the leases that are out cannot be counted")]
    Unknown,
}

/// A holder: issuer and subject.
type Holder = (String, String);

/// What is out.
#[derive(Debug)]
pub struct Outstanding {
    quotas: Quotas,
    shared: Arc<dyn SharedState>,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
    /// One counts.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// What this process is minting, by holder.
    minting: HashMap<Holder, Vec<LeaseId>>,
    /// The same in all and by role.
    under_way: Tally,
    counted: Option<Counted>,
    /// What this process began to mint since the last count began.
    since: Tally,
    /// And since the one that is under way.
    since_next: Tally,
    /// Up by one where a count begins and where it ends: what was added between the two is in other tallies than before.
    counts: u64,
    /// When the last count that failed began.
    failed: Option<Duration>,
}

/// The last count of all leases.
#[derive(Debug)]
struct Counted {
    began: Duration,
    took: Duration,
    out: AllLeasesOut,
    /// What this process was minting when it began, which is not among them.
    beside: Tally,
}

impl Counted {
    /// Until when it is good.
    fn pause(&self) -> Duration {
        PAUSE.max(self.took * SHARE)
    }
}

/// A number in all, and by role.
#[derive(Debug, Clone, Default)]
struct Tally {
    all: u64,
    by_role: HashMap<String, u64>,
}

impl Tally {
    fn add(&mut self, roles: &[String]) {
        self.all += 1;
        for role in roles {
            *self.by_role.entry(role.clone()).or_default() += 1;
        }
    }

    fn take(&mut self, roles: &[String]) {
        self.all = self.all.saturating_sub(1);
        for role in roles {
            if let Some(count) = self.by_role.get_mut(role) {
                *count = count.saturating_sub(1);
            }
        }
        self.by_role.retain(|_, count| *count > 0);
    }

    fn of(&self, role: &str) -> u64 {
        self.by_role.get(role).copied().unwrap_or(0)
    }
}

impl Outstanding {
    /// By these quotas; nothing is counted that is not limited.
    #[must_use]
    pub fn new(quotas: Quotas, shared: Arc<dyn SharedState>, clock: Arc<dyn Clock>) -> Self {
        Self { quotas, shared, clock, state: Arc::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Room for this lease, if there is any: it is kept until what is answered is dropped, which must be after its outcome is on
    /// record.
    pub async fn room(&self, token: &VerifiedToken, roles: &[RoleName], lease: LeaseId) -> Result<Room, NoRoom> {
        let holder = (token.issuer().as_str().to_owned(), token.subject().as_str().to_owned());
        self.room_for(holder, roles.iter().map(RoleName::to_string).collect(), lease).await
    }

    async fn room_for(&self, holder: Holder, roles: Vec<String>, lease: LeaseId) -> Result<Room, NoRoom> {
        if self.quotas.max_outstanding.is_some() || self.quotas.max_outstanding_per_role.is_some() {
            self.count().await?;
        }
        // Taken first and looked at then: of two that come at once, the second sees the first.
        let room = Room::take(Arc::clone(&self.state), holder, roles, lease);
        let looked = match self.look_at_all(&room) {
            Ok(()) => self.look_at_holder(&room).await,
            Err(over) => Err(over.into()),
        };
        match looked {
            Ok(()) => Ok(room),
            Err(none) => {
                room.unused();
                Err(none)
            }
        }
    }

    fn look_at_all(&self, room: &Room) -> Result<(), OverQuota> {
        let state = lock(&self.state);
        let Some(Counted { out, beside, .. }) = &state.counted else { return Ok(()) };
        let now = self.clock.now();
        if let Some(limit) = self.quotas.max_outstanding {
            within(limit, out.all.count + beside.all + state.since.all, Quota::Outstanding, out.all, now)?;
        }
        if let Some(limit) = self.quotas.max_outstanding_per_role {
            for role in &room.roles {
                let counted = out.by_role.get(role).copied().unwrap_or_default();
                let used = counted.count + beside.of(role) + state.since.of(role);
                within(limit, used, Quota::OutstandingPerRole, counted, now)?;
            }
        }
        Ok(())
    }

    async fn look_at_holder(&self, room: &Room) -> Result<(), NoRoom> {
        let Some(limit) = self.quotas.max_outstanding_per_subject else { return Ok(()) };
        let minting = lock(&self.state).minting.get(&room.holder).cloned().unwrap_or_default();
        let (issuer, subject) = &room.holder;
        let now = self.clock.now();
        let out = self.shared.out_of(issuer, subject, now, &minting).await.map_err(|error| unknown(&error))?;
        let minting = u64::try_from(minting.len()).unwrap_or(u64::MAX);
        Ok(within(limit, out.count.saturating_add(minting), Quota::OutstandingPerSubject, out, now)?)
    }

    /// Sees to it that the last count is young enough. Whoever finds somebody counting goes by the one before, if it is not too
    /// old.
    async fn count(&self) -> Result<(), NoRoom> {
        let asked = self.clock.elapsed();
        if self.is_counted(1) {
            return Ok(());
        }
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(_counting) if self.is_counted(STALE) => return Ok(()),
            Err(_counting) => self.turn.lock().await,
        };
        if self.is_counted(1) {
            return Ok(());
        }
        // Whoever waited for a count that failed does not count once more: one after the other they would hold every exchange.
        if lock(&self.state).failed.is_some_and(|began| began >= asked) {
            return Err(NoRoom::Unknown);
        }
        let began = self.clock.elapsed();
        let (beside, minting) = {
            let mut state = lock(&self.state);
            state.since_next = Tally::default();
            state.counts += 1;
            let minting: Vec<LeaseId> = state.minting.values().flatten().copied().collect();
            (state.under_way.clone(), minting)
        };
        let out = self.shared.out(self.clock.now(), &minting).await.map_err(|error| {
            lock(&self.state).failed = Some(began);
            unknown(&error)
        })?;
        let took = self.clock.elapsed().saturating_sub(began);
        let mut state = lock(&self.state);
        state.counts += 1;
        state.since = std::mem::take(&mut state.since_next);
        state.counted = Some(Counted { began, took, out, beside });
        Ok(())
    }

    /// Whether the last count began less than so many of its pauses ago.
    fn is_counted(&self, pauses: u32) -> bool {
        let now = self.clock.elapsed();
        let state = lock(&self.state);
        state.counted.as_ref().is_some_and(|counted| now.saturating_sub(counted.began) < counted.pause() * pauses)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unknown(error: &crate::audit::StoreError) -> NoRoom {
    tracing::warn!(%error, "the leases that are out cannot be counted: nothing is minted until they can");
    NoRoom::Unknown
}

/// Whether what is used, this one included, is within the limit; otherwise there is room when the first of them ends.
fn within(limit: NonZeroU32, used: u64, quota: Quota, out: LeasesOut, now: OffsetDateTime) -> Result<(), OverQuota> {
    if used <= u64::from(limit.get()) {
        return Ok(());
    }
    let wait = out.first_end.map_or(Duration::ZERO, |end| (end - now).try_into().unwrap_or(Duration::ZERO));
    Err(OverQuota::new(quota, wait))
}

/// Room for one lease that is being minted.
#[derive(Debug)]
pub struct Room {
    state: Arc<Mutex<State>>,
    holder: Holder,
    roles: Vec<String>,
    lease: LeaseId,
    /// Of the state when it was taken.
    counts: u64,
}

impl Room {
    /// Gives it back: nothing was intended, so it must not stand for a lease until the next count. A holder that is refused
    /// again and again would use up the limit of all others.
    pub fn unused(self) {
        let mut state = lock(&self.state);
        // Since a count began or ended this one is in that count's tallies, or in none.
        if state.counts == self.counts {
            state.since.take(&self.roles);
            state.since_next.take(&self.roles);
        }
    }

    fn take(state: Arc<Mutex<State>>, holder: Holder, roles: Vec<String>, lease: LeaseId) -> Self {
        let counts = {
            let mut state = lock(&state);
            state.minting.entry(holder.clone()).or_default().push(lease);
            state.under_way.add(&roles);
            state.since.add(&roles);
            state.since_next.add(&roles);
            state.counts
        };
        Self { state, holder, roles, lease, counts }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if let Some(minting) = state.minting.get_mut(&self.holder) {
            minting.retain(|lease| *lease != self.lease);
        }
        state.minting.retain(|_, minting| !minting.is_empty());
        state.under_way.take(&self.roles);
    }
}

#[cfg(test)]
mod tests {
    use super::super::freeze_watch::tests::{PausedClock, Scripted};
    use super::*;
    use uuid::Uuid;

    const LIMIT: Option<NonZeroU32> = NonZeroU32::new(3);

    fn outstanding(quotas: Quotas, scripted: &Arc<Scripted>) -> Outstanding {
        Outstanding::new(quotas, scripted.clone(), Arc::new(PausedClock::start()))
    }

    fn lease(n: u128) -> LeaseId {
        LeaseId::from_uuid(Uuid::from_u128(n))
    }

    async fn room(outstanding: &Outstanding, subject: &str, role: &str, n: u128) -> Result<Room, NoRoom> {
        let holder = ("authentik".to_owned(), subject.to_owned());
        outstanding.room_for(holder, vec![role.to_owned()], lease(n)).await
    }

    fn over(result: Result<Room, NoRoom>) -> (Quota, u64) {
        match result {
            Err(NoRoom::Over(over)) => (over.quota, over.retry_after.as_secs()),
            other => panic!("{other:?}"),
        }
    }

    fn issued(scripted: &Scripted, n: u128, subject: &str, role: &str) {
        scripted.leases.lock().unwrap().push((lease(n), subject.to_owned(), role.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_is_refused_again_and_again_uses_up_nothing_of_the_others() {
        let scripted = Arc::new(Scripted::default());
        let quotas = Quotas {
            max_outstanding_per_subject: NonZeroU32::new(1),
            max_outstanding: NonZeroU32::new(5),
            ..Quotas::default()
        };
        let outstanding = outstanding(quotas, &scripted);
        let kept = room(&outstanding, "ada", "studio", 0).await.unwrap();
        issued(&scripted, 0, "ada", "studio");
        for n in 1..20 {
            assert_eq!(over(room(&outstanding, "ada", "studio", n).await).0, Quota::OutstandingPerSubject);
        }
        for n in 20..24 {
            room(&outstanding, "bob", "studio", n).await.unwrap().unused();
        }
        let bob = room(&outstanding, "bob", "studio", 30).await;
        assert!(bob.is_ok(), "{bob:?}");
        drop((kept, bob));
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_has_so_many_and_the_refusal_tells_when_the_first_ends() {
        let scripted = Arc::new(Scripted::default());
        let outstanding = outstanding(Quotas { max_outstanding_per_subject: LIMIT, ..Quotas::default() }, &scripted);
        for n in 0..3 {
            let room = room(&outstanding, "ada", "studio", n).await.unwrap();
            issued(&scripted, n, "ada", "studio");
            drop(room);
        }
        assert_eq!(over(room(&outstanding, "ada", "studio", 3).await), (Quota::OutstandingPerSubject, 600));
        assert!(room(&outstanding, "bob", "studio", 4).await.is_ok());
        scripted.leases.lock().unwrap().pop();
        assert!(room(&outstanding, "ada", "studio", 5).await.is_ok(), "one ended");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_minted_counts_once_before_and_after_it_is_on_record() {
        let scripted = Arc::new(Scripted::default());
        let outstanding = outstanding(Quotas { max_outstanding_per_subject: LIMIT, ..Quotas::default() }, &scripted);
        let (first, _second) = (
            room(&outstanding, "ada", "studio", 0).await.unwrap(),
            room(&outstanding, "ada", "studio", 1).await.unwrap(),
        );
        issued(&scripted, 0, "ada", "studio");
        let third = room(&outstanding, "ada", "studio", 2).await.expect("the first is on record and under way: one");
        assert_eq!(over(room(&outstanding, "ada", "studio", 3).await).0, Quota::OutstandingPerSubject);
        drop(third);
        assert!(room(&outstanding, "ada", "studio", 4).await.is_ok(), "the third came to nothing");
        drop(first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_and_all_have_so_many_between_two_counts_too() {
        for (quotas, quota) in [
            (Quotas { max_outstanding_per_role: LIMIT, ..Quotas::default() }, Quota::OutstandingPerRole),
            (Quotas { max_outstanding: LIMIT, ..Quotas::default() }, Quota::Outstanding),
        ] {
            let scripted = Arc::new(Scripted::default());
            issued(&scripted, 100, "eve", "studio");
            let outstanding = outstanding(quotas, &scripted);
            for n in 0..2 {
                let room = room(&outstanding, &n.to_string(), "studio", n).await.unwrap();
                issued(&scripted, n, "x", "studio");
                drop(room);
            }
            assert_eq!(over(room(&outstanding, "ada", "studio", 3).await).0, quota, "it was not counted again");
            let elsewhere = room(&outstanding, "ada", "viewer", 4).await;
            assert_eq!(elsewhere.is_ok(), quota == Quota::OutstandingPerRole);
            drop(elsewhere);
            scripted.leases.lock().unwrap().clear();
            tokio::time::sleep(PAUSE).await;
            assert!(room(&outstanding, "ada", "studio", 5).await.is_ok(), "{quota:?}: counted anew");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_minted_while_all_is_counted_is_neither_missed_nor_counted_twice() {
        let scripted = Arc::new(Scripted::default());
        let outstanding = outstanding(Quotas { max_outstanding: LIMIT, ..Quotas::default() }, &scripted);
        let slow = room(&outstanding, "ada", "studio", 0).await.unwrap();
        issued(&scripted, 0, "ada", "studio");
        tokio::time::sleep(PAUSE).await;
        let _second = room(&outstanding, "ada", "studio", 1).await.unwrap();
        drop(slow);
        let _third = room(&outstanding, "ada", "studio", 2).await.expect("the slow one counts once");
        assert_eq!(over(room(&outstanding, "ada", "studio", 3).await).0, Quota::Outstanding);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_counted_is_not_minted_and_what_is_not_limited_is_not_counted() {
        let scripted = Arc::new(Scripted { uncountable: true, ..Scripted::default() });
        for quotas in [
            Quotas { max_outstanding: LIMIT, ..Quotas::default() },
            Quotas { max_outstanding_per_role: LIMIT, ..Quotas::default() },
            Quotas { max_outstanding_per_subject: LIMIT, ..Quotas::default() },
        ] {
            let refused = room(&outstanding(quotas, &scripted), "ada", "studio", 0).await;
            assert!(matches!(refused, Err(NoRoom::Unknown)), "{quotas:?}: {refused:?}");
        }
        assert!(room(&outstanding(Quotas::default(), &scripted), "ada", "studio", 0).await.is_ok());
    }
}
