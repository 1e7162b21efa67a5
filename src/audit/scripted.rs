//! Doubles for the tests of the log and its writer: a store that fails as told, and a clock moved by hand.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::{
    AuditLog, AuditRow, AuditStore, Batch, LogParts, LogSettings, PolicySetText, Seal, SigningKey, StoreError,
    StreamHead, StreamId, VerifyingKey,
};
use crate::clock::Clock;

pub(super) const DEADLINE: Duration = Duration::from_secs(2);

/// How long something took, on the paused clock.
pub(super) async fn took<T>(work: impl Future<Output = T>) -> (T, Duration) {
    #[expect(clippy::disallowed_methods, reason = "the test's paused clock")]
    let started = tokio::time::Instant::now();
    (work.await, started.elapsed())
}

/// A clock moved by hand: time passes on both of its faces, and steps on one.
#[derive(Debug)]
pub(super) struct HandClock(Mutex<(OffsetDateTime, Duration)>);

impl HandClock {
    /// Five seconds before the end of November.
    pub(super) fn start() -> Arc<Self> {
        Arc::new(Self(Mutex::new((datetime!(2026-11-30 23:59:55 UTC), Duration::ZERO))))
    }

    pub(super) fn pass(&self, time: Duration) {
        let mut faces = self.0.lock().unwrap();
        faces.0 += time;
        faces.1 += time;
    }

    pub(super) fn step(&self, by: time::Duration) {
        self.0.lock().unwrap().0 += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> OffsetDateTime {
        self.0.lock().unwrap().0
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

/// A test double: keeps batches in memory and fails as its script says, one step per append, then commits at once.
#[derive(Debug, Default)]
pub(super) struct ScriptedStore {
    pub(super) batches: Mutex<Vec<Batch>>,
    pub(super) script: Mutex<VecDeque<Step>>,
    limbo: Mutex<Vec<Batch>>,
    pub(super) down: AtomicBool,
    /// Nothing comes back.
    pub(super) black_hole: AtomicBool,
    /// What the next stream must name.
    pub(super) heads: Mutex<Vec<StreamHead>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    CommitAfter(Duration),
    Fail,
    FailAfterCommit,
    /// Fails now, commits when the next append comes.
    FailAndCommitLate,
    Hang,
    /// From here on nothing comes back; the batch was committed, or not.
    Vanish {
        committed: bool,
    },
}

impl ScriptedStore {
    /// The script begins after the stream was opened.
    pub(super) fn with(script: impl IntoIterator<Item = Step>) -> Arc<Self> {
        let opening = Step::CommitAfter(Duration::ZERO);
        let script = std::iter::once(opening).chain(script).collect();
        Arc::new(Self { script: Mutex::new(script), ..Self::default() })
    }

    fn keep(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut batches = self.batches.lock().unwrap();
        let place = |batch: &Batch| (batch.seal.stream, batch.seal.number);
        if batches.iter().any(|kept| place(kept) == place(batch)) {
            return Err(failure());
        }
        batches.push(batch.clone());
        Ok(())
    }

    async fn reached(&self) -> Result<(), StoreError> {
        if self.black_hole.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.down.load(Ordering::SeqCst) { Err(failure()) } else { Ok(()) }
    }

    /// A log over this store.
    pub(super) fn log_with(self: &Arc<Self>, clock: Arc<dyn Clock>) -> (AuditLog, TaskTracker) {
        let tasks = TaskTracker::new();
        let settings = LogSettings { deadline: DEADLINE, queue: 1024 };
        let key = SigningKey::generate().unwrap();
        let parts = LogParts { store: self.clone(), clock, rng: rand::make_rng(), key, settings };
        (AuditLog::open(parts, &tasks), tasks)
    }

    /// Every row, in the order of commits.
    pub(super) fn all_rows(&self) -> Vec<AuditRow> {
        let batches = self.batches.lock().unwrap();
        batches.iter().flat_map(|batch| &batch.records).map(|record| serde_json::from_str(record).unwrap()).collect()
    }

    /// Every row but those that open and close the stream.
    pub(super) fn rows(&self) -> Vec<AuditRow> {
        self.all_rows().into_iter().filter(|row| !row.kind.starts_with("stream.")).collect()
    }

    /// Their places, counted from the first after the opening.
    pub(super) fn seqs(&self) -> Vec<i64> {
        self.rows().iter().map(|row| row.seq - 1).collect()
    }

    pub(super) fn reasons(&self) -> Vec<String> {
        self.rows().into_iter().map(|row| row.reason).collect()
    }
}

fn failure() -> StoreError {
    StoreError::Unavailable("scripted".into())
}

#[async_trait]
impl AuditStore for ScriptedStore {
    async fn open(&self, _stream: StreamId, _key: &VerifyingKey) -> Result<Vec<StreamHead>, StoreError> {
        self.reached().await?;
        Ok(self.heads.lock().unwrap().clone())
    }

    async fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.reached().await?;
        let late: Vec<_> = self.limbo.lock().unwrap().drain(..).collect();
        for batch in &late {
            self.keep(batch)?;
        }
        if batch.records.iter().any(|record| record.contains("poison")) {
            return Err(StoreError::Rejected("scripted".into()));
        }
        let step = self.script.lock().unwrap().pop_front();
        match step {
            None => self.keep(batch),
            Some(Step::CommitAfter(pause)) => {
                sleep(pause).await;
                self.keep(batch)
            }
            Some(Step::Fail) => Err(failure()),
            Some(Step::FailAfterCommit) => self.keep(batch).and(Err(failure())),
            Some(Step::FailAndCommitLate) => {
                self.limbo.lock().unwrap().push(batch.clone());
                Err(failure())
            }
            Some(Step::Hang) => std::future::pending().await,
            Some(Step::Vanish { committed }) => {
                if committed {
                    self.keep(batch)?;
                }
                self.black_hole.store(true, Ordering::SeqCst);
                std::future::pending().await
            }
        }
    }

    async fn head(&self, stream: StreamId) -> Result<Option<Seal>, StoreError> {
        self.reached().await?;
        let batches = self.batches.lock().unwrap();
        let seals = batches.iter().map(|batch| &batch.seal).filter(|seal| seal.stream == stream);
        Ok(seals.max_by_key(|seal| seal.number).cloned())
    }

    async fn keep_policy_set(&self, _set: &PolicySetText) -> Result<(), StoreError> {
        Ok(())
    }
}
