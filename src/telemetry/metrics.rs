//! Counters and histograms of one service, in a registry of its own. Every label value is a constant of this program:
//! nothing a caller sends can make a new series.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use time::OffsetDateTime;

use super::Step;
use super::break_glass::BreakGlassMetrics;
use crate::audit::{Abandonment, Door, LogMeter, LogStats, OrphanFate, Orphanhood};

/// From a decision in memory to the longest deadline, seconds.
const STEP_BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];
/// Of a whole request, seconds; SDKs for JavaScript give up after one.
const REQUEST_BUCKETS: [f64; 11] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExchangeLabels {
    door: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AbandonmentLabels {
    reason: &'static str,
}

/// The role's name is the policy set's, never a caller's choice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SelfTestLabels {
    role: String,
    check: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabels {
    role: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OrphanLabels {
    reason: &'static str,
    fate: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WithinLabels {
    within: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: u16,
}

/// Counters and histograms of one service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The log whose commits are counted.
    log: Arc<ArcSwapOption<LogMeter>>,
    exchanges: Family<ExchangeLabels, Counter>,
    steps: Histograms<StepLabels>,
    requests: Histograms<RequestLabels>,
    in_flight: Gauge,
    abandoned: Family<AbandonmentLabels, Counter>,
    lone_intents: Gauge,
    lone_intents_overdue: Gauge,
    orphans_told: Family<OrphanLabels, Counter>,
    compared: ComparedGauges,
    self_test_failures: Family<SelfTestLabels, Counter>,
    roles_closed: Family<RoleLabels, Gauge>,
    freezes: Gauge,
    leases_held: Gauge,
    expected: ExpectedGauges,
    pub(super) emergencies: BreakGlassMetrics,
}

/// What the next hour is expected to ask for, as far as open leases tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// Leases within 5, 15 and 60 minutes.
    pub within: [f64; 3],
    /// The highest rate, per second.
    pub peak_per_second: f64,
}

type Float = Gauge<f64, AtomicU64>;

#[derive(Debug, Default)]
struct ExpectedGauges {
    within: Family<WithinLabels, Float>,
    peak: Float,
    at: Gauge,
    over_cap: Counter,
}

impl ExpectedGauges {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "stint_refreshes_expected",
            "Leases that holders of open ones are expected to ask for, within so long",
            self.within.clone(),
        );
        registry.register(
            "stint_refreshes_expected_peak_per_second",
            "The highest rate of them in the next hour",
            self.peak.clone(),
        );
        registry.register_with_unit(
            "stint_refreshes_forecast_timestamp",
            "When that was last counted",
            Unit::Seconds,
            self.at.clone(),
        );
        registry.register(
            "stint_leases_over_cap",
            "Leases whose refresh could be drawn to no time that keeps lease.mints_per_second",
            self.over_cap.clone(),
        );
    }
}

/// What the last comparison of the object server's list with the log saw.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compared {
    /// Live temporary credentials at the server.
    pub credentials: usize,
    /// Open leases on record.
    pub open_leases: usize,
    /// Out of place, perhaps only for that moment.
    pub in_doubt: usize,
    /// Credentials without an open lease that still live.
    pub orphans: usize,
    /// Open leases without a credential.
    pub missing: usize,
}

#[derive(Debug, Default)]
struct ComparedGauges {
    credentials: Gauge,
    open_leases: Gauge,
    in_doubt: Gauge,
    orphans: Gauge,
    missing: Gauge,
    at: Gauge,
}

