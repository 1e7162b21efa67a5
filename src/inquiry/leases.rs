//! Leases as the desk tells of them: how each stands, and the timeline of one. Fingerprints are always masked here: whoever
//! looks for a key asks the log. A holder sees its own leases without what is the operators': rules, policies, and who ended it.

use std::net::IpAddr;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Holder;
use super::answer::mask;
use crate::audit::question::{LeaseEvents, LeaseState, ListedLease};
use crate::audit::{AuditRow, EventKind, Revoked, instant};

/// A page of leases, the latest first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Leases {
    /// They.
    pub leases: Vec<LeaseSeen>,
    /// The cursor of the next page. A page may be short, or empty, and still have one: only so many rows are looked at for
    /// one page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A lease and how it stands.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct LeaseSeen {
    /// The lease.
    pub lease_id: Uuid,
    /// `open`, `ended` (by itself), `revoked` (seen to be refused or gone), `failed` (nothing was minted), `abandoned` (nobody was
    /// handed it), or `pending` (no fate is on record yet).
    pub state: &'static str,
    /// Whose.
    pub holder: Holder,
    /// The role granted, or `any`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Every role combined.
    pub roles: Vec<String>,
    /// When it was issued, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", with = "instant::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub issued_at: Option<OffsetDateTime>,
    /// When it ends by itself at the object server, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", with = "instant::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends_at: Option<OffsetDateTime>,
    /// When it was revoked or abandoned, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", with = "instant::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<OffsetDateTime>,
    /// Why it failed, was revoked or abandoned; of an open one, what was said last of its end, such as `revoked_unproven`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The length asked of the object server, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted_seconds: Option<i64>,
    /// The door that the exchange came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// The first digits of the fingerprint of its access key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    /// The name that the object server saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_session_name: Option<String>,
    /// The rules that matched; for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched_rule: Option<String>,
    /// The policy set decided under; for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<String>,
}

impl LeaseSeen {
    pub(super) fn of(lease: ListedLease, at: OffsetDateTime, own: bool) -> Self {
        let state = LeaseState::of(&lease, at);
        let reason = match state {
            LeaseState::Failed => lease.failed_reason,
            LeaseState::Revoked | LeaseState::Abandoned => lease.ended_reason.clone(),
            LeaseState::Open => lease.last_said,
            LeaseState::Ended | LeaseState::Pending => None,
        };
        let cut = matches!(state, LeaseState::Revoked | LeaseState::Abandoned);
        Self {
            lease_id: lease.lease_id,
            state: state.as_str(),
            holder: Holder { issuer: lease.issuer, subject: lease.subject, client: lease.client, groups: lease.groups },
            role: lease.role,
            roles: lease.roles,
            issued_at: lease.issued_at,
            ends_at: lease.ends_at,
            ended_at: lease.ended_at.filter(|_| cut),
            reason,
            granted_seconds: lease.granted_seconds,
            door: lease.door,
            key_fingerprint: lease.key_fingerprint.map(masked),
            role_session_name: lease.role_session_name,
            matched_rule: lease.matched_rule.filter(|_| !own),
            policy_hash: lease.policy_hash.filter(|_| !own),
        }
    }
}

/// One lease, and what the log says of it, in order.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LeaseHistory {
    /// The lease.
    #[serde(flatten)]
    pub lease: LeaseSeen,
    /// The real length that was asked for, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_seconds: Option<i64>,
    /// How often it was handed out again; more than 10,000 are not counted.
    pub reused: i64,
    /// The events, oldest first; of those that handed it out again the latest hundred.
    pub timeline: Vec<TimelineEvent>,
    /// There are more events than are told.
    pub truncated: bool,
}

/// One event of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TimelineEvent {
    /// When it was said, RFC 3339.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// `lease.intended`, `lease.issued`, `lease.failed`, `lease.reused`, `lease.revoked`, `lease.abandoned`, `orphan.found`.
    pub event: String,
    /// Its reason.
    pub reason: String,
    /// The door of the request that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// The caller's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// The caller's own session name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// Who had it done, where that is not the holder; for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Of a revocation: from asking the object server to its first refusal, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_after_ms: Option<i64>,
    /// The rest, for people; for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl TimelineEvent {
    /// What an operator did is told to the holder without who did it, from where and why.
    fn of(row: AuditRow, own: bool) -> Self {
        let hidden = own && row.actor.is_some();
        Self {
            at: row.occurred_at,
            event: row.kind,
            reason: row.reason,
            door: row.door.filter(|_| !hidden),
            address: row.address.filter(|_| !hidden),
            request_id: row.request_id.filter(|_| !hidden),
            session_name: row.session_name,
            actor: row.actor.filter(|_| !own),
            refused_after_ms: row.refused_after_ms,
            detail: row.detail.filter(|_| !own),
        }
    }
}

impl LeaseHistory {
    /// Nothing where no event is on record of it, or none that the reader may see.
    pub(super) fn of(events: LeaseEvents, at: OffsetDateTime, own: bool) -> Option<Self> {
        let LeaseEvents { rows, reused, truncated } = events;
        let begun = rows.first()?;
        let lease = LeaseSeen::of(listed(&rows, begun)?, at, own);
        let requested_seconds = begun.requested_seconds;
        let timeline = rows.into_iter().map(|row| TimelineEvent::of(row, own)).collect();
        Some(Self { lease, requested_seconds, reused, timeline, truncated })
    }
}

