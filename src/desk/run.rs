//! Ending many leases: page by page, paced, and between any two of them it may be stopped. What is done is on record, so that
//! another run goes on where this one stopped.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::absence::Before;
use super::ending::{Answer, Asked};
use super::wide::Wide;
use super::{Desk, Ended, OpenLease, Selection};
use crate::audit::question::Place;
use crate::audit::{AuditError, Inquiry, LeaseOnRecord, Revoked, RevokedBy, StoreError};

/// After so many failures in a row the object server is away: the others would fare the same.
const AWAY: u32 = 3;
/// Leases whose proof is under way at once.
pub(super) const PROOFS: usize = 32;
/// Leases whose proof may wait.
const UNPROVEN: usize = 20_000;
/// How often the leases are read until nothing new is found: rows commit late, and clocks of other instances are behind.
const PASSES: u32 = 3;

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
    /// Whether every lease was worked on that was meant: read once more, there was no other.
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

/// Whose wish a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of somebody with `lease.revoke`, or at the console.
    Operators,
    /// Of a holder, of its own leases: one by one, and never by a means that could end another's.
    Holders,
}

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
        (selection, whose): (&Selection, Whose),
        by: &RevokedBy,
        pace: Pace,
        stop: &CancellationToken,
        told: &mut (dyn FnMut(Ended) + Send),
    ) -> Result<Summary, RunError> {
        let (mut summary, mut unseen, before) = (Summary::default(), Vec::new(), Before::default());
        let mut tell = |ended: Ended| {
            summary.count(&ended);
            told(ended);
        };
        // Proofs wait beside the requests: a server that goes on honouring a lease for ten seconds must not hold up the others.
        let (answered, mut answers) = mpsc::channel(UNPROVEN);
        let asking = self.ask_each((selection, whose), &before, by, (pace, stop), answered);
        let looking = async {
            let waiting = stream::poll_fn(|context| answers.poll_recv(context));
            let finish = |(lease, answer): (LeaseOnRecord, Answer)| async move {
                let asked = self.finish(&lease, by, answer).await;
                (lease, asked)
            };
            let mut finished = waiting.map(finish).buffer_unordered(PROOFS);
            while let Some((lease, asked)) = finished.next().await {
                match asked {
                    Asked::Told(ended) => tell(*ended),
                    Asked::Unseen => unseen.push(lease),
                }
            }
        };
        let (ran, ()) = futures::future::join(asking, looking).await;
        // Also of a run that was stopped or broke off: these have been asked for.
        for ended in self.look_for(unseen, &before, by).await {
            tell(ended);
        }
        summary.complete = ran?;
        Ok(summary)
    }

    /// Answers whether every lease was worked on.
    async fn ask_each(
        &self,
        (selection, whose): (&Selection, Whose),
        before: &Before,
        by: &RevokedBy,
        (pace, stop): (Pace, &CancellationToken),
        answered: mpsc::Sender<(LeaseOnRecord, Answer)>,
    ) -> Result<bool, RunError> {
        let mut wide = match whose {
            Whose::Operators => self.end_together(selection, before, by, stop).await?,
            // What else is of the parent is not theirs to end.
            Whose::Holders => Wide::default(),
        };
        let (mut failures, mut next_at) = (0, Duration::ZERO);
        let mut asked = BTreeSet::new();
        for _ in 0..PASSES {
            let known = asked.len();
            let mut pages = Pages::of(self, selection);
            while let Some(page) = pages.next().await? {
                for open in page {
                    if !asked.insert(open.lease.id()) {
                        continue;
                    }
                    let pause = next_at.saturating_sub(self.parts.clock.elapsed());
                    if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        return Ok(false);
                    }
                    if stop.is_cancelled() || failures >= AWAY {
                        return Ok(false);
                    }
                    next_at = self.parts.clock.elapsed() + pace.between();
                    let answer = match wide.answer_for(&open.lease) {
                        Some(answer) => answer,
                        // Also what was issued since: it did not end with the others.
                        None => self.ask(&open, before, by, whose).await?,
                    };
                    let is_away = matches!(&answer, Answer::Not(finding) if finding.away);
                    failures = if is_away { failures + 1 } else { 0 };
                    // Whoever listens ends after this.
                    let _ = answered.send((open.lease, answer)).await;
                }
            }
            if asked.len() == known {
                return Ok(true);
            }
        }
        // New ones come as fast as they are ended.
        Ok(false)
    }
}

/// Reads page after page.
pub(super) struct Pages<'a> {
    desk: &'a Desk,
    selection: &'a Selection,
    after: Option<Place>,
    ended: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn of(desk: &'a Desk, selection: &'a Selection) -> Self {
        Self { desk, selection, after: None, ended: false }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Vec<OpenLease>>, StoreError> {
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
