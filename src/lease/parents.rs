//! Which parent mints which roles. Planning names the parent, so that the intent is committed with it; the keys are the
//! object server room's.

use std::collections::{BTreeMap, BTreeSet};

use super::LeaseError;
use crate::policy::{BreakGlass, EmergencyRole, PolicySet, RoleName};

/// A parent, told apart by a keyed digest of its access key id: the first 128 bits. Made by
/// [`FingerprintKey::parent`](crate::audit::FingerprintKey::parent).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParentId([u8; 16]);

impl ParentId {
    /// From the digest.
    #[must_use]
    pub fn from_digest(digest: [u8; 16]) -> Self {
        Self(digest)
    }

    /// 32 lower-case hex digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

/// Who mints for whom. The default value is a server with one parent that needs no name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MintingParents {
    default: Option<ParentId>,
    of_roles: BTreeMap<RoleName, ParentId>,
}

impl MintingParents {
    /// The parent of every role that has none of its own, if there is one, and the roles that have their own.
    #[must_use]
    pub fn new(default: Option<ParentId>, of_roles: BTreeMap<RoleName, ParentId>) -> Self {
        Self { default, of_roles }
    }

    /// The parent that mints a lease of these roles together; none only where parents have no names. Roles of several
    /// parents are minted by the default one or by none: a lease has one ceiling, and a parent that is one role's
    /// ceiling is not another's.
    pub fn choose(&self, roles: &[RoleName]) -> Result<Option<ParentId>, LeaseError> {
        if self.default.is_none() && self.of_roles.is_empty() {
            return Ok(None);
        }
        let of_role = |role| self.of_roles.get(role).copied().or(self.default);
        let mut parents = BTreeSet::new();
        for role in roles {
            parents.insert(of_role(role).ok_or_else(|| LeaseError::NoParent { role: role.clone() })?);
        }
        match (parents.len(), self.default) {
            (1, _) => Ok(parents.pop_first()),
            (_, Some(default)) => Ok(Some(default)),
            (_, None) => Err(LeaseError::RolesOfSeveralParents { choices: roles.to_vec() }),
        }
    }

    /// Proves at load that every role has a parent and every parent's role exists: one line for each that does not.
    #[must_use]
    pub fn misfits(&self, policies: &PolicySet) -> Vec<String> {
        let emergencies = policies.break_glass().into_iter().flat_map(BreakGlass::roles).map(EmergencyRole::name);
        let roles: BTreeSet<&RoleName> = policies.roles().map(|(name, _, _)| name).chain(emergencies).collect();
        let unknown = self.of_roles.keys().filter(|role| !roles.contains(role));
        let unknown = unknown.map(|role| {
            format!(
                "object_server.parent: no policy defines the role {role}: it would be nobody's ceiling; name another"
            )
        });
        let orphans = roles.iter().filter(|role| self.default.is_none() && !self.of_roles.contains_key(**role));
        let orphans = orphans.map(|role| {
            format!(
                "role {role}: it has no parent: name it in an [[object_server.parent]], or set object_server.access_key"
            )
        });
        // One parent without a name mints everything.
        if self.default.is_none() && self.of_roles.is_empty() {
            return Vec::new();
        }
        unknown.chain(orphans).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyFiles;

    const DEFAULT: ParentId = ParentId([0; 16]);
    const STUDIO: ParentId = ParentId([1; 16]);
    const BACKUP: ParentId = ParentId([2; 16]);

    fn roles(names: &[&str]) -> Vec<RoleName> {
        names.iter().map(|name| RoleName::parse(name).unwrap()).collect()
    }

    /// `studio` and `editor` have one parent, `backup` another.
    fn parents(default: Option<ParentId>) -> MintingParents {
        let of = [("studio", STUDIO), ("editor", STUDIO), ("backup", BACKUP)];
        MintingParents::new(default, of.map(|(role, id)| (RoleName::parse(role).unwrap(), id)).into())
    }

    #[test]
    fn a_role_is_minted_by_its_own_parent_and_any_other_by_the_default() {
        let parents = parents(Some(DEFAULT));
        assert_eq!(parents.choose(&roles(&["studio"])), Ok(Some(STUDIO)));
        assert_eq!(parents.choose(&roles(&["backup"])), Ok(Some(BACKUP)));
        assert_eq!(parents.choose(&roles(&["viewer"])), Ok(Some(DEFAULT)));
        assert_eq!(MintingParents::default().choose(&roles(&["viewer"])), Ok(None), "one parent needs no name");
    }

    #[test]
    fn roles_of_one_parent_stay_with_it() {
        for default in [None, Some(DEFAULT)] {
            assert_eq!(parents(default).choose(&roles(&["studio", "editor"])), Ok(Some(STUDIO)));
        }
    }

    #[test]
    fn roles_of_several_parents_are_the_defaults_or_refused_with_the_choices() {
        let both = roles(&["backup", "studio"]);
        assert_eq!(parents(Some(DEFAULT)).choose(&both), Ok(Some(DEFAULT)));
        assert_eq!(parents(Some(DEFAULT)).choose(&roles(&["studio", "viewer"])), Ok(Some(DEFAULT)));
        assert_eq!(parents(None).choose(&both), Err(LeaseError::RolesOfSeveralParents { choices: both.clone() }));
    }

    #[test]
    fn a_role_without_a_parent_is_refused_never_lent_anothers() {
        let refused = parents(None).choose(&roles(&["studio", "viewer"]));
        assert_eq!(refused, Err(LeaseError::NoParent { role: RoleName::parse("viewer").unwrap() }));
    }

    #[test]
    fn at_load_every_role_must_have_a_parent_and_every_parents_role_must_exist() {
        let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],
            "Resource":["arn:aws:s3:::b/*"]}]}"#;
        let set = |names: &[&str]| {
            let file = |name: &&str| (format!("documents/{name}.json"), document.as_bytes().to_vec());
            PolicySet::compile(&PolicyFiles(names.iter().map(file).collect()), &[]).unwrap()
        };
        let whole = set(&["studio", "editor", "backup"]);
        assert_eq!(parents(None).misfits(&whole), Vec::<String>::new());
        assert_eq!(MintingParents::default().misfits(&whole), Vec::<String>::new());
        let told = parents(None).misfits(&set(&["studio", "editor", "backup", "viewer"]));
        assert!(told.len() == 1 && told[0].starts_with("role viewer: it has no parent"), "{told:?}");
        assert!(parents(Some(DEFAULT)).misfits(&set(&["studio", "editor", "backup", "viewer"])).is_empty());
        let told = parents(Some(DEFAULT)).misfits(&set(&["studio", "backup"]));
        assert!(told.len() == 1 && told[0].contains("no policy defines the role editor"), "{told:?}");
    }
}
