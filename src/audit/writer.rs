//! The batch writer: the one task that numbers events, seals them and commits them. It takes whatever gathered while the
//! last commit was under way, so that concurrent exchanges share commits and a lone one waits for nobody. It never judges
//! an event, and it answers nobody before the store did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::scribe::Scribe;
use super::{
    AuditError, AuditStore, Batch, Chain, Digest, Event, EventKind, Position, Record, RecordedEffect, Seal,
    SequencedEvent, SessionPolicyText, SigningKey, StoreError,
};

/// Bounds one commit, and with it the memory and the time that one statement takes.
const LARGEST_BATCH: usize = 512;
/// The pause before the second look at a store that failed; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest a healed store waits to be noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An event on its way, and who waits for it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) event: Event,
    pub(super) done: oneshot::Sender<Result<(), AuditError>>,
    /// Set when the deadline has passed: the caller was refused, and what a lease's outcome would say is no longer true.
    pub(super) refused: Arc<AtomicBool>,
}

/// What the writer did so far, for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStats {
    /// Commits that succeeded.
    pub commits: u64,
    /// Events in them.
    pub events: u64,
    /// Appends that failed, or whose fate was unknown at first.
    pub failures: u64,
}

/// Reads the writer's counters without keeping the log open: the writer ends when the last handle of the log is gone.
#[derive(Debug, Clone)]
pub struct LogMeter(pub(super) Arc<Progress>);

impl LogMeter {
    /// The counters now.
    #[must_use]
    pub fn read(&self) -> LogStats {
        self.0.stats()
    }
}

/// What the writer shares with the log's handle.
#[derive(Debug)]
pub(super) struct Progress {
    healthy: AtomicBool,
    commits: AtomicU64,
    events: AtomicU64,
    failures: AtomicU64,
}

