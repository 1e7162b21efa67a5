//! What this process has itself seen alone, and since when, on its own monotonic clock: no wall clock of any instance can
//! make it take an intent too early.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::audit::LoneIntent;
use crate::lease::LeaseId;

/// How many are watched; others are found again when these are closed.
const MOST: usize = 1000;
/// The pause after a first revocation that failed; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest that a healed object server waits to be noticed.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

#[derive(Debug)]
pub(super) struct Watch {
    doubt: Duration,
    seen: BTreeMap<LeaseId, Sighting>,
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    /// From here on nobody else works on it.
    doubt_ends: Duration,
    ready_at: Duration,
    pause: Duration,
}

impl Watch {
    pub(super) fn new(doubt: Duration) -> Self {
        Self { doubt, seen: BTreeMap::new() }
    }

    /// Every lease watched.
    pub(super) fn leases(&self) -> Vec<LeaseId> {
        self.seen.keys().copied().collect()
    }

    /// Takes what one pass saw, forgets what is alone no more, and answers what may be taken now: at most `most`.
    pub(super) fn see(&mut self, lone: Vec<LoneIntent>, now: Duration, most: usize) -> Vec<LoneIntent> {
        let alone: BTreeSet<LeaseId> = lone.iter().map(LoneIntent::lease_id).collect();
        self.seen.retain(|lease, _| alone.contains(lease));
        let mut ready = BTreeMap::new();
        for lone in lone {
            let lease = lone.lease_id();
            if !self.seen.contains_key(&lease) && self.seen.len() >= MOST {
                continue;
            }
            let doubt = if lone.is_given_up() { Duration::ZERO } else { self.doubt };
            let doubt_ends = now.saturating_add(doubt);
            let first = Sighting { doubt_ends, ready_at: doubt_ends, pause: FIRST_PAUSE };
            let ready_at = self.seen.entry(lease).or_insert(first).ready_at;
            if ready_at <= now {
                ready.insert((ready_at, lease), lone);
            }
        }
        // Those that wait longest first: one that fails for ever must not stand before the others.
        ready.into_values().take(most).collect()
    }

    /// It could not be revoked: not again before a pause.
    pub(super) fn later(&mut self, lease: LeaseId, now: Duration) {
        if let Some(sighting) = self.seen.get_mut(&lease) {
            sighting.ready_at = now.saturating_add(sighting.pause);
            sighting.pause = LONGEST_PAUSE.min(sighting.pause * 2);
        }
    }

    /// It cannot be revoked: not again before it must have ended.
    pub(super) fn not_before(&mut self, lease: LeaseId, at: Duration) {
        if let Some(sighting) = self.seen.get_mut(&lease) {
            sighting.ready_at = at;
        }
    }

    /// How many are beyond doubt, and not closed yet.
    pub(super) fn overdue(&self, now: Duration) -> usize {
        self.seen.values().filter(|sighting| sighting.doubt_ends <= now).count()
    }

    /// It has its fate.
    pub(super) fn closed(&mut self, lease: LeaseId) {
        self.seen.remove(&lease);
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::audit::AuditRow;

    const DOUBT: Duration = Duration::from_mins(1);

    fn lone(n: u128, kind: &str) -> LoneIntent {
        let row = format!(
            r#"{{"effect":"allow","granted_seconds":900,"id":"{id}","issuer":"a","lease_id":"{id}","occurred_at":"{at}","reason":"granted","role_session_name":"s","seq":1,"session_policy_sha256":"{zero:064}","stream":"{id}","type":"{kind}"}}"#,
            id = Uuid::from_u128(n),
            at = crate::audit::instant::format(OffsetDateTime::UNIX_EPOCH),
            zero = 0,
        );
        LoneIntent::try_from(serde_json::from_str::<AuditRow>(&row).unwrap()).unwrap()
    }

    fn intents(ids: impl IntoIterator<Item = u128>) -> Vec<LoneIntent> {
        ids.into_iter().map(|n| lone(n, "lease.intended")).collect()
    }

    fn taken(ready: &[LoneIntent]) -> Vec<u128> {
        ready.iter().map(|lone| lone.lease_id().as_uuid().as_u128()).collect()
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_intent_is_taken_only_after_this_process_saw_it_alone_for_longer_than_an_exchange() {
        let mut watch = Watch::new(DOUBT);
        assert!(watch.see(intents([1]), secs(100), 9).is_empty());
        assert!(watch.see(intents([1, 2]), secs(159), 9).is_empty());
        assert_eq!(taken(&watch.see(intents([1, 2]), secs(160), 9)), [1]);
    }

    #[test]
    fn one_that_got_its_fate_is_forgotten_and_its_doubt_begins_anew() {
        let mut watch = Watch::new(DOUBT);
        watch.see(intents([1, 2]), secs(0), 9);
        assert!(watch.see(intents([2]), secs(30), 9).is_empty());
        assert_eq!(watch.leases().len(), 1);
        assert_eq!(taken(&watch.see(intents([1, 2]), secs(60), 9)), [2]);
    }

    #[test]
    fn what_its_exchange_gave_up_waits_for_nobody() {
        let mut watch = Watch::new(DOUBT);
        let seen = vec![lone(1, "lease.abandoned"), lone(2, "lease.intended")];
        assert_eq!(taken(&watch.see(seen, secs(0), 9)), [1]);
    }

    #[test]
    fn a_revocation_that_fails_is_tried_again_after_longer_and_longer_pauses() {
        let mut watch = Watch::new(DOUBT);
        watch.see(intents([1]), secs(0), 9);
        let (mut now, mut tries) = (secs(60), Vec::new());
        while now < secs(600) {
            if !watch.see(intents([1]), now, 9).is_empty() {
                tries.push(now.as_secs());
                watch.later(LeaseId::from_uuid(Uuid::from_u128(1)), now);
            }
            now += secs(1);
        }
        assert_eq!(tries, [60, 70, 90, 130, 210, 330, 450, 570]);
    }

    #[test]
    fn a_pass_takes_a_bounded_number_those_that_wait_longest_first() {
        let mut watch = Watch::new(DOUBT);
        watch.see(intents([5]), secs(0), 2);
        watch.see(intents([1, 2, 5]), secs(1), 2);
        assert_eq!(taken(&watch.see(intents([1, 2, 5]), secs(100), 2)), [5, 1]);
        assert_eq!((watch.overdue(secs(60)), watch.overdue(secs(100))), (1, 3));
        watch.closed(LeaseId::from_uuid(Uuid::from_u128(5)));
        assert_eq!(watch.overdue(secs(100)), 2);
        assert_eq!(taken(&watch.see(intents([1, 2]), secs(101), 2)), [1, 2]);
    }

    #[test]
    fn the_watch_is_bounded() {
        let mut watch = Watch::new(DOUBT);
        let many = || intents(1..=u128::try_from(MOST).unwrap() + 7);
        watch.see(many(), secs(0), 9);
        watch.see(many(), secs(1), 9);
        assert_eq!(watch.leases().len(), MOST);
    }
}
