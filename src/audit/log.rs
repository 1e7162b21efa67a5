//! The log: durable first, then the deed. The only maker of [`AuditReceipt`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::break_glass::obligation;
use super::instant::whole_microseconds;
use super::scribe::Scribe;
use super::tally::Tally;
use super::writer::{Entry, LogMeter, Progress, Writer, WriterParts};
use super::{
    Abandonment, Address, AuditStore, Event, EventKind, Identity, KeyFingerprint, LeaseFacts, LoneIntent, Origin,
    Orphan, OrphanFate, Outcome, RecordedEffect, Request, SigningKey,
};
use crate::clock::Clock;
use crate::lease::{AssumeRole, FreezeId, LeaseId};
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

/// What a log is made of.
#[derive(Debug)]
pub struct LogParts {
    /// Where events are kept.
    pub store: Arc<dyn AuditStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids of events and streams.
    pub rng: StdRng,
    /// Seals every commit.
    pub key: SigningKey,
    /// Bounds.
    pub settings: LogSettings,
}

/// How long a receipt is good for, on the monotonic clock: longer than a mint and an outcome take at their bounds. An
/// outcome that comes later is refused. So whoever has seen an intent alone for longer than this knows that its exchange
/// hands nothing out any more, whatever the wall clocks say and however long its process was stopped.
pub const RECEIPT_LIFE: Duration = Duration::from_secs(30);

/// Proof that the intent to mint one lease is committed. Not `Clone`: it is consumed by the outcome.
#[derive(Debug)]
pub struct AuditReceipt {
    lease_id: LeaseId,
    intent: Event,
    /// When the intent was handed to the log, on the monotonic clock.
    began: Duration,
}

impl AuditReceipt {
    /// The lease whose intent is on record; a mint for any other lease must be refused.
    #[must_use]
    pub fn lease_id(&self) -> LeaseId {
        self.lease_id
    }

    /// The parent that the intent names; a mint under any other must be refused.
    #[must_use]
    pub fn parent(&self) -> Option<&KeyFingerprint> {
        self.intent.lease.as_ref().and_then(|lease| lease.parent.as_ref())
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
#[derive(Debug, Clone)]
pub struct Refused {
    /// What was asked.
    pub request: Request,
    /// Who asked.
    pub identity: Identity,
    /// The stable reason code.
    pub reason: &'static str,
    /// Hash of the policy set that refused, when it was policy.
    pub policy_hash: Option<String>,
    /// The freeze that refused, when it was one.
    pub freeze: Option<FreezeId>,
    /// What a decision about an emergency token must say: [`obligation`].
    pub obligation: Option<String>,
}

/// A question put to the log: every one is an event, asked or refused, before it is answered.
#[derive(Debug)]
pub struct Inquiry {
    /// Through which door, and with which token if any.
    pub request: Request,
    /// Who asked.
    pub identity: Identity,
    /// [`RecordedEffect::Allow`] when it will be answered, [`RecordedEffect::Deny`] when not.
    pub effect: RecordedEffect,
    /// `read`, `reveal`, `export`, or why not: `not_permitted`.
    pub reason: &'static str,
    /// What was asked, for people; cut at 2,048 characters.
    pub detail: String,
}

/// A role, or a combination of roles, that a self-test closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedRole {
    /// Its name, or `any`.
    pub role: String,
    /// Every role combined.
    pub roles: Vec<String>,
    /// The policy set it is closed under, hex.
    pub policy_hash: String,
    /// What failed, for people.
    pub detail: String,
}

/// The role of a verification's leases.
const VERIFICATION: &str = "stint:verify";
/// How much of a question is kept: a caller chose its length.
const LONGEST_DETAIL: usize = 2048;

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

/// An outcome that is not known to be on record: nothing may leave. It may still commit late, so the receipt comes back
/// for what is to be said after it: [`AuditLog::abandon`].
#[derive(Debug, thiserror::Error)]
#[error("the outcome is not on record: {error}")]
pub struct Unrecorded {
    /// Why.
    pub error: AuditError,
    /// The proof of the intent.
    pub receipt: Box<AuditReceipt>,
}

/// The log of one process start.
#[derive(Debug)]
pub struct AuditLog {
    queue: mpsc::Sender<Entry>,
    tally: Arc<Tally>,
    progress: Arc<Progress>,
    scribe: Arc<Scribe>,
    deadline: Duration,
}

impl AuditLog {
    /// Opens a stream and starts its writer on `tasks`: the writer commits what has gathered while the last commit was
    /// under way, so that concurrent exchanges share commits. It ends, with everything written that was accepted and the
    /// stream closed, when the log is dropped.
    #[must_use]
    pub fn open(parts: LogParts, tasks: &TaskTracker) -> Self {
        let LogParts { store, clock, rng, key, settings } = parts;
        let (queue, inbox) = mpsc::channel(settings.queue.max(1));
        let scribe = Arc::new(Scribe::new(clock, rng));
        let tally = Arc::new(Tally::new());
        let deadline = settings.deadline;
        let parts = WriterParts { store, key, scribe: Arc::clone(&scribe), tally: Arc::clone(&tally), deadline, inbox };
        let writer = Writer::new(parts);
        let progress = writer.progress();
        tasks.spawn(writer.run());
        Self { queue, tally, progress, scribe, deadline }
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
            detail: obligation(intent.token),
            ..self.event(EventKind::LeaseIntended, RecordedEffect::Allow, "granted")
        };
        self.commit_intent(intent.assume_role.lease_id(), event).await
    }

