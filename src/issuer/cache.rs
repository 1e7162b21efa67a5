//! One issuer block's keys: asked for by many requests at once, fetched by one task at a time. The lock is held for
//! memory only, never across a fetch, so a slow provider delays nobody whose key is known.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio_util::task::TaskTracker;

use super::fault::IssuerFault;
use super::fetch::Fetcher;
use super::file::{self, Stamp};
use super::reach;
use super::source::{self, Loaded};
use super::standing::{Refresh, Standing};
use super::{IssuerSettings, IssuerStatus, KeyLocation};
use crate::clock::Clock;
use crate::token::{KeyError, KeyFault, KeyId, VerificationKey};

/// A fetch in progress: any number of requests may wait for it, and it outlives each of them.
type Flight = Shared<BoxFuture<'static, ()>>;

const NO_KEYS: &str = "the issuer publishes no key that can verify RS256 (Authentik answers an empty set and signs with \
    HS256 while its provider has no signing key): assign an RSA signing key to the Authentik provider";
const SYMMETRIC_ONLY: &str =
    "the provider offers HS256 only, which has no public key: assign an RSA signing key to the Authentik provider";
const PRIVATE_KEY: &str =
    "the issuer PUBLISHES A PRIVATE KEY: it is not used here; whoever reads it can sign any token, replace it now";

/// What all caches work with.
#[derive(Debug)]
pub(super) struct Means {
    /// Gets bytes.
    pub(super) fetcher: Fetcher,
    /// Tells ages.
    pub(super) clock: Arc<dyn Clock>,
    /// Where fetches run.
    pub(super) tasks: TaskTracker,
}

/// The cache of one issuer block.
#[derive(Debug)]
pub(super) struct KeyCache {
    settings: IssuerSettings,
    means: Arc<Means>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    standing: Standing,
    stamp: Option<Stamp>,
    flight: Option<Flight>,
}

impl KeyCache {
    pub(super) fn new(settings: IssuerSettings, means: Arc<Means>) -> Self {
        Self { settings, means, state: Mutex::default() }
    }

    /// The key, after at most one fetch.
    pub(super) async fn key(self: &Arc<Self>, kid: Option<&KeyId>) -> Result<VerificationKey, KeyError> {
        let replaced = self.is_file_replaced().await;
        let (answer, flight) = self.consult(kid, replaced);
        match flight {
            None => answer,
            Some(flight) => {
                flight.await;
                self.state().standing.find(kid, self.means.clock.elapsed())
            }
        }
    }

    /// Fetches now, whatever is known.
    pub(super) async fn warm(self: &Arc<Self>) {
        let flight = self.fly(&mut self.state());
        flight.await;
    }

    /// Whether the issuer answers now; what is cached stays as it is, because a probe must be no way around the cooldown.
    pub(super) async fn probe(&self) -> Option<bool> {
        reach::probe(&self.settings, &self.means.fetcher).await
    }

    /// How the issuer stands; fetches beside, so that being asked keeps it up to date.
    pub(super) fn status(self: &Arc<Self>) -> IssuerStatus {
        let mut state = self.state();
        let now = self.means.clock.elapsed();
        let name = self.settings.name.clone();
        let status = IssuerStatus { name, ready: state.standing.is_ready(now), detail: state.standing.detail() };
        if state.standing.is_due(now) && state.standing.may_attempt(now) {
            drop(self.fly(&mut state));
        }
        status
    }

    /// The answer from memory, and the fetch to wait for if it may change it.
    fn consult(
        self: &Arc<Self>,
        kid: Option<&KeyId>,
        replaced: bool,
    ) -> (Result<VerificationKey, KeyError>, Option<Flight>) {
        let mut state = self.state();
        let now = self.means.clock.elapsed();
        let (answer, refresh) = state.standing.consult(kid, now);
        let refresh = if replaced { Refresh::First } else { refresh };
        let flying = state.flight.as_ref().is_some_and(|flight| flight.peek().is_none());
        // The cooldown is against strangers; a replaced file is the operator's doing.
        let may_fly = flying || replaced || state.standing.may_attempt(now);
        let flight = match refresh {
            Refresh::First if may_fly => Some(self.fly(&mut state)),
            Refresh::Beside if may_fly => {
                drop(self.fly(&mut state));
                None
            }
            Refresh::First | Refresh::Beside | Refresh::No => None,
        };
        (answer, flight)
    }

    /// Joins the fetch in progress or starts one, on a task of its own: a caller who hangs up takes nothing from the
    /// others.
    fn fly(self: &Arc<Self>, state: &mut State) -> Flight {
        // A flight that is over (or whose task died) is none.
        if let Some(flight) = state.flight.as_ref().filter(|flight| flight.peek().is_none()) {
            return flight.clone();
        }
        let started = self.means.clock.elapsed();
        state.standing.attempt(started);
        let cache = Arc::clone(self);
        let task = self.means.tasks.spawn(async move {
            // Before the file is read: if it is replaced meanwhile, the next request sees another stamp.
            let stamp = cache.file_stamp().await;
            let loaded = source::load(&cache.settings, &cache.means.fetcher).await;
            cache.land(loaded, stamp, started);
        });
        let flight = task.map(|_ended| ()).boxed().shared();
        state.flight = Some(flight.clone());
        flight
    }

    /// Takes in what a fetch brought.
    fn land(&self, loaded: Result<Loaded, IssuerFault>, stamp: Option<Stamp>, started: Duration) {
        let issuer = &self.settings.name;
        let mut state = self.state();
        state.flight = None;
        state.stamp = stamp;
        match loaded {
            Ok(Loaded { set, symmetric_only }) => {
                let remark = if set.faults().contains(&KeyFault::Private) {
                    tracing::error!(%issuer, "{PRIVATE_KEY}");
                    Some(PRIVATE_KEY)
                } else if symmetric_only {
                    tracing::warn!(%issuer, "{SYMMETRIC_ONLY}");
                    Some(SYMMETRIC_ONLY)
                } else if set.is_empty() {
                    tracing::warn!(%issuer, "{NO_KEYS}");
                    Some(NO_KEYS)
                } else {
                    tracing::debug!(%issuer, eligible = set.len(), other = set.faults().len(), "keys fetched");
                    None
                };
                state.standing.succeed(set, started, remark);
            }
            Err(fault) => {
                let detail = fault.detail();
                tracing::warn!(%issuer, detail, "keys not fetched");
                state.standing.fail(detail);
            }
        }
    }

    /// Whether the key file is another than the one last read.
    async fn is_file_replaced(&self) -> bool {
        let stamp = self.file_stamp().await;
        stamp.is_some() && stamp != self.state().stamp
    }

    async fn file_stamp(&self) -> Option<Stamp> {
        match &self.settings.keys {
            KeyLocation::JwksFile(path) => file::stamp(path).await,
            KeyLocation::Discovery | KeyLocation::JwksUri(_) => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
