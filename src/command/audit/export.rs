//! `stint audit export`: an evidence bundle. It holds the log as it is, key fingerprints included: making one is an event.

use std::io::Write;
use std::path::PathBuf;

use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{head, progress, record_reading};
use crate::audit::{Checkpoint, Ledger, Selection, StreamId, instant};
use crate::clock::{Clock, SystemClock};
use crate::command::{Failure, block_on, load};
use crate::evidence::{self, EvidenceError, Formats, Order};
use crate::postgres::PostgresStore;

/// Pieces that may wait to be written.
const PIECES: usize = 64;

/// What was asked.
#[derive(Debug)]
pub struct ExportOptions {
    /// The configuration file, which names the database.
    pub config: PathBuf,
    /// The bundle's directory, which must not be there yet.
    pub output: PathBuf,
    /// Events said at this instant or later.
    pub from: Option<OffsetDateTime>,
    /// Events said before this instant.
    pub to: Option<OffsetDateTime>,
    /// Only these streams.
    pub streams: Vec<Uuid>,
    /// `csv` and `parquet` beside the JSON Lines.
    pub formats: Formats,
}

impl ExportOptions {
    fn selection(&self) -> (Selection, String) {
        if !self.streams.is_empty() {
            let names: Vec<String> = self.streams.iter().map(Uuid::to_string).collect();
            let streams = self.streams.iter().copied().map(StreamId).collect();
            return (Selection::Streams(streams), format!("streams {}", names.join(", ")));
        }
        if self.from.is_none() && self.to.is_none() {
            return (Selection::Everything, "everything".to_owned());
        }
        let told = |word: &str, at: Option<OffsetDateTime>| at.map(|at| format!("{word} {}", instant::format(at)));
        let words: Vec<String> = [told("from", self.from), told("to", self.to)].into_iter().flatten().collect();
        (Selection::Period { from: self.from, to: self.to }, words.join(" "))
    }
}

/// `stint audit export`
pub fn export(options: &ExportOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let config = load(&options.config)?;
    if options.output.symlink_metadata().is_ok() {
        return Err(EvidenceError::Exists(options.output.clone()).into());
    }
    let (selection, words) = options.selection();
    let key = head::signing_key(&config)?;
    let mut done = None;
    block_on(async {
        record_reading(&config, "export", format!("export {words}")).await?;
        let store = PostgresStore::attach(&config.postgres_url, config.audit.deadline)?;
        let made_at = SystemClock::start().now();
        let checkpoint = match &key {
            Some(key) => Some(Checkpoint::take(store.heads().await?, made_at, key)),
            None => None,
        };
        let order = Order {
            directory: options.output.clone(),
            formats: options.formats,
            partial: selection != Selection::Everything,
            selection: words,
            made_at,
            key,
            checkpoint,
        };
        let (pieces, taken) = mpsc::channel(PIECES);
        let (ended, whole) = oneshot::channel();
        let progress = progress::on_stderr(false);
        let writing = tokio::task::spawn_blocking(move || {
            evidence::write(order, taken, || whole.blocking_recv().unwrap_or(false), &progress)
        });
        let read = store.extract(selection, pieces).await;
        let _gone = ended.send(read.is_ok());
        let written = writing.await.map_err(|_panicked| Failure("the export was given up".to_owned()))?;
        match (read, written) {
            // Whoever writes has given up first, and says why.
            (_, Err(error)) if !matches!(error, EvidenceError::BrokenOff) => return Err(error.into()),
            (Err(error), _) => return Err(error.into()),
            (Ok(()), written) => done = Some(written?),
        }
        Ok(())
    })?;
    progress::end(false);
    let Some(written) = done else { return Err(EvidenceError::BrokenOff.into()) };
    let (rows, seals, streams) = (written.rows, written.seals, written.streams);
    Ok(writeln!(out, "{}: {rows} rows, {seals} seals, {streams} streams", options.output.display())?)
}

impl From<EvidenceError> for Failure {
    fn from(error: EvidenceError) -> Self {
        Self(error.to_string())
    }
}
