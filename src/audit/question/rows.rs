//! What the port answers: plain rows, nothing judged yet.

use std::net::IpAddr;

use time::OffsetDateTime;
use uuid::Uuid;

use super::Place;

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
