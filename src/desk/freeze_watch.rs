//! What is frozen, as every exchange must know it: read from the log less than a second ago, whoever set it. A reading that
//! fails refuses: what is not known to be thawed is not handed out.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::SharedState;
use crate::clock::Clock;
use crate::lease::Freezes;

/// How old a reading may be when an exchange goes by it: "effective on every instance within a second" holds by this, also
/// where no notification arrives.
const FRESH: Duration = Duration::from_secs(1);

/// What is frozen cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be read what is frozen")]
pub struct FreezesUnknown;

/// One reading.
#[derive(Debug, Clone)]
struct Reading {
    /// When it began, on the monotonic clock.
    began: Duration,
    seen: Result<Arc<Freezes>, FreezesUnknown>,
}

/// What is frozen.
#[derive(Debug)]
pub struct FreezeWatch {
    shared: Arc<dyn SharedState>,
    clock: Arc<dyn Clock>,
    last: ArcSwapOption<Reading>,
    /// One reads, and who waits for it takes what it read.
    turn: Mutex<()>,
}

impl FreezeWatch {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(shared: Arc<dyn SharedState>, clock: Arc<dyn Clock>) -> Self {
        Self { shared, clock, last: ArcSwapOption::empty(), turn: Mutex::default() }
    }

    /// What was frozen less than a second ago.
    pub async fn known(&self) -> Result<Arc<Freezes>, FreezesUnknown> {
        let now = self.clock.elapsed();
        let fresh = |reading: &Reading| reading.began + FRESH > now;
        if let Some(freezes) = self.last_good(fresh) {
            return Ok(freezes);
        }
        let _turn = self.turn.lock().await;
        // Whoever waited for a reading that failed does not wait for one more: a database that is away would be asked once
        // for each of them, one after the other.
        match self.last.load_full() {
            Some(reading) if reading.began >= now || fresh(&reading) && reading.seen.is_ok() => reading.seen.clone(),
            Some(_) | None => self.ask().await,
        }
    }

    /// What is frozen, in a reading that begins now.
    pub async fn read(&self) -> Result<Arc<Freezes>, FreezesUnknown> {
        let now = self.clock.elapsed();
        let _turn = self.turn.lock().await;
        match self.last.load_full() {
            Some(reading) if reading.began > now => reading.seen.clone(),
            Some(_) | None => self.ask().await,
        }
    }

    fn last_good(&self, good: impl Fn(&Reading) -> bool) -> Option<Arc<Freezes>> {
        let last = self.last.load();
        let reading = last.as_ref().filter(|reading| good(reading))?;
        reading.seen.as_ref().ok().map(Arc::clone)
    }

    async fn ask(&self) -> Result<Arc<Freezes>, FreezesUnknown> {
        let began = self.clock.elapsed();
        let seen = match self.shared.freezes().await {
            Ok(freezes) => Ok(Arc::new(freezes)),
            Err(error) => {
                tracing::warn!(%error, "it cannot be read what is frozen: nothing is handed out until it can");
                Err(FreezesUnknown)
            }
        };
        self.last.store(Some(Arc::new(Reading { began, seen: seen.clone() })));
        seen
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex as StdMutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use futures::future::join_all;
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::audit::StoreError;
    use crate::desk::{AllLeasesOut, LeasesOut};
    use crate::lease::{Freeze, FreezeId, Frozen, LeaseId};

    /// Answers what a test scripted, the last for ever, each after a while.
    #[derive(Debug, Default)]
    pub(crate) struct Scripted {
        pub(crate) freezes: StdMutex<VecDeque<Option<Freezes>>>,
        pub(crate) revoked: StdMutex<Vec<LeaseId>>,
        pub(crate) since: StdMutex<Vec<OffsetDateTime>>,
        pub(crate) asked: AtomicUsize,
        pub(crate) took: Duration,
        /// Leases that are out until ten minutes after the epoch: id, subject, role.
        pub(crate) leases: StdMutex<Vec<(LeaseId, String, String)>>,
        pub(crate) uncountable: bool,
    }

    impl Scripted {
        fn counted(&self, meant: impl Fn(&str, &str) -> bool, but: &[LeaseId]) -> Result<LeasesOut, StoreError> {
            if self.uncountable {
                return Err(StoreError::Unavailable("scripted".into()));
            }
            let leases = self.leases.lock().unwrap();
            let out = leases.iter().filter(|(id, subject, role)| !but.contains(id) && meant(subject, role)).count();
            let first_end = Some(OffsetDateTime::UNIX_EPOCH + Duration::from_mins(10));
            Ok(LeasesOut { count: u64::try_from(out).unwrap(), first_end })
        }
    }

    #[async_trait]
    impl SharedState for Scripted {
        async fn freezes(&self) -> Result<Freezes, StoreError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.took).await;
            let mut freezes = self.freezes.lock().unwrap();
            let next = if freezes.len() > 1 { freezes.pop_front().unwrap() } else { freezes[0].clone() };
            next.ok_or_else(|| StoreError::Unavailable("scripted".into()))
        }

