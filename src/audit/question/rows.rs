//! What the port answers: plain rows, nothing judged yet.

use std::net::IpAddr;

use time::OffsetDateTime;
use uuid::Uuid;

use super::Place;
use crate::audit::AuditRow;

/// One page.
#[derive(Debug, Clone)]
pub struct RowPage<T> {
    /// The rows: fewer than asked for, or none, when the bound on rows looked at was reached first.
    pub rows: Vec<T>,
    /// Where the next page begins; none: there is no more.
    pub next: Option<Place>,
}

/// An issued lease, and what ended it before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Of `lease.issued`.
    pub stream: Uuid,
    /// Of `lease.issued`.
    pub seq: i64,
    /// When it was issued.
    pub occurred_at: OffsetDateTime,
    /// The lease.
    pub lease_id: Uuid,
    /// The issuer's configured name.
    pub issuer: Option<String>,
    /// `sub`.
    pub subject: Option<String>,
    /// `azp` or `client_id`.
    pub client: Option<String>,
    /// The groups in the token.
    pub groups: Vec<String>,
    /// The role granted, or `any`.
    pub role: Option<String>,
    /// Every role combined.
    pub roles: Vec<String>,
    /// The rules that matched.
    pub matched_rule: Option<String>,
    /// The policy set decided under, hex.
    pub policy_hash: Option<String>,
    /// Of the session policy that was sent, hex.
    pub session_policy_sha256: Option<String>,
    /// Of the access key id, hex.
    pub key_fingerprint: String,
    /// The real end at the object server.
    pub ends_at: OffsetDateTime,
    /// The name the object server sees.
    pub role_session_name: Option<String>,
    /// The caller's address.
    pub address: Option<IpAddr>,
    /// The request.
    pub request_id: Option<Uuid>,
    /// `lease.revoked` or `lease.abandoned`, if either is on record.
    pub ended_type: Option<String>,
    /// Its reason.
    pub ended_reason: Option<String>,
    /// When it was said.
    pub ended_at: Option<OffsetDateTime>,
}

/// A lease, and everything on record that says how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedLease {
    /// Of the event that it is listed by.
    pub stream: Uuid,
    /// Of the event that it is listed by.
    pub seq: i64,
    /// When that was said.
    pub occurred_at: OffsetDateTime,
    /// The lease.
    pub lease_id: Uuid,
    /// The issuer's configured name.
    pub issuer: Option<String>,
    /// `sub`.
    pub subject: Option<String>,
    /// `azp` or `client_id`.
    pub client: Option<String>,
    /// The groups in the token.
    pub groups: Vec<String>,
    /// The role granted, or `any`.
    pub role: Option<String>,
    /// Every role combined.
    pub roles: Vec<String>,
    /// The rules that matched.
    pub matched_rule: Option<String>,
    /// The policy set decided under, hex.
    pub policy_hash: Option<String>,
    /// The name the object server sees.
    pub role_session_name: Option<String>,
    /// The length asked of the object server, seconds.
    pub granted_seconds: Option<i64>,
    /// The door that the exchange came through.
    pub door: Option<String>,
    /// Of the access key id, hex; none where nothing was issued.
    pub key_fingerprint: Option<String>,
    /// When it was issued, if it was.
    pub issued_at: Option<OffsetDateTime>,
    /// Its real end at the object server, if it was issued.
    pub ends_at: Option<OffsetDateTime>,
    /// Why nothing was minted, if nothing was.
    pub failed_reason: Option<String>,
    /// `lease.abandoned`, or `lease.revoked` that proves its end: the first there is.
    pub ended_type: Option<String>,
    /// Its reason.
    pub ended_reason: Option<String>,
    /// When it was said.
    pub ended_at: Option<OffsetDateTime>,
    /// The reason of the latest `lease.revoked`: what was said last of its end, which may be a mere wish.
    pub last_said: Option<String>,
}

#[cfg(test)]
impl Default for ListedLease {
    fn default() -> Self {
        Self {
            stream: Uuid::nil(),
            seq: 0,
            occurred_at: OffsetDateTime::UNIX_EPOCH,
            lease_id: Uuid::nil(),
            issuer: None,
            subject: None,
            client: None,
            groups: Vec::new(),
            role: None,
            roles: Vec::new(),
            matched_rule: None,
            policy_hash: None,
            role_session_name: None,
            granted_seconds: None,
            door: None,
            key_fingerprint: None,
            issued_at: None,
            ends_at: None,
            failed_reason: None,
            ended_type: None,
            ended_reason: None,
            ended_at: None,
            last_said: None,
        }
    }
}

/// What is on record of one lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseEvents {
    /// The events, oldest first: of those that handed it out again only the latest. None: there is no such lease.
    pub rows: Vec<AuditRow>,
    /// How often it was handed out again, counted to [`LeaseEvents::MOST_COUNTED`].
    pub reused: i64,
    /// There are more events than are told, apart from those that handed it out again.
    pub truncated: bool,
}

impl LeaseEvents {
    /// Events told of a lease, and as many again of those that handed it out again.
    pub const MOST_TOLD: u16 = 100;
    /// How far those that handed it out again are counted.
    pub const MOST_COUNTED: u16 = 10_000;
}

/// A session policy with live leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePolicy {
    /// SHA-256 of its text, hex, as the leases name it.
    pub sha256: Option<String>,
    /// Its text, if it was kept.
    pub text: Option<String>,
    /// How many leases were live under it.
    pub leases: i64,
}

/// The policy set that was loaded last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInForce {
    /// Its hash, hex.
    pub hash: Option<String>,
    /// When it was loaded.
    pub loaded_at: OffsetDateTime,
    /// A JSON object: relative path → content; if it was kept.
    pub files: Option<String>,
}
