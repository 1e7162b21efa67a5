//! The desk's reading doors: `GET /v1/leases`, `GET /v1/leases/{id}` and `GET /v1/leases/forecast`. They carry a question in and an answer out; whose
//! leases may be told of is the inquiry's to say. No answer holds a key.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use uuid::Uuid;

use super::arrival::Arrival;
use super::fault::Fault;
use super::json::json;
use super::problem::ProblemDetails;
use super::{Shared, authorization};
use crate::audit::Door;
use crate::audit::question::Given;
use crate::inquiry::{LeaseForecast, LeaseHistory, LeaseInquiry, LeaseKind, Leases};

/// List leases.
#[utoipa::path(
    get,
    path = "/v1/leases",
    tag = "desk",
    operation_id = "list_leases",
    description = "A page of leases, the latest first: the caller's own, or with `lease.read` anybody's. Open ones, when no \
                   `state` is named. A page may be short, or empty, and still have a `next`.",
    params(
        ("state" = Option<String>, Query, description = "`open`, `ended`, `revoked`, `failed`, `abandoned` or `all`"),
        ("issuer" = Option<String>, Query), ("subject" = Option<String>, Query), ("client" = Option<String>, Query),
        ("group" = Option<String>, Query), ("role" = Option<String>, Query),
        ("from" = Option<String>, Query, description = "RFC 3339 with an offset; part of the period"),
        ("to" = Option<String>, Query, description = "RFC 3339 with an offset; not part of the period"),
        ("limit" = Option<u16>, Query, description = "1 to 1000; 100 when missing"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = Leases),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    answer(&shared, read(arrival, LeaseKind::List, &request)?).await
}

/// Show a lease.
#[utoipa::path(
    get,
    path = "/v1/leases/{id}",
    tag = "desk",
    operation_id = "show_lease",
    description = "A lease with its timeline from the log: the caller's own, or with `lease.read` anybody's.",
    params(("id" = String, Path, description = "The lease")),
    responses(
        (status = 200, description = "The lease", body = LeaseHistory),
        (status = "4XX", description = "Refused; 404 also for somebody else's lease", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Fault> {
    // What is no id is no lease: the same 404, and only once the token is believed.
    let id = Uuid::parse_str(&id).unwrap_or_default();
    answer(&shared, read(arrival, LeaseKind::One(id), &request)?).await
}

/// Forecast.
#[utoipa::path(
    get,
    path = "/v1/leases/forecast",
    tag = "desk",
    operation_id = "forecast_leases",
    description = "How many leases the holders of those that are open are expected to ask for in the next hour. Needs `lease.read`.",
    responses(
        (status = 200, description = "The forecast", body = LeaseForecast),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn forecast(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    answer(&shared, read(arrival, LeaseKind::Forecast, &request)?).await
}

fn read(arrival: Arrival, kind: LeaseKind, request: &Request) -> Result<LeaseInquiry, Fault> {
    let token = authorization::bearer(request.headers())?;
    let query = request.uri().query().unwrap_or("").as_bytes();
    // Refused like any bad question, but only once the token is believed.
    let pairs = form_urlencoded::parse(query).map(|(name, value)| (name.into_owned(), value.into_owned()));
    Ok(LeaseInquiry { token, kind, given: Given::new(pairs), origin: arrival.at(Door::Desk) })
}

async fn answer(shared: &Shared, asked: LeaseInquiry) -> Result<Response, Fault> {
    let answer = shared.doors.inquiry.leases(asked).await?;
    Ok(json(StatusCode::OK, &answer))
}
