//! What the `object-server` commands work with, put together from the configuration.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::parents::parents;
use super::{StartError, compile_directory, fingerprint_key, open_log, random};
use crate::clock::{Clock, time_ordered_id};
use crate::config::{BootstrapConfig, BootstrapKey, Config, ObjectServerKind, ObjectServerSettings, ParentKey};
use crate::lease::{Capabilities, Revocation};
use crate::object_server::bootstrap::{Bootstrap, ParentUser, PolicyFault, Traits};
use crate::object_server::conformance::{self, Accounts, Check, SessionTokens, Subject};
use crate::object_server::s3::{S3Client, S3Key, S3Settings};
use crate::object_server::{ConfigError, Duty, NewSession, ObjectServer, SelfTest, SelfTestTraits};
use crate::policy::RoleName;
use crate::postgres::PostgresStore;

/// How long one call on a bucket may take: longer than a mint's, for a part of an upload has 5 MiB.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long one call of a self-test may take: a workload waits for it.
pub(super) const SELF_TEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Why `bootstrap` does not begin, in words for the operator. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// No key to do it with.
    #[error(
        "object_server.bootstrap.access_key and secret_key are not set: bootstrap makes buckets with an administrator's key, \
         never with the parent's. Give them for this command alone, as STINT_OBJECT_SERVER__BOOTSTRAP__ACCESS_KEY and \
         …__SECRET_KEY_FILE; `stint serve` needs neither"
    )]
    NoKey,
    /// The administrator is the parent.
    #[error(
        "object_server.bootstrap.access_key is the parent's own: a parent that can make buckets or users is too powerful. \
         Use an administrator's key"
    )]
    ParentKey,
    /// No buckets to make.
    #[error("{0} has no [[bucket]]: there is nothing to do")]
    NoBuckets(PathBuf),
    /// The parent's policy.
    #[error("the parent's policy file {0} cannot be read: {1}")]
    PolicyUnreadable(PathBuf, std::io::Error),
    /// A server without an API for users that is spoken here.
    #[error(
        "object_server.bootstrap.parent_policy_file and object_server.parent[].policy_file are for minio: on this server \
         parents are made by hand, as docs/object-servers.md shows. Remove the key"
    )]
    NoUserApi,
    /// The same.
    #[error("the parent's policy file {0} {1}")]
    Policy(PathBuf, PolicyFault),
    /// A policy for a parent that is not there.
    #[error(
        "object_server.bootstrap.parent_policy_file is the default parent's, and object_server.access_key is not set"
    )]
    NoDefaultParent,
    /// Everything that stops the service too.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<ConfigError> for BootstrapError {
    fn from(error: ConfigError) -> Self {
        Self::Start(error.into())
    }
}

/// Prepares `stint object-server bootstrap`; connects to nothing.
pub fn bootstrap(config: BootstrapConfig, clock: &Arc<dyn Clock>) -> Result<Bootstrap, BootstrapError> {
    let BootstrapConfig { object_server, key, parent_policy, policies, issuers } = config;
    let key = key.ok_or(BootstrapError::NoKey)?;
    if object_server.is_parent(key.access_key.expose_secret()) {
        return Err(BootstrapError::ParentKey);
    }
    let set = compile_directory(&policies, &issuers).map_err(StartError::Policies)?;
    if set.buckets().is_empty() {
        return Err(BootstrapError::NoBuckets(policies.join("buckets.toml")));
    }
    let mut wanted = Vec::new();
    if let Some(file) = parent_policy {
        wanted.push((object_server.parent.as_ref().ok_or(BootstrapError::NoDefaultParent)?, file));
    }
    let blocks = object_server.role_parents.iter();
    wanted.extend(blocks.filter_map(|block| Some((&block.key, block.policy_file.clone()?))));
    if !wanted.is_empty() && object_server.kind != ObjectServerKind::Minio {
        return Err(BootstrapError::NoUserApi);
    }
    let parents = wanted.into_iter().map(|(key, file)| parent_user(key, file)).collect::<Result<_, _>>()?;
    Ok(Bootstrap {
        client: s3_client(&object_server, clock)?,
        key: s3_key(key),
        buckets: set.buckets().to_vec(),
        parents,
        traits: traits(&object_server.kind),
        run: time_ordered_id(clock.now(), &mut random()?),
    })
}

/// Why `verify` does not begin, in words for the operator. The object server was asked nothing.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No bucket to work in.
    #[error("buckets.toml names no bucket: name one that the parent may use with --bucket")]
    NoBucket,
    /// Not a bucket's name.
    #[error("--bucket is no bucket name: 3 to 63 of a-z, 0-9, `-`, `.`")]
    BucketName,
    /// Not a role that an own parent mints.
    #[error("--role {0}: no [[object_server.parent]] names this role, and there is no default parent")]
    NoSuchParent(String),
    /// Everything that stops the service too.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What `verify` is asked.
