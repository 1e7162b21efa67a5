//! The port that makes events durable.

use async_trait::async_trait;

use super::key::VerifyingKey;
use super::seal::Seal;
use super::{Event, StreamHead, StreamId};

/// Where events are kept.
///
/// An implementor MUST append all of a batch with its seal or none of it, MUST NOT answer `Ok` before the batch is
/// durable (for PostgreSQL: committed with `synchronous_commit` on), and MUST refuse a `seq` or a seal number that the
/// stream already has.
#[async_trait]
pub trait AuditStore: std::fmt::Debug + Send + Sync {
    /// Makes room for a stream, keeps the key that will seal it, and answers the heads that the stream must name: of every
    /// other stream that has grown since some `stream.opened` last named it.
    async fn open(&self, stream: StreamId, key: &VerifyingKey) -> Result<Vec<StreamHead>, StoreError>;

    /// Appends a batch and its seal in one commit.
    async fn append(&self, batch: &Batch) -> Result<(), StoreError>;

    /// The last seal of a stream, if it has any: asked after a failed append whose fate is unknown. Only its hash tells
    /// whether it is ours: an append that was given up may commit late, under numbers handed to other events since.
    async fn head(&self, stream: StreamId) -> Result<Option<Seal>, StoreError>;

    /// Keeps the text of a policy set under its hash; a hash that is there already keeps its text.
    async fn keep_policy_set(&self, set: &PolicySetText) -> Result<(), StoreError>;
}

/// Where an event stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The stream.
    pub stream: StreamId,
    /// Its number in the stream, from 0, without gaps.
    pub seq: u64,
}

/// An event with its place.
#[derive(Debug, Clone)]
pub struct SequencedEvent {
    /// The place.
    pub position: Position,
    /// The event.
    pub event: Event,
}

/// What one commit holds.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The canonical form of each event, in order: a JSON object whose members are columns of `audit_event`.
    pub records: Vec<String>,
    /// Their seal.
    pub seal: Seal,
    /// Session policies that these events name by hash, for whom the store may not have the text yet.
    pub session_policies: Vec<SessionPolicyText>,
}

/// A session policy under its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPolicyText {
    /// Hex.
    pub sha256: String,
    /// The document as it was sent to the object server.
    pub text: String,
}

/// A policy set under its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySetText {
    /// The set's hash, hex.
    pub hash: String,
    /// A JSON object: relative path → content.
    pub files: String,
}

/// Why a batch is not known to be durable.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, or refused; nothing can be said about the batch until `head` is asked.
    #[error("the log's store failed")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store is well, kept nothing of the batch, and would refuse it again: some event in it breaks a rule. The writer
    /// then offers the events one by one, so that one caller's bad value cannot refuse everybody else.
    #[error("the log's store refuses what it was given")]
    Rejected(#[source] Box<dyn std::error::Error + Send + Sync>),
}
