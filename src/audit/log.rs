//! The log: durable first, then the deed. The only maker of [`AuditReceipt`].

use std::sync::Arc;
use std::time::Duration;

use super::{AuditStore, Event, Outcome, Request, StreamId};
use crate::clock::Clock;
use crate::lease::{AssumeRole, LeaseId};
use crate::policy::Grant;
use crate::token::VerifiedToken;

/// Bounds of the log.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// How long a write may take before the exchange is refused.
    pub deadline: Duration,
    /// How many events may wait for the writer; one more is refused at once.
    pub queue: usize,
}

/// Proof that the intent to mint one lease is committed. Not `Clone`: it is consumed by the outcome.
#[derive(Debug)]
pub struct AuditReceipt {
    lease_id: LeaseId,
    intent: Event,
}

impl AuditReceipt {
    /// The lease whose intent is on record; a mint for any other lease must be refused.
    #[must_use]
    pub fn lease_id(&self) -> LeaseId {
        self.lease_id
    }
}

/// Everything the intent row says: borrowed from the values that the steps before it made.
#[derive(Debug)]
pub struct Intent<'a> {
    /// What was asked.
    pub request: &'a Request,
    /// Who asked.
    pub token: &'a VerifiedToken,
    /// What was granted.
    pub grant: &'a Grant,
    /// What will be sent.
    pub assume_role: &'a AssumeRole,
}

/// A refusal worth a row: somebody with a valid signature was turned away.
#[derive(Debug)]
pub struct Refused {
    /// What was asked.
    pub request: Request,
    /// Who asked.
    pub identity: super::Identity,
    /// The stable reason code.
    pub reason: &'static str,
    /// Hash of the policy set that refused, when it was policy.
    pub policy_hash: Option<String>,
}

/// The log refuses: nothing may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The write did not finish in time. It may still commit; a lone intent is the evidence.
    #[error("the log did not commit in time")]
    Deadline,
    /// Too many events wait already.
    #[error("the log's queue is full")]
    Overloaded,
    /// The store failed, or the log was closed.
    #[error("the log's store is unavailable")]
    Unavailable,
}

impl AuditError {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Deadline => "log_deadline",
            Self::Overloaded => "log_overloaded",
            Self::Unavailable => "log_unavailable",
        }
    }
}

/// The log of one process start.
#[derive(Debug)]
pub struct AuditLog {}

impl AuditLog {
    /// Opens a stream and starts its writer on `tasks`: the writer commits what has gathered while the last commit was
    /// under way, so that concurrent exchanges share commits.
    #[must_use]
    pub fn open(
        _store: Arc<dyn AuditStore>,
        _clock: Arc<dyn Clock>,
        _stream: StreamId,
        _settings: LogSettings,
        _tasks: &tokio_util::task::TaskTracker,
    ) -> Self {
        todo!()
    }

    /// Commits the intent to mint.
    pub async fn intend(&self, _intent: Intent<'_>) -> Result<AuditReceipt, AuditError> {
        todo!()
    }

    /// Commits what became of it.
    pub async fn conclude(&self, _receipt: AuditReceipt, _outcome: Outcome) -> Result<(), AuditError> {
        todo!()
    }

    /// Commits a refusal.
    pub async fn refuse(&self, _refused: Refused) -> Result<(), AuditError> {
        todo!()
    }

    /// Commits that a policy set took effect.
    pub async fn policy_loaded(&self, _policy_hash: String, _roles: Vec<String>) -> Result<(), AuditError> {
        todo!()
    }

    /// Whether the last write succeeded, for readiness.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        todo!()
    }
}
