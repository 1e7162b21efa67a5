//! The port for those who read the log as a whole: the verifier, checkpoints, exports. It only reads; whoever implements
//! it answers from one snapshot, so that a log that is being written meanwhile is still read as it stood at one instant.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::report::Report;
use super::{AuditRow, PolicySetText, Seal, SessionPolicyText, StreamHead, StreamId, VerifyingKey};

/// Where the whole log can be read.
///
/// An implementor MUST answer each call from one snapshot, and MUST show every row and every seal there is, also those
/// that no writer of ours makes.
#[async_trait]
pub trait Ledger: fmt::Debug + Send + Sync {
    /// What a checkpoint must say: the head of every stream, save those that some `stream.opened` has named since.
    async fn heads(&self) -> Result<Vec<StreamHead>, LedgerError>;

    /// Verifies, and tells `progress` now and then. Long: minutes on a log of many millions of rows. A fault of the log is
    /// an answer, not an error.
    async fn verify(&self, inspection: Inspection, progress: Progress) -> Result<Report, LedgerError>;

    /// Sends everything that a selection needs to be verified elsewhere, in the order of [`Piece`]'s variants; seals and
    /// rows by stream and number. Ends early, without error, when nobody takes the pieces any more.
    async fn extract(&self, selection: Selection, pieces: mpsc::Sender<Piece>) -> Result<(), LedgerError>;
}

/// What is asked of a verification.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// The keys that the auditor holds. None: the keys kept beside the log are believed, and the report says so.
    pub trusted: Vec<VerifyingKey>,
    /// Each of its heads must still be there; what came after is verified.
    pub since: Option<Checkpoint>,
    /// What was before the checkpoint is verified too.
    pub all: bool,
}

/// How far a verification or an export has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Seals done.
    pub seals: u64,
    /// Rows done.
    pub rows: u64,
}

/// Told now and then, from whatever thread does the work: must be quick.
pub type Progress = Arc<dyn Fn(Tally) + Send + Sync>;

/// What an export takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// The whole log.
    Everything,
    /// Every seal with an event said within the period, whole: `from` is part of it, `to` is not.
    Period {
        /// The beginning; none: the log's.
        from: Option<OffsetDateTime>,
        /// The end; none: now.
        to: Option<OffsetDateTime>,
    },
    /// These streams, whole.
    Streams(Vec<StreamId>),
}

/// A public key kept beside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    /// The name it is kept under.
    pub key_id: String,
    /// PEM, as it is kept.
    pub pem: String,
}

/// One part of an extract.
#[derive(Debug)]
pub enum Piece {
    /// A public key.
    Key(KeptKey),
    /// The last head of a stream whose rows were detached.
    Retired(StreamHead),
    /// A seal; its rows follow, before or after further seals.
    Seal(Box<Seal>),
    /// Rows, in order.
    Rows(Vec<AuditRow>),
    /// A policy set that rows name.
    PolicySet(PolicySetText),
    /// A session policy that rows name.
    SessionPolicy(SessionPolicyText),
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store cannot be reached, or refused.
    #[error("the log cannot be read: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An export met a row that no version of stint writes: only a verification can speak of it.
    #[error(
        "row {seq} of stream {stream} cannot be exported, it holds what no version of stint writes: run `stint audit verify`"
    )]
    UnreadableRow {
        /// The stream.
        stream: Uuid,
        /// The row.
        seq: i64,
    },
    /// An export met a seal that no version of stint writes.
    #[error("a seal of stream {stream} cannot be exported, no version of stint writes it: run `stint audit verify`")]
    UnreadableSeal {
        /// The stream.
        stream: Uuid,
    },
    /// The work was given up.
    #[error("the reading of the log was given up")]
    GivenUp,
}