/// The same as a page of leases is made from, out of the lease's own rows.
fn listed(rows: &[AuditRow], begun: &AuditRow) -> Option<ListedLease> {
    let of = |kind: EventKind| rows.iter().filter(move |row| row.kind == kind.as_str());
    let issued = of(EventKind::LeaseIssued).next();
    let failed = of(EventKind::LeaseFailed).next();
    let proven = [Revoked::RefusedAtServer { after: std::time::Duration::ZERO }, Revoked::GoneFromListing];
    let ends = |row: &&AuditRow| {
        row.kind == EventKind::LeaseAbandoned.as_str()
            || row.kind == EventKind::LeaseRevoked.as_str() && proven.iter().any(|seen| seen.code() == row.reason)
    };
    let ended = rows.iter().find(ends);
    let first = issued.unwrap_or(begun);
    Some(ListedLease {
        stream: first.stream,
        seq: first.seq,
        occurred_at: first.occurred_at,
        lease_id: first.lease_id?,
        issuer: first.issuer.clone(),
        subject: first.subject.clone(),
        client: first.client.clone(),
        groups: first.groups.clone(),
        role: first.role.clone(),
        roles: first.roles.clone(),
        matched_rule: first.matched_rule.clone(),
        policy_hash: first.policy_hash.clone(),
        role_session_name: first.role_session_name.clone(),
        granted_seconds: first.granted_seconds,
        door: first.door.clone(),
        key_fingerprint: issued.and_then(|row| row.key_fingerprint.clone()),
        issued_at: issued.map(|row| row.occurred_at),
        ends_at: issued.and_then(|row| row.ends_at),
        failed_reason: failed.map(|row| row.reason.clone()),
        ended_type: ended.map(|row| row.kind.clone()),
        ended_reason: ended.map(|row| row.reason.clone()),
        ended_at: ended.map(|row| row.occurred_at),
        last_said: of(EventKind::LeaseRevoked).next_back().map(|row| row.reason.clone()),
    })
}

fn masked(mut fingerprint: String) -> String {
    mask(&mut fingerprint);
    fingerprint
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    fn row(kind: &str, reason: &str, minute: u8, more: &serde_json::Value) -> AuditRow {
        let mut row = json!({
            "effect": "allow", "granted_seconds": 3600, "groups": ["studio"], "id": Uuid::from_u128(minute.into()),
            "issuer": "authentik", "subject": "ada", "lease_id": Uuid::from_u128(7), "matched_rule": "roles/studio.toml#allow[0]",
            "occurred_at": format!("2026-11-22T03:{minute:02}:00.000000Z"), "policy_hash": "0a".repeat(32), "reason": reason,
            "role": "studio", "roles": ["studio"], "seq": minute, "stream": Uuid::nil(), "type": kind, "door": "sts",
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            row[name] = value.clone();
        }
        serde_json::from_value(row).unwrap()
    }

    fn whole() -> Vec<AuditRow> {
        let by = json!({"actor": "authentik:root", "address": "192.0.2.1", "detail": "leaked", "door": "desk"});
        vec![
            row("lease.intended", "granted", 0, &json!({"requested_seconds": 3600})),
            row(
                "lease.issued",
                "granted",
                1,
                &json!({"key_fingerprint": "0123456789abcdef0123456789abcdef", "ends_at": "2026-11-22T04:00:00.000000Z"}),
            ),
            row("lease.reused", "reused", 2, &json!({"address": "192.0.2.9"})),
            row("lease.revoked", "requested", 3, &by),
            row("lease.revoked", "refused_at_server", 4, &by),
        ]
    }

    fn history(rows: Vec<AuditRow>, own: bool) -> Option<LeaseHistory> {
        let events = LeaseEvents { rows, reused: 1, truncated: false };
        LeaseHistory::of(events, datetime!(2026-11-22 03:30 UTC), own)
    }

    #[test]
    fn a_timeline_tells_every_event_in_order_and_the_lease_as_its_last_word() {
        let told = history(whole(), false).unwrap();
        assert_eq!((told.lease.state, told.lease.reason.as_deref()), ("revoked", Some("refused_at_server")));
        assert_eq!(told.lease.key_fingerprint.as_deref(), Some("01234567…"));
        assert_eq!((told.requested_seconds, told.reused), (Some(3600), 1));
        let events: Vec<&str> = told.timeline.iter().map(|event| event.event.as_str()).collect();
        let expected = ["lease.intended", "lease.issued", "lease.reused", "lease.revoked", "lease.revoked"];
        assert_eq!(events, expected);
        assert_eq!(told.timeline[4].actor.as_deref(), Some("authentik:root"));

        let open = history(whole()[..4].to_vec(), false).unwrap().lease;
        assert_eq!((open.state, open.reason.as_deref()), ("open", Some("requested")), "a wish ends nothing");
        let pending = history(whole()[..1].to_vec(), false).unwrap().lease;
        assert_eq!((pending.state, pending.key_fingerprint), ("pending", None));
    }

    #[test]
    fn a_holder_is_told_its_lease_without_the_rules_and_without_who_ended_it() {
        let own = history(whole(), true).unwrap();
        let text = serde_json::to_string(&own).unwrap();
        for hidden in ["root", "192.0.2.1\"", "leaked", "roles/studio.toml", "0a0a", "89abcdef"] {
            assert!(!text.contains(hidden), "{hidden} is in {text}");
        }
        assert!(text.contains("192.0.2.9") && own.timeline.len() == 5, "{text}");
        let operators = serde_json::to_string(&history(whole(), false).unwrap()).unwrap();
        for shown in ["authentik:root", "192.0.2.1\"", "leaked", "roles/studio.toml"] {
            assert!(operators.contains(shown), "{shown}");
        }
    }

    #[test]
    fn of_nothing_there_is_no_history() {
        assert!(history(Vec::new(), false).is_none());
    }
}
