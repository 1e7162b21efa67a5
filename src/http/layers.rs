//! What happens to every request, whichever door it knocks on: an id, a span, a time limit, a net under panics, and
//! headers on the answer. Faults are rendered here and nowhere else. Neither the query string nor a header's value nor
//! a body is ever logged: the token stands in one of them.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use rand::RngExt;
use tokio::time::timeout;
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use super::arrival::{self, Arrival};
use super::fault::{Fault, Unrendered};
use super::{Shared, body, problem, sts_error};
use crate::audit::Door;

/// The whole request. Longer than the log's deadlines and the object server's together, shorter than any proxy's.
const DEADLINE: Duration = Duration::from_secs(10);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// In which form a fault is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// STS error XML: a plain-text 503 makes botocore give up at once.
    Sts,
    /// JSON as SDKs read it from a credentials endpoint.
    Sdk,
    /// Problem details.
    Problem,
}

impl Form {
    fn of(request: &Request, route: Option<&'static str>) -> Self {
        match door(route) {
            Some(Door::Sts) => Self::Sts,
            Some(Door::Container) => Self::Sdk,
            None if route.is_none() && looks_like_sts(request) => Self::Sts,
            Some(Door::Leases) | None => Self::Problem,
        }
    }

    fn render(self, fault: &Fault, request_id: Uuid) -> Response {
        match self {
            Self::Sts => sts_error::render(fault, request_id),
            Self::Sdk => problem::render_for_sdk(fault, request_id),
            Self::Problem => problem::render(fault, request_id),
        }
    }
}

/// An endpoint URL with a wrong path sends STS requests to that path.
fn looks_like_sts(request: &Request) -> bool {
    let in_query = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")));
    in_query || body::media_type(request.headers()) == "application/x-www-form-urlencoded"
}

/// The door behind a route.
fn door(route: Option<&'static str>) -> Option<Door> {
    match route {
        Some("/") => Some(Door::Sts),
        Some("/v1/leases") => Some(Door::Leases),
        Some("/v1/roles/{role}/credentials") => Some(Door::Container),
        Some(_) | None => None,
    }
}

/// The route as a label with few values; the raw path is a caller's choice.
fn route(request: &Request) -> Option<&'static str> {
    let matched = request.extensions().get::<MatchedPath>()?;
    let known = [
        "/",
        "/v1/leases",
        "/v1/roles/{role}/credentials",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
    ];
    known.into_iter().find(|route| *route == matched.as_str())
}

fn method(request: &Request) -> &'static str {
    match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

/// The outermost layer.
pub(super) async fn edge(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let doors = &shared.doors;
    let started = doors.clock.elapsed();
    let arrival = Arrival {
        request_id: shared.request_id(),
        address: arrival::address(request.extensions(), request.headers(), &doors.trusted_proxies),
    };
    let route = route(&request);
    let form = Form::of(&request, route);
    let span = span(&request, route, arrival);
    request.extensions_mut().insert(arrival);

    let in_flight = doors.metrics.request_started();
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match timeout(DEADLINE, handled).instrument(span.clone()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => Fault::Panicked.into_response(),
        Err(_) => Fault::TimedOut.into_response(),
    };
    drop(in_flight);
    if let Some(Unrendered(fault)) = response.extensions_mut().remove() {
        let allow = response.headers_mut().remove(ALLOW);
        response = form.render(&fault, arrival.request_id);
        response.headers_mut().extend(allow.map(|allow| (ALLOW, allow)));
        span.in_scope(|| shared.note(&fault, door(route)));
    }
    finish_headers(&mut response, form, arrival.request_id);

    let took = doors.clock.elapsed().saturating_sub(started);
    let status = response.status().as_u16();
    doors.metrics.request_finished(route.unwrap_or("none"), status, took);
    span.record("status", status);
    span.record("latency_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    span.in_scope(|| {
        if door(route).is_some() {
            tracing::info!("request answered");
        } else {
            // Probes and scrapes come every few seconds for ever.
            tracing::debug!("request answered");
        }
    });
    response
}

fn span(request: &Request, route: Option<&'static str>, arrival: Arrival) -> Span {
    let span = tracing::info_span!(
        "http.request",
        otel.kind = "server",
        method = method(request),
        route = route.unwrap_or("none"),
        request_id = %arrival.request_id,
        door = field::Empty,
        address = field::Empty,
        status = field::Empty,
        latency_ms = field::Empty,
    );
    if let Some(door) = door(route) {
        span.record("door", door.as_str());
    }
    if let Some(address) = arrival.address {
        span.record("address", field::display(address));
    }
    span
}

fn finish_headers(response: &mut Response, form: Form, request_id: Uuid) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::try_from(request_id.to_string()) {
        if form == Form::Sts {
            headers.insert(AMZN_REQUEST_ID, id.clone());
        }
        headers.insert(REQUEST_ID, id);
    }
}

impl Shared {
    /// Counts and logs what never became an exchange; the exchange counts and logs its own refusals.
    fn note(&self, fault: &Fault, door: Option<Door>) {
        if matches!(fault, Fault::Refused(_)) {
            return;
        }
        if let Some(door) = door {
            self.doors.metrics.refused(door, fault.code());
        }
        if matches!(fault, Fault::Panicked) {
            tracing::error!(reason = fault.code(), "a handler panicked");
        } else {
            tracing::info!(reason = fault.code(), cause = %fault, "request refused");
        }
    }

    /// A version 7 UUID (RFC 9562 section 5.7), so that ids sort by time.
    fn request_id(&self) -> Uuid {
        let millis = u64::try_from(self.doors.clock.now().unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let bytes = self.doors.rng.lock().unwrap_or_else(PoisonError::into_inner).random();
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }
}
