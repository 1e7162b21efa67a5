//! The other direction: every live credential at the object server has an open lease, every open lease its credential.
//! What belongs to no lease is put on record, once, as `orphan.found`, and ended where that is asked for and one credential
//! can be ended alone. What may be an exchange under way is left in doubt, and nothing is ever ended by ending others.

mod closing;
pub mod compare;
mod doubts;
mod ending;
mod records;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use compare::{Comparison, Credential, compare, possible};
pub use doubts::DOUBT;
use doubts::Doubts;
pub use records::{KnownLease, LeaseRecords, Turn, UnissuedLease};
pub use report::{FoundOrphan, Pass, ReconcileError, Report};

use crate::audit::{AuditLog, FingerprintKey, KeyFingerprint, Orphan, OrphanFate};
use crate::clock::Clock;
use crate::lease::LeaseId;
use crate::object_server::{Absence, ObjectServer, ObjectServerError};
use crate::telemetry::{Compared, Metrics};

/// Before the first pass of a service: a start has enough to do.
const FIRST: Duration = Duration::from_mins(1);
/// Keys that one question to the log names.
const KEYS: usize = 1000;
/// Orphans put on record in one pass; the next goes on.
const MOST_TOLD: usize = 1000;
/// How far from an orphan's end an intent is looked for: the longest lease, and the clocks.
const LONGEST: Duration = Duration::from_mins(70);

/// What a comparison is made of.
#[derive(Debug)]
pub struct ListingParts {
    /// What the log knows.
    pub records: Arc<dyn LeaseRecords>,
    /// Lists, and ends.
    pub object_server: Arc<dyn ObjectServer>,
    /// Where orphans are put on record.
    pub log: Arc<AuditLog>,
    /// Makes fingerprints of what is listed: the key of the log's.
    pub fingerprints: FingerprintKey,
    /// For doubt the monotonic clock; for what has ended, the wall clock.
    pub clock: Arc<dyn Clock>,
    /// Shows what the last pass saw.
    pub metrics: Arc<Metrics>,
    /// Whether orphans are ended.
    pub revoke_orphans: bool,
}

/// The open leases of one pass.
struct Open {
    /// Those on record before the server was asked.
    leases: BTreeSet<LeaseId>,
    /// Keys of open leases, as far as the server listed them.
    listed: BTreeSet<KeyFingerprint>,
}

/// Compares, pass after pass, and remembers what was in doubt.
#[derive(Debug)]
pub struct ListingReconciler {
    parts: ListingParts,
    orphans: Doubts,
    missing: Doubts,
    /// Listed still, though somebody asked for their end.
    wished: Doubts,
    /// Missing leases that were told already: one line each.
    told_missing: BTreeSet<LeaseId>,
}

impl ListingReconciler {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(parts: ListingParts) -> Self {
        Self {
            parts,
            orphans: Doubts::default(),
            missing: Doubts::default(),
            wished: Doubts::default(),
            told_missing: BTreeSet::new(),
        }
    }

    /// One pass every so often, sooner while something is in doubt, until told to stop or until the server says that it
    /// keeps no list.
    pub async fn run(mut self, every: Duration, stop: CancellationToken) {
        let passes = async {
            sleep(every.min(FIRST)).await;
            loop {
                let pause = match self.pass().await {
                    Ok(Pass::NoList) => {
                        return tracing::debug!(
                            "the object server keeps no list of credentials to compare with the log"
                        );
                    }
                    Ok(Pass::Compared(report)) if report.in_doubt > 0 => every.min(DOUBT + Duration::from_secs(1)),
                    Ok(Pass::Compared(_) | Pass::Elsewhere) => every,
                    Err(error) => {
                        tracing::warn!(%error, "the object server's credentials could not be compared with the log");
                        every
                    }
                };
                sleep(pause).await;
            }
        };
        stop.run_until_cancelled(passes).await;
    }

