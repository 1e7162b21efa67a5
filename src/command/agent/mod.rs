//! `stint agent`: what runs beside a workload, so that it never thinks about leases.

mod credential_process;
mod exec;
mod files;
mod options;
mod serve;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, variable};
use crate::client::{Leases, Renewer, Service};
use crate::clock::{Clock, SystemClock};
use crate::telemetry::{self, LogFormat, TelemetryGuard, TelemetrySettings};

pub use credential_process::{CredentialProcessOptions, print as credential_process};
pub use exec::{ExecOptions, exec};
pub use files::{FilesOptions, files};
pub use options::LeaseOptions;
pub use serve::{ServeOptions, serve};

/// Threads of the runtime: one may be busy with a handshake while the other answers a caller.
const THREADS: usize = 2;

/// The machine's clocks and randomness.
struct Ground {
    clock: Arc<dyn Clock>,
    rng: StdRng,
}

impl Ground {
    fn new() -> Result<Self, Failure> {
        let rng = StdRng::try_from_rng(&mut SysRng);
        let rng = rng.map_err(|_| Failure("the system's random source failed".to_owned()))?;
        Ok(Self { clock: Arc::new(SystemClock::start()), rng })
    }

    /// A loop that renews the lease of this service, and the handle for its callers.
    fn renewer(&mut self, service: Service) -> (Renewer, Leases) {
        Renewer::new(Arc::new(service), Arc::clone(&self.clock), self.rng.fork())
    }
}

/// Runs a command of the agent on a small runtime.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?.block_on(work)
}

/// Logs to stderr.
fn log(json: bool, level: &str) -> Result<TelemetryGuard, Failure> {
    let format = if json { LogFormat::Json } else { LogFormat::Text };
    Ok(telemetry::init(&TelemetrySettings { log: level.to_owned(), format, otlp_endpoint: None })?)
}

/// A directory of this user for what lives as long as the process.
fn runtime_directory() -> PathBuf {
    variable("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// A time to wait, as it is given.
fn wait(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "must be a time, as in 15s or 2m".to_owned())
}

/// SIGHUP asks for a new lease, whatever there is: after a revocation, or a change of policy.
async fn renew_on_hangup(leases: Leases, shutdown: CancellationToken) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    let renewals = async {
        while hangups.recv().await.is_some() {
            tracing::info!("asked for a new lease");
            leases.renew();
        }
    };
    let _ = shutdown.run_until_cancelled(renewals).await;
}
