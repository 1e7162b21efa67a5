//! The doors of break-glass: `GET /v1/break-glass`, `POST /v1/break-glass/requests`, `…/cancellations`, `…/reviews`. No token:
//! the custodians' signatures are the authentication, and they are over the very bytes that come in. The doors work while the
//! identity provider, and even PostgreSQL, are down.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;

use super::arrival::Arrival;
use super::fault::{Fault, Invalid};
use super::json::json;
use super::problem::ProblemDetails;
use super::{Emergencies, Shared, body};
use crate::audit::Door;
use crate::break_glass::desk::{BreakGlassRefusal, Cancelled, Granted, Reviewed, Status};

/// A document with its signatures: the JWS general JSON serialization (RFC 7515 section 7.2.1). `stint break-glass` writes it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct SignedDocument {
    /// The document's canonical JSON (RFC 8785), base64url.
    payload: String,
    /// One for each custodian who signed.
    signatures: Vec<DocumentSignature>,
}

/// One custodian's signature.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct DocumentSignature {
    /// `{"alg":"EdDSA","kid":<name>,"typ":"stint-break-glass+jws"}`, base64url.
    protected: String,
    /// Ed25519 over `protected.payload`, base64url.
    signature: String,
}

/// Break-glass as it stands.
#[utoipa::path(
    get,
    path = "/v1/break-glass",
    tag = "break-glass",
    operation_id = "break_glass",
    description = "Public facts: this instance's id and the policy hash, which a request names; roles, quorum, custodians; the \
                   conditions as this instance sees them; open reviews; the last drill; whether the journal waits to be merged.",
    responses(
        (status = 200, description = "As it stands, at most a second old", body = Status),
        (status = "4XX", description = "Not configured", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "The journal cannot be read", content_type = "application/problem+json", body = ProblemDetails),
    )
)]
pub(super) async fn status(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Fault> {
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return Err(Invalid::Query.into());
    }
    Ok(json(StatusCode::OK, &desk(&shared)?.status().await?))
}

/// Break the glass.
#[utoipa::path(
    post,
    path = "/v1/break-glass/requests",
    tag = "break-glass",
    operation_id = "break_glass_request",
    description = "A request that a quorum of custodians signed. The answer holds the credentials sealed for the recipient that \
                   they signed: nobody else can open it. A request works once. 503, and each `reason` that says so, uses nothing up.",
    request_body = SignedDocument,
    responses(
        (status = 201, description = "Granted", body = Granted),
        (status = "4XX", description = "Refused; `reason` says why", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back with the same document", content_type = "application/problem+json", body = ProblemDetails),
    )
)]
pub(super) async fn submit(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    let desk = desk(&shared)?;
    let granted = desk.submit(&envelope(request).await?, arrival.at(Door::BreakGlass)).await?;
    Ok(json(StatusCode::CREATED, &granted))
}

/// Stop a use.
#[utoipa::path(
    post,
    path = "/v1/break-glass/cancellations",
    tag = "break-glass",
    operation_id = "break_glass_cancellation",
    description = "A cancellation that one custodian signed: it burns a request that is not used, and ends the lease of one that \
                   is. 200: nothing can be done with it any more. 202: that was not seen; `outcome` and `ends_at` say what happens.",
    request_body = SignedDocument,
    responses(
        (status = 200, description = "Burnt, or ended and seen to be refused", body = Cancelled),
        (status = 202, description = "Not seen to be refused", body = Cancelled),
        (status = "4XX", description = "Refused; `reason` says why", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back with the same document", content_type = "application/problem+json", body = ProblemDetails),
    )
)]
pub(super) async fn cancel(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    let desk = desk(&shared)?;
    let cancelled = desk.cancel(&envelope(request).await?, arrival.at(Door::BreakGlass)).await?;
    let status = if cancelled.proven { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(json(status, &cancelled))
}

/// Close a review.
#[utoipa::path(
    post,
    path = "/v1/break-glass/reviews",
    tag = "break-glass",
    operation_id = "break_glass_review",
    description = "A review that two custodians other than the requester signed, once the lease has ended. Until then the next \
                   use is blocked.",
    request_body = SignedDocument,
    responses(
        (status = 200, description = "Closed", body = Reviewed),
        (status = "4XX", description = "Refused; `reason` says why", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back with the same document", content_type = "application/problem+json", body = ProblemDetails),
    )
)]
pub(super) async fn review(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    let desk = desk(&shared)?;
    let reviewed = desk.review(&envelope(request).await?, arrival.at(Door::BreakGlass)).await?;
    Ok(json(StatusCode::OK, &reviewed))
}

fn desk(shared: &Shared) -> Result<Arc<dyn Emergencies>, Fault> {
    shared.doors.break_glass.clone().ok_or(Fault::BreakGlass(BreakGlassRefusal::NotConfigured))
}

/// The bytes as they came: signatures are over them, and the ceremony reads them strictly.
async fn envelope(request: Request) -> Result<Bytes, Fault> {
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return Err(Invalid::Query.into());
    }
    let (parts, content) = request.into_parts();
    if body::media_type(&parts.headers) != "application/json" {
        return Err(Fault::UnsupportedMediaType);
    }
    body::read(&parts.headers, content).await
}
