//! What the service stands on before PostgreSQL is asked for anything: the listener, the policies, the parents, and where
//! break-glass is configured its journal and its desk. The whole service is raised on it, and so is the one that comes up
//! without PostgreSQL; whichever runs, these are the same.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::TaskTracker;

use super::break_glass::{self, Glass, GlassSettings, KeptJournal};
use super::policies::{PolicyReport, compile_policies};
use super::watching::{Watching, WatchingParts};
use super::{App, StartError, fingerprint_key, object_server, parents};
use crate::audit::{AuditStore, FingerprintKey};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::load_tls;
use crate::issuer::IssuerKeys;
use crate::object_server::{ObjectServer, Parents, SelfTest};
use crate::policy::PolicySet;
use crate::postgres::PostgresStore;
use crate::telemetry::Metrics;

#[derive(Debug)]
pub(super) struct Ground {
    pub(super) config: Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) self_test: Arc<SelfTest>,
    pub(super) fingerprints: FingerprintKey,
    pub(super) parents: Arc<Parents>,
    /// What `policies` holds, as it was compiled.
    pub(super) report: PolicyReport,
    pub(super) policies: Arc<ArcSwap<PolicySet>>,
    pub(super) issuers: Arc<IssuerKeys>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: TaskTracker,
    /// Only where there is a journal: without one there is no break-glass.
    pub(super) glass: Option<Glass>,
    /// Heard from here on: an unheard SIGHUP ends a process.
    pub(super) hangup: Option<Signal>,
}

impl Ground {
    pub(super) fn lay(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let address = config.http.listen;
        let listener = TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let tls = config.http.tls.as_ref().map(|tls| load_tls(&tls.certificate, &tls.key)).transpose()?;

        let self_test = Arc::new(object_server::self_test(&config.object_server, &clock)?);
        let fingerprints = fingerprint_key(&config);
        let parents = Arc::new(parents::parents(&config.object_server, &fingerprints, &clock)?);
        let report = compile_policies(&config, parents.capabilities()).map_err(StartError::Policies)?;
        let policies = Arc::new(ArcSwap::from_pointee(report.policies.clone()));
        let settings = config.issuers.iter().map(|issuer| issuer.settings.clone()).collect();
        let issuers = Arc::new(IssuerKeys::new(settings, Arc::clone(&clock)));
        let hangup = signal(SignalKind::hangup()).ok();
        let mut ground = Self {
            config,
            clock,
            listener,
            address,
            tls,
            self_test,
            fingerprints,
            parents,
            report,
            policies,
            issuers,
            metrics: Arc::new(Metrics::default()),
            tasks: TaskTracker::new(),
            glass: None,
            hangup,
        };
        ground.glass = ground.glass()?;
        Ok(ground)
    }

    fn glass(&self) -> Result<Option<Glass>, StartError> {
        let Some(journal) = KeptJournal::open(&self.config)? else { return Ok(None) };
        let watching = Watching::new(WatchingParts {
            postgres_url: &self.config.postgres_url,
            webhook_secret: self.config.break_glass.webhook_secret.clone(),
            policies: Arc::clone(&self.policies),
            issuers: Arc::clone(&self.issuers),
            instance: Some(journal.id()),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
        })?;
        let object_server: Arc<dyn ObjectServer> = self.parents.clone();
        let shared = break_glass::Shared {
            journal,
            policies: Arc::clone(&self.policies),
            watching,
            object_server,
            self_test: Arc::clone(&self.self_test),
            fingerprints: self.fingerprints.clone(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            tasks: self.tasks.clone(),
        };
        Glass::new(GlassSettings::of(&self.config, &self.clock)?, shared).map(Some)
    }

    /// Raises the whole service on it. What waits in the journal is merged first.
    pub(super) async fn raise(&self) -> Result<App, StartError> {
        let store = Arc::new(PostgresStore::connect(&self.config.postgres_url, self.config.audit.deadline).await?);
        let gated: Arc<dyn AuditStore> = match &self.glass {
            Some(glass) => glass.before(&store).await?,
            None => store.clone(),
        };
        App::on(self, store, gated).await
    }

    /// Whether there is something to serve without PostgreSQL.
    pub(super) fn has_break_glass(&self) -> bool {
        self.glass.is_some() && self.policies.load().break_glass().is_some()
    }

    /// Takes the policy directory as it is now, unless it has a fault: then the one before stays.
    pub(super) fn reread_policies(&mut self) {
        match compile_policies(&self.config, self.parents.capabilities()) {
            Ok(report) if report.policies.hash() == self.report.policies.hash() => {}
            Ok(report) => {
                tracing::info!(policy_hash = report.policies.hash().to_hex(), "policies loaded");
                self.policies.store(Arc::new(report.policies.clone()));
                self.report = report;
            }
            Err(problems) => {
                tracing::error!(problems = problems.join("; "), "the policy directory is faulty: the one before stays");
            }
        }
    }
}
