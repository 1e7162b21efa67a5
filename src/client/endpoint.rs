//! What the loopback door answers: container credentials, as `AWS_CONTAINER_CREDENTIALS_FULL_URI` points at. An answer is
//! made from memory: SDKs give up after a second. Whoever has no token learns nothing, and a browser cannot ask.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::json;

use super::door::Door;
use super::endpoint_fault::EndpointFault;
use super::endpoint_token::EndpointToken;
use super::imds;
use super::lease::Lease;
use super::renewer::Leases;
use crate::clock::Clock;

/// Where the credentials are.
pub(super) const PATH: &str = "/credentials";
/// How long a caller waits for a first lease: the SDK for JavaScript waits a second.
const PATIENCE: Duration = Duration::from_millis(800);
/// What a browser says of a page's request, whatever the page wants.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether the metadata paths answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imds {
    /// They are not there.
    Off,
    /// They answer whoever reaches the port.
    On,
}

/// Everything an answer needs.
#[derive(Debug)]
pub struct Endpoint {
    /// The renewed lease.
    pub leases: Leases,
    /// The callers' token.
    pub token: EndpointToken,
    /// For expirations.
    pub clock: Arc<dyn Clock>,
}

/// Container credentials, in the exact case that SDKs read.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerCredentials<'a> {
    access_key_id: &'a str,
    secret_access_key: &'a str,
    token: &'a str,
    expiration: String,
    role_arn: String,
}

#[derive(Debug)]
struct Hosts(Vec<String>);

/// The routes of a door.
pub fn router(endpoint: Arc<Endpoint>, door: &Door, imds: Imds) -> Router {
    let hosts = Arc::new(Hosts::of(door.address()));
    let routes = Router::new()
        .route(PATH, get(credentials))
        .route("/health/ready", get(ready))
        .with_state(Arc::clone(&endpoint));
    let routes = match imds {
        Imds::Off => routes,
        Imds::On => routes.merge(imds::routes(endpoint)),
    };
    routes
        .fallback(|| async { EndpointFault::NotFound })
        .method_not_allowed_fallback(|| async { EndpointFault::MethodNotAllowed })
        .layer(middleware::from_fn_with_state(hosts, local_only))
}

impl Hosts {
    /// The names that a program of this machine calls the door by; clients leave the port away where it is http's own.
    fn of(address: SocketAddr) -> Self {
        let names = [address.to_string(), format!("localhost:{}", address.port())];
        let bare = names.iter().filter_map(|name| name.strip_suffix(":80").map(str::to_owned));
        Self(bare.chain(names.iter().cloned()).collect())
    }
}

/// A page whose name its owner points at 127.0.0.1 (DNS rebinding) still sends that name as the host, and a page of any
/// name sends its origin: neither is a program of this machine. No answer ever carries a CORS header.
async fn local_only(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let mut given = headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    let addressed = match (given.next(), given.next()) {
        (Some(host), None) => hosts.0.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(host)),
        (Some(_) | None, _) => false,
    };
    if !addressed {
        return EndpointFault::WrongHost.into_response();
    }
    if headers.contains_key(ORIGIN) || headers.contains_key(FETCH_SITE) {
        return EndpointFault::NotLocal.into_response();
    }
    next.run(request).await
}

async fn credentials(State(endpoint): State<Arc<Endpoint>>, headers: HeaderMap) -> Result<Response, EndpointFault> {
    endpoint.admit(&headers)?;
    let lease = endpoint.lease().await?;
    let answer = ContainerCredentials {
        access_key_id: lease.access_key_id(),
        secret_access_key: lease.secret_access_key(),
        token: lease.session_token(),
        expiration: lease.expiration(&*endpoint.clock),
        role_arn: format!("arn:aws:iam::000000000000:role/{}", lease.role()),
    };
    Ok(answered(&answer))
}

/// Whether there is a lease; for supervisors, so without a token and without anything of the lease.
async fn ready(State(endpoint): State<Arc<Endpoint>>) -> Response {
    let held = endpoint.leases.held().is_some();
    let status = if held { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, json!({"ready": held}).to_string()).into_response()
}

impl Endpoint {
    /// SDKs send the token bare; `Bearer` before it is taken too.
    fn admit(&self, headers: &HeaderMap) -> Result<(), EndpointFault> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        match (given.next(), given.next()) {
            (None, _) => Err(EndpointFault::MissingToken),
            (Some(given), None) => {
                let given = given.as_bytes();
                let bare = given.strip_prefix(b"Bearer ").unwrap_or(given);
                if self.token.is(bare) { Ok(()) } else { Err(EndpointFault::WrongToken) }
            }
            (Some(_), Some(_)) => Err(EndpointFault::WrongToken),
        }
    }

    pub(super) async fn lease(&self) -> Result<Arc<Lease>, EndpointFault> {
        self.leases.lease(PATIENCE).await.map_err(EndpointFault::NoLease)
    }
}

pub(super) fn answered(answer: &impl Serialize) -> Response {
    let body = serde_json::to_vec(answer).unwrap_or_default();
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}