#[derive(Debug, Default)]
pub struct ConformanceOptions {
    /// The bucket to work in.
    pub bucket: Option<String>,
    /// The role whose parent is tried in full; the default parent's otherwise, or the first one's.
    pub role: Option<String>,
}

/// Runs `stint object-server verify`: every check as one parent, then what is each other parent's own, each told as it is
/// done, with the service's own adapter and log. Mints are on record in a stream of this run's own, as nobody's.
pub async fn verify(
    config: Config,
    administrator: Option<BootstrapKey>,
    options: ConformanceOptions,
    clock: Arc<dyn Clock>,
    interrupted: &CancellationToken,
    told: &mut (dyn FnMut(&Check) + Send),
) -> Result<Vec<Check>, VerifyError> {
    let named = match options.bucket {
        Some(name) if crate::policy::is_bucket_name(&name) => Some(name),
        Some(_) => return Err(VerifyError::BucketName),
        None => None,
    };
    let (bucket, other_bucket) = buckets(&config, named)?;
    let fingerprints = fingerprint_key(&config);
    let server = parents(&config.object_server, &fingerprints, &clock).map_err(StartError::from)?;
    let mut tried = Vec::new();
    for parent in server.minting() {
        let key =
            config.object_server.keys().find(|key| fingerprints.parent(key.access_key.expose_secret()) == parent.id);
        tried.extend(key.map(|key| (parent.id, parent.duty, s3_key_of(key))));
    }
    if let Some(role) = options.role {
        let chosen = RoleName::parse(&role).and_then(|role| server.parents().choose(&[role]).ok().flatten());
        let chosen = chosen.ok_or(VerifyError::NoSuchParent(role))?;
        tried.sort_by_key(|(id, _, _)| *id != chosen);
    }
    let several = tried.len() > 1;
    let name = |duty: &Duty| several.then(|| duty.to_string());
    // An admin token signs nothing.
    let signs = !matches!(config.object_server.kind, ObjectServerKind::Garage { .. });
    let s3_of = |key: S3Key| signs.then_some(key);
    let mut tried = tried.into_iter();
    let (first, duty, key) = tried.next().ok_or(StartError::ObjectServer(ConfigError::NoParent))?;

    let client = s3_client(&config.object_server, &clock).map_err(StartError::from)?;
    let store = PostgresStore::connect(&config.postgres_url, config.audit.deadline).await.map_err(StartError::from)?;
    let tasks = TaskTracker::new();
    let log = open_log(&config.audit, Arc::new(store), Arc::clone(&clock), &tasks)?;
    let traits = conformance_traits(&config.object_server.kind, server.capabilities());
    let mut rng = random()?;
    let mut subject = Subject {
        server: Arc::new(server),
        client,
        parent_id: Some(first),
        parent_name: name(&duty),
        parent: s3_of(key),
        administrator: administrator.map(s3_key),
        bucket,
        other_bucket,
        log: Arc::new(log),
        fingerprints,
        run: time_ordered_id(clock.now(), &mut rng),
        clock,
        rng: Mutex::new(rng),
        traits,
    };
    let mut checks = conformance::verify(&subject, interrupted, told).await;
    for (id, duty, key) in tried {
        (subject.parent_id, subject.parent_name, subject.parent) = (Some(id), name(&duty), s3_of(key));
        checks.extend(conformance::verify_parent(&subject, interrupted, told).await);
    }
    // The stream is closed when the log is dropped.
    drop(subject);
    tasks.close();
    if tokio::time::timeout(config.audit.deadline * 2, tasks.wait()).await.is_err() {
        tracing::warn!("the log's stream could not be closed in time; what was committed stands");
    }
    Ok(checks)
}

pub(super) fn s3_key_of(key: &ParentKey) -> S3Key {
    S3Key::long_lived(key.access_key.clone(), key.secret_key.clone())
}

pub(super) fn first_bucket(config: &Config) -> Result<String, VerifyError> {
    buckets(config, None).map(|(bucket, _)| bucket)
}

/// The bucket to work in, the first one unless another was asked for, and one beside it.
fn buckets(config: &Config, asked: Option<String>) -> Result<(String, Option<String>), VerifyError> {
    let issuers: Vec<_> = config.issuers.iter().map(|issuer| issuer.rules.name.clone()).collect();
    let set = match (compile_directory(&config.policies, &issuers), &asked) {
        (Ok(set), _) => set,
        // A bucket that was asked for needs no policies.
        (Err(_), Some(asked)) => return Ok((asked.clone(), None)),
        (Err(faults), None) => return Err(StartError::Policies(faults).into()),
    };
    let mut names = set.buckets().iter().map(|bucket| bucket.name().to_owned());
    let bucket = asked.or_else(|| names.next()).ok_or(VerifyError::NoBucket)?;
    let other = names.find(|name| *name != bucket);
    Ok((bucket, other))
}

