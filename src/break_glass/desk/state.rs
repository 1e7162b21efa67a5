//! What the rows of emergencies come to: which nonces are used, which leases are out, which reviews are open, when the last
//! drill was. A pure fold whose result does not depend on the order of the rows: streams of several instances have none.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::{AuditRow, Emergency, EmergencyFacts};
use crate::lease::LeaseId;

/// The reason of a refusal whose claim came second: the nonce is another event's.
pub const OWNED_ELSEWHERE: &str = "nonce_owned_elsewhere";
/// The reason of a review that is opened although nobody was handed anything: something may have been minted.
pub(super) const MAY_HAVE_MINTED: &str = "may_have_minted";
/// The kind of a drill, as rows say it.
pub const DRILL: &str = "drill";
/// The reason of `break_glass.drilled` where everything was seen as it must be.
pub const PASSED: &str = "passed";
/// The reasons of `break_glass.ended` after which the credential was seen to be worth nothing.
const PROVEN: [&str; 2] = ["refused_at_server", "gone_from_listing"];

/// When a lease has ended whose end is not on record: 15 minutes, and what clocks may differ by.
const LONGEST: Duration = Duration::from_mins(16);

/// A lease that a use led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedUse {
    /// The lease.
    pub lease: LeaseId,
    /// Its end at the object server.
    pub ends_at: OffsetDateTime,
    /// The name the object server's own log has.
    pub session_name: Option<String>,
    /// The keyed fingerprint of its access key id.
    pub key_fingerprint: Option<String>,
    /// The keyed fingerprint of its parent's.
    pub parent: Option<String>,
}

/// One use of the glass: all that is said under one nonce.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmergencyUse {
    facts: EmergencyFacts,
    /// The event they are of.
    told_by: Option<Uuid>,
    requested_at: Option<OffsetDateTime>,
    /// By the journal of this instance.
    ours: Claims,
    /// By the shared log.
    others: Claims,
    /// One of its claims is no drill: a document must not hide another of its nonce.
    serious: bool,
    /// Everybody who asked under it.
    requesters: BTreeSet<String>,
    granted: Option<GrantedUse>,
    review_opened_at: Option<OffsetDateTime>,
    /// It is on record that nobody was handed anything.
    withheld: bool,
    /// When its credential was seen to be worth nothing any more.
    ended_at: Option<OffsetDateTime>,
    /// What was said of it at all.
    said: HashSet<Emergency>,
}

/// How often a nonce was taken, and how often that came to nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Claims {
    made: usize,
    freed: usize,
}

impl Claims {
    fn stand(self) -> bool {
        self.made > self.freed
    }
}

impl EmergencyUse {
    /// One document is behind all its claims; what else they say is the latest one's.
    fn tell(&mut self, event: Uuid, facts: EmergencyFacts) {
        if self.told_by.is_none_or(|told_by| told_by < event) {
            (self.told_by, self.facts) = (Some(event), facts);
        }
    }

    /// What its events are about.
    #[must_use]
    pub fn facts(&self) -> &EmergencyFacts {
        &self.facts
    }

