//! The lease desk, put together from the configuration: behind the service's doors, and for the command line, which works
//! beside the service and while it is down.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::console::Console;
use super::object_server::{s3_client_within, s3_key};
use super::{StartError, fingerprint_key, parents};
use crate::audit::{
    AuditError, AuditLog, FingerprintKey, Identity, Inquiry, LeaseOnRecord, RecordedEffect, Request, StoreError,
};
use crate::clock::Clock;
use crate::config::{BootstrapKey, Config, ObjectServerKind, ObjectServerSettings};
use crate::desk::{
    Desk, DeskParts, Ended, HeldCredentials, LeaseDesk, LeaseDeskParts, Operators, Pace, RunError, Selection,
    SessionProbe, SessionProber, Summary, Whose,
};
use crate::object_server::probe::Prober;
use crate::object_server::s3::{S3Client, S3Settings};
use crate::object_server::{ConfigError, ObjectServer, Parents, RoleDeny, RoleDenySettings, WithRoleDeny};
use crate::policy::PolicySet;
use crate::postgres::PostgresStore;
use crate::token::Verifier;

/// How long one probe may take: a listing of one name.
const PROBE: Duration = Duration::from_secs(3);
/// How long one call of the IAM may take.
const IAM: Duration = Duration::from_secs(10);

/// What the desk behind the doors shares with the exchange.
pub(super) struct Shared {
    pub(super) store: Arc<PostgresStore>,
    pub(super) object_server: Arc<dyn ObjectServer>,
    pub(super) log: Arc<AuditLog>,
    pub(super) held: Arc<HeldCredentials>,
    pub(super) fingerprints: FingerprintKey,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) verifier: Verifier,
    pub(super) policies: Arc<ArcSwap<PolicySet>>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// Asks S3 whether a credential is good.
pub(super) fn probe_client(settings: &ObjectServerSettings, clock: &Arc<dyn Clock>) -> Result<S3Client, ConfigError> {
    s3_client_within(settings, PROBE, clock)
}

/// The desk behind the doors. It holds what was handed out, and no administrator's key.
pub(super) fn behind_doors(probing: S3Client, shared: Shared) -> LeaseDesk {
    let Shared { store, object_server, log, held, fingerprints, clock, verifier, policies, tasks, stop } = shared;
    let prober = SessionProber::new(Prober::new(probing));
    let probe: Option<Arc<dyn SessionProbe>> = Some(Arc::new(prober));
    let desk = Desk::new(DeskParts { open_leases: store, object_server, log, held, probe, fingerprints, clock });
    LeaseDesk::new(LeaseDeskParts { operators: Operators { verifier, policies }, desk, tasks, stop })
}

/// What is asked at the command line.
#[derive(Debug)]
pub struct Wish {
    /// Which leases.
    pub selection: Selection,
    /// Why; recorded.
    pub why: Option<String>,
    /// Whom the system runs the command as.
    pub user: Option<String>,
    /// How many a second at most.
    pub pace: Pace,
}

/// Why the command did not do all of it, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// Everything that stops the service too.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The log does not take it: for that lease nothing was sent.
    #[error("the revocation could not be recorded, so the object server was not asked for it: {0}")]
    Audit(#[from] AuditError),
    /// The open leases cannot be read.
    #[error("the open leases cannot be read: {0}")]
    Store(#[from] StoreError),
}

impl From<RunError> for DeskError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Audit(error) => error.into(),
            RunError::Store(error) => error.into(),
        }
    }
}

impl From<ConfigError> for DeskError {
    fn from(error: ConfigError) -> Self {
        Self::Start(error.into())
    }
}

/// Ends the leases that are meant, each told as it is done: on record in a stream of this run's own. On an error, what was
/// told was done.
pub async fn revoke_leases(
    config: Config,
    administrator: Option<BootstrapKey>,
    wish: &Wish,
    clock: Arc<dyn Clock>,
    stop: &CancellationToken,
    told: &mut (dyn FnMut(Ended) + Send),
) -> Result<Summary, DeskError> {
    let server = Arc::new(with_administrator(&config, administrator, &wish.selection, &clock)?);
    let (desk, console) = at_the_console(&config, server, wish, clock).await?;
    let ran = desk.run((&wish.selection, Whose::Operators), &console.by, wish.pace, stop, told).await;
    drop(desk);
    console.close().await;
    Ok(ran?)
}

