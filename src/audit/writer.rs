//! The batch writer: the one task that numbers events, seals them and commits them. It takes whatever gathered while the
//! last commit was under way, so that concurrent exchanges share commits and a lone one waits for nobody. It never judges
//! an event, and it answers nobody before the store did.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Sleep, sleep, timeout};

use super::scribe::Scribe;
use super::tally::{Tally, Told, WINDOW};
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
/// How many deadlines the last words may take together, when the service stops and the store hangs.
const FAREWELL: u32 = 3;

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

/// What a writer is made of.
#[derive(Debug)]
pub(super) struct WriterParts {
    pub(super) store: Arc<dyn AuditStore>,
    pub(super) key: SigningKey,
    pub(super) scribe: Arc<Scribe>,
    pub(super) tally: Arc<Tally>,
    /// Bounds each call of the store: a black hole must not hold the task for longer than anybody waits.
    pub(super) deadline: Duration,
    pub(super) inbox: mpsc::Receiver<Entry>,
}

/// The task's state.
#[derive(Debug)]
pub(super) struct Writer {
    store: Arc<dyn AuditStore>,
    key: SigningKey,
    scribe: Arc<Scribe>,
    tally: Arc<Tally>,
    deadline: Duration,
    inbox: mpsc::Receiver<Entry>,
    /// The open stream, if there is one: as far as it is known to be committed.
    chain: Option<Chain>,
    /// Whether the store may hold more of the stream than `chain` knows of.
    adrift: bool,
    /// The first batch of the next stream, once it was offered: offered again, it is recognised by its seal, and does not
    /// leave a stream of one event behind at every attempt.
    opening: Option<Batch>,
    /// The last batch of this stream, once it was offered: a stream is closed once.
    closing: Option<Batch>,
    /// Counts that were offered and whose fate is unknown.
    in_doubt: Option<Doubt>,
    /// How long to leave a failing store alone; a commit resets it.
    pause: Duration,
    progress: Arc<Progress>,
}

/// Counts under a seal that may have been committed: said once more, they would count twice.
#[derive(Debug)]
struct Doubt {
    seal: Digest,
    told: Vec<Told>,
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
    pub(super) fn new(parts: WriterParts) -> Self {
        let WriterParts { store, key, scribe, tally, deadline, inbox } = parts;
        let progress = Progress {
            healthy: AtomicBool::new(true),
            commits: AtomicU64::new(0),
            events: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        Self {
            store,
            key,
            scribe,
            tally,
            deadline,
            inbox,
            chain: None,
            adrift: false,
            opening: None,
            closing: None,
            in_doubt: None,
            pause: FIRST_PAUSE,
            progress: Arc::new(progress),
        }
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
        // Open from the first refusal that was only counted: where there is none, there is no timer.
        let mut window: Option<Pin<Box<Sleep>>> = None;
        loop {
            tokio::select! {
                received = self.inbox.recv_many(&mut gathered, LARGEST_BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.commit_gathered(&mut gathered).await;
                }
                () = self.tally.begun(), if window.is_none() => window = Some(Box::pin(sleep(WINDOW))),
                () = ended(window.as_mut()) => {
                    self.tell().await;
                    window = (!self.tally.is_empty()).then(|| Box::pin(sleep(WINDOW)));
                }
            }
        }
        // Nobody waits any more, but the process that wants to end.
        if timeout(self.deadline * FAREWELL, self.finish()).await.is_err() {
            tracing::error!("the log's stream could not be closed in time: it ends at its last seal");
        }
    }

    async fn commit_gathered(&mut self, gathered: &mut Vec<Entry>) {
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

    /// Says what was counted. What cannot be said now is kept for the next window.
    async fn tell(&mut self) {
        let fate = match self.stand_ready().await {
            Ok(()) => self.tell_counts().await,
            Err(NotReady) => Fate::Unknown,
        };
        if fate != Fate::Committed {
            self.outlast_failure().await;
        }
    }

    /// Everything counted, into the open stream: at most some two thousand events, in a few batches.
    async fn tell_counts(&mut self) -> Fate {
        let mut rest = self.tally.take();
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(LARGEST_BATCH));
            let told = std::mem::replace(&mut rest, later);
            let events: Vec<Event> = told.iter().map(|told| self.scribe.told(told)).collect();
            let (fate, seal) = self.offer(&events).await;
            match fate {
                Fate::Committed => {}
                Fate::Rejected => self.tell_one_by_one(told).await,
                Fate::Absent => self.tally.put_back(told),
                Fate::Unknown => self.in_doubt = seal.map(|seal| Doubt { seal, told }),
            }
            if matches!(fate, Fate::Absent | Fate::Unknown) {
                self.tally.put_back(rest);
                return fate;
            }
        }
        Fate::Committed
    }

