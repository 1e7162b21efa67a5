//! Writes a bundle: into a directory beside the one that was named, which gets its name when all of it is on disk. Piece
//! by piece, so that the memory does not grow with the log.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::csv_file::{self, CsvFile};
use super::file::HashedFile;
use super::manifest::{self, FileFacts, Manifest};
use super::parquet_file::{self, ParquetFile};
use super::{EvidenceError, SealLine, readme};
use crate::audit::{AuditRow, Checkpoint, Digest, KeptKey, Piece, Progress, SigningKey, StreamHead, StreamId, Tally};

/// Which renderings beside the seals; the JSON Lines are what is verified and are always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// `events.csv`
    pub csv: bool,
    /// `events.parquet`
    pub parquet: bool,
}

/// What to write, beside the pieces.
#[derive(Debug)]
pub struct Order {
    /// Where: must not be there yet.
    pub directory: PathBuf,
    /// In which formats.
    pub formats: Formats,
    /// What was asked for, in words.
    pub selection: String,
    /// Whether that is less than the whole log.
    pub partial: bool,
    /// The time, for the manifest.
    pub made_at: OffsetDateTime,
    /// Signs the manifest, if there is a key.
    pub key: Option<SigningKey>,
    /// Where the log stands, if it could be signed.
    pub checkpoint: Option<Checkpoint>,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Streams.
    pub streams: u64,
    /// Seals.
    pub seals: u64,
    /// Rows.
    pub rows: u64,
}

/// Writes what comes until `pieces` ends and `whole` says that it ended well; removes everything if not. Blocking.
pub fn write(
    order: Order,
    pieces: mpsc::Receiver<Piece>,
    whole: impl FnOnce() -> bool,
    progress: &Progress,
) -> Result<Written, EvidenceError> {
    let directory = order.directory.clone();
    if directory.symlink_metadata().is_ok() {
        return Err(EvidenceError::Exists(directory));
    }
    let name = directory.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let Some(name) = name else { return Err(EvidenceError::Unnameable(directory)) };
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let making = parent.join(format!(".{name}.unfinished-{}", std::process::id()));
    // What a bundle holds is masked for auditors elsewhere: whoever made it decides who else may read it.
    DirBuilder::new().mode(0o700).create(&making).map_err(EvidenceError::io(&making))?;
    let written = fill(&making, order, pieces, progress).and_then(|written| {
        if !whole() {
            return Err(EvidenceError::BrokenOff);
        }
        fs::rename(&making, &directory).map_err(EvidenceError::io(&directory))?;
        sync(parent)?;
        Ok(written)
    });
    if written.is_err() {
        // What cannot be removed either is told by its name.
        let _ = fs::remove_dir_all(&making);
    }
    written
}

fn sync(directory: &Path) -> Result<(), EvidenceError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(EvidenceError::io(directory))
}

/// Everything that is being written.
struct Bundle {
    events: HashedFile,
    seals: HashedFile,
    policy_sets: HashedFile,
    session_policies: HashedFile,
    csv: Option<CsvFile>,
    parquet: Option<ParquetFile>,
    tally: Tally,
    policy_set_count: u64,
    session_policy_count: u64,
    heads: BTreeMap<StreamId, StreamHead>,
    retired: Vec<StreamHead>,
    files: BTreeMap<String, FileFacts>,
    canonical: Vec<u8>,
}

