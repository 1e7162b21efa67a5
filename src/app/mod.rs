//! The composition root: makes the adapters, hands them to the exchange, and runs the doors until told to stop. It
//! decides nothing that a room decides.

mod break_glass;
mod console;
mod emergency;
mod forecast;
mod freezing;
mod ground;
mod instances;
mod key_files;
mod lease_desk;
mod object_server;
mod parents;
mod policies;
mod probes;
mod readiness;
mod reconcile;
mod rotate;
mod signing_key;
mod watching;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use break_glass::Glass;
use forecast::Forecaster;
pub use freezing::{FreezeError, FreezeWish, list_freezes, set_freeze, thaw};
use instances::Instances;
pub use key_files::{KeyFiles, KeyFilesError};
pub use lease_desk::{DeskError, Wish, list_leases, revoke_leases};
use object_server::SELF_TEST_TIMEOUT;
pub use object_server::{BootstrapError, ConformanceOptions, VerifyError, bootstrap, verify};
pub use parents::Reread;
pub use policies::{PolicyReport, compile_directory, compile_policies};
pub use reconcile::{ReconcileTold, reconcile};
pub use rotate::{RotateError, Rotated, Rotation, Waiting};
pub use signing_key::{SigningKeyError, SigningKeyFile};

use crate::audit::{AuditError, AuditLog, AuditStore, FingerprintKey, LogParts, LogSettings, SigningKey};
use crate::break_glass::journal::JournalError;
use crate::clock::{Clock, SystemClock};
use crate::config::{AuditSettings, Config, ObjectServerKind};
use crate::desk::{
    Callers, FreezeDesk, FreezeDeskParts, FreezeWatch, HeldCredentials, Operators, Outstanding, Rates, SharedState,
    Watch, WatchParts,
};
use crate::exchange::{Exchange, ExchangeParts};
use crate::http::{Doors, TlsError, router, serve};
use crate::inquiry::{ArchiveParts, Inquiry, Readers};
use crate::issuer::IssuerKeys;
use crate::lease::{Capabilities, Smoothing};
use crate::object_server::{ConfigError, ObjectServer, Parents, SelfTest, Standings};
use crate::postgres::{PostgresError, PostgresLeaseRecords, PostgresLoneIntents, PostgresSharedState, PostgresStore};
use crate::reconciler::listing::{ListingParts, ListingReconciler};
use crate::reconciler::{Reconciler, ReconcilerParts};
use crate::token::Verifier;
use crate::webhook::NoClient;
use ground::Ground;

/// How long one call to the object server may take: shorter than any SDK's patience with an STS call.
const OBJECT_SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// How many events may wait for the log's writer.
const LOG_QUEUE: usize = 4096;
/// Exchanges under way at once; one more is refused at the door. Each holds some kilobytes and waits for two commits.
const MAX_CONCURRENT_EXCHANGES: usize = 1024;
/// And of one holder: however many one has under way, half of the places are there for the others.
const MAX_CONCURRENT_PER_HOLDER: usize = MAX_CONCURRENT_EXCHANGES / 2;
/// How long the doors wait for the issuers' keys, which are usually here within milliseconds: an issuer that is down or
/// slow must not keep the service from starting.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long a key fetch may take, with something over for what only computes.
const KEYS: Duration = Duration::from_secs(6);

/// A service that is ready to run: it listens, its log is open, its policies are loaded.
#[derive(Debug)]
pub struct App {
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    doors: Doors,
    address: SocketAddr,
    reloader: policies::Reloader,
    reconciler: Reconciler,
    forecaster: Forecaster,
    listing: Option<(ListingReconciler, Duration)>,
    instances: Instances,
    issuers: Arc<IssuerKeys>,
    tasks: TaskTracker,
    parents: Arc<Parents>,
    self_test: Arc<SelfTest>,
    server: (ObjectServerKind, String, String),
    fingerprints: FingerprintKey,
    clock: Arc<dyn Clock>,
    /// Only where there is a journal: without one there is no break-glass.
    glass: Option<Glass>,
    /// Ends a run of revocations between two leases.
    stop_runs: CancellationToken,
    /// How long an exchange under way may take to end.
    patience: Duration,
}