impl ComparedGauges {
    fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            ("stint_listed_credentials", "Live temporary credentials that the object server listed", &self.credentials),
            ("stint_listed_open_leases", "Open leases on record when it did", &self.open_leases),
            (
                "stint_listed_in_doubt",
                "Credentials and leases out of place, perhaps for that moment only",
                &self.in_doubt,
            ),
            ("stint_orphans", "Credentials at the object server without an open lease", &self.orphans),
            ("stint_missing_credentials", "Open leases without a credential at the object server", &self.missing),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register_with_unit(
            "stint_listed_timestamp",
            "When the object server's list was last compared with the log",
            Unit::Seconds,
            self.at.clone(),
        );
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let exchanges = Family::default();
        let steps: Histograms<StepLabels> = Family::new_with_constructor(|| Histogram::new(STEP_BUCKETS));
        let requests: Histograms<RequestLabels> = Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS));
        let in_flight = Gauge::default();
        let abandoned = Family::default();
        let lone_intents = Gauge::default();
        let lone_intents_overdue = Gauge::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let mut registry = Registry::default();
        registry.register("stint_exchanges", "Exchanges by door, outcome and reason", exchanges.clone());
        registry.register_with_unit(
            "stint_step_duration",
            "How long the steps of exchanges took",
            Unit::Seconds,
            steps.clone(),
        );
        registry.register_with_unit(
            "stint_http_request_duration",
            "How long requests took, by matched route and status",
            Unit::Seconds,
            requests.clone(),
        );
        registry.register("stint_http_requests_in_flight", "Requests being answered", in_flight.clone());
        registry.register(
            "stint_leases_abandoned",
            "Leases that nobody was handed, by what became of them",
            abandoned.clone(),
        );
        registry.register(
            "stint_lone_intents",
            "Intents without a fate that the reconciler saw at its last pass, those of exchanges under way among them",
            lone_intents.clone(),
        );
        registry.register(
            "stint_lone_intents_overdue",
            "Those among them on which no exchange works any more, and which could not be closed yet",
            lone_intents_overdue.clone(),
        );
        let orphans_told = Family::default();
        registry.register(
            "stint_orphans_told",
            "Events that told of a credential without an open lease, by why and by what was done",
            orphans_told.clone(),
        );
        let compared = ComparedGauges::default();
        compared.register(&mut registry);
        let self_test_failures = Family::default();
        let roles_closed = Family::default();
        registry.register(
            "stint_self_test_failures",
            "Credentials that failed their self-test and were not handed out, by role and check",
            self_test_failures.clone(),
        );
        registry.register(
            "stint_role_closed",
            "1 while nothing is granted under a role because of a self-test",
            roles_closed.clone(),
        );
        let freezes = Gauge::default();
        registry.register("stint_freezes", "Freezes in force at the last reading", freezes.clone());
        let leases_held = Gauge::default();
        registry.register(
            "stint_leases_held",
            "Leases whose credentials were in memory when the last one was minted",
            leases_held.clone(),
        );
        let expected = ExpectedGauges::default();
        expected.register(&mut registry);
        let emergencies = BreakGlassMetrics::default();
        emergencies.register(&mut registry);
        registry.register("stint_build", "What is running", build);
        let log: Arc<ArcSwapOption<LogMeter>> = Arc::default();
        registry.register_collector(Box::new(LogCollector(Arc::clone(&log))));
        Self {
            registry,
            log,
            exchanges,
            steps,
            requests,
            in_flight,
            abandoned,
            lone_intents,
            lone_intents_overdue,
            orphans_told,
            compared,
            self_test_failures,
            roles_closed,
            freezes,
            leases_held,
            expected,
            emergencies,
        }
    }
}

