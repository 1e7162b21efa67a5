//! The credentials of leases that are out, in memory only: to be handed out again to the same holder, and for the proof that a
//! revoked one is refused. Bounded by what they weigh, each wiped when its lease has ended or when it is dropped.
//!
//! One lock, not a cache with a clock of its own: a lease that is withdrawn is off the shelf when the call returns, and what is
//! removed is wiped there and then.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::shelf::{MintedLease, OnShelf, Shelf};
use crate::audit::ReuseReceipt;
use crate::clock::Clock;
use crate::lease::{Holder, LeaseId, SessionPolicy};
use crate::object_server::TemporaryCredentials;

/// What all of it may weigh, in bytes: some 200,000 leases of usual size. For one more the oldest goes: its holder is minted
/// another, and what proves its end is the object server's list, where it keeps one.
const MOST: usize = 512 << 20;

/// What several roles granted together are called.
const ANY: &str = "any";

/// One lease that is out, for its proof.
#[derive(Debug, Clone)]
pub struct HeldLease {
    /// What its holder has.
    pub credentials: Arc<TemporaryCredentials>,
    /// What it may do with it.
    pub session_policy: SessionPolicy,
}

/// A lease found by its access key. It may have ended.
#[derive(Debug)]
pub struct HeldKey {
    /// What its holder has.
    pub credentials: Arc<TemporaryCredentials>,
    /// The role's name, or `any`.
    pub role: String,
    /// The name the object server sees.
    pub session_name: String,
}

/// What this process minted and handed out.
pub struct HeldCredentials {
    most: usize,
    shelf: Mutex<Shelf>,
}

impl Default for HeldCredentials {
    fn default() -> Self {
        Self::bounded(MOST)
    }
}

impl HeldCredentials {
    /// Holds nothing yet, and never more than about so many bytes.
    #[must_use]
    pub fn bounded(most: usize) -> Self {
        Self { most, shelf: Mutex::default() }
    }

    /// Keeps a lease until it ends. Call it before the outcome is committed: from that commit on the lease may be revoked, and a
    /// revocation must find it here to withdraw it. Nobody is handed it before [`HeldCredentials::shelve`].
    pub fn keep(&self, minted: MintedLease, clock: &dyn Clock) -> (OnShelf, Arc<TemporaryCredentials>) {
        let mut all = self.shelf();
        all.end(clock.now());
        let kept = all.keep(minted, clock);
        while all.weight > self.most && all.remove_oldest() {}
        kept
    }

    /// From now on equal holders are handed this lease, unless it was withdrawn meanwhile or a newer one is there: what ended
    /// its mint late must not take the place of what somebody asked to have fresh.
    pub fn shelve(&self, id: LeaseId, clock: &dyn Clock) {
        let mut all = self.shelf();
        let Some(holder) = all.leases.get(&id).filter(|kept| !kept.withdrawn).map(|kept| Arc::clone(&kept.holder))
        else {
            return;
        };
        // Ids go by the wall clock: after a step back a spent lease would keep its place for as long.
        let is_spent = |there: &LeaseId| all.leases.get(there).is_none_or(|old| old.reused_until <= clock.elapsed());
        if all.places.get(&holder).is_none_or(|there| *there < id || is_spent(there)) {
            // With its own key: that of the lease before goes with it.
            all.places.remove(&holder);
            all.places.insert(holder, id);
        }
    }

    /// The lease that this holder may be handed again, if there is one and it is not due to be refreshed.
    #[must_use]
    pub fn on_shelf(&self, holder: &Holder, clock: &dyn Clock) -> Option<OnShelf> {
        let (now, elapsed) = (clock.now(), clock.elapsed());
        let all = self.shelf();
        let kept = all.leases.get(all.places.get(holder)?)?;
        (now < kept.lease.terms.refresh_after && elapsed < kept.reused_until).then(|| kept.lease.clone())
    }