/// Why the service does not start, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy directory does not compile.
    #[error("the policy directory is not usable:\n{}", .0.join("\n"))]
    Policies(Vec<String>),
    /// PostgreSQL cannot be used.
    #[error("postgres: {0}")]
    Postgres(#[from] PostgresError),
    /// The first event could not be written.
    #[error("the issuance log cannot be written: {0}")]
    Log(#[from] AuditError),
    /// The signing key cannot be used.
    #[error("audit.signing_key_file: {0}")]
    SigningKey(#[from] SigningKeyError),
    /// The object server's settings make no sense.
    #[error("object_server: {0}")]
    ObjectServer(#[from] ConfigError),
    /// The certificate or its key cannot be used.
    #[error("http.tls: {0}")]
    Tls(#[from] TlsError),
    /// The doors closed by themselves.
    #[error("the doors closed: {0}")]
    Serve(#[source] std::io::Error),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Alerts of emergencies could not be sent.
    #[error("break_glass: {0}")]
    Alerts(#[from] NoClient),
    /// The journal cannot be used.
    #[error("break_glass.journal: {0}")]
    Journal(#[from] JournalError),
    /// The system has no randomness.
    #[error("the system's random source failed")]
    Randomness,
}

impl StartError {
    /// Whether it is about a PostgreSQL that does not answer, or takes nothing now: waiting may heal it.
    fn may_heal(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_outage(),
            Self::Log(_) | Self::Journal(_) => true,
            Self::Policies(_)
            | Self::SigningKey(_)
            | Self::ObjectServer(_)
            | Self::Tls(_)
            | Self::Serve(_)
            | Self::Listen { .. }
            | Self::Alerts(_)
            | Self::Randomness => false,
        }
    }

    /// What an operator may do about it, where the error itself does not say.
    #[must_use]
    pub fn cure(&self) -> Option<&'static str> {
        match self {
            Self::Postgres(_) => Some("Look at postgres.url, and whether PostgreSQL takes connections there."),
            Self::Listen { .. } => Some("Choose another http.listen, or stop what listens there."),
            Self::Policies(_) => Some("`stint check` says the same without starting anything."),
            Self::SigningKey(_) => {
                Some("`openssl genpkey -algorithm ed25519 -out signing.pem` makes one; then `chmod 600 signing.pem`.")
            }
            Self::Log(_)
            | Self::ObjectServer(_)
            | Self::Tls(_)
            | Self::Serve(_)
            | Self::Alerts(_)
            | Self::Journal(_)
            | Self::Randomness => None,
        }
    }
}

/// The key that seals this process's streams: that of the file, or one that lives as long as the process.
pub fn sealing_key(settings: &AuditSettings) -> Result<SigningKey, StartError> {
    if let Some(path) = &settings.signing_key_file {
        return SigningKeyFile::read(path)?.key().map_err(|_| StartError::Randomness);
    }
    tracing::warn!(
        "audit.signing_key_file is not set: the log is sealed with a key of this process alone, which nobody can have \
         known beforehand"
    );
    SigningKey::generate().map_err(|_| StartError::Randomness)
}

/// The key that signs checkpoints: that of the file, or none. One that lives as long as a process proves nothing later.
pub fn checkpoint_key(settings: &AuditSettings) -> Result<Option<SigningKey>, StartError> {
    settings.signing_key_file.is_some().then(|| sealing_key(settings)).transpose()
}

/// Opens the log, in a stream of its own.
pub fn open_log(
    settings: &AuditSettings,
    store: Arc<dyn AuditStore>,
    clock: Arc<dyn Clock>,
    tasks: &TaskTracker,
) -> Result<AuditLog, StartError> {
    let key = sealing_key(settings)?;
    let settings = LogSettings { deadline: settings.deadline, queue: LOG_QUEUE };
    Ok(AuditLog::open(LogParts { store, clock, rng: random()?, key, settings }, tasks))
}

impl App {
    /// Builds everything from a finished configuration. PostgreSQL must answer.
    pub async fn build(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        Ground::lay(config, clock)?.raise().await
    }

    /// The same, and where PostgreSQL does not answer and break-glass is configured, first serves that alone until it does.
    /// None where `shutdown` came first.
    pub async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, StartError> {
        let mut ground = Ground::lay(config, clock)?;
        let built = tokio::select! {
            built = ground.raise() => built,
            () = shutdown.cancelled() => return Ok(None),
        };
        match built {
            Ok(app) => Ok(Some(app)),
            Err(error) if error.may_heal() && ground.has_break_glass() => {
                emergency::until_whole(&mut ground, &error, shutdown).await
            }
            Err(error) => Err(error),
        }
    }

    /// Builds the rest on the ground, with the log of this store: `store` takes nothing before the journal is merged.
    async fn on(ground: &Ground, postgres: Arc<PostgresStore>, gated: Arc<dyn AuditStore>) -> Result<Self, StartError> {
        let Ground { config, clock, address, tls, self_test, fingerprints, parents, report, .. } = ground;
        let Ground { policies, issuers, metrics, tasks, glass, .. } = ground;
        let (address, store) = (*address, postgres);
        let listener = ground.listener.try_clone().map_err(|source| StartError::Listen { address, source })?;
        let (clock, tls, fingerprints) = (Arc::clone(clock), tls.clone(), fingerprints.clone());
        let (self_test, parents, issuers) = (Arc::clone(self_test), Arc::clone(parents), Arc::clone(issuers));
        let (metrics, tasks, glass) = (Arc::clone(metrics), tasks.clone(), glass.clone());
        let object_server: Arc<dyn ObjectServer> = parents.clone();
        let log = Arc::new(open_log(&config.audit, Arc::clone(&gated), Arc::clone(&clock), &tasks)?);
        metrics.watch_log(log.meter());

        let rules: Vec<_> = config.issuers.iter().map(|issuer| issuer.rules.clone()).collect();
        let (lease_rules, quotas) = (config.lease, config.quotas);
        let (every, revoke_orphans) =
            (config.object_server.reconcile.every, config.object_server.reconcile.revoke_orphans);
        let server = parents::identity(&config.object_server);
        let probing = lease_desk::probe_client(&config.object_server, &clock)?;
        let audit_deadline = config.audit.deadline;
        let patience = longest_exchange(audit_deadline);
        let public_url = config.http.public_url.clone();
        let trusted_proxies = config.http.trusted_proxies.clone();
        let signing_key = checkpoint_key(&config.audit)?;
        let standings = Arc::new(Standings::new(lease_rules.self_test, report.policies.hash()));
        let kept = policies::Kept { log: Arc::clone(&log), store: gated, metrics: Arc::clone(&metrics) };
        let reloader = policies::Reloader::start(
            config,
            report,
            Arc::clone(policies),
            object_server.capabilities().clone(),
            kept,
            Arc::clone(&standings),
        )
        .await?;

        let readers = Readers { verifier: Verifier::new(rules.clone(), issuers.clone()), policies: reloader.current() };
        let archive = ArchiveParts {
            log: Arc::clone(&log),
            questions: store.clone(),
            ledger: store.clone(),
            signing_key,
            fingerprints: fingerprints.clone(),
            lease_rules,
            clock: Arc::clone(&clock),
        };
        let smoothing = lease_rules.mints_per_second.map(|cap| Arc::new(Smoothing::new(cap, clock.now())));
        let forecaster = Forecaster {
            questions: store.clone(),
            rules: lease_rules,
            smoothing: smoothing.clone(),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
        };
        let listing = ListingParts {
            records: Arc::new(PostgresLeaseRecords::new(Arc::clone(&store))),
            object_server: Arc::clone(&object_server),
            log: Arc::clone(&log),
            fingerprints: fingerprints.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            revoke_orphans,
        };
        let shared: Arc<dyn SharedState> = Arc::new(PostgresSharedState::new(Arc::clone(&store), audit_deadline));
        let freezes = Arc::new(FreezeWatch::new(Arc::clone(&shared), Arc::clone(&clock)));
        let (held, stop_runs) = (Arc::new(HeldCredentials::default()), CancellationToken::new());
        let callers = Callers::new(Arc::clone(&held), Arc::clone(&clock));
        let desk = lease_desk::Shared {
            store: Arc::clone(&store),
            object_server: Arc::clone(&object_server),
            log: Arc::clone(&log),
            held: Arc::clone(&held),
            fingerprints: fingerprints.clone(),
            clock: Arc::clone(&clock),
            verifier: Verifier::new(rules.clone(), issuers.clone()),
            policies: reloader.current(),
            tasks: tasks.clone(),
            stop: stop_runs.clone(),
        };
        let desk = lease_desk::behind_doors(probing, desk);
        let freeze_desk = FreezeDesk::new(FreezeDeskParts {
            operators: Operators {
                verifier: Verifier::new(rules.clone(), issuers.clone()),
                policies: reloader.current(),
            },
            freezes: Arc::clone(&freezes),
            log: Arc::clone(&log),
            clock: Arc::clone(&clock),
            rng: Mutex::new(random()?),
        });
        let wake = Arc::new(Notify::new());
        let watch = Watch::new(WatchParts {
            freezes: Arc::clone(&freezes),
            shared: Arc::clone(&shared),
            held: Arc::clone(&held),
            wake: Arc::clone(&wake),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
        });
        let instances = Instances { watch, wake, store: Arc::clone(&store) };
        let exchange = Exchange::new(ExchangeParts {
            verifier: Verifier::new(rules, issuers.clone()),
            policies: reloader.current(),
            rates: Rates::new(&quotas, MAX_CONCURRENT_PER_HOLDER, &clock),
            freezes,
            lease_rules,
            outstanding: Outstanding::new(quotas, Arc::clone(&shared), Arc::clone(&clock)),
            smoothing,
            log: Arc::clone(&log),
            fingerprints: fingerprints.clone(),
            object_server: Arc::clone(&object_server),
            held,
            self_test: Arc::clone(&self_test),
            standings: Arc::clone(&standings),
            rng: Mutex::new(random()?),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            tasks: tasks.clone(),
        });
        let reconciler = Reconciler::new(ReconcilerParts {
            lone_intents: Arc::new(PostgresLoneIntents::new(Arc::clone(&store))),
            object_server: Arc::clone(&object_server),
            log: Arc::clone(&log),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        });
        let listing = every.map(|every| (ListingReconciler::new(listing), every));
        let overdue = glass.as_ref().map(|glass| Arc::clone(&glass.overdue));
        let probes = readiness::Probes::new(
            Some((store, log)),
            object_server,
            Arc::clone(&issuers),
            standings,
            overdue,
            Arc::clone(&clock),
        );
        let doors = Doors {
            exchange: Arc::new(exchange),
            inquiry: Arc::new(Inquiry::new(readers, archive)),
            callers,
            desk: Arc::new(desk),
            freezes: Arc::new(freeze_desk),
            break_glass: glass.as_ref().map(Glass::door),
            readiness: Arc::new(probes),
            metrics,
            clock: Arc::clone(&clock),
            rng: Mutex::new(random()?),
            trusted_proxies,
            max_concurrent_exchanges: MAX_CONCURRENT_EXCHANGES,
            deadline: patience,
            tasks: tasks.clone(),
            public_url,
        };
        Ok(Self {
            listener,
            tls,
            doors,
            address,
            reloader,
            reconciler,
            forecaster,
            listing,
            instances,
            issuers,
            tasks,
            parents,
            self_test,
            server,
            fingerprints,
            clock,
            glass,
            stop_runs,
            patience,
        })
    }

    /// Reads the parents' keys again on SIGHUP, from wherever `reread` reads.
    #[must_use]
    pub fn rereading(mut self, reread: Reread) -> Self {
        self.reloader = self.reloader.with_keyring(parents::Keyring {
            reread: Arc::new(reread),
            parents: Arc::clone(&self.parents),
            self_test: Arc::clone(&self.self_test),
            clock: Arc::clone(&self.clock),
            server: self.server.clone(),
            fingerprints: self.fingerprints.clone(),
        });
        self
    }

    /// Where the doors are.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `shutdown`, then drains: no new exchange, those under way end with their rows.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StartError> {
        let Self {
            listener,
            tls,
            doors,
            address,
            reloader,
            reconciler,
            forecaster,
            listing,
            instances,
            issuers,
            tasks,
            glass,
            stop_runs,
            patience,
            ..
        } = self;
        let mut warm = std::pin::pin!(issuers.warm());
        let warmed = tokio::time::timeout(WARM_UP, &mut warm).await.is_ok();
        tracing::info!(%address, "stint listens");
        let warm = async {
            if !warmed {
                warm.await;
            }
        };
        // Large: it holds a whole configuration while it reads one.
        let watch = Box::pin(reloader.run(shutdown.clone()));
        let reconcile = Box::pin(reconciler.run(shutdown.clone()));
        let forecast = forecaster.run(shutdown.clone());
        // A task of its own: it reads what a server lists, and whatever that does to it must not end the doors.
        let comparing = listing.map(|(listing, every)| tasks.spawn(listing.run(every, shutdown.clone())));
        let compare = async {
            if let Some(comparing) = comparing
                && comparing.await.is_err()
            {
                tracing::error!("the comparison of the object server's list with the log broke off: restart stint");
            }
        };
        let keep_up = Box::pin(instances.keep_up(shutdown.clone()));
        // Where the service came up without PostgreSQL it runs already.
        if let Some(glass) = &glass {
            glass.start(&tasks, &shutdown);
        }
        let serve = async {
            let served = serve(listener, tls, router(doors), shutdown.clone(), patience).await;
            shutdown.cancel();
            stop_runs.cancel();
            served
        };
        let (served, (), (), (), (), (), ()) = tokio::join!(serve, warm, watch, reconcile, forecast, compare, keep_up);
        if let Some(glass) = &glass {
            glass.close().await;
        }
        tasks.close();
        if tokio::time::timeout(patience, tasks.wait()).await.is_err() {
            tracing::error!(
                "some exchanges were still under way after the drain; their intents stand alone in the log"
            );
        }
        // The end of the journal's stream, so that the next start finds nothing that waits.
        if let Some(glass) = &glass {
            glass.hand_on_last().await;
        }
        tracing::info!("stint stopped");
        served.map_err(StartError::Serve)
    }
}

/// The longest an exchange takes that is answered at all: keys, the mint, the self-test, its two commits, and that of whoever
/// waited for it, each at its bound.
fn longest_exchange(commit: Duration) -> Duration {
    // What is frozen, and what is out of the holder and in all, each twice as long.
    let others = commit * 5;
    KEYS + OBJECT_SERVER_TIMEOUT + SELF_TEST_TIMEOUT * 2 + commit * 3 + others
}

/// A generator of its own, seeded by the system.
pub(crate) fn random() -> Result<StdRng, StartError> {
    StdRng::try_from_rng(&mut SysRng).map_err(|_| StartError::Randomness)
}

/// What the configured kind of object server takes and enforces; connects to nothing.
pub fn server_capabilities(config: &Config) -> Result<Capabilities, Vec<String>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let server = parents::parents(&config.object_server, &fingerprint_key(config), &clock);
    Ok(server.map_err(|error| vec![error.to_string()])?.capabilities().clone())
}

/// Without a key of their own, fingerprints are keyed by the only parent's secret: it is always there, and the same for all
/// instances in front of one object server.
#[must_use]
pub fn fingerprint_key(config: &Config) -> FingerprintKey {
    FingerprintKey::derive(config.fingerprint_secret.expose_secret().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doors_outwait_an_exchange_whatever_the_logs_deadline() {
        for seconds in [0, 2, 10] {
            let commit = Duration::from_secs(seconds);
            let key_fetch = Duration::from_secs(5);
            assert!(longest_exchange(commit) > key_fetch + commit + OBJECT_SERVER_TIMEOUT + commit);
        }
    }
}
