//! The `object-server` commands as an operator runs them: the real binary, a configuration, no service.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::environment::repository;
use super::minio::ROOT;
use super::{Minio, PARENT};

/// A configuration for one server.
pub(crate) struct Site {
    directory: TempDir,
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(output: &std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// It must have succeeded.
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Site {
    /// The shipped policies, this server as its own administrator would configure it, and this database.
    pub(crate) fn new(minio: &Minio, database: &str) -> Self {
        let site = Self { directory: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory") };
        let text = format!(
            r#"
[postgres]
url = "{database}"

[[issuer]]
name = "authentik"
issuer = "https://auth.example/application/o/stint/"
audiences = ["stint"]
profile = "authentik"

[object_server]
kind = "minio"
endpoint = "{endpoint}"
access_key = "{PARENT}"
secret_key = "{parent}"

[object_server.bootstrap]
access_key = "{ROOT}"
secret_key = "{root}"
parent_policy_file = "{policy}"

[policies]
directory = "{policies}"

[telemetry]
log_format = "text"
"#,
            endpoint = minio.endpoint(),
            parent = minio.parent_secret(),
            root = minio.root_secret(),
            policy = repository().join("docs/deploy/parent-policy.json").display(),
            policies = repository().join("policies").display(),
        );
        fs::write(site.config(), text).expect("the configuration is written");
        site
    }

    /// The same for a server of another kind: its lines of `[object_server]`, those of `[object_server.bootstrap]`, and one
    /// bucket.
    pub(crate) fn of(kind: &str, bootstrap: &str, database: &str, bucket: &str) -> Self {
        let site = Self { directory: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory") };
        let text = format!(
            "[postgres]\nurl = \"{database}\"\n[[issuer]]\nname = \"authentik\"\nissuer = \"https://auth.example/\"\n\
             audiences = [\"stint\"]\nprofile = \"authentik\"\n[object_server]\n{kind}\n[object_server.bootstrap]\n\
             {bootstrap}\n[policies]\ndirectory = \"policies\"\n"
        );
        fs::write(site.config(), text).expect("the configuration is written");
        site.with_buckets(&format!("[[bucket]]\nname = \"{bucket}\"\nprivate = true\nexpire_days = 30\n"));
        site
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("stint.toml")
    }

    /// Replaces a part of the configuration, which must be there.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("written");
        assert!(text.contains(from), "{from} is not in\n{text}");
        fs::write(self.config(), text.replace(from, to)).expect("our own directory");
    }

    /// Another `buckets.toml` than the shipped one, beside the shipped documents.
    pub(crate) fn with_buckets(&self, buckets: &str) {
        let policies = self.directory.path().join("policies");
        fs::create_dir_all(policies.join("documents")).expect("our own directory");
        fs::copy(repository().join("policies/documents/readwrite.json"), policies.join("documents/readwrite.json"))
            .expect("a shipped document");
        fs::write(policies.join("buckets.toml"), buckets).expect("our own directory");
        let shipped = repository().join("policies").display().to_string();
        let text = fs::read_to_string(self.config()).expect("written");
        if text.contains(&shipped) {
            self.configure(&shipped, &policies.display().to_string());
        }
    }

    /// Another text of a document.
    pub(crate) fn with_document(&self, name: &str, text: &str) {
        let file = self.directory.path().join(format!("policies/documents/{name}.json"));
        fs::write(file, text).expect("our own directory");
    }

    /// `stint check --config …`
    pub(crate) fn check(&self) -> Ended {
        let mut stint = Command::new(env!("CARGO_BIN_EXE_stint"));
        stint.env_clear().args(["check", "--config"]).arg(self.config());
        Ended::of(&stint.output().expect("stint runs"))
    }

    /// `stint object-server <command> --config …`
    pub(crate) fn stint(&self, arguments: &[&str]) -> Command {
        let (command, more) = arguments.split_first().expect("a command");
        let mut stint = Command::new(env!("CARGO_BIN_EXE_stint"));
        stint.env_clear().args(["object-server", command, "--config"]).arg(self.config()).args(more);
        stint
    }

    /// Runs `stint lease <command> --config …` to its end.
    pub(crate) fn lease(&self, arguments: &[&str]) -> Ended {
        let (command, more) = arguments.split_first().expect("a command");
        let mut stint = Command::new(env!("CARGO_BIN_EXE_stint"));
        stint.env_clear().args(["lease", command, "--config"]).arg(self.config()).args(more);
        Ended::of(&stint.output().expect("stint runs"))
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.stint(arguments).output().expect("stint runs"))
    }
}
