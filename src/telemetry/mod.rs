//! Logs, traces and metrics. It never sees a secret: callers hand it codes, ids and durations, and libraries that might
//! show a request are kept quiet.

mod break_glass;
mod logs;
mod metrics;
mod otlp;
mod step;

pub use logs::{LogFormat, TelemetryError, TelemetryGuard, TelemetrySettings, init};
pub use metrics::{Compared, Expected, InFlight, Metrics};
pub use step::Step;

/// Held beside a test's own subscriber, and made before it. While a process has only one, tracing asks the thread that
/// meets a call site first, and a thread of another test, which has none, switches that call site off for everybody: what
/// the test listens for would not be said, and what it must not hear would not be heard.
#[cfg(test)]
pub(crate) fn second_subscriber() -> tracing::Dispatch {
    tracing::Dispatch::new(tracing_subscriber::registry())
}
