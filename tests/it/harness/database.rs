//! One private PostgreSQL per test process, started on first use, and a new empty database for every test. The server is
//! interrupted by the kernel when the process ends; its directory is cleared by the next one that starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{OnceLock, mpsc};
use std::thread;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use stint::demo::database::{Durability, PrivatePostgres, PrivateSettings};

const PREFIX: &str = "stint-tests-";

/// Made for tests: a crash of the machine may lose it.
pub(crate) const THROWAWAY: PrivateSettings = PrivateSettings { durability: Durability::None, port: None };

/// The URL of a new, empty database, owned by the user of the URL.
pub(crate) async fn fresh_database() -> SecretString {
    let cluster = cluster().expose_secret();
    let name = format!("t{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(cluster).await.expect("the private PostgreSQL takes connections");
    let create = AssertSqlSafe(format!("create database {name}"));
    connection.execute(create).await.expect("a new database");
    connection.close().await.expect("closed");
    let server = cluster.strip_suffix("/postgres").expect("the URL ends with its database");
    SecretString::from(format!("{server}/{name}"))
}

pub(crate) async fn connect(url: &SecretString) -> PgConnection {
    PgConnection::connect(url.expose_secret()).await.unwrap()
}

pub(crate) async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), String> {
    connection.execute(AssertSqlSafe(sql.to_owned())).await.map(|_| ()).map_err(|error| error.to_string())
}

pub(crate) async fn one<T>(connection: &mut PgConnection, sql: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.unwrap()
}

/// A new login role with these memberships, and the URL by which it connects to the same database.
pub(crate) async fn login(url: &SecretString, memberships: &str) -> SecretString {
    let name = format!("l{}", uuid::Uuid::now_v7().simple());
    let mut administrator = connect(url).await;
    run(&mut administrator, &format!("create role {name} login password 'pw' {memberships}")).await.unwrap();
    let (_, server) = url.expose_secret().rsplit_once('@').unwrap();
    SecretString::from(format!("postgres://{name}:pw@{server}"))
}

/// The names of the migrations, in order.
pub(crate) fn migrations() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("migrations")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Brings a database to where the first `count` migrations lead: what an older version left.
pub(crate) async fn migrate_to(count: usize, url: &SecretString) {
    let older = tempfile::tempdir().unwrap();
    for name in &migrations()[..count] {
        std::fs::copy(format!("migrations/{name}"), older.path().join(name)).unwrap();
    }
    sqlx::migrate::Migrator::new(older.path()).await.unwrap().run(&mut connect(url).await).await.unwrap();
}

/// A migrated database: its administrator's URL, and that of a member of the serving role alone.
pub(crate) async fn migrated() -> (SecretString, SecretString) {
    let url = fresh_database().await;
    let migrated = stint::postgres::migrate(&url).await.unwrap();
    assert_eq!((migrated.applied.len(), migrated.undone), (migrations().len(), Vec::new()));
    let serving = login(&url, "in role stint_serve").await;
    (url, serving)
}

/// A directory for a server of a test's own.
pub(crate) fn server_directory() -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("stint-server-").tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).expect("our own directory");
    directory
}

fn cluster() -> &'static SecretString {
    static URL: OnceLock<SecretString> = OnceLock::new();
    URL.get_or_init(|| {
        let (started, url) = mpsc::channel();
        // A thread of its own, which stays: the server must outlive the test, and the runtime, that asked first.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                sweep().await;
                let directory = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
                let server = PrivatePostgres::start_with(&directory, THROWAWAY).await;
                started.send(server.as_ref().map(|server| server.url().clone()).map_err(ToString::to_string)).ok();
                std::future::pending::<()>().await;
                drop(server);
            });
        });
        url.recv().expect("the thread answers").unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Clears what earlier test processes left behind.
async fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            PrivatePostgres::stop_stale(&entry.path()).await.ok();
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}