fn fill(
    making: &Path,
    order: Order,
    mut pieces: mpsc::Receiver<Piece>,
    progress: &Progress,
) -> Result<Written, EvidenceError> {
    let Order { directory: _, formats, selection, partial, made_at, key, checkpoint } = order;
    let keys = making.join("keys");
    fs::create_dir(&keys).map_err(EvidenceError::io(&keys))?;
    let mut bundle = Bundle {
        events: HashedFile::create(making, "events.jsonl")?,
        seals: HashedFile::create(making, "seals.jsonl")?,
        policy_sets: HashedFile::create(making, "policy_sets.jsonl")?,
        session_policies: HashedFile::create(making, "session_policies.jsonl")?,
        csv: formats.csv.then(|| CsvFile::create(making)).transpose()?,
        parquet: formats.parquet.then(|| ParquetFile::create(making)).transpose()?,
        tally: Tally::default(),
        policy_set_count: 0,
        session_policy_count: 0,
        heads: BTreeMap::new(),
        retired: Vec::new(),
        files: BTreeMap::new(),
        canonical: Vec::new(),
    };
    while let Some(piece) = pieces.blocking_recv() {
        bundle.take(making, piece)?;
        progress(bundle.tally);
    }
    let Bundle { events, seals, policy_sets, session_policies, csv, parquet, tally, heads, retired, mut files, .. } =
        bundle;
    files.insert("events.jsonl".to_owned(), events.finish(Some(tally.rows))?);
    files.insert("seals.jsonl".to_owned(), seals.finish(Some(tally.seals))?);
    files.insert("policy_sets.jsonl".to_owned(), policy_sets.finish(Some(bundle.policy_set_count))?);
    files.insert("session_policies.jsonl".to_owned(), session_policies.finish(Some(bundle.session_policy_count))?);
    if let Some(csv) = csv {
        files.insert(csv_file::NAME.to_owned(), csv.finish()?);
    }
    if let Some(parquet) = parquet {
        files.insert(parquet_file::NAME.to_owned(), parquet.finish()?);
    }
    if let Some(checkpoint) = checkpoint {
        let mut file = HashedFile::create(making, "checkpoint.json")?;
        file.put(checkpoint.to_json().as_bytes())?;
        file.put(b"\n")?;
        files.insert("checkpoint.json".to_owned(), file.finish(None)?);
    }
    let manifest = Manifest {
        files,
        made_at,
        partial,
        retired: retired.iter().map(StreamHead::to_string).collect(),
        selection,
        streams: heads.values().map(StreamHead::to_string).collect(),
        version: manifest::VERSION.to_owned(),
    };
    let document = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    put_whole(making, manifest::NAME, &document)?;
    if let Some(key) = key {
        put_whole(making, manifest::SIGNATURE, key.sign(&document).as_bytes())?;
    }
    put_whole(making, "README.txt", readme::TEXT.as_bytes())?;
    sync(&keys)?;
    sync(making)?;
    let streams = u64::try_from(heads.len()).unwrap_or(u64::MAX);
    Ok(Written { streams, seals: tally.seals, rows: tally.rows })
}

fn put_whole(directory: &Path, name: &str, content: &[u8]) -> Result<(), EvidenceError> {
    let mut file = HashedFile::create(directory, name)?;
    file.put(content)?;
    file.finish(None).map(drop)
}

impl Bundle {
    fn take(&mut self, making: &Path, piece: Piece) -> Result<(), EvidenceError> {
        match piece {
            Piece::Key(key) => self.key(making, &key),
            Piece::Retired(head) => {
                self.retired.push(head);
                Ok(())
            }
            Piece::Seal(seal) => {
                self.tally.seals = self.tally.seals.saturating_add(1);
                self.heads.insert(seal.stream, seal.head());
                self.seals.put(&SealLine::write(&seal))?;
                self.seals.put(b"\n")
            }
            Piece::Rows(rows) => rows.into_iter().try_for_each(|row| self.row(row)),
            Piece::PolicySet(set) => {
                self.policy_set_count = self.policy_set_count.saturating_add(1);
                put_line(&mut self.policy_sets, &json!({"files": set.files, "hash": set.hash}))
            }
            Piece::SessionPolicy(policy) => {
                self.session_policy_count = self.session_policy_count.saturating_add(1);
                put_line(&mut self.session_policies, &json!({"sha256": policy.sha256, "text": policy.text}))
            }
        }
    }

    fn key(&mut self, making: &Path, key: &KeptKey) -> Result<(), EvidenceError> {
        // A name out of the database becomes a file name: only a digest does.
        if Digest::parse(&key.key_id).is_none() {
            return Ok(());
        }
        let name = format!("keys/{}.pem", key.key_id);
        let mut file = HashedFile::create(making, &name)?;
        file.put(key.pem.as_bytes())?;
        self.files.insert(name, file.finish(None)?);
        Ok(())
    }

    fn row(&mut self, row: AuditRow) -> Result<(), EvidenceError> {
        self.tally.rows = self.tally.rows.saturating_add(1);
        self.canonical.clear();
        row.write_canonical(&mut self.canonical);
        self.canonical.push(b'\n');
        self.events.put(&self.canonical)?;
        if let Some(csv) = &mut self.csv {
            csv.row(&row)?;
        }
        match &mut self.parquet {
            Some(parquet) => parquet.row(row),
            None => Ok(()),
        }
    }
}

fn put_line(file: &mut HashedFile, value: &serde_json::Value) -> Result<(), EvidenceError> {
    file.put(value.to_string().as_bytes())?;
    file.put(b"\n")
}
