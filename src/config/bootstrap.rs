//! `[object_server.bootstrap]`: an administrator's key, for `stint object-server bootstrap` and `verify` alone. Whatever
//! else reads the configuration passes over it without opening its files, so that the service never holds such a key, even
//! where one file serves both.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::section::{Reader, Section};
use super::tree::Tree;
use super::{Environment, ObjectServerSettings, Problem, sections};
use crate::token::IssuerName;

const KEYS: [&str; 2] = ["access_key", "secret_key"];

/// The key of an administrator of the object server.
#[derive(Debug, Clone)]
pub struct BootstrapKey {
    /// Its access key.
    pub access_key: SecretString,
    /// Its secret key.
    pub secret_key: SecretString,
}

/// What `bootstrap` needs of the configuration: not the database.
#[derive(Debug)]
pub struct BootstrapConfig {
    /// `[object_server]`
    pub object_server: ObjectServerSettings,
    /// The administrator's key, if there is one.
    pub key: Option<BootstrapKey>,
    /// `[object_server.bootstrap] parent_policy_file`
    pub parent_policy: Option<PathBuf>,
    /// `[policies] directory`
    pub policies: PathBuf,
    /// The issuers that roles may name.
    pub issuers: Vec<IssuerName>,
}

impl BootstrapConfig {
    /// Reads the file at `path`, overridden by `environment`; on failure every fault of the sections that count here.
    pub fn load(path: &Path, environment: &dyn Environment) -> Result<Self, Vec<Problem>> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| vec![Problem::of_file(format!("cannot read {}: {error}", path.display()))])?;
        let mut tree = Tree::parse(&text)?;
        let mut problems = tree.overlay(environment);
        let mut reader = Reader::new(path.parent().unwrap_or(Path::new(".")), environment);
        let config = Self::from_root(reader.root(tree));
        problems.extend(reader.finish());
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }

    fn from_root(mut root: Section<'_>) -> Option<Self> {
        let issuers = sections::issuers(&mut root);
        let policies = sections::policies(&mut root);
        let (object_server, (key, parent_policy)) = sections::object_server_with(&mut root, &mut Vec::new(), own)?;
        Some(Self {
            object_server,
            key,
            parent_policy,
            policies: policies?,
            issuers: issuers?.into_iter().map(|issuer| issuer.rules.name).collect(),
        })
    }
}

/// Takes the keys, so that they are known, and opens nothing. The access key, where it is in the text: it must be no
/// parent's.
pub(super) fn skip(object_server: &mut Section<'_>) -> Option<String> {
    let mut section = object_server.section("bootstrap");
    let [access_key, _] = KEYS.map(|key| {
        section.path(&format!("{key}_file"));
        section.text(key)
    });
    section.path("parent_policy_file");
    section.finish();
    access_key
}

/// Reads them.
fn own(object_server: &mut Section<'_>) -> (Option<BootstrapKey>, Option<PathBuf>) {
    let mut section = object_server.section("bootstrap");
    let wanted = KEYS.iter().any(|key| section.has(key) || section.has(&format!("{key}_file")));
    let [access_key, secret_key] = KEYS.map(|key| section.secret(key));
    let parent_policy = section.path("parent_policy_file");
    let key = wanted.then(|| {
        let access_key = section.required("access_key", access_key);
        let secret_key = section.required("secret_key", secret_key);
        Some(BootstrapKey { access_key: access_key?, secret_key: secret_key? })
    });
    section.finish();
    (key.flatten(), parent_policy)
}
