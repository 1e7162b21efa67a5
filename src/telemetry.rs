//! Logs, traces and metrics. It never sees a secret: callers hand it codes, ids and durations.

use std::time::Duration;

use crate::audit::Door;

/// The steps of an exchange, as spans and histograms name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Token verification, key fetches included.
    Verify,
    /// Policy.
    Decide,
    /// The intent commit.
    Intend,
    /// The object server.
    Mint,
    /// The outcome or refusal commit.
    Conclude,
}

impl Step {
    /// The span of this step.
    #[must_use]
    pub fn span(self) -> tracing::Span {
        match self {
            Self::Verify => tracing::info_span!("token.verify"),
            Self::Decide => tracing::info_span!("policy.decide"),
            Self::Intend => tracing::info_span!("audit.intend"),
            Self::Mint => tracing::info_span!("object_server.assume_role"),
            Self::Conclude => tracing::info_span!("audit.conclude"),
        }
    }
}

/// Counters and histograms of one service.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// One lease issued.
    pub fn issued(&self, _door: Door) {}

    /// One exchange refused.
    pub fn refused(&self, _door: Door, _reason: &'static str) {}

    /// One step took this long.
    pub fn step(&self, _step: Step, _took: Duration) {}
}
