//! Open leases in PostgreSQL: a page of them in their order, and what was last said of each.

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{PostgresError, PostgresStore};
use crate::audit::question::Place;
use crate::audit::{AuditRow, LeaseOnRecord, StoreError};
use crate::desk::{OpenLease, OpenLeases, OpenPage, Said, Selection};

/// Leases in a page: some hundred kilobytes.
const PAGE: i64 = 500;

#[async_trait]
impl OpenLeases for PostgresStore {
    async fn open(
        &self,
        selection: &Selection,
        at: OffsetDateTime,
        after: Option<Place>,
    ) -> Result<OpenPage, StoreError> {
        let rows = self.open_rows(selection, at, after).await?;
        let last = rows.last().map(|row| Place { occurred_at: row.occurred_at, stream: row.stream, seq: row.seq });
        let next = last.filter(|_| i64::try_from(rows.len()).is_ok_and(|read| read >= PAGE));
        let leases: Vec<Uuid> = rows.iter().filter_map(|row| row.lease_id).collect();
        let mut said = self.last_said(&leases).await?;
        let mut open = Vec::with_capacity(rows.len());
        for row in rows {
            let (stream, seq) = (row.stream, row.seq);
            match LeaseOnRecord::try_from(row) {
                Ok(lease) => {
                    let last_said = said.remove(&lease.id().as_uuid());
                    open.push(OpenLease { lease, last_said });
                }
                Err(error) => {
                    tracing::error!(%stream, seq, %error, "a row of the log is malformed: run `stint audit verify`");
                }
            }
        }
        Ok(OpenPage { leases: open, next })
    }
}

/// The conditions of a selection, each by its column.
#[derive(Default)]
struct Conditions<'a> {
    lease: Option<Uuid>,
    issuer: Option<&'a str>,
    subject: Option<&'a str>,
    role: Option<&'a str>,
    group: Option<&'a str>,
}

impl<'a> From<&'a Selection> for Conditions<'a> {
    fn from(selection: &'a Selection) -> Self {
        let none = Self::default();
        match selection {
            Selection::Lease(lease) => Self { lease: Some(lease.as_uuid()), ..none },
            Selection::Holder { issuer, subject } => Self { issuer: Some(issuer), subject: Some(subject), ..none },
            Selection::Role(role) => Self { role: Some(role), ..none },
            Selection::Group { issuer, group } => Self { issuer: issuer.as_deref(), group: Some(group), ..none },
            Selection::Issuer(issuer) => Self { issuer: Some(issuer), ..none },
            Selection::All => none,
        }
    }
}

impl PostgresStore {
    async fn open_rows(
        &self,
        selection: &Selection,
        at: OffsetDateTime,
        after: Option<Place>,
    ) -> Result<Vec<AuditRow>, PostgresError> {
        let Conditions { lease, issuer, subject, role, group } = Conditions::from(selection);
        let mut reading = self.reading().await?;
        let rows = sqlx::query_file_as!(
            AuditRow,
            "src/postgres/questions/open_leases.sql",
            at,
            after.map(|place| place.occurred_at),
            after.map(|place| place.stream),
            after.map(|place| place.seq),
            lease,
            issuer,
            subject,
            role,
            group,
            PAGE
        );
        Ok(rows.fetch_all(&mut *reading).await?)
    }

    /// The latest `lease.revoked` of each.
    async fn last_said(&self, leases: &[Uuid]) -> Result<BTreeMap<Uuid, Said>, PostgresError> {
        let rows = sqlx::query!(
            r#"
            select distinct on (lease_id) lease_id as "lease_id!", reason, occurred_at
            from audit_event
            where lease_id = any($1) and type = 'lease.revoked'
            order by lease_id, occurred_at desc, stream desc, seq desc
            "#,
            leases
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.lease_id, Said { reason: row.reason, at: row.occurred_at })).collect())
    }
}
