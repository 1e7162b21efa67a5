//! An object server that keeps buckets in memory, knows a signed request from an unsigned one, and lies as it is told. It
//! looks at no signature: what is tested is what is believed of its answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::object_server::assume_role_response;

/// What it lies about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    Nothing,
    /// Strangers read and list, whatever the policy says.
    StaysPublic,
    /// Strangers write.
    TakesFromStrangers,
    /// Strangers are sent elsewhere.
    RedirectsStrangers,
    /// Strangers meet a fault.
    FailsStrangers,
    /// A lifecycle is taken and not kept.
    ForgetsLifecycle,
    /// Versioning is taken and not kept.
    ForgetsVersioning,
    /// A bucket policy is deleted and stays.
    KeepsPolicy,
    /// The lifecycle is cut off.
    CutsLifecycle,
    /// The bucket policy never ends.
    EndlessPolicy,
    /// The ACL is a web page.
    AclIsAPage,
    /// Nothing is said of the ACL, ever.
    Hangs,
    /// Buckets are not made.
    RefusesBuckets,
    /// Everything is allowed to everybody, and sessions and keys to whoever asks.
    AllowsEverything,
    /// The same, and nothing is ever said of an object: a run is always under way.
    HangsOnObjects,
}

#[derive(Debug, Default)]
struct Bucket {
    policy: Option<String>,
    lifecycle: Option<String>,
    versioning: Option<String>,
    objects: BTreeMap<String, Bytes>,
}

#[derive(Debug)]
struct Server {
    lie: Lie,
    buckets: Mutex<BTreeMap<String, Bucket>>,
    writes: Mutex<Vec<String>>,
    minted: AtomicUsize,
}

/// A running one; it ends when dropped.
#[derive(Debug)]
pub(crate) struct BucketServer {
    endpoint: String,
    server: Arc<Server>,
    _ends: DropGuard,
}

impl BucketServer {
    pub(crate) async fn start(lie: Lie) -> Self {
        let server =
            Arc::new(Server { lie, buckets: Mutex::default(), writes: Mutex::default(), minted: AtomicUsize::new(10) });
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let end = CancellationToken::new();
        let serving = end.clone().run_until_cancelled_owned(axum::serve(listener, router).into_future());
        TaskTracker::new().spawn(serving);
        Self { endpoint, server, _ends: end.drop_guard() }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A bucket with this policy.
    pub(crate) fn with_policy(&self, bucket: &str, policy: &str) {
        let bucket_with_policy = Bucket { policy: Some(policy.to_owned()), ..Bucket::default() };
        self.server.buckets.lock().unwrap().insert(bucket.to_owned(), bucket_with_policy);
    }

    pub(crate) fn policy(&self, bucket: &str) -> Option<String> {
        self.server.buckets.lock().unwrap()[bucket].policy.clone()
    }

    /// Every signed request that was not a `GET` or `HEAD`.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.server.writes.lock().unwrap().clone()
    }

    /// The names of all objects.
    pub(crate) fn objects(&self) -> Vec<String> {
        self.server.buckets.lock().unwrap().values().flat_map(|bucket| bucket.objects.keys().cloned()).collect()
    }
}

fn refused(status: u16, code: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), format!("<Error><Code>{code}</Code></Error>")).into_response()
}

