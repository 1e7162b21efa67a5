//! What the next hour will ask for, counted from the log once a minute: for the metrics, and for the draws of new leases, which
//! otherwise knew only what this process issued.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::audit::question::Questions;
use crate::clock::Clock;
use crate::lease::{Forecast, LeaseRules, RefreshLoad, Smoothing};
use crate::telemetry::{Expected, Metrics};

/// Between two countings: what other instances issued is known that late.
const EVERY: Duration = Duration::from_mins(1);

/// Counts, as long as the service runs.
#[derive(Debug)]
pub(super) struct Forecaster {
    pub(super) questions: Arc<dyn Questions>,
    pub(super) rules: LeaseRules,
    pub(super) smoothing: Option<Arc<Smoothing>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Forecaster {
    pub(super) async fn run(self, stop: CancellationToken) {
        let counting = async {
            loop {
                self.count().await;
                sleep(EVERY).await;
            }
        };
        stop.run_until_cancelled(counting).await;
    }

    async fn count(&self) {
        let now = self.clock.now();
        if let Some(smoothing) = &self.smoothing {
            smoothing.ask(now);
        }
        let counts = match self.questions.open_counts(now).await {
            Ok(counts) => counts,
            // What was counted last stands, and its time with it. That the database is down the log tells, once.
            Err(error) => return tracing::debug!(%error, "the open leases cannot be counted now"),
        };
        let (grace, jitter) = (self.rules.grace, self.rules.jitter);
        let forecast = Forecast::of(&counts, grace, jitter, now);
        let within = [5, 15, 60].map(|minutes| forecast.within(minutes));
        self.metrics.expected(Expected { within, peak_per_second: forecast.peak_per_second }, now);
        if let Some(smoothing) = &self.smoothing {
            smoothing.learn(RefreshLoad::of(&counts, grace, now));
        }
    }
}
