//! The log as a whole, for those who verify it: one connection, one read-only snapshot. Seals come by the page, the rows
//! of a page's range by `COPY`, so that memory stays bounded and every row is seen, also one that no seal speaks of; a
//! thread of its own hashes while the server reads on.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::{Executor, PgConnection};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::ledger_row::{COLUMNS, Tuples};
use super::seal_row::SealRow;
use super::{PostgresError, PostgresStore};
use crate::audit::{
    Checkpoint, Digest, Fault, Finding, Floor, Inspection, KeptKey, Ledger, LedgerError, NamedBy, Piece, Progress,
    Report, Scope, Seal, SeenRow, Selection, StreamHead, StreamId, Verifier, VerifyingKey, floors,
};

/// Seals at a time: at the largest batch, 16 MiB of leaves.
pub(super) const PAGE: i64 = 1024;
/// How many bytes of rows are handed to the thread that hashes at once, and how many such portions may wait.
const PORTION: usize = 1024 * 1024;
const PORTIONS: usize = 4;

/// Before the first row.
pub(super) const BEGINNING: (Uuid, i64) = (Uuid::nil(), i64::MIN);
/// Behind the last row.
pub(super) const END: (Uuid, i64) = (Uuid::max(), i64::MAX);

#[async_trait]
impl Ledger for PostgresStore {
    async fn heads(&self) -> Result<Vec<StreamHead>, LedgerError> {
        let mut connection = self.snapshot().await?;
        let named: BTreeSet<StreamHead> = openings(&mut connection).await?.into_values().flatten().collect();
        let mut heads = last_heads(&mut connection).await?;
        heads.extend(retired(&mut connection).await?);
        Ok(heads.into_iter().filter(|head| !named.contains(head)).collect())
    }

    async fn verify(&self, inspection: Inspection, progress: Progress) -> Result<Report, LedgerError> {
        let mut connection = self.snapshot().await?;
        let (verifier, floors) = begin(&mut connection, inspection).await?;
        let (work, inbox) = mpsc::channel(PORTIONS);
        let hashing = tokio::task::spawn_blocking(move || hash(verifier, inbox, &progress));
        let sent = send_all(&mut connection, &floors, &work).await;
        drop(work);
        let report = hashing.await.map_err(|_panicked| LedgerError::GivenUp)?;
        sent?;
        Ok(report?)
    }

    async fn extract(&self, selection: Selection, pieces: mpsc::Sender<Piece>) -> Result<(), LedgerError> {
        let mut connection = self.snapshot().await?;
        super::ledger_extract::extract(&mut connection, selection, &pieces).await
    }
}

impl PostgresStore {
    /// A connection of its own, on a snapshot that no later write changes.
    async fn snapshot(&self) -> Result<PgConnection, LedgerError> {
        let mut connection = self.reader().await?;
        // The page's range is always read by its index, in order: a plan that sorts would hold it all first.
        let begin = "begin isolation level repeatable read read only; set local enable_sort = off; \
                     set local enable_bitmapscan = off; set local enable_seqscan = off; set local jit = off";
        connection.execute(begin).await?;
        Ok(connection)
    }
}

impl From<PostgresError> for LedgerError {
    fn from(error: PostgresError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        PostgresError::from(error).into()
    }
}

