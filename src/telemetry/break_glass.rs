//! The counters and gauges of emergencies: what happened, what is owed, whether the alerts of it arrive, and whether what
//! an emergency is about answers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbedLabels {
    probed: &'static str,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct BreakGlassMetrics {
    events: Family<EventLabels, Counter>,
    alerts: Family<OutcomeLabels, Counter>,
    answers: Family<ProbedLabels, Gauge>,
    reviews_open: Gauge,
    reviews_overdue: Gauge,
    drill_overdue: Gauge,
    journal_unmerged: Gauge,
}

impl BreakGlassMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("stint_break_glass", "What happened about emergencies, by event", self.events.clone());
        registry.register(
            "stint_break_glass_alerts",
            "Alerts on their way to the webhook, by outcome of an attempt",
            self.alerts.clone(),
        );
        registry.register(
            "stint_break_glass_probe_answered",
            "1 if what an emergency is about answered the last probe",
            self.answers.clone(),
        );
        for (name, help, gauge) in [
            ("stint_break_glass_reviews_open", "Uses whose review is open", &self.reviews_open),
            ("stint_break_glass_reviews_overdue", "Those open for longer than review_within", &self.reviews_overdue),
            ("stint_break_glass_drill_overdue", "1 if the last drill is too long ago", &self.drill_overdue),
            (
                "stint_break_glass_journal_unmerged",
                "1 while the journal on disk holds events that PostgreSQL has not",
                &self.journal_unmerged,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }
}

impl Metrics {
    /// One event about an emergency.
    pub fn break_glass(&self, event: &'static str) {
        self.emergencies.events.get_or_create(&EventLabels { event }).inc();
    }

    /// One attempt to deliver an alert: `delivered`, `retried`, `failed` (given up) or `dropped` (crowded out).
    pub fn alert_sent(&self, outcome: &'static str) {
        self.emergencies.alerts.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// `issuer` or `log` answered its last probe, or did not.
    pub fn probe_answered(&self, probed: &'static str, answered: bool) {
        self.emergencies.answers.get_or_create(&ProbedLabels { probed }).set(i64::from(answered));
    }

    /// What is owed after emergencies, and what of it is late.
    pub fn break_glass_owed(&self, reviews: usize, overdue: usize, drill_overdue: bool, journal_unmerged: bool) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.emergencies.reviews_open.set(count(reviews));
        self.emergencies.reviews_overdue.set(count(overdue));
        self.emergencies.drill_overdue.set(i64::from(drill_overdue));
        self.emergencies.journal_unmerged.set(i64::from(journal_unmerged));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emergencies_are_counted_and_what_is_owed_is_shown() {
        let metrics = Metrics::default();
        metrics.break_glass("granted");
        metrics.alert_sent("delivered");
        metrics.probe_answered("issuer", false);
        metrics.break_glass_owed(2, 1, true, false);
        let text = metrics.encode();
        for line in [
            r#"stint_break_glass_total{event="granted"} 1"#,
            r#"stint_break_glass_alerts_total{outcome="delivered"} 1"#,
            r#"stint_break_glass_probe_answered{probed="issuer"} 0"#,
            "stint_break_glass_reviews_open 2",
            "stint_break_glass_reviews_overdue 1",
            "stint_break_glass_drill_overdue 1",
            "stint_break_glass_journal_unmerged 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
