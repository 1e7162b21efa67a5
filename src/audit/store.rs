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

    /// The last `seq` of a stream, if it has any: asked after a failed append whose fate is unknown.
    async fn head(&self, stream: StreamId) -> Result<Option<u64>, StoreError>;
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
}
