//! The desk's doors: `DELETE /v1/leases/{id}` and `POST /v1/revocations`. They carry a wish in and what was seen out; who may
//! have which lease ended is the desk's to say. No answer holds a key.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::unfold;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::Receiver;
use uuid::Uuid;

use super::arrival::Arrival;
use super::fault::{Fault, Invalid};
use super::json::json;
use super::problem::ProblemDetails;
use super::{Shared, authorization, body};
use crate::audit::Door;
use crate::desk::{DeskRefusal, DeskRequest, Ended, GivenSelection, Selection, Summary, Told};
use crate::lease::LeaseId;
use crate::token::Unverified;

/// Longest reason, in characters.
const LONGEST_REASON: usize = 512;

/// Why a lease is ended.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndRequest {
    /// At most 512 characters; recorded.
    reason: Option<String>,
}

/// Which leases are ended: exactly one of `lease`, `subject` with `issuer`, `role`, `group` (perhaps with `issuer`), `issuer`,
/// `all`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevocationRequest {
    /// One lease.
    lease: Option<Uuid>,
    /// A holder's `sub`, exact.
    subject: Option<String>,
    /// The issuer's configured name.
    issuer: Option<String>,
    /// A role, alone or combined with others.
    role: Option<String>,
    /// A group in the holder's token, exact.
    group: Option<String>,
    /// Every open lease.
    #[serde(default)]
    all: bool,
    /// At most 512 characters; recorded.
    reason: Option<String>,
}

/// The last line of an answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(super) enum LastLine {
    /// The run is over.
    Summary {
        /// What it came to.
        summary: Summary,
    },
    /// It broke off: what was told was done.
    Error {
        /// Why.
        error: &'static str,
    },
}