    /// Compares once. What is out of place for the first time is in doubt: a pass [`DOUBT`] later decides.
    pub async fn pass(&mut self) -> Result<Pass, ReconcileError> {
        let Some(mut turn) = self.parts.records.turn().await? else { return Ok(Pass::Elsewhere) };
        let turn = turn.as_mut();
        // The log first: what is open before the server is asked must be in its list.
        let mut leases = turn.open_leases(self.parts.clock.now()).await?;
        let open_ids = leases.iter().map(|lease| lease.id).collect();
        let open_leases = leases.len();
        let (listed, parents) = match self.list().await {
            Ok(listed) => listed,
            Err(ObjectServerError::KeepsNoList) => return Ok(Pass::NoList),
            Err(error) => return Err(unlisted(error)),
        };
        let seen_at = self.parts.clock.elapsed();
        // And the log again, for what was issued meanwhile, or closed.
        let known: BTreeSet<&KeyFingerprint> = leases.iter().map(|lease| &lease.key).collect();
        let unknown: Vec<_> = listed.iter().map(|c| &c.key).filter(|key| !known.contains(key)).cloned().collect();
        leases.extend(leases_of(turn, &unknown).await?);
        let now = self.parts.clock.now();
        let open_keys: BTreeSet<&KeyFingerprint> =
            leases.iter().filter(|lease| !lease.closed).map(|lease| &lease.key).collect();
        let present = listed.iter().map(|c| &c.key).filter(|key| open_keys.contains(key)).cloned().collect();
        let mut wished: Vec<KnownLease> =
            leases.iter().filter(|lease| !lease.closed && lease.revocation_wanted).cloned().collect();
        let open = Open { leases: open_ids, listed: present };
        wished.retain(|lease| !lease.trial && open.listed.contains(&lease.key));
        let Comparison { with_lease, ended, mut suspects, mut missing } = compare(&listed, &parents, &leases, now);
        missing = still_open(turn, missing).await?;
        suspects.sort_by(|a, b| a.key_fingerprint.cmp(&b.key_fingerprint));

        let out_of_place = suspects.len() + missing.len() + wished.len();
        let beyond = self.orphans.see(suspects.iter().map(|orphan| &orphan.key_fingerprint), seen_at);
        let gone = self.missing.see(missing.iter().map(|lease| &lease.key), seen_at);
        let still = self.wished.see(wished.iter().map(|lease| &lease.key), seen_at);
        wished.retain(|lease| still.contains(&lease.key));
        suspects.retain(|orphan| beyond.contains(&orphan.key_fingerprint));
        missing.retain(|lease| gone.contains(&lease.key));
        suspects.truncate(MOST_TOLD);
        let unissued = self.unissued(turn, &suspects, now).await?;
        suspects.retain(|orphan| !possible(orphan, &unissued).any(|lease| lease.undecided));

        let in_doubt = out_of_place - suspects.len() - missing.len() - wished.len();
        let mut closed = self.close_gone(turn, &parents, &mut missing).await?;
        closed.extend(self.end_wished(turn, &wished, &open).await?);
        self.tell_missing(&missing);
        let orphans = self.settle(turn, suspects, &unissued, &open).await?;
        let live = listed.len() - ended;
        let report = Report { live, ended, with_lease, open_leases, in_doubt, orphans, closed, missing };
        self.parts.metrics.compared(counts(&report), now);
        Ok(Pass::Compared(report))
    }

    /// What the server lists. Access key ids end here.
    async fn list(&self) -> Result<(Vec<Credential>, BTreeMap<KeyFingerprint, Absence>), ObjectServerError> {
        let (mut credentials, mut parents) = (Vec::new(), BTreeMap::new());
        for listing in self.parts.object_server.live_credentials().await? {
            let parent = self.parts.fingerprints.fingerprint(listing.parent.expose());
            credentials.extend(listing.credentials.into_iter().map(|credential| Credential {
                key: self.parts.fingerprints.fingerprint(credential.access_key_id.expose()),
                parent: parent.clone(),
                ends_at: credential.ends_at,
                lease: credential.lease,
            }));
            parents.insert(parent, listing.absence);
        }
        Ok((credentials, parents))
    }

    /// Leases that these orphans may have been minted for, as far as the log knows them without a credential.
    async fn unissued(
        &self,
        turn: &mut dyn Turn,
        orphans: &[Orphan],
        now: OffsetDateTime,
    ) -> Result<Vec<UnissuedLease>, ReconcileError> {
        if orphans.is_empty() {
            return Ok(Vec::new());
        }
        let (from, to) = ends_of(orphans, now);
        Ok(turn.unissued(from, to).await?)
    }

    /// Ends what is to be ended, and puts on record what was not said before.
    async fn settle(
        &self,
        turn: &mut dyn Turn,
        orphans: Vec<Orphan>,
        unissued: &[UnissuedLease],
        open: &Open,
    ) -> Result<Vec<FoundOrphan>, ReconcileError> {
        let keys: Vec<_> = orphans.iter().map(|orphan| orphan.key_fingerprint.clone()).collect();
        let told: BTreeSet<_> =
            if keys.is_empty() { Vec::new() } else { turn.told(&keys).await? }.into_iter().collect();
        // On record before anything is done about it, and again with what was done.
        let mut found = Vec::with_capacity(orphans.len());
        for orphan in orphans {
            let key = &orphan.key_fingerprint;
            let is_new =
                [OrphanFate::Reported, OrphanFate::Revoked].iter().all(|fate| !told.contains(&(key.clone(), *fate)));
            if is_new {
                self.tell(&orphan, OrphanFate::Reported).await?;
            }
            found.push(FoundOrphan { orphan, fate: OrphanFate::Reported, is_new });
        }
        if self.parts.revoke_orphans && !found.is_empty() {
            self.end(turn, &mut found, unissued, open).await?;
        }
        Ok(found)
    }

