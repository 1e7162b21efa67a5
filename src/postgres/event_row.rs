//! One row that a page of events looked at.

use std::net::IpAddr;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::AuditRow;
use crate::audit::question::Place;

/// The columns of `audit_event`, and what the page found out about them.
#[derive(Debug)]
pub(super) struct ExaminedRow {
    pub(super) stream: Uuid,
    pub(super) seq: i64,
    pub(super) id: Uuid,
    pub(super) occurred_at: OffsetDateTime,
    pub(super) kind: String,
    pub(super) effect: String,
    pub(super) reason: String,
    pub(super) door: Option<String>,
    pub(super) address: Option<IpAddr>,
    pub(super) request_id: Option<Uuid>,
    pub(super) requested_role: Option<String>,
    pub(super) requested_seconds: Option<i64>,
    pub(super) session_name: Option<String>,
    pub(super) token_sha256: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) client: Option<String>,
    pub(super) groups: Vec<String>,
    pub(super) jti: Option<String>,
    pub(super) role: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) matched_rule: Option<String>,
    pub(super) policy_hash: Option<String>,
    pub(super) lease_id: Option<Uuid>,
    pub(super) role_session_name: Option<String>,
    pub(super) session_policy_sha256: Option<String>,
    pub(super) granted_seconds: Option<i64>,
    pub(super) key_fingerprint: Option<String>,
    pub(super) ends_at: Option<OffsetDateTime>,
    pub(super) count: Option<i64>,
    pub(super) network: Option<String>,
    pub(super) heads: Vec<String>,
    pub(super) key_id: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) parent_fingerprint: Option<String>,
    pub(super) refused_after_ms: Option<i64>,
    pub(super) freeze_id: Option<Uuid>,
    /// Whether it meets every condition.
    pub(super) meets: bool,
    /// Its number among the rows looked at, from 1.
    pub(super) place: i64,
}

impl ExaminedRow {
    /// Where it stands in the log.
    pub(super) fn place(&self) -> Place {
        Place { occurred_at: self.occurred_at, stream: self.stream, seq: self.seq }
    }
}

impl From<ExaminedRow> for AuditRow {
    fn from(row: ExaminedRow) -> Self {
        let ExaminedRow {
            stream,
            seq,
            id,
            occurred_at,
            kind,
            effect,
            reason,
            door,
            address,
            request_id,
            requested_role,
            requested_seconds,
            session_name,
            token_sha256,
            issuer,
            subject,
            client,
            groups,
            jti,
            role,
            roles,
            matched_rule,
            policy_hash,
            lease_id,
            role_session_name,
            session_policy_sha256,
            granted_seconds,
            key_fingerprint,
            ends_at,
            count,
            network,
            heads,
            key_id,
            detail,
            actor,
            parent_fingerprint,
            refused_after_ms,
            freeze_id,
            meets: _,
            place: _,
        } = row;
        Self {
            actor,
            address,
            client,
            count,
            detail,
            door,
            effect,
            ends_at,
            freeze_id,
            granted_seconds,
            groups,
            heads,
            id,
            issuer,
            jti,
            key_fingerprint,
            key_id,
            lease_id,
            matched_rule,
            network,
            occurred_at,
            parent_fingerprint,
            policy_hash,
            reason,
            refused_after_ms,
            request_id,
            requested_role,
            requested_seconds,
            role,
            role_session_name,
            roles,
            seq,
            session_name,
            session_policy_sha256,
            stream,
            subject,
            token_sha256,
            kind,
        }
    }
}