/// What tries credentials before they are handed out.
pub(super) fn self_test(settings: &ObjectServerSettings, clock: &Arc<dyn Clock>) -> Result<SelfTest, ConfigError> {
    let (endpoint, region) = (settings.endpoint.clone(), settings.region.clone());
    let client = S3Client::new(S3Settings { endpoint, region, timeout: SELF_TEST_TIMEOUT }, Arc::clone(clock))?;
    let is_minio = matches!(settings.kind, ObjectServerKind::Minio | ObjectServerKind::Rustfs);
    let new_session = match &settings.kind {
        ObjectServerKind::Minio | ObjectServerKind::Rustfs => NewSession::OfItself,
        ObjectServerKind::Seaweedfs(role) | ObjectServerKind::Ceph(role) => {
            NewSession::OfRole(role.as_str().to_owned())
        }
        ObjectServerKind::Aws(_) | ObjectServerKind::Garage { .. } => NewSession::Elsewhere,
    };
    let asks_rights_first = matches!(settings.kind, ObjectServerKind::Minio | ObjectServerKind::Seaweedfs(_));
    let traits = SelfTestTraits { has_minio_admin: is_minio, new_session, asks_rights_first };
    Ok(SelfTest::new(client, signing_parents(settings), traits))
}

/// The parents' keys, where they sign: an admin token signs nothing.
pub(super) fn signing_parents(settings: &ObjectServerSettings) -> Vec<S3Key> {
    let signs = !matches!(settings.kind, ObjectServerKind::Garage { .. });
    settings.keys().filter(|_| signs).map(s3_key_of).collect()
}

pub(super) fn conformance_traits(kind: &ObjectServerKind, capabilities: &Capabilities) -> conformance::Traits {
    let role_arn = match kind {
        ObjectServerKind::Minio | ObjectServerKind::Rustfs | ObjectServerKind::Garage { .. } => None,
        ObjectServerKind::Seaweedfs(role_arn) | ObjectServerKind::Ceph(role_arn) => Some(role_arn),
        ObjectServerKind::Aws(settings) => Some(&settings.role_arn),
    };
    conformance::Traits {
        session_tokens: match kind {
            ObjectServerKind::Garage { .. } => SessionTokens::Unknown,
            ObjectServerKind::Rustfs => SessionTokens::Faulted,
            ObjectServerKind::Minio
            | ObjectServerKind::Seaweedfs(_)
            | ObjectServerKind::Ceph(_)
            | ObjectServerKind::Aws(_) => SessionTokens::Refused,
        },
        accounts: match kind {
            ObjectServerKind::Minio | ObjectServerKind::Rustfs => Accounts::MinioAdmin,
            ObjectServerKind::Seaweedfs(_) | ObjectServerKind::Ceph(_) => Accounts::Iam,
            ObjectServerKind::Aws(_) | ObjectServerKind::Garage { .. } => Accounts::Elsewhere,
        },
        sessions_write_as_parent: matches!(kind, ObjectServerKind::Ceph(_)),
        revokes_leases: capabilities.revocation == Revocation::Lease,
        role_arn: role_arn.map(|arn| arn.as_str().to_owned()),
        bootstrap: traits(kind),
    }
}

fn parent_user(key: &ParentKey, file: PathBuf) -> Result<ParentUser, BootstrapError> {
    let policy = match std::fs::read(&file) {
        Ok(policy) => policy,
        Err(error) => return Err(BootstrapError::PolicyUnreadable(file, error)),
    };
    let name = key.access_key.expose_secret().to_owned();
    ParentUser::new(name, key.secret_key.clone(), &policy).map_err(|fault| BootstrapError::Policy(file, fault))
}

pub(super) fn s3_client(settings: &ObjectServerSettings, clock: &Arc<dyn Clock>) -> Result<S3Client, ConfigError> {
    s3_client_within(settings, TIMEOUT, clock)
}

/// A client of the configured endpoint, each of whose calls may take so long.
pub(super) fn s3_client_within(
    settings: &ObjectServerSettings,
    timeout: Duration,
    clock: &Arc<dyn Clock>,
) -> Result<S3Client, ConfigError> {
    let (endpoint, region) = (settings.endpoint.clone(), settings.region.clone());
    S3Client::new(S3Settings { endpoint, region, timeout }, Arc::clone(clock))
}

pub(super) fn s3_key(key: BootstrapKey) -> S3Key {
    S3Key::long_lived(key.access_key, key.secret_key)
}

fn traits(kind: &ObjectServerKind) -> Traits {
    Traits { removes_uploads_by_rule: *kind != ObjectServerKind::Minio }
}
