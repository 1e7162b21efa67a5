//! The reconciler: no row without a fate. An intent that stands alone, because its process died or its outcome could not
//! be committed, is closed as `lease.abandoned` after whatever exists under it was ended at the object server; so is a lease
//! that failed but may have been minted, for its exchange could ask only once, and a server may mint late. It touches
//! nothing that an exchange may still be working on, its own or another instance's, and hands nothing out. [`listing`] looks
//! the other way: from what exists at the object server to the log.

pub mod listing;
mod sweep;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use sweep::Sweep;
use watch::Watch;

use crate::audit::{Abandonment, AuditLog, LoneIntent, RECEIPT_LIFE, StoreError};
use crate::break_glass::desk::BreakGlassRefusal;
use crate::clock::Clock;
use crate::exchange::Refusal;
use crate::lease::LeaseId;
use crate::object_server::{LeaseToEnd, ObjectServer, ObjectServerError};
use crate::telemetry::Metrics;

/// Between two passes.
const EVERY: Duration = Duration::from_secs(10);
/// How long this process must itself have seen an intent alone, on its own monotonic clock, before it takes it: an
/// exchange hands nothing out once its receipt is [`RECEIPT_LIFE`] old. Twice that, so that it can say itself what became
/// of its lease.
const DOUBT: Duration = RECEIPT_LIFE.saturating_mul(2);
/// Added to the end of a lease before it is believed to have ended: for the mint that came after the intent, and for
/// clocks that differ.
const SLACK: Duration = Duration::from_mins(5);
/// Leases taken in one pass: it must be over before the database takes the holder of the lock for dead.
const TAKEN: usize = 20;
/// Intents that one search reads.
const PAGE: u32 = 10_000;
/// Searches in one pass; the next goes on from there.
const PAGES: usize = 40;

/// What one search asks.
#[derive(Debug, Clone)]
pub struct Search {
    /// The first instant, by the clocks of the services that wrote.
    pub from: OffsetDateTime,
    /// How many intents to read, fate or no fate, from the oldest on.
    pub page: u32,
    /// Leases seen alone before: told of too if they still are, wherever they stand.
    pub watched: Vec<LeaseId>,
    /// Since when to look for leases whose exchange says that it could not revoke them, or that they failed in a way that
    /// leaves something behind; none: not now.
    pub given_up_since: Option<OffsetDateTime>,
    /// The reasons of failures after which a credential may exist at the object server.
    pub may_have_minted: Vec<&'static str>,
}

/// What one search found.
#[derive(Debug)]
pub enum Found {
    /// Another instance does this work.
    Elsewhere,
    /// This one does.
    Here {
        /// Those without a fate, those that their exchange gave up, and those that failed but may have been minted.
        lone: Vec<LoneIntent>,
        /// Where the next search goes on; none if nothing later was there.
        read_to: Option<OffsetDateTime>,
    },
}

/// Where lone intents are found.
///
/// An implementor MUST answer [`Found::Here`] to one process at a time, MUST let another have its turn when that one dies,
/// and MUST call an intent alone only if no event of any stream gives its lease a fate.
#[async_trait]
pub trait LoneIntents: std::fmt::Debug + Send + Sync {
    /// Searches once.
    async fn search(&self, search: &Search) -> Result<Found, StoreError>;
}

/// What a reconciler is made of.
#[derive(Debug)]
pub struct ReconcilerParts {
    /// Where lone intents are found.
    pub lone_intents: Arc<dyn LoneIntents>,
    /// Ends what exists under them.
    pub object_server: Arc<dyn ObjectServer>,
    /// Where they are closed.
    pub log: Arc<AuditLog>,
    /// For doubt and pace the monotonic clock; for where to search, and for what must have ended, the wall clock.
    pub clock: Arc<dyn Clock>,
    /// Counts what it saw and did.
    pub metrics: Arc<Metrics>,
}

/// The background job.
#[derive(Debug)]
pub struct Reconciler {
    parts: ReconcilerParts,
    sweep: Sweep,
    watch: Watch,
}

impl Reconciler {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(parts: ReconcilerParts) -> Self {
        Self { parts, sweep: Sweep::default(), watch: Watch::new(DOUBT) }
    }

    /// One pass after another, until told to stop. It stops between two steps as well as between two passes: what it was
    /// about to close is still alone, and found again.
    pub async fn run(mut self, stop: CancellationToken) {
        let passes = async {
            loop {
                sleep(EVERY).await;
                self.pass().await;
            }
        };
        stop.run_until_cancelled(passes).await;
    }