    /// Whether the nonce may never be used again.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.is_claimed() || self.was_said(Emergency::Cancelled)
    }

    fn was_said(&self, what: Emergency) -> bool {
        self.said.contains(&what)
    }

    /// Whether something may have been minted under it.
    fn is_claimed(&self) -> bool {
        self.ours.stand() || self.others.stand() || self.granted.is_some()
    }

    /// Whether its nonce was cancelled before it was used.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.was_said(Emergency::Cancelled)
    }

    /// Whether it is a drill: harmless, and without a review.
    #[must_use]
    pub fn is_drill(&self) -> bool {
        self.facts.kind.as_deref() == Some(DRILL) && !self.serious
    }

    /// The lease, if one was granted.
    #[must_use]
    pub fn granted(&self) -> Option<&GrantedUse> {
        self.granted.as_ref()
    }

    /// Whether its claim is in the journal of this instance.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.ours.made > 0
    }

    /// Whether the lease was seen to be over, or reached its end.
    #[must_use]
    pub fn is_over(&self, now: OffsetDateTime) -> bool {
        self.ended_at.is_some()
            || self.was_said(Emergency::Expired)
            || self.latest_end().is_none_or(|ends_at| ends_at <= now)
    }

    /// When its lease ends at the latest: also where the process died before it said so.
    #[must_use]
    pub fn latest_end(&self) -> Option<OffsetDateTime> {
        let latest = self.requested_at.map(|at| at + LONGEST);
        self.granted.as_ref().map(|granted| granted.ends_at).or(latest)
    }

    /// Whether the end of its lease is still to be said.
    #[must_use]
    pub fn has_expired_unsaid(&self, now: OffsetDateTime) -> bool {
        let over = self.granted.as_ref().is_some_and(|granted| granted.ends_at <= now);
        over && self.ended_at.is_none() && !self.was_said(Emergency::Expired)
    }

    /// Whether what became of a drill is still to be said.
    #[must_use]
    pub fn is_undrilled(&self) -> bool {
        self.is_drill() && self.granted.is_some() && !self.was_said(Emergency::Drilled)
    }

    /// Whether it waits for its review: from the claim on, for a process that died after it may have minted.
    #[must_use]
    pub fn is_unreviewed(&self) -> bool {
        self.is_claimed() && !self.is_drill() && !self.was_said(Emergency::ReviewClosed)
    }

    /// Whether the next use waits for its review. Not for one of which the service itself recorded that nobody was handed
    /// anything: its review is owed, and the custodians who can be reached are not shut out by it.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.is_unreviewed() && (!self.withheld || self.granted.is_some())
    }

    /// When it was over at the earliest, as far as it is known: no review can have been written before.
    #[must_use]
    pub fn over_at(&self) -> Option<OffsetDateTime> {
        let latest = self.requested_at.map(|at| at + LONGEST);
        self.ended_at.or(self.granted.as_ref().map(|granted| granted.ends_at)).or(latest.filter(|_| !self.withheld))
    }

    /// Everybody who asked under its nonce.
    pub fn requesters(&self) -> impl Iterator<Item = &str> {
        self.requesters.iter().map(String::as_str)
    }

    /// Whether it was reviewed.
    #[must_use]
    pub fn is_reviewed(&self) -> bool {
        self.was_said(Emergency::ReviewClosed)
    }

    /// Since when the review is open.
    #[must_use]
    pub fn review_opened_at(&self) -> Option<OffsetDateTime> {
        self.review_opened_at.or(self.requested_at)
    }

    /// Whether it was said that the review is overdue.
    #[must_use]
    pub fn is_overdue_said(&self) -> bool {
        self.was_said(Emergency::ReviewOverdue)
    }
}

/// Everything that is known of emergencies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmergencyState {
    uses: BTreeMap<Uuid, EmergencyUse>,
    last_drill: Option<OffsetDateTime>,
    drill_overdue_said_at: Option<OffsetDateTime>,
    latest: Option<OffsetDateTime>,
}

impl EmergencyState {
    /// Folds the rows of this instance's journal and those of the shared log; one that is in both counts once. What frees a
    /// nonce that this instance claimed is believed of its own journal alone: the journal is sealed and was verified, and a row
    /// that somebody wrote into the database would otherwise open it again.
    #[must_use]
    pub fn of(journal: &[AuditRow], shared: &[AuditRow]) -> Self {
        let mut state = Self::default();
        let mut seen = BTreeSet::new();
        for row in journal {
            if seen.insert(row.id) {
                state.take(row, true);
            }
        }
        for row in shared {
            if seen.insert(row.id) {
                state.take(row, false);
            }
        }
        state
    }

