//! The real binary, as an operator starts it: `stint serve --config`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::environment::repository;
use super::{Answer, Database, Minio, PARENT, free_port, server::Server, until};

/// A running service.
pub(crate) struct Stint {
    server: Option<Server>,
    directory: TempDir,
    port: u16,
}

impl Stint {
    /// Starts the service before MinIO.
    pub(crate) async fn start(issuer: &str, database: &Database, minio: &Minio, lease: &str) -> Self {
        let (endpoint, secret) = (minio.endpoint(), minio.parent_secret());
        let object_server = format!(
            "kind = \"minio\"\nendpoint = \"{endpoint}\"\naccess_key = \"{PARENT}\"\nsecret_key = \"{secret}\""
        );
        Self::start_before(&object_server, issuer, database, lease, &[]).await
    }

    /// Writes a configuration, starts the service and waits until it listens. It need not be ready. `object_server` is what
    /// is said of the object server; the policies are those that are shipped, but for those named in `without`.
    pub(crate) async fn start_before(
        object_server: &str,
        issuer: &str,
        database: &Database,
        lease: &str,
        without: &[&str],
    ) -> Self {
        Self::start_trusting(&keycloak(issuer), object_server, database, lease, without).await
    }

    /// The same for another issuer than Keycloak: the lines of its block but the name.
    pub(crate) async fn start_trusting(
        issuer: &str,
        object_server: &str,
        database: &Database,
        lease: &str,
        without: &[&str],
    ) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        let policies = directory.path().join("policies");
        copy_policies(&repository().join("policies"), &policies);
        for name in without {
            fs::remove_file(policies.join(name)).expect("the policy is shipped");
        }
        Self::start_in(directory, object_server, issuer, database, lease, "").await
    }

    /// The shipped policies and these files among them; `more` is what else the configuration says.
    pub(crate) async fn start_saying(
        object_server: &str,
        issuer: &str,
        database: &Database,
        policies: &[(&str, String)],
        more: &str,
    ) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        copy_policies(&repository().join("policies"), &directory.path().join("policies"));
        for (name, text) in policies {
            fs::write(directory.path().join("policies").join(name), text).expect("the policy is written");
        }
        Self::start_in(directory, object_server, &keycloak(issuer), database, "ttl = \"60m\"", more).await
    }

    /// The same with other policies than the shipped ones: the files of the directory, by name.
    pub(crate) async fn start_with_policies(
        object_server: &str,
        issuer: &str,
        database: &Database,
        policies: &[(&str, String)],
    ) -> Self {
        let issuer = keycloak(issuer);
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        for (name, text) in policies {
            let file = directory.path().join("policies").join(name);
            fs::create_dir_all(file.parent().expect("below the directory")).expect("our own directory");
            fs::write(file, text).expect("the policy is written");
        }
        Self::start_in(directory, object_server, &issuer, database, "ttl = \"60m\"", "").await
    }

    async fn start_in(
        directory: TempDir,
        object_server: &str,
        issuer: &str,
        database: &Database,
        lease: &str,
        more: &str,
    ) -> Self {
        let port = free_port();
        let policies = directory.path().join("policies");
        let configuration = directory.path().join("stint.toml");
        // Most of these tests are about what becomes of each mint.
        let reuse = if lease.contains("reuse") { "" } else { "reuse = false" };
        let text = format!(
            r#"
[http]
listen = "127.0.0.1:{port}"

[postgres]
url = "{postgres}"

[[issuer]]
name = "keycloak"
{issuer}

[object_server]
region = "us-east-1"
{object_server}

[lease]
{lease}
{reuse}

[policies]
directory = "{policies}"

[telemetry]
log = "info,stint=debug"
log_format = "json"

{more}
"#,
            postgres = database.url(),
            policies = policies.display(),
        );
        fs::write(&configuration, text).expect("the configuration is written");

        let mut stint = Self { server: None, directory, port };
        stint.start_again().await;
        stint
    }

    /// Starts it with the configuration that is there, on its port, and waits until it listens.
    pub(crate) async fn start_again(&mut self) {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_stint"));
        serve.arg("serve").arg("--config").arg(self.config());
        self.server = Some(Server::start("stint", self.directory.path(), "KILL", &serve));
        until("stint listens", Duration::from_secs(30), async || {
            Answer::to_get(&self.url("/health/live")).await.is_some_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// Ends it as a crash would.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    /// Runs a command of the same binary with the same configuration.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stint"));
        command.args(arguments).arg("--config").arg(self.directory.path().join("stint.toml"));
        command.output().expect("stint runs")
    }

    /// Its configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("stint.toml")
    }

    /// Replaces a part of its configuration, which must be there, and tells it.
    pub(crate) fn reconfigure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("written");
        assert!(text.contains(from), "{from} is not in\n{text}");
        fs::write(self.config(), text.replace(from, to)).expect("our own directory");
        self.server().signal("HUP");
    }

    /// Waits until every part is ready.
    pub(crate) async fn until_ready(&self) {
        until("stint is ready", Duration::from_secs(30), async || self.readiness().await.status == 200).await;
    }

    /// What `/health/ready` says.
    pub(crate) async fn readiness(&self) -> Answer {
        Answer::to_get(&self.url("/health/ready")).await.expect("stint answers")
    }

    /// The service's address with `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `POST /v1/leases`.
    pub(crate) async fn lease(&self, token: &str, body: &Value) -> Answer {
        Answer::to_json(&self.url("/v1/leases"), token, body).await.expect("stint answers")
    }

    /// `AssumeRoleWithWebIdentity` for `role`, narrowed by `policy` if there is one.
    pub(crate) async fn assume(&self, token: &str, role: &str, policy: Option<&str>) -> Answer {
        let arn = format!("arn:aws:iam::000000000000:role/{role}");
        let mut form = vec![
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", &arn),
            ("RoleSessionName", "live"),
            ("WebIdentityToken", token),
        ];
        form.extend(policy.map(|policy| ("Policy", policy)));
        Answer::to_form(&self.url("/"), &form).await.expect("stint answers")
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        self.server().output()
    }
}

/// The lines of Keycloak's block but the name.
fn keycloak(issuer: &str) -> String {
    format!(
        "issuer = \"{issuer}\"\naudiences = [\"stint\"]\nprofile = \"keycloak\"\ngroups_claim = \"groups\"\nkeys = {{ \
         discovery = true }}"
    )
}

/// The shipped directory as it is, but for the issuer its roles name: ours is Keycloak.
fn copy_policies(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the directory is made");
    for entry in fs::read_dir(from).expect("the shipped policies can be listed") {
        let entry = entry.expect("the shipped policies can be listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_policies(&entry.path(), &target);
        } else {
            let text = fs::read_to_string(entry.path()).expect("a policy file is text");
            fs::write(target, text.replace("\"authentik\"", "\"keycloak\"")).expect("a policy file is written");
        }
    }
}
