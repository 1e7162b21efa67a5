//! Three custodians with keys of their own, as `stint break-glass keygen` makes them, and what they do with them: everything
//! by the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{Ended, Keys};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// Their keys, and the place where they write their documents.
pub(crate) struct Custodians {
    directory: TempDir,
    public_keys: Vec<String>,
}

impl Custodians {
    /// Three new keys.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        let mut custodians = Self { directory, public_keys: Vec::new() };
        fs::write(custodians.file("passphrase"), "correct horse battery staple\n").expect("our own directory");
        fs::set_permissions(custodians.file("passphrase"), fs::Permissions::from_mode(0o600)).expect("our own file");
        for name in NAMES {
            let made = custodians.does(&["keygen", "--name", name, "--passphrase-file", "passphrase", "--json"]);
            let made = made.well().json();
            custodians.public_keys.push(made["public_key"].as_str().expect("a key").to_owned());
        }
        custodians
    }

    /// Their blocks of `break-glass.toml`.
    pub(crate) fn blocks(&self) -> String {
        let block = |(name, key): (&str, &String)| {
            format!("[[custodian]]\nname = \"{name}\"\npublic_key = \"{key}\"\ncontact = \"+49 30 {name}\"\n")
        };
        NAMES.into_iter().zip(&self.public_keys).map(block).collect()
    }

    /// A request by alice of an instance at `url`, signed by nobody.
    pub(crate) fn request(&self, url: &str, kind: &str, role: &str, file: &str) {
        let words = ["--reason", "the identity provider is down", "--incident", "INC-7", "--requester", "alice"];
        let mut arguments = vec!["request", "--url", url, "--kind", kind, "--role", role, "--out", file];
        arguments.extend(words);
        self.does(&arguments).well();
    }

    /// Each of these signs a document.
    pub(crate) fn sign(&self, file: &str, names: &[&str]) {
        for name in names {
            let key = format!("{name}.pem");
            let key = ["--key", &key, "--passphrase-file", "passphrase", "--yes"];
            self.does(&[&["sign", file, "--custodian", name][..], &key].concat()).well();
        }
    }

    /// What the answer in `answer` holds for whoever made the request in `request`.
    pub(crate) fn open(&self, answer: &str, request: &str) -> Keys {
        let key = format!("{request}.key");
        let opened = self.does(&["open", answer, "--key", &key, "--credential-process"]).well().json();
        let text = |name: &str| opened[name].as_str().expect("a credential").to_owned();
        Keys {
            access_key: text("AccessKeyId"),
            secret_key: text("SecretAccessKey"),
            session_token: text("SessionToken"),
        }
    }

    /// `stint break-glass …` in their directory, without a configuration and without an environment.
    pub(crate) fn does(&self, arguments: &[&str]) -> Ended {
        let mut stint = Command::new(env!("CARGO_BIN_EXE_stint"));
        stint.env_clear().current_dir(self.directory.path()).arg("break-glass").args(arguments);
        Ended::of(&stint.output().expect("stint runs"))
    }

    /// A file of theirs.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of theirs as JSON.
    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.file(name)).expect("it was written")).expect("JSON")
    }
}
