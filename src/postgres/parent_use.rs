//! What the log says of each parent lately: when it last minted, and which of its leases are open. Read-only; asked before
//! a parent's user is deleted.

use time::OffsetDateTime;

use super::{PostgresError, PostgresStore};
use crate::audit::KeyFingerprint;

/// One parent's leases, as the log knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentUse {
    /// Whose; none in rows from before parents were told apart.
    pub parent: Option<KeyFingerprint>,
    /// When a lease under it was last intended, whatever became of it.
    pub last_intent: OffsetDateTime,
    /// Leases that were issued, or have no fate yet, and have neither ended nor been revoked.
    pub open: u64,
    /// When the last of those ends.
    pub open_until: Option<OffsetDateTime>,
}

struct Row {
    parent_fingerprint: Option<String>,
    last_intent: OffsetDateTime,
    open: i64,
    open_until: Option<OffsetDateTime>,
}

impl PostgresStore {
    /// The use of every parent since `since`, as of `now`.
    pub async fn parent_use(
        &self,
        since: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Vec<ParentUse>, PostgresError> {
        let rows = sqlx::query_file_as!(Row, "src/postgres/questions/parent_use.sql", since, now);
        let rows = rows.fetch_all(&self.pool).await?;
        let of_row = |row: Row| ParentUse {
            parent: row.parent_fingerprint.as_deref().and_then(KeyFingerprint::parse),
            last_intent: row.last_intent,
            open: u64::try_from(row.open).unwrap_or_default(),
            open_until: row.open_until,
        };
        Ok(rows.into_iter().map(of_row).collect())
    }
}
