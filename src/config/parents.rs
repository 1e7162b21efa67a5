//! The parents: the default one, one for each block of roles, and those that are retired. No two may be the same, for a
//! lease is told to be one's by its access key.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::section::Section;
use crate::lease::RoleArn;
use crate::policy::RoleName;

/// The name of Garage's only parent.
const GARAGE: &str = "garage-admin";

/// A parent's key pair.
#[derive(Debug, Clone)]
pub struct ParentKey {
    /// Its access key; at Garage a fixed name.
    pub access_key: SecretString,
    /// Its secret key; at Garage the admin token.
    pub secret_key: SecretString,
}

/// One `[[object_server.parent]]`.
#[derive(Debug, Clone)]
pub struct RoleParent {
    /// The roles it mints, at least one.
    pub roles: Vec<RoleName>,
    /// As whom.
    pub key: ParentKey,
    /// The role to assume, where the kind has roles and these have one of their own.
    pub role_arn: Option<RoleArn>,
    /// The parent user's policy, for `stint object-server bootstrap`.
    pub policy_file: Option<PathBuf>,
}

/// All of them.
#[derive(Debug, Clone)]
pub(super) struct ParentSettings {
    pub(super) default: Option<ParentKey>,
    pub(super) of_roles: Vec<RoleParent>,
    pub(super) retired: Vec<ParentKey>,
}

impl ParentSettings {
    /// Reads them; a kind that has no roles refuses a role in a block.
    pub(super) fn read(section: &mut Section<'_>, has_roles: bool) -> Option<Self> {
        let blocks_given = section.has("parent");
        let wanted = ["access_key", "access_key_file", "secret_key", "secret_key_file"];
        let default_wanted = !blocks_given || wanted.iter().any(|key| section.has(key));
        let default = key(section, default_wanted);
        let mut seen = Seen { keys: Vec::new(), roles: Vec::new() };
        if let Some(default) = &default {
            seen.keys.push(default.access_key.clone());
        }
        let of_roles = section.sections("parent", |block| role_parent(block, has_roles, &mut seen));
        let retired = section.sections("retired_parent", |block| {
            let key = key(block, true)?;
            seen.takes(block, &key).then_some(key)
        });
        (default.is_some() || !default_wanted).then_some(Self { default, of_roles, retired })
    }
}

impl ParentSettings {
    /// Garage has no parents: its admin token stands in the place of the only one, under a name that stays the same when the
    /// token is replaced, because whoever has a token can end the leases of any.
    pub(super) fn of_garage(section: &mut Section<'_>, token: Option<SecretString>) -> Option<Self> {
        let keys = ["access_key", "access_key_file", "secret_key", "secret_key_file", "parent", "retired_parent"];
        let given: Vec<&str> = keys.into_iter().filter(|key| section.has(key)).collect();
        key(section, false);
        section
            .sections("parent", |block| role_parent(block, false, &mut Seen { keys: Vec::new(), roles: Vec::new() }));
        section.sections("retired_parent", |block| key(block, true));
        for key in &given {
            section.reject::<()>(
                key,
                None,
                "has no meaning for garage, whose leases are made with admin_token: remove it",
            );
        }
        let secret_key = section.required("admin_token", token)?;
        let default = Some(ParentKey { access_key: SecretString::from(GARAGE), secret_key });
        given.is_empty().then_some(Self { default, of_roles: Vec::new(), retired: Vec::new() })
    }
}

/// What earlier blocks have.
struct Seen {
    keys: Vec<SecretString>,
    roles: Vec<RoleName>,
}

impl Seen {
    fn takes(&mut self, block: &mut Section<'_>, key: &ParentKey) -> bool {
        if self.keys.iter().any(|seen| seen.expose_secret() == key.access_key.expose_secret()) {
            block.reject::<()>(
                "access_key",
                None,
                "another parent has this access key: each lease must be one's alone",
            );
            return false;
        }
        self.keys.push(key.access_key.clone());
        true
    }
}

fn key(section: &mut Section<'_>, wanted: bool) -> Option<ParentKey> {
    let access_key = section.secret("access_key");
    let secret_key = section.secret("secret_key");
    if !wanted {
        return None;
    }
    let access_key = section.required("access_key", access_key);
    let secret_key = section.required("secret_key", secret_key);
    Some(ParentKey { access_key: access_key?, secret_key: secret_key? })
}

fn role_parent(block: &mut Section<'_>, has_roles: bool, seen: &mut Seen) -> Option<RoleParent> {
    let given = block.list("roles").filter(|roles| !roles.is_empty());
    let given = block.required("roles", given);
    let arn_given = block.has("role_arn");
    let role_arn = block.parsed("role_arn", "must be arn:aws:iam::<account>:role/<name>", RoleArn::parse);
    let policy_file = block.path("policy_file");
    let key = key(block, true);
    if arn_given && !has_roles {
        block.reject::<()>("role_arn", None, "has no meaning for this kind of server, which has no roles: remove it");
    }
    let mut roles = Vec::new();
    for name in given.iter().flatten() {
        let Some(role) = RoleName::parse(name) else {
            return block.reject("roles", None, "must be roles' names: 1 to 64 of A-Z a-z 0-9 + = , . @ _ -");
        };
        if seen.roles.contains(&role) {
            return block.reject("roles", None, &format!("{role} is named twice: a role has one parent"));
        }
        seen.roles.push(role.clone());
        roles.push(role);
    }
    given?;
    let key = key?;
    seen.takes(block, &key).then_some(RoleParent { roles, key, role_arn, policy_file })
}