    /// Commits the intent to mint a credential that nobody asked for: `stint object-server verify` tries it and gives it to
    /// nobody. The row says so: no identity, for no token was presented; the door of the command line; and a role that no
    /// policy directory can have, for its name holds a colon.
    pub async fn intend_verification(
        &self,
        assume_role: &AssumeRole,
        request_id: Uuid,
    ) -> Result<AuditReceipt, AuditError> {
        let request = Request::for_no_lease(Origin::console(request_id), None);
        let event = Event {
            request: Some(request),
            role: Some(VERIFICATION.to_owned()),
            lease: Some(lease_facts(assume_role)),
            detail: Some("stint object-server verify: minted to be tried, given to nobody".to_owned()),
            ..self.event(EventKind::LeaseIntended, RecordedEffect::NotApplicable, "verification")
        };
        self.commit_intent(assume_role.lease_id(), event).await
    }

    /// Commits what became of it. A receipt past its [`RECEIPT_LIFE`] concludes nothing: somebody else may have closed its
    /// lease by now.
    pub async fn conclude(&self, receipt: AuditReceipt, outcome: Outcome) -> Result<(), Unrecorded> {
        let (kind, reason, ending) = match outcome {
            Outcome::Issued { key_fingerprint, ends_at } => {
                (EventKind::LeaseIssued, "granted", Some((key_fingerprint, ends_at)))
            }
            Outcome::Failed { reason } => (EventKind::LeaseFailed, reason, None),
        };
        let unrecorded = |error, receipt| Err(Unrecorded { error, receipt: Box::new(receipt) });
        if self.is_stale(&receipt) {
            return unrecorded(AuditError::Deadline, receipt);
        }
        let said = self.event(kind, RecordedEffect::Allow, reason);
        let mut event = Event { id: said.id, occurred_at: said.occurred_at, kind, reason, ..receipt.intent.clone() };
        if let (Some(lease), Some((key_fingerprint, ends_at))) = (event.lease.as_mut(), ending) {
            lease.key_fingerprint = Some(key_fingerprint);
            lease.ends_at = Some(whole_microseconds(ends_at));
        }
        match self.write(event).await {
            // Stopped for so long between the two that the commit proves nothing any more.
            Ok(()) if self.is_stale(&receipt) => unrecorded(AuditError::Deadline, receipt),
            Ok(()) => Ok(()),
            Err(error) => unrecorded(error, receipt),
        }
    }

