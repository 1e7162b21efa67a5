//! The auditors' doors: `/v1/audit/…`. They carry a question in and an answer out. Parameters are read by the question
//! itself, after the token: a stranger learns nothing of what could be asked.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::stream::try_unfold;

use super::arrival::Arrival;
use super::fault::Fault;
use super::json::json;
use super::problem::ProblemDetails;
use super::{Shared, authorization, body};
use crate::audit::Door;
use crate::audit::question::Given;
use crate::inquiry::{ExportFormat, InquiryRequest, Kind};

/// Events.
#[utoipa::path(
    get,
    path = "/v1/audit/events",
    tag = "audit",
    operation_id = "audit_events",
    description = "A page of events. Every parameter is a column of the log, exact; `address` takes a network too, \
                   `key_fingerprint` the first 8 or all 32 digits. A page may be short, or empty, and still have a `next`.",
    params(
        ("type" = Option<String>, Query), ("effect" = Option<String>, Query), ("reason" = Option<String>, Query),
        ("issuer" = Option<String>, Query), ("subject" = Option<String>, Query), ("client" = Option<String>, Query),
        ("group" = Option<String>, Query), ("role" = Option<String>, Query), ("lease_id" = Option<String>, Query),
        ("key_fingerprint" = Option<String>, Query), ("token_sha256" = Option<String>, Query),
        ("jti" = Option<String>, Query), ("request_id" = Option<String>, Query),
        ("policy_hash" = Option<String>, Query), ("address" = Option<String>, Query),
        ("door" = Option<String>, Query), ("session_name" = Option<String>, Query),
        ("stream" = Option<String>, Query),
        ("from" = Option<String>, Query, description = "RFC 3339 with an offset; part of the period"),
        ("to" = Option<String>, Query, description = "RFC 3339 with an offset; not part of the period"),
        ("order" = Option<String>, Query, description = "`time` or `log`"),
        ("limit" = Option<u16>, Query, description = "1 to 1000; 100 when missing"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("reveal" = Option<bool>, Query, description = "Key fingerprints whole; on record as a reveal"),
    ),
    responses(
        (status = 200, description = "`{events, next?}`: rows in canonical form", body = Object),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    answer(&shared, arrival, Kind::Events, request).await
}

/// Export.
#[utoipa::path(
    get,
    path = "/v1/audit/export",
    tag = "audit",
    operation_id = "audit_export",
    description = "Every event that a filter finds, up to the instant it is asked: the parameters of \
                   /v1/audit/events but `limit` and `cursor`. An answer that breaks off is incomplete.",
    params(("format" = Option<String>, Query, description = "`jsonl` or `csv`")),
    responses(
        (status = 200, description = "A row a line", content_type = "application/jsonl", body = String),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn export(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    let asked = read(arrival, Kind::Export, &request, &[])?;
    let export = shared.doors.inquiry.export(asked).await?;
    let (content_type, disposition) = match export.format() {
        ExportFormat::JsonLines => ("application/jsonl", "attachment; filename=\"audit.jsonl\""),
        ExportFormat::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"audit.csv\""),
    };
    let parts = try_unfold(export, |mut export| async move {
        match export.next().await {
            Ok(part) => Ok(part.map(|part| (part, export))),
            Err(refusal) => {
                tracing::warn!(reason = refusal.code(), cause = %refusal, "an export broke off");
                Err(refusal)
            }
        }
    });
    let headers = [(CONTENT_TYPE, content_type), (CONTENT_DISPOSITION, disposition)];
    Ok((headers, Body::from_stream(parts)).into_response())
}

/// Who held a key, or who could reach an object.
#[utoipa::path(
    get,
    path = "/v1/audit/access",
    tag = "audit",
    operation_id = "audit_access",
    description = "Who held an access key at an instant (`key`, or `key_fingerprint` with its first 8 or all 32 digits), or who could \
                   read or write an object (`bucket` and `object`). A key in a URL ends up in proxies' logs: POST it.",
    params(
        ("key" = Option<String>, Query), ("key_fingerprint" = Option<String>, Query),
        ("bucket" = Option<String>, Query), ("object" = Option<String>, Query),
        ("at" = Option<String>, Query, description = "RFC 3339 with an offset; now when missing"),
        ("limit" = Option<u16>, Query, description = "Most holders of an object to be named, 1 to 1000"),
        ("reveal" = Option<bool>, Query, description = "Key fingerprints whole; on record as a reveal"),
    ),
    responses(
        (status = 200, description = "`{at, key_fingerprint, leases, truncated}`, or `{bucket, object, at, holders, \
                                      truncated, unknown?, entitled}`", body = Object),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn access(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    answer(&shared, arrival, Kind::Access, request).await
}

/// The same as a form.
#[utoipa::path(
    post,
    path = "/v1/audit/access",
    tag = "audit",
    operation_id = "audit_access_by_form",
    description = "The same question with its parameters in a form body, where no proxy logs them.",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The same answer", body = Object),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn access_by_form(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    if !matches!(body::media_type(request.headers()).as_str(), "application/x-www-form-urlencoded" | "") {
        return Err(Fault::UnsupportedMediaType);
    }
    answer(&shared, arrival, Kind::Access, request).await
}

