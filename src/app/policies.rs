//! The policy directory while the service runs: compiled by the very function `stint check` uses, swapped whole on
//! SIGHUP or a change of a file. A directory with a fault never replaces a good one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::{RecursiveMode, Watcher};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::audit::{AuditError, AuditLog};
use crate::config::Config;
use crate::lease::{LeaseRules, ServerLimits, prove_roles_fit, uncomfortable_roles};
use crate::policy::{PolicyFiles, PolicySet, Problem};
use crate::token::IssuerName;

/// Editors and `kubectl` change several files at once: the directory is read when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(300);

/// A compiled directory and what is worth saying of it.
#[derive(Debug)]
pub struct PolicyReport {
    /// The set.
    pub policies: PolicySet,
    /// Valid, but worth a look: one line each.
    pub warnings: Vec<String>,
}

/// Compiles the configured directory and proves that every role fits the object server; on failure every fault.
pub fn compile_policies(config: &Config, limits: &ServerLimits) -> Result<PolicyReport, Vec<String>> {
    Directory::of(config).compile(limits)
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    issuers: Vec<IssuerName>,
    lease: LeaseRules,
}

impl Directory {
    fn of(config: &Config) -> Self {
        let issuers = config.issuers.iter().map(|issuer| issuer.rules.name.clone()).collect();
        Self { path: config.policies.clone(), issuers, lease: config.lease }
    }

    fn compile(&self, limits: &ServerLimits) -> Result<PolicyReport, Vec<String>> {
        let said = |problems: Vec<Problem>| problems.iter().map(|problem| self.place(problem)).collect::<Vec<_>>();
        let files = PolicyFiles::read(&self.path).map_err(said)?;
        let policies = PolicySet::compile(&files, &self.issuers).map_err(said)?;
        let misfits = prove_roles_fit(&policies, limits);
        if !misfits.is_empty() {
            return Err(misfits);
        }
        let warnings = policies.warnings().iter().cloned().chain(uncomfortable_roles(&policies, &self.lease)).collect();
        Ok(PolicyReport { policies, warnings })
    }

    /// `directory/file:line:column: what`, as editors and terminals can follow it.
    fn place(&self, problem: &Problem) -> String {
        let (directory, problem) = (self.path.display().to_string(), problem.to_string());
        if problem.starts_with(&directory) { problem } else { format!("{directory}/{problem}") }
    }
}

/// Keeps the current set current.
#[derive(Debug)]
pub(super) struct Reloader {
    directory: Directory,
    limits: ServerLimits,
    log: Arc<AuditLog>,
    current: Arc<ArcSwap<PolicySet>>,
}

impl Reloader {
    /// Puts the first set on record.
    pub(super) async fn start(
        config: Config,
        report: PolicyReport,
        limits: ServerLimits,
        log: Arc<AuditLog>,
    ) -> Result<Self, StartError> {
        record(&log, &report).await?;
        let current = Arc::new(ArcSwap::from_pointee(report.policies));
        Ok(Self { directory: Directory::of(&config), limits, log, current })
    }

    pub(super) fn current(&self) -> Arc<ArcSwap<PolicySet>> {
        Arc::clone(&self.current)
    }

    /// Reloads on SIGHUP and on change until `shutdown`.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let (touch, mut touched) = mpsc::channel(1);
        // The loop keeps a sender of its own: without a watcher the channel must stay open, and silent.
        let _watcher = self.watch(touch.clone());
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            return tracing::error!("SIGHUP cannot be watched: policies are loaded at start only");
        };
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = hangup.recv() => {}
                _ = touched.recv() => while tokio::time::timeout(QUIET, touched.recv()).await.is_ok() {},
            }
            self.reload().await;
        }
    }

    fn watch(&self, touch: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the directory is an event too: a reload must not be the cause of the next one.
            if event.is_ok_and(|event| event.kind.is_access()) {
                return;
            }
            // A full channel already means "changed".
            let _ = touch.try_send(());
        })
        .ok()?;
        match watcher.watch(&self.directory.path, RecursiveMode::Recursive) {
            Ok(()) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "the policy directory cannot be watched: send SIGHUP after a change");
                None
            }
        }
    }

    /// A set takes effect only after it is on record: a row may name a set that never decided, never the reverse.
    async fn reload(&self) {
        let report = match self.directory.compile(&self.limits) {
            Ok(report) => report,
            Err(problems) => {
                for problem in problems {
                    tracing::error!("policies: {problem}");
                }
                return tracing::error!("the policy directory has faults: the policies loaded before stay in force");
            }
        };
        if report.policies.hash() == self.current.load().hash() {
            return;
        }
        match record(&self.log, &report).await {
            Ok(()) => self.current.store(Arc::new(report.policies)),
            Err(error) => {
                tracing::error!(%error, "the new policies cannot be recorded: those loaded before stay in force");
            }
        }
    }
}

async fn record(log: &AuditLog, report: &PolicyReport) -> Result<(), AuditError> {
    for warning in &report.warnings {
        tracing::warn!("policies: {warning}");
    }
    let roles: Vec<String> = report.policies.roles().map(|(name, _, _)| name.as_str().to_owned()).collect();
    let policy_hash = report.policies.hash().to_hex();
    tracing::info!(policy_hash, roles = roles.len(), "policies loaded");
    log.policy_loaded(policy_hash, roles).await
}