    /// Commits that nobody was handed the lease, and what became of whatever exists at the object server. Said after an
    /// outcome that could not be recorded: should that commit late, this row follows it in the same stream.
    pub async fn abandon(&self, receipt: &AuditReceipt, how: Abandonment) -> Result<(), AuditError> {
        self.write(self.abandoned(receipt.intent.clone(), how)).await
    }

    /// The same for an intent of another time, or of another instance, read back from the log.
    pub async fn abandon_lone(&self, lone: &LoneIntent, how: Abandonment) -> Result<(), AuditError> {
        let lone = lone.clone();
        let said = self.event(EventKind::LeaseAbandoned, RecordedEffect::Deny, how.as_str());
        self.write(lone.lease.event(Event { request: lone.request, ..said })).await
    }

    /// What the intent said, and that it is taken back: hence the effect.
    fn abandoned(&self, intent: Event, how: Abandonment) -> Event {
        let said = self.event(EventKind::LeaseAbandoned, RecordedEffect::Deny, how.as_str());
        let Event { id, occurred_at, kind, effect, reason, .. } = said;
        Event { id, occurred_at, kind, effect, reason, ..intent }
    }

    /// Commits a refusal.
    pub async fn refuse(&self, refused: Refused) -> Result<(), AuditError> {
        self.write(self.scribe.refusal(refused)).await
    }

    /// Commits the refusal of a validly signed token, or counts it if that token was refused for this reason before: a
    /// token that is sent again and again must not fill the log. Only the first waits for a commit.
    pub async fn refuse_token(&self, refused: Refused) -> Result<(), AuditError> {
        match self.tally.count_repeated(refused) {
            Some(first) => self.refuse(first).await,
            None => Ok(()),
        }
    }

    /// Commits the refusal of a verified holder, or counts it if that holder was refused for this reason before, by whichever
    /// token: one who is frozen, or asks too often, goes on asking. Only the first waits for a commit.
    pub async fn refuse_holder(&self, refused: Refused) -> Result<(), AuditError> {
        match self.tally.count_holder(refused) {
            Some(first) => self.refuse(first).await,
            None => Ok(()),
        }
    }

    /// Counts the refusal of a token without a valid signature. It waits for nothing; the writer says the counts, by
    /// reason and network, once a minute.
    pub fn count_refusal(&self, reason: &'static str, address: Option<Address>) {
        self.tally.count(reason, address);
    }

    /// Commits that a reader with a validly signed token was turned away, or counts it like [`AuditLog::refuse_token`].
    pub async fn refuse_reader(&self, inquiry: Inquiry) -> Result<(), AuditError> {
        let Inquiry { request, identity, reason, .. } = &inquiry;
        let (request, identity) = (request.clone(), identity.clone());
        match self.tally.count_repeated(Refused {
            request,
            identity,
            reason,
            policy_hash: None,
            freeze: None,
            obligation: None,
        }) {
            Some(_first) => self.read(inquiry).await,
            None => Ok(()),
        }
    }