    /// A digest or an identity that cannot be stored must not take the other counts with it.
    async fn tell_one_by_one(&mut self, told: Vec<Told>) {
        let mut told = told.into_iter();
        while let Some(one) = told.next() {
            let event = self.scribe.told(&one);
            match self.offer(std::slice::from_ref(&event)).await {
                (Fate::Committed, _) => {}
                (Fate::Rejected, _) => {
                    tracing::error!(
                        reason = one.reason,
                        count = one.refusals.count,
                        "counted refusals cannot be stored"
                    );
                }
                (Fate::Absent, _) => return self.tally.put_back(std::iter::once(one).chain(told)),
                (Fate::Unknown, seal) => {
                    self.in_doubt = seal.map(|seal| Doubt { seal, told: vec![one] });
                    return self.tally.put_back(told);
                }
            }
        }
    }

    /// Sees to it that a stream is open, of this month: a stream never reaches into the next, so that whole streams fall
    /// into one partition.
    async fn stand_ready(&mut self) -> Result<(), NotReady> {
        let now = self.scribe.now();
        if self.chain.is_some_and(|chain| chain.stream.is_of_an_earlier_month(now)) {
            match self.close("month").await {
                Fate::Committed => {}
                Fate::Rejected => tracing::error!("the log's stream cannot be closed: it ends at its last seal"),
                // It is closed when the store is back.
                Fate::Absent | Fate::Unknown => return Err(NotReady),
            }
            (self.chain, self.closing) = (None, None);
        }
        if self.chain.is_none() { self.open().await } else { Ok(()) }
    }

    /// Opens a new stream, whose first event names the heads of the streams before it.
    async fn open(&mut self) -> Result<(), NotReady> {
        let now = self.scribe.now();
        let offered = self.opening.take().filter(|batch| !batch.seal.stream.is_of_an_earlier_month(now));
        let batch = match offered {
            Some(batch) => batch,
            None => self.opening().await?,
        };
        self.chain = Some(Chain::start(batch.seal.stream));
        match self.offer_batch(&batch).await {
            Fate::Committed => return Ok(()),
            Fate::Rejected => {}
            Fate::Absent | Fate::Unknown => self.opening = Some(batch),
        }
        (self.chain, self.adrift) = (None, false);
        self.progress.healthy.store(false, Ordering::Release);
        Err(NotReady)
    }

    /// Makes room for a stream, and its first batch.
    async fn opening(&self) -> Result<Batch, NotReady> {
        let stream = self.scribe.stream();
        let heads = match timeout(self.deadline, self.store.open(stream, self.key.public())).await {
            Ok(Ok(heads)) => heads,
            Ok(Err(error)) => return Err(self.not_opened(&error)),
            Err(elapsed) => return Err(self.not_opened(&elapsed)),
        };
        let event = self.scribe.event(EventKind::StreamOpened, RecordedEffect::NotApplicable, "opened");
        let detail = Some(format!("stint {}", env!("CARGO_PKG_VERSION")));
        let opened = Event { heads, key_id: Some(self.key.public().id()), detail, ..event };
        Ok(self.seal(&Chain::start(stream), &[opened]))
    }

