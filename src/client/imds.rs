//! An endpoint like EC2's instance metadata service, version 2 only, for tools that know nothing else. It is weaker than
//! container credentials: whoever reaches the port gets the lease, for the token only proves that the caller can send a
//! PUT. So it is off unless asked for, and says so. EC2 also limits how many hops an answer lives; loopback has none, and
//! this agent listens nowhere else.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::endpoint::{Endpoint, answered};
use super::endpoint_fault::EndpointFault;
use super::lease::{Lease, timestamp};

const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Longest life of a metadata token, as at EC2.
const LONGEST: u64 = 21_600;
/// botocore, JS and Go stretch shorter lives, and would use a lease after its end.
const SHORTEST_LEASE: time::Duration = time::Duration::minutes(30);
/// Length of an instant and of its seal inside a token.
const INSTANT: usize = 8;

struct Metadata {
    endpoint: Arc<Endpoint>,
    /// Seals the end of each token, so that tokens need no memory.
    key: hmac::Key,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceCredentials<'a> {
    code: &'static str,
    last_updated: String,
    #[serde(rename = "Type")]
    kind: &'static str,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    token: &'a str,
    expiration: String,
}

pub(super) fn routes(endpoint: Arc<Endpoint>) -> Router {
    let Ok(key) = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new()) else {
        // Without randomness no token can be sealed: the paths are not there.
        return Router::new();
    };
    Router::new()
        .route("/latest/api/token", put(token))
        .route("/latest/meta-data/iam/security-credentials/", get(role))
        .route("/latest/meta-data/iam/security-credentials/{role}", get(credentials))
        .with_state(Arc::new(Metadata { endpoint, key }))
}

/// A token for so many seconds. A request that a proxy forwarded is refused, as at EC2: an open proxy on this machine
/// must not fetch for strangers.
async fn token(State(metadata): State<Arc<Metadata>>, headers: HeaderMap) -> Result<Response, EndpointFault> {
    if headers.contains_key(FORWARDED_FOR) {
        return Err(EndpointFault::NotLocal);
    }
    let seconds = headers.get(TTL).and_then(|ttl| ttl.to_str().ok()).and_then(|ttl| ttl.parse::<u64>().ok());
    let seconds = seconds.filter(|seconds| (1..=LONGEST).contains(seconds)).ok_or(EndpointFault::InvalidLife)?;
    let end = metadata.endpoint.clock.elapsed().saturating_add(Duration::from_secs(seconds));
    let sealed = metadata.seal(end);
    Ok(([(TTL, seconds.to_string()), (CONTENT_TYPE, "text/plain".to_owned())], sealed).into_response())
}

async fn role(State(metadata): State<Arc<Metadata>>, headers: HeaderMap) -> Result<Response, EndpointFault> {
    metadata.admit(&headers)?;
    let lease = metadata.lease().await?;
    Ok(([(CONTENT_TYPE, "text/plain")], lease.role().to_owned()).into_response())
}

async fn credentials(
    State(metadata): State<Arc<Metadata>>,
    Path(role): Path<String>,
    headers: HeaderMap,
) -> Result<Response, EndpointFault> {
    metadata.admit(&headers)?;
    let lease = metadata.lease().await?;
    if role != lease.role() {
        return Err(EndpointFault::NotFound);
    }
    let clock = &*metadata.endpoint.clock;
    let answer = InstanceCredentials {
        code: "Success",
        last_updated: timestamp(clock.now()),
        kind: "AWS-HMAC",
        access_key_id: lease.access_key_id(),
        secret_access_key: lease.secret_access_key(),
        token: lease.session_token(),
        expiration: lease.expiration(clock),
    };
    Ok(answered(&answer))
}

impl Metadata {
    fn seal(&self, end: Duration) -> String {
        let end = u64::try_from(end.as_millis()).unwrap_or(u64::MAX).to_be_bytes();
        let seal = hmac::sign(&self.key, &end);
        URL_SAFE_NO_PAD.encode([&end[..], seal.as_ref()].concat())
    }

    /// Version 1 asked without a token, and any proxy or page could: version 2 only.
    fn admit(&self, headers: &HeaderMap) -> Result<(), EndpointFault> {
        let given = headers.get(TOKEN).ok_or(EndpointFault::MissingToken)?;
        let end = self.opened(given.as_bytes()).ok_or(EndpointFault::WrongToken)?;
        if self.endpoint.clock.elapsed() < end { Ok(()) } else { Err(EndpointFault::MissingToken) }
    }

    fn opened(&self, given: &[u8]) -> Option<Duration> {
        let bytes = URL_SAFE_NO_PAD.decode(given).ok()?;
        let (end, seal) = bytes.split_at_checked(INSTANT)?;
        hmac::verify(&self.key, end, seal).ok()?;
        Some(Duration::from_millis(u64::from_be_bytes(end.try_into().ok()?)))
    }

    async fn lease(&self) -> Result<Arc<Lease>, EndpointFault> {
        let lease = self.endpoint.lease().await?;
        if lease.length() < SHORTEST_LEASE { Err(EndpointFault::TooShort) } else { Ok(lease) }
    }
}
