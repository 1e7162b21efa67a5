//! Which roles' credentials were tried, and which roles a failed self-test closed: in memory, of this process, under the
//! policy set in force. It decides who is tried and who is refused; it asks no server and writes no row.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::self_test::{Finding, SelfTestCheck};
use crate::lease::{SelfTesting, SessionPolicy};
use crate::policy::{Grant, PolicyHash, RoleName};

/// How long a closed role waits before the next exchange may try again.
const RETRY: Duration = Duration::from_mins(1);
/// The most session policies that are remembered. One more takes the place of the oldest, whose next lease is tried again.
const MOST: usize = 4096;

/// Roles that were granted together: their right is one document, and tried as one.
type Roles = Vec<RoleName>;
/// What was tried: under these roles this session policy, by its digest. Of one role there are many where claims are filled in
/// or callers narrow, and what one of them is good for says nothing about another.
type Tried = (Roles, String);

/// The standing of every role.
#[derive(Debug)]
pub struct Standings {
    rule: SelfTesting,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    policies: PolicyHash,
    /// With the turn in which each did.
    passed: BTreeMap<Tried, u64>,
    turn: u64,
    closed: BTreeMap<Roles, Closed>,
    /// One at a time: whoever waits for the verdict of the first need not ask for one.
    gates: BTreeMap<Tried, Arc<tokio::sync::Mutex<()>>>,
}

#[derive(Debug)]
struct Closed {
    check: SelfTestCheck,
    /// Whether the lease that closed it was narrowed by its caller: only then such a lease opens it.
    narrowed: bool,
    /// On the monotonic clock.
    retry_at: Duration,
}

/// A role is closed: its credentials failed a self-test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the role is closed: its credentials failed the check {}", .check.code())]
pub struct RoleClosed {
    /// The check.
    pub check: SelfTestCheck,
}

/// What is to be done with a credential once it is minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may be handed out as it is.
    Known,
    /// It, or one like it, is to be tried first.
    First,
    /// It is to be tried, whatever is known of others.
    Tried,
}

/// What a finding changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The role is closed from now on.
    Closed,
    /// It is open again.
    Opened,
}

impl Standings {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(rule: SelfTesting, policies: PolicyHash) -> Self {
        Self { rule, state: Mutex::new(State::under(policies)) }
    }

    /// Whether anything may be minted under this grant and session policy, and what is to be done with it then. `draw` is
    /// uniform in 0 to 1.
    pub fn admit(
        &self,
        grant: &Grant,
        policy: &SessionPolicy,
        now: Duration,
        draw: f64,
    ) -> Result<Admission, RoleClosed> {
        if self.rule == SelfTesting::Off {
            return Ok(Admission::Known);
        }
        let mut state = self.state();
        if state.policies != grant.policy_hash() {
            return Ok(Admission::Tried);
        }
        if let Some(closed) = state.closed.get_mut(grant.roles()) {
            if now < closed.retry_at || (grant.is_narrowed() && !closed.narrowed) {
                return Err(RoleClosed { check: closed.check });
            }
            // Only one tries; the others are refused until its verdict.
            closed.retry_at = now + RETRY;
            return Ok(Admission::Tried);
        }
        if !state.passed.contains_key(&tried(grant, policy)) {
            return Ok(Admission::First);
        }
        match self.rule {
            SelfTesting::Share(share) if draw < share => Ok(Admission::Tried),
            SelfTesting::Share(_) | SelfTesting::First | SelfTesting::Off => Ok(Admission::Known),
        }
    }

