//! What can go wrong at the database. No variant repeats the URL: it holds the password.

use std::time::Duration;

use crate::audit::StoreError;

/// The database cannot be used. Every message is fit for an operator's terminal and log, and whole: it holds its cause,
/// because a wrong password and a closed port have different cures.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL is not one. The parser's words are withheld: they may quote it.
    #[error("the database URL is malformed: expected postgres://user:password@host:port/database")]
    Url,
    /// No connection, or it was refused.
    #[error("the database cannot be reached: {0}")]
    Connect(#[source] sqlx::Error),
    /// No answer.
    #[error("the database did not answer within {} ms", within.as_millis())]
    Timeout {
        /// How long it was waited for.
        within: Duration,
    },
    /// Too old a server.
    #[error("PostgreSQL 14 or newer is needed, the server reports {found}")]
    TooOld {
        /// `server_version_num` as the server says it.
        found: i32,
    },
    /// The schema could not be brought up to date: nothing of the migration that failed is kept.
    #[error("the database schema cannot be brought up to date: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Something of the schema is missing, and this user may not make it.
    #[error(
        "the database schema is not up to date and this user may not change it: run `stint migrate` as its owner ({0})"
    )]
    MayNotMigrate(#[source] sqlx::Error),
    /// A row of `audit_seal` that no version of stint writes.
    #[error("a seal in the database is malformed: run `stint audit verify`")]
    MalformedSeal,
    /// A query failed.
    #[error("the database refused a query: {0}")]
    Query(#[from] sqlx::Error),
}

impl PostgresError {
    /// Whether PostgreSQL did not answer, or broke off: waiting may heal that, and none of the others.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Timeout { .. } | Self::Query(_) => true,
            Self::Url | Self::TooOld { .. } | Self::Migrate(_) | Self::MayNotMigrate(_) | Self::MalformedSeal => false,
        }
    }
}

impl From<PostgresError> for StoreError {
    fn from(error: PostgresError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}