        async fn revoked_since(&self, since: OffsetDateTime) -> Result<Vec<LeaseId>, StoreError> {
            self.since.lock().unwrap().push(since);
            Ok(self.revoked.lock().unwrap().clone())
        }

        async fn out_of(
            &self,
            _issuer: &str,
            subject: &str,
            _at: OffsetDateTime,
            but: &[LeaseId],
        ) -> Result<LeasesOut, StoreError> {
            self.counted(|whose, _| whose == subject, but)
        }

        async fn out(&self, _at: OffsetDateTime, but: &[LeaseId]) -> Result<AllLeasesOut, StoreError> {
            let roles: Vec<String> = self.leases.lock().unwrap().iter().map(|(_, _, role)| role.clone()).collect();
            let by_role =
                roles.into_iter().map(|role| Ok((role.clone(), self.counted(|_, under| under == role, but)?)));
            Ok(AllLeasesOut {
                all: self.counted(|_, _| true, but)?,
                by_role: by_role.collect::<Result<_, StoreError>>()?,
            })
        }
    }

    pub(crate) fn everything() -> Freezes {
        Freezes::new(vec![Freeze {
            id: FreezeId::from_uuid(Uuid::nil()),
            frozen: Frozen::Everything,
            set_at: OffsetDateTime::UNIX_EPOCH,
            actor: "os:root".to_owned(),
            why: None,
        }])
    }

    /// Follows the paused time of the runtime.
    #[derive(Debug)]
    pub(crate) struct PausedClock(tokio::time::Instant);

    impl PausedClock {
        #[expect(clippy::disallowed_methods, reason = "the paused time of a test's runtime")]
        pub(crate) fn start() -> Self {
            Self(tokio::time::Instant::now())
        }
    }

    impl Clock for PausedClock {
        fn now(&self) -> OffsetDateTime {
            OffsetDateTime::UNIX_EPOCH + self.elapsed()
        }

        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
    }

    fn watch(freezes: Vec<Option<Freezes>>, took: Duration) -> (FreezeWatch, Arc<Scripted>) {
        let scripted = Arc::new(Scripted { freezes: StdMutex::new(freezes.into()), took, ..Scripted::default() });
        (FreezeWatch::new(scripted.clone(), Arc::new(PausedClock::start())), scripted)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_serves_for_a_second_and_no_longer() {
        let (watch, scripted) = watch(vec![Some(Freezes::default()), Some(everything())], Duration::ZERO);
        assert!(watch.known().await.unwrap().is_empty());
        tokio::time::sleep(Duration::from_millis(999)).await;
        assert!(watch.known().await.unwrap().is_empty());
        assert_eq!(scripted.asked.load(Ordering::SeqCst), 1);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(*watch.known().await.unwrap(), everything());
    }

    #[tokio::test(start_paused = true)]
    async fn the_age_of_a_reading_counts_from_its_beginning() {
        let (watch, scripted) = watch(vec![Some(Freezes::default())], Duration::from_millis(800));
        watch.known().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        watch.known().await.unwrap();
        assert_eq!(scripted.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_refuses_at_once_however_many_wait() {
        let (watch, scripted) = watch(vec![None], Duration::from_secs(2));
        let seen = join_all((0..100).map(|_| watch.known())).await;
        assert!(seen.iter().all(Result::is_err));
        assert!(watch.clock.elapsed() <= Duration::from_secs(4), "{:?}", watch.clock.elapsed());
        assert!(scripted.asked.load(Ordering::SeqCst) <= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_not_remembered_as_nothing_frozen() {
        let (watch, _scripted) = watch(vec![Some(Freezes::default()), None, Some(everything())], Duration::ZERO);
        assert!(watch.known().await.is_ok());
        tokio::time::sleep(FRESH).await;
        assert_eq!(watch.known().await, Err(FreezesUnknown));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(*watch.known().await.unwrap(), everything(), "asked again at once");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_told_reads_anew_however_fresh_the_last_reading_is() {
        let (watch, _scripted) = watch(vec![Some(Freezes::default()), Some(everything())], Duration::ZERO);
        assert!(watch.known().await.unwrap().is_empty());
        assert_eq!(*watch.read().await.unwrap(), everything());
        assert_eq!(*watch.known().await.unwrap(), everything());
    }
}
