//! An object server with MinIO's STS whose sessions keep to their policy, or not, as a test tells it: it says so, and keeps
//! nothing. It counts what it is asked.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::object_server::assume_role_response;

/// What its sessions can do beside what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leak {
    /// Nothing.
    Nothing,
    /// Every bucket may be listed.
    ListsEverything,
    /// And nothing at all may be listed: not what the policy allows either.
    ListsNothing,
    /// The sessions are not known.
    ForgetsSessions,
    /// Permanent keys come to be.
    MakesKeys,
    /// Sessions begin sessions.
    BeginsSessions,
    /// It is down but for its STS.
    Down,
    /// A page that is no S3 answers everything but the STS.
    Page,
}

#[derive(Debug)]
struct Inner {
    leak: Leak,
    asked: Vec<String>,
    keys: BTreeSet<String>,
}

/// A running one; it ends when dropped.
#[derive(Debug)]
pub(crate) struct SessionServer {
    endpoint: String,
    inner: Arc<Mutex<Inner>>,
    _ends: DropGuard,
}

impl SessionServer {
    pub(crate) async fn start(leak: Leak) -> Self {
        let inner = Arc::new(Mutex::new(Inner { leak, asked: Vec::new(), keys: BTreeSet::new() }));
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let end = CancellationToken::new();
        let serving = end.clone().run_until_cancelled_owned(axum::serve(listener, router).into_future());
        TaskTracker::new().spawn(serving);
        Self { endpoint, inner, _ends: end.drop_guard() }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// From now on.
    pub(crate) fn becomes(&self, leak: Leak) {
        self.inner.lock().unwrap().leak = leak;
    }

    /// How many requests began so: `mint`, `session`, `list recordings`, `make-key`, `delete-key`, `revoke`.
    pub(crate) fn asked(&self, what: &str) -> usize {
        self.inner.lock().unwrap().asked.iter().filter(|asked| asked.starts_with(what)).count()
    }

    /// Permanent keys that are there.
    pub(crate) fn keys(&self) -> usize {
        self.inner.lock().unwrap().keys.len()
    }
}

async fn answer(
    State(inner): State<Arc<Mutex<Inner>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut inner = inner.lock().unwrap();
    let leased = headers.contains_key("x-amz-security-token");
    match (method.as_str(), uri.path()) {
        ("POST", "/") if !leased => {
            inner.asked.push("mint".to_owned());
            credentials(inner.asked.len())
        }
        ("POST", path) if path.contains("revoke-tokens") => {
            inner.asked.push("revoke".to_owned());
            StatusCode::NO_CONTENT.into_response()
        }
        ("GET", path) if path.starts_with("/minio/health") => StatusCode::OK.into_response(),
        _ if inner.leak == Leak::Down => fault(503, "SlowDown"),
        _ if inner.leak == Leak::Page => (StatusCode::OK, "<html>welcome").into_response(),
        ("POST", "/") => {
            inner.asked.push("session".to_owned());
            assert!(String::from_utf8_lossy(&body).contains("Deny"), "never without a policy that allows nothing");
            if inner.leak == Leak::BeginsSessions { credentials(inner.asked.len()) } else { fault(403, "AccessDenied") }
        }
        ("PUT", path) if path.ends_with("add-service-account") => {
            inner.asked.push("make-key".to_owned());
            if inner.leak != Leak::MakesKeys {
                return fault(403, "AccessDenied");
            }
            inner.keys.insert("made".to_owned());
            StatusCode::OK.into_response()
        }
        ("DELETE", path) if path.ends_with("delete-service-account") => {
            inner.asked.push("delete-key".to_owned());
            inner.keys.clear();
            StatusCode::NO_CONTENT.into_response()
        }
        // With a key that was made.
        ("GET", "/") if !inner.keys.is_empty() => fault(403, "AccessDenied"),
        ("GET", "/") => fault(403, "InvalidAccessKeyId"),
        ("GET", path) => {
            let bucket = path.trim_start_matches('/').to_owned();
            inner.asked.push(format!("list {bucket}"));
            let allowed = match inner.leak {
                Leak::ForgetsSessions => return fault(403, "InvalidAccessKeyId"),
                Leak::ListsEverything => true,
                Leak::ListsNothing => false,
                Leak::Nothing | Leak::MakesKeys | Leak::BeginsSessions | Leak::Down | Leak::Page => {
                    bucket == "recordings"
                }
            };
            if !allowed {
                return fault(403, "AccessDenied");
            }
            (StatusCode::OK, "<ListBucketResult></ListBucketResult>").into_response()
        }
        (method, path) => panic!("a self-test asks for nothing like {method} {path}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a double of another machine, which has its own clock")]
fn credentials(asked: usize) -> Response {
    let end = OffsetDateTime::now_utc() + Duration::from_secs(3590);
    let end = end.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
    // One key is never given twice.
    assume_role_response(&end).replace("</AccessKeyId>", &format!("{asked}</AccessKeyId>")).into_response()
}

fn fault(status: u16, code: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), format!("<Error><Code>{code}</Code></Error>")).into_response()
}
