//! What is owed and late: the review of a use, the next drill, a journal that waits to be merged. Each is said once, as an
//! event and an alert, and shown by readiness and the metrics for as long as it lasts.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::audit::AuditError;
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(30);

/// The times the policy in force sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// `review_within`
    pub review_within: Duration,
    /// `drill_every`
    pub drill_every: Duration,
}

/// A use whose review is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReview {
    /// The use.
    pub nonce: Uuid,
    /// Its incident.
    pub incident: String,
    /// Its role.
    pub role: String,
    /// Who asked for it.
    pub requester: String,
    /// When the review was opened.
    pub opened_at: OffsetDateTime,
    /// Whether `break_glass.review_overdue` is on record for it.
    pub told: bool,
}

/// What is known of drills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastDrill {
    /// The log cannot be asked, and the journal here has none: another instance may have had one.
    Unknown,
    /// There has never been one, so nobody knows whether the glass breaks.
    Never,
    /// When it ended well.
    At(OffsetDateTime),
}

/// What the records say is owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Uses whose review is open.
    pub reviews: Vec<OpenReview>,
    /// The last drill that passed.
    pub last_drill: LastDrill,
    /// Whether `break_glass.drill_overdue` is on record since that drill.
    pub drill_told: bool,
    /// Whether the journal holds events that PostgreSQL has not.
    pub journal_waits: bool,
}

/// One thing that has become late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overdue {
    /// The review of a use.
    Review(OpenReview),
    /// The drill.
    Drill(LastDrill),
}

/// Knows what is owed, and puts on record what is late.
///
/// An implementor MUST answer from the journal here and, where it answers, from the log: what another instance used and
/// reviewed counts.
#[async_trait]
pub trait Duties: fmt::Debug + Send + Sync {
    /// The times in force; none while there is no break-glass policy.
    fn terms(&self) -> Option<Terms>;

    /// What is owed now.
    async fn owed(&self) -> Owed;

    /// Puts it on record and tells people, once: the next [`Duties::owed`] says that it is told.
    async fn record(&self, overdue: &Overdue) -> Result<(), AuditError>;
}

/// Looks, as long as the service runs.
#[derive(Debug)]
pub struct OverdueWatch {
    duties: Arc<dyn Duties>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    warnings: Mutex<Vec<&'static str>>,
}

impl OverdueWatch {
    /// Warns of nothing before its first look.
    #[must_use]
    pub fn new(duties: Arc<dyn Duties>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { duties, clock, metrics, warnings: Mutex::default() }
    }

    /// Looks every half minute until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let looking = async {
            loop {
                self.look().await;
                sleep(EVERY).await;
            }
        };
        stop.run_until_cancelled(looking).await;
    }

    /// Names of readiness checks that say no, by the last look: `break_glass_drill`, `break_glass_review`,
    /// `break_glass_journal`. Never essential: an exchange succeeds all the same.
    #[must_use]
    pub fn warnings(&self) -> Vec<&'static str> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One look.
    pub async fn look(&self) {
        let Some(terms) = self.duties.terms() else {
            self.show(&Late::default(), 0, false);
            return;
        };
        let owed = self.duties.owed().await;
        let late = Late::of(&owed, terms, self.clock.now());
        self.show(&late, owed.reviews.len(), owed.journal_waits);
        for overdue in late.untold(&owed) {
            if let Err(error) = self.duties.record(&overdue).await {
                // Not told before it is on record: the next look tries again, and nobody is paged every half minute.
                tracing::warn!(%error, "what is overdue could not be put on record yet");
            }
        }
    }

    fn show(&self, late: &Late, open_reviews: usize, journal_waits: bool) {
        self.metrics.break_glass_owed(open_reviews, late.reviews.len(), late.drill, journal_waits);
        let shown = [
            ("break_glass_drill", late.drill),
            ("break_glass_review", !late.reviews.is_empty()),
            ("break_glass_journal", journal_waits),
        ];
        *self.warnings.lock().unwrap_or_else(PoisonError::into_inner) =
            shown.into_iter().filter(|(_, warns)| *warns).map(|(name, _)| name).collect();
    }
}

/// What is late: pure.
#[derive(Debug, Default, PartialEq, Eq)]
struct Late {
    reviews: Vec<OpenReview>,
    drill: bool,
}

impl Late {
    fn of(owed: &Owed, terms: Terms, now: OffsetDateTime) -> Self {
        let late = |since: OffsetDateTime, within: Duration| now - since > within;
        let reviews = owed.reviews.iter().filter(|review| late(review.opened_at, terms.review_within));
        let drill = match owed.last_drill {
            LastDrill::Unknown => false,
            LastDrill::Never => true,
            LastDrill::At(at) => late(at, terms.drill_every),
        };
        Self { reviews: reviews.cloned().collect(), drill }
    }

    fn untold(&self, owed: &Owed) -> Vec<Overdue> {
        let reviews = self.reviews.iter().filter(|review| !review.told).cloned().map(Overdue::Review);
        let drill = (self.drill && !owed.drill_told).then_some(Overdue::Drill(owed.last_drill));
        reviews.chain(drill).collect()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-22 14:00 UTC);
    const HOUR: Duration = Duration::from_hours(1);
    const TERMS: Terms = Terms { review_within: Duration::from_hours(72), drill_every: Duration::from_hours(90 * 24) };

    #[derive(Debug)]
    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> OffsetDateTime {
            NOW
        }

        fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// Duties that remember what was put on record, or cannot.
    #[derive(Debug)]
    struct Books {
        terms: Option<Terms>,
        owed: Mutex<Owed>,
        told: Mutex<Vec<Overdue>>,
        closed: bool,
    }