    async fn tell(&self, orphan: &Orphan, fate: OrphanFate) -> Result<(), ReconcileError> {
        let (key, reason) = (orphan.key_fingerprint.as_str(), orphan.why.as_str());
        self.parts.log.orphan_found(orphan.clone(), fate).await?;
        self.parts.metrics.orphan_told(orphan.why, fate);
        tracing::error!(
            key_fingerprint = key,
            reason,
            fate = fate.as_str(),
            "a credential at the object server belongs to no open lease"
        );
        Ok(())
    }

    fn tell_missing(&mut self, missing: &[KnownLease]) {
        for lease in missing.iter().filter(|lease| !self.told_missing.contains(&lease.id)) {
            tracing::warn!(
                lease_id = %lease.id,
                "an open lease has no credential in the object server's list: somebody else ended it, or the server has started \
                 since and nobody has used it"
            );
        }
        self.told_missing = missing.iter().map(|lease| lease.id).collect();
    }
}

/// Between which instants the leases of these orphans would end. What ends after every lease, as late as a server likes to say,
/// is searched as what never ends; and nothing is added to what a server says, which may be the last instant there is.
fn ends_of(orphans: &[Orphan], now: OffsetDateTime) -> (OffsetDateTime, OffsetDateTime) {
    let latest = now + LONGEST;
    let ends = || orphans.iter().map(|orphan| orphan.ends_at.filter(|end| *end <= latest));
    let from = ends().map(|end| end.unwrap_or(now)).min().unwrap_or(now);
    let to = ends().map(|end| end.unwrap_or(latest)).max().unwrap_or(now);
    (from - compare::NEAR, to + compare::NEAR)
}

async fn leases_of(turn: &mut dyn Turn, keys: &[KeyFingerprint]) -> Result<Vec<KnownLease>, ReconcileError> {
    let mut leases = Vec::new();
    for keys in keys.chunks(KEYS) {
        leases.extend(turn.leases_of(keys).await?);
    }
    Ok(leases)
}

/// Without those that were closed while the server was asked.
async fn still_open(turn: &mut dyn Turn, missing: Vec<KnownLease>) -> Result<Vec<KnownLease>, ReconcileError> {
    let keys: Vec<_> = missing.iter().map(|lease| lease.key.clone()).collect();
    let now_known = leases_of(turn, &keys).await?;
    // As the log knows them now: somebody may have asked for their end meanwhile.
    let missing: BTreeSet<LeaseId> = missing.into_iter().map(|lease| lease.id).collect();
    Ok(now_known.into_iter().filter(|lease| !lease.closed && missing.contains(&lease.id)).collect())
}

/// One refusal has a cure of its own, whichever parent met it.
fn unlisted(error: ObjectServerError) -> ReconcileError {
    let innermost = if let ObjectServerError::OfParent { source, .. } = &error { source.as_ref() } else { &error };
    if let ObjectServerError::Refused { status: 403, code } = innermost {
        return ReconcileError::NotPermitted { code: code.clone() };
    }
    error.into()
}

fn counts(report: &Report) -> Compared {
    Compared {
        credentials: report.live,
        open_leases: report.open_leases,
        in_doubt: report.in_doubt,
        orphans: report.orphans.iter().filter(|found| found.fate == OrphanFate::Reported).count(),
        missing: report.missing.len(),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::compare::NEAR;
    use super::*;
    use crate::audit::Orphanhood;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    fn ending(ends_at: Option<OffsetDateTime>) -> Orphan {
        let key = FingerprintKey::derive(b"test").fingerprint("key");
        Orphan { key_fingerprint: key.clone(), parent: key, ends_at, lease: None, why: Orphanhood::NoLease }
    }

    #[test]
    fn intents_are_looked_for_around_the_orphans_ends() {
        let (soon, later) = (NOW + Duration::from_mins(5), NOW + Duration::from_mins(50));
        let window = ends_of(&[ending(Some(later)), ending(Some(soon))], NOW);
        assert_eq!(window, (soon - NEAR, later + NEAR));
        assert_eq!(ends_of(&[ending(None)], NOW), (NOW - NEAR, NOW + LONGEST + NEAR));
    }

    #[test]
    fn what_ends_after_every_lease_is_searched_as_what_never_ends() {
        let never = ends_of(&[ending(None)], NOW);
        for end in [datetime!(9999-12-31 23:59:59 UTC), NOW + LONGEST + Duration::from_secs(1)] {
            assert_eq!(ends_of(&[ending(Some(end))], NOW), never, "{end}");
        }
        let longest = NOW + LONGEST;
        assert_eq!(ends_of(&[ending(Some(longest))], NOW), (longest - NEAR, longest + NEAR));
    }
}
