//! Several parents in front of one server: each request goes to the parent that its plan, and so its intent, names. It
//! chooses none itself, and never lets one parent answer for another's leases. The set is swapped whole when keys are
//! read again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures::future::join_all;

use super::{ConfigError, LeaseToEnd, ObjectServer, ObjectServerError, ParentListing, TemporaryCredentials};
use crate::audit::{AuditReceipt, KeyFingerprint};
use crate::lease::{AssumeRole, Capabilities, MintingParents, ParentId};
use crate::policy::RoleName;

/// What a parent is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// It mints every role that has no parent of its own.
    Default,
    /// It mints these.
    Roles(Vec<RoleName>),
    /// It mints nothing more, and ends the leases that it minted.
    Retired,
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default parent"),
            Self::Roles(roles) => {
                let names: Vec<&str> = roles.iter().map(RoleName::as_str).collect();
                write!(f, "the parent of {}", names.join(", "))
            }
            Self::Retired => f.write_str("a retired parent"),
        }
    }
}

/// One parent.
#[derive(Debug, Clone)]
pub struct Parent {
    /// Who it is.
    pub id: ParentId,
    /// What it is for.
    pub duty: Duty,
    /// The server, spoken to as this parent.
    pub server: Arc<dyn ObjectServer>,
}

/// The server behind all of its parents.
#[derive(Debug)]
pub struct Parents {
    current: ArcSwap<Set>,
    capabilities: Capabilities,
}

#[derive(Debug)]
struct Set {
    parents: BTreeMap<ParentId, Parent>,
    minting: Arc<MintingParents>,
}

impl Set {
    fn new(parents: Vec<Parent>) -> Self {
        let (mut default, mut of_roles) = (None, BTreeMap::new());
        for parent in &parents {
            match &parent.duty {
                Duty::Default => default = Some(parent.id),
                Duty::Roles(roles) => of_roles.extend(roles.iter().map(|role| (role.clone(), parent.id))),
                Duty::Retired => {}
            }
        }
        let parents = parents.into_iter().map(|parent| (parent.id, parent)).collect();
        Self { parents, minting: Arc::new(MintingParents::new(default, of_roles)) }
    }

    /// The parent that is named, whatever its duty; all of them where none is.
    fn meant(&self, named: Option<&KeyFingerprint>) -> Result<Vec<&Parent>, ObjectServerError> {
        let Some(named) = named else { return Ok(self.parents.values().collect()) };
        let found = self.parents.values().find(|parent| KeyFingerprint::from(parent.id) == *named);
        found.map(|parent| vec![parent]).ok_or_else(|| ObjectServerError::UnknownParent { fingerprint: named.clone() })
    }

    fn minting(&self) -> impl Iterator<Item = &Parent> {
        self.parents.values().filter(|parent| parent.duty != Duty::Retired)
    }
}

impl Parents {
    /// Puts them together; one of them must mint.
    pub fn new(parents: Vec<Parent>) -> Result<Self, ConfigError> {
        let set = Set::new(parents);
        let capabilities = set.minting().next().ok_or(ConfigError::NoParent)?.server.capabilities().clone();
        Ok(Self { current: ArcSwap::from_pointee(set), capabilities })
    }

    /// Puts others in their place. One that is there no more ends the leases that it minted, as long as this process
    /// lives, and mints what was planned for it when it was swapped out: an exchange that is under way must not fail.
    pub fn replace(&self, parents: Vec<Parent>) {
        let before = self.current.load();
        let gone = before.parents.values().filter(|old| !parents.iter().any(|new| new.id == old.id));
        let gone: Vec<Parent> = gone.map(|old| Parent { duty: Duty::Retired, ..old.clone() }).collect();
        self.current.store(Arc::new(Set::new(parents.into_iter().chain(gone).collect())));
    }

    /// Every parent that mints: the default one first.
    #[must_use]
    pub fn minting(&self) -> Vec<Parent> {
        let mut minting: Vec<Parent> = self.current.load().minting().cloned().collect();
        minting.sort_by_key(|parent| parent.duty != Duty::Default);
        minting
    }
}