    #[async_trait]
    impl Duties for Books {
        fn terms(&self) -> Option<Terms> {
            self.terms
        }

        async fn owed(&self) -> Owed {
            self.owed.lock().unwrap().clone()
        }

        async fn record(&self, overdue: &Overdue) -> Result<(), AuditError> {
            if self.closed {
                return Err(AuditError::Unavailable);
            }
            self.told.lock().unwrap().push(overdue.clone());
            let mut owed = self.owed.lock().unwrap();
            match overdue {
                Overdue::Review(late) => {
                    owed.reviews.iter_mut().filter(|review| review.nonce == late.nonce).for_each(|r| r.told = true);
                }
                Overdue::Drill(_) => owed.drill_told = true,
            }
            Ok(())
        }
    }

    fn review(n: u128, opened_at: OffsetDateTime) -> OpenReview {
        OpenReview {
            nonce: Uuid::from_u128(n),
            incident: format!("INC-{n}"),
            role: "emergency-read".to_owned(),
            requester: "alice".to_owned(),
            opened_at,
            told: false,
        }
    }

    fn owed() -> Owed {
        Owed {
            reviews: Vec::new(),
            last_drill: LastDrill::At(NOW - TERMS.drill_every),
            drill_told: false,
            journal_waits: false,
        }
    }

    struct Bench {
        watch: OverdueWatch,
        books: Arc<Books>,
        metrics: Arc<Metrics>,
    }

    impl Bench {
        fn told(&self) -> Vec<&'static str> {
            let told = self.books.told.lock().unwrap();
            told.iter().map(|overdue| if matches!(overdue, Overdue::Review(_)) { "review" } else { "drill" }).collect()
        }
    }

    fn bench(owed: Owed, terms: Option<Terms>, closed: bool) -> Bench {
        let metrics = Arc::new(Metrics::default());
        let books = Arc::new(Books { terms, owed: Mutex::new(owed), told: Mutex::default(), closed });
        let watch = OverdueWatch::new(books.clone(), Arc::new(Noon), Arc::clone(&metrics));
        Bench { watch, books, metrics }
    }

    #[tokio::test]
    async fn a_review_and_a_drill_are_late_after_their_time_and_not_at_it() {
        let mut owed = owed();
        owed.reviews = vec![review(1, NOW - TERMS.review_within)];
        let on_time = bench(owed.clone(), Some(TERMS), false);
        on_time.watch.look().await;
        assert!(on_time.watch.warnings().is_empty(), "{:?}", on_time.watch.warnings());

        owed.reviews = vec![review(1, NOW - TERMS.review_within - time::Duration::SECOND)];
        owed.last_drill = LastDrill::At(NOW - TERMS.drill_every - time::Duration::SECOND);
        let late = bench(owed, Some(TERMS), false);
        late.watch.look().await;
        assert_eq!(late.watch.warnings(), ["break_glass_drill", "break_glass_review"]);
        assert_eq!(late.told(), ["review", "drill"]);
    }

    #[tokio::test]
    async fn what_is_late_is_told_once_and_shown_for_as_long_as_it_is() {
        let mut owed = owed();
        owed.reviews = vec![review(1, NOW - TERMS.review_within - HOUR), review(2, NOW)];
        let bench = bench(owed, Some(TERMS), false);
        for _ in 0..3 {
            bench.watch.look().await;
            assert_eq!(bench.watch.warnings(), ["break_glass_review"]);
        }
        assert_eq!(bench.told(), ["review"]);
        let text = bench.metrics.encode();
        assert!(text.contains("stint_break_glass_reviews_open 2\n"), "{text}");
        assert!(text.contains("stint_break_glass_reviews_overdue 1\n"), "{text}");
    }

    #[tokio::test]
    async fn nobody_is_told_before_it_is_on_record_and_readiness_warns_all_the_same() {
        let mut owed = owed();
        owed.last_drill = LastDrill::Never;
        let bench = bench(owed, Some(TERMS), true);
        bench.watch.look().await;
        bench.watch.look().await;
        assert_eq!(bench.told(), [""; 0]);
        assert_eq!(bench.watch.warnings(), ["break_glass_drill"]);
    }

    #[tokio::test]
    async fn a_drill_that_another_instance_may_have_had_is_not_missed() {
        for (last_drill, warnings) in [(LastDrill::Unknown, &[][..]), (LastDrill::Never, &["break_glass_drill"][..])] {
            let bench = bench(Owed { last_drill, ..owed() }, Some(TERMS), false);
            bench.watch.look().await;
            assert_eq!(bench.watch.warnings(), warnings);
        }
    }

    #[tokio::test]
    async fn a_journal_that_waits_is_shown_until_it_is_merged() {
        let bench = bench(Owed { journal_waits: true, ..owed() }, Some(TERMS), false);
        bench.watch.look().await;
        assert_eq!(bench.watch.warnings(), ["break_glass_journal"]);
        assert!(bench.metrics.encode().contains("stint_break_glass_journal_unmerged 1\n"));
        bench.books.owed.lock().unwrap().journal_waits = false;
        bench.watch.look().await;
        assert!(bench.watch.warnings().is_empty());
    }

    #[tokio::test]
    async fn without_a_break_glass_policy_nothing_is_owed() {
        let bench = bench(Owed { last_drill: LastDrill::Never, ..owed() }, None, false);
        bench.watch.look().await;
        assert!(bench.watch.warnings().is_empty());
    }
}
