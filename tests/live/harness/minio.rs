//! A MinIO at the pinned release, with the SpaceMusic buckets and the parent user whose rights every lease narrows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use super::environment::{named_by, repository, told};
use super::{Answer, Keys, free_port, server::Server, until};

/// The one long-lived identity: a built-in user, never root.
pub(crate) const PARENT: &str = "stint-parent";
pub(crate) const ROOT: &str = "root";
/// The last is nobody's: no policy names it.
const BUCKETS: [&str; 6] = ["recordings", "textures", "assets", "exports", "backups", "foreign"];

/// Who names the programs.
const PINNED: &str = "STINT_LIVE_MINIO";
const LAST: &str = "STINT_LIVE_MINIO_LAST";

/// A server on one directory.
pub(crate) struct Minio {
    server: Option<Server>,
    directory: TempDir,
    data: PathBuf,
    program: PathBuf,
    client: PathBuf,
    port: u16,
    root_secret: String,
    parent_secret: String,
    /// More of its environment.
    environment: Vec<(String, String)>,
}

impl Minio {
    /// Starts a server and prepares it as docs/operations.md says.
    pub(crate) async fn start() -> Self {
        Self::unprepared(PINNED).prepared().await
    }

    /// The same with the last version that can be had of it.
    pub(crate) async fn last() -> Self {
        Self::unprepared(LAST).prepared().await
    }

    /// The same, with its data in this directory.
    pub(crate) async fn on(data: &Path) -> Self {
        // It takes no symbolic link for its directory.
        Self { data: data.to_owned(), ..Self::unprepared(PINNED) }.prepared().await
    }

    async fn prepared(mut self) -> Self {
        self.start_again().await;
        self.provision();
        self
    }

    fn unprepared(program: &str) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        Self {
            program: named_by(program),
            server: None,
            data: directory.path().join("data"),
            directory,
            client: named_by("STINT_LIVE_MC"),
            port: free_port(),
            root_secret: Uuid::now_v7().simple().to_string(),
            parent_secret: Uuid::now_v7().simple().to_string(),
            environment: Vec::new(),
        }
    }

    /// Starts a server with more of an environment and prepares it.
    pub(crate) async fn told(environment: &[(&str, &str)]) -> Self {
        Self::unprepared(PINNED).with(environment).prepared().await
    }

    fn with(mut self, environment: &[(&str, &str)]) -> Self {
        self.environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self
    }

    /// Starts a server and prepares nothing: what it has, `stint object-server bootstrap` makes.
    pub(crate) async fn bare(environment: &[(&str, &str)]) -> Self {
        let mut minio = Self::unprepared(PINNED).with(environment);
        minio.start_again().await;
        minio
    }

    /// The last version, and nothing prepared.
    pub(crate) async fn bare_last() -> Self {
        let mut minio = Self::unprepared(LAST);
        minio.start_again().await;
        minio
    }

    /// Starts the server on the data that is there.
    pub(crate) async fn start_again(&mut self) {
        self.launch();
        // `live` and `ready` say 200 before there is a user store; `cluster` does not.
        let health = format!("{}/minio/health/cluster", self.endpoint());
        until("MinIO has loaded its users", Duration::from_mins(1), async || {
            Answer::to_get(&health).await.is_some_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// The same, and waits for nothing.
    pub(crate) fn launch(&mut self) {
        let mut command = Command::new(&self.program);
        command
            .args(["server", "--quiet", "--address", &format!("127.0.0.1:{}", self.port)])
            .arg(&self.data)
            .env("MINIO_ROOT_USER", ROOT)
            .env("MINIO_ROOT_PASSWORD", &self.root_secret)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            .env("MINIO_CI_CD", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.server = Some(Server::start("minio", self.directory.path(), "KILL", &command));
    }

    /// Stops the server as a crash would.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    /// Makes the buckets and the parent user, as docs/operations.md says.
    pub(crate) fn provision(&self) {
        for bucket in BUCKETS {
            self.must(&["mb", &format!("server/{bucket}")]);
        }
        let policy = repository().join("docs/deploy/parent-policy.json");
        let policy = policy.to_str().expect("the repository's path is text");
        self.must(&["admin", "user", "add", "server", PARENT, &self.parent_secret]);
        self.must(&["admin", "policy", "create", "server", PARENT, policy]);
        self.must(&["admin", "policy", "attach", "server", PARENT, "--user", PARENT]);
    }

    /// The same, and it must succeed.
    pub(crate) fn must(&self, arguments: &[&str]) {
        let output = self.as_root(arguments);
        assert!(output.status.success(), "mc {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs the admin client as root; the server is the alias `server`.
    pub(crate) fn as_root(&self, arguments: &[&str]) -> Output {
        self.run(&format!("{ROOT}:{}", self.root_secret), arguments)
    }

    /// Runs the admin client as the parent user.
    pub(crate) fn as_parent(&self, arguments: &[&str]) -> Output {
        self.run(&format!("{PARENT}:{}", self.parent_secret), arguments)
    }

    /// Runs the admin client with leased credentials.
    pub(crate) fn as_holder(&self, keys: &Keys, arguments: &[&str]) -> Output {
        self.run(&format!("{}:{}:{}", keys.access_key, keys.secret_key, keys.session_token), arguments)
    }

    fn run(&self, login: &str, arguments: &[&str]) -> Output {
        Command::new(&self.client)
            .args(["--quiet", "--config-dir"])
            .arg(self.directory.path().join("mc"))
            .args(arguments)
            .env("MC_HOST_server", format!("http://{login}@127.0.0.1:{}", self.port))
            .output()
            .expect("mc runs")
    }

    /// The access keys of all temporary credentials that it keeps.
    pub(crate) fn kept_keys(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.sessions()).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }

    /// How many temporary credentials it has ever minted and still keeps: it writes one object for each.
    pub(crate) fn minted(&self) -> usize {
        std::fs::read_dir(self.sessions()).map(Iterator::count).unwrap_or_default()
    }

    /// Where it keeps them, one directory each.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.data.join(".minio.sys/config/iam/sts")
    }

    /// The S3 endpoint.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Root's secret.
    pub(crate) fn root_secret(&self) -> &str {
        &self.root_secret
    }

    /// The release that was built; `--version` says nothing of one that `go install` built.
    pub(crate) fn release() -> String {
        told("STINT_LIVE_MINIO_RELEASE")
    }

    /// The same for the last version.
    pub(crate) fn last_version() -> String {
        told("STINT_LIVE_MINIO_LAST_VERSION")
    }

    /// The parent user's secret.
    pub(crate) fn parent_secret(&self) -> &str {
        &self.parent_secret
    }
}