#[async_trait]
impl ObjectServer for Parents {
    async fn assume_role(
        &self,
        receipt: &AuditReceipt,
        request: &AssumeRole,
    ) -> Result<TemporaryCredentials, ObjectServerError> {
        let id = request.parent().ok_or(ObjectServerError::ReceiptMismatch)?;
        let fingerprint = KeyFingerprint::from(id);
        // What is on record is what mints: a lease under another parent could be found and ended by nobody.
        if receipt.parent() != Some(&fingerprint) {
            return Err(ObjectServerError::ReceiptMismatch);
        }
        let set = self.current.load_full();
        match set.parents.get(&id) {
            Some(parent) => parent.server.assume_role(receipt, request).await,
            None => Err(ObjectServerError::UnknownParent { fingerprint }),
        }
    }

    /// Of every parent, also of those that mint nothing more: all of it, or nothing. A parent that was left out would make its
    /// leases look revoked.
    async fn live_credentials(&self) -> Result<Vec<ParentListing>, ObjectServerError> {
        let set = self.current.load_full();
        let mut listings = Vec::new();
        for parent in set.parents.values() {
            match parent.server.live_credentials().await {
                Ok(own) => listings.extend(own),
                Err(ObjectServerError::KeepsNoList) => return Err(ObjectServerError::KeepsNoList),
                Err(error) => {
                    let source = Box::new(error);
                    return Err(ObjectServerError::OfParent { parent: parent.duty.to_string(), source });
                }
            }
        }
        Ok(listings)
    }

    /// Under the parent that the log names, and no other: MinIO says yes to whoever asks for an end to leases that it never
    /// had. A row from before parents were told apart names none: then every parent is asked, and all must say yes.
    async fn revoke(&self, lease: &LeaseToEnd) -> Result<(), ObjectServerError> {
        let set = self.current.load_full();
        let mut refused = Ok(());
        for parent in set.meant(lease.parent.as_ref())? {
            refused = refused.and(parent.server.revoke(lease).await);
        }
        refused
    }

    /// Of the parent that is named, retired or not; of none named, every parent's.
    async fn revoke_all(&self, parent: Option<&KeyFingerprint>) -> Result<(), ObjectServerError> {
        let set = self.current.load_full();
        let mut refused = Ok(());
        for parent in set.meant(parent)? {
            refused = refused.and(parent.server.revoke_all(None).await);
        }
        refused
    }