impl Progress {
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    pub(super) fn stats(&self) -> LogStats {
        LogStats {
            commits: self.commits.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

/// The task's state.
#[derive(Debug)]
pub(super) struct Writer {
    store: Arc<dyn AuditStore>,
    key: SigningKey,
    scribe: Arc<Scribe>,
    /// Bounds each call of the store: a black hole must not hold the task for longer than anybody waits.
    deadline: Duration,
    inbox: mpsc::Receiver<Entry>,
    /// The open stream, if there is one: as far as it is known to be committed.
    chain: Option<Chain>,
    /// How long to leave a failing store alone; a commit resets it.
    pause: Duration,
    progress: Arc<Progress>,
}

/// What became of one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Committed,
    /// Nothing was kept, and the store would refuse it again.
    Rejected,
    /// Nothing was kept, as of the head that was read since.
    Absent,
    /// The store cannot say.
    Unknown,
}

/// The store cannot be written now: it cannot be asked, or its head does not follow from what it acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NotReady;

impl Writer {
    pub(super) fn new(
        store: Arc<dyn AuditStore>,
        key: SigningKey,
        scribe: Arc<Scribe>,
        deadline: Duration,
        inbox: mpsc::Receiver<Entry>,
    ) -> Self {
        let progress = Progress {
            healthy: AtomicBool::new(true),
            commits: AtomicU64::new(0),
            events: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        Self { store, key, scribe, deadline, inbox, chain: None, pause: FIRST_PAUSE, progress: Arc::new(progress) }
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Runs until every sender is gone and the queue is empty.
    pub(super) async fn run(mut self) {
        if self.stand_ready().await.is_err() {
            self.outlast_failure().await;
        }
        let mut gathered: Vec<Entry> = Vec::new();
        while self.inbox.recv_many(&mut gathered, LARGEST_BATCH).await > 0 {
            gathered.retain(|entry| !entry.refused.load(Ordering::Acquire));
            let (events, waiters): (Vec<_>, Vec<_>) = gathered.drain(..).map(|entry| (entry.event, entry.done)).unzip();
            match self.commit(&events).await {
                Fate::Committed => answer(waiters, Ok(())),
                Fate::Rejected => self.commit_one_by_one(events, waiters).await,
                Fate::Absent | Fate::Unknown => {
                    answer(waiters, Err(AuditError::Unavailable));
                    self.outlast_failure().await;
                }
            }
        }
        if self.chain.is_some() {
            self.close("stopped").await;
        }
    }

    /// Sees to it that a stream is open, of this month: a stream never reaches into the next, so that whole streams fall
    /// into one partition.
    async fn stand_ready(&mut self) -> Result<(), NotReady> {
        let now = self.scribe.now();
        if self.chain.is_some_and(|chain| chain.stream.is_of_an_earlier_month(now)) {
            self.close("month").await;
            self.chain = None;
        }
        if self.chain.is_none() { self.open().await } else { Ok(()) }
    }

    /// Opens a new stream, whose first event names the heads of the streams before it.
    async fn open(&mut self) -> Result<(), NotReady> {
        let stream = self.scribe.stream();
        let heads = match timeout(self.deadline, self.store.open(stream, self.key.public())).await {
            Ok(Ok(heads)) => heads,
            Ok(Err(error)) => return Err(self.not_opened(&error)),
            Err(elapsed) => return Err(self.not_opened(&elapsed)),
        };
        let event = self.scribe.event(EventKind::StreamOpened, RecordedEffect::NotApplicable, "opened");
        let detail = Some(format!("stint {}", env!("CARGO_PKG_VERSION")));
        let opened = Event { heads, key_id: Some(self.key.public().id()), detail, ..event };
        self.chain = Some(Chain::start(stream));
        let fate = match self.seal(&[opened]) {
            Some(batch) => self.append(&batch).await,
            None => Fate::Absent,
        };
        if fate == Fate::Committed {
            return Ok(());
        }
        // Another stream will be opened. Should this one's first event commit late, it is a stream of one event.
        self.chain = None;
        Err(NotReady)
    }

    fn not_opened(&self, error: &dyn std::error::Error) -> NotReady {
        self.progress.healthy.store(false, Ordering::Release);
        self.count_failure(error);
        NotReady
    }

    /// Ends the stream in good order, if the store takes it: else it ends as one that was cut, at its last seal.
    async fn close(&mut self, reason: &'static str) {
        let closed = self.scribe.event(EventKind::StreamClosed, RecordedEffect::NotApplicable, reason);
        if let Some(batch) = self.seal(&[closed]) {
            let _fate = self.append(&batch).await;
        }
    }

    /// Commits one batch; if that fails, learns its fate, and offers it once more where the store proves that it is not
    /// there. (A connection that died while idle costs no caller a refusal.)
    async fn commit(&mut self, events: &[Event]) -> Fate {
        if self.stand_ready().await.is_err() {
            return Fate::Unknown;
        }
        let Some(batch) = self.seal(events) else { return Fate::Committed };
        match self.append(&batch).await {
            // The very same batch, unless another one took its place: should the first offer commit late after all, its
            // seal is recognised as ours.
            Fate::Absent if self.chain.is_some_and(|chain| chain.next_number == batch.seal.number) => {
                self.append(&batch).await
            }
            Fate::Absent => match self.seal(events) {
                Some(batch) => self.append(&batch).await,
                None => Fate::Absent,
            },
            fate @ (Fate::Committed | Fate::Rejected | Fate::Unknown) => fate,
        }
    }

    async fn append(&mut self, batch: &Batch) -> Fate {
        let Some(chain) = self.chain else { return Fate::Unknown };
        match timeout(self.deadline, self.store.append(batch)).await {
            Ok(Ok(())) => {
                self.advance(&batch.seal);
                return Fate::Committed;
            }
            Ok(Err(error @ StoreError::Rejected(_))) => {
                self.count_failure(&error);
                return Fate::Rejected;
            }
            Ok(Err(error @ StoreError::Unavailable(_))) => self.count_failure(&error),
            Err(elapsed) => self.count_failure(&elapsed),
        }
        self.progress.healthy.store(false, Ordering::Release);
        match self.find_head(&chain).await {
            Ok(found) if found.previous == batch.seal.hash() => {
                self.advance(&batch.seal);
                Fate::Committed
            }
            Ok(found) => {
                let (before, next) = (chain.next_seq, found.next_seq);
                tracing::warn!(stream = %chain.stream.0, before, next, "a batch was not committed");
                self.chain = Some(found);
                Fate::Absent
            }
            Err(NotReady) => Fate::Unknown,
        }
    }

    /// One event among these breaks a rule of the store: the others must not pay for it.
    async fn commit_one_by_one(&mut self, events: Vec<Event>, waiters: Vec<Waiter>) {
        let alone = events.len() == 1;
        for (event, waiter) in events.into_iter().zip(waiters) {
            let fate = if alone { Fate::Rejected } else { self.commit(std::slice::from_ref(&event)).await };
            match fate {
                Fate::Committed => answer([waiter], Ok(())),
                Fate::Rejected => {
                    tracing::error!(event = %event.id, kind = event.kind.as_str(), "an event cannot be stored");
                    answer([waiter], Err(AuditError::Unavailable));
                }
                Fate::Absent | Fate::Unknown => {
                    answer([waiter], Err(AuditError::Unavailable));
                    self.outlast_failure().await;
                }
            }
        }
    }

    /// Gives each event the next number and all of them their seal, without moving the stream on: only a commit does.
    /// Nothing where there is no event, or no stream.
    fn seal(&self, events: &[Event]) -> Option<Batch> {
        let chain = self.chain.filter(|_| !events.is_empty())?;
        let (mut records, mut leaves) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for (seq, event) in (chain.next_seq..).zip(events) {
            let sequenced = SequencedEvent { position: Position { stream: chain.stream, seq }, event: event.clone() };
            let canonical = Record::from(&sequenced).canonical();
            leaves.push(Digest::of_leaf(&canonical));
            records.push(String::from_utf8(canonical).unwrap_or_default());
        }
        let session_policies = events.iter().filter_map(session_policy).collect();
        Some(Batch { records, seal: Seal::make(&chain, leaves, self.scribe.now(), &self.key), session_policies })
    }

    /// Asks the store where the stream stands. What it has must go on from what it acknowledged, and must be ours.
    async fn find_head(&self, chain: &Chain) -> Result<Chain, NotReady> {
        let stream = chain.stream.0;
        let head = match timeout(self.deadline, self.store.head(chain.stream)).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) => {
                tracing::warn!(%stream, %error, "the log's head cannot be read");
                return Err(NotReady);
            }
            Err(_elapsed) => {
                tracing::warn!(%stream, "the log's head cannot be read in time");
                return Err(NotReady);
            }
        };
        let found = head.as_ref().map_or(Chain::start(chain.stream), Chain::after);
        let goes_on = found.next_seq > chain.next_seq || found == *chain;
        if !goes_on {
            // Writing on would hide that acknowledged rows are gone (a restored backup, a failover that lost commits).
            // This stream ends here; a new process start opens another and leaves the gap in plain sight.
            tracing::error!(%stream, committed = chain.next_seq, found = found.next_seq,
                "the store lost committed events: the log refuses until the service is restarted");
            return Err(NotReady);
        }
        if head.is_some_and(|seal| !seal.is_signed_by(self.key.public())) {
            // Chaining to it would vouch for events that somebody else put into our stream.
            tracing::error!(%stream, "the store holds a seal of this stream that this process did not make: the log refuses");
            return Err(NotReady);
        }
        Ok(found)
    }

    /// Waits for the store to come back. Whoever asks meanwhile is refused at once rather than left hanging.
    async fn outlast_failure(&mut self) {
        loop {
            let pause = self.pause;
            self.pause = LONGEST_PAUSE.min(pause * 2);
            if self.refuse_during(pause).await == Inbox::Closed {
                return;
            }
            if self.look_again().await.is_ok() {
                // The store answers; whether it accepts is for the next append to show.
                self.progress.healthy.store(true, Ordering::Release);
                return;
            }
        }
    }

    async fn look_again(&mut self) -> Result<(), NotReady> {
        if let Some(chain) = self.chain {
            self.chain = Some(self.find_head(&chain).await?);
        }
        self.stand_ready().await
    }

    async fn refuse_during(&mut self, pause: Duration) -> Inbox {
        let pause = sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return Inbox::Open,
                entry = self.inbox.recv() => match entry {
                    Some(entry) => answer([entry.done], Err(AuditError::Unavailable)),
                    None => return Inbox::Closed,
                },
            }
        }
    }