    /// The gate of the first: whoever holds it tries, and whoever comes through it after that looks again with
    /// [`Standings::verdict`].
    pub(crate) fn gate(&self, grant: &Grant, policy: &SessionPolicy) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = self.state();
        if state.gates.len() >= MOST {
            return Arc::default();
        }
        Arc::clone(state.gates.entry(tried(grant, policy)).or_default())
    }

    /// What is known of its like by now; none if nothing is.
    pub(crate) fn verdict(&self, grant: &Grant, policy: &SessionPolicy) -> Option<Result<(), RoleClosed>> {
        let state = self.state();
        if state.policies != grant.policy_hash() {
            return None;
        }
        match state.closed.get(grant.roles()) {
            Some(closed) => Some(Err(RoleClosed { check: closed.check })),
            None => state.passed.contains_key(&tried(grant, policy)).then_some(Ok(())),
        }
    }

    /// Takes a finding in.
    pub fn settle(&self, grant: &Grant, policy: &SessionPolicy, finding: &Finding, now: Duration) -> Option<Change> {
        let mut state = self.state();
        let tried = tried(grant, policy);
        // Whatever was found: one that is left behind would be there until the next policy set.
        state.gates.remove(&tried);
        if state.policies != grant.policy_hash() {
            return None;
        }
        match finding {
            Finding::Unclear { .. } => None,
            Finding::Passed => {
                state.remember(tried);
                // What a caller narrowed proves too little to open what was closed without.
                let opens = |closed: &Closed| closed.narrowed || !grant.is_narrowed();
                if !state.closed.get(grant.roles()).is_some_and(opens) {
                    return None;
                }
                state.closed.remove(grant.roles());
                Some(Change::Opened)
            }
            // What the caller's own policy leaves of the role, or what the caller's claims make of it, may be all that the
            // parent lacks: a holder of the role must not close it for the others by that.
            Finding::Failed { check: SelfTestCheck::Inside, .. } if grant.is_narrowed() || grant.is_filled() => {
                state.passed.remove(&tried);
                None
            }
            Finding::Failed { check, .. } => {
                state.passed.retain(|(roles, _), _| roles != grant.roles());
                let closing = Closed { check: *check, narrowed: grant.is_narrowed(), retry_at: now + RETRY };
                let newly = state.closed.insert(grant.roles().to_vec(), closing).is_none();
                newly.then_some(Change::Closed)
            }
        }
    }

    /// Whether nothing is granted under these roles now, unless as a trial. What was handed out before is not handed out again.
    #[must_use]
    pub fn is_closed(&self, grant: &Grant) -> bool {
        let state = self.state();
        state.policies == grant.policy_hash() && state.closed.contains_key(grant.roles())
    }

    /// Another policy set is in force: everything is forgotten. Answers the roles that were closed.
    #[must_use]
    pub fn policies_changed(&self, policies: PolicyHash) -> Vec<Vec<RoleName>> {
        let mut state = self.state();
        let before = std::mem::replace(&mut *state, State::under(policies));
        before.closed.into_keys().collect()
    }

    /// The roles that are closed, each as `a`, or `a+b` where several were combined.
    #[must_use]
    pub fn closed(&self) -> Vec<String> {
        let name = |roles: &Roles| roles.iter().map(RoleName::as_str).collect::<Vec<_>>().join("+");
        self.state().closed.keys().map(name).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn under(policies: PolicyHash) -> Self {
        Self { policies, passed: BTreeMap::new(), turn: 0, closed: BTreeMap::new(), gates: BTreeMap::new() }
    }

    /// A caller may narrow in as many ways as it likes, so what is remembered is bounded, and nobody's place is for good.
    fn remember(&mut self, tried: Tried) {
        if self.passed.len() >= MOST && !self.passed.contains_key(&tried) {
            let oldest = self.passed.iter().min_by_key(|(_, turn)| **turn).map(|(tried, _)| tried.clone());
            oldest.and_then(|oldest| self.passed.remove(&oldest));
        }
        self.turn += 1;
        self.passed.insert(tried, self.turn);
    }
}