    /// The credentials that a committed row says are handed out again. None, if the lease was withdrawn while that row was
    /// written: then nobody gets them.
    #[must_use]
    pub fn hand_out(&self, receipt: &ReuseReceipt) -> Option<Arc<TemporaryCredentials>> {
        let all = self.shelf();
        let kept = all.leases.get(&receipt.lease_id()).filter(|kept| !kept.withdrawn)?;
        Some(Arc::clone(&kept.credentials))
    }

    /// This lease is never handed out again. Its credentials stay, for its proof.
    pub fn withdraw(&self, id: LeaseId) {
        let mut all = self.shelf();
        let Some(kept) = all.leases.get_mut(&id) else { return };
        kept.withdrawn = true;
        let holder = Arc::clone(&kept.holder);
        if all.places.get(&holder) == Some(&id) {
            all.places.remove(&holder);
        }
    }

    /// No lease of these holders that is out now is ever handed out again.
    pub fn withdraw_of(&self, meant: impl Fn(&Holder) -> bool) {
        let mut all = self.shelf();
        let Shelf { leases, places, .. } = &mut *all;
        for kept in leases.values_mut().filter(|kept| meant(&kept.holder)) {
            kept.withdrawn = true;
        }
        places.retain(|holder, _| !meant(holder));
    }

    /// The credentials of a lease, if they are held and have not ended.
    #[must_use]
    pub fn get(&self, lease: LeaseId, now: OffsetDateTime) -> Option<HeldLease> {
        let all = self.shelf();
        let kept = all.leases.get(&lease).filter(|kept| kept.credentials.expiration > now)?;
        let session_policy = kept.holder.session_policy().clone();
        Some(HeldLease { credentials: Arc::clone(&kept.credentials), session_policy })
    }

    /// Whether S3 was seen to take the credentials of a lease: only then is a refusal of them an end.
    pub(super) fn was_allowed(&self, lease: LeaseId) -> bool {
        self.shelf().leases.get(&lease).is_some_and(|kept| kept.was_allowed)
    }

    /// S3 took them.
    pub(super) fn note_allowed(&self, lease: LeaseId) {
        if let Some(kept) = self.shelf().leases.get_mut(&lease) {
            kept.was_allowed = true;
        }
    }

    /// Forgets those of a lease.
    pub fn forget(&self, lease: LeaseId) {
        self.shelf().remove(lease);
    }

    /// The lease that has this access key, as long as it is held: also one that has ended.
    #[must_use]
    pub fn by_key(&self, access_key_id: &str) -> Option<HeldKey> {
        let all = self.shelf();
        let kept = all.leases.get(&all.keys.find(access_key_id)?)?;
        let role = if let [only] = kept.holder.roles() { only.as_str() } else { ANY };
        Some(HeldKey {
            credentials: Arc::clone(&kept.credentials),
            role: role.to_owned(),
            session_name: kept.lease.assume_role.role_session_name().as_str().to_owned(),
        })
    }

