//! Connections: one kept for the log's writer, so that a commit waits for nobody, and a small pool for questions. Every
//! session is bounded in time by the server as well as by us, and commits durably whatever the server's default is.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use super::kept_policies::KeptPolicies;
use super::{PostgresError, schema};

/// Questions at a time; one more waits.
const POOL: u32 = 4;

/// The log's store, and its queries.
pub struct PostgresStore {
    pub(super) options: PgConnectOptions,
    pub(super) connect_timeout: Duration,
    writer: Mutex<Option<PgConnection>>,
    pub(super) kept_policies: KeptPolicies,
    pub(super) pool: PgPool,
}

impl PostgresStore {
    /// Connects, brings the schema up to date if it is not (which the user of the URL must be allowed to), and checks that
    /// the server can keep the log. `deadline` is that of an audit write: connecting and each statement are bounded below
    /// it.
    pub async fn connect(url: &SecretString, deadline: Duration) -> Result<Self, PostgresError> {
        let options = schema::options(url)?;
        let connect_timeout = deadline / 2;
        schema::stand_ready(&options, connect_timeout).await?;

        let options = options.options([
            // A server default of `off` would acknowledge rows that a crash can still take away.
            ("synchronous_commit", "on".to_owned()),
            ("statement_timeout", milliseconds(deadline * 3 / 4)),
            ("lock_timeout", milliseconds(deadline / 2)),
            ("idle_in_transaction_session_timeout", milliseconds(deadline * 2)),
        ]);
        let store = Self::lazy(options, connect_timeout);
        let first = store.writer().await?;
        store.keep_writer(first);
        Ok(store)
    }

    /// The store as it is, for commands that only read: nothing is migrated, and nothing is connected yet.
    pub fn attach(url: &SecretString, deadline: Duration) -> Result<Self, PostgresError> {
        Ok(Self::lazy(schema::options(url)?, deadline / 2))
    }

    fn lazy(options: PgConnectOptions, connect_timeout: Duration) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(POOL)
            .acquire_timeout(connect_timeout)
            .connect_lazy_with(options.clone());
        Self { options, connect_timeout, writer: Mutex::new(None), kept_policies: KeptPolicies::default(), pool }
    }

    /// A connection for reading the whole log: no statement's time is bounded, but the server's wait for a client that
    /// has gone silent is.
    pub(super) async fn reader(&self) -> Result<PgConnection, PostgresError> {
        let unbounded = [
            ("statement_timeout", "0"),
            ("idle_in_transaction_session_timeout", "600000ms"),
            // One spelling of every value, whatever the database's default is.
            ("datestyle", "ISO"),
        ];
        open(&self.options.clone().options(unbounded), self.connect_timeout).await
    }

    /// A new connection, bounded in time like every other.
    pub(super) async fn connection(&self) -> Result<PgConnection, PostgresError> {
        open(&self.options, self.connect_timeout).await
    }

    /// The writer's connection, or a new one. It is taken out while in use: a call that is given up half-way drops it,
    /// and with it whatever state the session was in.
    pub(super) async fn writer(&self) -> Result<PgConnection, PostgresError> {
        let kept = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match kept {
            Some(connection) => Ok(connection),
            None => self.connection().await,
        }
    }

    /// Puts the connection back after a call that ended well.
    pub(super) fn keep_writer(&self, connection: PgConnection) {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresStore([redacted])")
    }
}

pub(super) async fn open(options: &PgConnectOptions, within: Duration) -> Result<PgConnection, PostgresError> {
    match timeout(within, PgConnection::connect_with(options)).await {
        Ok(connected) => connected.map_err(PostgresError::Connect),
        Err(_elapsed) => Err(PostgresError::Timeout { within }),
    }
}

fn milliseconds(duration: Duration) -> String {
    // Zero would mean no limit at all.
    format!("{}ms", duration.as_millis().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_about_the_url_does_not_repeat_it() {
        for url in ["postgres://user:planted-secret@host:notaport/db", "planted-secret", "mysql://u:planted-secret@h/d"]
        {
            let error = PostgresStore::connect(&SecretString::from(url), Duration::from_secs(2)).await.unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("planted-secret"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_database_that_is_not_there_is_an_error_within_the_deadline() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = SecretString::from(format!("postgres://u:planted-secret@127.0.0.1:{port}/d"));
        let connecting = PostgresStore::connect(&url, Duration::from_secs(2));
        let error = timeout(Duration::from_secs(2), connecting).await.expect("bounded").unwrap_err();
        assert!(matches!(error, PostgresError::Connect(_)), "{error:?}");
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(!format!("{error:?}").contains("planted-secret"));
    }

    #[test]
    fn no_deadline_becomes_the_absence_of_a_limit() {
        assert_eq!(milliseconds(Duration::from_micros(10)), "1ms");
        assert_eq!(milliseconds(Duration::from_millis(1500)), "1500ms");
    }
}
