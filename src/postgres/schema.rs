//! The schema: which migrations are there, and who may bring it up to date. A service that finds everything in place
//! needs no more than the serving role; only `stint migrate`, or a first start as the owner, changes anything.

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::timeout;

use super::PostgresError;
use super::connection::open;

/// How long a migration may take: long enough for an index on a large table, and not for ever.
const MIGRATION: Duration = Duration::from_mins(10);
/// How long `stint migrate` waits for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// `server_version_num` of the oldest server the schema is made for.
const OLDEST: i32 = 140_000;
/// SQLSTATE `insufficient_privilege`.
const MAY_NOT: &str = "42501";
/// SQLSTATE `undefined_table`.
const NO_TABLE: &str = "42P01";

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// What `stint migrate` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations applied now, in order, as `2 sealed log`; none when all were there.
    pub applied: Vec<String>,
    /// What could not be done about the roles, each in one line.
    pub undone: Vec<String>,
}

/// Brings the schema up to date, and settles the roles, as the user of the URL.
pub async fn migrate(url: &SecretString) -> Result<Migrated, PostgresError> {
    let mut connection = open(&options(url)?, PATIENCE).await?;
    check_server(&mut connection).await?;
    let before = applied(&mut connection).await?;
    run(&mut connection).await?;
    let missing = |version: i64| !before.iter().any(|applied| applied.version == version);
    let applied = MIGRATIONS.iter().filter(|migration| missing(migration.version));
    let applied = applied.map(|migration| format!("{} {}", migration.version, migration.description)).collect();
    let undone = sqlx::query_scalar!(r#"select audit_settle_roles() as "untold!""#).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(Migrated { applied, undone })
}

/// Sees to it that the schema is up to date, and warns of what an operator should know about the server and the user.
pub(super) async fn stand_ready(options: &PgConnectOptions, connect_timeout: Duration) -> Result<(), PostgresError> {
    let mut connection = open(options, connect_timeout).await?;
    check_server(&mut connection).await?;
    if !is_current(&applied(&mut connection).await?) {
        run(&mut connection).await?;
    }
    if may_change_the_log(&mut connection).await? {
        tracing::warn!(
            target: "stint::postgres::user",
            "the database user could change the log: let the service connect as a member of stint_serve alone \
             (docs/operations.md)"
        );
    }
    connection.close().await?;
    Ok(())
}

/// The options of a URL, under our name and without statements in the log.
pub(super) fn options(url: &SecretString) -> Result<PgConnectOptions, PostgresError> {
    let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_quotes_the_url| PostgresError::Url)?;
    Ok(options.application_name("stint").disable_statement_logging())
}

#[derive(Debug)]
struct Applied {
    version: i64,
    checksum: Vec<u8>,
    success: bool,
}

/// What is applied; nothing where the table is not there, or is closed to this user.
async fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>, PostgresError> {
    // Not checked at build time: the table is the migrator's own.
    let rows: Result<Vec<(i64, Vec<u8>, bool)>, sqlx::Error> =
        sqlx::query_as("select version, checksum, success from _sqlx_migrations order by version")
            .fetch_all(connection)
            .await;
    match rows {
        Ok(rows) => {
            Ok(rows.into_iter().map(|(version, checksum, success)| Applied { version, checksum, success }).collect())
        }
        Err(error) if has_code(&error, NO_TABLE) || has_code(&error, MAY_NOT) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Every migration is applied, unchanged, and no other: else the migrator says what is wrong.
fn is_current(applied: &[Applied]) -> bool {
    applied.len() == MIGRATIONS.iter().count()
        && MIGRATIONS.iter().zip(applied).all(|(known, applied)| {
            known.version == applied.version && *known.checksum == *applied.checksum && applied.success
        })
}

async fn run(connection: &mut PgConnection) -> Result<(), PostgresError> {
    match timeout(MIGRATION, MIGRATIONS.run(connection)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)))
            if has_code(&error, MAY_NOT) =>
        {
            Err(PostgresError::MayNotMigrate(error))
        }
        Ok(Err(error)) => Err(PostgresError::Migrate(error)),
        Err(_elapsed) => Err(PostgresError::Timeout { within: MIGRATION }),
    }
}

async fn check_server(connection: &mut PgConnection) -> Result<(), PostgresError> {
    let server = sqlx::query!(
        r#"
        select
            current_setting('server_version_num')::int as "version!",
            current_setting('fsync') = 'on' and current_setting('full_page_writes') = 'on' as "durable!"
        "#
    )
    .fetch_one(connection)
    .await?;
    if server.version < OLDEST {
        return Err(PostgresError::TooOld { found: server.version });
    }
    if !server.durable {
        tracing::warn!("PostgreSQL runs with fsync or full_page_writes off: a power cut can take committed rows away");
    }
    Ok(())
}

/// Whether the user is a superuser, or (a member of) the owner: such a one can drop the triggers.
async fn may_change_the_log(connection: &mut PgConnection) -> Result<bool, PostgresError> {
    let could = sqlx::query_scalar!(
        r#"
        select bool_or(pg_has_role(relowner, 'member')) as "could!"
        from pg_class
        where oid in ('audit_event'::regclass, 'audit_seal'::regclass)
        "#
    )
    .fetch_one(connection)
    .await?;
    Ok(could)
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|found| found == code)
}
