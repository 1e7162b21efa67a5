//! The proof where nobody holds the credential: the object server's list, asked once, after everything was asked for that is
//! to be seen in it. That a credential is absent counts only where its own parent was listed; and where the server lists what
//! it has in memory, only if the credential was listed before, or MinIO would vouch for keys that it has yet to read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::sync::OnceCell;

use super::ending::Finding;
use super::{Desk, Ended};
use crate::audit::{KeyFingerprint, LeaseOnRecord, Revoked, RevokedBy};
use crate::object_server::Absence;

/// Outcomes put on record at once: the log commits together what comes together.
const AT_ONCE: usize = 64;
/// How long a leaked key stays good for the sake of a proof: a list of ten thousand takes MinIO some two seconds.
const LOOK_BEFORE: Duration = Duration::from_secs(5);

/// What the object server lists, without any key.
#[derive(Debug, Default)]
struct Listed {
    parents: BTreeMap<KeyFingerprint, Absence>,
    keys: BTreeSet<KeyFingerprint>,
}

/// What was listed before the first end was asked for that only a list can show.
#[derive(Debug, Default)]
pub(super) struct Before {
    keys: OnceCell<BTreeSet<KeyFingerprint>>,
    /// The server was away since: it may have started anew, and have forgotten what it listed.
    outdated: AtomicBool,
}

impl Before {
    pub(super) fn outdate(&self) {
        self.outdated.store(true, Ordering::Relaxed);
    }

    fn had(&self, key: &KeyFingerprint) -> bool {
        !self.outdated.load(Ordering::Relaxed) && self.keys.get().is_some_and(|keys| keys.contains(key))
    }
}

impl Listed {
    /// What it says of a lease. A row that names no parent, or one that is not listed, proves nothing: the list is somebody
    /// else's, or fingerprints were keyed otherwise when the lease was issued.
    fn finding(&self, lease: &LeaseOnRecord, before: &Before) -> Finding {
        let unproven = |why: &str| Finding::of(Revoked::Unproven, Some(why.to_owned()));
        let (Some(parent), Some(key)) = (lease.parent(), lease.key_fingerprint()) else {
            return unproven("parent_not_listed");
        };
        match self.parents.get(parent) {
            None => unproven("parent_not_listed"),
            Some(_) if self.keys.contains(key) => unproven("still_listed"),
            Some(Absence::GoneIfListedBefore) if !before.had(key) => unproven("not_listed_before"),
            Some(Absence::Gone | Absence::GoneIfListedBefore) => Finding::of(Revoked::GoneFromListing, None),
        }
    }
}

impl Desk {
    /// Lists, unless that was done. Where there is no list there is none after it either, and that says why.
    pub(super) async fn look_before(&self, before: &Before) {
        let list = async || match tokio::time::timeout(LOOK_BEFORE, self.listed()).await {
            Ok(Ok(listed)) => listed.keys,
            Ok(Err(_)) | Err(_) => BTreeSet::new(),
        };
        before.keys.get_or_init(list).await;
    }

    /// Looks for leases that the object server says it ended, in one listing, and puts what is seen on record.
    pub(super) async fn look_for(&self, leases: Vec<LeaseOnRecord>, before: &Before, by: &RevokedBy) -> Vec<Ended> {
        if leases.is_empty() {
            return Vec::new();
        }
        let listed = self.listed().await;
        let findings: Vec<_> = leases
            .into_iter()
            .map(|lease| {
                let finding = match &listed {
                    Ok(listed) => listed.finding(&lease, before),
                    Err(code) => Finding::of(Revoked::Unproven, Some((*code).to_owned())),
                };
                (lease, finding)
            })
            .collect();
        let said = findings.iter().map(|(lease, finding)| self.say(lease, by, finding.clone()));
        stream::iter(said.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await
    }

    /// Access key ids end here.
    async fn listed(&self) -> Result<Listed, &'static str> {
        let listings = self.parts.object_server.live_credentials().await.map_err(|error| {
            tracing::info!(%error, "what the object server lists proves nothing of what was ended");
            error.code()
        })?;
        let fingerprint = |key: &str| self.parts.fingerprints.fingerprint(key);
        let mut listed = Listed::default();
        for listing in listings {
            listed.parents.insert(fingerprint(listing.parent.expose()), listing.absence);
            listed.keys.extend(listing.credentials.iter().map(|c| fingerprint(c.access_key_id.expose())));
        }
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditRow, FingerprintKey};

