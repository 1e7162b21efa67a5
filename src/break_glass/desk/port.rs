//! The ports of the desk: what it must know of the shared log and of the journal. Both are asked; neither is believed to be
//! there: while the shared log is away the journal alone says what was used.

use async_trait::async_trait;
use uuid::Uuid;

use crate::audit::{AuditRow, StoreError, StreamHead};

/// What the log that all instances share knows of emergencies.
///
/// An implementor MUST bound every call in time, and MUST fail rather than answer a part for the whole.
#[async_trait]
pub trait EmergencyRecord: std::fmt::Debug + Send + Sync {
    /// The event that owns a nonce: the `break_glass.requested` that came first and did not fail since; none while it is free.
    async fn owner(&self, nonce: Uuid) -> Result<Option<Uuid>, StoreError>;

    /// The rows of `break_glass.*` of all instances that say which nonces are used, which reviews are open and when the last
    /// drill was.
    async fn rows(&self) -> Result<Vec<AuditRow>, StoreError>;
}

/// Why the journal was not handed on to the shared log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMerged {
    /// The shared log does not answer: it is tried again.
    #[error("the shared log does not answer")]
    Away,
    /// The journal does not verify, or the log refuses it: it is kept as it is, and an operator must look.
    #[error("the journal does not verify, and is kept as it is")]
    Refused,
}

/// The journal of this instance.
///
/// An implementor MUST answer rows of every stream it ever kept, merged or not, and MUST fail rather than leave one out: a
/// nonce that is forgotten could be used again.
#[async_trait]
pub trait EmergencyJournal: std::fmt::Debug + Send + Sync {
    /// The instance whose journal it is: what a request names.
    fn instance(&self) -> Uuid;

    /// The `break_glass.*` records of all its streams.
    async fn rows(&self) -> Result<Vec<AuditRow>, StoreError>;

    /// Hands on what the shared log does not have yet. `Ok`: it has everything.
    async fn merge(&self) -> Result<(), NotMerged>;

    /// Whether something waits to be handed on.
    fn waits(&self) -> bool;

    /// Where the stream in use stands: what an answer and an alert carry away as a witness.
    fn head(&self) -> Option<StreamHead>;
}
