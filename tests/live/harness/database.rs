//! A private PostgreSQL that can be stopped and started again at the same address. (The demo's own cannot: its caller never
//! needs it to fail.)

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use super::environment::named_by;
use super::{free_port, server::Server, until};

const OWNER: &str = "stint";

/// A cluster in a directory of its own.
pub(crate) struct Database {
    server: Option<Server>,
    directory: TempDir,
    binaries: PathBuf,
    port: u16,
    password: String,
}

impl Database {
    /// Makes a cluster and starts it.
    pub(crate) async fn start() -> Self {
        let mut database = Self {
            server: None,
            // Not below target/: PostgreSQL runs as another user when we are root, and that user must get there.
            directory: tempfile::Builder::new().prefix("stint-live-").tempdir().expect("a private directory"),
            binaries: named_by("STINT_LIVE_POSTGRES"),
            port: free_port(),
            password: Uuid::now_v7().simple().to_string(),
        };
        database.make_cluster();
        database.start_again().await;
        database
    }

    fn make_cluster(&self) {
        let secret = self.directory.path().join("password");
        fs::write(&secret, &self.password).expect("the password is written");
        if is_root() {
            let owned = Command::new("chown").args(["-R", "postgres"]).arg(self.directory.path()).status();
            assert!(owned.is_ok_and(|status| status.success()), "the cluster's directory belongs to postgres");
        }
        let mut initdb = self.command("initdb");
        initdb.arg("--pgdata").arg(self.data()).args(["--username", OWNER, "--auth=scram-sha-256", "--no-sync"]);
        initdb.arg("--pwfile").arg(secret);
        let made = initdb.output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    }

    /// Starts the server on the cluster that is there.
    pub(crate) async fn start_again(&mut self) {
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories="] {
            postgres.args(["-c", setting]);
        }
        // QUIT is PostgreSQL's immediate shutdown.
        self.server = Some(Server::start("postgresql", self.directory.path(), "QUIT", &postgres));
        until("PostgreSQL takes connections", Duration::from_secs(30), async || {
            PgConnection::connect(&self.url()).await.is_ok()
        })
        .await;
    }

    /// Stops the server as a crash would.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    /// Where it listens, with the owner's password.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{OWNER}:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// A connection for questions to the log.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("PostgreSQL takes connections")
    }

    /// How many rows there are of one event type.
    pub(crate) async fn rows(&self, event_type: &str) -> i64 {
        sqlx::query_scalar("select count(*) from audit_event where type = $1")
            .bind(event_type)
            .fetch_one(&mut self.connection().await)
            .await
            .expect("the log can be read")
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// PostgreSQL refuses to be root.
    fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.directory.path());
        command
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(Path::new("/proc/self")).is_ok_and(|own| own.uid() == 0)
}
