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

use super::alert::{Alert, AlertKind};
use super::alerts::Alerts;
use crate::audit::{AuditError, StreamHead};
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
    /// Where the journal stands.
    pub journal_head: Option<StreamHead>,
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

    /// Puts it on record, once: the next [`Duties::owed`] says that it is told.
    async fn record(&self, overdue: &Overdue) -> Result<(), AuditError>;
}

/// Looks, as long as the service runs.
#[derive(Debug)]
pub struct OverdueWatch {
    duties: Arc<dyn Duties>,
    alerts: Arc<Alerts>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    warnings: Mutex<Vec<&'static str>>,
}

impl OverdueWatch {
    /// Warns of nothing before its first look.
    #[must_use]
    pub fn new(duties: Arc<dyn Duties>, alerts: Arc<Alerts>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { duties, alerts, clock, metrics, warnings: Mutex::default() }
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
            match self.duties.record(&overdue).await {
                Ok(()) => self.alerts.raise(alert(&overdue, owed.journal_head)),
                // Not said before it is on record: the next look tries again, and nobody is paged every half minute.
                Err(error) => tracing::warn!(%error, "what is overdue could not be put on record yet"),
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

fn alert(overdue: &Overdue, journal_head: Option<StreamHead>) -> Alert {
    match overdue {
        Overdue::Review(review) => Alert {
            incident: Some(review.incident.clone()),
            nonce: Some(review.nonce),
            role: Some(review.role.clone()),
            requester: Some(review.requester.clone()),
            journal_head,
            ..Alert::of(AlertKind::ReviewOverdue)
        },
        Overdue::Drill(last) => Alert {
            reason: Some(match last {
                LastDrill::Unknown | LastDrill::Never => "no drill is on record".to_owned(),
                LastDrill::At(at) => format!("the last drill was on {}", at.date()),
            }),
            journal_head,
            ..Alert::of(AlertKind::DrillOverdue)
        },
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use time::macros::datetime;

    use super::super::alerts::AlertParts;
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
            journal_head: None,
        }
    }

    fn watch(owed: Owed, terms: Option<Terms>, closed: bool) -> (OverdueWatch, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        let clock: Arc<dyn Clock> = Arc::new(Noon);
        let alerts = Alerts::new(AlertParts {
            sink: None,
            instance: None,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            rng: StdRng::seed_from_u64(1),
        });
        let books = Books { terms, owed: Mutex::new(owed), closed };
        (OverdueWatch::new(Arc::new(books), Arc::new(alerts), clock, Arc::clone(&metrics)), metrics)
    }

    fn told(metrics: &Metrics, event: &str) -> usize {
        let line = format!("stint_break_glass_total{{event=\"{event}\"}} ");
        metrics.encode().lines().find_map(|l| l.strip_prefix(&line)).map_or(0, |number| number.parse().unwrap())
    }

    #[tokio::test]
    async fn a_review_and_a_drill_are_late_after_their_time_and_not_at_it() {
        let mut owed = owed();
        owed.reviews = vec![review(1, NOW - TERMS.review_within)];
        let (on_time, _) = watch(owed.clone(), Some(TERMS), false);
        on_time.look().await;
        assert!(on_time.warnings().is_empty(), "{:?}", on_time.warnings());

        owed.reviews = vec![review(1, NOW - TERMS.review_within - time::Duration::SECOND)];
        owed.last_drill = LastDrill::At(NOW - TERMS.drill_every - time::Duration::SECOND);
        let (late, metrics) = watch(owed, Some(TERMS), false);
        late.look().await;
        assert_eq!(late.warnings(), ["break_glass_drill", "break_glass_review"]);
        assert_eq!((told(&metrics, "review_overdue"), told(&metrics, "drill_overdue")), (1, 1));
    }

    #[tokio::test]
    async fn what_is_late_is_told_once_and_shown_for_as_long_as_it_is() {
        let mut owed = owed();
        owed.reviews = vec![review(1, NOW - TERMS.review_within - HOUR), review(2, NOW)];
        let (watch, metrics) = watch(owed, Some(TERMS), false);
        for _ in 0..3 {
            watch.look().await;
            assert_eq!(watch.warnings(), ["break_glass_review"]);
        }
        assert_eq!(told(&metrics, "review_overdue"), 1);
        let text = metrics.encode();
        assert!(text.contains("stint_break_glass_reviews_open 2\n"), "{text}");
        assert!(text.contains("stint_break_glass_reviews_overdue 1\n"), "{text}");
    }

    #[tokio::test]
    async fn nobody_is_told_before_it_is_on_record_and_readiness_warns_all_the_same() {
        let mut owed = owed();
        owed.last_drill = LastDrill::Never;
        let (watch, metrics) = watch(owed, Some(TERMS), true);
        watch.look().await;
        watch.look().await;
        assert_eq!(told(&metrics, "drill_overdue"), 0);
        assert_eq!(watch.warnings(), ["break_glass_drill"]);
    }

    #[tokio::test]
    async fn a_drill_that_another_instance_may_have_had_is_not_missed() {
        for (last_drill, warnings) in [(LastDrill::Unknown, &[][..]), (LastDrill::Never, &["break_glass_drill"][..])] {
            let (watch, _) = watch(Owed { last_drill, ..owed() }, Some(TERMS), false);
            watch.look().await;
            assert_eq!(watch.warnings(), warnings);
        }
    }

    #[tokio::test]
    async fn a_journal_that_waits_is_shown_until_it_is_merged() {
        let (watch, metrics) = watch(Owed { journal_waits: true, ..owed() }, Some(TERMS), false);
        watch.look().await;
        assert_eq!(watch.warnings(), ["break_glass_journal"]);
        assert!(metrics.encode().contains("stint_break_glass_journal_unmerged 1\n"));
    }

    #[tokio::test]
    async fn without_a_break_glass_policy_nothing_is_owed() {
        let (watch, _) = watch(Owed { last_drill: LastDrill::Never, ..owed() }, None, false);
        watch.look().await;
        assert!(watch.warnings().is_empty());
    }
}