    async fn ready(&self) -> Result<(), ObjectServerError> {
        let set = self.current.load_full();
        let minting: Vec<&Parent> = set.minting().collect();
        let [only] = minting.as_slice() else {
            let asked = minting.iter().map(async |parent| (parent, parent.server.ready().await));
            return join_all(asked).await.into_iter().try_for_each(|(parent, answer)| {
                let told =
                    |source| ObjectServerError::OfParent { parent: parent.duty.to_string(), source: Box::new(source) };
                answer.map_err(told)
            });
        };
        only.server.ready().await
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn parents(&self) -> Arc<MintingParents> {
        Arc::clone(&self.current.load().minting)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::minio;
    use super::*;
    use crate::audit::FingerprintKey;
    use crate::lease::{LeaseId, Revocation};
    use uuid::Uuid;

    /// Remembers what it was asked, and says no where it shall.
    #[derive(Debug, Default)]
    struct Double {
        revoked: Mutex<Vec<LeaseId>>,
        refuses: bool,
    }

    #[async_trait]
    impl ObjectServer for Double {
        async fn assume_role(
            &self,
            _: &AuditReceipt,
            _: &AssumeRole,
        ) -> Result<TemporaryCredentials, ObjectServerError> {
            Err(ObjectServerError::NotReady)
        }

        async fn revoke(&self, lease: &LeaseToEnd) -> Result<(), ObjectServerError> {
            self.revoked.lock().unwrap().push(lease.id);
            if self.refuses { Err(ObjectServerError::NotRevocable { smallest: Revocation::Parent }) } else { Ok(()) }
        }

        async fn ready(&self) -> Result<(), ObjectServerError> {
            if self.refuses { Err(ObjectServerError::NotReady) } else { Ok(()) }
        }

        fn capabilities(&self) -> &Capabilities {
            static MINIO: std::sync::LazyLock<Capabilities> = std::sync::LazyLock::new(minio::capabilities);
            &MINIO
        }
    }

    fn id(access_key: &str) -> ParentId {
        FingerprintKey::derive(b"test").parent(access_key)
    }

    fn roles(names: &[&str]) -> Duty {
        Duty::Roles(names.iter().map(|name| RoleName::parse(name).unwrap()).collect())
    }

    fn parent(access_key: &str, duty: Duty, double: &Arc<Double>) -> Parent {
        Parent { id: id(access_key), duty, server: double.clone() }
    }

    fn lease(parent: Option<&str>) -> LeaseToEnd {
        let id_ = LeaseId::from_uuid(Uuid::from_u128(7));
        LeaseToEnd { id: id_, parent: parent.map(|key| KeyFingerprint::from(id(key))) }
    }

    #[tokio::test]
    async fn a_lease_is_ended_under_its_own_parent_and_no_other() {
        let (all, studio, old) = <(Arc<Double>, Arc<Double>, Arc<Double>)>::default();
        let parents = Parents::new(vec![
            parent("all", Duty::Default, &all),
            parent("studio", roles(&["studio"]), &studio),
            parent("old", Duty::Retired, &old),
        ])
        .unwrap();
        parents.revoke(&lease(Some("studio"))).await.unwrap();
        parents.revoke(&lease(Some("old"))).await.unwrap();
        let asked = |double: &Arc<Double>| double.revoked.lock().unwrap().len();
        assert_eq!((asked(&all), asked(&studio), asked(&old)), (0, 1, 1));

        let unknown = parents.revoke(&lease(Some("nobody"))).await.unwrap_err();
        assert_eq!(unknown.code(), "parent_unknown");
        assert!(unknown.to_string().contains("[[object_server.retired_parent]]"), "{unknown}");
        assert_eq!((asked(&all), asked(&studio), asked(&old)), (0, 1, 1), "nobody else was asked in its place");
    }

    #[tokio::test]
    async fn a_lease_of_a_row_without_a_parent_is_ended_under_every_parent_or_not_at_all() {
        let (one, other) = <(Arc<Double>, Arc<Double>)>::default();
        let refusing = Arc::new(Double { refuses: true, ..Double::default() });
        let whole = vec![parent("one", Duty::Default, &one), parent("other", Duty::Retired, &other)];
        Parents::new(whole.clone()).unwrap().revoke(&lease(None)).await.unwrap();
        assert_eq!((one.revoked.lock().unwrap().len(), other.revoked.lock().unwrap().len()), (1, 1));

        let broken = whole.into_iter().chain([parent("third", Duty::Retired, &refusing)]).collect();
        assert!(Parents::new(broken).unwrap().revoke(&lease(None)).await.is_err(), "it may be of the one that said no");
    }

    #[tokio::test]
    async fn it_is_ready_when_every_minting_parent_is_and_says_which_is_not() {
        let (good, bad) = (Arc::new(Double::default()), Arc::new(Double { refuses: true, ..Double::default() }));
        let of = |duty, bad| Parents::new(vec![parent("all", Duty::Default, &good), parent("AKSTUDIO", duty, bad)]);
        of(roles(&["studio", "editor"]), &good).unwrap().ready().await.unwrap();
        of(Duty::Retired, &bad).unwrap().ready().await.unwrap();
        let told = of(roles(&["studio", "editor"]), &bad).unwrap().ready().await.unwrap_err();
        assert_eq!(told.code(), "object_server_not_ready");
        assert_eq!(told.to_string(), "the parent of studio, editor: the object server is not ready");
    }

    #[tokio::test]
    async fn a_parent_that_was_swapped_out_still_ends_its_leases_and_plans_go_to_the_new_one() {
        let (old, new) = <(Arc<Double>, Arc<Double>)>::default();
        let parents = Parents::new(vec![parent("old", Duty::Default, &old)]).unwrap();
        let viewer = [RoleName::parse("viewer").unwrap()];
        assert_eq!(parents.parents().choose(&viewer), Ok(Some(id("old"))));
        parents.replace(vec![parent("new", Duty::Default, &new)]);
        assert_eq!(parents.parents().choose(&viewer), Ok(Some(id("new"))));
        assert_eq!(parents.minting().len(), 1);
        parents.revoke(&lease(Some("old"))).await.unwrap();
        assert_eq!(old.revoked.lock().unwrap().len(), 1);
    }

    #[test]
    fn without_a_parent_that_mints_there_is_no_server() {
        let double = Arc::default();
        assert_eq!(Parents::new(Vec::new()).map(|_| ()), Err(ConfigError::NoParent));
        let retired = vec![parent("old", Duty::Retired, &double)];
        assert_eq!(Parents::new(retired).map(|_| ()), Err(ConfigError::NoParent));
        assert!(Parents::new(vec![parent("one", Duty::Default, &double)]).is_ok());
    }
}
