//! Who holds a lease, and what it is good for: whoever is equal in all of it may be handed the same credentials. Every member is
//! compared whole; the session name is none of them, for SDKs invent one for each call.

use std::time::Duration;

use super::{AssumeRole, ParentId, SessionPolicy};
use crate::policy::{Grant, PolicyHash, RoleName};
use crate::token::{Group, IssuerName, Subject, VerifiedToken};

/// Everything that two requests must share to share a lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    issuer: IssuerName,
    subject: Subject,
    /// Of the identity too: leases are found, and ended, by what the row of their issue says of their holder, and that must be
    /// true of everybody who has one.
    client: Option<String>,
    /// In order: an issuer may name them in any.
    groups: Vec<Group>,
    roles: Vec<RoleName>,
    /// The very text that the object server was sent: the caller's narrowing and the claims filled in are part of it.
    session_policy: SessionPolicy,
    parent: Option<ParentId>,
    /// A caller who asks for a short lease must not be handed a longer one.
    longest: Duration,
    /// A lease of yesterday's policies is nobody's any more.
    policy_hash: PolicyHash,
}

impl Holder {
    /// The holder of what was planned for this token under this grant.
    #[must_use]
    pub fn of(token: &VerifiedToken, grant: &Grant, planned: &AssumeRole) -> Self {
        let mut groups = token.groups().to_vec();
        groups.sort_unstable();
        groups.dedup();
        Self {
            issuer: token.issuer().clone(),
            subject: token.subject().clone(),
            client: token.client().map(str::to_owned),
            groups,
            roles: grant.roles().to_vec(),
            session_policy: planned.session_policy().clone(),
            parent: planned.parent(),
            longest: planned.longest(),
            policy_hash: grant.policy_hash(),
        }
    }

    /// The issuer block whose rules held.
    #[must_use]
    pub fn issuer(&self) -> &IssuerName {
        &self.issuer
    }

    /// `sub`.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// `azp`, or `client_id`.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// The groups, in order.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The roles granted together.
    #[must_use]
    pub fn roles(&self) -> &[RoleName] {
        &self.roles
    }

    /// The policy that bounds the session.
    #[must_use]
    pub fn session_policy(&self) -> &SessionPolicy {
        &self.session_policy
    }

    /// The same, its session policy sharing the memory of one with the same text.
    #[must_use]
    pub fn sharing(self, same: &SessionPolicy) -> Self {
        Self { session_policy: self.session_policy.sharing(same), ..self }
    }

    /// About what it takes in memory, in bytes, the session policy aside.
    #[must_use]
    pub fn weight(&self) -> usize {
        let names =
            self.issuer.as_str().len() + self.subject.as_str().len() + self.client.as_deref().map_or(0, str::len);
        let groups: usize = self.groups.iter().map(|group| size_of::<Group>() + group.as_str().len()).sum();
        let roles: usize = self.roles.iter().map(|role| size_of::<RoleName>() + role.as_str().len()).sum();
        size_of::<Self>() + names + groups + roles
    }

    /// Any holder, for tests of what is told apart by one.
    #[cfg(test)]
    pub(crate) fn for_tests(subject: &str, policy: &str) -> Self {
        Self {
            issuer: IssuerName::parse("authentik").unwrap(),
            subject: Subject::parse(subject).unwrap(),
            client: None,
            groups: Vec::new(),
            roles: vec![RoleName::parse("team").unwrap()],
            session_policy: SessionPolicy::for_tests(policy),
            parent: None,
            longest: Duration::from_hours(1),
            policy_hash: PolicyHash::for_tests([1; 32]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// One holder for each choice of every member.
    fn holder() -> impl Strategy<Value = Holder> {
        let word = || prop::sample::select(vec!["a", "b", "a-b", "ab"]);
        let words = || prop::collection::vec(word(), 0..3);
        let names = (word(), word(), prop::option::of(word()), words(), prop::collection::vec(word(), 1..3));
        let rest = (word(), prop::option::of(0_u8..2), 900_u64..902, 0_u8..2);
        (names, rest).prop_map(|((issuer, subject, client, groups, roles), (policy, parent, longest, hash))| Holder {
            issuer: IssuerName::parse(issuer).unwrap(),
            subject: Subject::parse(subject).unwrap(),
            client: client.map(str::to_owned),
            groups: groups.into_iter().map(|group| Group::parse(group).unwrap()).collect(),
            roles: roles.into_iter().map(|role| RoleName::parse(role).unwrap()).collect(),
            session_policy: SessionPolicy::for_tests(policy),
            parent: parent.map(|n| ParentId::from_digest([n; 16])),
            longest: Duration::from_secs(longest),
            policy_hash: PolicyHash::for_tests([hash; 32]),
        })
    }

    /// Every member, spelled so that no two holders have one spelling.
    fn spelled(holder: &Holder) -> String {
        let Holder { issuer, subject, client, groups, roles, session_policy, parent, longest, policy_hash } = holder;
        format!(
            "{issuer:?}{subject:?}{client:?}{groups:?}{roles:?}{session_policy:?}{parent:?}{longest:?}{}",
            policy_hash.to_hex()
        )
    }

    proptest! {
        #[test]
        fn two_are_one_exactly_if_every_member_is_equal(one in holder(), other in holder()) {
            prop_assert_eq!(one == other, spelled(&one) == spelled(&other));
            prop_assert_eq!(HashSet::from([one.clone()]).contains(&other), one == other);
        }

        #[test]
        fn sharing_memory_changes_no_holder(one in holder(), other in holder()) {
            let shared = one.clone().sharing(other.session_policy());
            prop_assert_eq!(shared, one);
        }
    }

    #[test]
    fn one_member_that_differs_makes_another_holder() {
        let whole = || Holder { groups: vec![Group::parse("g").unwrap()], ..Holder::for_tests("ada", "p") };
        assert_eq!(whole(), whole(), "the near twin");
        let others = [
            Holder { issuer: IssuerName::parse("keycloak").unwrap(), ..whole() },
            Holder { subject: Subject::parse("bob").unwrap(), ..whole() },
            Holder { client: Some("rclone".to_owned()), ..whole() },
            Holder { groups: Vec::new(), ..whole() },
            Holder { roles: vec![RoleName::parse("other").unwrap()], ..whole() },
            Holder { session_policy: SessionPolicy::for_tests("q"), ..whole() },
            Holder { parent: Some(ParentId::from_digest([0; 16])), ..whole() },
            Holder { longest: Duration::from_mins(15), ..whole() },
            Holder { policy_hash: PolicyHash::for_tests([2; 32]), ..whole() },
        ];
        for other in others {
            assert_ne!(other, whole());
        }
    }
}
