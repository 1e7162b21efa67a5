//! Ending many leases: page by page, paced, and between any two of them it may be stopped. What is done is on record, so that
//! another run goes on where this one stopped. Where only all leases of a parent can be ended together, that is done only if
//! all of them are meant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::ending::{Asked, Finding};
use super::{Desk, Ended, OpenLease, Selection};
use crate::audit::question::Place;
use crate::audit::{AuditError, Inquiry, KeyFingerprint, LeaseOnRecord, Revoked, RevokedBy, StoreError};
use crate::lease::Revocation;

/// After so many failures in a row the object server is away: the others would fare the same.
const AWAY: u32 = 3;
/// Wishes put on record at once: the log's queue is the exchanges' too.
const AT_ONCE: usize = 64;

/// How many leases a second are ended at most. Each makes MinIO read all of its sessions under a lock that every request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace(u32);

impl Pace {
    /// What is usual.
    pub const USUAL: Self = Self(20);

    /// 1 to 1,000 a second.
    #[must_use]
    pub fn per_second(leases: u32) -> Option<Self> {
        (1..=1000).contains(&leases).then_some(Self(leases))
    }

    fn between(self) -> Duration {
        Duration::from_secs(1) / self.0
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Summary {
    /// Leases that were worked on.
    pub leases: u64,
    /// Of them, seen refused or gone.
    pub proven: u64,
    /// The object server says so, and nobody saw it.
    pub unproven: u64,
    /// They end at their expiration.
    pub end_by_themselves: u64,
    /// The object server could not be asked, or refused.
    pub failed: u64,
    /// Whether every lease was worked on that was meant.
    pub complete: bool,
}

impl Summary {
    /// Every lease that was meant was seen to be worth nothing any more.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.complete && self.proven == self.leases
    }

    fn count(&mut self, ended: &Ended) {
        self.leases += 1;
        let of = match ended.seen {
            Revoked::RefusedAtServer { .. } | Revoked::GoneFromListing => &mut self.proven,
            Revoked::Unproven => &mut self.unproven,
            Revoked::EndsByItself => &mut self.end_by_themselves,
            Revoked::Failed => &mut self.failed,
        };
        *of += 1;
    }
}

/// Why a run broke off.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log does not take a wish: nothing was sent for that lease.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The open leases cannot be read.
    #[error("the open leases cannot be read: {0}")]
    Store(#[from] StoreError),
}

/// What was said to one wide request, by parent.
type Wide = BTreeMap<Option<KeyFingerprint>, Result<Duration, Finding>>;

impl Desk {
    /// Puts on record that somebody is about to be shown leases.
    pub async fn record_reading(&self, read: Inquiry) -> Result<(), AuditError> {
        self.parts.log.read(read).await
    }

