//! An object server in the process, for newcomers and tests: S3 on a directory, and MinIO's dialect of STS, so that the
//! adapter that is used against MinIO is used against it too. It checks signatures, session tokens, expiry and session
//! policies; it has no users but one parent, no versions and no lifecycle.

mod access;
mod operation;
mod sessions;
mod sts;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::clock::Clock;
use access::Gate;
use sessions::Sessions;
use sts::StsRoute;

/// The buckets of SpaceMusic.
const BUCKETS: [&str; 5] = ["assets", "backups", "exports", "recordings", "textures"];
/// How long answers under way may take to finish once the demo ends.
const DRAIN: Duration = Duration::from_secs(5);

/// The one long-lived identity: it mints, and it may do everything on S3.
#[derive(Debug, Clone)]
pub struct ParentKey {
    /// Its access key.
    pub access_key: String,
    /// Its secret key.
    pub secret_key: SecretString,
}

/// Why the demo's object server does not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoObjectServerError {
    /// The directory, or the socket, cannot be used.
    #[error("the demo's object server cannot use its directory or its socket")]
    Io(#[from] std::io::Error),
    /// The store refuses the directory.
    #[error("the demo's object server cannot keep objects in its directory")]
    Store,
}

/// A running object server; it ends with the `shutdown` it was started with.
#[derive(Debug)]
pub struct DemoObjectServer {
    endpoint: String,
}

impl DemoObjectServer {
    /// Makes the buckets in `directory`, where they outlive the process, and serves on `listener` until `shutdown`.
    /// Minted sessions live in memory only: all end with the process.
    pub fn start(
        listener: TcpListener,
        directory: &Path,
        parent: ParentKey,
        clock: Arc<dyn Clock>,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, DemoObjectServerError> {
        for bucket in BUCKETS {
            std::fs::create_dir_all(directory.join(bucket))?;
        }
        let endpoint = format!("http://{}", listener.local_addr()?);
        let sessions = Arc::new(Sessions::new(parent, clock));
        let router = Router::new()
            .route("/minio/health/live", get(StatusCode::OK))
            .route("/minio/health/ready", get(StatusCode::OK))
            .route("/minio/health/cluster", get(StatusCode::OK))
            .fallback(answer)
            .with_state(s3_service(directory, &sessions)?)
            .into_make_service_with_connect_info::<SocketAddr>();
        tasks.spawn(async move {
            let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
            let drained = async {
                shutdown.cancelled().await;
                tokio::time::sleep(DRAIN).await;
            };
            tokio::select! {
                result = server.into_future() => if let Err(error) = result {
                    tracing::error!(%error, "the demo's object server ended");
                },
                () = drained => tracing::warn!("the demo's object server cut off its last answers"),
            }
        });
        Ok(Self { endpoint })
    }

    /// `http://address:port`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

fn s3_service(directory: &Path, sessions: &Arc<Sessions>) -> Result<S3Service, DemoObjectServerError> {
    let mut builder = S3ServiceBuilder::new(FileSystem::new(directory).map_err(|_| DemoObjectServerError::Store)?);
    builder.set_auth(Gate::new(Arc::clone(sessions)));
    builder.set_access(Gate::new(Arc::clone(sessions)));
    builder.set_route(StsRoute::new(Arc::clone(sessions)));
    Ok(builder.build())
}

async fn answer(State(s3): State<S3Service>, request: Request) -> Response {
    let asks_sts = sts::asks_sts(request.method(), request.uri(), request.headers());
    // s3s and s3s-fs write whole requests into their spans, session tokens and signatures among them: no subscriber hears them.
    let call = s3.call(request.map(s3s::Body::http_body_unsync)).with_subscriber(NoSubscriber::new());
    let Ok(response) = call.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // A signature is refused before the route is asked, and in S3's words; MinIO says it in those of STS.
    if asks_sts && response.status().is_client_error() && response.extensions().get::<sts::InItsOwnWords>().is_none() {
        return sts::Fault::AccessDenied.response().map(Body::new);
    }
    response.map(Body::new)
}
