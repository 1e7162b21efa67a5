//! A RustFS that all tests share: a built-in user that may do everything in S3 and nothing else, whose rights every lease
//! narrows.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::environment::named_by;
use super::{Answer, free_port, server::Server, until};
use crate::signed::{Answer as Signed, Key};

static SHARED: OnceCell<Rustfs> = OnceCell::const_new();

/// A running RustFS.
pub(crate) struct Rustfs {
    server: Option<Server>,
    directory: TempDir,
    port: u16,
    endpoint: String,
}

impl Rustfs {
    /// The one that all tests share; each works in buckets of its own.
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// One of a test's own.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        fs::create_dir(directory.path().join("data")).expect("the data directory is made");
        let port = free_port();
        let mut rustfs = Self { server: None, directory, port, endpoint: format!("http://127.0.0.1:{port}") };
        rustfs.start_again().await;
        rustfs.user("minter", &[everything(), json!({"Effect": "Deny", "Action": ["admin:*"]})]).await;
        rustfs
    }

    /// Kills it if it runs, and starts it on what it has on disk.
    pub(crate) async fn start_again(&mut self) {
        self.server = None;
        let (root, directory, port) = (Self::root(), self.directory.path(), self.port);
        let mut rustfs = Command::new(named_by("STINT_LIVE_RUSTFS"));
        rustfs
            .arg("server")
            .arg(directory.join("data"))
            .env("RUSTFS_ACCESS_KEY", root.access)
            .env("RUSTFS_SECRET_KEY", root.secret)
            .env("RUSTFS_ADDRESS", format!("127.0.0.1:{port}"))
            .env("RUSTFS_CONSOLE_ENABLE", "false")
            // Built without optimization its frames overflow the 1 MiB that its workers have by default.
            .env("RUSTFS_RUNTIME_THREAD_STACK_SIZE", "16777216")
            .env("HOME", directory)
            .current_dir(directory);
        self.server = Some(Server::start("rustfs", directory, "KILL", &rustfs));
        let health = format!("{}/health/ready", self.endpoint);
        until("RustFS is ready", Duration::from_mins(2), async || {
            Answer::to_get(&health).await.is_some_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// Makes a user of that name under these statements.
    pub(crate) async fn user(&self, name: &str, statements: &[Value]) {
        let policy = json!({"Version": "2012-10-17", "Statement": statements});
        let user = json!({"secretKey": format!("{name}secret"), "status": "enabled"});
        self.admin(&format!("add-user?accessKey={name}"), &user.to_string()).await;
        self.admin(&format!("add-canned-policy?name={name}"), &policy.to_string()).await;
        let both = format!("set-user-or-group-policy?policyName={name}&userOrGroup={name}&isGroup=false");
        self.admin(&both, "").await;
    }

    /// A call of its admin API as root. Under its own name its bodies are plain; under MinIO's they are encrypted.
    async fn admin(&self, call: &str, body: &str) {
        let answer: Signed = Self::root().s3("PUT", &format!("{}/rustfs/admin/v3/{call}", self.endpoint), body).await;
        assert_eq!(answer.status, 200, "{call}: {}", answer.body);
    }

    /// The S3 endpoint, which is the STS too.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The key of root, who owns the buckets.
    pub(crate) fn root() -> Key {
        Key { access: "rootofrustfs".to_owned(), secret: "rootofrustfssecret".to_owned(), token: None }
    }

    /// The key of a user; `minter` is the parent.
    pub(crate) fn key(user: &str) -> Key {
        Key { access: user.to_owned(), secret: format!("{user}secret"), token: None }
    }

    /// What is said of it in a configuration.
    pub(crate) fn configuration(&self) -> String {
        format!(
            "kind = \"rustfs\"\nendpoint = \"{}\"\naccess_key = \"minter\"\nsecret_key = \"mintersecret\"",
            self.endpoint
        )
    }
}

/// Everything in S3.
fn everything() -> Value {
    json!({"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]})
}
