//! The answers, as the doors and the command line give them: one form for both. Key fingerprints are masked unless the
//! reader asked to see them, which is on record.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::question::{LeaseRecord, MOST, Period};
use crate::audit::{AuditRow, Report, instant};
use crate::policy::{Asked, Hindsight};

/// An answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// A page of events.
    Events(Events),
    /// Who held a key.
    Key(KeyLeases),
    /// Who could reach an object.
    Object(ObjectAccess),
    /// What somebody got.
    Grants(Grants),
    /// Emergencies.
    Emergencies(Emergencies),
    /// A checkpoint: the document as it is signed.
    Head(serde_json::Value),
    /// Whether the log is whole.
    Verified(Verified),
}

/// What a verification found.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// Nothing was found.
    pub whole: bool,
    /// What was looked at, and what was found.
    #[serde(flatten)]
    pub report: Report,
}

/// One page of events.
#[derive(Debug, Serialize)]
pub struct Events {
    /// Rows of the log in canonical form; `key_fingerprint` masked unless revealed.
    pub events: Vec<AuditRow>,
    /// The cursor of the next page. A page may be short, or empty, and still have one: only so many rows are looked at for
    /// one page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Every lease of a key.
#[derive(Debug, Serialize)]
pub struct KeyLeases {
    /// The instant asked for.
    #[serde(with = "instant")]
    pub at: OffsetDateTime,
    /// What was looked for.
    pub key_fingerprint: String,
    /// Oldest first. `held` says who held the key at the instant; nobody did if it is true of none.
    pub leases: Vec<Held>,
    /// There are more than can be told: ask with more digits.
    pub truncated: bool,
}

/// Somebody.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Holder {
    /// The issuer's configured name: a subject is unique only together with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `azp` or `client_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The groups in the token.
    pub groups: Vec<String>,
}

/// A lease and who held it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Held {
    /// The lease.
    pub lease_id: Uuid,
    /// Whose.
    pub holder: Holder,
    /// The role granted, or `any`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Every role combined.
    pub roles: Vec<String>,
    /// The rules that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched_rule: Option<String>,
    /// The policy set decided under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<String>,
    /// Of the session policy that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_policy_sha256: Option<String>,
    /// Of the access key id.
    pub key_fingerprint: String,
    /// When it was issued, RFC 3339.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub from: OffsetDateTime,
    /// When it ended or ends, RFC 3339: not part of the lease.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub until: OffsetDateTime,
    /// How it ended: `live` (it has not), `expired`, `revoked`, or `abandoned` (it never left the service).
    pub ended: &'static str,
    /// Why it was revoked or abandoned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_reason: Option<String>,
    /// Whether it was live at the instant asked for; of grants, now.
    pub held: bool,
    /// The name that the object server saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_session_name: Option<String>,
    /// The caller's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// Of an object's holders: what the session policy that was sent allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rights: Option<Rights>,
    /// Of a key: the sessions of the same holder that were handed it again until the instant asked for, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reused: Vec<Reused>,
}

/// A session that was handed a lease that was out already.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Reused {
    /// When, RFC 3339.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// The door.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// The caller's own session name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// The caller's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// SHA-256 of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<String>,
}

impl From<AuditRow> for Reused {
    fn from(row: AuditRow) -> Self {
        let AuditRow { occurred_at: at, door, session_name, address, request_id, token_sha256, .. } = row;
        Self { at, door, session_name, address, request_id, token_sha256 }
    }
}

impl Held {
    pub(super) fn of(record: LeaseRecord, at: OffsetDateTime, now: OffsetDateTime) -> Self {
        // What was said to have ended after it ended by itself has changed nothing.
        let cut = record.ended_at.filter(|ended| *ended < record.ends_at);
        let until = cut.unwrap_or(record.ends_at);
        let ended = match (cut, record.ended_type.as_deref()) {
            (Some(_), Some("lease.abandoned")) => "abandoned",
            (Some(_), _) => "revoked",
            (None, _) if until > now => "live",
            (None, _) => "expired",
        };
        Self {
            lease_id: record.lease_id,
            holder: Holder {
                issuer: record.issuer,
                subject: record.subject,
                client: record.client,
                groups: record.groups,
            },
            role: record.role,
            roles: record.roles,
            matched_rule: record.matched_rule,
            policy_hash: record.policy_hash,
            session_policy_sha256: record.session_policy_sha256,
            key_fingerprint: record.key_fingerprint,
            from: record.occurred_at,
            until,
            ended,
            ended_reason: record.ended_reason.filter(|_| cut.is_some()),
            held: record.occurred_at <= at && at < until,
            role_session_name: record.role_session_name,
            address: record.address,
            request_id: record.request_id,
            rights: None,
            reused: Vec::new(),
        }
    }
}

