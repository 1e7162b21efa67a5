//! What people are told of an emergency, and the one form it is told in. An alert holds nothing that a credential could
//! be made of, and the head of the journal at that moment: whoever received it is a witness of the journal outside it.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::{Emergency, StreamHead, instant};
use crate::lease::LeaseId;

/// Longest text of a document that an alert repeats, in characters.
const LONGEST: usize = 512;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// What is on record too.
    Recorded(Emergency),
    /// Credentials are out because the quorum declared an emergency that the service did not see: told beside the grant.
    Declared,
    /// They are out although a review was open: told beside the grant.
    Overridden,
}

impl AlertKind {
    /// As the webhook's `type` and the log say it, and after its dot as the metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recorded(emergency) => emergency.as_str(),
            Self::Declared => "break_glass.declared",
            Self::Overridden => "break_glass.overridden",
        }
    }

    /// The metric's label.
    pub(super) fn label(self) -> &'static str {
        self.as_str().trim_start_matches("break_glass.")
    }
}

/// One alert: the kind, and what is known. Write `Alert { role: …, ..Alert::of(kind) }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What happened.
    pub kind: AlertKind,
    /// The incident, as the requester named it.
    pub incident: Option<String>,
    /// The use, by its nonce.
    pub nonce: Option<Uuid>,
    /// The emergency role.
    pub role: Option<String>,
    /// The custodian who asked.
    pub requester: Option<String>,
    /// The custodians whose signatures held.
    pub signers: Vec<String>,
    /// The lease, once there is one.
    pub lease_id: Option<LeaseId>,
    /// The conditions it was granted or refused under: `declared`, or `issuer_down: silent since …`.
    pub conditions: Vec<String>,
    /// A stable code for a refusal or a failure, or a few plain words: never a text of the object server's.
    pub reason: Option<String>,
    /// Where the journal stood.
    pub journal_head: Option<StreamHead>,
}

impl Alert {
    /// An alert about nothing yet.
    #[must_use]
    pub fn of(kind: AlertKind) -> Self {
        Self {
            kind,
            incident: None,
            nonce: None,
            role: None,
            requester: None,
            signers: Vec::new(),
            lease_id: None,
            conditions: Vec::new(),
            reason: None,
            journal_head: None,
        }
    }
}

/// An alert in its one form, ready to be sent any number of times: the very same bytes under the very same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertMessage {
    id: String,
    kind: AlertKind,
    body: String,
}

impl AlertMessage {
    /// Renders `alert` as it happened at `at`, at this instance.
    pub(super) fn new(alert: &Alert, id: Uuid, at: OffsetDateTime, instance: Option<Uuid>) -> Self {
        let wire = Wire {
            r#type: alert.kind.as_str(),
            timestamp: at,
            data: Data {
                instance,
                incident: alert.incident.as_deref().map(plain),
                r#use: alert.nonce,
                role: alert.role.as_deref().map(plain),
                requester: alert.requester.as_deref().map(plain),
                signers: alert.signers.iter().map(|signer| plain(signer)).collect(),
                lease_id: alert.lease_id.map(|lease| lease.as_uuid()),
                conditions: alert.conditions.iter().map(|condition| plain(condition)).collect(),
                reason: alert.reason.as_deref().map(plain),
                journal_head: alert.journal_head.map(|head| head.to_string()),
            },
        };
        let body = serde_json::to_string(&wire).unwrap_or_default();
        Self { id: format!("msg_{}", id.simple()), kind: alert.kind, body }
    }

    /// Its id: the same at each attempt, so that a receiver can tell a repetition.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it speaks of.
    #[must_use]
    pub fn kind(&self) -> AlertKind {
        self.kind
    }

    /// The JSON body.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }
}

/// The body, as Standard Webhooks shapes it.
#[derive(Serialize)]
struct Wire {
    r#type: &'static str,
    #[serde(with = "instant")]
    timestamp: OffsetDateTime,
    data: Data,
}

#[derive(Serialize)]
struct Data {
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#use: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requester: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_head: Option<String>,
}

/// A custodian's words as a pager or a terminal may show them: one line, bounded, without control characters.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(LONGEST).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;

    const AT: OffsetDateTime = datetime!(2026-11-22 14:00 UTC);

    fn rendered(alert: &Alert) -> Value {
        serde_json::from_str(AlertMessage::new(alert, Uuid::from_u128(1), AT, None).body()).unwrap()
    }

    #[test]
    fn what_is_known_is_told_and_what_is_not_is_left_out() {
        let alert = Alert {
            incident: Some("INC-7".to_owned()),
            nonce: Some(Uuid::from_u128(2)),
            role: Some("emergency-read".to_owned()),
            requester: Some("alice".to_owned()),
            signers: vec!["alice".to_owned(), "bob".to_owned()],
            conditions: vec!["declared".to_owned()],
            ..Alert::of(AlertKind::Recorded(Emergency::Granted))
        };
        let expected = json!({
            "type": "break_glass.granted",
            "timestamp": "2026-11-22T14:00:00.000000Z",
            "data": {
                "incident": "INC-7", "use": Uuid::from_u128(2), "role": "emergency-read", "requester": "alice",
                "signers": ["alice", "bob"], "conditions": ["declared"],
            },
        });
        assert_eq!(rendered(&alert), expected);
        assert_eq!(rendered(&Alert::of(AlertKind::Recorded(Emergency::DrillOverdue)))["data"], json!({}));
    }

    #[test]
    fn a_custodians_words_cannot_forge_a_line_or_fill_a_pager() {
        let alert = Alert {
            incident: Some("a\n\u{1b}[2Jb".to_owned()),
            ..Alert::of(AlertKind::Recorded(Emergency::Requested))
        };
        assert_eq!(rendered(&alert)["data"]["incident"], "a\u{fffd}\u{fffd}[2Jb");
        let alert = Alert { reason: Some("ä".repeat(10_000)), ..Alert::of(AlertKind::Recorded(Emergency::Requested)) };
        assert_eq!(rendered(&alert)["data"]["reason"].as_str().unwrap().chars().count(), LONGEST);
    }
}
