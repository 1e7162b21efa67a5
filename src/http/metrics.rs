//! `/metrics`, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::Shared;

/// Metrics: `OpenMetrics` text, which Prometheus reads by this content type.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "machine",
    operation_id = "metrics",
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String))
)]
pub(super) async fn text(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], shared.doors.metrics.encode())
}
