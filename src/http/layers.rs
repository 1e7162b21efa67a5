//! What happens to every request, whichever door it knocks on: an id, a span, a time limit, a net under panics, and
//! headers on the answer. Faults are rendered here and nowhere else. Neither the query string nor a header's value nor
//! a body is ever logged: the token stands in one of them.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{ALLOW, CACHE_CONTROL, HeaderName, PRAGMA, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::time::timeout;
use tracing::Instrument;
use uuid::Uuid;

use super::arrival::{self, Arrival};
use super::fault::{Fault, Unrendered};
use super::observation::{Observation, door, route};
use super::{Shared, body, oauth_error, problem, sts_error};
use crate::audit::Door;
use crate::clock::time_ordered_id;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// In which form a fault is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// STS error XML: a plain-text 503 makes botocore give up at once.
    Sts,
    /// JSON as SDKs read it from a credentials endpoint.
    Sdk,
    /// The errors of RFC 6749 section 5.2.
    OAuth,
    /// Problem details.
    Problem,
}

impl Form {
    fn of(request: &Request, route: Option<&'static str>) -> Self {
        match door(request.method(), route) {
            Some(Door::Sts) => Self::Sts,
            Some(Door::Container) => Self::Sdk,
            Some(Door::TokenExchange) => Self::OAuth,
            None if looks_like_container(request) => Self::Sdk,
            None if route.is_none() && looks_like_sts(request) => Self::Sts,
            Some(Door::Leases | Door::Audit | Door::Desk | Door::BreakGlass | Door::Cli) | None => Self::Problem,
        }
    }

    fn render(self, fault: &Fault, request_id: Uuid) -> Response {
        match self {
            Self::Sts => sts_error::render(fault, request_id),
            Self::Sdk => problem::render_for_sdk(fault, request_id),
            Self::OAuth => oauth_error::render(fault, request_id),
            Self::Problem => problem::render(fault, request_id),
        }
    }
}

/// An endpoint URL with a wrong path sends STS requests to that path.
fn looks_like_sts(request: &Request) -> bool {
    let in_query = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")));
    in_query || body::media_type(request.headers()) == "application/x-www-form-urlencoded"
}

/// What SDKs print of an answer is `Code` and `Message`: also where the path is a little wrong.
fn looks_like_container(request: &Request) -> bool {
    request.uri().path().starts_with("/v1/roles/")
}

/// The outermost layer.
pub(super) async fn edge(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let doors = &shared.doors;
    let arrival = Arrival {
        request_id: shared.request_id(),
        address: arrival::address(request.extensions(), request.headers(), &doors.trusted_proxies),
    };
    let route = route(&request);
    let form = Form::of(&request, route);
    let observation = Observation::begin(doors, &request, route, arrival);
    request.extensions_mut().insert(arrival);

    let handled = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match timeout(doors.deadline, handled).instrument(observation.span()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => Fault::Panicked.into_response(),
        Err(_) => Fault::TimedOut.into_response(),
    };
    if let Some(Unrendered(fault)) = response.extensions_mut().remove() {
        let allow = response.headers_mut().remove(ALLOW);
        response = form.render(&fault, arrival.request_id);
        response.headers_mut().extend(allow.map(|allow| (ALLOW, allow)));
        observation.refused(&fault);
    }
    finish_headers(&mut response, form, arrival.request_id);
    observation.answered(response.status());
    response
}

fn finish_headers(response: &mut Response, form: Form, request_id: Uuid) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::try_from(request_id.to_string()) {
        if form == Form::OAuth {
            // RFC 6749 section 5.1 asks for it beside Cache-Control.
            headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        }
        if form == Form::Sts {
            headers.insert(AMZN_REQUEST_ID, id.clone());
        }
        headers.insert(REQUEST_ID, id);
    }
}

impl Shared {
    fn request_id(&self) -> Uuid {
        let mut rng = self.doors.rng.lock().unwrap_or_else(PoisonError::into_inner);
        time_ordered_id(self.doors.clock.now(), &mut *rng)
    }
}