    fn not_opened(&self, error: &dyn std::error::Error) -> NotReady {
        self.progress.healthy.store(false, Ordering::Release);
        self.count_failure(error);
        NotReady
    }

    /// Ends the stream in good order, with all that was counted until then.
    async fn close(&mut self, reason: &'static str) -> Fate {
        let is_last = |chain: Chain, batch: &Batch| chain.previous == batch.seal.hash();
        if self.chain.zip(self.closing.as_ref()).is_some_and(|(chain, batch)| is_last(chain, batch)) {
            return Fate::Committed;
        }
        let fate = self.tell_counts().await;
        let Some(chain) = self.chain.filter(|_| fate == Fate::Committed) else { return fate };
        let offered = self.closing.take().filter(|batch| chain.next_number == batch.seal.number);
        let batch = offered.unwrap_or_else(|| {
            let closed = self.scribe.event(EventKind::StreamClosed, RecordedEffect::NotApplicable, reason);
            self.seal(&chain, &[closed])
        });
        let fate = self.offer_batch(&batch).await;
        self.closing = Some(batch);
        fate
    }

    /// The last thing the writer does. A stream that cannot be closed ends as one that was cut, at its last seal.
    async fn finish(&mut self) {
        let Some(chain) = self.chain else { return };
        if self.adrift && self.find_head(&chain).await.map(|found| self.adopt(found)).is_err() {
            return tracing::error!("the log's stream could not be closed: it ends at its last seal");
        }
        if self.close("stopped").await != Fate::Committed {
            tracing::error!("the log's stream could not be closed: it ends at its last seal");
        }
    }

    async fn commit(&mut self, events: &[Event]) -> Fate {
        if self.stand_ready().await.is_err() {
            return Fate::Unknown;
        }
        self.offer(events).await.0
    }

    /// Commits these events; if that fails, learns their fate, and offers them once more where the store proves that they
    /// are not there. (A connection that died while idle costs no caller a refusal.) Answers the seal offered last, too.
    async fn offer(&mut self, events: &[Event]) -> (Fate, Option<Digest>) {
        if events.is_empty() {
            return (Fate::Committed, None);
        }
        let Some(chain) = self.chain else { return (Fate::Unknown, None) };
        let batch = self.seal(&chain, events);
        let fate = self.offer_batch(&batch).await;
        match self.chain {
            // Another batch took its place.
            Some(found) if fate == Fate::Absent && found.next_number != batch.seal.number => {
                let batch = self.seal(&found, events);
                (self.append(&batch).await, Some(batch.seal.hash()))
            }
            Some(_) | None => (fate, Some(batch.seal.hash())),
        }
    }

