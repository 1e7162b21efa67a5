//! The demo's object server, which keeps MinIO's sessions, and what it says to a key.

use std::fs;
use std::sync::Arc;

use secrecy::SecretString;
use stint::clock::SystemClock;
use stint::demo::object_server::{DemoObjectServer, ParentKey};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::signed::Key;

/// It runs until dropped.
pub(crate) struct Demo {
    pub(crate) endpoint: String,
    _directory: TempDir,
    _ends: DropGuard,
}

impl Demo {
    pub(crate) async fn start() -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn at(listener: TcpListener) -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir_all(directory.path().join("recordings")).unwrap();
        let stop = CancellationToken::new();
        let parent = ParentKey { access_key: "parent".to_owned(), secret_key: SecretString::from("parent-secret") };
        let clock = Arc::new(SystemClock::start());
        let server =
            DemoObjectServer::start(listener, directory.path(), parent, clock, &TaskTracker::new(), stop.clone())
                .unwrap();
        Self { endpoint: server.endpoint().to_owned(), _directory: directory, _ends: stop.drop_guard() }
    }

    /// Status and code of reading `bucket/key`.
    pub(crate) async fn says(&self, key: &Key, path: &str) -> (u16, String) {
        let seen = key.s3("GET", &format!("{}/{path}", self.endpoint), "").await;
        (seen.status, seen.refusal().1.to_owned())
    }

    /// Whether a lease is good for anything.
    pub(crate) async fn takes(&self, key: &Key) -> bool {
        let seen = key.s3("GET", &format!("{}/recordings/x", self.endpoint), "").await;
        match seen.refusal() {
            (404 | 200, _) => true,
            (403, "InvalidAccessKeyId") => false,
            other => panic!("{other:?}: {seen:?}"),
        }
    }
}
