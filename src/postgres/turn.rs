//! Work that one instance of all does at a time. It holds an advisory lock on a connection of its own, never of the pool:
//! what it locks must not outlive our interest in it, and whoever finds the connection gone has lost the lock with it.

use sqlx::PgConnection;

use super::{PostgresError, PostgresStore};

/// "stint", and a number for each work. Advisory locks are a database's own, so another database's service is no rival.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// The reconciler's search for lone intents.
    LoneIntents,
    /// The comparison of the object server's list with the log.
    Comparison,
}

impl Work {
    fn lock(self) -> i64 {
        match self {
            Self::LoneIntents => 0x7374_696e_7401,
            Self::Comparison => 0x7374_696e_7402,
        }
    }
}

/// A connection for such work; one statement may take so long, as PostgreSQL spells it.
pub(super) async fn connect(store: &PostgresStore, statement_timeout: &str) -> Result<PgConnection, PostgresError> {
    let mut connection = store.pool.acquire().await?.detach();
    // A session that asks nothing for two minutes belongs to a process that is stopped, or to a machine that is gone
    // without a word: the server ends it, and with it the lock.
    sqlx::query!(
        r#"
        select
            set_config('idle_session_timeout', '120s', false) as "idle!",
            set_config('statement_timeout', $1, false) as "statement!"
        "#,
        statement_timeout
    )
    .fetch_one(&mut connection)
    .await?;
    Ok(connection)
}

/// Whether this connection has the turn now.
pub(super) async fn try_take(connection: &mut PgConnection, work: Work) -> Result<bool, PostgresError> {
    let got = sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "got!""#, work.lock());
    Ok(got.fetch_one(connection).await?)
}
