//! Emergencies, as the log tells them. Each event says in `detail`, as one JSON object, what it is about, so that a reader
//! of the rows alone can follow one use of the glass from the request to the end of its review.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::event::{Event, Identity, Origin, Request};
use super::log::lease_facts;
use super::{AuditError, AuditLog, AuditReceipt, AuditRow, EventKind, KeyFingerprint, RecordedEffect};
use crate::lease::AssumeRole;
use crate::token::{EmergencyFault, VerifiedToken};

/// The issuer of whoever is named in an emergency: no configured issuer may have this name.
pub const BREAK_GLASS: &str = "break-glass";

/// What happened in an emergency: the event types `break_glass.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Emergency {
    /// A quorum asks, and its nonce is taken.
    Requested,
    /// Somebody whose signature held was turned away.
    Refused,
    /// Nothing was minted: the nonce is free again.
    Failed,
    /// A credential exists, and may now leave.
    Granted,
    /// A nonce that nobody had used is worth nothing any more.
    Cancelled,
    /// A lease was ended before its time.
    Ended,
    /// A lease reached its end.
    Expired,
    /// A use waits for its review.
    ReviewOpened,
    /// It was reviewed.
    ReviewClosed,
    /// It waits for too long.
    ReviewOverdue,
    /// The whole path was tried with the drill role.
    Drilled,
    /// It was not tried for too long.
    DrillOverdue,
    /// The journal does not verify, and is not merged.
    JournalRefused,
}

impl Emergency {
    /// Every one.
    pub const ALL: [Self; 13] = [
        Self::Requested,
        Self::Refused,
        Self::Failed,
        Self::Granted,
        Self::Cancelled,
        Self::Ended,
        Self::Expired,
        Self::ReviewOpened,
        Self::ReviewClosed,
        Self::ReviewOverdue,
        Self::Drilled,
        Self::DrillOverdue,
        Self::JournalRefused,
    ];

    /// The event type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "break_glass.requested",
            Self::Refused => "break_glass.refused",
            Self::Failed => "break_glass.failed",
            Self::Granted => "break_glass.granted",
            Self::Cancelled => "break_glass.cancelled",
            Self::Ended => "break_glass.ended",
            Self::Expired => "break_glass.expired",
            Self::ReviewOpened => "break_glass.review_opened",
            Self::ReviewClosed => "break_glass.review_closed",
            Self::ReviewOverdue => "break_glass.review_overdue",
            Self::Drilled => "break_glass.drilled",
            Self::DrillOverdue => "break_glass.drill_overdue",
            Self::JournalRefused => "break_glass.journal_refused",
        }
    }

    /// The one of this event type.
    #[must_use]
    pub fn parse(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|emergency| emergency.as_str() == kind)
    }

    fn effect(self) -> RecordedEffect {
        match self {
            Self::Granted => RecordedEffect::Allow,
            Self::Refused | Self::Failed | Self::Cancelled | Self::Ended => RecordedEffect::Deny,
            Self::Requested
            | Self::Expired
            | Self::ReviewOpened
            | Self::ReviewClosed
            | Self::ReviewOverdue
            | Self::Drilled
            | Self::DrillOverdue
            | Self::JournalRefused => RecordedEffect::NotApplicable,
        }
    }
}

/// What an event of an emergency is about: the JSON object in its `detail`. Members that an older version did not write are
/// absent, and those that a newer one adds are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EmergencyFacts {
    /// What the service itself saw of the outage, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<String>,
    /// The end of the lease.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub ends_at: Option<OffsetDateTime>,
    /// What the reviewers found, or why it was cancelled, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<String>,
    /// The incident's name: what the events of one emergency have in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The one instance that may honour the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<Uuid>,
    /// `outage`, `declared` or `drill`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Uuid>,
    /// The nonce of the request: the name of the use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Uuid>,
    /// The use whose open review this one was granted in spite of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Uuid>,
    /// Why it was asked for, in the requester's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The custodian who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The custodians whose signatures counted, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
}

impl EmergencyFacts {
    /// What a row of an emergency is about; nothing where it is no such row, or its detail no such object.
    #[must_use]
    pub fn read(row: &AuditRow) -> Option<(Emergency, Self)> {
        let emergency = Emergency::parse(&row.kind)?;
        let object: serde_json::Map<_, _> = serde_json::from_str(row.detail.as_deref()?).ok()?;
        Some((emergency, serde_json::from_value(object.into()).ok()?))
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn identity(&self) -> Option<Identity> {
        let subject = self.requester.clone()?;
        let issuer = BREAK_GLASS.to_owned();
        Some(Identity { issuer, subject: Some(subject), client: None, groups: Vec::new(), jti: None })
    }
}

/// What every decision about an emergency token says, allow or deny: flex-auth's obligation `record_emergency`, as the JSON
/// object of its row's `detail`. Nothing for other tokens.
#[must_use]
pub fn obligation(token: &VerifiedToken) -> Option<String> {
    let emergency = token.emergency()?;
    let recorded = RecordEmergency {
        authorized_by: emergency.authorized_by(),
        fault: emergency.fault().map(EmergencyFault::code),
        incident: emergency.incident(),
        obligation: "record_emergency",
        reason: emergency.reason(),
    };
    serde_json::to_string(&recorded).ok()
}

#[derive(Serialize)]
struct RecordEmergency<'a> {
    authorized_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    incident: Option<&'a str>,
    obligation: &'static str,
    reason: Option<&'a str>,
}

