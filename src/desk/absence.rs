//! The proof where nobody holds the credential: the object server's list, asked once, after everything was asked for that is
//! to be seen in it. That a credential is absent counts only where its own parent was listed.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};

use super::ending::Finding;
use super::{Desk, Ended};
use crate::audit::{KeyFingerprint, LeaseOnRecord, Revoked, RevokedBy};

/// Outcomes put on record at once: the log commits together what comes together.
const AT_ONCE: usize = 64;

/// What the object server lists, without any key.
#[derive(Debug, Default)]
struct Listed {
    parents: BTreeSet<KeyFingerprint>,
    keys: BTreeSet<KeyFingerprint>,
}

impl Listed {
    /// What it says of a lease. A row that names no parent, or one that is not listed, proves nothing: the list is somebody
    /// else's, or fingerprints were keyed otherwise when the lease was issued.
    fn finding(&self, lease: &LeaseOnRecord) -> Finding {
        let unproven = |why: &str| Finding::of(Revoked::Unproven, Some(why.to_owned()));
        match (lease.parent(), lease.key_fingerprint()) {
            (Some(parent), Some(key)) if self.parents.contains(parent) => {
                if self.keys.contains(key) {
                    unproven("still_listed")
                } else {
                    Finding::of(Revoked::GoneFromListing, None)
                }
            }
            (Some(_) | None, Some(_) | None) => unproven("parent_not_listed"),
        }
    }
}

impl Desk {
    /// Looks for leases that the object server says it ended, in one listing, and puts what is seen on record.
    pub(super) async fn look_for(&self, leases: Vec<LeaseOnRecord>, by: &RevokedBy) -> Vec<Ended> {
        if leases.is_empty() {
            return Vec::new();
        }
        let listed = self.listed().await;
        let findings: Vec<_> = leases
            .into_iter()
            .map(|lease| {
                let finding = match &listed {
                    Ok(listed) => listed.finding(&lease),
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
            listed.parents.insert(fingerprint(listing.parent.expose()));
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

    #[test]
    fn only_absence_from_the_list_of_its_own_parent_is_proof() {
        let listed = |keys: &[&str]| Listed {
            parents: BTreeSet::from([key("parent")]),
            keys: keys.iter().map(|name| key(name)).collect(),
        };
        let seen = |listed: Listed, parent| {
            let finding = listed.finding(&lease(parent));
            (finding.seen, finding.told)
        };
        let unproven = |why: &str| (Revoked::Unproven, Some(why.to_owned()));
        assert_eq!(seen(listed(&[]), Some("parent")), (Revoked::GoneFromListing, None));
        assert_eq!(seen(listed(&["another"]), Some("parent")), (Revoked::GoneFromListing, None));
        assert_eq!(seen(listed(&["another", "its own"]), Some("parent")), unproven("still_listed"));
        assert_eq!(seen(listed(&[]), Some("other")), unproven("parent_not_listed"));
        assert_eq!(seen(listed(&[]), None), unproven("parent_not_listed"));
        assert_eq!(seen(Listed::default(), Some("parent")), unproven("parent_not_listed"));
    }
}
