//! What all instances share, read from the log: on a connection of its own, so that no auditor's question keeps an exchange
//! waiting for what is frozen. A connection that is lost is replaced within the same call.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

use super::{PostgresError, PostgresStore};
use crate::audit::StoreError;
use crate::desk::{AllLeasesOut, LeasesOut, SharedState};
use crate::lease::{Freeze, FreezeId, Freezes, Frozen, GivenFreeze, LeaseId};

/// Counts at a time; one more waits.
const COUNTING: u32 = 2;

/// The log, asked for what all instances share.
pub struct PostgresSharedState {
    store: Arc<PostgresStore>,
    kept: Mutex<Option<PgConnection>>,
    /// For counts: of many mints at once each waits for its own.
    counting: PgPool,
    /// How long one question may take.
    patience: Duration,
}

impl PostgresSharedState {
    /// By the store's options; nothing is connected yet. `deadline` is that of an audit write.
    #[must_use]
    pub fn new(store: Arc<PostgresStore>, deadline: Duration) -> Self {
        let counting = PgPoolOptions::new().max_connections(COUNTING).acquire_timeout(deadline * 2);
        let counting = counting.connect_lazy_with(store.options.clone());
        Self { store, kept: Mutex::default(), counting, patience: deadline }
    }

    /// The kept connection if it is alive, or a new one. It is taken out while in use: a question that is given up half-way
    /// drops it, and with it whatever state the session was in.
    async fn connection(&self) -> Result<PgConnection, PostgresError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut connection) = kept {
            match connection.ping().await {
                Ok(()) => return Ok(connection),
                Err(error) => tracing::info!(%error, "the connection for freezes and quotas is replaced"),
            }
        }
        self.store.connection().await
    }

    fn keep(&self, connection: PgConnection) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    /// The answer, if it comes in time.
    async fn in_time<T>(
        &self,
        within: Duration,
        asking: impl Future<Output = Result<T, PostgresError>> + Send,
    ) -> Result<T, PostgresError> {
        match timeout(within, asking).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(PostgresError::Timeout { within }),
        }
    }
}

impl fmt::Debug for PostgresSharedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresSharedState")
    }
}

#[async_trait]
impl SharedState for PostgresSharedState {
    async fn freezes(&self) -> Result<Freezes, StoreError> {
        let asking = async {
            let mut connection = self.connection().await?;
            let freezes = in_force(&mut connection).await?;
            self.keep(connection);
            Ok(freezes)
        };
        Ok(self.in_time(self.patience, asking).await?)
    }

    async fn revoked_since(&self, since: OffsetDateTime) -> Result<Vec<LeaseId>, StoreError> {
        let asking = async {
            let mut connection = self.connection().await?;
            let leases = revoked(&mut connection, since).await?;
            self.keep(connection);
            Ok(leases)
        };
        Ok(self.in_time(self.patience, asking).await?.into_iter().map(LeaseId::from_uuid).collect())
    }

    async fn out_of(
        &self,
        issuer: &str,
        subject: &str,
        at: OffsetDateTime,
        but: &[LeaseId],
    ) -> Result<LeasesOut, StoreError> {
        let but: Vec<Uuid> = but.iter().map(LeaseId::as_uuid).collect();
        let asking = async {
            let row =
                sqlx::query_file_as!(OutRow, "src/postgres/questions/leases_out_of.sql", at, issuer, subject, &but);
            Ok(row.fetch_one(&self.counting).await?)
        };
        Ok(self.in_time(self.patience * 2, asking).await?.out())
    }

    async fn out(&self, at: OffsetDateTime, but: &[LeaseId]) -> Result<AllLeasesOut, StoreError> {
        let but: Vec<Uuid> = but.iter().map(LeaseId::as_uuid).collect();
        let asking = async {
            let rows = sqlx::query_file_as!(OutRow, "src/postgres/questions/leases_out.sql", at, &but);
            Ok(rows.fetch_all(&self.counting).await?)
        };
        let mut out = AllLeasesOut::default();
        for row in self.in_time(self.patience * 2, asking).await? {
            let counted = row.out();
            match row.role {
                None => out.all = counted,
                Some(role) => drop(out.by_role.insert(role, counted)),
            }
        }
        Ok(out)
    }
}

