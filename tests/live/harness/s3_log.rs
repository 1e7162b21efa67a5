//! What MinIO itself says of each request under a lease, by its audit webhook: which key signed it, and what came of it. So no
//! client has to say whether it refreshed, and none is changed to be watched.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::any;
use serde_json::{Deserializer, Value};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::minio::{PARENT, ROOT};

/// One request under a lease.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    /// The access key id.
    key: String,
    /// As MinIO calls it: `PutObject`.
    operation: String,
    status: u16,
}

impl Signed {
    /// Whether it did what was asked.
    pub(crate) fn went_well(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What it was and what it was told, when the key was no good for it.
    pub(crate) fn refusal(&self) -> Option<String> {
        matches!(self.status, 401 | 403).then(|| format!("{} {}", self.operation, self.status))
    }
}

type Requests = Arc<Mutex<Vec<Signed>>>;

/// Requests in the order in which MinIO told of them; it ends when dropped.
pub(crate) struct S3Log {
    url: String,
    requests: Requests,
    _ends: DropGuard,
}

impl S3Log {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Requests::default();
        let router = Router::new().fallback(any(keep)).with_state(Arc::clone(&requests));
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(axum::serve(listener, router).into_future()));
        Self { url, requests, _ends: stop.drop_guard() }
    }

    /// What MinIO's environment has to say of it.
    pub(crate) fn environment(&self) -> [(&str, &str); 2] {
        [("MINIO_AUDIT_WEBHOOK_ENABLE_tests", "on"), ("MINIO_AUDIT_WEBHOOK_ENDPOINT_tests", &self.url)]
    }

    /// All requests under leases so far.
    pub(crate) fn requests(&self) -> Vec<Signed> {
        self.requests.lock().expect("nobody panics").clone()
    }

    /// The keys that did something.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.requests().into_iter().filter(Signed::went_well).map(|request| request.key).collect()
    }
}

async fn keep(State(requests): State<Requests>, body: Bytes) {
    for entry in Deserializer::from_slice(&body).into_iter::<Value>() {
        let Ok(entry) = entry else { return };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = text(&entry["accessKey"]);
        let leased = !key.is_empty() && key != PARENT && key != ROOT;
        if let (true, Some(status)) = (leased, entry["api"]["statusCode"].as_u64()) {
            let status = u16::try_from(status).expect("a status");
            let operation = text(&entry["api"]["name"]);
            requests.lock().expect("nobody panics").push(Signed { key, operation, status });
        }
    }
}