/// End a lease.
#[utoipa::path(
    delete,
    path = "/v1/leases/{id}",
    tag = "desk",
    operation_id = "end_lease",
    description = "Ends a lease before its time: the caller's own, or with `lease.revoke` anybody's. 200: its credential was seen \
                   to be refused. 202: it was not; `outcome`, `ends_at` and `advice` say what happens and when.",
    params(
        ("id" = String, Path, description = "The lease"),
        ("reason" = Option<String>, Query, description = "Why; recorded. Or in the body"),
    ),
    request_body = EndRequest,
    responses(
        (status = 200, description = "Ended, and proven", body = Ended),
        (status = 202, description = "Not proven to be ended", body = Ended),
        (status = "4XX", description = "Refused; 404 also for somebody else's lease", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Fault> {
    let (token, why) = wish(request).await?;
    let id = Uuid::parse_str(&id).map_err(|_| DeskRefusal::NoSuchLease)?;
    let asked = DeskRequest { token, origin: arrival.at(Door::Desk), why };
    let ended = shared.doors.desk.end_lease(asked, LeaseId::from_uuid(id)).await?;
    let status = if ended.proven { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(json(status, &ended))
}

/// End many.
#[utoipa::path(
    post,
    path = "/v1/revocations",
    tag = "desk",
    operation_id = "revoke",
    description = "Ends every open lease that is meant, at most 20 a second; one line of JSON for each as it is done, and at last \
                   `{\"summary\": …}`, or `{\"error\": …}` when it broke off. It goes on when nobody listens any more; asked again, \
                   it takes what is left. Needs `lease.revoke`, but for leases of the caller.",
    request_body = RevocationRequest,
    responses(
        (status = 200, description = "Lines of `Ended`, then one of `LastLine`", content_type = "application/jsonl", body = String),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    let (token, wire) = order(request, unreadable).await?;
    let RevocationRequest { lease, subject, issuer, role, group, all, reason } = wire;
    let given = GivenSelection { lease, subject, issuer, role, group, all };
    let selection = Selection::one_of(given).map_err(DeskRefusal::Selection)?;
    let asked = DeskRequest { token, origin: arrival.at(Door::Desk), why: reason.map(checked).transpose()? };
    let told = shared.doors.desk.revoke(asked, selection).await?;
    Ok(([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines(told))).into_response())
}

fn lines(told: Receiver<Told>) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    unfold(told, |mut told| async move {
        let line = match told.recv().await? {
            Told::Ended(ended) => line(&ended),
            Told::Over(Ok(summary)) => line(&LastLine::Summary { summary }),
            Told::Over(Err(error)) => line(&LastLine::Error { error }),
        };
        Some((Ok(line), told))
    })
}

fn line(value: &impl Serialize) -> Bytes {
    let mut json = serde_json::to_vec(value).unwrap_or_default();
    json.push(b'\n');
    json.into()
}

/// Whoever wishes for an end, and why.
pub(super) async fn wish(request: Request) -> Result<(Unverified, Option<String>), Fault> {
    let (parts, content) = request.into_parts();
    let token = authorization::bearer(&parts.headers)?;
    let content = body::read(&parts.headers, content).await?;
    Ok((token, reason_of(parts.uri.query().unwrap_or(""), &content)?))
}

/// Whoever wishes for something, and what, as a JSON document.
pub(super) async fn order<T: DeserializeOwned>(
    request: Request,
    unreadable: fn(&serde_json::Error) -> Invalid,
) -> Result<(Unverified, T), Fault> {
    let (parts, content) = request.into_parts();
    let token = authorization::bearer(&parts.headers)?;
    let content = body::read(&parts.headers, content).await?;
    if !matches!(body::media_type(&parts.headers).as_str(), "application/json" | "") {
        return Err(Fault::UnsupportedMediaType);
    }
    Ok((token, serde_json::from_slice(&content).map_err(|error| unreadable(&error))?))
}

/// In the query, or in the body, not in both.
fn reason_of(query: &str, content: &[u8]) -> Result<Option<String>, Invalid> {
    let wire: EndRequest = match content {
        [] => EndRequest::default(),
        content => serde_json::from_slice(content).map_err(|error| unreadable(&error))?,
    };
    let mut reason = wire.reason;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "reason" {
            return Err(Invalid::UnknownParameter);
        }
        if reason.replace(value.into_owned()).is_some() {
            return Err(Invalid::DuplicateParameter);
        }
    }
    reason.map(checked).transpose()
}

pub(super) fn checked(reason: String) -> Result<String, Invalid> {
    let fits = (1..=LONGEST_REASON).contains(&reason.chars().count()) && !reason.chars().any(char::is_control);
    if fits { Ok(reason) } else { Err(Invalid::Reason) }
}

fn unreadable(error: &serde_json::Error) -> Invalid {
    Invalid::RevocationJson { line: error.line(), column: error.column() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_taken_from_the_query_or_the_body_and_from_nowhere_else() {
        assert_eq!(reason_of("", b"").unwrap(), None);
        assert_eq!(reason_of("reason=key+in+a+log", b"").unwrap().as_deref(), Some("key in a log"));
        assert_eq!(reason_of("", br#"{"reason":"x"}"#).unwrap().as_deref(), Some("x"));
        assert_eq!(reason_of("reason=x", br#"{"reason":"x"}"#), Err(Invalid::DuplicateParameter));
        assert_eq!(reason_of("reason=x&reason=y", b""), Err(Invalid::DuplicateParameter));
        assert_eq!(reason_of("raeson=x", b""), Err(Invalid::UnknownParameter));
        assert!(matches!(reason_of("", br#"{"raeson":"x"}"#), Err(Invalid::RevocationJson { .. })));
        assert_eq!(reason_of("reason=", b""), Err(Invalid::Reason));
        assert_eq!(reason_of("reason=a%0Ab", b""), Err(Invalid::Reason));
        assert_eq!(checked("x".repeat(LONGEST_REASON + 1)), Err(Invalid::Reason));
    }

    #[test]
    fn a_misspelt_selection_is_no_wider_one() {
        for body in
            [r#"{"subjet":"ada","all":true}"#, r#"{"all":"yes"}"#, r#"{"all":true,"all":true}"#, "[]", "", "{}{}"]
        {
            assert!(serde_json::from_str::<RevocationRequest>(body).is_err(), "{body}");
        }
        assert!(serde_json::from_str::<RevocationRequest>(r#"{"role":"studio"}"#).is_ok());
    }
}