/// The log's own counters, read at each scrape.
#[derive(Debug)]
struct LogCollector(Arc<ArcSwapOption<LogMeter>>);

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // None yet: the service came up without PostgreSQL.
        let Some(meter) = self.0.load_full() else { return Ok(()) };
        let LogStats { commits, events, failures } = meter.read();
        for (name, help, value) in [
            ("stint_log_commits", "Commits of the issuance log", commits),
            ("stint_log_events", "Events in those commits", events),
            ("stint_log_failures", "Writes to the log that failed, or whose fate was unknown at first", failures),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

impl Metrics {
    /// Counts the commits of this log, and no other's: events per commit are exchanges that shared one.
    pub fn watch_log(&self, meter: LogMeter) {
        self.log.store(Some(Arc::new(meter)));
    }

    /// One lease issued.
    pub fn issued(&self, door: Door) {
        self.count(door, "issued", "granted");
    }

    /// One lease handed out again.
    pub fn reused(&self, door: Door) {
        self.count(door, "reused", "granted");
    }

    /// So many leases are held in memory.
    pub fn leases_held(&self, leases: usize) {
        self.leases_held.set(i64::try_from(leases).unwrap_or(i64::MAX));
    }

    /// One exchange refused.
    pub fn refused(&self, door: Door, reason: &'static str) {
        self.count(door, "refused", reason);
    }

    /// One lease is on record as abandoned.
    pub fn abandoned(&self, how: Abandonment) {
        self.abandoned.get_or_create(&AbandonmentLabels { reason: how.as_str() }).inc();
    }

    /// So many intents stood alone at the reconciler's last pass, and so many of them are still to be closed.
    pub fn lone_intents(&self, seen: usize, overdue: usize) {
        self.lone_intents.set(i64::try_from(seen).unwrap_or(i64::MAX));
        self.lone_intents_overdue.set(i64::try_from(overdue).unwrap_or(i64::MAX));
    }

    /// One orphan is on record.
    pub fn orphan_told(&self, why: Orphanhood, fate: OrphanFate) {
        self.orphans_told.get_or_create(&OrphanLabels { reason: why.as_str(), fate: fate.as_str() }).inc();
    }

    /// The object server's list was compared with the log.
    pub fn compared(&self, seen: Compared, at: OffsetDateTime) {
        let Compared { credentials, open_leases, in_doubt, orphans, missing } = seen;
        for (gauge, number) in [
            (&self.compared.credentials, credentials),
            (&self.compared.open_leases, open_leases),
            (&self.compared.in_doubt, in_doubt),
            (&self.compared.orphans, orphans),
            (&self.compared.missing, missing),
        ] {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        self.compared.at.set(at.unix_timestamp());
    }

    /// Open leases were counted, and what their holders are expected to ask for.
    pub fn expected(&self, seen: Expected, at: OffsetDateTime) {
        for (within, expected) in ["5m", "15m", "60m"].into_iter().zip(seen.within) {
            self.expected.within.get_or_create(&WithinLabels { within }).set(expected);
        }
        self.expected.peak.set(seen.peak_per_second);
        self.expected.at.set(at.unix_timestamp());
    }

    /// One lease comes back when there is no room under the cap.
    pub fn over_cap(&self) {
        self.expected.over_cap.inc();
    }

    /// One credential of this role failed its self-test at this check.
    pub fn self_test_failed(&self, role: &str, check: &'static str) {
        self.self_test_failures.get_or_create(&SelfTestLabels { role: role.to_owned(), check }).inc();
    }

    /// A role was closed because of a self-test, or opened again.
    pub fn role_closed(&self, role: &str, closed: bool) {
        self.roles_closed.get_or_create(&RoleLabels { role: role.to_owned() }).set(i64::from(closed));
    }

    /// So many freezes were in force at the last reading.
    pub fn freezes(&self, in_force: usize) {
        self.freezes.set(i64::try_from(in_force).unwrap_or(i64::MAX));
    }

    fn count(&self, door: Door, outcome: &'static str, reason: &'static str) {
        self.exchanges.get_or_create(&ExchangeLabels { door: door.as_str(), outcome, reason }).inc();
    }

    /// One step took this long.
    pub fn step(&self, step: Step, took: Duration) {
        self.steps.get_or_create(&StepLabels { step: step.as_str() }).observe(took.as_secs_f64());
    }

    /// One request arrived; it is in flight until the guard is dropped, also when its caller hangs up.
    #[must_use]
    pub fn request_started(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// One request was answered. `route` is the matched route, never a path.
    pub fn request_finished(&self, route: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&RequestLabels { route, status }).observe(took.as_secs_f64());
    }

    /// All of it as `OpenMetrics` text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// A request being answered.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_counted_by_door_outcome_and_reason() {
        let metrics = Metrics::default();
        metrics.issued(Door::Sts);
        metrics.issued(Door::Sts);
        metrics.reused(Door::Sts);
        metrics.refused(Door::Leases, "no_role");
        let text = metrics.encode();
        for line in [
            r#"stint_exchanges_total{door="sts",outcome="issued",reason="granted"} 2"#,
            r#"stint_exchanges_total{door="sts",outcome="reused",reason="granted"} 1"#,
            r#"stint_exchanges_total{door="leases",outcome="refused",reason="no_role"} 1"#,
            concat!(r#"stint_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn abandoned_leases_are_counted_by_what_became_of_them() {
        let metrics = Metrics::default();
        metrics.abandoned(Abandonment::Revoked);
        metrics.lone_intents(3, 1);
        let text = metrics.encode();
        for line in [
            r#"stint_leases_abandoned_total{reason="revoked"} 1"#,
            "stint_lone_intents 3",
            "stint_lone_intents_overdue 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_comparison_shows_what_it_saw_and_when() {
        let metrics = Metrics::default();
        let seen = Compared { credentials: 5, open_leases: 4, in_doubt: 1, orphans: 2, missing: 3 };
        metrics.compared(seen, time::macros::datetime!(2026-11-22 12:00 UTC));
        metrics.orphan_told(Orphanhood::NoLease, OrphanFate::Reported);
        let text = metrics.encode();
        for line in [
            "stint_listed_credentials 5",
            "stint_listed_open_leases 4",
            "stint_listed_in_doubt 1",
            "stint_orphans 2",
            "stint_missing_credentials 3",
            "stint_listed_timestamp_seconds 1795348800",
            r#"stint_orphans_told_total{reason="no_lease",fate="reported"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_expected_is_shown_with_three_labels_and_no_more() {
        let metrics = Metrics::default();
        metrics.expected(
            Expected { within: [1.5, 20.0, 300.25], peak_per_second: 0.4 },
            time::macros::datetime!(2026-11-22 12:00 UTC),
        );
        metrics.over_cap();
        let text = metrics.encode();
        for line in [
            r#"stint_refreshes_expected{within="5m"} 1.5"#,
            r#"stint_refreshes_expected{within="15m"} 20.0"#,
            r#"stint_refreshes_expected{within="60m"} 300.25"#,
            "stint_refreshes_expected_peak_per_second 0.4",
            "stint_refreshes_forecast_timestamp_seconds 1795348800",
            "stint_leases_over_cap_total 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("stint_refreshes_expected{").count(), 3);
    }

    #[test]
    fn steps_are_timed_in_seconds() {
        let metrics = Metrics::default();
        metrics.step(Step::Mint, Duration::from_millis(20));
        let text = metrics.encode();
        assert!(text.contains(r#"stint_step_duration_seconds_bucket{le="0.025",step="mint"} 1"#), "{text}");
        assert!(text.contains(r#"stint_step_duration_seconds_bucket{le="0.01",step="mint"} 0"#), "{text}");
    }

    #[test]
    fn a_request_is_in_flight_until_its_guard_is_dropped() {
        let metrics = Metrics::default();
        let guard = metrics.request_started();
        assert!(metrics.encode().contains("stint_http_requests_in_flight 1\n"));
        drop(guard);
        assert!(metrics.encode().contains("stint_http_requests_in_flight 0\n"));
    }
}
