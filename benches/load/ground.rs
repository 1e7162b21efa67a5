//! What every exchange needs beside an object server: a private PostgreSQL, an issuer, a token.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection, Row};
use stint::clock::{Clock, SystemClock};
use stint::demo::database::PrivatePostgres;
use stint::demo::issuer::DemoIssuer;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::form;

/// All of it, running.
pub(crate) struct Ground {
    /// For a token of `livekit-egress`, good for an hour.
    pub(crate) token: String,
    pub(crate) issuer: String,
    stop: CancellationToken,
    directory: TempDir,
    database: PrivatePostgres,
}

impl Ground {
    /// Starts it, the schema included.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("stint-bench-").tempdir().unwrap();
        open_to_others(directory.path());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let stop = CancellationToken::new();
        let database = PrivatePostgres::start(&directory.path().join("postgres")).await.expect("PostgreSQL starts");
        let issuer = DemoIssuer::start(clock, &TaskTracker::new(), stop.clone()).await.map_err(|f| f.0).unwrap();
        stint::postgres::PostgresStore::connect(database.url(), Duration::from_secs(5)).await.expect("the schema");
        slow_commits(database.url()).await;
        let token = token(&issuer.token_url()).await;
        Self { token, issuer: issuer.issuer(), stop, directory, database }
    }

    /// A private place for files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where PostgreSQL is.
    pub(crate) fn database(&self) -> &SecretString {
        self.database.url()
    }

    /// The one session policy that has been sent, word for word: what is minted directly is narrowed by the same.
    pub(crate) async fn session_policy(&self) -> String {
        let mut connection = PgConnection::connect(self.database().expose_secret()).await.unwrap();
        let texts = sqlx::query("select text from session_policy").fetch_all(&mut connection).await.unwrap();
        assert_eq!(texts.len(), 1, "one role at one kind of server has one session policy");
        texts[0].get(0)
    }

    /// Ends it.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.database.stop().await.unwrap();
    }
}

/// PostgreSQL runs as another user than root and must be able to pass through.
fn open_to_others(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711)).unwrap();
}

/// Machines for tests often acknowledge a flush that no disk has done. `STINT_BENCH_COMMIT_DELAY_US` makes PostgreSQL wait
/// before each flush, as a disk would; what is measured then says so.
async fn slow_commits(database: &SecretString) {
    let delay = super::setting("STINT_BENCH_COMMIT_DELAY_US", 0);
    if delay == 0 {
        return;
    }
    let mut connection = PgConnection::connect(database.expose_secret()).await.unwrap();
    for statement in [
        format!("alter system set commit_delay = {delay}"),
        "alter system set commit_siblings = 0".to_owned(),
        "select pg_reload_conf()".to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    println!("\nevery commit of PostgreSQL is delayed by {delay} us, as by a disk that flushes");
}

async fn token(url: &str) -> String {
    let body =
        form(&[("grant_type", "client_credentials"), ("client_id", "livekit-egress"), ("client_secret", "demo")]);
    let request = super::client(1).post(url).header("content-type", "application/x-www-form-urlencoded");
    let text = request.body(body).send().await.unwrap().text().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}
