//! Reads a request body within a size and a time.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::fault::{Fault, Invalid};

/// The largest body: a token of 16 KiB, percent-encoded, and a policy fit several times over.
const LIMIT: usize = 64 * 1024;
/// How long a body may take: bodies are one packet or a few, and one that trickles holds a connection.
const DEADLINE: Duration = Duration::from_secs(5);

/// Reads the whole body.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|l| l.parse().ok());
    if announced.is_some_and(|length: u64| length > u64::try_from(LIMIT).unwrap_or(u64::MAX)) {
        return Err(Fault::BodyTooLarge);
    }
    match timeout(DEADLINE, Limited::new(body, LIMIT).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::BodyTooLarge),
        Ok(Err(_)) => Err(Invalid::Body.into()),
        Err(_) => Err(Fault::BodyTimeout),
    }
}

/// The media type without its parameters, lower case; empty when none, or none that can be read, was sent.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}