    fn take(&mut self, row: &AuditRow, ours: bool) {
        let Some((what, facts)) = EmergencyFacts::read(row) else { return };
        // Of this instance alone: another whose clock is fast must not lock this one.
        if ours {
            self.latest = self.latest.max(Some(row.occurred_at));
        }
        if what == Emergency::DrillOverdue {
            self.drill_overdue_said_at = self.drill_overdue_said_at.max(Some(row.occurred_at));
        }
        let Some(nonce) = facts.nonce else { return };
        let known = self.uses.entry(nonce).or_default();
        let claims = if ours { &mut known.ours } else { &mut known.others };
        known.said.insert(what);
        match what {
            Emergency::Requested => {
                claims.made += 1;
                known.serious |= facts.kind.as_deref() != Some(DRILL);
                known.requesters.extend(facts.requester.clone());
                known.requested_at = Some(known.requested_at.map_or(row.occurred_at, |at| at.min(row.occurred_at)));
                known.tell(row.id, facts);
            }
            Emergency::Failed => claims.freed += 1,
            Emergency::Refused => {
                if row.reason == OWNED_ELSEWHERE {
                    claims.freed += 1;
                }
            }
            Emergency::Granted => {
                let later = |one: &GrantedUse| known.granted.as_ref().is_none_or(|other| other.ends_at < one.ends_at);
                if let Some(one) = granted(row, &facts).filter(later) {
                    known.granted = Some(one);
                }
                if known.told_by.is_none() {
                    known.facts = facts;
                }
            }
            Emergency::Ended => {
                if PROVEN.contains(&row.reason.as_str()) {
                    known.ended_at = Some(known.ended_at.map_or(row.occurred_at, |at| at.min(row.occurred_at)));
                }
            }
            Emergency::ReviewOpened => {
                known.withheld |= row.reason == MAY_HAVE_MINTED;
                let opened = known.review_opened_at;
                known.review_opened_at = Some(opened.map_or(row.occurred_at, |at| at.min(row.occurred_at)));
            }
            Emergency::Drilled => {
                if row.reason == PASSED {
                    self.last_drill = self.last_drill.max(Some(row.occurred_at));
                }
            }
            Emergency::Cancelled
            | Emergency::Expired
            | Emergency::ReviewClosed
            | Emergency::ReviewOverdue
            | Emergency::DrillOverdue
            | Emergency::JournalRefused => {}
        }
    }

    /// The use of this nonce, if anything is known of it.
    #[must_use]
    pub fn find(&self, nonce: Uuid) -> Option<&EmergencyUse> {
        self.uses.get(&nonce)
    }

    /// Every use, by nonce.
    pub fn uses(&self) -> impl Iterator<Item = (Uuid, &EmergencyUse)> {
        self.uses.iter().map(|(nonce, known)| (*nonce, known))
    }

    /// Whether the nonce may never be used again.
    #[must_use]
    pub fn is_used(&self, nonce: Uuid) -> bool {
        self.find(nonce).is_some_and(EmergencyUse::is_used)
    }

    /// The uses that the next one waits for.
    pub fn blocking(&self) -> impl Iterator<Item = (Uuid, &EmergencyUse)> {
        self.uses().filter(|(_, known)| known.blocks())
    }

    /// The uses that wait for their review.
    pub fn unreviewed(&self) -> impl Iterator<Item = (Uuid, &EmergencyUse)> {
        self.uses().filter(|(_, known)| known.is_unreviewed())
    }

    /// Whether a use was granted in spite of this one's open review.
    #[must_use]
    pub fn is_overridden(&self, nonce: Uuid) -> bool {
        self.uses.values().any(|other| other.is_claimed() && other.facts.overrides == Some(nonce))
    }

    /// When the last drill passed.
    #[must_use]
    pub fn last_drill(&self) -> Option<OffsetDateTime> {
        self.last_drill
    }

    /// When it was said last that a drill is overdue.
    #[must_use]
    pub fn drill_overdue_said_at(&self) -> Option<OffsetDateTime> {
        self.drill_overdue_said_at
    }

    /// The latest instant that any row says: a clock that stands before it was moved back.
    #[must_use]
    pub fn latest(&self) -> Option<OffsetDateTime> {
        self.latest
    }
}