    /// Every open lease that is meant, without ending any: `told` hears of each.
    pub async fn list(
        &self,
        selection: &Selection,
        stop: &CancellationToken,
        told: &mut (dyn FnMut(&LeaseOnRecord) + Send),
    ) -> Result<(), StoreError> {
        let mut pages = Pages::of(self, selection);
        while let Some(page) = pages.next().await? {
            for open in &page {
                told(&open.lease);
            }
            if stop.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    /// Ends every open lease that is meant. `told` hears of each as it is done, of those whose credential nobody holds at the
    /// end, when the object server's list was asked for all of them at once; on an error, what was told was done.
    pub async fn run(
        &self,
        selection: &Selection,
        by: &RevokedBy,
        pace: Pace,
        stop: &CancellationToken,
        told: &mut (dyn FnMut(Ended) + Send),
    ) -> Result<Summary, RunError> {
        let (mut summary, mut unseen) = (Summary::default(), Vec::new());
        let mut tell = |ended: Ended| {
            summary.count(&ended);
            told(ended);
        };
        let ran = self.end_each(selection, by, (pace, stop), &mut tell, &mut unseen).await;
        // Also of a run that was stopped or broke off: these have been asked for.
        for ended in self.look_for(unseen, by).await {
            tell(ended);
        }
        summary.complete = ran?;
        Ok(summary)
    }

    /// Answers whether every lease was worked on. `unseen` are those that somebody has yet to see gone.
    async fn end_each(
        &self,
        selection: &Selection,
        by: &RevokedBy,
        (pace, stop): (Pace, &CancellationToken),
        tell: &mut (dyn FnMut(Ended) + Send),
        unseen: &mut Vec<LeaseOnRecord>,
    ) -> Result<bool, RunError> {
        let wide = self.end_together(selection, by, stop).await?;
        let mut pages = Pages::of(self, selection);
        let (mut failures, mut next_at) = (0, Duration::ZERO);
        while let Some(page) = pages.next().await? {
            for open in page {
                let pause = next_at.saturating_sub(self.parts.clock.elapsed());
                if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return Ok(false);
                }
                if stop.is_cancelled() || failures >= AWAY {
                    return Ok(false);
                }
                next_at = self.parts.clock.elapsed() + pace.between();
                let asked = match wide.get(&open.lease.parent().cloned()) {
                    Some(asked) => self.end_with_the_others(&open, by, asked).await?,
                    None => self.ask(&open, by).await?,
                };
                match asked {
                    Asked::Told(ended) => {
                        failures = if ended.seen == Revoked::Failed { failures + 1 } else { 0 };
                        tell(*ended);
                    }
                    Asked::Unseen => {
                        failures = 0;
                        unseen.push(open.lease);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Puts the wish on record for every lease of the parents whose leases are all meant, and asks for the end of all of them.
    async fn end_together(
        &self,
        selection: &Selection,
        by: &RevokedBy,
        stop: &CancellationToken,
    ) -> Result<Wide, RunError> {
        let mut wide = Wide::new();
        let needs_it = match self.parts.object_server.capabilities().revocation {
            // One by one is as good, and touches nothing else; of everything, one request ends all at once.
            Revocation::Lease => *selection == Selection::All,
            Revocation::Parent | Revocation::Role => true,
        };
        if !needs_it {
            return Ok(wide);
        }
        let shared = self.parents_of_others(selection).await?;
        let mut parents = BTreeSet::new();
        let mut pages = Pages::of(self, selection);
        while let Some(page) = pages.next().await? {
            let mut meant = Vec::with_capacity(page.len());
            for open in page {
                let parent = open.lease.parent().cloned();
                // A lease of an unknown parent may be of this one.
                let is_shared = shared.contains(&parent) || shared.contains(&None);
                if is_shared || (parent.is_none() && !shared.is_empty()) {
                    continue;
                }
                meant.push(open);
            }
            if stop.is_cancelled() {
                return Ok(Wide::new());
            }
            // The log commits together what comes together.
            let log = &self.parts.log;
            let wishes: Vec<_> = meant.iter().map(|open| log.request_revocation(&open.lease, by)).collect();
            stream::iter(wishes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
            parents.extend(meant.iter().map(|open| open.lease.parent().cloned()));
        }
        for parent in parents {
            let began = self.parts.clock.elapsed();
            let asked = match self.parts.object_server.revoke_all(parent.as_ref()).await {
                Ok(()) => Ok(began),
                Err(error) => {
                    tracing::warn!(%error, "all leases of a parent could not be ended together");
                    Err(Finding::of_error(&error))
                }
            };
            // Where each can be ended alone, that is tried next.
            if asked.is_ok() || self.parts.object_server.capabilities().revocation != Revocation::Lease {
                wide.insert(parent, asked);
            }
        }
        Ok(wide)
    }

    async fn end_with_the_others(
        &self,
        open: &OpenLease,
        by: &RevokedBy,
        asked: &Result<Duration, Finding>,
    ) -> Result<Asked, AuditError> {
        // Issued since: it ended with the others.
        if !open.is_requested() {
            self.parts.log.request_revocation(&open.lease, by).await?;
        }
        let finding = match asked {
            Ok(began) => {
                // Too late to see it allowed: only a code that means the session proves its end.
                self.see(self.begin_proof(&open.lease).await, *began).await
            }
            Err(finding) => Some(finding.clone()),
        };
        Ok(self.conclude(&open.lease, by, finding).await)
    }

    /// The parents of open leases that are not meant.
    async fn parents_of_others(&self, selection: &Selection) -> Result<BTreeSet<Option<KeyFingerprint>>, StoreError> {
        let mut parents = BTreeSet::new();
        if *selection == Selection::All {
            return Ok(parents);
        }
        let mut pages = Pages::of(self, &Selection::All);
        while let Some(page) = pages.next().await? {
            let others = page.iter().filter(|open| !selection.covers(&open.lease));
            parents.extend(others.map(|open| open.lease.parent().cloned()));
        }
        Ok(parents)
    }
}

/// Reads page after page.
struct Pages<'a> {
    desk: &'a Desk,
    selection: &'a Selection,
    after: Option<Place>,
    ended: bool,
}

impl<'a> Pages<'a> {
    fn of(desk: &'a Desk, selection: &'a Selection) -> Self {
        Self { desk, selection, after: None, ended: false }
    }

    async fn next(&mut self) -> Result<Option<Vec<OpenLease>>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let parts = &self.desk.parts;
        let page = parts.open_leases.open(self.selection, parts.clock.now(), self.after.take()).await?;
        self.ended = page.next.is_none();
        self.after = page.next;
        Ok(Some(page.leases))
    }
}