/// Who could reach an object.
#[derive(Debug, Serialize)]
pub struct ObjectAccess {
    /// The bucket.
    pub bucket: String,
    /// The object's key.
    pub object: String,
    /// The instant asked for.
    #[serde(with = "instant")]
    pub at: OffsetDateTime,
    /// Leases that were live and allowed something, oldest first.
    pub holders: Vec<Held>,
    /// There are more than were asked for.
    pub truncated: bool,
    /// Live leases of which nobody can say what they allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<UnknownPolicies>,
    /// Who could have got a lease that allows something.
    pub entitled: Entitled,
}

/// Leases whose session policy is not kept, or is not the text that was sent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UnknownPolicies {
    /// How many leases.
    pub leases: i64,
    /// The SHA-256 of their session policies.
    pub session_policies: Vec<String>,
}

/// What the policies then in force gave.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Entitled {
    /// The set that was loaded last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<String>,
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", with = "instant::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub loaded_at: Option<OffsetDateTime>,
    /// Why nobody can say what it gave. Then `roles` says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<&'static str>,
    /// Roles that allow something.
    pub roles: Vec<EntitledRole>,
}

/// A role and who gets it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EntitledRole {
    /// The role.
    pub role: String,
    /// What its document allows.
    pub rights: Rights,
    /// Any of these rules gives it.
    pub given_to: Vec<GivenTo>,
}

/// What a rule asks for. An absent list asks nothing.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct GivenTo {
    /// The rule.
    pub rule: String,
    /// The issuer; absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Any of these groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Any of these subjects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// Any of these clients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// Claims are asked for too.
    pub claims: bool,
}

impl From<Asked> for GivenTo {
    fn from(Asked { rule, issuer, groups, subjects, clients, claims }: Asked) -> Self {
        Self { rule, issuer, groups, subjects, clients, claims }
    }
}

/// What may be done with the object; `list` with its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Rights {
    /// `s3:GetObject`
    pub read: Right,
    /// `s3:PutObject`
    pub write: Right,
    /// `s3:DeleteObject`
    pub delete: Right,
    /// `s3:ListBucket`
    pub list: Right,
}

impl Rights {
    pub(super) fn any(self) -> bool {
        [self.read, self.write, self.delete, self.list].iter().any(|right| *right != Right::NotAllowed)
    }
}

/// What a policy text says of one action, asked afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Allowed.
    Allowed,
    /// Not allowed.
    NotAllowed,
    /// Allowed to those whose claims fit.
    DependsOnClaims,
    /// Allowed to requests that meet conditions.
    DependsOnConditions,
    /// Both.
    DependsOnClaimsAndConditions,
}

impl From<Hindsight> for Right {
    fn from(hindsight: Hindsight) -> Self {
        match hindsight {
            Hindsight::Allowed => Self::Allowed,
            Hindsight::NotAllowed | Hindsight::Depends { claims: false, conditions: false } => Self::NotAllowed,
            Hindsight::Depends { claims: true, conditions: false } => Self::DependsOnClaims,
            Hindsight::Depends { claims: false, conditions: true } => Self::DependsOnConditions,
            Hindsight::Depends { claims: true, conditions: true } => Self::DependsOnClaimsAndConditions,
        }
    }
}

