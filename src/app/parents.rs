//! The parents as the configuration names them, each with the adapter of the configured kind; and the same again on
//! SIGHUP, so that a key rotates without a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use secrecy::ExposeSecret;

use super::object_server::signing_parents;
use super::{OBJECT_SERVER_TIMEOUT, fingerprint_key};
use crate::audit::FingerprintKey;
use crate::clock::Clock;
use crate::config::{Config, ObjectServerKind, ObjectServerSettings, ParentKey, Problem};
use crate::lease::{MintingParents, ParentId, RoleArn};
use crate::object_server::s3::S3Key;
use crate::object_server::{
    AwsRole, AwsServer, CephServer, ConfigError, Duty, GarageServer, GarageSettings, MinioServer, ObjectServer, Parent,
    Parents, RustfsServer, SeaweedfsServer, SelfTest, ServerSettings,
};
use crate::policy::PolicySet;

/// All of them behind one port.
pub(super) fn parents(
    settings: &ObjectServerSettings,
    fingerprints: &FingerprintKey,
    clock: &Arc<dyn Clock>,
) -> Result<Parents, ConfigError> {
    Parents::new(each(settings, fingerprints, clock)?)
}

/// Each of them.
pub(super) fn each(
    settings: &ObjectServerSettings,
    fingerprints: &FingerprintKey,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Parent>, ConfigError> {
    let parent = |duty, key: &ParentKey, role_arn: Option<&RoleArn>| {
        let id = fingerprints.parent(key.access_key.expose_secret());
        Ok(Parent { id, duty, server: adapter(settings, key, role_arn, clock)? })
    };
    let default = settings.parent.iter().map(|key| parent(Duty::Default, key, None));
    let blocks = settings.role_parents.iter();
    let of_roles = blocks.map(|block| parent(Duty::Roles(block.roles.clone()), &block.key, block.role_arn.as_ref()));
    let retired = settings.retired_parents.iter().map(|key| parent(Duty::Retired, key, None));
    default.chain(of_roles).chain(retired).collect()
}

/// The role at the server that each of them assumes, where the kind has roles that an administrator can change over an IAM
/// API. Several may share one.
pub(super) fn assumed_roles(
    settings: &ObjectServerSettings,
    fingerprints: &FingerprintKey,
) -> BTreeMap<ParentId, RoleArn> {
    let common = match &settings.kind {
        ObjectServerKind::Ceph(role) => role,
        ObjectServerKind::Aws(aws) => &aws.role_arn,
        ObjectServerKind::Minio
        | ObjectServerKind::Rustfs
        | ObjectServerKind::Seaweedfs(_)
        | ObjectServerKind::Garage { .. } => return BTreeMap::new(),
    };
    let id = |key: &ParentKey| fingerprints.parent(key.access_key.expose_secret());
    let plain = settings.parent.iter().chain(&settings.retired_parents).map(|key| (id(key), common.clone()));
    let blocks = settings.role_parents.iter();
    plain.chain(blocks.map(|block| (id(&block.key), block.role_arn.as_ref().unwrap_or(common).clone()))).collect()
}

/// Who mints for whom, without any adapter: what the policies are held against.
pub(super) fn minting(config: &Config) -> MintingParents {
    let (settings, fingerprints) = (&config.object_server, fingerprint_key(config));
    let id = |key: &ParentKey| fingerprints.parent(key.access_key.expose_secret());
    let mut of_roles = BTreeMap::new();
    for block in &settings.role_parents {
        of_roles.extend(block.roles.iter().map(|role| (role.clone(), id(&block.key))));
    }
    MintingParents::new(settings.parent.as_ref().map(id), of_roles)
}

/// The adapter for the configured kind, as one parent.
pub(super) fn adapter(
    settings: &ObjectServerSettings,
    key: &ParentKey,
    role_arn: Option<&RoleArn>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn ObjectServer>, ConfigError> {
    let clock = Arc::clone(clock);
    let at = |endpoint: &str| ServerSettings {
        endpoint: endpoint.to_owned(),
        region: settings.region.clone(),
        access_key: key.access_key.expose_secret().to_owned(),
        secret_key: key.secret_key.clone(),
        timeout: OBJECT_SERVER_TIMEOUT,
    };
    let s3 = at(&settings.endpoint);
    let lister = settings.reconcile.key.as_ref();
    let lister = lister.map(|key| S3Key::long_lived(key.access_key.clone(), key.secret_key.clone()));
    let own = |common: &RoleArn| role_arn.unwrap_or(common).clone();
    Ok(match &settings.kind {
        ObjectServerKind::Minio => {
            let server = MinioServer::new(s3, clock)?;
            Arc::new(if let Some(key) = lister { server.listing_as(key) } else { server })
        }
        ObjectServerKind::Garage { admin_endpoint } => {
            let garage = GarageSettings {
                admin_endpoint: admin_endpoint.clone(),
                admin_token: key.secret_key.clone(),
                parent: key.access_key.expose_secret().to_owned(),
                timeout: OBJECT_SERVER_TIMEOUT,
            };
            Arc::new(GarageServer::new(&garage, clock)?)
        }
        ObjectServerKind::Rustfs => {
            let server = RustfsServer::new(s3, clock)?;
            Arc::new(if let Some(key) = lister { server.listing_as(key) } else { server })
        }
        ObjectServerKind::Seaweedfs(role) => Arc::new(SeaweedfsServer::new(s3, own(role), clock)?),
        ObjectServerKind::Ceph(role) => Arc::new(CephServer::new(s3, own(role), clock)?),
        ObjectServerKind::Aws(aws) => {
            let regional = format!("https://sts.{}.amazonaws.com", settings.region);
            let role = AwsRole {
                arn: own(&aws.role_arn),
                session_tags: aws.session_tags,
                source_identity: aws.source_identity,
            };
            Arc::new(AwsServer::new(at(aws.sts_endpoint.as_deref().unwrap_or(&regional)), role, clock)?)
        }
    })
}

/// Reads the whole configuration again, or says what is wrong with it.
pub type Reread = Box<dyn Fn() -> Result<Config, Vec<Problem>> + Send + Sync>;

/// What is needed to take other keys while the service runs. The server behind them stays the one it was started with.
pub(super) struct Keyring {
    pub(super) reread: Arc<Reread>,
    pub(super) parents: Arc<Parents>,
    pub(super) self_test: Arc<SelfTest>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) server: (ObjectServerKind, String, String),
    pub(super) fingerprints: FingerprintKey,
}

/// What names a server: its kind, where it is, its region.
pub(super) fn identity(settings: &ObjectServerSettings) -> (ObjectServerKind, String, String) {
    (settings.kind.clone(), settings.endpoint.clone(), settings.region.clone())
}

impl Keyring {
    /// Takes the parents that the configuration names now, and says who mints for whom; nothing when the ones before stay.
    /// A configuration with any fault, or in which a role that is served would have no parent, changes nothing.
    pub(super) async fn reread(&self, policies: &PolicySet) -> Option<MintingParents> {
        let reread = Arc::clone(&self.reread);
        // Reads files, as the policies' reload does.
        let read = tokio::task::spawn_blocking(move || reread()).await;
        let config = match read {
            Ok(Ok(config)) => config,
            Ok(Err(problems)) => {
                for problem in problems {
                    tracing::error!("configuration: {problem}");
                }
                tracing::error!("the configuration has faults: the parents' keys stay what they were");
                return None;
            }
            Err(_panicked) => {
                tracing::error!("reading the configuration panicked: the parents' keys stay what they were");
                return None;
            }
        };
        if identity(&config.object_server) != self.server {
            tracing::error!(
                "another object server is configured: that needs a restart; the parents stay what they were"
            );
            return None;
        }
        // Rows would name parents by fingerprints that this process does not know.
        if fingerprint_key(&config).fingerprint("") != self.fingerprints.fingerprint("") {
            tracing::error!(
                "audit.fingerprint_key, or the secret that stands for it, is another: that needs a restart; the parents \
                 stay what they were"
            );
            return None;
        }
        let minting = minting(&config);
        let orphans: Vec<String> = policies
            .roles()
            .filter_map(|(role, _, _)| minting.choose(std::slice::from_ref(role)).err().map(|error| error.to_string()))
            .collect();
        if !orphans.is_empty() {
            tracing::error!(problems = orphans.join("; "), "the parents stay what they were");
            return None;
        }
        match each(&config.object_server, &self.fingerprints, &self.clock) {
            Ok(parents) if parents.iter().any(|parent| parent.duty != Duty::Retired) => {
                self.parents.replace(parents);
                self.self_test.parents_changed(signing_parents(&config.object_server));
                tracing::info!(minting = self.parents.minting().len(), "the parents' keys were read again");
                Some(minting)
            }
            Ok(_) => None,
            Err(error) => {
                tracing::error!(%error, "the parents stay what they were");
                None
            }
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}
