//! Ending many leases: page by page, paced, and between any two of them it may be stopped. What is done is on record, so that
//! another run goes on where this one stopped. Where only all leases of a parent can be ended together, that is done only if
//! all of them are meant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ending::{Answer, Asked, Finding};
use super::proof::Proof;
use super::{Desk, Ended, OpenLease, Selection};
use crate::audit::question::Place;
use crate::audit::{AuditError, Inquiry, KeyFingerprint, LeaseOnRecord, Revoked, RevokedBy, StoreError};
use crate::lease::{LeaseId, Revocation};

/// After so many failures in a row the object server is away: the others would fare the same.
const AWAY: u32 = 3;
/// Leases whose proof is under way at once.
const PROOFS: usize = 32;
/// How long proofs may take to begin before one request ends the leases of all of them.
const BEGIN_PROOFS: Duration = Duration::from_secs(5);
/// Leases whose proof may wait: as many as credentials are held.
const UNPROVEN: usize = 20_000;
/// How often the leases are read until nothing new is found: rows commit late, and clocks of other instances are behind.
const PASSES: u32 = 3;
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

/// What was asked for in wide requests.
#[derive(Debug, Default)]
struct Wide {
    /// What was said, by parent.
    asked: BTreeMap<Option<KeyFingerprint>, Result<Duration, Finding>>,
    /// The leases whose end was wished for before, each with its proof, if there can be one.
    meant: BTreeMap<LeaseId, Option<Proof>>,
}

impl Wide {
    /// What was said of a lease; nothing, if it was not among them.
    fn answer_for(&mut self, lease: &LeaseOnRecord) -> Option<Answer> {
        let asked = self.asked.get(&lease.parent().cloned())?;
        let proof = self.meant.remove(&lease.id())?;
        Some(match asked {
            Ok(began) => Answer::Done(proof, *began),
            Err(finding) => Answer::Not(finding.clone()),
        })
    }
}

/// Whether somebody else's lease may be of this parent: a lease of an unknown parent may be of any.
fn is_shared(parents_of_others: &BTreeSet<Option<KeyFingerprint>>, parent: Option<&KeyFingerprint>) -> bool {
    match parent {
        Some(_) => parents_of_others.contains(&parent.cloned()) || parents_of_others.contains(&None),
        None => !parents_of_others.is_empty(),
    }
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
        let (mut summary, mut unseen) = (Summary::default(), Vec::new());
        let mut tell = |ended: Ended| {
            summary.count(&ended);
            told(ended);
        };
        // Proofs wait beside the requests: a server that goes on honouring a lease for ten seconds must not hold up the others.
        let (answered, mut answers) = mpsc::channel(UNPROVEN);
        let asking = self.ask_each((selection, whose), by, (pace, stop), answered);
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
        for ended in self.look_for(unseen, by).await {
            tell(ended);
        }
        summary.complete = ran?;
        Ok(summary)
    }

    /// Answers whether every lease was worked on.
    async fn ask_each(
        &self,
        (selection, whose): (&Selection, Whose),
        by: &RevokedBy,
        (pace, stop): (Pace, &CancellationToken),
        answered: mpsc::Sender<(LeaseOnRecord, Answer)>,
    ) -> Result<bool, RunError> {
        let mut wide = match whose {
            Whose::Operators => self.end_together(selection, by, stop).await?,
            // What else is of the parent is not theirs to end.
            Whose::Holders => Wide::default(),
        };
        let (mut failures, mut next_at) = (0, Duration::ZERO);
        let mut asked = BTreeSet::new();
        for _ in 0..PASSES {
            let before = asked.len();
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
                        None => self.ask(&open, by, whose).await?,
                    };
                    let is_away = matches!(&answer, Answer::Not(finding) if finding.away);
                    failures = if is_away { failures + 1 } else { 0 };
                    // Whoever listens ends after this.
                    let _ = answered.send((open.lease, answer)).await;
                }
            }
            if asked.len() == before {
                return Ok(true);
            }
        }
        // New ones come as fast as they are ended.
        Ok(false)
    }

    /// Puts the wish on record for every lease of the parents whose leases are all meant, and asks for the end of all of them.
    async fn end_together(
        &self,
        selection: &Selection,
        by: &RevokedBy,
        stop: &CancellationToken,
    ) -> Result<Wide, RunError> {
        let mut wide = Wide::default();
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
        // So long for the proofs of all: what a server that hangs costs before anything is ended.
        let until = self.parts.clock.elapsed() + BEGIN_PROOFS;
        while let Some(page) = pages.next().await? {
            let meant: Vec<_> = page
                .into_iter()
                .filter(|open| !is_shared(&shared, open.lease.parent()))
                .map(|open| open.lease)
                .collect();
            if stop.is_cancelled() {
                return Ok(Wide::default());
            }
            // The log commits together what comes together.
            let log = &self.parts.log;
            let wishes: Vec<_> = meant.iter().map(|lease| log.request_revocation(lease, by)).collect();
            stream::iter(wishes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
            parents.extend(meant.iter().map(|lease| lease.parent().cloned()));
            wide.meant.extend(meant.iter().map(|lease| (lease.id(), None)));
            let begun: Vec<_> =
                meant.iter().map(|lease| async { (lease.id(), self.begin_proof(lease).await) }).collect();
            let mut begun = stream::iter(begun).buffer_unordered(PROOFS);
            let left = || until.saturating_sub(self.parts.clock.elapsed());
            while let Ok(Some((lease, proof))) = tokio::time::timeout(left(), begun.next()).await {
                wide.meant.insert(lease, proof);
            }
        }
        for parent in parents {
            // Directly before: somebody else may have been issued a lease of it since.
            if is_shared(&self.parents_of_others(selection).await?, parent.as_ref()) {
                continue;
            }
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
                wide.asked.insert(parent, asked);
            }
        }
        Ok(wide)
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
