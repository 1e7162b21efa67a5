//! What operators see of a request: its span, its line in the log, its place in the metrics. Neither the query string nor
//! the raw path nor a header's value nor a body is ever among it: a token stands in one of them.

use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use tracing::{Span, field};

use super::Doors;
use super::arrival::Arrival;
use super::fault::Fault;
use crate::audit::Door;
use crate::telemetry::InFlight;

/// The status on record where the caller hung up before there was one, as reverse proxies write it.
const HUNG_UP: u16 = 499;

/// One request under observation. It is put on record when dropped, so also when its caller hangs up.
pub(super) struct Observation<'a> {
    doors: &'a Doors,
    route: Option<&'static str>,
    door: Option<Door>,
    span: Span,
    started: Duration,
    status: u16,
    _in_flight: InFlight,
}

impl<'a> Observation<'a> {
    pub(super) fn begin(doors: &'a Doors, request: &Request, route: Option<&'static str>, arrival: Arrival) -> Self {
        Self {
            doors,
            route,
            door: door(request.method(), route),
            span: span(request, route, arrival),
            started: doors.clock.elapsed(),
            status: HUNG_UP,
            _in_flight: doors.metrics.request_started(),
        }
    }

    /// The span to handle the request in.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Counts and logs what never became an exchange; the exchange counts and logs its own refusals.
    pub(super) fn refused(&self, fault: &Fault) {
        if matches!(fault, Fault::Refused(_)) {
            return;
        }
        if let Some(door) = self.door {
            self.doors.metrics.refused(door, fault.code());
        }
        self.span.in_scope(|| {
            if matches!(fault, Fault::Panicked) {
                tracing::error!(reason = fault.code(), "a handler panicked");
            } else {
                tracing::info!(reason = fault.code(), cause = %fault, "request refused");
            }
        });
    }

    /// The answer is ready.
    pub(super) fn answered(mut self, status: StatusCode) {
        self.status = status.as_u16();
    }
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        let took = self.doors.clock.elapsed().saturating_sub(self.started);
        self.doors.metrics.request_finished(self.route.unwrap_or("none"), self.status, took);
        self.span.record("status", self.status);
        self.span.record("latency_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        self.span.in_scope(|| {
            if self.status == HUNG_UP {
                tracing::info!("the caller hung up");
            } else if self.door.is_some() {
                tracing::info!("request answered");
            } else {
                // Probes and scrapes come every few seconds for ever.
                tracing::debug!("request answered");
            }
        });
    }
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
    if let Some(door) = door(request.method(), route) {
        span.record("door", door.as_str());
    }
    if let Some(address) = arrival.address {
        span.record("address", field::display(address));
    }
    span
}

/// The door behind a route. Where leases are made, they are read too.
pub(super) fn door(method: &Method, route: Option<&'static str>) -> Option<Door> {
    match route {
        Some("/") => Some(Door::Sts),
        Some("/v1/leases") if method == Method::GET => Some(Door::Desk),
        Some("/v1/leases") => Some(Door::Leases),
        Some("/v1/roles/{role}/credentials" | "/v1/roles/{role}/credentials/") => Some(Door::Container),
        Some("/v1/token") => Some(Door::TokenExchange),
        Some(
            "/v1/audit/events"
            | "/v1/audit/export"
            | "/v1/audit/access"
            | "/v1/audit/grants"
            | "/v1/audit/emergencies"
            | "/v1/audit/head"
            | "/v1/audit/verify",
        ) => Some(Door::Audit),
        Some("/v1/leases/{id}" | "/v1/leases/forecast" | "/v1/revocations" | "/v1/freezes" | "/v1/freezes/{id}") => {
            Some(Door::Desk)
        }
        Some(
            "/v1/break-glass"
            | "/v1/break-glass/requests"
            | "/v1/break-glass/cancellations"
            | "/v1/break-glass/reviews",
        ) => Some(Door::BreakGlass),
        Some(_) | None => None,
    }
}

/// The route as a label with few values; the raw path is a caller's choice.
pub(super) fn route(request: &Request) -> Option<&'static str> {
    let matched = request.extensions().get::<MatchedPath>()?;
    let known = [
        "/",
        "/v1/leases",
        "/v1/leases/{id}",
        "/v1/leases/forecast",
        "/v1/revocations",
        "/v1/freezes",
        "/v1/freezes/{id}",
        "/v1/break-glass",
        "/v1/break-glass/requests",
        "/v1/break-glass/cancellations",
        "/v1/break-glass/reviews",
        "/v1/roles/{role}/credentials",
        "/v1/roles/{role}/credentials/",
        "/v1/token",
        "/v1/audit/events",
        "/v1/audit/export",
        "/v1/audit/access",
        "/v1/audit/grants",
        "/v1/audit/emergencies",
        "/v1/audit/head",
        "/v1/audit/verify",
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
