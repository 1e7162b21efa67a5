//! What the log knows of leases by their keys, for the comparison with the object server's list. One
//! instance compares at a time.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::turn::{self, Work};
use super::{PostgresError, PostgresStore};
use crate::audit::{AuditRow, KeyFingerprint, LeaseOnRecord, OrphanFate, StoreError};
use crate::lease::LeaseId;
use crate::reconciler::listing::{KnownLease, LeaseRecords, Turn, UnissuedLease};

/// Open leases that are read at once, some 200 bytes each: those beyond are looked up by their keys.
const MOST_OPEN: i64 = 500_000;
/// Intents without an issue that one question answers.
const PAGE: i64 = 1000;
const PAGE_ROWS: usize = 1000;
/// And how many questions: as many intents as open leases.
const MOST_PAGES: usize = 500;

/// The comparison's port over the log's database.
pub struct PostgresLeaseRecords {
    store: Arc<PostgresStore>,
}

struct Session {
    connection: PgConnection,
}

/// A lease as a query tells it. Fingerprints are checked by the schema.
struct LeaseRow {
    lease_id: Uuid,
    key_fingerprint: String,
    parent_fingerprint: Option<String>,
    ends_at: OffsetDateTime,
    closed: bool,
    revocation_wanted: bool,
    trial: bool,
}

/// An intent without an issue.
struct UnissuedRow {
    lease_id: Uuid,
    parent_fingerprint: Option<String>,
    occurred_at: OffsetDateTime,
    ends_at: OffsetDateTime,
    undecided: bool,
}

impl PostgresLeaseRecords {
    /// Connects when it is first asked.
    #[must_use]
    pub fn new(store: Arc<PostgresStore>) -> Self {
        Self { store }
    }

    async fn try_turn(&self) -> Result<Option<Box<dyn Turn>>, PostgresError> {
        let mut connection = turn::connect(&self.store, "30s").await?;
        let got = turn::try_take(&mut connection, Work::Comparison).await?;
        Ok(got.then(|| -> Box<dyn Turn> { Box::new(Session { connection }) }))
    }
}

impl fmt::Debug for PostgresLeaseRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresLeaseRecords")
    }
}

#[async_trait]
impl LeaseRecords for PostgresLeaseRecords {
    async fn turn(&self) -> Result<Option<Box<dyn Turn>>, StoreError> {
        Ok(self.try_turn().await?)
    }
}

impl Session {
    /// The intents without an issue that come after this one, up to that instant.
    async fn unissued_page(
        &mut self,
        after: (OffsetDateTime, Uuid),
        until: OffsetDateTime,
    ) -> Result<Vec<UnissuedRow>, PostgresError> {
        let rows = sqlx::query_as!(
            UnissuedRow,
            r#"
            select
                lease_id as "lease_id!", parent_fingerprint, occurred_at,
                occurred_at + make_interval(secs => granted_seconds) as "ends_at!",
                not exists (
                    select from audit_event fate
                    where fate.lease_id = intent.lease_id
                        and fate.type not in ('lease.intended', 'orphan.found')
                        and fate.type not like 'break\_glass.%'
                        and not (fate.type = 'lease.abandoned' and fate.reason = 'revoke_failed')
                ) as "undecided!"
            from audit_event intent
            where type = 'lease.intended' and occurred_at >= $1 and (occurred_at, lease_id) > ($1, $2) and occurred_at <= $3
                and lease_id is not null and granted_seconds is not null
                and not exists (
                    select from audit_event issued
                    where issued.lease_id = intent.lease_id and issued.type = 'lease.issued'
                )
            order by occurred_at, lease_id
            limit $4
            "#,
            after.0,
            after.1,
            until,
            PAGE
        );
        Ok(rows.fetch_all(&mut self.connection).await?)
    }
}

