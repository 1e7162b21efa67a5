//! The configuration: file and environment in, finished types out. Everything is read before anything is reported, so
//! an operator sees all faults at once; an unknown key is a fault, because a misspelt limit is no limit.

mod bootstrap;
mod break_glass;
mod environment;
mod parents;
mod problem;
mod quotas;
mod reconcile;
mod section;
mod sections;
mod tree;

use std::path::{Path, PathBuf};

pub use bootstrap::{BootstrapConfig, BootstrapKey};
pub use break_glass::BreakGlassSettings;
pub use environment::{Environment, ProcessEnvironment};
pub use parents::{ParentKey, RoleParent};
pub use problem::Problem;
pub use reconcile::ReconcileSettings;
pub use sections::{
    AuditSettings, AwsSettings, HttpSettings, IssuerBlock, ObjectServerKind, ObjectServerSettings, TlsFiles,
};

use crate::lease::{LeaseRules, Quotas};
use crate::telemetry::TelemetrySettings;
use crate::token::IssuerName;
use secrecy::SecretString;
use section::{Reader, Section};
use tree::Tree;

/// A configuration that passed every check.
#[derive(Debug)]
pub struct Config {
    /// `[http]`
    pub http: HttpSettings,
    /// `[postgres]`: the connection URL, which holds a password.
    pub postgres_url: SecretString,
    /// `[[issuer]]`, at least one.
    pub issuers: Vec<IssuerBlock>,
    /// `[object_server]`
    pub object_server: ObjectServerSettings,
    /// `[lease]`
    pub lease: LeaseRules,
    /// The quotas of `[lease]`.
    pub quotas: Quotas,
    /// `[audit]`
    pub audit: AuditSettings,
    /// What access key fingerprints are keyed with: `audit.fingerprint_key`, else the only parent's secret.
    pub fingerprint_secret: SecretString,
    /// `[policies] directory`, resolved against the configuration file's own directory.
    pub policies: PathBuf,
    /// `[break_glass]`
    pub break_glass: BreakGlassSettings,
    /// `[telemetry]`
    pub telemetry: TelemetrySettings,
    /// Valid, but worth saying: one line each.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the file at `path`, overridden by `environment`; on failure every fault.
    pub fn load(path: &Path, environment: &dyn Environment) -> Result<Self, Vec<Problem>> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| vec![Problem::of_file(format!("cannot read {}: {error}", path.display()))])?;
        Self::read(&text, path.parent().unwrap_or(Path::new(".")), environment)
    }

    /// Reads configuration text; relative paths in it are resolved against `base`.
    pub fn read(text: &str, base: &Path, environment: &dyn Environment) -> Result<Self, Vec<Problem>> {
        let mut tree = Tree::parse(text)?;
        let mut problems = tree.overlay(environment);
        let mut reader = Reader::new(base, environment);
        let config = Self::from_root(reader.root(tree));
        problems.extend(reader.finish());
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }

    /// Where the policies are and which issuers they may name, even if the rest of the configuration is faulty: `stint
    /// check` reports the faults of both at once. Nothing when these very sections have faults.
    #[must_use]
    pub fn policy_directory(path: &Path, environment: &dyn Environment) -> Option<(PathBuf, Vec<IssuerName>)> {
        let mut tree = Tree::parse(&std::fs::read_to_string(path).ok()?).ok()?;
        tree.overlay(environment);
        let mut reader = Reader::new(path.parent().unwrap_or(Path::new(".")), environment);
        let mut root = reader.root(tree);
        let (issuers, directory) = (sections::issuers(&mut root)?, sections::policies(&mut root)?);
        let names = issuers.into_iter().map(|issuer| issuer.rules.name).collect();
        reader.finish().is_empty().then_some((directory, names))
    }

    /// Every key the configuration knows, as `section.key` (`issuer[].name`): what `docs/configuration.md` must list.
    #[must_use]
    pub fn known_keys() -> Vec<String> {
        let mut reader = Reader::new(Path::new("."), &environment::Empty);
        let _ = Self::from_root(reader.root(Tree::with_one_of_each()));
        reader.known_keys()
    }

    fn from_root(mut root: Section<'_>) -> Option<Self> {
        let mut warnings = Vec::new();
        let http = sections::http(&mut root, &mut warnings);
        let postgres_url = sections::postgres(&mut root);
        let issuers = sections::issuers(&mut root);
        let object_server = sections::object_server(&mut root, &mut warnings);
        let lease = sections::lease(&mut root, &mut warnings);
        let audit = sections::audit(&mut root);
        let fingerprint_secret = fingerprint_secret(&mut root, object_server.as_ref(), audit.as_ref());
        let policies = sections::policies(&mut root);
        let break_glass = break_glass::break_glass(&mut root);
        let journal_is_sealed = journal_is_sealed(&mut root, break_glass.as_ref(), audit.as_ref());
        let telemetry = sections::telemetry(&mut root);
        root.finish();
        let (lease, quotas) = lease?;
        journal_is_sealed?;
        Some(Self {
            http: http?,
            postgres_url: postgres_url?,
            issuers: issuers?,
            object_server: object_server?,
            lease,
            quotas,
            audit: audit?,
            fingerprint_secret: fingerprint_secret?,
            policies: policies?,
            break_glass: break_glass?,
            telemetry: telemetry?,
            warnings,
        })
    }
}

/// A key that dies with its process would leave a journal that nobody can verify after a restart, and so none that is merged.
fn journal_is_sealed(
    root: &mut Section<'_>,
    break_glass: Option<&BreakGlassSettings>,
    audit: Option<&AuditSettings>,
) -> Option<()> {
    if break_glass?.journal.is_some() && audit?.signing_key_file.is_none() {
        return root.reject(
            "audit.signing_key_file",
            None,
            "is required beside break_glass.journal: after a restart nobody could verify the journal. `openssl genpkey \
             -algorithm ed25519 -out signing.pem` makes one; then chmod 600",
        );
    }
    Some(())
}

/// Fingerprints name the parent of each lease in the log: they must outlive any parent's secret, and where there is more
/// than one parent, none of the secrets is the one.
fn fingerprint_secret(
    root: &mut Section<'_>,
    object_server: Option<&ObjectServerSettings>,
    audit: Option<&AuditSettings>,
) -> Option<SecretString> {
    let (object_server, audit) = (object_server?, audit?);
    let only = object_server.parent.as_ref().filter(|_| object_server.keys().count() == 1);
    let secret = audit.fingerprint_key.as_ref().or(only.map(|only| &only.secret_key));
    if secret.is_none() {
        return root.reject(
            "audit.fingerprint_key",
            None,
            "is required beside [[object_server.parent]] and [[object_server.retired_parent]]: fingerprints say whose each \
             lease is, and must outlive a parent's secret. The object_server.secret_key that was in use until now keeps \
             the fingerprints that are in the log",
        );
    }
    secret.cloned()
}
