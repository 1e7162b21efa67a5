//! What an export takes from the log: whole seals and every row in their range, with the keys and policy texts that they
//! name. It repeats what is there; whether that is whole is for the verifier.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::ledger::{self, PAGE};
use super::ledger_row::{Tuples, owned};
use super::seal_row::SealRow;
use crate::audit::{AuditRow, LedgerError, Piece, PolicySetText, Seal, Selection, SessionPolicyText};

/// Rows handed over at once.
const ROWS: usize = 1024;
/// Policy texts asked for at once.
const TEXTS: usize = 64;

/// Part of one stream: numbers of seals, and of rows, the last ones included.
#[derive(Debug, Clone, Copy)]
struct Span {
    stream: Uuid,
    seals: (i64, i64),
    rows: (i64, i64),
}

impl Span {
    fn whole(stream: Uuid) -> Self {
        Self { stream, seals: (i64::MIN, i64::MAX), rows: (i64::MIN, i64::MAX) }
    }
}

/// What rows name by hash.
#[derive(Debug, Default)]
struct Named {
    policy_sets: BTreeSet<String>,
    session_policies: BTreeSet<String>,
}

pub(super) async fn extract(
    connection: &mut PgConnection,
    selection: Selection,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), LedgerError> {
    for key in ledger::keys(connection).await? {
        send(pieces, Piece::Key(key)).await?;
    }
    for head in ledger::retired(connection).await? {
        send(pieces, Piece::Retired(head)).await?;
    }
    let spans = match selection {
        Selection::Everything => streams(connection).await?.into_iter().map(Span::whole).collect(),
        Selection::Streams(streams) => {
            let streams: BTreeSet<Uuid> = streams.into_iter().map(|stream| stream.0).collect();
            streams.into_iter().map(Span::whole).collect()
        }
        Selection::Period { from, to } => within(connection, from, to).await?,
    };
    let mut named = Named::default();
    for span in spans {
        extract_span(connection, span, pieces, &mut named).await?;
    }
    extract_texts(connection, named, pieces).await
}

async fn send(pieces: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), LedgerError> {
    pieces.send(piece).await.map_err(|_gone| LedgerError::GivenUp)
}

/// Every stream with a row or a seal.
async fn streams(connection: &mut PgConnection) -> Result<Vec<Uuid>, LedgerError> {
    let rows = sqlx::query_scalar!(
        r#"
        with recursive
        sealed as (
            (select stream from audit_seal order by stream limit 1)
            union all
            select (select next.stream from audit_seal next where next.stream > sealed.stream order by next.stream limit 1)
            from sealed where sealed.stream is not null
        ),
        written as (
            (select stream from audit_event order by stream limit 1)
            union all
            select (select next.stream from audit_event next where next.stream > written.stream order by next.stream limit 1)
            from written where written.stream is not null
        )
        select stream as "stream!" from (select stream from sealed union select stream from written) every
        where stream is not null
        order by stream
        "#
    );
    Ok(rows.fetch_all(connection).await?)
}

/// The seals from the first to the last that covers an event of the period, of every stream.
async fn within(
    connection: &mut PgConnection,
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
) -> Result<Vec<Span>, LedgerError> {
    let rows = sqlx::query!(
        r#"
        with said as (
            select stream, min(seq) as first, max(seq) as last
            from audit_event
            where ($1::timestamptz is null or occurred_at >= $1) and ($2::timestamptz is null or occurred_at < $2)
            group by stream
        )
        select
            said.stream,
            first.number as first_number, first.first_seq as first_seq, last.number as last_number, last.last_seq as last_seq
        from said
        cross join lateral (
            select number, first_seq from audit_seal seal
            where seal.stream = said.stream and seal.last_seq >= said.first order by number limit 1
        ) first
        cross join lateral (
            select number, last_seq from audit_seal seal
            where seal.stream = said.stream and seal.first_seq <= said.last order by number desc limit 1
        ) last
        order by said.stream
        "#,
        from,
        to
    );
    let spans = rows.fetch_all(connection).await?.into_iter().map(|row| Span {
        stream: row.stream,
        seals: (row.first_number, row.last_number),
        rows: (row.first_seq, row.last_seq),
    });
    Ok(spans.collect())
}

