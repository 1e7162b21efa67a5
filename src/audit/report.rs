//! What a verification answers: how much was looked at, whose keys were believed, and every fault by name.

use std::fmt;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{KeyId, StreamHead, StreamId};

/// How many findings are kept; the rest are counted.
pub const MOST_FINDINGS: usize = 100;

/// What is wrong, or worth saying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// A row is not the one that was sealed.
    RowEdited,
    /// Rows that were sealed are not there.
    RowMissing,
    /// Rows that no seal covers.
    RowUnsealed,
    /// A row stands twice, or after one that follows it.
    RowOutOfOrder,
    /// Seals are not there.
    SealMissing,
    /// A seal that no version of stint writes.
    SealMalformed,
    /// A seal that its key did not sign.
    SealForged,
    /// A seal by a key that nobody holds.
    SealKeyUnknown,
    /// A seal by a key that is not among the trusted ones.
    SealKeyUntrusted,
    /// A seal whose root is not that of its leaves.
    SealRoot,
    /// A seal that does not follow from the one before.
    SealChain,
    /// The key changes inside a stream.
    KeyChanged,
    /// A stream that does not begin with `stream.opened`, under the key it names.
    StreamNotOpened,
    /// Something follows `stream.closed`.
    StreamAfterClosed,
    /// A stream ends before a head that was named of it.
    StreamCut,
    /// A stream that was named is not there at all.
    StreamMissing,
    /// A stream stood elsewhere than a named head says: its history was rewritten.
    HeadDiffers,
    /// The checkpoint is not signed by a trusted key.
    CheckpointForged,
    /// A file of the bundle is not the one that was written.
    FileChanged,
    /// Nobody signed the bundle's manifest.
    ManifestUnsigned,
    /// A stream ends without `stream.closed`: it is still being written, or was cut at its last seal.
    StreamNotClosed,
    /// A stream's rows were detached: only its last head is here.
    StreamRetired,
}

impl Fault {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RowEdited => "row_edited",
            Self::RowMissing => "row_missing",
            Self::RowUnsealed => "row_unsealed",
            Self::RowOutOfOrder => "row_out_of_order",
            Self::SealMissing => "seal_missing",
            Self::SealMalformed => "seal_malformed",
            Self::SealForged => "seal_forged",
            Self::SealKeyUnknown => "seal_key_unknown",
            Self::SealKeyUntrusted => "seal_key_untrusted",
            Self::SealRoot => "seal_root",
            Self::SealChain => "seal_chain",
            Self::KeyChanged => "key_changed",
            Self::StreamNotOpened => "stream_not_opened",
            Self::StreamAfterClosed => "stream_after_closed",
            Self::StreamCut => "stream_cut",
            Self::StreamMissing => "stream_missing",
            Self::HeadDiffers => "head_differs",
            Self::CheckpointForged => "checkpoint_forged",
            Self::FileChanged => "file_changed",
            Self::ManifestUnsigned => "manifest_unsigned",
            Self::StreamNotClosed => "stream_not_closed",
            Self::StreamRetired => "stream_retired",
        }
    }

    /// Whether it only deserves saying: a crash leaves a stream unclosed, retention retires it, and a bundle can be written
    /// without a key.
    #[must_use]
    pub fn is_warning(self) -> bool {
        matches!(self, Self::ManifestUnsigned | Self::StreamNotClosed | Self::StreamRetired)
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One fault, at its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub fault: Fault,
    /// In which stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamId>,
    /// At which seal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// At which row, or the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The last of several rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<u64>,
    /// The id of the event that stands there, as it says itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Uuid>,
    /// What that means, for an auditor.
    pub words: String,
}

impl Finding {
    /// A fault of which no place is known yet.
    #[must_use]
    pub fn new(fault: Fault, words: impl Into<String>) -> Self {
        Self { fault, stream: None, number: None, seq: None, last_seq: None, event: None, words: words.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fault.as_str())?;
        if let Some(stream) = self.stream {
            write!(f, ": stream {}", stream.0)?;
        }
        if let Some(number) = self.number {
            write!(f, " seal {number}")?;
        }
        match (self.seq, self.last_seq) {
            (Some(seq), Some(last)) if last != seq => write!(f, " rows {seq} to {last}")?,
            (Some(seq), _) => write!(f, " row {seq}")?,
            (None, _) => {}
        }
        if let Some(event) = self.event {
            write!(f, " (event {event})")?;
        }
        write!(f, ": {}", self.words)
    }
}

/// A key that sealed something here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyUse {
    /// Its name.
    pub key_id: String,
    /// How many seals name it.
    pub seals: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Report {
    /// Streams looked at.
    pub streams: u64,
    /// Seals looked at.
    pub seals: u64,
    /// Rows looked at.
    pub rows: u64,
    /// Rows that were sealed before the checkpoint and not looked at: `--all` looks at them too.
    pub rows_before: u64,
    /// Keys that sealed, at most [`MOST_FINDINGS`].
    pub keys: Vec<KeyUse>,
    /// Whether the keys were handed in by the auditor. If not they come from the same place as the log, and whoever could
    /// rewrite the one could replace the other.
    pub keys_pinned: bool,
    /// Whether only a part of the log was handed in: of what is missing nothing is said.
    pub partial: bool,
    /// What is wrong: the first [`MOST_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more_findings: u64,
    /// What is worth saying, the first [`MOST_FINDINGS`].
    pub warnings: Vec<Finding>,
    /// How many more there are.
    pub more_warnings: u64,
}

impl Report {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    /// Keeps a finding, or counts it.
    pub fn add(&mut self, finding: Finding) {
        let (kept, more) = if finding.fault.is_warning() {
            (&mut self.warnings, &mut self.more_warnings)
        } else {
            (&mut self.findings, &mut self.more_findings)
        };
        if kept.len() < MOST_FINDINGS {
            kept.push(finding);
        } else {
            *more = more.saturating_add(1);
        }
    }

    /// Counts the use of a key.
    pub fn count_key(&mut self, key_id: KeyId) {
        let key_id = key_id.to_hex();
        if let Some(key) = self.keys.iter_mut().find(|key| key.key_id == key_id) {
            key.seals = key.seals.saturating_add(1);
        } else if self.keys.len() < MOST_FINDINGS {
            self.keys.push(KeyUse { key_id, seals: 1 });
        }
    }
}

/// How a head came to be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// The `stream.opened` of this stream.
    Stream(StreamId),
    /// The checkpoint that was handed in.
    Checkpoint,
    /// The bundle's own manifest.
    Manifest,
}

impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(stream) => write!(f, "the opening of stream {}", stream.0),
            Self::Checkpoint => f.write_str("the checkpoint"),
            Self::Manifest => f.write_str("the bundle's manifest"),
        }
    }
}

/// A head that must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Where the stream stood.
    pub head: StreamHead,
    /// Who says so.
    pub by: NamedBy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_its_place_as_far_as_it_has_one() {
        let stream = Some(StreamId(Uuid::nil()));
        let nowhere = Finding::new(Fault::FileChanged, "is not there");
        assert_eq!(nowhere.to_string(), "file_changed: is not there");
        let somewhere = Finding { stream, number: Some(3), seq: Some(7), last_seq: Some(9), ..nowhere };
        let told = "file_changed: stream 00000000-0000-0000-0000-000000000000 seal 3 rows 7 to 9: is not there";
        assert_eq!(somewhere.to_string(), told);
    }
}
