//! The auditors' questions over PostgreSQL: each one statement, read in a read-only transaction that is bounded in time,
//! and looks at a bounded number of rows. The statements are files, so that a test can explain the very same text.

use async_trait::async_trait;
use sqlx::{Executor, Postgres, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

use super::event_row::ExaminedRow;
use super::{PostgresError, PostgresStore};
use crate::audit::question::{
    EventsQuestion, FingerprintRange, GrantsQuestion, HolderOnly, LeaseEvents, LeaseRecord, LeasesQuestion,
    ListedLease, LivePolicy, MOST, Order, Period, Place, PolicyInForce, Questions, RowPage,
};
use crate::audit::{AuditRow, StoreError};
use crate::lease::{LeaseId, OpenCount};

/// Rows looked at for one page of events: some tens of milliseconds' worth.
pub(super) const EXAMINED: u16 = 20_000;
/// How far an event's time may lie outside the days in which its stream was open, as its id tells: clocks step.
const CLOCKS: time::Duration = time::Duration::days(2);
/// The longest a stream is open: a month, and clocks.
const LONGEST_STREAM: time::Duration = time::Duration::days(33);

/// What every reading transaction is told. Plans are made for the very values asked: most conditions of a question are
/// absent, and a plan for all of them would use no index. Compiling a plan costs more than any of these runs.
const BOUNDS: &str = "select set_config('statement_timeout', '5s', true), set_config('plan_cache_mode', \
                      'force_custom_plan', true), set_config('jit', 'off', true)";

/// Pages of events are read in their order from an index, so that a full page ends the reading: a bitmap would first be made of
/// all there is.
pub(super) const IN_ORDER: &str = "select set_config('enable_bitmapscan', 'off', true)";

/// One page of events by either statement: both take the same parameters, in one order, and what `$more` adds.
macro_rules! examined {
    ($question:expr, $statement:literal $(, $more:expr)*) => {{
        let EventsQuestion { filter, order: _, after, limit } = $question;
        sqlx::query_file_as!(
            ExaminedRow,
            $statement,
            after.map(|place| place.occurred_at),
            after.map(|place| place.stream),
            after.map(|place| place.seq),
            filter.from,
            filter.to,
            filter.driver().as_str(),
            filter.kind.as_deref(),
            filter.lease_id,
            filter.key_fingerprint.as_ref().map(FingerprintRange::first),
            filter.key_fingerprint.as_ref().map(FingerprintRange::end),
            filter.token_sha256.as_deref(),
            filter.subject.as_deref(),
            filter.effect.as_deref(),
            filter.reason.as_deref(),
            filter.issuer.as_deref(),
            filter.client.as_deref(),
            filter.group.as_deref(),
            filter.role.as_deref(),
            filter.jti.as_deref(),
            filter.request_id,
            filter.policy_hash.as_deref(),
            filter.address,
            filter.door.as_deref(),
            filter.session_name.as_deref(),
            filter.stream,
            i64::from(*limit),
            i64::from(EXAMINED)
            $(, $more)*
        )
    }};
}

#[async_trait]
impl Questions for PostgresStore {
    async fn events(&self, question: &EventsQuestion) -> Result<RowPage<AuditRow>, StoreError> {
        let rows = match question.order {
            Order::Time => self.events_by_time(question).await,
            Order::Log => self.events_by_log(question).await,
        };
        Ok(page_of_events(rows?, question.limit))
    }

    async fn key_leases(&self, range: &FingerprintRange) -> Result<Vec<LeaseRecord>, StoreError> {
        let mut reading = self.reading().await?;
        sqlx::query_file_as!(
            LeaseRecord,
            "src/postgres/questions/key_leases.sql",
            range.first(),
            range.end(),
            i64::from(MOST)
        )
        .fetch_all(&mut *reading)
        .await
        .map_err(refused)
    }

    async fn live_policies(&self, at: OffsetDateTime) -> Result<Vec<LivePolicy>, StoreError> {
        let mut reading = self.reading().await?;
        sqlx::query_file_as!(LivePolicy, "src/postgres/questions/live_policies.sql", at)
            .fetch_all(&mut *reading)
            .await
            .map_err(refused)
    }

    async fn live_leases(
        &self,
        at: OffsetDateTime,
        policies: &[String],
        limit: u16,
    ) -> Result<Vec<LeaseRecord>, StoreError> {
        let mut reading = self.reading().await?;
        sqlx::query_file_as!(LeaseRecord, "src/postgres/questions/live_leases.sql", at, policies, i64::from(limit))
            .fetch_all(&mut *reading)
            .await
            .map_err(refused)
    }

    async fn policy_in_force(&self, at: OffsetDateTime) -> Result<Option<PolicyInForce>, StoreError> {
        let mut reading = self.reading().await?;
        sqlx::query_file_as!(PolicyInForce, "src/postgres/questions/policy_in_force.sql", at)
            .fetch_optional(&mut *reading)
            .await
            .map_err(refused)
    }

    async fn grants(&self, question: &GrantsQuestion) -> Result<RowPage<LeaseRecord>, StoreError> {
        let GrantsQuestion { subject, group, issuer, period, after, limit } = question;
        let mut reading = self.reading().await?;
        let mut rows = if subject.is_some() {
            sqlx::query_file_as!(
                LeaseRecord,
                "src/postgres/questions/grants.sql",
                after.map(|place| place.occurred_at),
                after.map(|place| place.stream),
                after.map(|place| place.seq),
                period.from,
                period.to,
                subject.as_deref(),
                group.as_deref(),
                issuer.as_deref(),
                i64::from(*limit) + 1
            )
            .fetch_all(&mut *reading)
            .await
            .map_err(refused)?
        } else {
            let rows = sqlx::query_file_as!(
                LeaseRecord,
                "src/postgres/questions/grants_common.sql",
                after.map(|place| place.occurred_at),
                after.map(|place| place.stream),
                after.map(|place| place.seq),
                period.from,
                period.to,
                subject.as_deref(),
                group.as_deref(),
                issuer.as_deref(),
                i64::from(*limit) + 1,
                i64::from(EXAMINED)
            )
            .fetch_all(&mut *reading)
            .await
            .map_err(refused)?;
            if rows.len() > usize::from(*limit) {
                rows
            } else {
                sqlx::query_file_as!(
                    LeaseRecord,
                    "src/postgres/questions/grants_rare.sql",
                    after.map(|place| place.occurred_at),
                    after.map(|place| place.stream),
                    after.map(|place| place.seq),
                    period.from,
                    period.to,
                    subject.as_deref(),
                    group.as_deref(),
                    issuer.as_deref(),
                    i64::from(*limit) + 1
                )
                .fetch_all(&mut *reading)
                .await
                .map_err(refused)?
            }
        };
        let place = |row: &LeaseRecord| Place { occurred_at: row.occurred_at, stream: row.stream, seq: row.seq };
        let more = rows.len() > usize::from(*limit);
        rows.truncate(usize::from(*limit));
        let next = if more { rows.last().map(place) } else { None };
        Ok(RowPage { rows, next })
    }

    async fn leases(&self, question: &LeasesQuestion) -> Result<RowPage<ListedLease>, StoreError> {
        Ok(self.listed_leases(question).await?)
    }

    async fn lease(&self, lease: LeaseId, of: Option<&HolderOnly>) -> Result<LeaseEvents, StoreError> {
        Ok(self.events_of_lease(lease, of).await?)
    }

    async fn open_counts(&self, at: OffsetDateTime) -> Result<Vec<OpenCount>, StoreError> {
        Ok(self.counts_of_open(at).await?)
    }

    async fn emergencies(&self, period: &Period) -> Result<Vec<AuditRow>, StoreError> {
        let mut reading = self.reading().await?;
        sqlx::query_file_as!(
            AuditRow,
            "src/postgres/questions/emergencies.sql",
            period.from,
            period.to,
            i64::from(MOST)
        )
        .fetch_all(&mut *reading)
        .await
        .map_err(refused)
    }
}

impl PostgresStore {
    pub(super) async fn reading(&self) -> Result<Transaction<'static, Postgres>, PostgresError> {
        let mut reading = self.pool.begin_with("begin isolation level repeatable read read only").await?;
        reading.execute(BOUNDS).await?;
        Ok(reading)
    }

    async fn events_by_time(&self, question: &EventsQuestion) -> Result<Vec<ExaminedRow>, PostgresError> {
        let mut reading = self.reading().await?;
        reading.execute(IN_ORDER).await?;
        Ok(examined!(question, "src/postgres/questions/events_by_time.sql").fetch_all(&mut *reading).await?)
    }

    async fn events_by_log(&self, question: &EventsQuestion) -> Result<Vec<ExaminedRow>, PostgresError> {
        let mut reading = self.reading().await?;
        reading.execute(IN_ORDER).await?;
        let first = question.filter.from.and_then(|from| first_id_of(from - LONGEST_STREAM - CLOCKS));
        let last = question.filter.to.and_then(|to| first_id_of(to + CLOCKS));
        Ok(examined!(question, "src/postgres/questions/events_by_log.sql", first, last)
            .fetch_all(&mut *reading)
            .await?)
    }
}

/// The first version 7 UUID of an instant: streams opened before it have smaller ids.
fn first_id_of(instant: OffsetDateTime) -> Option<Uuid> {
    let millis = u64::try_from(instant.unix_timestamp_nanos() / 1_000_000).ok()?;
    Some(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
}

/// The rows that meet the filter, and where to go on: after the last of them when the page is full, after the last row looked
/// at when the bound was reached.
fn page_of_events(mut found: Vec<ExaminedRow>, limit: u16) -> RowPage<AuditRow> {
    let full = found.len() > usize::from(limit);
    found.truncate(usize::from(limit));
    let next = found.last().filter(|last| full || last.place == i64::from(EXAMINED)).map(ExaminedRow::place);
    let rows = found.into_iter().filter(|row| row.meets).map(AuditRow::from).collect();
    RowPage { rows, next }
}

fn refused(error: sqlx::Error) -> StoreError {
    PostgresError::from(error).into()
}
