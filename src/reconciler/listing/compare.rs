//! The comparison, without a clock of its own, a server or a database: what the server lists against what the log knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use time::OffsetDateTime;

use super::records::{KnownLease, UnissuedLease};
use crate::audit::{KeyFingerprint, Orphan, Orphanhood};
use crate::lease::LeaseId;
use crate::object_server::Absence;

/// A lease that is about to end is not looked for: clocks differ, and a server may have removed it by its own.
pub(super) const ABOUT_TO_END: Duration = Duration::from_mins(1);
/// How far the end of a credential may lie from the end that its intent implies: the mint comes seconds after the intent, and
/// a server's clock that differs by a minute fails verification.
pub(super) const NEAR: Duration = Duration::from_mins(2);

/// A credential at the server, its access key id made a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The fingerprint of its access key id.
    pub key: KeyFingerprint,
    /// That of its parent's.
    pub parent: KeyFingerprint,
    /// When it ends, if the server tells.
    pub ends_at: Option<OffsetDateTime>,
    /// Its lease, if the server tells.
    pub lease: Option<LeaseId>,
}

/// What the two sides say of each other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Credentials that belong to an open lease.
    pub with_lease: usize,
    /// Credentials that the server still lists, and that have ended.
    pub ended: usize,
    /// Credentials that belong to no open lease.
    pub suspects: Vec<Orphan>,
    /// Open leases whose credential the server does not list.
    pub missing: Vec<KnownLease>,
}

/// Compares. `leases` must hold all that the log knows of the listed keys; of the other leases, those that were on record
/// before the server was asked, or a credential minted meanwhile would be missed.
#[must_use]
pub fn compare(
    listed: &[Credential],
    parents: &BTreeMap<KeyFingerprint, Absence>,
    leases: &[KnownLease],
    now: OffsetDateTime,
) -> Comparison {
    let mut known: BTreeMap<&KeyFingerprint, &KnownLease> = BTreeMap::new();
    for lease in leases {
        // Should a key be on record twice, an open lease speaks for it.
        known
            .entry(&lease.key)
            .and_modify(|known| {
                if known.closed {
                    *known = lease;
                }
            })
            .or_insert(lease);
    }
    let mut comparison = Comparison::default();
    for credential in listed {
        if credential.ends_at.is_some_and(|ends_at| ends_at <= now) {
            comparison.ended += 1;
            continue;
        }
        match known.get(&credential.key) {
            Some(lease) if !lease.closed => comparison.with_lease += 1,
            Some(lease) => comparison.suspects.push(orphan(credential, Some(lease.id), Orphanhood::LeaseClosed)),
            None => comparison.suspects.push(orphan(credential, credential.lease, Orphanhood::NoLease)),
        }
    }
    let present: BTreeSet<&KeyFingerprint> = listed.iter().map(|credential| &credential.key).collect();
    let is_missing = |lease: &&KnownLease| {
        // Of a parent that was not listed nothing is known.
        let asked_for = lease.parent.as_ref().is_none_or(|parent| parents.contains_key(parent));
        asked_for
            && !lease.closed
            && !lease.trial
            && lease.ends_at > now + ABOUT_TO_END
            && !present.contains(&lease.key)
    };
    comparison.missing.extend(leases.iter().filter(is_missing).cloned());
    comparison
}

fn orphan(credential: &Credential, lease: Option<LeaseId>, why: Orphanhood) -> Orphan {
    let Credential { key, parent, ends_at, lease: _ } = credential.clone();
    Orphan { key_fingerprint: key, parent, ends_at, lease, why }
}

