//! The policy directory while the service runs: compiled by the very function `stint check` uses, swapped whole on
//! SIGHUP or a change of a file. A directory with a fault never replaces a good one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::parents::{Keyring, minting};
use crate::audit::{AuditError, AuditLog, AuditStore, ClosedRole, PolicySetText};
use crate::config::Config;
use crate::lease::{
    Capabilities, LeaseRules, MintingParents, emergency_session_policy, prove_roles_fit, shortened_roles,
    uncomfortable_roles,
};
use crate::object_server::Standings;
use crate::object_server::probe::Probe;
use crate::policy::{BreakGlass, EmergencyRole, EmergencyTokens, PolicyFiles, PolicyHash, PolicySet, Problem};
use crate::telemetry::Metrics;
use crate::token::{IssuerName, Profile};

/// Editors and `kubectl` change several files at once: the directory is read when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(300);
/// How long it may go without being quiet: whoever writes into it all the time must not keep a change from taking effect.
const RESTLESS: Duration = Duration::from_secs(5);

/// A compiled directory and what is worth saying of it.
#[derive(Debug)]
pub struct PolicyReport {
    /// The set.
    pub policies: PolicySet,
    /// Valid, but worth a look: one line each.
    pub warnings: Vec<String>,
    /// The directory it was compiled from, as it is kept beside the log.
    pub(super) kept: PolicySetText,
}

/// Compiles the configured directory and proves that every role fits the object server; on failure every fault.
pub fn compile_policies(config: &Config, capabilities: &Capabilities) -> Result<PolicyReport, Vec<String>> {
    Directory::of(config).compile(capabilities)
}

/// Compiles a policy directory for these issuers; on failure every fault, as `directory/file:line:column: what`, so that
/// editors and terminals can follow it.
pub fn compile_directory(path: &Path, issuers: &[IssuerName]) -> Result<PolicySet, Vec<String>> {
    compile_files(path, issuers).map(|(policies, _)| policies)
}

/// The same, with the text that was compiled.
fn compile_files(path: &Path, issuers: &[IssuerName]) -> Result<(PolicySet, PolicySetText), Vec<String>> {
    let directory = path.display().to_string();
    let place = |problem: &Problem| {
        let problem = problem.to_string();
        if problem.starts_with(&directory) { problem } else { format!("{directory}/{problem}") }
    };
    let said = |problems: Vec<Problem>| problems.iter().map(place).collect::<Vec<_>>();
    let files = PolicyFiles::read(path).map_err(said)?;
    let policies = PolicySet::compile(&files, issuers).map_err(said)?;
    let files = files.to_json().ok_or_else(|| vec![format!("{directory}: a file is not UTF-8")])?;
    let kept = PolicySetText { hash: policies.hash().to_hex(), files };
    Ok((policies, kept))
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    issuers: Vec<IssuerName>,
    lease: LeaseRules,
    parents: ArcSwap<MintingParents>,
    /// Those whose tokens can carry an emergency claim.
    iam_profile: Vec<IssuerName>,
    has_journal: bool,
    signs_alerts: bool,
}

impl Directory {
    fn of(config: &Config) -> Self {
        let issuers = config.issuers.iter().map(|issuer| issuer.rules.name.clone()).collect();
        let rules = config.issuers.iter().map(|issuer| &issuer.rules);
        let iam_profile = rules.filter(|rules| rules.profile == Profile::IamProfile);
        let parents = ArcSwap::from_pointee(minting(config));
        Self {
            path: config.policies.clone(),
            issuers,
            iam_profile: iam_profile.map(|rules| rules.name.clone()).collect(),
            lease: config.lease,
            parents,
            has_journal: config.break_glass.journal.is_some(),
            signs_alerts: config.break_glass.webhook_secret.is_some(),
        }
    }

    fn compile(&self, capabilities: &Capabilities) -> Result<PolicyReport, Vec<String>> {
        let (policies, kept) = compile_files(&self.path, &self.issuers)?;
        let mut misfits = prove_roles_fit(&policies, &self.lease, capabilities);
        misfits.extend(self.parents.load().misfits(&policies));
        if let Some(break_glass) = policies.break_glass() {
            misfits.extend(self.missing_settings(break_glass));
            misfits.extend(self.deaf_issuers(break_glass));
            misfits.extend(self.untried_drill(break_glass, capabilities));
        }
        if !misfits.is_empty() {
            return Err(misfits);
        }
        let mut warnings: Vec<String> = policies.warnings().to_vec();
        warnings.extend(shortened_roles(&policies, &self.lease, capabilities));
        warnings.extend(uncomfortable_roles(&policies, &self.lease));
        warnings.extend(policies.break_glass().into_iter().flat_map(|glass| self.unproven_ends(glass, capabilities)));
        Ok(PolicyReport { policies, warnings, kept })
    }

