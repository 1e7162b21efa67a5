//! The one way in which a door answers with a JSON document.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// `answer` as `application/json`.
pub(super) fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    // Our own types, whose keys are text: none fails to be written.
    let body = serde_json::to_vec(answer).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