/// Tells which leases are meant, and ends none. That somebody was shown them is on record first.
pub async fn list_leases(
    config: Config,
    wish: &Wish,
    clock: Arc<dyn Clock>,
    stop: &CancellationToken,
    told: &mut (dyn FnMut(&LeaseOnRecord) + Send),
) -> Result<(), DeskError> {
    let server = Arc::new(parents::parents(&config.object_server, &fingerprint_key(&config), &clock)?);
    let (desk, console) = at_the_console(&config, server, wish, clock).await?;
    let request = Request::for_no_lease(console.by.origin, None);
    let identity = Identity::at_the_console(wish.user.clone());
    let detail = format!("list open leases: {}", wish.selection.told());
    let read = Inquiry { request, identity, effect: RecordedEffect::Allow, reason: "read", detail };
    let listed = match desk.record_reading(read).await {
        Ok(()) => desk.list(&wish.selection, stop, told).await.map_err(DeskError::from),
        Err(error) => Err(error.into()),
    };
    drop(desk);
    console.close().await;
    listed
}

async fn at_the_console(
    config: &Config,
    object_server: Arc<dyn ObjectServer>,
    wish: &Wish,
    clock: Arc<dyn Clock>,
) -> Result<(Desk, Console), StartError> {
    let console = Console::open(config, (wish.user.as_deref(), wish.why.as_deref()), Arc::clone(&clock)).await?;
    let (open_leases, log) = (console.store.clone(), Arc::clone(&console.log));
    let (held, fingerprints) = (Arc::new(HeldCredentials::default()), fingerprint_key(config));
    let desk = Desk::new(DeskParts { open_leases, object_server, log, held, probe: None, fingerprints, clock });
    Ok((desk, console))
}

/// Every parent; where sessions are kept by nobody, with the means of an administrator to end all of a role. A role that
/// several parents assume is cut only when every lease is meant: the others' would end with it.
fn with_administrator(
    config: &Config,
    administrator: Option<BootstrapKey>,
    selection: &Selection,
    clock: &Arc<dyn Clock>,
) -> Result<Parents, ConfigError> {
    let (settings, fingerprints) = (&config.object_server, fingerprint_key(config));
    let mut parents = parents::each(settings, &fingerprints, clock)?;
    let Some(key) = administrator else { return Parents::new(parents) };
    let roles = parents::assumed_roles(settings, &fingerprints);
    for parent in &mut parents {
        let Some(role) = roles.get(&parent.id) else { continue };
        let is_shared = roles.values().filter(|other| *other == role).count() > 1;
        if is_shared && *selection != Selection::All {
            continue;
        }
        let (endpoint, region) = match &settings.kind {
            // The IAM of AWS is one for all regions.
            ObjectServerKind::Aws(_) => ("https://iam.amazonaws.com", "us-east-1"),
            ObjectServerKind::Ceph(_)
            | ObjectServerKind::Minio
            | ObjectServerKind::Rustfs
            | ObjectServerKind::Seaweedfs(_)
            | ObjectServerKind::Garage { .. } => (settings.endpoint.as_str(), settings.region.as_str()),
        };
        let iam = S3Settings { endpoint: endpoint.to_owned(), region: region.to_owned(), timeout: IAM };
        let iam = S3Client::new(iam, Arc::clone(clock))?;
        let deny = RoleDenySettings { iam, administrator: s3_key(key.clone()), role: role.clone() };
        let deny = RoleDeny::new(deny, Arc::clone(clock));
        parent.server = Arc::new(WithRoleDeny::new(Arc::clone(&parent.server), deny));
    }
    Parents::new(parents)
}