async fn answer(
    State(server): State<Arc<Server>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let query = uri.query().unwrap_or_default().to_owned();
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let signed = headers.contains_key("authorization") || has("X-Amz-Signature");
    let everything = matches!(server.lie, Lie::AllowsEverything | Lie::HangsOnObjects);
    if uri.path() == "/minio/health/cluster" {
        return StatusCode::OK.into_response();
    }
    if uri.path() == "/" && method == Method::POST && everything {
        let key = format!("KEY{}", server.minted.fetch_add(1, Ordering::Relaxed));
        return assume_role_response(&in_15_minutes()).replace("GGCTIHYG44N04A0X14LN", &key).into_response();
    }
    if uri.path().starts_with("/minio/admin/") && everything {
        let status = if uri.path().contains("revoke-tokens") { StatusCode::NO_CONTENT } else { StatusCode::OK };
        return (status, r#"{"policyName":"p","status":"enabled"}"#).into_response();
    }
    if signed && !matches!(method, Method::GET | Method::HEAD) {
        server.writes.lock().unwrap().push(format!("{method} {uri}"));
    }
    let (name, key) =
        uri.path().trim_start_matches('/').split_once('/').unwrap_or((uri.path().trim_start_matches('/'), ""));
    if !signed {
        match server.lie {
            Lie::StaysPublic if method == Method::GET => {}
            Lie::TakesFromStrangers if method == Method::PUT => {}
            Lie::AllowsEverything | Lie::HangsOnObjects => {}
            Lie::RedirectsStrangers => {
                return (StatusCode::TEMPORARY_REDIRECT, [("location", "http://127.0.0.1:1/")]).into_response();
            }
            Lie::FailsStrangers => return refused(500, "InternalError"),
            Lie::Nothing
            | Lie::StaysPublic
            | Lie::TakesFromStrangers
            | Lie::ForgetsLifecycle
            | Lie::ForgetsVersioning
            | Lie::KeepsPolicy
            | Lie::CutsLifecycle
            | Lie::EndlessPolicy
            | Lie::AclIsAPage
            | Lie::Hangs
            | Lie::RefusesBuckets => return refused(403, "AccessDenied"),
        }
    }
    if server.lie == Lie::Hangs && has("acl") || server.lie == Lie::HangsOnObjects && !key.is_empty() {
        std::future::pending::<()>().await;
    }
    let mut buckets = server.buckets.lock().unwrap();
    if key.is_empty() && query.is_empty() && method == Method::PUT {
        if server.lie == Lie::RefusesBuckets {
            return refused(403, "AccessDenied");
        }
        buckets.entry(name.to_owned()).or_default();
        return StatusCode::OK.into_response();
    }
    let Some(bucket) = buckets.get_mut(name) else { return refused(404, "NoSuchBucket") };
    if key.is_empty() {
        return on_bucket(server.lie, bucket, &method, &has, &body);
    }
    match method {
        Method::PUT => {
            bucket.objects.insert(key.to_owned(), body);
            StatusCode::OK.into_response()
        }
        Method::DELETE => {
            bucket.objects.remove(key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => bucket.objects.get(key).map_or_else(|| refused(404, "NoSuchKey"), |body| body.clone().into_response()),
    }
}

fn on_bucket(lie: Lie, bucket: &mut Bucket, method: &Method, has: &dyn Fn(&str) -> bool, body: &Bytes) -> Response {
    let text = || String::from_utf8(body.to_vec()).unwrap();
    let kept =
        |part: &Option<String>, code| part.clone().map_or_else(|| refused(404, code), IntoResponse::into_response);
    match method.as_str() {
        "HEAD" => StatusCode::OK.into_response(),
        "GET" if has("policy") && lie == Lie::EndlessPolicy => {
            Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 65_536]))))
                .into_response()
        }
        "GET" if has("policy") => kept(&bucket.policy, "NoSuchBucketPolicy"),
        "PUT" if has("policy") => {
            bucket.policy = Some(text());
            StatusCode::NO_CONTENT.into_response()
        }
        "DELETE" if has("policy") => {
            if lie != Lie::KeepsPolicy {
                bucket.policy = None;
            }
            StatusCode::NO_CONTENT.into_response()
        }
        "GET" if has("acl") && lie == Lie::AclIsAPage => "<html><p>hello</html>".into_response(),
        "GET" if has("acl") => "<AccessControlPolicy/>".into_response(),
        "GET" if has("lifecycle") && lie == Lie::CutsLifecycle => "<LifecycleConfiguration><Rule>".into_response(),
        "GET" if has("lifecycle") => kept(&bucket.lifecycle, "NoSuchLifecycleConfiguration"),
        "PUT" if has("lifecycle") => {
            if lie != Lie::ForgetsLifecycle {
                bucket.lifecycle = Some(text());
            }
            StatusCode::OK.into_response()
        }
        "DELETE" if has("lifecycle") => {
            bucket.lifecycle = None;
            StatusCode::NO_CONTENT.into_response()
        }
        "GET" if has("versioning") => {
            bucket.versioning.clone().unwrap_or_else(|| "<VersioningConfiguration/>".to_owned()).into_response()
        }
        "PUT" if has("versioning") => {
            if lie != Lie::ForgetsVersioning {
                bucket.versioning = Some(text());
            }
            StatusCode::OK.into_response()
        }
        "GET" if has("list-type") => {
            let object = |key: &String| format!("<Contents><Key>{}</Key></Contents>", key.replace("%20", " "));
            let listed: String = bucket.objects.keys().map(object).collect();
            format!("<ListBucketResult>{listed}</ListBucketResult>").into_response()
        }
        _ => refused(501, "NotImplemented"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a double of another machine, which has its own clock")]
fn in_15_minutes() -> String {
    let end = time::OffsetDateTime::now_utc() + std::time::Duration::from_mins(15);
    end.replace_nanosecond(0).unwrap().format(&time::format_description::well_known::Rfc3339).unwrap()
}
