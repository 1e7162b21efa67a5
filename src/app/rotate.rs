//! `stint object-server rotate`: a new parent beside the old, tried before anybody uses it; and, once the log shows that
//! nothing hangs on it any more, the end of the old. At every step some parent works.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::ExposeSecret;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::object_server::{conformance_traits, first_bucket, s3_client, s3_key};
use super::parents::adapter;
use super::{KeyFiles, KeyFilesError, StartError, VerifyError, fingerprint_key, open_log, random};
use crate::audit::{FingerprintKey, KeyFingerprint};
use crate::clock::{Clock, time_ordered_id};
use crate::config::{BootstrapKey, Config, ObjectServerKind, ParentKey};
use crate::lease::{ParentId, RoleArn};
use crate::object_server::conformance::{self, Check, Subject};
use crate::object_server::rotation::{NewKey, ParentUsers, RotationError, Standing};
use crate::object_server::s3::S3Key;
use crate::object_server::{ConfigError, Duty, ObjectServer, Parent, Parents};
use crate::policy::RoleName;
use crate::postgres::{ParentUse, PostgresStore};

/// No lease is longer, so whoever has minted nothing for this long has no lease out; and a service that still had the old
/// key had this long to use it.
const LONGEST: Duration = Duration::from_hours(1);
/// For clocks that differ.
const SLACK: Duration = Duration::from_mins(1);
/// How far back the log is read: leases of before have all ended.
const BEFORE: Duration = Duration::from_hours(3);

/// Why nothing was rotated, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A server whose users stint does not make.
    #[error("{0}")]
    ByHand(&'static str),
    /// No administrator's key.
    #[error(
        "object_server.bootstrap.access_key and secret_key are not set: rotate makes and deletes users with an administrator's \
         key. Give them for this command alone, as STINT_OBJECT_SERVER__BOOTSTRAP__ACCESS_KEY and …__SECRET_KEY_FILE"
    )]
    NoKey,
    /// The administrator is a parent.
    #[error("object_server.bootstrap.access_key is a parent's own: use an administrator's key")]
    ParentKey,
    /// Fingerprints that hang on the secret that is about to change.
    #[error(
        "audit.fingerprint_key is not set: fingerprints in the log are keyed by the parent's secret, and would not be matched \
         after it changes. Set it, to what object_server.secret_key is now, for all instances; restart them; then rotate"
    )]
    NoFingerprintKey,
    /// Not a role with a parent of its own.
    #[error("--role {0}: no [[object_server.parent]] names this role; without --role the default parent is rotated")]
    NoSuchParent(String),
    /// No default parent.
    #[error("there is no default parent: name the role whose parent is to be rotated, with --role")]
    NoDefaultParent,
    /// Nothing is retired.
    #[error(
        "no [[object_server.retired_parent]] is configured: what is finished is a parent that was replaced and moved there"
    )]
    NothingRetired,
    /// The files hold the key that mints.
    #[error(
        "the key in these files is configured already: this rotation is done. Name another directory for another one"
    )]
    AlreadyConfigured,
    /// The files.
    #[error(transparent)]
    Files(#[from] KeyFilesError),
    /// The server.
    #[error("{parent}: {source}{then}")]
    Server {
        /// Which parent, by its duty.
        parent: String,
        /// What happened.
        source: RotationError,
        /// What is left, and what to do.
        then: &'static str,
    },
    /// The new key was tried and is no parent.
    #[error(
        "the new key did not pass: {0}. The old parent is untouched. The new user is there, unused: run this again with the \
         same directory, or delete it (mc admin user remove, with the name in the file access_key)"
    )]
    NewKeyFailed(String),
    /// What stops `verify` too.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// What stops the service too.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<ConfigError> for RotateError {
    fn from(error: ConfigError) -> Self {
        Self::Start(error.into())
    }
}

/// What became of one rotation.
#[derive(Debug)]
pub struct Rotated {
    /// Which parent was rotated, by its duty.
    pub duty: Duty,
    /// The policies that the new user has.
    pub policies: String,
    /// The new key.
    pub key: NewKey,
}

