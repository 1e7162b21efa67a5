//! Questions about the log. Typed rows, nothing aggregated: what the demo shows and tests look at.

use super::{PostgresError, PostgresStore};
use crate::audit::AuditRow;
use crate::lease::LeaseId;

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
            stream, seq, id, occurred_at, type as kind, effect, reason, door, address as "address: std::net::IpAddr",
            request_id, requested_role, requested_seconds, session_name, token_sha256, issuer, subject, client, groups,
            jti, role, roles, matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256,
            granted_seconds, key_fingerprint, ends_at, count, network::text, heads, key_id, detail, actor,
            parent_fingerprint, refused_after_ms, freeze_id
        from audit_event
        where lease_id = $1
        order by occurred_at, stream, seq
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
            stream, seq, id, occurred_at, type as kind, effect, reason, door, address as "address: std::net::IpAddr",
            request_id, requested_role, requested_seconds, session_name, token_sha256, issuer, subject, client, groups,
            jti, role, roles, matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256,
            granted_seconds, key_fingerprint, ends_at, count, network::text, heads, key_id, detail, actor,
            parent_fingerprint, refused_after_ms, freeze_id
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