/// What a group or a subject got.
#[utoipa::path(
    get,
    path = "/v1/audit/grants",
    tag = "audit",
    operation_id = "audit_grants",
    description = "The leases that a subject or a group got in a period, and under which policy.",
    params(
        ("subject" = Option<String>, Query), ("group" = Option<String>, Query), ("issuer" = Option<String>, Query),
        ("from" = String, Query, description = "RFC 3339 with an offset; part of the period"),
        ("to" = Option<String>, Query, description = "RFC 3339 with an offset; now when missing"),
        ("limit" = Option<u16>, Query), ("cursor" = Option<String>, Query), ("reveal" = Option<bool>, Query),
    ),
    responses(
        (status = 200, description = "`{from, to, leases, next?}`", body = Object),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn grants(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    answer(&shared, arrival, Kind::Grants, request).await
}

/// Emergencies.
#[utoipa::path(
    get,
    path = "/v1/audit/emergencies",
    tag = "audit",
    operation_id = "audit_emergencies",
    description = "The `break_glass.*` events of a period, by incident.",
    params(("from" = String, Query), ("to" = Option<String>, Query), ("reveal" = Option<bool>, Query)),
    responses(
        (status = 200, description = "`{from, to, emergencies: [{incident, events}], truncated}`", body = Object),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn emergencies(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    answer(&shared, arrival, Kind::Emergencies, request).await
}

/// Where the log stands.
#[utoipa::path(
    get,
    path = "/v1/audit/head",
    tag = "audit",
    operation_id = "audit_head",
    description = "A checkpoint: where every stream stands, signed with the configured key. Keep it away from the \
                   database.",
    responses(
        (status = 200, description = "`{heads, key_id, signature, taken_at, version}`", body = Object),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn head(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    answer(&shared, arrival, Kind::Head, request).await
}

/// Whether the log is whole since a checkpoint.
#[utoipa::path(
    post,
    path = "/v1/audit/verify",
    tag = "audit",
    operation_id = "audit_verify",
    description = "Whether the log has only grown since the checkpoint in the body, and is whole since. The service's \
                   word: whoever trusts nobody verifies a bundle. One at a time, 10 seconds at most.",
    request_body(content = Object, description = "The checkpoint, as it was given"),
    responses(
        (status = 200, description = "`{whole, findings, warnings, rows, seals, …}`", body = Object),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn verify(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    if !matches!(body::media_type(request.headers()).as_str(), "application/json" | "") {
        return Err(Fault::UnsupportedMediaType);
    }
    let (parts, document) = request.into_parts();
    let document = body::read(&parts.headers, document).await?;
    let mut asked = read(arrival, Kind::Verify, &Request::from_parts(parts, Body::empty()), &[])?;
    asked.given.give("checkpoint", &String::from_utf8_lossy(&document));
    told(&shared, asked).await
}

async fn answer(shared: &Shared, arrival: Arrival, kind: Kind, request: Request) -> Result<Response, Fault> {
    let (parts, content) = request.into_parts();
    let content = body::read(&parts.headers, content).await?;
    told(shared, read(arrival, kind, &Request::from_parts(parts, Body::empty()), &content)?).await
}

async fn told(shared: &Shared, asked: InquiryRequest) -> Result<Response, Fault> {
    let answer = shared.doors.inquiry.inquire(asked).await?;
    Ok(json(StatusCode::OK, &answer))
}

fn read(arrival: Arrival, kind: Kind, request: &Request, form: &[u8]) -> Result<InquiryRequest, Fault> {
    let token = authorization::bearer(request.headers())?;
    let query = request.uri().query().unwrap_or("").as_bytes();
    let pairs = form_urlencoded::parse(query).chain(form_urlencoded::parse(form));
    // Refused like any bad question, but only once the token is believed.
    let given = Given::new(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())));
    Ok(InquiryRequest { token, kind, given, origin: arrival.at(Door::Audit) })
}
