//! The batch writer: the one task that numbers events and commits them. It takes whatever gathered while the last commit
//! was under way, so that concurrent exchanges share commits and a lone one waits for nobody. It never judges an event,
//! and it answers nobody before the store did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::{AuditError, AuditStore, Event, Position, SequencedEvent, StoreError, StreamId};

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
    stream: StreamId,
    /// Bounds each call of the store: a black hole must not hold the task for longer than anybody waits.
    deadline: Duration,
    inbox: mpsc::Receiver<Entry>,
    next_seq: u64,
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

/// The store's head does not follow from what it acknowledged, or it could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeadUnknown;

impl Writer {
    pub(super) fn new(
        store: Arc<dyn AuditStore>,
        stream: StreamId,
        deadline: Duration,
        inbox: mpsc::Receiver<Entry>,
    ) -> Self {
        let progress = Progress {
            healthy: AtomicBool::new(true),
            commits: AtomicU64::new(0),
            events: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        Self { store, stream, deadline, inbox, next_seq: 0, pause: FIRST_PAUSE, progress: Arc::new(progress) }
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Runs until every sender is gone and the queue is empty.
    pub(super) async fn run(mut self) {
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
    }

    /// Commits one batch; if that fails, learns its fate, and offers it once more where the store proves that it is not
    /// there. (A connection that died while idle costs no caller a refusal.)
    async fn commit(&mut self, events: &[Event]) -> Fate {
        match self.append(events).await {
            Fate::Absent => self.append(events).await,
            fate @ (Fate::Committed | Fate::Rejected | Fate::Unknown) => fate,
        }
    }

    async fn append(&mut self, events: &[Event]) -> Fate {
        let batch = self.sequence(events);
        let Some(last) = batch.last() else { return Fate::Committed };
        match timeout(self.deadline, self.store.append(&batch)).await {
            Ok(Ok(())) => {
                self.advance(last.position.seq, batch.len());
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
        let before = self.next_seq;
        match self.find_head().await {
            Ok(Some(id)) if id == last.event.id => {
                self.advance(last.position.seq, batch.len());
                Fate::Committed
            }
            Ok(_) => {
                tracing::warn!(stream = %self.stream.0, before, next = self.next_seq, "a batch was not committed");
                Fate::Absent
            }
            Err(HeadUnknown) => Fate::Unknown,
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

    /// Gives each event the next number, without keeping it: only a commit moves the stream on.
    fn sequence(&self, events: &[Event]) -> Vec<SequencedEvent> {
        let place = |(seq, event): (u64, &Event)| SequencedEvent {
            position: Position { stream: self.stream, seq },
            event: event.clone(),
        };
        (self.next_seq..).zip(events).map(place).collect()
    }

    /// Asks the store where the stream stands, and goes on from there: numbers of a batch that was not kept are used
    /// again, numbers of one that committed late are not. Answers the id of the last event.
    async fn find_head(&mut self) -> Result<Option<uuid::Uuid>, HeadUnknown> {
        let head = match timeout(self.deadline, self.store.head(self.stream)).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) => {
                tracing::warn!(stream = %self.stream.0, %error, "the log's head cannot be read");
                return Err(HeadUnknown);
            }
            Err(_elapsed) => {
                tracing::warn!(stream = %self.stream.0, "the log's head cannot be read in time");
                return Err(HeadUnknown);
            }
        };
        let next = head.map_or(0, |head| head.seq.saturating_add(1));
        if next < self.next_seq {
            // Writing on would hide that acknowledged rows are gone (a restored backup, a failover that lost commits).
            // This stream ends here; a new process start opens another and leaves the gap in plain sight.
            tracing::error!(stream = %self.stream.0, committed = self.next_seq, found = next,
                "the store lost committed events: the log refuses until the service is restarted");
            return Err(HeadUnknown);
        }
        self.next_seq = next;
        Ok(head.map(|head| head.event))
    }

    /// Waits for the store to come back. Whoever asks meanwhile is refused at once rather than left hanging.
    async fn outlast_failure(&mut self) {
        loop {
            let pause = self.pause;
            self.pause = LONGEST_PAUSE.min(pause * 2);
            if self.refuse_during(pause).await == Inbox::Closed {
                return;
            }
            if self.find_head().await.is_ok() {
                // The store answers; whether it accepts is for the next append to show.
                self.progress.healthy.store(true, Ordering::Release);
                return;
            }
        }
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

    fn advance(&mut self, last_seq: u64, events: usize) {
        self.next_seq = last_seq.saturating_add(1);
        self.pause = FIRST_PAUSE;
        self.progress.healthy.store(true, Ordering::Release);
        self.progress.commits.fetch_add(1, Ordering::Relaxed);
        self.progress.events.fetch_add(u64::try_from(events).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn count_failure(&self, error: &dyn std::error::Error) {
        self.progress.failures.fetch_add(1, Ordering::Relaxed);
        let cause = error.source().map(ToString::to_string);
        tracing::error!(stream = %self.stream.0, next = self.next_seq, %error, cause, "an append to the log failed");
    }
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