async fn extract_span(
    connection: &mut PgConnection,
    span: Span,
    pieces: &mpsc::Sender<Piece>,
    named: &mut Named,
) -> Result<(), LedgerError> {
    let (mut number, mut done) = (span.seals.0, (span.stream, span.rows.0.saturating_sub(1)));
    loop {
        let seals = seals(connection, span.stream, (number, span.seals.1)).await?;
        let last_page = i64::try_from(seals.len()).is_ok_and(|count| count < PAGE);
        let mut until = (span.stream, span.rows.1);
        for row in seals {
            let stream = row.stream;
            number = row.number.saturating_add(1);
            if !last_page {
                until.1 = row.last_seq;
            }
            let seal = Seal::try_from(row).map_err(|_malformed| LedgerError::UnreadableSeal { stream })?;
            send(pieces, Piece::Seal(Box::new(seal))).await?;
        }
        if done < until {
            extract_rows(connection, done, until, pieces, named).await?;
            done = until;
        }
        if last_page {
            return Ok(());
        }
    }
}

async fn seals(
    connection: &mut PgConnection,
    stream: Uuid,
    (first, last): (i64, i64),
) -> Result<Vec<SealRow>, LedgerError> {
    let rows = sqlx::query_as!(
        SealRow,
        r#"
        select stream, number, first_seq, last_seq, leaves, root, previous, sealed_at, key_id, signature
        from audit_seal
        where stream = $1 and number >= $2 and number <= $3
        order by number
        limit $4
        "#,
        stream,
        first,
        last,
        PAGE
    );
    Ok(rows.fetch_all(connection).await?)
}

async fn extract_rows(
    connection: &mut PgConnection,
    after: (Uuid, i64),
    until: (Uuid, i64),
    pieces: &mpsc::Sender<Piece>,
    named: &mut Named,
) -> Result<(), LedgerError> {
    let statement = ledger::copy(after, until);
    let mut messages = connection.copy_out_raw(&statement).await?;
    let mut rows: Vec<AuditRow> = Vec::new();
    while let Some(message) = messages.try_next().await? {
        for tuple in Tuples::of(&message) {
            let tuple = tuple?;
            let (stream, seq) = (tuple.stream, tuple.seq);
            let row = tuple.record.map(owned).ok_or(LedgerError::UnreadableRow { stream, seq })?;
            named.policy_sets.extend(row.policy_hash.clone());
            named.session_policies.extend(row.session_policy_sha256.clone());
            rows.push(row);
        }
        if rows.len() >= ROWS {
            send(pieces, Piece::Rows(std::mem::take(&mut rows))).await?;
        }
    }
    send(pieces, Piece::Rows(rows)).await
}

async fn extract_texts(
    connection: &mut PgConnection,
    named: Named,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), LedgerError> {
    let Named { policy_sets, session_policies } = named;
    for hashes in Vec::from_iter(policy_sets).chunks(TEXTS) {
        let rows = sqlx::query_as!(
            PolicySetText,
            "select hash, files from policy_set where hash = any($1) order by hash",
            hashes
        );
        for set in rows.fetch_all(&mut *connection).await? {
            send(pieces, Piece::PolicySet(set)).await?;
        }
    }
    for hashes in Vec::from_iter(session_policies).chunks(TEXTS) {
        let rows = sqlx::query_as!(
            SessionPolicyText,
            "select sha256, text from session_policy where sha256 = any($1) order by sha256",
            hashes
        );
        for policy in rows.fetch_all(&mut *connection).await? {
            send(pieces, Piece::SessionPolicy(policy)).await?;
        }
    }
    Ok(())
}