impl From<super::ledger_row::NotUnderstood> for LedgerError {
    fn from(error: super::ledger_row::NotUnderstood) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// What the hashing thread is handed.
enum Work {
    Seals(Vec<SealRow>),
    Rows(Vec<Bytes>),
    /// All rows under the seals so far have come.
    Settled,
}

/// Keys, named heads and floors: all that must be known before the first seal.
async fn begin(
    connection: &mut PgConnection,
    inspection: Inspection,
) -> Result<(Verifier, BTreeMap<StreamId, Floor>), LedgerError> {
    let Inspection { trusted, since, all } = inspection;
    let pinned = !trusted.is_empty();
    let kept = keys(connection).await?;
    // A text that is no key, or another key than its name says, is as good as none.
    let kept = kept.iter().filter_map(|kept| {
        let key = VerifyingKey::from_pem(kept.pem.as_bytes()).ok()?;
        (key.id().to_hex() == kept.key_id).then_some(key)
    });
    let kept: Vec<VerifyingKey> = kept.collect();
    let keys = if pinned { trusted } else { kept.clone() };
    let openings = openings(connection).await?;
    let handed_in = since.is_some();
    let signed = since.filter(|checkpoint| keys.iter().any(|key| checkpoint.is_signed_by(key)));
    let floors = match &signed {
        Some(checkpoint) if !all => floors(checkpoint.heads(), &openings),
        Some(_) | None => BTreeMap::new(),
    };
    let mut verifier = Verifier::new(Scope { keys, keys_pinned: pinned, partial: false, floors: floors.clone() });
    for key in kept {
        verifier.know(key);
    }
    for (by, heads) in openings {
        for head in heads {
            verifier.expect(head, NamedBy::Stream(by));
        }
    }
    for head in retired(connection).await? {
        verifier.retire(head);
    }
    for head in signed.iter().flat_map(Checkpoint::heads) {
        verifier.expect(*head, NamedBy::Checkpoint);
    }
    if handed_in && signed.is_none() {
        let words = "no trusted key signed the checkpoint: nothing in it was believed, and the whole log was verified";
        verifier.add(Finding::new(Fault::CheckpointForged, words));
    }
    Ok((verifier, floors))
}

/// Seals and rows, page by page.
async fn send_all(
    connection: &mut PgConnection,
    floors: &BTreeMap<StreamId, Floor>,
    work: &mpsc::Sender<Work>,
) -> Result<(), LedgerError> {
    let (mut sealed, mut done) = ((Uuid::nil(), i64::MIN), BEGINNING);
    let mut openings_end: BTreeMap<Uuid, i64> = BTreeMap::new();
    loop {
        let seals = seals(connection, sealed, floors).await?;
        let last_page = i64::try_from(seals.len()).is_ok_and(|count| count < PAGE);
        openings_end.extend(seals.iter().filter(|seal| seal.number == 0).map(|seal| (seal.stream, seal.last_seq)));
        let until = match seals.last() {
            Some(seal) if !last_page => {
                sealed = (seal.stream, seal.number);
                (seal.stream, seal.last_seq)
            }
            Some(_) | None => END,
        };
        send(work, Work::Seals(seals)).await?;
        for (after, until) in ranges(done, until, floors, &openings_end) {
            send_rows(connection, after, until, work).await?;
        }
        done = done.max(until);
        if last_page {
            return Ok(());
        }
        send(work, Work::Settled).await?;
    }
}

/// A range of rows, less those that a checkpoint vouches for: of such a stream only what its first seal covers, and what
/// came after the floor.
fn ranges(
    after: (Uuid, i64),
    until: (Uuid, i64),
    floors: &BTreeMap<StreamId, Floor>,
    openings_end: &BTreeMap<Uuid, i64>,
) -> Vec<((Uuid, i64), (Uuid, i64))> {
    let (mut ranges, mut after) = (Vec::new(), after);
    if after >= until {
        return ranges;
    }
    for (stream, floor) in floors.range(StreamId(after.0)..=StreamId(until.0)) {
        let first = (stream.0, openings_end.get(&stream.0).copied().unwrap_or(0));
        let floor = (stream.0, i64::try_from(floor.last_seq).unwrap_or(i64::MAX));
        if first > after {
            ranges.push((after, first.min(until)));
        }
        after = after.max(floor);
    }
    if after < until {
        ranges.push((after, until));
    }
    ranges
}

async fn send(work: &mpsc::Sender<Work>, portion: Work) -> Result<(), LedgerError> {
    work.send(portion).await.map_err(|_gone| LedgerError::GivenUp)
}

async fn send_rows(
    connection: &mut PgConnection,
    after: (Uuid, i64),
    until: (Uuid, i64),
    work: &mpsc::Sender<Work>,
) -> Result<(), LedgerError> {
    let statement = copy(after, until);
    let mut messages = connection.copy_out_raw(&statement).await?;
    let (mut portion, mut size) = (Vec::new(), 0);
    while let Some(message) = messages.try_next().await? {
        size += message.len();
        portion.push(message);
        if size >= PORTION {
            send(work, Work::Rows(std::mem::take(&mut portion))).await?;
            size = 0;
        }
    }
    send(work, Work::Rows(portion)).await
}

/// Ids and integers only: nothing in it was ever text that somebody chose.
pub(super) fn copy((after_stream, after_seq): (Uuid, i64), (stream, seq): (Uuid, i64)) -> String {
    format!(
        "copy (select {COLUMNS} from audit_event where stream >= '{after_stream}' and stream <= '{stream}' \
         and (stream, seq) > ('{after_stream}', ({after_seq})) and (stream, seq) <= ('{stream}', {seq}) \
         order by stream, seq) to stdout (format binary)"
    )
}

/// The hashing thread: what came, into the verifier.
fn hash(mut verifier: Verifier, mut inbox: mpsc::Receiver<Work>, progress: &Progress) -> Result<Report, LedgerError> {
    let mut canonical = Vec::with_capacity(2048);
    while let Some(work) = inbox.blocking_recv() {
        match work {
            Work::Seals(rows) => {
                for row in rows {
                    let (stream, number) = (StreamId(row.stream), u64::try_from(row.number).unwrap_or(0));
                    match Seal::try_from(row) {
                        Ok(seal) => verifier.seal(seal),
                        Err(_malformed) => verifier.malformed_seal(stream, number),
                    }
                }
            }
            Work::Rows(messages) => {
                for message in &messages {
                    hash_rows(&mut verifier, message, &mut canonical)?;
                }
            }
            Work::Settled => verifier.settle(),
        }
        progress(verifier.tally());
    }
    Ok(verifier.finish())
}

fn hash_rows(verifier: &mut Verifier, message: &[u8], canonical: &mut Vec<u8>) -> Result<(), LedgerError> {
    for tuple in Tuples::of(message) {
        let tuple = tuple?;
        let leaf = tuple.record.as_ref().map(|record| {
            canonical.clear();
            record.write_canonical(canonical);
            Digest::of_leaf(canonical)
        });
        verifier.row(SeenRow {
            stream: StreamId(tuple.stream),
            seq: u64::try_from(tuple.seq).unwrap_or(0),
            id: tuple.id,
            leaf: leaf.filter(|_| tuple.seq >= 0),
            kind: tuple.record.as_ref().map_or("", |record| record.kind),
            key_id: tuple.record.as_ref().and_then(|record| record.key_id),
        });
    }
    Ok(())
}

pub(super) async fn keys(connection: &mut PgConnection) -> Result<Vec<KeptKey>, LedgerError> {
    let keys = sqlx::query_as!(KeptKey, r#"select key_id, public_key as pem from audit_key order by key_id"#);
    Ok(keys.fetch_all(connection).await?)
}

pub(super) async fn retired(connection: &mut PgConnection) -> Result<Vec<StreamHead>, LedgerError> {
    let rows = sqlx::query!("select stream, number, last_seq, hash from audit_retired_stream order by stream");
    let heads = rows.fetch_all(connection).await?.into_iter().filter_map(|row| {
        Some(StreamHead {
            stream: StreamId(row.stream),
            number: u64::try_from(row.number).ok()?,
            last_seq: u64::try_from(row.last_seq).ok()?,
            hash: Digest::from_bytes(&row.hash)?,
        })
    });
    Ok(heads.collect())
}

/// What each stream's opening names. One that was changed names whatever it names: that it was changed is found too.
async fn openings(connection: &mut PgConnection) -> Result<BTreeMap<StreamId, Vec<StreamHead>>, LedgerError> {
    let rows = sqlx::query!("select stream, heads from audit_event where type = 'stream.opened' and seq = 0");
    let mut openings: BTreeMap<StreamId, Vec<StreamHead>> = BTreeMap::new();
    let mut rows = rows.fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let heads = row.heads.iter().filter_map(|head| head.parse().ok());
        openings.insert(StreamId(row.stream), heads.collect());
    }
    Ok(openings)
}

/// The last seal of every stream, found by leaping from stream to stream in the index.
async fn last_heads(connection: &mut PgConnection) -> Result<Vec<StreamHead>, LedgerError> {
    let rows = sqlx::query_as!(
        SealRow,
        r#"
        with recursive leap as (
            (select stream from audit_seal order by stream limit 1)
            union all
            select (select next.stream from audit_seal next where next.stream > leap.stream order by next.stream limit 1)
            from leap
            where leap.stream is not null
        )
        select
            last.stream as "stream!", last.number as "number!", last.first_seq as "first_seq!",
            last.last_seq as "last_seq!", ''::bytea as "leaves!", last.root as "root!", last.previous as "previous!",
            last.sealed_at as "sealed_at!", last.key_id as "key_id!", last.signature as "signature!"
        from leap
        cross join lateral (
            select * from audit_seal seal where seal.stream = leap.stream order by seal.number desc limit 1
        ) last
        where leap.stream is not null
        order by last.stream
        "#
    );
    let seals = rows.fetch_all(connection).await?.into_iter().map(|row| {
        let stream = row.stream;
        Seal::try_from(row).map_err(|_malformed| LedgerError::UnreadableSeal { stream })
    });
    seals.map(|seal| seal.map(|seal| seal.head())).collect()
}

/// A page of seals. Those that a checkpoint vouches for come without their leaves: they are only chained. No seal of ours
/// has more leaves than fit here, and one of somebody else's must not fill the memory.
async fn seals(
    connection: &mut PgConnection,
    (stream, number): (Uuid, i64),
    floors: &BTreeMap<StreamId, Floor>,
) -> Result<Vec<SealRow>, LedgerError> {
    let streams: Vec<Uuid> = floors.keys().map(|stream| stream.0).collect();
    let numbers = floors.values().map(|floor| i64::try_from(floor.number).unwrap_or(i64::MAX));
    let numbers: Vec<i64> = numbers.collect();
    let rows = sqlx::query_as!(
        SealRow,
        r#"
        select
            stream, number, first_seq, last_seq,
            case
                when octet_length(leaves) > 131072 then ''::bytea
                when number > 0 and number <= (
                    select floor.number from unnest($3::uuid[], $4::bigint[]) as floor (stream, number)
                    where floor.stream = audit_seal.stream
                ) then ''::bytea
                else leaves
            end as "leaves!",
            root, previous, sealed_at, key_id, signature
        from audit_seal
        where (stream, number) > ($1, $2)
        order by stream, number
        limit $5
        "#,
        stream,
        number,
        &streams,
        &numbers,
        PAGE,
    );
    Ok(rows.fetch_all(connection).await?)
}
