//! Where all leases of a parent are ended by one request: only if all of them are meant, each with its wish on record first,
//! and its proof begun while it is still good.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use super::absence::Before;
use super::ending::{Answer, Finding};
use super::proof::Proof;
use super::run::{PROOFS, Pages, RunError};
use super::{Desk, Selection};
use crate::audit::{KeyFingerprint, LeaseOnRecord, RevokedBy, StoreError};
use crate::lease::{LeaseId, Revocation};

/// How long proofs may take to begin before one request ends the leases of all of them.
const BEGIN_PROOFS: Duration = Duration::from_secs(5);
/// Wishes put on record at once: the log's queue is the exchanges' too.
const AT_ONCE: usize = 64;

/// What was asked for in wide requests.
#[derive(Debug, Default)]
pub(super) struct Wide {
    /// What was said, by parent.
    asked: BTreeMap<Option<KeyFingerprint>, Result<Duration, Finding>>,
    /// The leases whose end was wished for before, each with its proof, if there can be one.
    meant: BTreeMap<LeaseId, Option<Proof>>,
}

impl Wide {
    /// What was said of a lease; nothing, if it was not among them.
    pub(super) fn answer_for(&mut self, lease: &LeaseOnRecord) -> Option<Answer> {
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
    /// Puts the wish on record for every lease of the parents whose leases are all meant, and asks for the end of all of them.
    pub(super) async fn end_together(
        &self,
        selection: &Selection,
        before: &Before,
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
            for lease in &meant {
                self.parts.held.withdraw(lease.id());
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
        if wide.meant.values().any(Option::is_none) {
            self.look_before(before).await;
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
                    if error.is_away() {
                        before.outdate();
                    }
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