    /// Commits that somebody asked the log something, or was refused to.
    pub async fn read(&self, inquiry: Inquiry) -> Result<(), AuditError> {
        self.write(Event {
            request: Some(inquiry.request),
            identity: Some(inquiry.identity),
            detail: Some(inquiry.detail.chars().take(LONGEST_DETAIL).collect()),
            ..self.event(EventKind::AuditRead, inquiry.effect, inquiry.reason)
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

    /// Commits that a credential without an open lease was found at the object server, and what was done about it.
    pub async fn orphan_found(&self, orphan: Orphan, fate: OrphanFate) -> Result<(), AuditError> {
        let reason = orphan.why.as_str();
        self.write(Event {
            orphan: Some(orphan),
            detail: Some(fate.as_str().to_owned()),
            ..self.event(EventKind::OrphanFound, RecordedEffect::NotApplicable, reason)
        })
        .await
    }

    /// Commits that nothing more is granted under a role, of the service's own accord: nobody is the actor.
    pub async fn role_closed(&self, role: ClosedRole) -> Result<(), AuditError> {
        self.write(self.role_event(EventKind::FreezeSet, RecordedEffect::Deny, "self_test_failed", role)).await
    }

    /// Commits that it is granted again, `reason` saying why.
    pub async fn role_opened(&self, role: ClosedRole, reason: &'static str) -> Result<(), AuditError> {
        self.write(self.role_event(EventKind::FreezeLifted, RecordedEffect::Allow, reason, role)).await
    }

    fn role_event(&self, kind: EventKind, effect: RecordedEffect, reason: &'static str, closed: ClosedRole) -> Event {
        let ClosedRole { role, roles, policy_hash, detail } = closed;
        Event {
            role: Some(role),
            roles,
            policy_hash: Some(policy_hash),
            detail: Some(detail),
            ..self.event(kind, effect, reason)
        }
    }

    /// Whether the log can be written, as far as the last write told, for readiness. While it cannot, the writer looks at
    /// the store again by itself.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.progress.is_healthy() && !self.queue.is_closed()
    }

    /// Counters of the writer.
    #[must_use]
    pub fn meter(&self) -> LogMeter {
        LogMeter(Arc::clone(&self.progress))
    }

    /// The only maker of a receipt: the intent is committed when it returns one.
    pub(super) async fn commit_intent(&self, lease_id: LeaseId, intent: Event) -> Result<AuditReceipt, AuditError> {
        let began = self.scribe.elapsed();
        self.write(intent.clone()).await?;
        Ok(AuditReceipt { lease_id, intent, began })
    }

    fn is_stale(&self, receipt: &AuditReceipt) -> bool {
        self.scribe.elapsed().saturating_sub(receipt.began) >= RECEIPT_LIFE
    }

    /// Hands one event to the writer and waits for its commit, both within the deadline.
    pub(super) async fn write(&self, event: Event) -> Result<(), AuditError> {
        let (done, committed) = oneshot::channel();
        let refused = Arc::new(AtomicBool::new(false));
        let entry = Entry { event, done, refused: Arc::clone(&refused) };
        self.queue.try_send(entry).map_err(|full_or_closed| match full_or_closed {
            TrySendError::Full(_) => AuditError::Overloaded,
            TrySendError::Closed(_) => AuditError::Unavailable,
        })?;
        match timeout(self.deadline, committed).await {
            Ok(Ok(result)) => result,
            Ok(Err(_writer_ended)) => Err(AuditError::Unavailable),
            Err(_elapsed) => {
                refused.store(true, Ordering::Release);
                Err(AuditError::Deadline)
            }
        }
    }

    pub(super) fn event(&self, kind: EventKind, effect: RecordedEffect, reason: &'static str) -> Event {
        self.scribe.event(kind, effect, reason)
    }
}

pub(super) fn lease_facts(assume_role: &AssumeRole) -> LeaseFacts {
    LeaseFacts {
        id: assume_role.lease_id(),
        role_session_name: assume_role.role_session_name().as_str().to_owned(),
        session_policy_sha256: assume_role.session_policy().digest(),
        session_policy: Some(assume_role.session_policy().as_str().into()),
        granted_seconds: assume_role.duration().as_secs(),
        parent: assume_role.parent().map(KeyFingerprint::from),
        key_fingerprint: None,
        ends_at: None,
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use time::OffsetDateTime;
    use tokio::time::sleep;

    use super::*;
    use crate::audit::scripted::{DEADLINE, HandClock, ScriptedStore, Step, took};
    use crate::audit::{AuditRow, FingerprintKey, LogStats};
    use crate::clock::SystemClock;

    fn open(store: &Arc<ScriptedStore>, queue: usize) -> (AuditLog, TaskTracker) {
        let tasks = TaskTracker::new();
        let store: Arc<dyn AuditStore> = store.clone();
        let settings = LogSettings { deadline: DEADLINE, queue };
        let key = SigningKey::generate().unwrap();
        let parts = LogParts { store, clock: Arc::new(SystemClock::start()), rng: rand::make_rng(), key, settings };
        (AuditLog::open(parts, &tasks), tasks)
    }

    fn log(store: &Arc<ScriptedStore>) -> AuditLog {
        open(store, 1024).0
    }

    async fn write(log: &AuditLog, reason: &'static str) -> Result<(), AuditError> {
        log.write(log.event(EventKind::ExchangeRefused, RecordedEffect::Deny, reason)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_write_waits_for_nobody() {
        let store = ScriptedStore::with([]);
        let (result, took) = took(write(&log(&store), "a")).await;
        assert_eq!((result, took), (Ok(()), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_slower_than_the_deadline_is_refused_at_the_deadline() {
        let store = ScriptedStore::with([Step::CommitAfter(Duration::from_millis(2_100))]);
        let (result, took) = took(write(&log(&store), "a")).await;
        assert_eq!(result, Err(AuditError::Deadline));
        assert!((DEADLINE..DEADLINE + Duration::from_millis(5)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_just_within_the_deadline_is_accepted() {
        let store = ScriptedStore::with([Step::CommitAfter(Duration::from_millis(1_900))]);
        assert_eq!(write(&log(&store), "a").await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_refuses_at_the_deadline_and_does_not_hold_the_writer() {
        let store = ScriptedStore::with([Step::Hang]);
        let log = log(&store);
        assert_eq!(write(&log, "a").await, Err(AuditError::Deadline));
        sleep(Duration::from_millis(10)).await;
        assert_eq!(write(&log, "b").await, Ok(()));
        assert_eq!(store.seqs().first(), Some(&0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_covers_the_wait_in_the_queue() {
        let slow = Step::CommitAfter(Duration::from_millis(1_500));
        let store = ScriptedStore::with([slow, slow]);
        let log = log(&store);
        let second = async {
            sleep(Duration::from_millis(1)).await;
            took(write(&log, "second")).await
        };
        let (first, (second, took)) = tokio::join!(write(&log, "first"), second);
        assert_eq!((first, second), (Ok(()), Err(AuditError::Deadline)));
        assert!(took < DEADLINE + Duration::from_millis(5), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_whose_caller_was_refused_while_it_queued_is_not_written_afterwards() {
        let store = ScriptedStore::with([Step::Hang, Step::CommitAfter(DEADLINE / 2)]);
        let log = log(&store);
        let second = async {
            sleep(Duration::from_millis(1)).await;
            write(&log, "queued").await
        };
        let (first, second) = tokio::join!(write(&log, "in flight"), second);
        assert_eq!((first, second), (Err(AuditError::Deadline), Err(AuditError::Deadline)));
        assert_eq!(write(&log, "later").await, Ok(()), "behind the retry of the first");
        assert!(!store.reasons().iter().any(|reason| reason == "queued"), "{:?}", store.reasons());
    }

    #[tokio::test(start_paused = true)]
    async fn writes_that_gather_during_a_commit_share_the_next() {
        let slow = Step::CommitAfter(Duration::from_millis(10));
        let store = ScriptedStore::with([slow, slow, slow]);
        let log = log(&store);
        let late = async |n: u64| {
            sleep(Duration::from_millis(n.min(1))).await;
            write(&log, "a").await
        };
        let results = join_all((0..65).map(late)).await;
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(log.meter().read(), LogStats { commits: 3, events: 66, failures: 0 });
        assert_eq!(store.seqs(), (0..65).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn one_write_more_than_the_queue_holds_is_refused_at_once() {
        let store = ScriptedStore::with([Step::CommitAfter(Duration::from_secs(1))]);
        let (log, _tasks) = open(&store, 2);
        let first = write(&log, "first");
        let rest = async {
            sleep(Duration::from_millis(1)).await;
            let third = async {
                tokio::task::yield_now().await;
                took(write(&log, "over")).await
            };
            tokio::join!(write(&log, "b"), write(&log, "c"), third)
        };
        let (first, (b, c, (over, took))) = tokio::join!(first, rest);
        assert_eq!((first, b, c), (Ok(()), Ok(()), Ok(())));
        assert_eq!((over, took), (Err(AuditError::Overloaded), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_append_that_fails_once_costs_no_caller_a_refusal() {
        let store = ScriptedStore::with([Step::Fail]);
        let log = log(&store);
        assert_eq!(write(&log, "a").await, Ok(()));
        assert_eq!(store.seqs(), [0]);
        assert!(log.is_healthy());
        assert_eq!(log.meter().read().failures, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_append_that_failed_after_it_committed_counts_as_committed() {
        let store = ScriptedStore::with([Step::FailAfterCommit]);
        let log = log(&store);
        assert_eq!(write(&log, "a").await, Ok(()));
        assert_eq!(write(&log, "b").await, Ok(()));
        assert_eq!((store.seqs(), store.reasons()), (vec![0, 1], vec!["a".to_owned(), "b".to_owned()]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_append_that_commits_late_is_recognised_by_its_event_not_its_number() {
        let store = ScriptedStore::with([Step::FailAndCommitLate]);
        let log = log(&store);
        assert_eq!(write(&log, "a").await, Ok(()));
        assert_eq!(write(&log, "b").await, Ok(()));
        assert_eq!((store.seqs(), store.reasons()), (vec![0, 1], vec!["a".to_owned(), "b".to_owned()]));
    }

    #[tokio::test(start_paused = true)]
    async fn another_batch_under_our_numbers_is_not_taken_for_ours() {
        let store = ScriptedStore::with([Step::Fail, Step::FailAndCommitLate]);
        let log = log(&store);
        assert_eq!(write(&log, "refused, then committed late").await, Err(AuditError::Unavailable));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(write(&log, "b").await, Ok(()));
        assert_eq!(
            (store.seqs(), store.reasons()),
            (vec![0, 1], vec!["refused, then committed late".to_owned(), "b".to_owned()])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_stay_gapless_after_a_failure() {
        let store = ScriptedStore::with([Step::CommitAfter(Duration::ZERO), Step::Fail, Step::Fail]);
        let log = log(&store);
        assert_eq!(write(&log, "a").await, Ok(()));
        assert_eq!(write(&log, "lost").await, Err(AuditError::Unavailable));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(write(&log, "b").await, Ok(()));
        assert_eq!((store.seqs(), store.reasons()), (vec![0, 1], vec!["a".to_owned(), "b".to_owned()]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_down_refuses_promptly_and_heals_by_itself() {
        let store = ScriptedStore::with([]);
        let log = log(&store);
        assert!(log.is_healthy());
        store.down.store(true, Ordering::SeqCst);
        let (result, first) = took(write(&log, "a")).await;
        assert_eq!((result, log.is_healthy()), (Err(AuditError::Unavailable), false));
        sleep(Duration::from_secs(10)).await;
        let (result, later) = took(write(&log, "b")).await;
        assert_eq!(result, Err(AuditError::Unavailable));
        assert!(first.max(later) < Duration::from_millis(10), "{first:?} {later:?}");

        store.down.store(false, Ordering::SeqCst);
        sleep(Duration::from_millis(1_001)).await;
        assert!(log.is_healthy(), "without any write");
        assert_eq!(write(&log, "c").await, Ok(()));
        assert_eq!((store.seqs(), store.reasons()), (vec![0], vec!["c".to_owned()]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_lost_acknowledged_events_is_never_written_again() {
        let store = ScriptedStore::with([]);
        let log = log(&store);
        assert_eq!(write(&log, "a").await, Ok(()));
        store.batches.lock().unwrap().clear();
        store.script.lock().unwrap().push_back(Step::Fail);
        assert_eq!(write(&log, "b").await, Err(AuditError::Unavailable));
        sleep(Duration::from_mins(1)).await;
        assert_eq!((write(&log, "c").await, log.is_healthy()), (Err(AuditError::Unavailable), false));
        assert_eq!(store.seqs(), Vec::<i64>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_cannot_be_stored_refuses_only_its_own_caller() {
        let store = ScriptedStore::with([]);
        let log = log(&store);
        let results = join_all(["a", "poison", "b"].map(|reason| write(&log, reason))).await;
        assert_eq!(results, [Ok(()), Err(AuditError::Unavailable), Ok(())]);
        assert_eq!((store.seqs(), store.reasons()), (vec![0, 1], vec!["a".to_owned(), "b".to_owned()]));
        assert!(log.is_healthy());
    }

    #[tokio::test(start_paused = true)]
    async fn closing_writes_what_was_accepted_and_ends_the_writer() {
        let store = ScriptedStore::with([Step::CommitAfter(Duration::from_millis(50))]);
        let (log, tasks) = open(&store, 16);
        {
            let hung_up = join_all(["a", "b"].map(|reason| write(&log, reason)));
            assert!(timeout(Duration::from_millis(1), hung_up).await.is_err());
        }
        drop(log);
        tasks.close();
        timeout(Duration::from_secs(1), tasks.wait()).await.unwrap();
        assert_eq!(store.seqs(), [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_intent_no_receipt() {
        let store = ScriptedStore::with([Step::Fail, Step::Fail]);
        let log = log(&store);
        let refused = log.commit_intent(lease().id, intent(&log)).await;
        assert_eq!(refused.unwrap_err(), AuditError::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receipt_names_its_lease_and_its_outcome_repeats_the_intent() {
        let store = ScriptedStore::with([]);
        let log = log(&store);
        let receipt = log.commit_intent(lease().id, intent(&log)).await.unwrap();
        assert_eq!(receipt.lease_id(), lease().id);
        let key_fingerprint = FingerprintKey::derive(b"k").fingerprint("AKIA");
        let ends_at = OffsetDateTime::from_unix_timestamp_nanos(1_800_000_000_123_456_789).unwrap();
        log.conclude(receipt, Outcome::Issued { key_fingerprint: key_fingerprint.clone(), ends_at }).await.unwrap();

        let rows = store.rows();
        let [said, fate] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((said.kind.as_str(), fate.kind.as_str()), ("lease.intended", "lease.issued"));
        assert_ne!(said.id, fate.id);
        assert_eq!((fate.id.get_version_num(), &fate.role, &fate.policy_hash), (7, &said.role, &said.policy_hash));
        assert_eq!(fate.lease_id, Some(lease().id.as_uuid()));
        assert_eq!(fate.key_fingerprint.as_deref(), Some(key_fingerprint.as_str()));
        assert_eq!(fate.ends_at.unwrap().unix_timestamp_nanos(), 1_800_000_000_123_456_000, "what a row can hold");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mint_that_failed_is_recorded_with_its_reason_and_no_key() {
        let store = ScriptedStore::with([]);
        let log = log(&store);
        let receipt = log.commit_intent(lease().id, intent(&log)).await.unwrap();
        log.conclude(receipt, Outcome::Failed { reason: "unreachable" }).await.unwrap();
        let rows = store.rows();
        assert_eq!((rows[1].kind.as_str(), rows[1].reason.as_str()), ("lease.failed", "unreachable"));
        assert_eq!(rows[1].key_fingerprint, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_that_is_not_recorded_gives_its_receipt_back_and_is_followed_by_an_abandonment() {
        let store = ScriptedStore::with([Step::CommitAfter(Duration::ZERO), Step::Fail, Step::FailAndCommitLate]);
        let log = log(&store);
        let receipt = log.commit_intent(lease().id, intent(&log)).await.unwrap();
        let key_fingerprint = FingerprintKey::derive(b"k").fingerprint("AKIA");
        let outcome = Outcome::Issued { key_fingerprint, ends_at: OffsetDateTime::UNIX_EPOCH };
        // Twice it is not there when the writer looks; then it commits after all.
        let Unrecorded { error, receipt } = log.conclude(receipt, outcome).await.unwrap_err();
        assert_eq!(error, AuditError::Unavailable);
        sleep(Duration::from_millis(100)).await;
        log.abandon(&receipt, Abandonment::Revoked).await.unwrap();
        let rows = store.rows();
        let told: Vec<_> =
            rows.iter().map(|row| (row.kind.as_str(), row.effect.as_str(), row.reason.as_str())).collect();
        let (intended, issued) = (("lease.intended", "allow", "granted"), ("lease.issued", "allow", "granted"));
        assert_eq!(told, [intended, issued, ("lease.abandoned", "deny", "revoked")]);
        let facts = |row: &AuditRow| {
            (
                row.lease_id,
                row.role.clone(),
                row.policy_hash.clone(),
                row.granted_seconds,
                row.role_session_name.clone(),
            )
        };
        assert_eq!(facts(&rows[2]), facts(&rows[0]));
        assert_eq!((&rows[2].key_fingerprint, rows[2].ends_at), (&None, None));
        assert!(rows[0].seq < rows[1].seq && rows[1].seq < rows[2].seq, "told apart by order");
    }

    #[tokio::test(start_paused = true)]
    async fn a_receipt_past_its_life_concludes_nothing() {
        let clock = HandClock::start();
        let store = ScriptedStore::with([]);
        let (log, _tasks) = store.log_with(clock.clone());
        let failed = || Outcome::Failed { reason: "unreachable" };
        let young = log.commit_intent(lease().id, intent(&log)).await.unwrap();
        clock.pass(RECEIPT_LIFE * 9 / 10);
        log.conclude(young, failed()).await.unwrap();

        let old = log.commit_intent(lease().id, intent(&log)).await.unwrap();
        clock.step(time::Duration::hours(-1));
        clock.pass(RECEIPT_LIFE);
        let unrecorded = log.conclude(old, failed()).await.unwrap_err();
        assert_eq!((unrecorded.error, unrecorded.receipt.lease_id()), (AuditError::Deadline, lease().id));
        assert_eq!(store.rows().len(), 3, "nothing was even offered");
        log.abandon(&unrecorded.receipt, Abandonment::NotMinted).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_stopped_while_its_outcome_commits_hands_nothing_out() {
        let clock = HandClock::start();
        let store = ScriptedStore::with([Step::CommitAfter(Duration::ZERO), Step::CommitAfter(Duration::from_secs(1))]);
        let (log, _tasks) = store.log_with(clock.clone());
        let receipt = log.commit_intent(lease().id, intent(&log)).await.unwrap();
        let stopped = async {
            sleep(Duration::from_millis(500)).await;
            clock.pass(RECEIPT_LIFE);
        };
        let (concluded, ()) = tokio::join!(log.conclude(receipt, Outcome::Failed { reason: "unreachable" }), stopped);
        assert_eq!(concluded.unwrap_err().error, AuditError::Deadline);
    }

    fn intent(log: &AuditLog) -> Event {
        let role = Some("studio".to_owned());
        let event = log.event(EventKind::LeaseIntended, RecordedEffect::Allow, "granted");
        Event { role, policy_hash: Some("00".repeat(32)), lease: Some(lease()), ..event }
    }

    fn lease() -> LeaseFacts {
        LeaseFacts {
            id: LeaseId::from_uuid(Uuid::from_u128(7)),
            role_session_name: "s".to_owned(),
            session_policy_sha256: "00".repeat(32),
            session_policy: None,
            granted_seconds: 900,
            parent: None,
            key_fingerprint: None,
            ends_at: None,
        }
    }
}