fn tried(grant: &Grant, policy: &SessionPolicy) -> Tried {
    (grant.roles().to_vec(), policy.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    fn policies(byte: u8) -> PolicyHash {
        PolicyHash::for_tests([byte; 32])
    }

    fn standings(rule: SelfTesting) -> Standings {
        Standings::new(rule, policies(1))
    }

    fn grant() -> Grant {
        Grant::for_tests("team", false, false, policies(1))
    }

    fn narrowed() -> Grant {
        Grant::for_tests("team", true, false, policies(1))
    }

    fn filled() -> Grant {
        Grant::for_tests("team", false, true, policies(1))
    }

    fn policy(text: &str) -> SessionPolicy {
        SessionPolicy::for_tests(text)
    }

    fn failed(check: SelfTestCheck) -> Finding {
        Finding::Failed { check, seen: String::new() }
    }

    fn unclear() -> Finding {
        Finding::Unclear { seen: String::new() }
    }

    #[test]
    fn who_passed_is_known_and_who_is_sent_another_policy_is_not() {
        let known = standings(SelfTesting::First);
        assert_eq!(known.admit(&filled(), &policy("ada"), START, 0.0), Ok(Admission::First));
        assert_eq!(known.settle(&filled(), &policy("ada"), &Finding::Passed, START), None);
        assert_eq!(known.admit(&filled(), &policy("ada"), START, 0.0), Ok(Admission::Known));
        assert_eq!(known.admit(&filled(), &policy("bob"), START, 0.0), Ok(Admission::First));
        assert_eq!((known.verdict(&filled(), &policy("bob")), known.closed().len()), (None, 0));
    }

    #[test]
    fn what_a_caller_chose_or_is_closes_nothing_inside_and_what_the_role_is_does() {
        for (grant, closes) in [(grant(), true), (narrowed(), false), (filled(), false)] {
            let standings = standings(SelfTesting::First);
            let change = standings.settle(&grant, &policy("p"), &failed(SelfTestCheck::Inside), START);
            assert_eq!((change == Some(Change::Closed), standings.closed().len() == 1), (closes, closes), "{grant:?}");
            // A way out is the server's, whoever finds it.
            for check in [SelfTestCheck::Outside, SelfTestCheck::Escape] {
                standings.settle(&grant, &policy("p"), &failed(check), START);
                assert_eq!(standings.closed(), ["team"], "{grant:?}");
            }
        }
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        let standings = standings(SelfTesting::First);
        assert_eq!(standings.settle(&grant(), &policy("p"), &unclear(), START), None);
        assert_eq!(standings.admit(&grant(), &policy("p"), START, 0.0), Ok(Admission::First));
        standings.settle(&grant(), &policy("p"), &failed(SelfTestCheck::Escape), START);
        assert_eq!(standings.settle(&grant(), &policy("p"), &unclear(), START), None);
        assert_eq!(standings.closed(), ["team"]);
    }

    #[test]
    fn a_closed_role_is_tried_once_a_minute_and_opens_when_it_passes() {
        let standings = standings(SelfTesting::First);
        let check = SelfTestCheck::Outside;
        let refused = Err(RoleClosed { check });
        assert_eq!(standings.settle(&grant(), &policy("p"), &failed(check), START), Some(Change::Closed));
        let admit = |after: Duration| standings.admit(&grant(), &policy("p"), START + after, 0.0);
        assert_eq!(admit(Duration::from_secs(59)), refused);
        assert_eq!(admit(RETRY), Ok(Admission::Tried));
        assert_eq!(admit(RETRY), refused, "one tries, the others wait for its verdict");

        // It fails again: closed still, which is no news, for another minute.
        assert_eq!(standings.settle(&grant(), &policy("p"), &failed(check), START + RETRY), None);
        assert_eq!(admit(Duration::from_secs(119)), refused);
        assert_eq!(admit(RETRY * 2), Ok(Admission::Tried));
        assert_eq!(standings.settle(&grant(), &policy("p"), &Finding::Passed, START + RETRY * 2), Some(Change::Opened));
        assert_eq!((admit(RETRY * 2), standings.closed().len()), (Ok(Admission::Known), 0));
    }

    #[test]
    fn what_was_closed_unnarrowed_no_narrowed_lease_opens() {
        let standings = standings(SelfTesting::First);
        let check = SelfTestCheck::Outside;
        standings.settle(&grant(), &policy("p"), &failed(check), START);
        assert_eq!(standings.admit(&narrowed(), &policy("n"), START + RETRY, 0.0), Err(RoleClosed { check }));
        assert_eq!(standings.settle(&narrowed(), &policy("n"), &Finding::Passed, START), None);
        assert_eq!(standings.settle(&grant(), &policy("p"), &Finding::Passed, START), Some(Change::Opened));
    }

    #[test]
    fn a_failure_forgets_all_that_passed_under_the_role() {
        let standings = standings(SelfTesting::First);
        standings.settle(&filled(), &policy("ada"), &Finding::Passed, START);
        standings.settle(&filled(), &policy("bob"), &failed(SelfTestCheck::Escape), START);
        assert_eq!(standings.settle(&filled(), &policy("bob"), &Finding::Passed, START), Some(Change::Opened));
        assert_eq!(standings.admit(&filled(), &policy("ada"), START, 0.0), Ok(Admission::First));
    }

    #[test]
    fn of_what_is_known_the_share_is_tried() {
        let share = standings(SelfTesting::Share(0.25));
        assert_eq!(share.admit(&grant(), &policy("p"), START, 0.9), Ok(Admission::First), "the first in any case");
        share.settle(&grant(), &policy("p"), &Finding::Passed, START);
        assert_eq!(share.admit(&grant(), &policy("p"), START, 0.24), Ok(Admission::Tried));
        assert_eq!(share.admit(&grant(), &policy("p"), START, 0.25), Ok(Admission::Known));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let standings = standings(SelfTesting::First);
        standings.settle(&grant(), &policy("first"), &Finding::Passed, START);
        for n in 1..MOST {
            standings.settle(&narrowed(), &policy(&n.to_string()), &Finding::Passed, START);
        }
        assert_eq!(standings.admit(&grant(), &policy("first"), START, 0.0), Ok(Admission::Known));
        standings.settle(&narrowed(), &policy("one more"), &Finding::Passed, START);
        assert_eq!(standings.state().passed.len(), MOST);
        assert_eq!(standings.admit(&grant(), &policy("first"), START, 0.0), Ok(Admission::First));
        assert_eq!(standings.admit(&narrowed(), &policy("one more"), START, 0.0), Ok(Admission::Known));
    }

    #[test]
    fn no_gate_is_left_behind_whatever_is_found() {
        let standings = standings(SelfTesting::First);
        for finding in [Finding::Passed, unclear(), failed(SelfTestCheck::Inside)] {
            let _gate = standings.gate(&filled(), &policy("p"));
            assert_eq!(standings.state().gates.len(), 1);
            standings.settle(&filled(), &policy("p"), &finding, START);
            assert_eq!(standings.state().gates.len(), 0, "{finding:?}");
        }
    }

    #[test]
    fn another_policy_set_forgets_everything_and_names_what_was_closed() {
        let standings = standings(SelfTesting::First);
        standings.settle(&grant(), &policy("p"), &failed(SelfTestCheck::Inside), START);
        assert_eq!(standings.policies_changed(policies(2)), [vec![RoleName::parse("team").unwrap()]]);
        assert_eq!(standings.admit(&grant(), &policy("p"), START, 0.0), Ok(Admission::Tried), "decided before");
        let after = Grant::for_tests("team", false, false, policies(2));
        assert_eq!(standings.admit(&after, &policy("p"), START, 0.0), Ok(Admission::First));
    }
}
