//! The log: durable first, then the deed. The only maker of [`AuditReceipt`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use time::OffsetDateTime;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::writer::{Entry, LogStats, Progress, Writer};
use super::{AuditStore, Event, EventKind, Identity, LeaseFacts, Outcome, RecordedEffect, Request, StreamId};
use crate::clock::Clock;
use crate::lease::{AssumeRole, LeaseId};
use crate::policy::{Grant, RoleName};
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
    pub identity: Identity,
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
pub struct AuditLog {
    queue: mpsc::Sender<Entry>,
    progress: Arc<Progress>,
    clock: Arc<dyn Clock>,
    /// Draws event ids.
    rng: Mutex<StdRng>,
    stream: StreamId,
    deadline: Duration,
}

impl AuditLog {
    /// Opens a stream and starts its writer on `tasks`: the writer commits what has gathered while the last commit was
    /// under way, so that concurrent exchanges share commits. It ends, with everything written that was accepted, when
    /// the log is dropped.
    #[must_use]
    pub fn open(
        store: Arc<dyn AuditStore>,
        clock: Arc<dyn Clock>,
        stream: StreamId,
        settings: LogSettings,
        tasks: &TaskTracker,
    ) -> Self {
        let (queue, inbox) = mpsc::channel(settings.queue.max(1));
        let writer = Writer::new(store, stream, settings.deadline, inbox);
        let progress = writer.progress();
        tasks.spawn(writer.run());
        Self { queue, progress, clock, rng: Mutex::new(rand::make_rng()), stream, deadline: settings.deadline }
    }

    /// Commits the intent to mint.
    pub async fn intend(&self, intent: Intent<'_>) -> Result<AuditReceipt, AuditError> {
        let event = Event {
            request: Some(intent.request.clone()),
            identity: Some(Identity::from(intent.token)),
            role: Some(intent.grant.role().to_owned()),
            roles: intent.grant.roles().iter().map(RoleName::as_str).map(str::to_owned).collect(),
            matched_rule: Some(intent.grant.rule().to_owned()),
            policy_hash: Some(intent.grant.policy_hash().to_hex()),
            lease: Some(lease_facts(intent.assume_role)),
            ..self.event(EventKind::LeaseIntended, RecordedEffect::Allow, "granted")
        };
        self.commit_intent(intent.assume_role.lease_id(), event).await
    }

    /// Commits what became of it.
    pub async fn conclude(&self, receipt: AuditReceipt, outcome: Outcome) -> Result<(), AuditError> {
        let AuditReceipt { lease_id: _, intent } = receipt;
        let (kind, reason, ending) = match outcome {
            Outcome::Issued { key_fingerprint, ends_at } => {
                (EventKind::LeaseIssued, "granted", Some((key_fingerprint, ends_at)))
            }
            Outcome::Failed { reason } => (EventKind::LeaseFailed, reason, None),
        };
        let said = self.event(kind, RecordedEffect::Allow, reason);
        let mut event = Event { id: said.id, occurred_at: said.occurred_at, kind, reason, ..intent };
        if let (Some(lease), Some((key_fingerprint, ends_at))) = (event.lease.as_mut(), ending) {
            lease.key_fingerprint = Some(key_fingerprint);
            lease.ends_at = Some(whole_microseconds(ends_at));
        }
        self.write(event).await
    }

    /// Commits a refusal.
    pub async fn refuse(&self, refused: Refused) -> Result<(), AuditError> {
        self.write(Event {
            request: Some(refused.request),
            identity: Some(refused.identity),
            policy_hash: refused.policy_hash,
            ..self.event(EventKind::ExchangeRefused, RecordedEffect::Deny, refused.reason)
        })
        .await
    }

    /// Commits that a policy set took effect.
    pub async fn policy_loaded(&self, policy_hash: String, roles: Vec<String>) -> Result<(), AuditError> {
        self.write(Event {
            policy_hash: Some(policy_hash),
            roles,
            ..self.event(EventKind::PolicyLoaded, RecordedEffect::NotApplicable, "loaded")
        })
        .await
    }

    /// Whether the log can be written, as far as the last write told, for readiness. While it cannot, the writer looks at
    /// the store again by itself.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.progress.is_healthy() && !self.queue.is_closed()
    }

    /// The stream of this process start.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Counters of the writer.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.progress.stats()
    }

    /// The only maker of a receipt: the intent is committed when it returns one.
    async fn commit_intent(&self, lease_id: LeaseId, intent: Event) -> Result<AuditReceipt, AuditError> {
        self.write(intent.clone()).await?;
        Ok(AuditReceipt { lease_id, intent })
    }

    /// Hands one event to the writer and waits for its commit, both within the deadline.
    async fn write(&self, event: Event) -> Result<(), AuditError> {
        let (done, committed) = oneshot::channel();
        self.queue.try_send(Entry { event, done }).map_err(|refused| match refused {
            TrySendError::Full(_) => AuditError::Overloaded,
            TrySendError::Closed(_) => AuditError::Unavailable,
        })?;
        match timeout(self.deadline, committed).await {
            Ok(Ok(result)) => result,
            Ok(Err(_writer_ended)) => Err(AuditError::Unavailable),
            Err(_elapsed) => Err(AuditError::Deadline),
        }
    }

    /// An event said now, of which nothing more is known yet.
    fn event(&self, kind: EventKind, effect: RecordedEffect, reason: &'static str) -> Event {
        let occurred_at = whole_microseconds(self.clock.now());
        let millis = u64::try_from(occurred_at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let random = self.rng.lock().unwrap_or_else(PoisonError::into_inner).random();
        Event {
            id: uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid(),
            occurred_at,
            kind,
            effect,
            reason,
            request: None,
            identity: None,
            role: None,
            roles: Vec::new(),
            matched_rule: None,
            policy_hash: None,
            lease: None,
            detail: None,
        }
    }
}

fn lease_facts(assume_role: &AssumeRole) -> LeaseFacts {
    LeaseFacts {
        id: assume_role.lease_id(),
        role_session_name: assume_role.role_session_name().as_str().to_owned(),
        session_policy_sha256: assume_role.session_policy().digest(),
        granted_seconds: assume_role.duration().as_secs(),
        key_fingerprint: None,
        ends_at: None,
    }
}

/// A row holds microseconds: what is read back must equal what was said, or no seal over it could be checked.
fn whole_microseconds(instant: OffsetDateTime) -> OffsetDateTime {
    let whole = instant.microsecond() * 1_000;
    instant.replace_nanosecond(whole).unwrap_or(instant)
}
