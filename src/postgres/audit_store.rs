//! The log's port over PostgreSQL: one statement, one round trip, one commit per batch. It only ever inserts.

use async_trait::async_trait;
use sqlx::PgConnection;
use sqlx::error::DatabaseError;
use sqlx::types::Json;

use super::row::NewRow;
use super::{PostgresError, PostgresStore};
use crate::audit::{AuditStore, Head, SequencedEvent, StoreError, StreamId};

#[async_trait]
impl AuditStore for PostgresStore {
    async fn append(&self, batch: &[SequencedEvent]) -> Result<(), StoreError> {
        let rows: Vec<NewRow<'_>> = batch.iter().map(NewRow::from).collect();
        let mut connection = self.writer().await.map_err(unavailable)?;
        match insert(&mut connection, Json(rows)).await {
            Ok(()) => {
                self.keep_writer(connection);
                Ok(())
            }
            // The connection is dropped: what state the session is in, nobody knows.
            Err(error) => Err(failure(error)),
        }
    }

    async fn head(&self, stream: StreamId) -> Result<Option<Head>, StoreError> {
        let mut connection = self.writer().await.map_err(unavailable)?;
        let head = last(&mut connection, stream).await.map_err(unavailable)?;
        self.keep_writer(connection);
        Ok(head)
    }
}

/// A single statement is its own transaction: all of the batch or none of it, durable when it answers.
async fn insert(connection: &mut PgConnection, rows: Json<Vec<NewRow<'_>>>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into audit_event (
            stream, seq, id, occurred_at, type, effect, reason, door, address, request_id, requested_role,
            requested_seconds, session_name, token_sha256, issuer, subject, client, groups, jti, role, roles,
            matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256, granted_seconds,
            key_fingerprint, ends_at, detail
        )
        select
            stream, seq, id, occurred_at, type, effect, reason, door, address, request_id, requested_role,
            requested_seconds, session_name, token_sha256, issuer, subject, client, coalesce(groups, '{}'), jti,
            role, roles, matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256,
            granted_seconds, key_fingerprint, ends_at, detail
        from jsonb_to_recordset($1) as event (
            stream uuid, seq bigint, id uuid, occurred_at timestamptz, type text, effect text, reason text, door
            text, address inet, request_id uuid, requested_role text, requested_seconds bigint, session_name
            text, token_sha256 text, issuer text, subject text, client text, groups text[], jti text, role text,
            roles text[], matched_rule text, policy_hash text, lease_id uuid, role_session_name text,
            session_policy_sha256 text, granted_seconds bigint, key_fingerprint text, ends_at timestamptz,
            detail text
        )
        "#,
        rows as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn last(connection: &mut PgConnection, stream: StreamId) -> Result<Option<Head>, PostgresError> {
    let row = sqlx::query!("select seq, id from audit_event where stream = $1 order by seq desc limit 1", stream.0)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| Head { seq: u64::try_from(row.seq).unwrap_or(0), event: row.id }))
}

/// Tells an event that breaks a rule from a store that failed. A number that the stream already has is neither: it says
/// that an earlier batch committed late, and the head will tell.
fn failure(error: sqlx::Error) -> StoreError {
    let unencodable = matches!(error, sqlx::Error::Encode(_));
    let by_database =
        error.as_database_error().is_some_and(|error| !error.is_unique_violation() && is_about_data(error));
    let broke_a_rule = unencodable || by_database;
    if broke_a_rule { StoreError::Rejected(Box::new(error)) } else { unavailable(error.into()) }
}

/// SQLSTATE classes 22 (data exception), 23 (integrity constraint violation) and 54 (a value is too large).
fn is_about_data(error: &dyn DatabaseError) -> bool {
    error.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

fn unavailable(error: PostgresError) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
