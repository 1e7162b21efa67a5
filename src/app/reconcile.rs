//! `stint object-server reconcile`, put together from the configuration: the same comparison as the service's background
//! job, made once, and once more after the doubt if anything was out of place.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::{StartError, fingerprint_key, open_log, parents};
use crate::clock::Clock;
use crate::config::Config;
use crate::postgres::{PostgresLeaseRecords, PostgresStore};
use crate::reconciler::listing::{
    DOUBT, ListingParts, ListingReconciler, Pass, ReconcileError as CompareError, Report,
};
use crate::telemetry::Metrics;

/// How often a turn is asked for while another instance compares, and how long it is waited for.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const PATIENCE: u32 = 60;

/// Why `reconcile` says nothing of the credentials.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileFailure {
    /// Another instance compares, and did not finish.
    #[error("another instance is comparing at this moment; it tells what it finds in the log")]
    Elsewhere,
    /// The comparison failed.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// Everything that stops the service too.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What the command tells while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconcileTold {
    /// The server is being asked for its list, and the log for its leases.
    Comparing,
    /// So many are out of place, and exchanges may be under way: it is looked at again after this time.
    Waiting {
        /// Credentials and leases.
        in_doubt: usize,
        /// How long.
        pause: Duration,
    },
}

/// Compares. No report: the server keeps no list.
pub async fn reconcile(
    config: Config,
    revoke_orphans: bool,
    clock: Arc<dyn Clock>,
    told: &mut (dyn FnMut(ReconcileTold) + Send),
) -> Result<Option<Report>, ReconcileFailure> {
    let fingerprints = fingerprint_key(&config);
    let server = parents::parents(&config.object_server, &fingerprints, &clock).map_err(StartError::from)?;
    let store = PostgresStore::connect(&config.postgres_url, config.audit.deadline).await.map_err(StartError::from)?;
    let (store, tasks) = (Arc::new(store), TaskTracker::new());
    let log = open_log(&config.audit, store.clone(), Arc::clone(&clock), &tasks)?;
    let mut reconciler = ListingReconciler::new(ListingParts {
        records: Arc::new(PostgresLeaseRecords::new(store)),
        object_server: Arc::new(server),
        log: Arc::new(log),
        fingerprints,
        clock,
        metrics: Arc::new(Metrics::default()),
        revoke_orphans: revoke_orphans || config.object_server.reconcile.revoke_orphans,
    });
    let mut report = compared(&mut reconciler, told).await;
    if let Ok(Some(Report { in_doubt: in_doubt @ 1.., .. })) = report {
        let pause = DOUBT + Duration::from_secs(1);
        told(ReconcileTold::Waiting { in_doubt, pause });
        sleep(pause).await;
        report = compared(&mut reconciler, told).await;
    }
    // The stream is closed when the log is dropped.
    drop(reconciler);
    tasks.close();
    if tokio::time::timeout(config.audit.deadline * 2, tasks.wait()).await.is_err() {
        tracing::warn!("the log's stream could not be closed in time; what was committed stands");
    }
    report
}

async fn compared(
    reconciler: &mut ListingReconciler,
    told: &mut (dyn FnMut(ReconcileTold) + Send),
) -> Result<Option<Report>, ReconcileFailure> {
    told(ReconcileTold::Comparing);
    for _ in 0..PATIENCE {
        match reconciler.pass().await? {
            Pass::Compared(report) => return Ok(Some(report)),
            Pass::NoList => return Ok(None),
            Pass::Elsewhere => sleep(ASK_AGAIN).await,
        }
    }
    Err(ReconcileFailure::Elsewhere)
}