    /// The very same batch a second time: should the first offer commit late after all, its seal is recognised as ours.
    async fn offer_batch(&mut self, batch: &Batch) -> Fate {
        match self.append(batch).await {
            Fate::Absent if self.chain.is_some_and(|chain| chain.next_number == batch.seal.number) => {
                self.append(batch).await
            }
            fate @ (Fate::Committed | Fate::Rejected | Fate::Absent | Fate::Unknown) => fate,
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
                self.adopt(found);
                Fate::Absent
            }
            Err(NotReady) => {
                self.adrift = true;
                Fate::Unknown
            }
        }
    }

    /// One event among these breaks a rule of the store: the others must not pay for it.
    async fn commit_one_by_one(&mut self, events: Vec<Event>, waiters: Vec<Waiter>) {
        let alone = events.len() == 1;
        let mut entries = events.into_iter().zip(waiters);
        while let Some((event, waiter)) = entries.next() {
            let fate = if alone { Fate::Rejected } else { self.commit(std::slice::from_ref(&event)).await };
            match fate {
                Fate::Committed => answer([waiter], Ok(())),
                Fate::Rejected => {
                    tracing::error!(event = %event.id, kind = event.kind.as_str(), "an event cannot be stored");
                    answer([waiter], Err(AuditError::Unavailable));
                }
                Fate::Absent | Fate::Unknown => {
                    // Each further one could take as long to fail, and nobody waits that long.
                    answer(
                        std::iter::once(waiter).chain(entries.map(|(_, waiter)| waiter)),
                        Err(AuditError::Unavailable),
                    );
                    return self.outlast_failure().await;
                }
            }
        }
    }

    /// Gives each event the next number and all of them their seal, without moving the stream on: only a commit does.
    fn seal(&self, chain: &Chain, events: &[Event]) -> Batch {
        let (mut records, mut leaves) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for (seq, event) in (chain.next_seq..).zip(events) {
            let sequenced = SequencedEvent { position: Position { stream: chain.stream, seq }, event: event.clone() };
            let canonical = Record::from(&sequenced).canonical();
            leaves.push(Digest::of_leaf(&canonical));
            records.push(String::from_utf8(canonical).unwrap_or_default());
        }
        let session_policies = events.iter().filter_map(session_policy).collect();
        Batch { records, seal: Seal::make(chain, leaves, self.scribe.now(), &self.key), session_policies }
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
            let found = self.find_head(&chain).await?;
            self.adopt(found);
        }
        self.stand_ready().await
    }

    /// Goes on from what the store has, and settles what was in doubt.
    fn adopt(&mut self, found: Chain) {
        (self.chain, self.adrift) = (Some(found), false);
        if let Some(Doubt { seal, told }) = self.in_doubt.take()
            && seal != found.previous
        {
            self.tally.put_back(told);
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

    fn advance(&mut self, seal: &Seal) {
        (self.chain, self.adrift) = (Some(Chain::after(seal)), false);
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

async fn ended(window: Option<&mut Pin<Box<Sleep>>>) {
    match window {
        Some(window) => window.await,
        None => std::future::pending().await,
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use futures::future::join_all;
    use tokio_util::task::TaskTracker;
    use uuid::Uuid;

    use super::super::scripted::{DEADLINE, HandClock, ScriptedStore, Step, took};
    use super::super::{AuditLog, AuditRow, Door, Identity, Origin, Refused, Request, StreamHead, StreamId, merkle};
    use super::*;

    const NO_TIME: Duration = Duration::from_millis(10);

    fn refused(token: u32, reason: &'static str) -> Refused {
        let origin =
            Origin { door: Door::Sts, address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), request_id: Uuid::nil() };
        let token_sha256 = Some(format!("{token:064x}"));
        let request = Request::for_no_lease(origin, token_sha256);
        let identity = Identity { issuer: "a".into(), subject: None, client: None, groups: Vec::new(), jti: None };
        Refused { request, identity, reason, policy_hash: None, freeze: None, obligation: None }
    }

    async fn say(log: &AuditLog, reason: &'static str) -> Result<(), AuditError> {
        log.refuse(refused(0, reason)).await
    }

    async fn ended(log: AuditLog, tasks: TaskTracker) -> Duration {
        drop(log);
        tasks.close();
        took(tasks.wait()).await.1
    }

    /// Kind and reason of every row, stream by stream.
    fn streams(store: &ScriptedStore) -> Vec<Vec<(String, String)>> {
        let mut rows = store.all_rows();
        rows.sort_by_key(|row| (row.stream, row.seq));
        let streams = rows.chunk_by(|one, two| one.stream == two.stream);
        streams.map(|rows| rows.iter().map(|row| (row.kind.clone(), row.reason.clone())).collect()).collect()
    }

    fn kinds(store: &ScriptedStore) -> Vec<Vec<String>> {
        let streams = streams(store).into_iter();
        streams.map(|rows| rows.into_iter().map(|(kind, reason)| format!("{kind} {reason}")).collect()).collect()
    }

    /// Everything that a verifier would say of the store: roots, leaves, numbers, chains, signatures.
    fn verify(store: &ScriptedStore) {
        let batches = store.batches.lock().unwrap();
        let mut chains: std::collections::BTreeMap<StreamId, Chain> = std::collections::BTreeMap::new();
        for Batch { records, seal, .. } in batches.iter() {
            let chain = chains.entry(seal.stream).or_insert(Chain::start(seal.stream));
            let expected = (chain.next_number, chain.next_seq, chain.previous);
            assert_eq!((seal.number, seal.first_seq, seal.previous), expected);
            let rows: Vec<AuditRow> = records.iter().map(|record| serde_json::from_str(record).unwrap()).collect();
            let leaves: Vec<Digest> = rows.iter().map(Record::leaf).collect();
            assert_eq!((merkle::root(&leaves), &leaves), (seal.root, &seal.leaves));
            for (seq, row) in (seal.first_seq..=seal.last_seq).zip(&rows) {
                assert_eq!((row.stream, row.seq), (seal.stream.0, i64::try_from(seq).unwrap()));
            }
            assert_eq!(seal.last_seq + 1 - seal.first_seq, u64::try_from(rows.len()).unwrap());
            *chain = Chain::after(seal);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_opens_with_its_key_and_the_heads_before_it_and_closes_in_good_order() {
        let store = ScriptedStore::with([]);
        let head = StreamHead { stream: StreamId(Uuid::nil()), number: 3, last_seq: 9, hash: Digest::of(b"x") };
        store.heads.lock().unwrap().push(head);
        let (log, tasks) = store.log_with(HandClock::start());
        say(&log, "a").await.unwrap();
        ended(log, tasks).await;
        assert_eq!(kinds(&store), [["stream.opened opened", "exchange.refused a", "stream.closed stopped"]]);
        let rows = store.all_rows();
        assert_eq!(rows[0].heads, [head.to_string()]);
        let seals = store.batches.lock().unwrap().iter().map(|batch| batch.seal.key_id.to_hex()).collect::<Vec<_>>();
        assert_eq!(rows[0].key_id.as_ref(), seals.first());
        verify(&store);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_month_closes_the_stream_and_opens_another() {
        let (clock, store) = (HandClock::start(), ScriptedStore::with([]));
        let (log, tasks) = store.log_with(clock.clone());
        say(&log, "november").await.unwrap();
        clock.pass(Duration::from_secs(4));
        say(&log, "still november").await.unwrap();
        clock.pass(Duration::from_secs(1));
        say(&log, "december").await.unwrap();
        ended(log, tasks).await;
        let [november, december] = streams(&store).try_into().unwrap();
        let reasons = |rows: Vec<(String, String)>| rows.into_iter().map(|(_, reason)| reason).collect::<Vec<_>>();
        assert_eq!(reasons(november), ["opened", "november", "still november", "month"]);
        assert_eq!(reasons(december), ["opened", "december", "stopped"]);
        verify(&store);
    }

    #[tokio::test(start_paused = true)]
    async fn a_month_that_ends_during_an_outage_is_closed_once_when_the_store_is_back() {
        // The first closing is kept after all, but its fate is asked in vain.
        let (clock, store) = (HandClock::start(), ScriptedStore::with([Step::CommitAfter(Duration::ZERO)]));
        let (log, tasks) = store.log_with(clock.clone());
        say(&log, "november").await.unwrap();
        clock.pass(Duration::from_secs(9));
        store.black_hole.store(true, Ordering::SeqCst);
        assert_eq!(say(&log, "lost").await, Err(AuditError::Deadline));
        sleep(Duration::from_secs(20)).await;
        assert!(!log.is_healthy());
        store.script.lock().unwrap().extend([Step::FailAndCommitLate, Step::Fail, Step::FailAfterCommit]);
        store.black_hole.store(false, Ordering::SeqCst);
        sleep(Duration::from_secs(10)).await;
        assert!(log.is_healthy());
        say(&log, "december").await.unwrap();
        ended(log, tasks).await;
        let [november, december] = kinds(&store).try_into().unwrap();
        assert_eq!(november, ["stream.opened opened", "exchange.refused november", "stream.closed month"]);
        assert_eq!(december, ["stream.opened opened", "exchange.refused december", "stream.closed stopped"]);
        verify(&store);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_steps_back_an_hour_changes_nothing_but_the_times() {
        let (clock, store) = (HandClock::start(), ScriptedStore::with([]));
        let (log, tasks) = store.log_with(clock.clone());
        say(&log, "a").await.unwrap();
        clock.step(time::Duration::hours(-1));
        say(&log, "b").await.unwrap();
        clock.step(time::Duration::days(-40));
        say(&log, "c").await.unwrap();
        ended(log, tasks).await;
        assert_eq!((streams(&store).len(), store.reasons()), (1, ["a", "b", "c"].map(str::to_owned).to_vec()));
        let rows = store.rows();
        assert!(rows[0].occurred_at > rows[1].occurred_at && rows[0].seq < rows[1].seq);
        verify(&store);
    }

    #[tokio::test(start_paused = true)]
    async fn a_seal_in_our_stream_that_we_did_not_make_stops_the_log_for_good() {
        let store = ScriptedStore::with([]);
        let (log, tasks) = store.log_with(HandClock::start());
        say(&log, "a").await.unwrap();
        let last = store.batches.lock().unwrap().last().unwrap().clone();
        let strange = SigningKey::generate().unwrap();
        let seal = Seal::make(&Chain::after(&last.seal), vec![Digest::of_leaf(b"x")], last.seal.sealed_at, &strange);
        store.batches.lock().unwrap().push(Batch { seal, records: Vec::new(), session_policies: Vec::new() });
        assert_eq!(say(&log, "b").await, Err(AuditError::Unavailable));
        sleep(Duration::from_mins(1)).await;
        assert_eq!((say(&log, "c").await, log.is_healthy()), (Err(AuditError::Unavailable), false));
        ended(log, tasks).await;
        assert_eq!(store.batches.lock().unwrap().len(), 3, "nothing was chained to it, not even an end");
    }

    #[tokio::test(start_paused = true)]
    async fn an_opening_that_fails_heals_by_itself_and_leaves_one_stream() {
        let store = ScriptedStore::with([]);
        store.script.lock().unwrap().clear();
        store.script.lock().unwrap().extend([Step::Hang, Step::Hang, Step::FailAndCommitLate]);
        let (log, tasks) = store.log_with(HandClock::start());
        sleep(Duration::from_secs(1)).await;
        assert_eq!(say(&log, "too early").await, Err(AuditError::Deadline));
        assert!(!log.is_healthy());
        sleep(Duration::from_secs(10)).await;
        assert!(log.is_healthy(), "without any write");
        say(&log, "a").await.unwrap();
        ended(log, tasks).await;
        assert_eq!(kinds(&store), [["stream.opened opened", "exchange.refused a", "stream.closed stopped"]]);
        verify(&store);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_down_at_the_start_is_no_healthy_log() {
        let store = ScriptedStore::with([]);
        store.down.store(true, Ordering::SeqCst);
        let (log, tasks) = store.log_with(HandClock::start());
        sleep(NO_TIME).await;
        assert!(!log.is_healthy());
        assert_eq!(say(&log, "a").await, Err(AuditError::Unavailable));
        store.down.store(false, Ordering::SeqCst);
        sleep(Duration::from_secs(2)).await;
        assert!(log.is_healthy());
        ended(log, tasks).await;
        assert_eq!(streams(&store).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn poison_refuses_its_own_caller_and_the_chain_holds() {
        let store = ScriptedStore::with([]);
        let (log, tasks) = store.log_with(HandClock::start());
        let results = join_all(["a", "poison", "b", "poison"].map(|reason| say(&log, reason))).await;
        assert_eq!(results, [Ok(()), Err(AuditError::Unavailable), Ok(()), Err(AuditError::Unavailable)]);
        ended(log, tasks).await;
        assert_eq!(store.reasons(), ["a", "b"]);
        verify(&store);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_among_poison_is_not_asked_for_each_event_in_turn() {
        let store = ScriptedStore::with([]);
        let (log, _tasks) = store.log_with(HandClock::start());
        let (results, took) = {
            let all = (0..200).map(|n| say(&log, if n == 0 { "poison" } else { "a" }));
            sleep(NO_TIME).await;
            store.script.lock().unwrap().extend([Step::Hang; 400]);
            took(join_all(all)).await
        };
        assert!(results.iter().all(Result::is_err));
        assert!(took <= DEADLINE * 2, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn everything_written_through_failures_of_every_kind_is_one_sound_chain() {
        let late = Step::FailAndCommitLate;
        let script =
            [Step::Fail, late, Step::FailAfterCommit, Step::Hang, late, Step::Fail, Step::Hang, Step::FailAfterCommit];
        let store = ScriptedStore::with(script);
        let (log, tasks) = store.log_with(HandClock::start());
        let mut acknowledged = Vec::new();
        for reason in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            if say(&log, reason).await.is_ok() {
                acknowledged.push(reason.to_owned());
            }
            sleep(Duration::from_secs(5)).await;
        }
        ended(log, tasks).await;
        verify(&store);
        let kept = store.reasons();
        assert!(acknowledged.len() >= 4 && acknowledged.iter().all(|reason| kept.contains(reason)), "{kept:?}");
        assert_eq!(streams(&store)[0].last().unwrap().0, "stream.closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_does_not_keep_the_process_from_ending() {
        for hang_from_the_start in [true, false] {
            let store = ScriptedStore::with([]);
            store.black_hole.store(hang_from_the_start, Ordering::SeqCst);
            let (log, tasks) = store.log_with(HandClock::start());
            sleep(NO_TIME).await;
            store.black_hole.store(true, Ordering::SeqCst);
            log.count_refusal("token_malformed", None);
            {
                let hung_up = join_all((0..1000).map(|_| say(&log, "a")));
                assert!(timeout(NO_TIME, hung_up).await.is_err());
            }
            let took = ended(log, tasks).await;
            assert!(took <= DEADLINE * 6, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_without_a_row_are_said_once_a_window_without_any_traffic() {
        let store = ScriptedStore::with([]);
        let (log, _tasks) = store.log_with(HandClock::start());
        sleep(Duration::from_hours(1)).await;
        for last in [1, 2, 250] {
            log.count_refusal("token_malformed", Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, last))));
        }
        log.count_refusal("issuer_unknown", None);
        sleep(Duration::from_secs(59)).await;
        assert!(store.rows().is_empty());
        sleep(Duration::from_secs(2)).await;
        let rows = store.rows();
        let told: Vec<_> = rows.iter().map(|row| (row.reason.as_str(), row.count, row.network.as_deref())).collect();
        assert_eq!(told, [("issuer_unknown", Some(1), None), ("token_malformed", Some(3), Some("203.0.113.0/24"))]);
        for row in &rows {
            assert_eq!((row.kind.as_str(), row.effect.as_str()), ("exchange.refused", "deny"));
            assert_eq!((&row.issuer, &row.token_sha256, &row.door, row.address), (&None, &None, &None, None));
        }
        sleep(Duration::from_hours(1)).await;
        assert_eq!(store.rows().len(), 2, "nothing more to say");
        verify(&store);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_sent_again_and_again_is_one_row_and_one_more_a_window() {
        let store = ScriptedStore::with([]);
        let (log, tasks) = store.log_with(HandClock::start());
        for _ in 0..2 {
            for _ in 0..50 {
                log.refuse_token(refused(7, "token_expired")).await.unwrap();
            }
            sleep(Duration::from_secs(61)).await;
        }
        ended(log, tasks).await;
        let rows = store.rows();
        assert_eq!(rows.iter().map(|row| row.count).collect::<Vec<_>>(), [None, Some(49), Some(50)]);
        for row in &rows {
            assert_eq!((row.issuer.as_deref(), &row.token_sha256), (Some("a"), &Some(format!("{:064x}", 7))));
        }
        assert_eq!((rows[0].address.is_some(), &rows[0].network), (true, &None));
        assert_eq!((rows[1].address, rows[1].network.as_deref()), (None, Some("127.0.0.0/24")));
        verify(&store);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_counted_is_said_before_the_stream_closes() {
        let store = ScriptedStore::with([]);
        let (log, tasks) = store.log_with(HandClock::start());
        for network in 0..1500_u32 {
            log.count_refusal("token_malformed", Some(IpAddr::V4(Ipv4Addr::from(network << 8))));
        }
        ended(log, tasks).await;
        let rows = store.all_rows();
        assert_eq!(rows.len(), 1 + 1025 + 1);
        assert_eq!(rows.iter().filter_map(|row| row.count).sum::<i64>(), 1500);
        assert_eq!(rows.last().unwrap().kind, "stream.closed");
        verify(&store);
    }

    #[tokio::test(start_paused = true)]
    async fn counts_outlast_a_store_that_is_down_and_are_told_once() {
        for step in [Step::Fail, Step::FailAndCommitLate, Step::FailAfterCommit, Step::Hang] {
            let store = ScriptedStore::with([]);
            let (log, _tasks) = store.log_with(HandClock::start());
            sleep(NO_TIME).await;
            log.count_refusal("token_malformed", None);
            store.down.store(true, Ordering::SeqCst);
            sleep(Duration::from_mins(5)).await;
            log.count_refusal("token_malformed", None);
            assert!(!log.is_healthy());
            store.script.lock().unwrap().extend([step, step, step]);
            store.down.store(false, Ordering::SeqCst);
            sleep(Duration::from_mins(5)).await;
            let told: i64 = store.rows().iter().filter_map(|row| row.count).sum();
            assert_eq!(told, 2, "{step:?}");
            verify(&store);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn counts_outlast_a_stream_that_could_not_be_opened() {
        let store = ScriptedStore::with([]);
        store.down.store(true, Ordering::SeqCst);
        let (log, _tasks) = store.log_with(HandClock::start());
        sleep(NO_TIME).await;
        log.count_refusal("token_malformed", None);
        sleep(Duration::from_mins(5)).await;
        log.count_refusal("token_malformed", None);
        store.down.store(false, Ordering::SeqCst);
        sleep(Duration::from_mins(2)).await;
        assert_eq!(store.rows().iter().filter_map(|row| row.count).sum::<i64>(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn counts_outlast_a_month_that_cannot_be_closed() {
        let (clock, store) = (HandClock::start(), ScriptedStore::with([]));
        let (log, _tasks) = store.log_with(clock.clone());
        sleep(NO_TIME).await;
        log.count_refusal("token_malformed", None);
        clock.pass(Duration::from_mins(1));
        store.down.store(true, Ordering::SeqCst);
        sleep(Duration::from_mins(5)).await;
        store.down.store(false, Ordering::SeqCst);
        sleep(Duration::from_mins(2)).await;
        assert_eq!(store.rows().iter().filter_map(|row| row.count).sum::<i64>(), 1);
        assert_eq!(streams(&store).len(), 2);
        verify(&store);
    }

    #[tokio::test(start_paused = true)]
    async fn counts_whose_fate_was_in_doubt_are_not_told_twice() {
        for committed in [true, false] {
            let store = ScriptedStore::with([Step::Vanish { committed }]);
            let (log, _tasks) = store.log_with(HandClock::start());
            log.count_refusal("token_malformed", None);
            sleep(Duration::from_secs(90)).await;
            assert!(!log.is_healthy());
            log.count_refusal("token_malformed", None);
            store.black_hole.store(false, Ordering::SeqCst);
            sleep(Duration::from_mins(5)).await;
            let told: i64 = store.rows().iter().filter_map(|row| row.count).sum();
            assert_eq!(told, 2, "{committed}");
            verify(&store);
        }
    }
}
