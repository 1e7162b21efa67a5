//! Liveness and readiness. Outsiders see names and booleans; the causes are in the log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::timeout;

use super::Shared;

/// A probe that hangs is a no.
const DEADLINE: Duration = Duration::from_secs(3);

/// Whether the service could exchange a token now.
///
/// An implementor MUST answer from what it knows or has asked a moment ago: anyone may ask, as often as they like.
#[async_trait]
pub trait Readiness: std::fmt::Debug + Send + Sync {
    /// One check for each thing that an exchange needs.
    async fn check(&self) -> Vec<Check>;
}

/// One thing that an exchange needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Check {
    /// What it is: `log`, `object_server`, `issuer:authentik`. Shown to anyone: never an address or a cause.
    pub name: String,
    /// Whether it is there.
    pub ready: bool,
    /// Whether the service is not ready without it.
    #[serde(skip)]
    pub essential: bool,
}

/// The answer of `/health/ready`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ReadinessAnswer {
    /// Whether every check is.
    ready: bool,
    /// The checks.
    checks: Vec<Check>,
}

/// Liveness: the process answers, no more is asked; nothing it depends on can get it restarted.
#[utoipa::path(get, path = "/health/live", tag = "machine", operation_id = "live", responses((status = 200, description = "Alive")))]
pub(super) async fn live() -> &'static str {
    "alive\n"
}

/// Readiness.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "machine",
    operation_id = "ready",
    responses(
        (status = 200, description = "Ready", body = ReadinessAnswer),
        (status = 503, description = "Not ready", body = ReadinessAnswer),
    )
)]
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let answer = match timeout(DEADLINE, shared.doors.readiness.check()).await {
        Ok(checks) => ReadinessAnswer { ready: checks.iter().all(|check| check.ready || !check.essential), checks },
        Err(_) => ReadinessAnswer { ready: false, checks: Vec::new() },
    };
    let status = if answer.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(answer)).into_response()
}
