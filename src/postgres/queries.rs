//! Questions about the log. Typed rows, nothing aggregated: what the demo shows and tests look at.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{PostgresError, PostgresStore};
use crate::lease::LeaseId;

/// One row of `audit_event`; `migrations/` says what each column means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// The process start that said it.
    pub stream: Uuid,
    /// Place in the stream.
    pub seq: i64,
    /// The event's id.
    pub id: Uuid,
    /// When it was said, by the clock of the service.
    pub occurred_at: OffsetDateTime,
    /// When the database took the row, by its own clock.
    pub recorded_at: OffsetDateTime,
    /// What happened: [`crate::audit::EventKind::as_str`].
    pub kind: String,
    /// The decision.
    pub effect: String,
    /// The stable reason code.
    pub reason: String,
    /// The door.
    pub door: Option<String>,
    /// The caller's address, as text.
    pub address: Option<String>,
    /// The request id that the answer carried.
    pub request_id: Option<Uuid>,
    /// The role asked for.
    pub requested_role: Option<String>,
    /// The length asked for.
    pub requested_seconds: Option<i64>,
    /// The caller's own session name.
    pub session_name: Option<String>,
    /// SHA-256 of the token, hex.
    pub token_sha256: Option<String>,
    /// The issuer's configured name.
    pub issuer: Option<String>,
    /// `sub`.
    pub subject: Option<String>,
    /// `azp` or `client_id`.
    pub client: Option<String>,
    /// The groups in the token.
    pub groups: Vec<String>,
    /// `jti`.
    pub jti: Option<String>,
    /// The role granted, or `any`.
    pub role: Option<String>,
    /// Every role combined into the grant.
    pub roles: Vec<String>,
    /// The rules that matched.
    pub matched_rule: Option<String>,
    /// Hash of the policy set, hex.
    pub policy_hash: Option<String>,
    /// The lease.
    pub lease_id: Option<Uuid>,
    /// The session name that the object server sees.
    pub role_session_name: Option<String>,
    /// SHA-256 of the session policy, hex.
    pub session_policy_sha256: Option<String>,
    /// The length asked of the object server.
    pub granted_seconds: Option<i64>,
    /// Keyed fingerprint of the access key id, hex.
    pub key_fingerprint: Option<String>,
    /// The real end at the object server.
    pub ends_at: Option<OffsetDateTime>,
    /// The rest, for people.
    pub detail: Option<String>,
}

impl PostgresStore {
    /// Whether the database answers at all, for readiness.
    pub async fn ping(&self) -> Result<(), PostgresError> {
        sqlx::query("select 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Every event about one lease, in the order it was said: the intent, then its fate. Normally two, three at most
    /// until leases can be revoked; bounded at 1,000.
    pub async fn lease_events(&self, lease: LeaseId) -> Result<Vec<AuditRow>, PostgresError> {
        let rows = sqlx::query_as!(
            AuditRow,
            r#"
        select
            stream, seq, id, occurred_at, recorded_at, type as kind, effect, reason, door, host(address) as
            address, request_id, requested_role, requested_seconds, session_name, token_sha256, issuer, subject,
            client, groups, jti, role, roles, matched_rule, policy_hash, lease_id, role_session_name,
            session_policy_sha256, granted_seconds, key_fingerprint, ends_at, detail
        from audit_event
        where lease_id = $1
        order by recorded_at, stream, seq
        limit 1000
            "#,
            lease.as_uuid()
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// The latest events of all streams, newest first, as the service's clocks tell: at most `limit`.
    pub async fn recent(&self, limit: u16) -> Result<Vec<AuditRow>, PostgresError> {
        let rows = sqlx::query_as!(
            AuditRow,
            r#"
        select
            stream, seq, id, occurred_at, recorded_at, type as kind, effect, reason, door, host(address) as
            address, request_id, requested_role, requested_seconds, session_name, token_sha256, issuer, subject,
            client, groups, jti, role, roles, matched_rule, policy_hash, lease_id, role_session_name,
            session_policy_sha256, granted_seconds, key_fingerprint, ends_at, detail
        from audit_event
        order by occurred_at desc, stream desc, seq desc
        limit $1
            "#,
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }
}