    /// What the configuration must say where the policies have break-glass: found at `stint check`, not in the emergency.
    fn missing_settings(&self, break_glass: &BreakGlass) -> Vec<String> {
        let place = self.path.join("break-glass.toml");
        let missing =
            |key: &str, why: &str| format!("{}: the configuration lacks break_glass.{key}: {why}", place.display());
        let journal = (!self.has_journal)
            .then(|| missing("journal", "what happens in an emergency goes to a local disk before it goes anywhere"));
        let secret = (break_glass.alert_webhook().is_some() && !self.signs_alerts)
            .then(|| missing("webhook_secret", "nobody could tell an alert from a stranger's"));
        journal.into_iter().chain(secret).collect()
    }

    /// Issuers named for emergency tokens whose profile has none: whoever relies on them finds out in the emergency.
    fn deaf_issuers(&self, break_glass: &BreakGlass) -> Vec<String> {
        let place = self.path.join("break-glass.toml");
        let named = break_glass.emergency_tokens().into_iter().flat_map(EmergencyTokens::issuers);
        let deaf = named.filter(|name| !self.iam_profile.contains(name));
        deaf.map(|name| {
            format!(
                "{}: emergency_tokens.issuers: the profile of {name} is not iam-profile, and no other has emergency tokens",
                place.display()
            )
        })
        .collect()
    }

    /// A drill tries its credential inside its policy: one that cannot be tried fails every drill.
    fn untried_drill(&self, break_glass: &BreakGlass, capabilities: &Capabilities) -> Option<String> {
        let drill = break_glass.drill();
        let sent = emergency_session_policy(drill.role(), capabilities).ok()?;
        Probe::inside(sent.as_str(), &[drill.bucket()]).is_none().then(|| {
            format!(
                "{}: the drill's document allows nothing that can be tried without a change: give it s3:ListBucket or \
                 s3:GetBucketLocation",
                self.path.join("break-glass.toml").display()
            )
        })
    }

    /// Emergency roles whose sessions cannot be asked whether they ended.
    fn unproven_ends(&self, break_glass: &BreakGlass, capabilities: &Capabilities) -> Vec<String> {
        let place = self.path.join("break-glass.toml");
        let (drill, roles) = (break_glass.drill().role().name(), break_glass.roles());
        let unproven = roles.filter(|role| role.name() != drill).filter(|role| {
            let sent = emergency_session_policy(role, capabilities);
            sent.is_ok_and(|sent| Probe::inside(sent.as_str(), &[]).is_none())
        });
        let warn = |role: &EmergencyRole| {
            format!(
                "{}: the documents of {} allow nothing that can be tried without a change: an end before its time cannot be \
                 proven; s3:ListBucket or s3:GetBucketLocation would do",
                place.display(),
                role.name()
            )
        };
        unproven.map(warn).collect()
    }
}

/// Where it is said which set is in force.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) log: Arc<AuditLog>,
    pub(super) store: Arc<dyn AuditStore>,
    pub(super) metrics: Arc<Metrics>,
}

/// Keeps the current set current.
#[derive(Debug)]
pub(super) struct Reloader {
    directory: Arc<Directory>,
    capabilities: Capabilities,
    kept: Kept,
    standings: Arc<Standings>,
    current: Arc<ArcSwap<PolicySet>>,
    hangup: Option<Signal>,
    keyring: Option<Keyring>,
}

impl Reloader {
    /// Puts the first set, which is the current one, on record.
    pub(super) async fn start(
        config: &Config,
        report: &PolicyReport,
        current: Arc<ArcSwap<PolicySet>>,
        capabilities: Capabilities,
        kept: Kept,
        standings: Arc<Standings>,
    ) -> Result<Self, StartError> {
        // Before anybody knows that the service is there: an unheard SIGHUP ends a process.
        let hangup = signal(SignalKind::hangup()).ok();
        record(&kept.log, kept.store.as_ref(), report).await?;
        Ok(Self {
            directory: Arc::new(Directory::of(config)),
            capabilities,
            kept,
            standings,
            current,
            hangup,
            keyring: None,
        })
    }

    pub(super) fn current(&self) -> Arc<ArcSwap<PolicySet>> {
        Arc::clone(&self.current)
    }

    /// Reads the parents' keys again too on SIGHUP.
    pub(super) fn with_keyring(self, keyring: Keyring) -> Self {
        Self { keyring: Some(keyring), ..self }
    }