/// Where an event of an emergency came from, and the lease it is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmergencyContext<'a> {
    /// The request that led here; none where nobody asked: an end that has come, a review that is overdue.
    pub origin: Option<Origin>,
    /// Hash of the policy set decided under, hex.
    pub policy_hash: Option<&'a str>,
    /// The lease as it was planned.
    pub assume_role: Option<&'a AssumeRole>,
    /// The keyed fingerprint of its access key id.
    pub key_fingerprint: Option<&'a KeyFingerprint>,
}

impl AuditLog {
    /// Commits what happened in an emergency, and answers the event's id. `reason` is a stable code.
    pub async fn emergency(
        &self,
        what: Emergency,
        reason: &'static str,
        facts: &EmergencyFacts,
        context: EmergencyContext<'_>,
    ) -> Result<Uuid, AuditError> {
        let EmergencyContext { origin, policy_hash, assume_role, key_fingerprint } = context;
        let mut lease = assume_role.map(lease_facts);
        if let Some(lease) = lease.as_mut() {
            lease.key_fingerprint = key_fingerprint.cloned();
            lease.ends_at = facts.ends_at;
        }
        let event = Event {
            request: origin.map(|origin| Request::for_no_lease(origin, None)),
            policy_hash: policy_hash.map(str::to_owned),
            lease,
            ..self.of_emergency(EventKind::BreakGlass(what), what.effect(), reason, facts)
        };
        let id = event.id;
        self.write(event).await?;
        Ok(id)
    }

    /// Commits the intent to mint for a quorum. The lease's further rows repeat what this one says.
    pub async fn intend_emergency(
        &self,
        assume_role: &AssumeRole,
        facts: &EmergencyFacts,
        policy_hash: &str,
        origin: Origin,
    ) -> Result<AuditReceipt, AuditError> {
        let event = Event {
            request: Some(Request {
                requested_role: facts.role.clone(),
                requested_seconds: assume_role.requested().map(|requested| requested.as_secs()),
                ..Request::for_no_lease(origin, None)
            }),
            policy_hash: Some(policy_hash.to_owned()),
            lease: Some(lease_facts(assume_role)),
            ..self.of_emergency(EventKind::LeaseIntended, RecordedEffect::Allow, "break_glass", facts)
        };
        self.commit_intent(assume_role.lease_id(), event).await
    }

    fn of_emergency(
        &self,
        kind: EventKind,
        effect: RecordedEffect,
        reason: &'static str,
        facts: &EmergencyFacts,
    ) -> Event {
        Event {
            identity: facts.identity(),
            role: facts.role.clone(),
            roles: facts.role.iter().cloned().collect(),
            detail: Some(facts.to_json()),
            ..self.event(kind, effect, reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::scripted::{HandClock, ScriptedStore};

    fn facts() -> EmergencyFacts {
        EmergencyFacts {
            incident: Some("INC-7".to_owned()),
            nonce: Some(Uuid::from_u128(7)),
            requester: Some("alice".to_owned()),
            role: Some("emergency-read".to_owned()),
            signers: vec!["alice".to_owned(), "bob".to_owned()],
            ends_at: Some(time::macros::datetime!(2026-11-22 03:00 UTC)),
            ..EmergencyFacts::default()
        }
    }

    #[test]
    fn every_type_is_read_as_it_is_written_and_fits_the_table() {
        for emergency in Emergency::ALL {
            let kind = emergency.as_str();
            assert_eq!(Emergency::parse(kind), Some(emergency));
            let name = kind.strip_prefix("break_glass.").unwrap();
            assert!((1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
        assert_eq!(Emergency::parse("lease.issued"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_says_what_the_event_was_about_and_who_asked() {
        let store = ScriptedStore::with([]);
        let (log, _tasks) = store.log_with(HandClock::start());
        let policy_hash = "00".repeat(32);
        let context = EmergencyContext { policy_hash: Some(&policy_hash), ..EmergencyContext::default() };
        log.emergency(Emergency::Requested, "outage", &facts(), context).await.unwrap();
        let rows = store.rows();
        let row = rows.last().unwrap();
        assert_eq!((row.kind.as_str(), row.effect.as_str()), ("break_glass.requested", "not_applicable"));
        assert_eq!((row.issuer.as_deref(), row.subject.as_deref()), (Some(BREAK_GLASS), Some("alice")));
        assert_eq!(EmergencyFacts::read(row), Some((Emergency::Requested, facts())));
    }

    #[test]
    fn a_detail_that_is_no_such_object_says_nothing_and_a_newer_member_is_passed_over() {
        let row = serde_json::json!({
            "effect": "allow", "id": Uuid::nil(), "occurred_at": "2026-11-22T03:00:00.000000Z", "reason": "outage", "seq": 1,
            "stream": Uuid::nil(), "type": "break_glass.granted",
        });
        let mut row: AuditRow = serde_json::from_value(row).unwrap();
        for (detail, read) in [(None, false), (Some("x"), false), (Some("[]"), false), (Some("{\"newer\":1}"), true)] {
            row.detail = detail.map(str::to_owned);
            assert_eq!(EmergencyFacts::read(&row).is_some(), read, "{detail:?}");
        }
    }
}
