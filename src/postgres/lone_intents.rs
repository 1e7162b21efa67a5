//! Lone intents in PostgreSQL. The process that holds an advisory lock does the work; the lock hangs on the connection
//! that searches, so that whoever finds the connection gone has lost the lock with it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::turn::{self, Work};
use super::{PostgresError, PostgresStore};
use crate::audit::{AuditRow, LoneIntent, StoreError};
use crate::lease::LeaseId;
use crate::reconciler::{Found, LoneIntents, Search};

/// What one search answers at most, of each kind.
const MOST: i64 = 1000;

/// The reconciler's port over the log's database.
pub struct PostgresLoneIntents {
    store: Arc<PostgresStore>,
    session: Mutex<Option<Session>>,
}

/// A connection of our own, and whether it has the turn.
struct Session {
    connection: PgConnection,
    holds_lock: bool,
}

impl PostgresLoneIntents {
    /// Connects when it is first asked.
    #[must_use]
    pub fn new(store: Arc<PostgresStore>) -> Self {
        Self { store, session: Mutex::new(None) }
    }

    async fn open(&self) -> Result<Session, PostgresError> {
        let connection = turn::connect(&self.store, "10s").await?;
        Ok(Session { connection, holds_lock: false })
    }

    fn take(&self) -> Option<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, session: Session) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }
}

impl fmt::Debug for PostgresLoneIntents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresLoneIntents")
    }
}

#[async_trait]
impl LoneIntents for PostgresLoneIntents {
    async fn search(&self, search: &Search) -> Result<Found, StoreError> {
        let mut session = match self.take() {
            Some(session) => session,
            None => self.open().await?,
        };
        // On an error the connection is dropped, and the lock with it.
        if !session.holds_lock {
            session.holds_lock = turn::try_take(&mut session.connection, Work::LoneIntents).await?;
        }
        let found = if session.holds_lock { look(&mut session.connection, search).await? } else { Found::Elsewhere };
        self.keep(session);
        Ok(found)
    }
}

async fn look(connection: &mut PgConnection, search: &Search) -> Result<Found, PostgresError> {
    let Search { from, page, watched, given_up_since, may_have_minted } = search;
    let Page { candidates, read_to } = read_page(connection, *from, *page).await?;
    let mut rows = without_fate(connection, &candidates).await?;
    if !watched.is_empty() {
        let watched: Vec<Uuid> = watched.iter().map(LeaseId::as_uuid).collect();
        rows.extend(without_fate(connection, &watched).await?);
    }
    if let Some(since) = given_up_since {
        rows.extend(given_up(connection, *since, may_have_minted).await?);
    }
    let mut lone = Vec::with_capacity(rows.len());
    for row in rows {
        let (stream, seq) = (row.stream, row.seq);
        match LoneIntent::try_from(row) {
            Ok(intent) => lone.push(intent),
            Err(error) => {
                tracing::error!(%stream, seq, %error, "a row of the log is malformed: run `stint audit verify`");
            }
        }
    }
    Ok(Found::Here { lone, read_to })
}

struct Page {
    candidates: Vec<Uuid>,
    read_to: Option<OffsetDateTime>,
}

/// Reads so many intents and takes out those whose fate stands near them, which are nearly all: one pass over a piece of
/// an index. Fates elsewhere, of clocks that stepped, are left to [`without_fate`], which asks for each lease that is left.
async fn read_page(connection: &mut PgConnection, from: OffsetDateTime, page: u32) -> Result<Page, PostgresError> {
    let row = sqlx::query!(
        r#"
        with
        page as materialized (
            select lease_id, occurred_at
            from audit_event
            where type = 'lease.intended' and occurred_at >= $1
            order by occurred_at
            limit $2
        ),
        extent as materialized (
            select count(*) as rows, max(occurred_at) as last from page
        ),
        near as materialized (
            select lease_id
            from audit_event
            where type in ('lease.issued', 'lease.failed', 'lease.abandoned')
                and occurred_at >= $1
                and occurred_at <= (select last + interval '1 minute' from extent)
            order by occurred_at
            limit $2 * 2
        )
        select
            rows as "rows!",
            last,
            array(select lease_id from page where lease_id not in (select lease_id from near)) as "candidates!"
        from extent
        "#,
        from,
        i64::from(page)
    )
    .fetch_one(connection)
    .await?;
    let is_full = row.rows >= i64::from(page);
    Ok(Page { candidates: row.candidates, read_to: row.last.filter(|_| is_full) })
}

/// The intents among these leases to which no event of any stream gives a fate. What break-glass says of the use is no fate
/// of its lease: that the request was made stands beside every one that was never decided.
async fn without_fate(connection: &mut PgConnection, leases: &[Uuid]) -> Result<Vec<AuditRow>, PostgresError> {
    let rows = sqlx::query_as!(
        AuditRow,
        r#"
        select
            stream, seq, id, occurred_at, type as kind, effect, reason, door, address as "address: std::net::IpAddr",
            request_id, requested_role, requested_seconds, session_name, token_sha256, issuer, subject, client, groups,
            jti, role, roles, matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256,
            granted_seconds, key_fingerprint, ends_at, count, network::text, heads, key_id, detail, actor,
            parent_fingerprint, refused_after_ms, freeze_id
        from audit_event intent
        where lease_id = any($1) and type = 'lease.intended'
            and not exists (
                select from audit_event fate
                where fate.lease_id = intent.lease_id
                    and fate.type not in ('lease.intended', 'orphan.found')
                    and fate.type not like 'break\_glass.%'
            )
        limit $2
        "#,
        leases,
        MOST
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Leases that their exchange abandoned without being able to revoke them, or that failed for one of these reasons, and
/// that nobody has ended since. What a verification minted is nobody's, and it cleans up itself.
async fn given_up(
    connection: &mut PgConnection,
    since: OffsetDateTime,
    may_have_minted: &[&str],
) -> Result<Vec<AuditRow>, PostgresError> {
    let reasons: Vec<String> = may_have_minted.iter().copied().map(str::to_owned).collect();
    let rows = sqlx::query_as!(
        AuditRow,
        r#"
        select
            stream, seq, id, occurred_at, type as kind, effect, reason, door, address as "address: std::net::IpAddr",
            request_id, requested_role, requested_seconds, session_name, token_sha256, issuer, subject, client, groups,
            jti, role, roles, matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256,
            granted_seconds, key_fingerprint, ends_at, count, network::text, heads, key_id, detail, actor,
            parent_fingerprint, refused_after_ms, freeze_id
        from audit_event given_up
        where occurred_at >= $1
            and (type = 'lease.abandoned' and reason = 'revoke_failed' or type = 'lease.failed' and reason = any($2))
            and issuer is not null
            and not exists (
                select
                from audit_event later
                where later.lease_id = given_up.lease_id
                    and later.type = 'lease.abandoned' and later.reason <> 'revoke_failed'
            )
        order by occurred_at
        limit $3
        "#,
        since,
        &reasons,
        MOST
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}
