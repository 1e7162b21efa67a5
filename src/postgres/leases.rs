//! The lease desk's questions over PostgreSQL: a page of leases, and what is on record of one. Read and bounded as the
//! auditors' questions are.

use sqlx::Executor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::questions::{EXAMINED, IN_ORDER};
use super::{PostgresError, PostgresStore};
use crate::audit::AuditRow;
use crate::audit::question::{HolderOnly, LeaseEvents, LeaseState, LeasesQuestion, ListedLease, Place, RowPage};
use crate::lease::{GoesBy, LeaseId, OpenCount};

/// A row that a page of leases looked at.
struct ExaminedLease {
    stream: Uuid,
    seq: i64,
    occurred_at: OffsetDateTime,
    lease_id: Uuid,
    issuer: Option<String>,
    subject: Option<String>,
    client: Option<String>,
    groups: Vec<String>,
    role: Option<String>,
    roles: Vec<String>,
    matched_rule: Option<String>,
    policy_hash: Option<String>,
    role_session_name: Option<String>,
    granted_seconds: Option<i64>,
    door: Option<String>,
    key_fingerprint: Option<String>,
    issued_at: Option<OffsetDateTime>,
    ends_at: Option<OffsetDateTime>,
    failed_reason: Option<String>,
    ended_type: Option<String>,
    ended_reason: Option<String>,
    ended_at: Option<OffsetDateTime>,
    last_said: Option<String>,
    meets: bool,
    place: i64,
}

/// Open leases, counted.
struct OpenRow {
    issued_at: OffsetDateTime,
    ends_at: OffsetDateTime,
    reads_refresh_after: Option<bool>,
    leases: i64,
}

impl From<ExaminedLease> for ListedLease {
    fn from(row: ExaminedLease) -> Self {
        Self {
            stream: row.stream,
            seq: row.seq,
            occurred_at: row.occurred_at,
            lease_id: row.lease_id,
            issuer: row.issuer,
            subject: row.subject,
            client: row.client,
            groups: row.groups,
            role: row.role,
            roles: row.roles,
            matched_rule: row.matched_rule,
            policy_hash: row.policy_hash,
            role_session_name: row.role_session_name,
            granted_seconds: row.granted_seconds,
            door: row.door,
            key_fingerprint: row.key_fingerprint,
            issued_at: row.issued_at,
            ends_at: row.ends_at,
            failed_reason: row.failed_reason,
            ended_type: row.ended_type,
            ended_reason: row.ended_reason,
            ended_at: row.ended_at,
            last_said: row.last_said,
        }
    }
}

impl PostgresStore {
    pub(super) async fn listed_leases(&self, question: &LeasesQuestion) -> Result<RowPage<ListedLease>, PostgresError> {
        let LeasesQuestion { filter, at, after, limit } = question;
        let mut reading = self.reading().await?;
        reading.execute(IN_ORDER).await?;
        let found = sqlx::query_file_as!(
            ExaminedLease,
            "src/postgres/questions/leases.sql",
            after.map(|place| place.occurred_at),
            after.map(|place| place.stream),
            after.map(|place| place.seq),
            filter.from,
            filter.to,
            filter.listed_by().as_str(),
            filter.state.map(LeaseState::as_str),
            at,
            filter.subject.as_deref(),
            filter.issuer.as_deref(),
            filter.client.as_deref(),
            filter.group.as_deref(),
            filter.role.as_deref(),
            i64::from(*limit),
            i64::from(EXAMINED)
        )
        .fetch_all(&mut *reading)
        .await?;
        Ok(page(found, *limit))
    }

    pub(super) async fn events_of_lease(
        &self,
        lease: LeaseId,
        of: Option<&HolderOnly>,
    ) -> Result<LeaseEvents, PostgresError> {
        let (issuer, subject) = (of.map(|of| of.issuer.as_str()), of.map(|of| of.subject.as_str()));
        let mut reading = self.reading().await?;
        let most = i64::from(LeaseEvents::MOST_TOLD);
        let mut rows = sqlx::query_file_as!(
            AuditRow,
            "src/postgres/questions/lease_events.sql",
            lease.as_uuid(),
            issuer,
            subject,
            most + 1
        )
        .fetch_all(&mut *reading)
        .await?;
        let reused = sqlx::query_scalar!(
            r#"
            select count(*) as "count!"
            from (
                select from audit_event
                where lease_id = $1 and type = 'lease.reused' and ($2::text is null or issuer = $2 and subject = $3::text)
                limit $4
            ) as reused
            "#,
            lease.as_uuid(),
            issuer,
            subject,
            i64::from(LeaseEvents::MOST_COUNTED)
        )
        .fetch_one(&mut *reading)
        .await?;
        rows.sort_by_key(|row| (row.occurred_at, row.stream, row.seq));
        let others = rows.iter().filter(|row| row.kind != "lease.reused").count();
        let truncated = others > usize::from(LeaseEvents::MOST_TOLD);
        Ok(LeaseEvents { rows, reused, truncated })
    }
}

impl PostgresStore {
    pub(super) async fn counts_of_open(&self, at: OffsetDateTime) -> Result<Vec<OpenCount>, PostgresError> {
        let mut reading = self.reading().await?;
        let rows = sqlx::query_file_as!(OpenRow, "src/postgres/questions/open_counts.sql", at)
            .fetch_all(&mut *reading)
            .await?;
        let by = |refresh: Option<bool>| if refresh == Some(true) { GoesBy::RefreshAfter } else { GoesBy::Expiration };
        let counted = |OpenRow { issued_at, ends_at, reads_refresh_after, leases }| {
            let leases = u64::try_from(leases).unwrap_or(0);
            OpenCount { issued_at, ends_at, by: by(reads_refresh_after), leases }
        };
        Ok(rows.into_iter().map(counted).collect())
    }
}

/// As a page of events ends: after the last lease when it is full, after the last row looked at when the bound was reached.
fn page(mut found: Vec<ExaminedLease>, limit: u16) -> RowPage<ListedLease> {
    let full = found.len() > usize::from(limit);
    found.truncate(usize::from(limit));
    let place = |row: &ExaminedLease| Place { occurred_at: row.occurred_at, stream: row.stream, seq: row.seq };
    let next = found.last().filter(|last| full || last.place == i64::from(EXAMINED)).map(place);
    let rows = found.into_iter().filter(|row| row.meets).map(ListedLease::from).collect();
    RowPage { rows, next }
}