fn granted(row: &AuditRow, facts: &EmergencyFacts) -> Option<GrantedUse> {
    Some(GrantedUse {
        lease: LeaseId::from_uuid(row.lease_id.or(facts.lease)?),
        ends_at: row.ends_at.or(facts.ends_at)?,
        session_name: row.role_session_name.clone(),
        key_fingerprint: row.key_fingerprint.clone(),
        parent: row.parent_fingerprint.clone(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;

    const AT: OffsetDateTime = datetime!(2026-11-22 03:00 UTC);
    const NONCE: Uuid = Uuid::from_u128(7);

    fn row(id: u128, kind: &str, reason: &str, more: &Value) -> AuditRow {
        let mut detail = json!({"nonce": NONCE, "kind": "outage", "requester": "alice", "incident": "INC-7"});
        let more = more.as_object().unwrap().clone();
        detail.as_object_mut().unwrap().extend(more);
        let ends = if kind == "granted" { json!("2026-11-22T03:15:00.000000Z") } else { Value::Null };
        let mut row = json!({
            "effect": "allow", "id": Uuid::from_u128(id), "occurred_at": "2026-11-22T03:00:00.000000Z", "reason": reason,
            "seq": 1, "stream": Uuid::nil(), "type": format!("break_glass.{kind}"), "detail": detail.to_string(),
            "lease_id": Uuid::from_u128(70), "role_session_name": "alice-70",
        });
        if !ends.is_null() {
            row.as_object_mut().unwrap().insert("ends_at".to_owned(), ends);
        }
        serde_json::from_value(row).unwrap()
    }

    fn said(id: u128, kind: &str) -> AuditRow {
        row(id, kind, "outage", &json!({}))
    }

    fn state(rows: &[AuditRow]) -> EmergencyState {
        EmergencyState::of(rows, &[])
    }

    #[test]
    fn a_nonce_is_used_from_its_claim_on_and_free_again_only_if_nothing_was_minted() {
        assert!(!state(&[]).is_used(NONCE));
        assert!(state(&[said(1, "requested")]).is_used(NONCE), "also where the process died after it");
        assert!(!state(&[said(1, "requested"), said(2, "failed")]).is_used(NONCE));
        assert!(state(&[said(1, "requested"), said(2, "failed"), said(3, "requested")]).is_used(NONCE));
        assert!(state(&[said(1, "cancelled")]).is_used(NONCE));
        assert!(state(&[said(1, "granted")]).is_used(NONCE), "although its claim is not among the rows");
        assert!(!state(&[said(1, "refused")]).is_used(NONCE), "anybody with one signature could burn it");
    }

    #[test]
    fn a_claim_that_came_second_is_none_once_that_is_said() {
        let lost = row(3, "refused", OWNED_ELSEWHERE, &json!({}));
        assert!(state(&[said(1, "requested"), said(2, "requested"), lost.clone()]).is_used(NONCE));
        assert!(!state(&[said(1, "requested"), said(2, "requested"), lost, said(4, "failed")]).is_used(NONCE));
    }

    #[test]
    fn what_frees_a_nonce_of_this_instance_must_be_in_its_own_journal() {
        let journal = [said(1, "requested")];
        assert!(EmergencyState::of(&journal, &[said(2, "failed")]).is_used(NONCE));
        assert!(EmergencyState::of(&journal, &[row(2, "refused", OWNED_ELSEWHERE, &json!({}))]).is_used(NONCE));
        assert!(!EmergencyState::of(&[said(1, "requested"), said(2, "failed")], &[]).is_used(NONCE));
        assert!(!EmergencyState::of(&[], &[said(1, "requested"), said(2, "failed")]).is_used(NONCE), "another's");
    }

    #[test]
    fn a_review_is_open_from_the_claim_until_it_is_closed_and_a_drill_has_none() {
        let open = |rows: &[AuditRow]| state(rows).unreviewed().count();
        assert_eq!(open(&[said(1, "requested")]), 1);
        assert_eq!(open(&[said(1, "requested"), said(2, "granted"), said(3, "review_opened")]), 1);
        assert_eq!(open(&[said(1, "requested"), said(2, "failed")]), 0);
        assert_eq!(open(&[said(1, "cancelled")]), 0);
        assert_eq!(open(&[said(1, "requested"), said(2, "granted"), said(3, "review_closed")]), 0);
        assert_eq!(open(&[row(1, "requested", "drill", &json!({"kind": "drill"}))]), 0);
    }

    #[test]
    fn an_open_review_is_overridden_once_by_a_use_that_says_so() {
        let other = |overrides: Uuid| json!({"nonce": Uuid::from_u128(8), "kind": "declared", "overrides": overrides});
        let first = [said(1, "requested"), said(2, "granted")];
        assert!(!state(&first).is_overridden(NONCE));
        let overriding = row(3, "requested", "declared", &other(NONCE));
        let both = [first.clone().to_vec(), vec![overriding.clone()]].concat();
        assert!(state(&both).is_overridden(NONCE));
        let failed = row(4, "failed", "x", &other(NONCE));
        assert!(!state(&[both, vec![failed]].concat()).is_overridden(NONCE), "one that got nothing overrode nothing");
    }

    #[test]
    fn a_lease_is_over_when_it_was_seen_refused_or_its_end_has_come() {
        let granted = [said(1, "requested"), said(2, "granted")];
        let over =
            |rows: &[AuditRow], minutes| state(rows).find(NONCE).unwrap().is_over(AT + Duration::from_mins(minutes));
        assert_eq!((over(&granted, 14), over(&granted, 15)), (false, true));
        for (reason, proven) in [("refused_at_server", true), ("revoked_unproven", false), ("ends_by_itself", false)] {
            let rows = [granted.to_vec(), vec![row(3, "ended", reason, &json!({}))]].concat();
            assert_eq!(over(&rows, 1), proven, "{reason}");
        }
        let state = state(&granted);
        let known = state.find(NONCE).unwrap();
        assert!(known.has_expired_unsaid(AT + Duration::from_mins(15)) && !known.has_expired_unsaid(AT));
    }

    #[test]
    fn the_clock_of_another_instance_locks_nobody_here() {
        assert_eq!(EmergencyState::of(&[], &[said(1, "drill_overdue")]).latest(), None);
        assert_eq!(EmergencyState::of(&[said(1, "drill_overdue")], &[]).latest(), Some(AT));
    }

    #[test]
    fn a_use_that_handed_nobody_anything_owes_a_review_and_blocks_nobody() {
        let withheld = [said(1, "requested"), row(2, "review_opened", MAY_HAVE_MINTED, &json!({}))];
        let state_then = state(&withheld);
        assert_eq!((state_then.unreviewed().count(), state_then.blocking().count()), (1, 0));
        let died = state(&[said(1, "requested")]);
        assert_eq!((died.unreviewed().count(), died.blocking().count()), (1, 1), "nobody said what became of it");
        let granted = state(&[withheld.to_vec(), vec![said(3, "granted")]].concat());
        assert_eq!(granted.blocking().count(), 1);
    }

    #[test]
    fn a_drill_under_the_nonce_of_a_use_hides_nothing_and_everybody_who_asked_is_known() {
        let drill = row(9, "requested", "drill", &json!({"kind": "drill", "requester": "bob"}));
        let both = state(&[said(1, "requested"), drill.clone()]);
        let known = both.find(NONCE).unwrap();
        assert!(!known.is_drill() && known.is_unreviewed());
        assert_eq!(known.requesters().collect::<Vec<_>>(), ["alice", "bob"]);
        assert!(state(&[drill]).find(NONCE).unwrap().is_drill());
    }

    #[test]
    fn only_a_drill_that_passed_is_one() {
        assert_eq!(state(&[row(1, "drilled", "failed", &json!({}))]).last_drill(), None);
        assert_eq!(state(&[row(1, "drilled", PASSED, &json!({}))]).last_drill(), Some(AT));
    }

    proptest! {
        #[test]
        fn neither_order_nor_repetition_changes_what_is_known(order in Just((0..9_usize).collect::<Vec<_>>()).prop_shuffle(), split in 0..9_usize) {
            let rows = [
                said(1, "requested"), said(2, "failed"), said(3, "requested"), said(4, "granted"), said(5, "review_opened"),
                row(6, "ended", "refused_at_server", &json!({})), said(7, "review_closed"),
                row(8, "drilled", PASSED, &json!({})), row(9, "refused", OWNED_ELSEWHERE, &json!({})),
            ];
            let shuffled: Vec<AuditRow> = order.iter().map(|at| rows[*at].clone()).collect();
            let again = [shuffled.clone(), rows.to_vec()].concat();
            prop_assert_eq!(&EmergencyState::of(&shuffled, &[]), &EmergencyState::of(&rows, &[]));
            prop_assert_eq!(&EmergencyState::of(&again, &rows[..split]), &EmergencyState::of(&rows, &[]));
        }
    }
}