#[async_trait]
impl Turn for Session {
    async fn open_leases(&mut self, now: OffsetDateTime) -> Result<Vec<KnownLease>, StoreError> {
        // The longest lease, and an hour for clocks that stepped.
        let since = now - time::Duration::hours(2);
        let rows = sqlx::query_as!(
            LeaseRow,
            r#"
            with closed as materialized (
                select lease_id from audit_event
                where occurred_at >= $1
                    and (
                        type in ('lease.abandoned', 'lease.failed')
                        or type = 'lease.revoked' and reason in ('refused_at_server', 'gone_from_listing')
                    )
            ),
            wished as materialized (
                select lease_id from audit_event
                where type = 'lease.revoked' and occurred_at >= $1 and lease_id is not null
                    and reason in ('requested', 'revoked_unproven', 'revoke_failed')
            )
            select
                lease_id as "lease_id!", key_fingerprint as "key_fingerprint!", parent_fingerprint,
                ends_at as "ends_at!", false as "closed!",
                lease_id in (select lease_id from wished) as "revocation_wanted!", coalesce(role like 'stint:%', false) as "trial!"
            from audit_event issued
            where type = 'lease.issued' and occurred_at >= $1 and ends_at > $2 and key_fingerprint is not null
                and not exists (select from closed where closed.lease_id = issued.lease_id)
            limit $3
            "#,
            since,
            now,
            MOST_OPEN
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(PostgresError::from)?;
        Ok(rows.iter().filter_map(known).collect())
    }

    async fn leases_of(&mut self, keys: &[KeyFingerprint]) -> Result<Vec<KnownLease>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as!(
            LeaseRow,
            r#"
            select
                lease_id as "lease_id!", key_fingerprint as "key_fingerprint!", parent_fingerprint,
                ends_at as "ends_at!",
                exists (
                    select from audit_event closing
                    where closing.lease_id = issued.lease_id
                        and (
                            closing.type in ('lease.abandoned', 'lease.failed')
                            or closing.type = 'lease.revoked'
                                and closing.reason in ('refused_at_server', 'gone_from_listing')
                        )
                ) as "closed!",
                exists (
                    select from audit_event wish
                    where wish.lease_id = issued.lease_id and wish.type = 'lease.revoked'
                        and wish.reason in ('requested', 'revoked_unproven', 'revoke_failed')
                ) as "revocation_wanted!",
                coalesce(role like 'stint:%', false) as "trial!"
            from audit_event issued
            where key_fingerprint = any($1) and type = 'lease.issued' and lease_id is not null and ends_at is not null
            "#,
            &texts(keys)
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(PostgresError::from)?;
        Ok(rows.iter().filter_map(known).collect())
    }

    async fn on_record(&mut self, leases: &[LeaseId]) -> Result<Vec<LeaseOnRecord>, StoreError> {
        let ids: Vec<Uuid> = leases.iter().map(LeaseId::as_uuid).collect();
        let rows = sqlx::query_file_as!(AuditRow, "src/postgres/questions/issued_leases.sql", &ids);
        let rows = rows.fetch_all(&mut self.connection).await.map_err(PostgresError::from)?;
        Ok(rows.into_iter().filter_map(|row| LeaseOnRecord::try_from(row).ok()).collect())
    }

    async fn unissued(&mut self, from: OffsetDateTime, to: OffsetDateTime) -> Result<Vec<UnissuedLease>, StoreError> {
        // A lease has 15 minutes to an hour.
        let (since, until) =
            (from.saturating_sub(time::Duration::hours(1)), to.saturating_sub(time::Duration::minutes(15)));
        let (mut leases, mut after) = (Vec::new(), (since, Uuid::nil()));
        for _ in 0..MOST_PAGES {
            let page = self.unissued_page(after, until).await?;
            let whole = page.len() == PAGE_ROWS;
            if let Some(last) = page.last() {
                after = (last.occurred_at, last.lease_id);
            }
            leases.extend(page.into_iter().map(|row| UnissuedLease {
                id: LeaseId::from_uuid(row.lease_id),
                parent: row.parent_fingerprint.as_deref().and_then(KeyFingerprint::parse),
                ends_at: row.ends_at,
                undecided: row.undecided,
            }));
            if !whole {
                return Ok(leases);
            }
        }
        // An orphan of one that is not read would look like nobody's.
        Err(StoreError::Unavailable("more intents stand without an issue than can be compared".into()))
    }

    async fn told(&mut self, keys: &[KeyFingerprint]) -> Result<Vec<(KeyFingerprint, OrphanFate)>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select key_fingerprint as "key_fingerprint!", coalesce(detail, '') as "fate!"
            from audit_event
            where key_fingerprint = any($1) and type = 'orphan.found'
            "#,
            &texts(keys)
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(PostgresError::from)?;
        let fate = |name: &str| {
            if name == OrphanFate::Revoked.as_str() { OrphanFate::Revoked } else { OrphanFate::Reported }
        };
        let told = rows.into_iter().filter_map(|r| Some((KeyFingerprint::parse(&r.key_fingerprint)?, fate(&r.fate))));
        Ok(told.collect())
    }
}

fn known(row: &LeaseRow) -> Option<KnownLease> {
    Some(KnownLease {
        id: LeaseId::from_uuid(row.lease_id),
        key: KeyFingerprint::parse(&row.key_fingerprint)?,
        parent: row.parent_fingerprint.as_deref().and_then(KeyFingerprint::parse),
        ends_at: row.ends_at,
        closed: row.closed,
        revocation_wanted: row.revocation_wanted,
        trial: row.trial,
    })
}

fn texts(keys: &[KeyFingerprint]) -> Vec<String> {
    keys.iter().map(|key| key.as_str().to_owned()).collect()
}
