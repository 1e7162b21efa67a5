//! Which roles' credentials were tried, and which roles a failed self-test closed: in memory, of this process, under the
//! policy set in force. It decides who is tried and who is refused; it asks no server and writes no row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::self_test::{Finding, SelfTestCheck};
use crate::lease::SelfTesting;
use crate::policy::{Grant, PolicyHash, RoleName};

/// How long a closed role waits before the next exchange may try again.
const RETRY: Duration = Duration::from_mins(1);
/// The most combinations of roles that are remembered. One more is tried every time.
const MOST: usize = 4096;

/// Roles that were granted together: their right is one document, and tried as one.
type Roles = Vec<RoleName>;
/// What was tried. A lease that its caller narrowed says little about those that nobody did.
type Tried = (Roles, bool);

/// The standing of every role.
#[derive(Debug)]
pub struct Standings {
    rule: SelfTesting,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    policies: PolicyHash,
    passed: BTreeSet<Tried>,
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
        let (passed, closed, gates) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { rule, state: Mutex::new(State { policies, passed, closed, gates }) }
    }

    /// Whether anything may be minted under this grant, and what is to be done with it then. `draw` is uniform in 0 to 1.
    pub fn admit(&self, grant: &Grant, now: Duration, draw: f64) -> Result<Admission, RoleClosed> {
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
        if !state.passed.contains(&tried(grant)) {
            return Ok(Admission::First);
        }
        match self.rule {
            SelfTesting::Share(share) if draw < share => Ok(Admission::Tried),
            SelfTesting::Share(_) | SelfTesting::First | SelfTesting::Off => Ok(Admission::Known),
        }
    }

    /// The gate of the first: whoever holds it tries, and whoever comes through it after that looks again with
    /// [`Standings::verdict`].
    pub(crate) fn gate(&self, grant: &Grant) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = self.state();
        if state.gates.len() >= MOST {
            return Arc::default();
        }
        Arc::clone(state.gates.entry(tried(grant)).or_default())
    }

    /// What is known of the grant's like by now; none if nothing is.
    pub(crate) fn verdict(&self, grant: &Grant) -> Option<Result<(), RoleClosed>> {
        let state = self.state();
        if state.policies != grant.policy_hash() {
            return None;
        }
        match state.closed.get(grant.roles()) {
            Some(closed) => Some(Err(RoleClosed { check: closed.check })),
            None => state.passed.contains(&tried(grant)).then_some(Ok(())),
        }
    }

    /// Takes a finding in.
    pub fn settle(&self, grant: &Grant, finding: &Finding, now: Duration) -> Option<Change> {
        let mut state = self.state();
        if state.policies != grant.policy_hash() {
            return None;
        }
        match finding {
            Finding::Unclear { .. } => None,
            Finding::Passed => {
                state.gates.remove(&tried(grant));
                if state.passed.len() < MOST {
                    state.passed.insert(tried(grant));
                }
                // What a caller narrowed proves too little to open what was closed without.
                let opens = |closed: &Closed| closed.narrowed || !grant.is_narrowed();
                if !state.closed.get(grant.roles()).is_some_and(opens) {
                    return None;
                }
                state.closed.remove(grant.roles());
                Some(Change::Opened)
            }
            // What the caller's own policy leaves of the role may be all that the parent lacks: a holder of the role must not
            // close it for the others by asking for that.
            Finding::Failed { check: SelfTestCheck::Inside, .. } if grant.is_narrowed() => None,
            Finding::Failed { check, .. } => {
                state.passed.retain(|(roles, _)| roles != grant.roles());
                state.gates.remove(&tried(grant));
                let closing = Closed { check: *check, narrowed: grant.is_narrowed(), retry_at: now + RETRY };
                let newly = state.closed.insert(grant.roles().to_vec(), closing).is_none();
                newly.then_some(Change::Closed)
            }
        }
    }

    /// Another policy set is in force: everything is forgotten. Answers the roles that were closed.
    #[must_use]
    pub fn policies_changed(&self, policies: PolicyHash) -> Vec<Vec<RoleName>> {
        let mut state = self.state();
        let before = std::mem::replace(
            &mut *state,
            State { policies, passed: BTreeSet::new(), closed: BTreeMap::new(), gates: BTreeMap::new() },
        );
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

fn tried(grant: &Grant) -> Tried {
    (grant.roles().to_vec(), grant.is_narrowed())
}