/// So many leases, under a role or in all.
struct OutRow {
    role: Option<String>,
    leases: i64,
    first_end: Option<OffsetDateTime>,
}

impl OutRow {
    fn out(&self) -> LeasesOut {
        LeasesOut { count: u64::try_from(self.leases).unwrap_or(0), first_end: self.first_end }
    }
}

/// One freeze, as its row says.
struct FreezeRow {
    freeze_id: Uuid,
    occurred_at: OffsetDateTime,
    issuer: Option<String>,
    subject: Option<String>,
    client: Option<String>,
    groups: Vec<String>,
    role: Option<String>,
    actor: Option<String>,
    detail: Option<String>,
}

/// Only what has an id is the installation's: a role that one process closed is that process's own. The conditions on type and
/// id are the predicate of an index of their own.
async fn in_force(connection: &mut PgConnection) -> Result<Freezes, PostgresError> {
    let rows = sqlx::query_as!(
        FreezeRow,
        r#"
        select freeze_id as "freeze_id!", occurred_at, issuer, subject, client, groups, role, actor, detail
        from audit_event as set_then
        where type = 'freeze.set' and freeze_id is not null
            and not exists (
                select
                from audit_event as lifted
                where lifted.freeze_id = set_then.freeze_id and lifted.type = 'freeze.lifted'
            )
        order by occurred_at, stream, seq
        "#
    )
    .fetch_all(connection)
    .await?;
    Ok(Freezes::new(rows.into_iter().map(freeze).collect()))
}

async fn revoked(connection: &mut PgConnection, since: OffsetDateTime) -> Result<Vec<Uuid>, PostgresError> {
    let leases = sqlx::query_scalar!(
        r#"
        select distinct lease_id as "lease_id!"
        from audit_event
        where type = 'lease.revoked' and occurred_at >= $1
        "#,
        since
    );
    Ok(leases.fetch_all(connection).await?)
}

/// A row of a shape that this version does not know, as a later one may write it, spares nobody.
fn freeze(row: FreezeRow) -> Freeze {
    let FreezeRow { freeze_id, occurred_at, issuer, subject, client, groups, role, actor, detail } = row;
    let names_nothing = [&issuer, &subject, &client, &role].into_iter().all(Option::is_none) && groups.is_empty();
    let several_groups = groups.len() > 1;
    let group = groups.into_iter().next();
    let given = GivenFreeze { subject, issuer, group, client, role, everything: names_nothing };
    let frozen = Frozen::one_of(given).ok().filter(|_| !several_groups).unwrap_or_else(|| {
        tracing::error!(%freeze_id, "a freeze cannot be read, and so covers everything: lift it, or run a newer stint");
        Frozen::Everything
    });
    let actor = actor.unwrap_or_default();
    Freeze { id: FreezeId::from_uuid(freeze_id), frozen, set_at: occurred_at, actor, why: detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> FreezeRow {
        FreezeRow {
            freeze_id: Uuid::nil(),
            occurred_at: OffsetDateTime::UNIX_EPOCH,
            issuer: Some("authentik".to_owned()),
            subject: Some("ada".to_owned()),
            client: None,
            groups: Vec::new(),
            role: None,
            actor: Some("os:root".to_owned()),
            detail: None,
        }
    }

    #[test]
    fn a_freeze_that_cannot_be_read_covers_everything() {
        let subject = Frozen::Subject { issuer: "authentik".to_owned(), subject: "ada".to_owned() };
        assert_eq!(freeze(row()).frozen, subject);
        let group = FreezeRow { subject: None, groups: vec!["g".to_owned()], ..row() };
        assert!(matches!(freeze(group).frozen, Frozen::Group { .. }));
        for unreadable in [
            FreezeRow { issuer: None, ..row() },
            FreezeRow { role: Some("studio".to_owned()), ..row() },
            FreezeRow { subject: None, groups: vec!["g".to_owned(), "h".to_owned()], ..row() },
            FreezeRow { subject: Some(String::new()), ..row() },
            FreezeRow { issuer: None, subject: None, ..row() },
        ] {
            assert_eq!(freeze(unreadable).frozen, Frozen::Everything);
        }
    }
}
