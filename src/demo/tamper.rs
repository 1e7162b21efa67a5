//! The log, put to the test: an administrator with every right over the database changes one row, and the verifier names
//! it. All of it happens inside one transaction that is rolled back: the demo's own log stays whole, and is shown to be.

use std::io::Write;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::{
    AuditRow, Digest, Finding, Inspection, Ledger, Report, Scope, Seal, SeenRow, Signature, StreamId, Verifier,
    VerifyingKey,
};
use crate::command::Failure;
use crate::postgres::PostgresStore;

/// Whom the changed row blames.
const SOMEBODY_ELSE: &str = "somebody-else";

/// The whole log, as it stands: verified with the key that the demo made.
pub(super) async fn verify(log: &PostgresStore, key: VerifyingKey) -> Result<Report, Failure> {
    let inspection = Inspection { trusted: vec![key], ..Inspection::default() };
    log.verify(inspection, std::sync::Arc::new(|_tally| {})).await.map_err(failure)
}

/// Changes the outcome of `lease` as a superuser can, and shows what the verifier says of it.
pub(super) async fn show(
    out: &mut dyn Write,
    database: &SecretString,
    key: VerifyingKey,
    lease: Uuid,
) -> Result<(), Failure> {
    // The URL's user made this PostgreSQL: nothing in it is refused to them.
    let mut connection = PgConnection::connect(database.expose_secret()).await.map_err(failure)?;
    let mut administrator = connection.begin().await.map_err(failure)?;
    let changed = change(out, &mut administrator, lease).await?;
    let found = inspect(&mut administrator, key, changed.stream).await;
    administrator.rollback().await.map_err(failure)?;
    let found = found?;
    let named =
        found.iter().find_map(|finding| Some((finding, finding.event?)).filter(|_| finding.seq == Some(changed.seq)));
    let (finding, event) = named.ok_or_else(|| Failure("the verifier did not name the changed row".to_owned()))?;
    writeln!(out, "     verify         FOUND {}: row {}, event {event}", finding.fault.as_str(), changed.seq)?;
    writeln!(out, "                    {}", finding.words)?;
    writeln!(out, "     rollback       the change was never committed")?;
    Ok(())
}

/// Where the changed row is.
struct Changed {
    stream: StreamId,
    seq: u64,
}

async fn change(out: &mut dyn Write, administrator: &mut PgConnection, lease: Uuid) -> Result<Changed, Failure> {
    let find = "select tableoid::regclass::text, stream, seq, subject from audit_event \
                where lease_id = $1 and type = 'lease.issued'";
    let row = sqlx::query(find).bind(lease).fetch_one(&mut *administrator).await.map_err(failure)?;
    let (partition, stream, seq, subject): (String, Uuid, i64, String) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    let seq = u64::try_from(seq).map_err(failure)?;

    // Whoever waits for the log meanwhile waits for this: it is short, and gives way rather than hold them up.
    administrator.execute("set local lock_timeout = '2s'").await.map_err(failure)?;
    let refused = refused_update(administrator, lease).await?;
    writeln!(out, "     update         refused: {refused}")?;
    let disable = format!("alter table {partition} disable trigger all");
    administrator.execute(AssertSqlSafe(disable)).await.map_err(failure)?;
    let update = format!("update {partition} set subject = $1 where stream = $2 and seq = $3");
    let update = sqlx::query(AssertSqlSafe(update)).bind(SOMEBODY_ELSE).bind(stream);
    let update = update.bind(i64::try_from(seq).map_err(failure)?);
    let changed = update.execute(&mut *administrator).await.map_err(failure)?;
    if changed.rows_affected() != 1 {
        return Err(Failure("the administrator could not change the row".to_owned()));
    }
    let subject = subject.get(..8).unwrap_or(&subject);
    writeln!(out, "     as superuser   trigger disabled, row {seq} now says sub {SOMEBODY_ELSE}, not {subject}…")?;
    Ok(Changed { stream: StreamId(stream), seq })
}

/// What the trigger says to the first attempt.
async fn refused_update(administrator: &mut PgConnection, lease: Uuid) -> Result<String, Failure> {
    let mut attempt = administrator.begin().await.map_err(failure)?;
    let update = sqlx::query("update audit_event set subject = $1 where lease_id = $2").bind(SOMEBODY_ELSE).bind(lease);
    let refused = update.execute(&mut *attempt).await;
    attempt.rollback().await.map_err(failure)?;
    let refused = refused.err().ok_or_else(|| Failure("the log let itself be changed".to_owned()))?;
    Ok(refused.as_database_error().map_or_else(|| refused.to_string(), |error| error.message().to_owned()))
}

/// The stream as this transaction sees it, through the verifier. The key is the auditor's own, not the database's.
async fn inspect(
    administrator: &mut PgConnection,
    key: VerifyingKey,
    stream: StreamId,
) -> Result<Vec<Finding>, Failure> {
    let scope = Scope { keys: vec![key], keys_pinned: true, partial: true, ..Scope::default() };
    let mut verifier = Verifier::new(scope);
    let seals = "select number, first_seq, last_seq, leaves, root, previous, sealed_at, key_id, signature \
                 from audit_seal where stream = $1 order by number";
    for row in sqlx::query(seals).bind(stream.0).fetch_all(&mut *administrator).await.map_err(failure)? {
        verifier.seal(seal(stream, &row).ok_or_else(|| Failure("the log holds a seal that is none".to_owned()))?);
    }
    // A row as JSON, without what is null, is its record.
    let rows = "select json_strip_nulls(to_json(event))::text from audit_event event where stream = $1 order by seq";
    for row in sqlx::query(rows).bind(stream.0).fetch_all(&mut *administrator).await.map_err(failure)? {
        let record: AuditRow = serde_json::from_str(row.get(0)).map_err(failure)?;
        verifier.row(SeenRow {
            stream,
            seq: u64::try_from(record.seq).map_err(failure)?,
            id: record.id,
            leaf: Some(record.leaf()),
            kind: &record.kind,
            key_id: record.key_id.as_deref(),
        });
    }
    verifier.settle();
    Ok(verifier.finish().findings)
}

fn seal(stream: StreamId, row: &sqlx::postgres::PgRow) -> Option<Seal> {
    let number = |column: &str| u64::try_from(row.get::<i64, _>(column)).ok();
    let bytes = |column: &str| row.get::<Vec<u8>, _>(column);
    Some(Seal {
        stream,
        number: number("number")?,
        first_seq: number("first_seq")?,
        last_seq: number("last_seq")?,
        leaves: bytes("leaves").chunks(32).map(Digest::from_bytes).collect::<Option<_>>()?,
        root: Digest::from_bytes(&bytes("root"))?,
        previous: Digest::from_bytes(&bytes("previous"))?,
        sealed_at: row.get::<OffsetDateTime, _>("sealed_at"),
        key_id: Digest::parse(row.get("key_id"))?,
        signature: Signature::from_bytes(&bytes("signature"))?,
    })
}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure(format!("the log could not be put to the test: {error}"))
}
