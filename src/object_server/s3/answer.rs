//! A whole answer within the bounds, and what may be read out of it.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::wire;
use super::client::S3Error;
use super::xml::{self, Element};

/// More than a listing of 100 objects or any configuration of a bucket takes, and room for a small object. A request whose
/// answer may be longer says so itself.
pub(super) const ANSWER_LIMIT: usize = 6 * 1024 * 1024;

/// What the server said. Its body is wiped when dropped, for it may hold credentials.
#[derive(Debug)]
pub struct S3Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
    took: Duration,
}

/// An error of MinIO's admin API.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JsonError {
    code: String,
}

impl S3Answer {
    /// Collects an answer whose declared and real sizes are both bounded.
    pub(super) async fn read(mut response: reqwest::Response, head_only: bool, limit: usize) -> Result<Self, S3Error> {
        let (status, headers) = (response.status(), response.headers().clone());
        let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let too_long = |length| usize::try_from(length).map_or(true, |length| length > limit);
        if !head_only && declared.is_some_and(too_long) {
            return Err(S3Error::TooLarge { limit });
        }
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(S3Error::broken)? {
            if body.len() + chunk.len() > limit {
                return Err(S3Error::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { status, headers, body, took: Duration::ZERO })
    }

    pub(super) fn after(self, took: Duration) -> Self {
        Self { took, ..self }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(in crate::object_server) fn http_status(&self) -> StatusCode {
        self.status
    }

    /// Whether the server says it did as asked.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Whether the server refused whoever asked: 401 or 403, and nothing else. An absent object, a redirect or a fault is no
    /// refusal.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    /// The server's error code, in XML or in JSON, if it sent a clean one.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let json = || {
            let error: JsonError = serde_json::from_slice(&self.body).ok()?;
            wire::clean_code(&error.code)
        };
        wire::error_code(&self.body).or_else(json)
    }

    /// The server's own words, of an error in XML: for telling faults apart that share a code, never for people.
    pub(in crate::object_server) fn message(&self) -> Option<String> {
        let root = xml::parse(&self.body).ok()?;
        let error = if root.name() == "Error" { &root } else { root.child("Error")? };
        error.text_of("Message").map(str::to_owned)
    }

    /// The status and the code, for people: `HTTP 403 AccessDenied`.
    #[must_use]
    pub fn told(&self) -> String {
        match self.code() {
            Some(code) => format!("HTTP {} {code}", self.status()),
            None => format!("HTTP {}", self.status()),
        }
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// How long it took to come whole.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The body as XML whose root has this name.
    pub(in crate::object_server) fn xml(&self, root: &str) -> Result<Element, &'static str> {
        let element = xml::parse(&self.body)?;
        if element.name() == root { Ok(element) } else { Err("another document than the one asked for") }
    }
}