    /// Looks once, and closes what it may.
    pub async fn pass(&mut self) {
        match self.look().await {
            Ok(lone) => {
                let seen = lone.len();
                let ready = self.watch.see(lone, self.parts.clock.elapsed(), TAKEN);
                self.settle(ready).await;
                self.parts.metrics.lone_intents(seen, self.watch.overdue(self.parts.clock.elapsed()));
            }
            // The log tells that the database is down, once; readiness does too.
            Err(error) => tracing::debug!(%error, "lone intents cannot be searched now"),
        }
    }

    /// Everything that stands alone, as far as this pass reads; nothing where another instance does the work.
    async fn look(&mut self) -> Result<Vec<LoneIntent>, StoreError> {
        let (now, elapsed) = (self.parts.clock.now(), self.parts.clock.elapsed());
        let mut search = Search {
            from: self.sweep.begin(now, elapsed),
            page: PAGE,
            watched: self.watch.leases(),
            given_up_since: Some(sweep::given_up_since(now)),
            may_have_minted: [&Refusal::MAY_HAVE_MINTED[..], &BreakGlassRefusal::MAY_HAVE_MINTED].concat(),
        };
        // Searches overlap.
        let mut all = BTreeMap::new();
        for _ in 0..PAGES {
            let (lone, read_to) = match self.parts.lone_intents.search(&search).await? {
                Found::Here { lone, read_to } => (lone, read_to),
                Found::Elsewhere => {
                    // Whoever has the work has its own doubts, and so has this process when it gets it back.
                    (self.sweep, self.watch) = (Sweep::default(), Watch::new(DOUBT));
                    return Ok(Vec::new());
                }
            };
            let lone = lone.into_iter().filter(|lone| may_be_taken(lone, now));
            all.extend(lone.map(|lone| (lone.lease_id(), lone)));
            let Some(next) = self.sweep.read(search.from, read_to, now) else { break };
            search = Search { from: next, watched: Vec::new(), given_up_since: None, ..search };
        }
        Ok(all.into_values().collect())
    }

    async fn settle(&mut self, ready: Vec<LoneIntent>) {
        let mut server_is_away = false;
        for lone in ready {
            let lease_id = lone.lease_id();
            let revoked =
                if server_is_away { None } else { Some(self.parts.object_server.revoke(&to_end(&lone)).await) };
            let how = match revoked {
                Some(Ok(())) => Abandonment::Revoked,
                Some(Err(error @ ObjectServerError::NotRevocable { .. })) => {
                    let left = lone.must_end_at() + SLACK - self.parts.clock.now();
                    if let Some(left) = Duration::try_from(left).ok().filter(|left| !left.is_zero()) {
                        // Said once: asked again it would say the same, and only time ends it.
                        tracing::warn!(%lease_id, %error, "an abandoned lease ends by itself");
                        self.watch.not_before(lease_id, self.parts.clock.elapsed().saturating_add(left));
                        continue;
                    }
                    Abandonment::Expired
                }
                failed @ (Some(Err(_)) | None) => {
                    if let Some(Err(error)) = failed {
                        // The others would wait as long for the same answer.
                        server_is_away = error.is_away();
                        tracing::warn!(%lease_id, %error, "an abandoned lease could not be revoked yet");
                    }
                    if self.parts.clock.now() < lone.must_end_at() + SLACK {
                        self.watch.later(lease_id, self.parts.clock.elapsed());
                        continue;
                    }
                    Abandonment::Expired
                }
            };
            if let Err(error) = self.parts.log.abandon_lone(&lone, how).await {
                return tracing::warn!(%lease_id, %error, "an abandoned lease could not be closed in the log yet");
            }
            self.watch.closed(lease_id);
            self.parts.metrics.abandoned(how);
            tracing::warn!(%lease_id, reason = how.as_str(), "a lease without a fate was closed as abandoned");
        }
    }
}

/// An intent of break-glass is left alone until its lease must have ended: what became of it is on the disk of the instance
/// that granted it, and reaches the log when that can merge, an outage later. Ended before, the credential would fail its
/// holder in the midst of the emergency. A later sweep over the life of a lease finds it, if it is still alone then.
fn may_be_taken(lone: &LoneIntent, now: OffsetDateTime) -> bool {
    !lone.is_of_emergency() || now >= lone.must_end_at() + SLACK
}

fn to_end(lone: &LoneIntent) -> LeaseToEnd {
    LeaseToEnd { id: lone.lease_id(), parent: lone.parent().cloned() }
}
