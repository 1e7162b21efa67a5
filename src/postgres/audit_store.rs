//! The log's port over PostgreSQL: one statement, one round trip, one commit per batch. It only ever inserts.

use async_trait::async_trait;
use sqlx::PgConnection;
use sqlx::error::DatabaseError;

use super::seal_row::SealRow;
use super::unnamed::unnamed_heads;
use super::{PostgresError, PostgresStore};
use crate::audit::{
    AuditStore, Batch, PolicySetText, Seal, SessionPolicyText, StoreError, StreamHead, StreamId, VerifyingKey,
};

#[async_trait]
impl AuditStore for PostgresStore {
    async fn open(&self, stream: StreamId, key: &VerifyingKey) -> Result<Vec<StreamHead>, StoreError> {
        let mut connection = self.writer().await?;
        let heads = open(&mut connection, stream, key).await?;
        self.keep_writer(connection);
        Ok(heads)
    }

    async fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut connection = self.writer().await?;
        let policies = self.kept_policies.unsent(&batch.session_policies);
        match insert(&mut connection, batch, &policies).await {
            Ok(()) => {
                self.kept_policies.note(&policies);
                self.keep_writer(connection);
                Ok(())
            }
            // The connection is dropped: what state the session is in, nobody knows.
            Err(error) => Err(failure(error)),
        }
    }

    async fn head(&self, stream: StreamId) -> Result<Option<Seal>, StoreError> {
        let mut connection = self.writer().await?;
        let head = last(&mut connection, stream).await?;
        self.keep_writer(connection);
        Ok(head)
    }

    async fn keep_policy_set(&self, set: &PolicySetText) -> Result<(), StoreError> {
        let PolicySetText { hash, files } = set;
        sqlx::query!("insert into policy_set (hash, files) values ($1, $2) on conflict do nothing", hash, files)
            .execute(&self.pool)
            .await
            .map_err(PostgresError::from)?;
        Ok(())
    }
}

/// A single statement is its own transaction: all of the batch and its seal or none of it, durable when it answers.
async fn insert(
    connection: &mut PgConnection,
    batch: &Batch,
    session_policies: &[&SessionPolicyText],
) -> Result<(), sqlx::Error> {
    let Batch { records, seal, session_policies: _ } = batch;
    let records = format!("[{}]", records.join(","));
    let seal = SealRow::from(seal);
    let (hashes, texts): (Vec<String>, Vec<String>) =
        session_policies.iter().map(|policy| (policy.sha256.clone(), policy.text.clone())).unzip();
    let inserted = sqlx::query!(
        r#"
        with
        event as (
            insert into audit_event (
                stream, seq, id, occurred_at, type, effect, reason, door, address, request_id, requested_role,
                requested_seconds, session_name, token_sha256, issuer, subject, client, groups, jti, role, roles,
                matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256, granted_seconds,
                key_fingerprint, ends_at, count, network, heads, key_id, detail, actor, parent_fingerprint,
                refused_after_ms, freeze_id
            )
            select
                stream, seq, id, occurred_at, type, effect, reason, door, address, request_id, requested_role,
                requested_seconds, session_name, token_sha256, issuer, subject, client, coalesce(groups, '{}'), jti,
                role, coalesce(roles, '{}'), matched_rule, policy_hash, lease_id, role_session_name,
                session_policy_sha256, granted_seconds, key_fingerprint, ends_at, count, network,
                coalesce(heads, '{}'), key_id, detail, actor, parent_fingerprint, refused_after_ms,
                freeze_id
            from jsonb_to_recordset($1::text::jsonb) as record (
                stream uuid, seq bigint, id uuid, occurred_at timestamptz, type text, effect text, reason text, door
                text, address inet, request_id uuid, requested_role text, requested_seconds bigint, session_name
                text, token_sha256 text, issuer text, subject text, client text, groups text[], jti text, role text,
                roles text[], matched_rule text, policy_hash text, lease_id uuid, role_session_name text,
                session_policy_sha256 text, granted_seconds bigint, key_fingerprint text, ends_at timestamptz, count
                bigint, network cidr, heads text[], key_id text, detail text, actor text,
                parent_fingerprint text, refused_after_ms bigint, freeze_id uuid
            )
            returning seq
        ),
        policy as (
            insert into session_policy (sha256, text)
            select distinct on (sha256) sha256, text from unnest($12::text[], $13::text[]) as sent (sha256, text)
            on conflict do nothing
        )
        insert into audit_seal (
            stream, number, first_seq, last_seq, leaves, root, previous, sealed_at, key_id, signature
        )
        values (
            $2,
            -- No number, and so nothing at all, unless every event was taken: a trigger can swallow rows without a word.
            case when (select count(*) from event) = $5::bigint - $4::bigint + 1 then $3::bigint end,
            $4, $5, $6, $7, $8, $9, $10, $11
        )
        "#,
        records,
        seal.stream,
        seal.number,
        seal.first_seq,
        seal.last_seq,
        seal.leaves,
        seal.root,
        seal.previous,
        seal.sealed_at,
        seal.key_id,
        seal.signature,
        &hashes,
        &texts,
    )
    .execute(connection)
    .await?;
    match inserted.rows_affected() {
        1 => Ok(()),
        _ => Err(sqlx::Error::Protocol("the seal was not taken".to_owned())),
    }
}

async fn last(connection: &mut PgConnection, stream: StreamId) -> Result<Option<Seal>, PostgresError> {
    let row = sqlx::query_as!(
        SealRow,
        r#"
        select stream, number, first_seq, last_seq, leaves, root, previous, sealed_at, key_id, signature
        from audit_seal
        where stream = $1
        order by number desc
        limit 1
        "#,
        stream.0
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| Seal::try_from(row).map_err(|_malformed| PostgresError::MalformedSeal)).transpose()
}

/// Makes room, keeps the key, and reads what the stream's first event must name.
async fn open(
    connection: &mut PgConnection,
    stream: StreamId,
    key: &VerifyingKey,
) -> Result<Vec<StreamHead>, PostgresError> {
    let room = sqlx::query_scalar!(r#"select audit_make_room($1) as "made!""#, stream.0);
    if !room.fetch_one(&mut *connection).await? {
        tracing::warn!(stream = %stream.0, "the month has no partition: its rows go to audit_event_default");
    }
    let (key_id, pem) = (key.id().to_hex(), key.to_pem());
    sqlx::query!("insert into audit_key (key_id, public_key) values ($1, $2) on conflict do nothing", key_id, pem)
        .execute(&mut *connection)
        .await?;
    unnamed_heads(connection, stream).await
}

/// Tells an event that breaks a rule from a store that failed. A number that the stream already has is neither: it says
/// that an earlier batch committed late, and the head will tell.
fn failure(error: sqlx::Error) -> StoreError {
    let unencodable = matches!(error, sqlx::Error::Encode(_));
    let by_database =
        error.as_database_error().is_some_and(|error| !error.is_unique_violation() && is_about_data(error));
    let broke_a_rule = unencodable || by_database;
    if broke_a_rule { StoreError::Rejected(Box::new(error)) } else { PostgresError::from(error).into() }
}

/// SQLSTATE classes 22 (data exception), 23 (integrity constraint violation) and 54 (a value is too large).
fn is_about_data(error: &dyn DatabaseError) -> bool {
    error.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}
