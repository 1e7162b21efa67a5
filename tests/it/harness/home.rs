//! The disk of one instance that may break the glass: its signing key, and its journal once it has one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;
use tempfile::TempDir;

use super::custodians::policies;
use super::service::{Service, Setup};

/// Ed25519, for tests alone.
const SIGNING_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n";

/// Gone when dropped.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self(TempDir::new().unwrap());
        let key = home.path().join("signing.pem");
        fs::write(&key, SIGNING_KEY).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// What `stint.toml` says of it.
    pub(crate) fn configuration(&self) -> String {
        let home = self.path().display();
        format!("[audit]\nsigning_key_file = \"{home}/signing.pem\"\n[break_glass]\njournal = \"{home}/journal\"\n")
    }

    /// An instance on this disk whose policies are those of the custodians.
    pub(crate) async fn start(&self, endpoint: &str, database: Option<SecretString>) -> Service {
        let more = format!("[lease]\njitter = 0.0\n{}", self.configuration()).leak();
        Service::start(Setup { more, policies: policies(), database, ..Setup::with(endpoint) }).await
    }
}