/// What became of one retired parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Its user is deleted, or was.
    Done {
        /// Whether this run did it.
        now: bool,
    },
    /// Nothing would stand in the way.
    WouldDelete,
    /// Not before this instant.
    Until {
        /// The instant.
        at: OffsetDateTime,
        /// Why.
        because: String,
    },
}

/// What both halves work with.
pub struct Rotation {
    config: Config,
    users: ParentUsers,
    fingerprints: FingerprintKey,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rotation")
    }
}

impl Rotation {
    /// Checks what can be checked without asking anybody.
    pub fn new(
        config: Config,
        administrator: Option<BootstrapKey>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RotateError> {
        if let Some(steps) = by_hand(&config.object_server.kind) {
            return Err(RotateError::ByHand(steps));
        }
        let key = administrator.ok_or(RotateError::NoKey)?;
        if config.object_server.is_parent(key.access_key.expose_secret()) {
            return Err(RotateError::ParentKey);
        }
        if config.audit.fingerprint_key.is_none() {
            return Err(RotateError::NoFingerprintKey);
        }
        let users = ParentUsers { client: s3_client(&config.object_server, &clock)?, key: s3_key(key) };
        Ok(Self { fingerprints: fingerprint_key(&config), config, users, clock })
    }

    /// The parent that `--role` names, or the default one, and the policies that its successor will have. Changes nothing.
    pub async fn plan(&self, role: Option<&str>) -> Result<(Duty, String), RotateError> {
        let (duty, key, _) = self.old(role)?;
        let policies = self.users.policies(&key.access_key).await.map_err(|source| server(&duty, source, ""))?;
        Ok((duty, policies))
    }

    /// Makes the new parent with the old one's rights, and tries it as `verify` tries a parent: on record, told check by
    /// check.
    pub async fn rotate(
        &self,
        role: Option<&str>,
        files: &KeyFiles,
        interrupted: &CancellationToken,
        told: &mut (dyn FnMut(&Check) + Send),
    ) -> Result<Rotated, RotateError> {
        let (duty, _, role_arn) = self.old(role)?;
        let (_, policies) = self.plan(role).await?;
        let key = files.read_or_draw()?;
        if self.config.object_server.is_parent(key.access_key.expose_secret()) {
            return Err(RotateError::AlreadyConfigured);
        }
        self.users.make(&key, &policies).await.map_err(|source| {
            server(&duty, source, ". The old parent is untouched; run this again with the same directory")
        })?;
        let checks = self.try_key(&key, role_arn, interrupted, told).await?;
        let failed: Vec<&str> = checks
            .iter()
            .filter(|check| check.outcome == conformance::Outcome::Failed)
            .map(|check| check.name)
            .collect();
        if !failed.is_empty() {
            return Err(RotateError::NewKeyFailed(failed.join(", ")));
        }
        Ok(Rotated { duty, policies, key })
    }

    async fn try_key(
        &self,
        key: &NewKey,
        role_arn: Option<&RoleArn>,
        interrupted: &CancellationToken,
        told: &mut (dyn FnMut(&Check) + Send),
    ) -> Result<Vec<Check>, RotateError> {
        let settings = &self.config.object_server;
        let parent = ParentKey { access_key: key.access_key.clone(), secret_key: key.secret_key.clone() };
        let id = self.id(&parent);
        let adapter = adapter(settings, &parent, role_arn, &self.clock)?;
        let server = Parents::new(vec![Parent { id, duty: Duty::Default, server: adapter }])?;
        let store = self.store().await?;
        let tasks = TaskTracker::new();
        let log = open_log(&self.config.audit, Arc::new(store), Arc::clone(&self.clock), &tasks)?;
        let mut rng = random()?;
        let subject = Subject {
            traits: conformance_traits(&settings.kind, server.capabilities()),
            server: Arc::new(server),
            client: s3_client(settings, &self.clock)?,
            parent_id: Some(id),
            parent_name: None,
            parent: Some(S3Key::long_lived(key.access_key.clone(), key.secret_key.clone())),
            other_bucket: None,
            administrator: None,
            bucket: first_bucket(&self.config)?,
            log: Arc::new(log),
            fingerprints: self.fingerprints.clone(),
            run: time_ordered_id(self.clock.now(), &mut rng),
            clock: Arc::clone(&self.clock),
            rng: Mutex::new(rng),
        };
        let checks = conformance::verify_parent(&subject, interrupted, told).await;
        drop(subject);
        tasks.close();
        if tokio::time::timeout(self.config.audit.deadline * 2, tasks.wait()).await.is_err() {
            tracing::warn!("the log's stream could not be closed in time; what was committed stands");
        }
        Ok(checks)
    }

    /// Ends every retired parent that nothing hangs on, in the order of the configuration; with `plan_only` says what would
    /// be done. What cannot be read ends nothing.
    pub async fn finish(&self, plan_only: bool) -> Result<Vec<Waiting>, RotateError> {
        let retired = &self.config.object_server.retired_parents;
        if retired.is_empty() {
            return Err(RotateError::NothingRetired);
        }
        let store = self.store().await?;
        let mut ended = Vec::with_capacity(retired.len());
        for key in retired {
            ended.push(self.finish_one(&store, key, plan_only).await?);
        }
        Ok(ended)
    }

    async fn finish_one(
        &self,
        store: &PostgresStore,
        key: &ParentKey,
        plan_only: bool,
    ) -> Result<Waiting, RotateError> {
        let failed = |source| server(&Duty::Retired, source, ". Run this again");
        let standing = self.users.standing(&key.access_key).await.map_err(failed)?;
        if standing == Standing::Gone {
            return Ok(Waiting::Done { now: false });
        }
        if let Some(waiting) = self.waiting(store, key).await? {
            return Ok(told_with(standing, waiting));
        }
        if plan_only {
            return Ok(Waiting::WouldDelete);
        }
        // Disabled first: then nobody mints with it while the log is read once more, and enabling it undoes all.
        self.users.set_enabled(&key.access_key, false).await.map_err(failed)?;
        let waiting = match self.waiting(store, key).await {
            Ok(None) => None,
            // Whoever disabled it before may have had a reason: a key that leaked is not made good again.
            waiting if standing == Standing::Disabled => waiting?,
            waiting => {
                self.users.set_enabled(&key.access_key, true).await.map_err(|source| {
                    server(&Duty::Retired, source, ". IT IS DISABLED and leases hang on it: mc admin user enable")
                })?;
                waiting?
            }
        };
        if let Some(waiting) = waiting {
            return Ok(told_with(standing, waiting));
        }
        self.users.remove(&key.access_key).await.map_err(failed)?;
        Ok(Waiting::Done { now: true })
    }

    /// What stands in the way of ending this parent, by the log.
    async fn waiting(&self, store: &PostgresStore, key: &ParentKey) -> Result<Option<Waiting>, RotateError> {
        let now = self.clock.now();
        let uses = store.parent_use(now - BEFORE, now).await.map_err(StartError::from)?;
        let known: Vec<KeyFingerprint> =
            self.config.object_server.keys().map(|key| KeyFingerprint::from(self.id(key))).collect();
        Ok(waiting(&uses, &KeyFingerprint::from(self.id(key)), &known, now))
    }

    async fn store(&self) -> Result<PostgresStore, RotateError> {
        let connected = PostgresStore::connect(&self.config.postgres_url, self.config.audit.deadline).await;
        Ok(connected.map_err(StartError::from)?)
    }

    fn id(&self, key: &ParentKey) -> ParentId {
        self.fingerprints.parent(key.access_key.expose_secret())
    }

    fn old(&self, role: Option<&str>) -> Result<(Duty, &ParentKey, Option<&RoleArn>), RotateError> {
        let settings = &self.config.object_server;
        let Some(role) = role else {
            let default = settings.parent.as_ref().ok_or(RotateError::NoDefaultParent)?;
            return Ok((Duty::Default, default, None));
        };
        let named = RoleName::parse(role);
        let block =
            settings.role_parents.iter().find(|block| block.roles.iter().any(|role| Some(role) == named.as_ref()));
        let block = block.ok_or_else(|| RotateError::NoSuchParent(role.to_owned()))?;
        Ok((Duty::Roles(block.roles.clone()), &block.key, block.role_arn.as_ref()))
    }
}

fn server(duty: &Duty, source: RotationError, then: &'static str) -> RotateError {
    RotateError::Server { parent: duty.to_string(), source, then }
}

/// Nothing hangs on a parent when no lease of it is open and it has minted nothing for as long as the longest lease: an
/// instance that still has the old key would have used it. Leases of parents that are not configured may be its own, under
/// a fingerprint of another time: they are waited for too.
fn waiting(
    uses: &[ParentUse],
    parent: &KeyFingerprint,
    known: &[KeyFingerprint],
    now: OffsetDateTime,
) -> Option<Waiting> {
    let own = uses.iter().find(|seen| seen.parent.as_ref() == Some(parent));
    let idle_from = own.map(|seen| seen.last_intent + LONGEST + SLACK);
    let ended_from = own.and_then(|seen| seen.open_until).map(|end| end + SLACK);
    if let Some((seen, at)) = own.zip(idle_from.max(ended_from)).filter(|(_, at)| *at > now) {
        let minutes = (now - seen.last_intent).whole_minutes();
        let because = format!("{} of its leases are open, and it last minted {minutes} minutes ago", seen.open);
        return Some(Waiting::Until { at, because });
    }
    let strangers = uses.iter().filter(|seen| !seen.parent.as_ref().is_some_and(|parent| known.contains(parent)));
    let open_until = strangers.filter_map(|seen| seen.open_until).max()?;
    let because = "leases are open whose parent is not configured, or not named in the log: they may be its own \
                   (audit.fingerprint_key was another, or the service was older)";
    Some(Waiting::Until { at: open_until + SLACK, because: because.to_owned() })
}

/// A user that is disabled has had its leases cut, by a run that broke off or by somebody who meant it: which, only people know.
fn told_with(standing: Standing, waiting: Waiting) -> Waiting {
    match (standing, waiting) {
        (Standing::Disabled, Waiting::Until { at, because }) => {
            let because = format!(
                "{because}. IT IS DISABLED, and every lease under it is refused: unless somebody cut it off on purpose, an \
                 earlier run broke off and it is to be enabled again (mc admin user enable)"
            );
            Waiting::Until { at, because }
        }
        (Standing::Disabled | Standing::Enabled | Standing::Gone, waiting) => waiting,
    }
}

/// The steps, where users are not stint's to make.
fn by_hand(kind: &ObjectServerKind) -> Option<&'static str> {
    match kind {
        ObjectServerKind::Minio => None,
        ObjectServerKind::Rustfs => Some(
            "kind = \"rustfs\": stint does not speak its admin API, so the parent is rotated by hand. 1. Make a second user \
             with the policies of the first. 2. Put its key into the configuration of every instance, the old one into \
             [[object_server.retired_parent]], and send SIGHUP. 3. An hour after the last lease of the old one, delete its \
             user, which ends what is left. Changing the secret of the one user ends none of its leases",
        ),
        ObjectServerKind::Seaweedfs(_) => Some(
            "kind = \"seaweedfs\": its identities are in a file, so the key is rotated by hand. 1. In the file of -s3.config \
             give the parent's identity a second entry in \"credentials\", and let the server read it. 2. Put the new key into \
             the configuration of every instance, and send SIGHUP. 3. Take the old entry away. Sessions hang on the role, not \
             on the key: none ends",
        ),
        ObjectServerKind::Ceph(_) => Some(
            "kind = \"ceph\": the gateway's admin tool makes keys, so the key is rotated by hand. 1. `radosgw-admin key create \
             --uid=<parent> --key-type=s3 --gen-access-key --gen-secret`: a user may have two. 2. Put the new key into the \
             configuration of every instance, and send SIGHUP. 3. `radosgw-admin key rm --uid=<parent> --key-type=s3 \
             --access-key=<old>`. Sessions are sealed by rgw_sts_key and hang on the role: none ends",
        ),
        ObjectServerKind::Aws(_) => Some(
            "kind = \"aws\": IAM makes keys, so the key is rotated by hand. 1. `aws iam create-access-key --user-name <parent>`: a \
             user may have two. 2. Put the new key into the configuration of every instance, and send SIGHUP. 3. `aws iam \
             update-access-key --status Inactive`, and when nothing complains `aws iam delete-access-key`. Sessions hang on \
             the role: none ends",
        ),
        ObjectServerKind::Garage { .. } => Some(
            "kind = \"garage\": what is replaced there is the admin token, by hand. 1. Set audit.fingerprint_key, if it is not set: \
             it keeps the fingerprints in the log what they are. 2. `garage admin-token create stint --scope \
             CreateKey,AllowBucketKey,DeleteKey,ListKeys,ListBuckets`. 3. Put the new token into the configuration of every \
             instance, and send SIGHUP. 4. `garage admin-token delete <old>`. Leases are keys of their own: none ends, and any \
             token can end them",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    fn fingerprint(access_key: &str) -> KeyFingerprint {
        FingerprintKey::derive(b"test").fingerprint(access_key)
    }

    /// `old` minted this long ago; so many leases are open, until then.
    fn of_old(minted: Duration, open: u64, open_until: Option<OffsetDateTime>) -> ParentUse {
        ParentUse { parent: Some(fingerprint("old")), last_intent: NOW - minted, open, open_until }
    }

    fn judged(uses: &[ParentUse]) -> Option<(OffsetDateTime, String)> {
        let known = ["new", "old"].map(fingerprint);
        waiting(uses, &fingerprint("old"), &known, NOW).map(|waiting| match waiting {
            Waiting::Until { at, because } => (at, because),
            other @ (Waiting::Done { .. } | Waiting::WouldDelete) => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_parent_that_minted_nothing_for_as_long_as_the_longest_lease_may_go() {
        assert_eq!(judged(&[]), None, "it is not in the log at all");
        assert_eq!(judged(&[of_old(LONGEST + SLACK, 0, None)]), None);
        let (at, _) = judged(&[of_old(LONGEST, 0, None)]).unwrap();
        assert_eq!(at, NOW + SLACK, "a minute too early");
    }

    #[test]
    fn a_parent_with_an_open_lease_waits_for_its_end() {
        let end = NOW + Duration::from_mins(50);
        let (at, because) = judged(&[of_old(Duration::from_mins(10), 2, Some(end))]).unwrap();
        assert_eq!(at, NOW + Duration::from_mins(51));
        assert_eq!(because, "2 of its leases are open, and it last minted 10 minutes ago");
        let (at, _) = judged(&[of_old(Duration::from_mins(90), 1, Some(end))]).unwrap();
        assert_eq!(at, end + SLACK, "whatever the log says of a longer one");
    }

    #[test]
    fn a_parent_that_is_waited_for_and_disabled_is_told_so() {
        let waited = || Waiting::Until { at: NOW, because: "2 of its leases are open".to_owned() };
        assert_eq!(told_with(Standing::Enabled, waited()), waited());
        let Waiting::Until { at, because } = told_with(Standing::Disabled, waited()) else { panic!("it waits") };
        assert_eq!(at, NOW);
        assert!(because.starts_with("2 of its leases are open. IT IS DISABLED"), "{because}");
    }

    #[test]
    fn a_parent_that_minted_lately_waits_although_its_leases_were_revoked() {
        let (at, _) = judged(&[of_old(Duration::from_mins(10), 0, None)]).unwrap();
        assert_eq!(at, NOW + Duration::from_mins(51));
    }

    #[test]
    fn another_parents_leases_are_not_waited_for_and_nobodys_are() {
        let end = NOW + Duration::from_mins(20);
        let of = |parent| ParentUse { parent, last_intent: NOW, open: 1, open_until: Some(end) };
        assert_eq!(judged(&[of(Some(fingerprint("new")))]), None);
        for parent in [None, Some(fingerprint("of another time"))] {
            let (at, because) = judged(&[of(parent)]).unwrap();
            assert_eq!(at, end + SLACK);
            assert!(because.contains("they may be its own"), "{because}");
        }
    }
}