    fn advance(&mut self, seal: &Seal) {
        self.chain = Some(Chain::after(seal));
        self.pause = FIRST_PAUSE;
        self.progress.healthy.store(true, Ordering::Release);
        self.progress.commits.fetch_add(1, Ordering::Relaxed);
        self.progress.events.fetch_add(u64::try_from(seal.leaves.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn count_failure(&self, error: &dyn std::error::Error) {
        self.progress.failures.fetch_add(1, Ordering::Relaxed);
        let cause = error.source().map(ToString::to_string);
        let chain = self.chain.map(|chain| (chain.stream.0, chain.next_seq));
        tracing::error!(?chain, %error, cause, "an append to the log failed");
    }
}

/// The text that an intent names by hash.
fn session_policy(event: &Event) -> Option<SessionPolicyText> {
    let lease = event.lease.as_ref()?;
    let text = lease.session_policy.as_deref()?.to_owned();
    Some(SessionPolicyText { sha256: lease.session_policy_sha256.clone(), text })
}

type Waiter = oneshot::Sender<Result<(), AuditError>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inbox {
    Open,
    Closed,
}

fn answer(waiters: impl IntoIterator<Item = Waiter>, result: Result<(), AuditError>) {
    for waiter in waiters {
        // Whoever stopped waiting was refused by its deadline, or hung up: the row is evidence either way.
        let _gone = waiter.send(result);
    }
}
