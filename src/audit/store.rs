//! The port that makes events durable.

use async_trait::async_trait;
use serde::Serialize;
use uuid::Uuid;

use super::Event;

/// Where events are kept.
///
/// An implementor MUST append all of a batch or none of it, MUST NOT answer `Ok` before the batch is durable (for
/// PostgreSQL: committed with `synchronous_commit` on), and MUST refuse a `seq` that the stream already has.
#[async_trait]
pub trait AuditStore: std::fmt::Debug + Send + Sync {
    /// Appends a batch in one commit.
    async fn append(&self, batch: &[SequencedEvent]) -> Result<(), StoreError>;

    /// The last event of a stream, if it has any: asked after a failed append whose fate is unknown.
    async fn head(&self, stream: StreamId) -> Result<Option<Head>, StoreError>;
}

/// One process start. Sequence numbers are gapless within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct StreamId(pub Uuid);

/// Where an event stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The stream.
    pub stream: StreamId,
    /// Its number in the stream, from 0, without gaps.
    pub seq: u64,
}

/// The last event of a stream. The number alone would not do: an append that was given up may commit late, under numbers
/// that the writer has by then handed to other events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub event: Uuid,
}

/// An event with its place.
#[derive(Debug, Clone)]
pub struct SequencedEvent {
    /// The place.
    pub position: Position,
    /// The event.
    pub event: Event,
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