/// The leases without a recorded credential that this orphan may have been minted for.
pub fn possible<'a>(orphan: &Orphan, unissued: &'a [UnissuedLease]) -> impl Iterator<Item = &'a UnissuedLease> {
    let Orphan { parent, ends_at, lease, .. } = orphan.clone();
    unissued.iter().filter(move |candidate| {
        let same_parent = candidate.parent.as_ref().is_none_or(|own| *own == parent);
        let near = ends_at.is_none_or(|ends_at| (ends_at - candidate.ends_at).abs() <= NEAR);
        same_parent && lease.map_or(near, |lease| lease == candidate.id)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::audit::FingerprintKey;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);
    const END: OffsetDateTime = datetime!(2026-11-22 12:30 UTC);

    fn key(name: &str) -> KeyFingerprint {
        FingerprintKey::derive(b"test").fingerprint(name)
    }

    fn id(number: u128) -> LeaseId {
        LeaseId::from_uuid(Uuid::from_u128(number))
    }

    fn credential(name: &str) -> Credential {
        Credential { key: key(name), parent: key("parent"), ends_at: Some(END), lease: None }
    }

    fn lease(number: u128, name: &str) -> KnownLease {
        let parent = Some(key("parent"));
        KnownLease {
            id: id(number),
            key: key(name),
            parent,
            ends_at: END,
            closed: false,
            revocation_wanted: false,
            trial: false,
        }
    }

    fn compared(listed: &[Credential], leases: &[KnownLease]) -> Comparison {
        compare(listed, &BTreeMap::from([(key("parent"), Absence::Gone)]), leases, NOW)
    }

    fn suspicion(name: &str, lease: Option<LeaseId>, why: Orphanhood) -> Orphan {
        orphan(&credential(name), lease, why)
    }

    #[test]
    fn a_credential_and_its_open_lease_are_fine() {
        let comparison = compared(&[credential("a")], &[lease(1, "a")]);
        assert_eq!(comparison, Comparison { with_lease: 1, ..Comparison::default() });
    }

    #[test]
    fn a_credential_without_a_lease_is_an_orphan() {
        let comparison = compared(&[credential("a"), credential("b")], &[lease(1, "a")]);
        assert_eq!(comparison.suspects, [suspicion("b", None, Orphanhood::NoLease)]);
        assert_eq!((comparison.with_lease, comparison.missing.len()), (1, 0));
        let told = Credential { lease: Some(id(7)), ..credential("b") };
        assert_eq!(compared(&[told], &[]).suspects, [suspicion("b", Some(id(7)), Orphanhood::NoLease)]);
    }

    #[test]
    fn a_credential_whose_lease_was_closed_is_an_orphan_that_names_it() {
        let closed = KnownLease { closed: true, ..lease(1, "a") };
        let comparison = compared(&[credential("a")], std::slice::from_ref(&closed));
        assert_eq!(comparison.suspects, [suspicion("a", Some(id(1)), Orphanhood::LeaseClosed)]);
        assert_eq!(comparison.missing, []);
        let reopened = compared(&[credential("a")], &[closed, lease(2, "a")]);
        assert_eq!((reopened.with_lease, reopened.suspects.len()), (1, 0));
    }

    #[test]
    fn a_credential_that_has_ended_is_nobodys_orphan() {
        let ended = Credential { ends_at: Some(NOW), ..credential("a") };
        assert_eq!(compared(&[ended], &[]), Comparison { ended: 1, ..Comparison::default() });
        let endless = Credential { ends_at: None, ..credential("a") };
        assert_eq!(compared(&[endless], &[]).suspects.len(), 1);
    }

    #[test]
    fn an_open_lease_without_a_credential_is_missing() {
        let other_parent = KnownLease { parent: Some(key("other")), ..lease(2, "b") };
        let unknown_parent = KnownLease { parent: None, ..lease(3, "c") };
        let leases = [
            lease(1, "a"),
            other_parent,
            unknown_parent.clone(),
            KnownLease { closed: true, ..lease(4, "d") },
            KnownLease { trial: true, ..lease(5, "e") },
            KnownLease { ends_at: NOW + ABOUT_TO_END, ..lease(6, "f") },
        ];
        assert_eq!(compared(&[], &leases).missing, [lease(1, "a"), unknown_parent]);
        let soon = KnownLease { ends_at: NOW + ABOUT_TO_END + Duration::from_secs(1), ..lease(6, "f") };
        assert_eq!(compared(&[], std::slice::from_ref(&soon)).missing, [soon]);
    }

    #[test]
    fn an_orphan_may_be_of_an_intent_that_implies_its_end_under_its_parent() {
        let orphan = suspicion("a", None, Orphanhood::NoLease);
        let parent = Some(key("parent"));
        let fits = UnissuedLease { id: id(1), parent, ends_at: END, undecided: false };
        let near = UnissuedLease { ends_at: END - NEAR, parent: None, ..fits.clone() };
        for candidate in [&fits, &near] {
            assert_eq!(possible(&orphan, std::slice::from_ref(candidate)).count(), 1, "{candidate:?}");
        }
        let far = UnissuedLease { ends_at: END - NEAR - Duration::from_secs(1), ..fits.clone() };
        let other = UnissuedLease { parent: Some(key("other")), ..fits.clone() };
        for candidate in [&far, &other] {
            assert_eq!(possible(&orphan, std::slice::from_ref(candidate)).count(), 0, "{candidate:?}");
        }
        let endless = Orphan { ends_at: None, ..orphan.clone() };
        assert_eq!(possible(&endless, &[far.clone(), other.clone()]).count(), 1);
        let told = Orphan { lease: Some(id(1)), ..orphan };
        let another = UnissuedLease { id: id(2), ..fits.clone() };
        assert_eq!(possible(&told, &[far, another]).map(|lease| lease.id).collect::<Vec<_>>(), [id(1)]);
    }

    proptest! {
        /// Whatever both sides hold, every live credential and every open lease is accounted for exactly once.
        #[test]
        fn nothing_is_forgotten_and_nothing_told_twice(
            at_server in prop::collection::btree_map(0_u8..30, any::<bool>(), 0..30),
            on_record in prop::collection::btree_map(0_u8..30, any::<bool>(), 0..30),
        ) {
            let listed: Vec<_> = at_server.iter().map(|(name, ended)| {
                let ends_at = Some(if *ended { NOW } else { END });
                Credential { ends_at, ..credential(&name.to_string()) }
            }).collect();
            let leases: Vec<_> = on_record.iter().map(|(name, closed)| {
                KnownLease { closed: *closed, ..lease(u128::from(*name), &name.to_string()) }
            }).collect();
            let Comparison { with_lease, ended, suspects, missing } = compared(&listed, &leases);
            prop_assert_eq!(with_lease + ended + suspects.len(), listed.len());
            let open = |name: &u8| on_record.get(name) == Some(&false);
            let live = |name: &&u8| !at_server[*name];
            prop_assert_eq!(with_lease, at_server.keys().filter(live).filter(|name| open(name)).count());
            prop_assert_eq!(missing.len(), on_record.keys().filter(|name| open(name) && !at_server.contains_key(name)).count());
        }
    }
}