    /// Reloads on SIGHUP and on change until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let (touch, mut touched) = mpsc::channel(1);
        // The loop keeps a sender of its own: without a watcher the channel must stay open, and silent.
        let _watcher = self.watch(touch.clone());
        let Some(mut hangup) = self.hangup.take() else {
            return tracing::error!("SIGHUP cannot be watched: policies are loaded at start only");
        };
        // What changed between the first compilation and the watch was told to nobody.
        self.reload().await;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = hangup.recv() => self.reread_parents().await,
                _ = touched.recv() => tokio::select! {
                    () = shutdown.cancelled() => return,
                    // Read at the latest when its time is up, quiet or not.
                    _ = timeout(RESTLESS, quiet(&mut touched)) => {}
                },
            }
            self.reload().await;
        }
    }

    fn watch(&self, touch: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
        let mut watcher = notify::recommended_watcher(move |seen: notify::Result<notify::Event>| {
            if seen.map_or(true, |event| is_change(event.kind)) {
                // A full channel already means "changed".
                let _ = touch.try_send(());
            }
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

    /// Before the policies, which are held against them.
    async fn reread_parents(&self) {
        if let Some(keyring) = &self.keyring
            && let Some(minting) = keyring.reread(&self.current.load()).await
        {
            self.directory.parents.store(Arc::new(minting));
        }
    }

    /// A set takes effect only after it is on record: a row may name a set that never decided, never the reverse.
    async fn reload(&self) {
        let (directory, capabilities) = (Arc::clone(&self.directory), self.capabilities.clone());
        // Reads files: the doors are served on this very task, and must not wait for a slow disk.
        let compiling = tokio::task::spawn_blocking(move || directory.compile(&capabilities));
        let report = match compiling.await.unwrap_or_else(|_| Err(vec!["the compilation panicked".to_owned()])) {
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
        match record(&self.kept.log, self.kept.store.as_ref(), &report).await {
            Ok(()) => {
                let hash = report.policies.hash();
                self.current.store(Arc::new(report.policies));
                self.open_roles(hash).await;
            }
            Err(error) => {
                tracing::error!(%error, "the new policies cannot be recorded: those loaded before stay in force");
            }
        }
    }
}

impl Reloader {
    /// What self-tests closed under the set before is tried anew under this one.
    async fn open_roles(&self, hash: PolicyHash) {
        for roles in self.standings.policies_changed(hash) {
            let roles: Vec<String> = roles.iter().map(ToString::to_string).collect();
            let role = match roles.as_slice() {
                [role] => role.clone(),
                _ => "any".to_owned(),
            };
            self.kept.metrics.role_closed(&role, false);
            let detail = "another policy set is in force".to_owned();
            let opened = ClosedRole { role, roles, policy_hash: hash.to_hex(), detail };
            if let Err(error) = self.kept.log.role_opened(opened, "policy_loaded").await {
                tracing::error!(%error, "that a role is open again is not on record");
            }
        }
    }
}

/// Whether a directory of which this was seen may read differently now. The watcher also tells of files that are merely
/// opened, and a reload opens every one of them: it would be the cause of the next reload, for ever.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// Returns when nothing has touched the directory for a while.
async fn quiet(touched: &mut mpsc::Receiver<()>) {
    while timeout(QUIET, touched.recv()).await.is_ok() {}
}

/// The text first, then the event: no row names a set whose text was never kept.
async fn record(log: &AuditLog, store: &dyn AuditStore, report: &PolicyReport) -> Result<(), AuditError> {
    for warning in &report.warnings {
        tracing::warn!("policies: {warning}");
    }
    let roles: Vec<String> = report.policies.roles().map(|(name, _, _)| name.as_str().to_owned()).collect();
    let policy_hash = report.policies.hash().to_hex();
    let count = roles.len();
    store.keep_policy_set(&report.kept).await.map_err(|error| {
        tracing::error!(cause = %error, "the policy text cannot be kept");
        AuditError::Unavailable
    })?;
    log.policy_loaded(policy_hash.clone(), roles).await?;
    tracing::info!(policy_hash, roles = count, "policies loaded");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// inotify tells everything in order: what was told before the end was caused by what was done before it.
    #[test]
    fn reading_the_directory_is_no_change_of_it_and_writing_is() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("documents")).unwrap();
        std::fs::write(directory.path().join("documents/a.json"), "{}").unwrap();
        let (told, telling) = std::sync::mpsc::channel();
        let mut watcher = notify::recommended_watcher(told).unwrap();
        watcher.watch(directory.path(), RecursiveMode::Recursive).unwrap();
        let seen_until = |end: &str| {
            let about = |event: &notify::Event| event.paths.iter().any(|path| path.ends_with(end));
            let events = telling.iter().map(Result::unwrap);
            events.take_while(|event| !about(event)).map(|event| event.kind).collect::<Vec<_>>()
        };

        PolicyFiles::read(directory.path()).unwrap();
        std::fs::write(directory.path().join("first-end"), "").unwrap();
        let read = seen_until("first-end");
        assert!(!read.is_empty() && !read.iter().any(|kind| is_change(*kind)), "{read:?}");

        std::fs::write(directory.path().join("documents/a.json"), "{ }").unwrap();
        std::fs::write(directory.path().join("second-end"), "").unwrap();
        assert!(seen_until("second-end").into_iter().any(is_change));
    }
}
