//! Logs, traces and metrics. It never sees a secret: callers hand it codes, ids and durations, and libraries that might
//! show a request are kept quiet.

mod logs;
mod metrics;
mod otlp;
mod step;

pub use logs::{LogFormat, TelemetryError, TelemetryGuard, TelemetrySettings, init};
pub use metrics::{InFlight, Metrics};
pub use step::Step;
