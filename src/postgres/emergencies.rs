//! What all instances know together of emergencies: who owns a nonce, and the rows that say which reviews are open.

use async_trait::async_trait;
use uuid::Uuid;

use super::{PostgresError, PostgresStore};
use crate::audit::{AuditRow, StoreError};
use crate::break_glass::desk::EmergencyRecord;

/// Far more than a service writes in its life. Beyond it nobody can say that all of them were read, and so nothing is said.
const MOST: i64 = 50_000;

#[async_trait]
impl EmergencyRecord for PostgresStore {
    async fn owner(&self, nonce: Uuid) -> Result<Option<Uuid>, StoreError> {
        let mut reading = self.reading().await?;
        let owner = sqlx::query_scalar!("select event_id from audit_break_glass_nonce where nonce = $1", nonce)
            .fetch_optional(&mut *reading)
            .await
            .map_err(PostgresError::from)?;
        Ok(owner)
    }

    async fn rows(&self) -> Result<Vec<AuditRow>, StoreError> {
        let mut reading = self.reading().await?;
        let rows = sqlx::query_file_as!(AuditRow, "src/postgres/questions/emergency_rows.sql", MOST + 1)
            .fetch_all(&mut *reading)
            .await
            .map_err(PostgresError::from)?;
        if i64::try_from(rows.len()).unwrap_or(i64::MAX) > MOST {
            return Err(StoreError::Unavailable(format!("there are more than {MOST} events of emergencies").into()));
        }
        Ok(rows)
    }
}