/// One page of leases.
#[derive(Debug, Serialize)]
pub struct Grants {
    /// The period asked for.
    #[serde(flatten)]
    pub period: Period,
    /// Oldest first.
    pub leases: Vec<Held>,
    /// The cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The emergencies of a period.
#[derive(Debug, Serialize)]
pub struct Emergencies {
    /// The period asked for.
    #[serde(flatten)]
    pub period: Period,
    /// By the first event of each.
    pub emergencies: Vec<Emergency>,
    /// There are more events than can be told: ask for a shorter period.
    pub truncated: bool,
}

/// What was said of one incident.
#[derive(Debug, Serialize)]
pub struct Emergency {
    /// The incident: the member of that name in the events' detail, or else what they have in common: a request, a lease, or
    /// nothing (the event's own id).
    pub incident: String,
    /// Oldest first.
    pub events: Vec<AuditRow>,
}

impl Emergencies {
    pub(super) fn of(period: Period, rows: Vec<AuditRow>) -> Self {
        let truncated = rows.len() >= usize::from(MOST);
        let mut order: Vec<String> = Vec::new();
        let mut incidents: BTreeMap<String, Vec<AuditRow>> = BTreeMap::new();
        for row in rows {
            let incident = incident(&row);
            if !incidents.contains_key(&incident) {
                order.push(incident.clone());
            }
            incidents.entry(incident).or_default().push(row);
        }
        let emergencies = order
            .into_iter()
            .filter_map(|incident| incidents.remove(&incident).map(|events| Emergency { incident, events }))
            .collect();
        Self { period, emergencies, truncated }
    }
}

fn incident(row: &AuditRow) -> String {
    let detail: Option<serde_json::Value> = row.detail.as_deref().and_then(|detail| serde_json::from_str(detail).ok());
    let named = detail.and_then(|detail| Some(detail.get("incident")?.as_str()?.to_owned()));
    named.unwrap_or_else(|| row.request_id.or(row.lease_id).unwrap_or(row.id).to_string())
}

impl Answer {
    /// The answer as this reader may see it.
    pub(super) fn masked_unless(mut self, reveal: bool) -> Self {
        if reveal {
            return self;
        }
        match &mut self {
            Self::Events(Events { events, next: _ }) => events.iter_mut().for_each(mask_row),
            Self::Key(KeyLeases { key_fingerprint, leases, at: _, truncated: _ }) => {
                mask(key_fingerprint);
                mask_leases(leases);
            }
            Self::Object(ObjectAccess { holders: leases, .. }) | Self::Grants(Grants { leases, .. }) => {
                mask_leases(leases);
            }
            Self::Emergencies(Emergencies { emergencies, .. }) => {
                emergencies.iter_mut().flat_map(|emergency| &mut emergency.events).for_each(mask_row);
            }
            // They hold no fingerprint.
            Self::Head(_) | Self::Verified(_) => {}
        }
        self
    }
}

fn mask_leases(leases: &mut [Held]) {
    for lease in leases {
        mask(&mut lease.key_fingerprint);
    }
}

pub(super) fn mask_row(row: &mut AuditRow) {
    row.key_fingerprint.iter_mut().for_each(mask);
}

/// The first eight digits are enough to compare two answers, and too few to look up a key with certainty.
pub(super) fn mask(fingerprint: &mut String) {
    *fingerprint = fingerprint.chars().take(8).chain(['…']).collect();
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn record() -> LeaseRecord {
        LeaseRecord {
            stream: Uuid::nil(),
            seq: 1,
            occurred_at: datetime!(2026-11-22 03:00 UTC),
            lease_id: Uuid::from_u128(1),
            issuer: Some("authentik".to_owned()),
            subject: Some("ada".to_owned()),
            client: None,
            groups: Vec::new(),
            role: Some("studio".to_owned()),
            roles: Vec::new(),
            matched_rule: None,
            policy_hash: None,
            session_policy_sha256: None,
            key_fingerprint: "0123456789abcdef0123456789abcdef".to_owned(),
            ends_at: datetime!(2026-11-22 04:00 UTC),
            role_session_name: None,
            address: None,
            request_id: None,
            ended_type: None,
            ended_reason: None,
            ended_at: None,
        }
    }

    fn held(record: LeaseRecord, at: OffsetDateTime) -> (bool, &'static str) {
        let held = Held::of(record, at, datetime!(2026-11-22 05:00 UTC));
        (held.held, held.ended)
    }

    #[test]
    fn a_lease_is_held_from_its_first_instant_to_before_its_last() {
        assert_eq!(held(record(), datetime!(2026-11-22 02:59:59.999999 UTC)), (false, "expired"));
        assert_eq!(held(record(), datetime!(2026-11-22 03:00 UTC)), (true, "expired"));
        assert_eq!(held(record(), datetime!(2026-11-22 03:59:59.999999 UTC)), (true, "expired"));
        assert_eq!(held(record(), datetime!(2026-11-22 04:00 UTC)), (false, "expired"));
    }

    #[test]
    fn a_revocation_ends_a_lease_unless_it_had_ended_by_itself() {
        let revoked = |ended_at, kind: &str| LeaseRecord {
            ended_at: Some(ended_at),
            ended_type: Some(kind.to_owned()),
            ..record()
        };
        let half_past = datetime!(2026-11-22 03:30 UTC);
        assert_eq!(held(revoked(half_past, "lease.revoked"), half_past), (false, "revoked"));
        assert_eq!(held(revoked(half_past, "lease.abandoned"), half_past), (false, "abandoned"));
        assert_eq!(held(revoked(half_past, "lease.revoked"), datetime!(2026-11-22 03:29 UTC)), (true, "revoked"));
        assert_eq!(held(revoked(datetime!(2026-11-22 04:30 UTC), "lease.revoked"), half_past), (true, "expired"));
    }

    #[test]
    fn fingerprints_are_masked_wherever_they_stand() {
        let at = datetime!(2026-11-22 03:30 UTC);
        let lease = || vec![Held::of(record(), at, at)];
        let period = Period { from: at, to: at };
        let answers = || {
            [
                Answer::Key(KeyLeases {
                    at,
                    key_fingerprint: record().key_fingerprint,
                    leases: lease(),
                    truncated: false,
                }),
                Answer::Grants(Grants { period, leases: lease(), next: None }),
            ]
        };
        for answer in answers() {
            let text = serde_json::to_string(&answer.masked_unless(false)).unwrap();
            assert!(text.contains("\"01234567…\"") && !text.contains("89abcdef"), "{text}");
        }
        for answer in answers() {
            let text = serde_json::to_string(&answer.masked_unless(true)).unwrap();
            assert!(text.contains("0123456789abcdef0123456789abcdef"), "{text}");
        }
    }
}