    fn key(name: &str) -> KeyFingerprint {
        FingerprintKey::derive(b"test").fingerprint(name)
    }

    fn lease(parent: Option<&str>) -> LeaseOnRecord {
        let id = uuid::Uuid::from_u128(7);
        let row = serde_json::json!({
            "effect": "allow", "granted_seconds": 900, "id": id, "issuer": "a", "lease_id": id, "reason": "granted",
            "occurred_at": "2026-11-22T03:00:00.000000Z", "ends_at": "2026-11-22T04:00:00.000000Z", "seq": 1, "stream": id,
            "key_fingerprint": key("its own").as_str(), "parent_fingerprint": parent.map(|name| key(name).as_str().to_owned()),
            "role_session_name": "s", "session_policy_sha256": "0".repeat(64), "type": "lease.issued",
        });
        LeaseOnRecord::try_from(serde_json::from_value::<AuditRow>(row).unwrap()).unwrap()
    }

    fn list(absence: Absence, keys: &[&str]) -> Listed {
        Listed {
            parents: BTreeMap::from([(key("parent"), absence)]),
            keys: keys.iter().map(|name| key(name)).collect(),
        }
    }

    fn unproven(why: &str) -> (Revoked, Option<String>) {
        (Revoked::Unproven, Some(why.to_owned()))
    }

    #[test]
    fn where_a_server_lists_what_it_has_in_memory_only_what_it_listed_before_is_gone() {
        let seen = |keys: &[&str], before: &Before| {
            let finding = list(Absence::GoneIfListedBefore, keys).finding(&lease(Some("parent")), before);
            (finding.seen, finding.told)
        };
        let before = |names: &[&str]| Before {
            keys: OnceCell::new_with(Some(names.iter().map(|name| key(name)).collect())),
            outdated: AtomicBool::new(false),
        };
        let (had, another) = (before(&["its own", "another"]), before(&["another"]));
        assert_eq!(seen(&["another"], &had), (Revoked::GoneFromListing, None));
        assert_eq!(seen(&["another"], &another), unproven("not_listed_before"));
        assert_eq!(seen(&["another"], &Before::default()), unproven("not_listed_before"));
        assert_eq!(seen(&["its own"], &had), unproven("still_listed"));
        had.outdate();
        assert_eq!(seen(&["another"], &had), unproven("not_listed_before"), "it may have started anew");
    }

    #[test]
    fn only_absence_from_the_list_of_its_own_parent_is_proof() {
        let listed = |keys: &[&str]| list(Absence::Gone, keys);
        let seen = |listed: Listed, parent| {
            let finding = listed.finding(&lease(parent), &Before::default());
            (finding.seen, finding.told)
        };
        assert_eq!(seen(listed(&[]), Some("parent")), (Revoked::GoneFromListing, None));
        assert_eq!(seen(listed(&["another"]), Some("parent")), (Revoked::GoneFromListing, None));
        assert_eq!(seen(listed(&["another", "its own"]), Some("parent")), unproven("still_listed"));
        assert_eq!(seen(listed(&[]), Some("other")), unproven("parent_not_listed"));
        assert_eq!(seen(listed(&[]), None), unproven("parent_not_listed"));
        assert_eq!(seen(Listed::default(), Some("parent")), unproven("parent_not_listed"));
    }
}