    /// Wipes what has ended.
    pub fn end(&self, now: OffsetDateTime) {
        self.shelf().end(now);
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shelf().leases.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HeldCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldCredentials")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::SecretString;
    use uuid::Uuid;

    use super::*;
    use crate::audit::FingerprintKey;
    use crate::lease::AssumeRole;
    use crate::object_server::AccessKeyId;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    /// Both faces of a clock, each as a test has it.
    #[derive(Debug, Clone, Copy)]
    struct At {
        now: Duration,
        elapsed: Duration,
    }

    impl Clock for At {
        fn now(&self) -> OffsetDateTime {
            START + self.now
        }

        fn elapsed(&self) -> Duration {
            self.elapsed
        }
    }

    fn at(minutes: u64) -> At {
        let passed = Duration::from_mins(minutes);
        At { now: passed, elapsed: passed }
    }

    fn id(n: u128) -> LeaseId {
        LeaseId::from_uuid(Uuid::from_u128(n))
    }

    fn ada() -> Holder {
        Holder::for_tests("ada", "p")
    }

    /// A lease of an hour, advertised for 55 minutes, to be refreshed after 35.
    fn minted(n: u128, subject: &str, issued: At) -> MintedLease {
        let assume_role = AssumeRole::for_tests(n, subject, "p", issued.now());
        let expiration = issued.now() + Duration::from_hours(1);
        MintedLease {
            holder: Holder::for_tests(subject, "p"),
            terms: assume_role.terms(expiration).unwrap(),
            assume_role,
            key_fingerprint: FingerprintKey::derive(b"test").fingerprint("AKIA"),
            credentials: TemporaryCredentials {
                access_key_id: AccessKeyId::parse(&format!("AKIA{n}")).unwrap(),
                secret_access_key: SecretString::from("planted"),
                session_token: SecretString::from("planted"),
                expiration,
            },
        }
    }

    fn shelved(held: &HeldCredentials, n: u128, subject: &str, issued: At) {
        held.keep(minted(n, subject, issued), &issued);
        held.shelve(id(n), &issued);
    }

    fn seen(held: &HeldCredentials, clock: At) -> Option<LeaseId> {
        held.on_shelf(&ada(), &clock).map(|lease| lease.assume_role.lease_id())
    }

    fn handed(held: &HeldCredentials, n: u128) -> Option<String> {
        let credentials = held.hand_out(&ReuseReceipt::for_tests(id(n)))?;
        Some(credentials.access_key_id.expose().to_owned())
    }

    #[test]
    fn what_is_kept_is_handed_out_once_it_is_shelved_and_to_its_holder_alone() {
        let held = HeldCredentials::default();
        held.keep(minted(1, "ada", at(0)), &at(0));
        assert_eq!(seen(&held, at(0)), None, "its outcome is not on record yet");
        held.shelve(id(1), &at(0));
        assert_eq!((seen(&held, at(0)), handed(&held, 1)), (Some(id(1)), Some("AKIA1".to_owned())));
        for other in [Holder::for_tests("bob", "p"), Holder::for_tests("ada", "q")] {
            assert!(held.on_shelf(&other, &at(0)).is_none(), "{other:?}");
        }
    }

    #[test]
    fn nothing_is_handed_out_from_its_refresh_on_whichever_clock_says_so() {
        let held = HeldCredentials::default();
        shelved(&held, 1, "ada", at(0));
        assert_eq!((seen(&held, at(34)), seen(&held, at(35))), (Some(id(1)), None));
        // Set back by an hour, and forward.
        assert_eq!(seen(&held, At { now: Duration::ZERO, elapsed: Duration::from_mins(35) }), None);
        assert_eq!(seen(&held, At { now: Duration::from_mins(35), elapsed: Duration::ZERO }), None);
    }

    #[test]
    fn what_is_withdrawn_is_never_handed_out_again_and_its_proof_still_has_it() {
        type Withdraw = fn(&HeldCredentials);
        let ways: [Withdraw; 3] = [
            |held| held.withdraw(id(1)),
            |held| held.withdraw_of(|holder| holder.subject().as_str() == "ada"),
            |held| held.withdraw_of(|_| true),
        ];
        for withdraw in ways {
            let held = HeldCredentials::default();
            shelved(&held, 1, "ada", at(0));
            withdraw(&held);
            assert_eq!((seen(&held, at(0)), handed(&held, 1)), (None, None));
            held.shelve(id(1), &at(0));
            assert_eq!((seen(&held, at(0)), handed(&held, 1)), (None, None), "not by another way either");
            assert!(held.get(id(1), at(0).now()).is_some());
            shelved(&held, 2, "ada", at(1));
            assert_eq!(seen(&held, at(1)), Some(id(2)), "the near twin: a new one");
        }
        let held = HeldCredentials::default();
        shelved(&held, 1, "ada", at(0));
        held.withdraw(id(2));
        held.withdraw_of(|holder| holder.subject().as_str() == "bob");
        assert_eq!(seen(&held, at(0)), Some(id(1)), "the near twin: another's");
    }

    #[test]
    fn after_a_clock_that_stepped_back_a_spent_lease_leaves_its_place() {
        let held = HeldCredentials::default();
        shelved(&held, 2, "ada", at(0));
        let stepped = At { now: Duration::from_mins(1), elapsed: Duration::from_mins(40) };
        shelved(&held, 1, "ada", stepped);
        assert_eq!(seen(&held, stepped), Some(id(1)));
        let young = HeldCredentials::default();
        shelved(&young, 2, "ada", at(0));
        shelved(&young, 1, "ada", at(1));
        assert_eq!(seen(&young, at(1)), Some(id(2)), "the near twin: one that is not spent");
    }

    #[test]
    fn a_revocation_between_the_outcome_and_the_shelf_is_not_lost() {
        let held = HeldCredentials::default();
        held.keep(minted(1, "ada", at(0)), &at(0));
        held.withdraw(id(1));
        held.shelve(id(1), &at(0));
        assert_eq!((seen(&held, at(0)), handed(&held, 1)), (None, None));
    }

    #[test]
    fn a_newer_lease_takes_the_place_and_an_older_one_that_comes_late_does_not() {
        let held = HeldCredentials::default();
        shelved(&held, 2, "ada", at(0));
        shelved(&held, 1, "ada", at(0));
        assert_eq!(seen(&held, at(0)), Some(id(2)));
        shelved(&held, 3, "ada", at(0));
        assert_eq!(seen(&held, at(0)), Some(id(3)));
        held.forget(id(2));
        assert_eq!(seen(&held, at(0)), Some(id(3)), "the shelf is not the forgotten one's");
    }

    #[test]
    fn what_has_ended_is_dropped_and_nothing_of_it_is_left() {
        let held = HeldCredentials::default();
        for (n, subject) in [(1, "ada"), (2, "bob"), (3, "eve")] {
            shelved(&held, n, subject, at(0));
        }
        assert!(held.get(id(1), at(60).now()).is_none());
        held.keep(minted(4, "ada", at(60)), &at(60));
        assert_eq!(held.len(), 1);
        held.forget(id(4));
        let all = held.shelf();
        assert_eq!((all.leases.len(), all.ends.len(), all.places.len(), all.policies.len()), (0, 0, 0, 0));
        assert_eq!(all.weight, 0);
    }

    #[test]
    fn what_is_held_is_bounded_and_the_oldest_goes_first() {
        let one = {
            let held = HeldCredentials::default();
            shelved(&held, 1, "ada", at(0));
            held.shelf().weight
        };
        let held = HeldCredentials::bounded(one * 3);
        for n in 1..=10 {
            shelved(&held, n, "ada", at(0));
            assert!(held.shelf().weight <= one * 3);
        }
        assert!(held.len() >= 3 && held.get(id(1), at(0).now()).is_none());
        assert_eq!(seen(&held, at(0)), Some(id(10)));
    }

    #[test]
    fn leases_with_one_policy_share_its_text() {
        let held = HeldCredentials::default();
        let policy = |n| {
            let text = held.keep(minted(n, "ada", at(0)), &at(0)).0.assume_role.session_policy().clone();
            text.as_str().as_ptr()
        };
        assert_eq!(policy(1), policy(2));
    }

    #[test]
    fn nothing_that_is_held_is_shown() {
        let held = HeldCredentials::default();
        shelved(&held, 1, "ada", at(0));
        let shown = format!("{held:?} {:?}", held.on_shelf(&ada(), &at(0)));
        assert!(!shown.contains("planted") && !shown.contains("AKIA"), "{shown}");
    }
}
