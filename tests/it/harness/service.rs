//! The real service on a free port: its own database, the forge's issuers, an object server of the test's choice.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use stint::app::App;
use stint::audit::AuditRow;
use stint::clock::{Clock, SystemClock};
use stint::config::{Config, Environment};
use stint::postgres::PostgresStore;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::database::fresh_database;
use super::tokens::{Forge, Provider};

/// What `team-a` (Authentik, Authelia) and `/team/a` (Keycloak, key-cape) may have.
const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::recordings"]},
    {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::recordings/*"]}]}"#;
const ROLE: &str =
    "description = \"Team A\"\ndocuments = [\"recordings\"]\n[[allow]]\ngroups = [\"team-a\", \"/team/a\"]\n";

/// How a service is set up.
pub(crate) struct Setup {
    /// The object server's endpoint.
    pub(crate) object_server: String,
    /// Its kind.
    pub(crate) kind: &'static str,
    /// Its database; a fresh one if none is given.
    pub(crate) database: Option<SecretString>,
    /// More lines for `stint.toml`.
    pub(crate) more: &'static str,
    /// More files for the policy directory.
    pub(crate) policies: &'static [(&'static str, &'static str)],
    /// `lease.self_test`: off, for doubles that answer nothing but what a test is about.
    pub(crate) self_test: &'static str,
    /// `lease.reuse`: off, for tests of what becomes of each mint.
    pub(crate) reuse: bool,
}

impl Setup {
    pub(crate) fn with(object_server: &str) -> Self {
        Self {
            object_server: object_server.to_owned(),
            kind: "minio",
            database: None,
            more: "",
            policies: &[],
            self_test: "off",
            reuse: false,
        }
    }
}

/// A running service; it ends when dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) database: SecretString,
    pub(crate) http: reqwest::Client,
    directory: TempDir,
    tasks: TaskTracker,
    stop: CancellationToken,
    _ends: DropGuard,
}

/// What a door answered.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The text of an XML element.
    pub(crate) fn element(&self, name: &str) -> Option<&str> {
        let after = self.body.split_once(&format!("<{name}>"))?.1;
        Some(after.split_once(&format!("</{name}>"))?.0)
    }
}

struct LeaseVariables {
    self_test: &'static str,
    reuse: bool,
}

impl Environment for LeaseVariables {
    fn variables(&self) -> Vec<(String, String)> {
        vec![
            ("STINT_LEASE__SELF_TEST".to_owned(), self.self_test.to_owned()),
            ("STINT_LEASE__REUSE".to_owned(), self.reuse.to_string()),
        ]
    }

    fn read_file(&self, path: &std::path::Path) -> std::io::Result<String> {
        fs::read_to_string(path)
    }
}

impl Service {
    pub(crate) async fn start(setup: Setup) -> Self {
        Self::start_by(Arc::new(SystemClock::start()), setup).await
    }

    /// By a clock of the test's choice.
    pub(crate) async fn start_by(clock: Arc<dyn Clock>, setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = match setup.database {
            Some(database) => database,
            None => fresh_database().await,
        };
        let policies = directory.path().join("policies");
        fs::create_dir_all(policies.join("documents")).unwrap();
        fs::create_dir_all(policies.join("roles")).unwrap();
        fs::write(policies.join("documents/recordings.json"), DOCUMENT).unwrap();
        fs::write(policies.join("roles/team.toml"), ROLE).unwrap();
        for (path, text) in setup.policies {
            fs::write(policies.join(path), text).unwrap();
        }
        let mut text = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[postgres]\nurl = \"{}\"\n[object_server]\nkind = \"{}\"\nendpoint = \
             \"{}\"\naccess_key = \"parent\"\nsecret_key = \"parent-secret\"\n{}\n",
            database.expose_secret(),
            setup.kind,
            setup.object_server,
            setup.more,
        );
        for provider in Forge::shared().providers() {
            text.push_str(&block(provider, &directory));
        }
        let environment = LeaseVariables { self_test: setup.self_test, reuse: setup.reuse };
        let config = Config::read(&text, directory.path(), &environment).unwrap();
        let app = App::build(config, clock).await.unwrap();
        let address = app.address();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let running = stop.clone();
        tasks.spawn(async move { app.run(running).await.unwrap() });
        tasks.close();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { address, database, http, directory, tasks, _ends: stop.clone().drop_guard(), stop }
    }

    /// Another text for a file of the policy directory.
    pub(crate) fn change_policy(&self, path: &str, text: &str) {
        fs::write(self.directory.path().join("policies").join(path), text).unwrap();
    }

    /// Drains and ends.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Seen {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        Seen { status, headers, body: answer.text().await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Seen {
        self.send(self.http.get(self.url(path))).await
    }

    /// `POST /v1/leases`
    pub(crate) async fn lease(&self, token: &str, body: &Value) -> Seen {
        let request = self.http.post(self.url("/v1/leases")).header("authorization", format!("Bearer {token}"));
        self.send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    /// `GET /v1/roles/{role}/credentials`
    pub(crate) async fn container(&self, token: &str, role: &str) -> Seen {
        let request = self.http.get(self.url(&format!("/v1/roles/{role}/credentials")));
        self.send(request.header("authorization", token)).await
    }

    /// `POST /`, a form.
    pub(crate) async fn sts(&self, token: &str, more: &[(&str, &str)]) -> Seen {
        let request = self.http.post(self.url("/")).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(sts_form(token, more))).await
    }

    /// `POST /v1/token`
    pub(crate) async fn token_exchange(&self, token: &str, more: &[(&str, &str)]) -> Seen {
        let request = self.http.post(self.url("/v1/token")).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(token_exchange_form(token, more))).await
    }

    /// A new connection pool on the service's database.
    pub(crate) async fn log(&self) -> PostgresStore {
        PostgresStore::connect(&self.database, Duration::from_secs(5)).await.unwrap()
    }

    /// All rows that a caller brought about, in order: none of `policy.loaded`, `stream.opened`, `stream.closed`.
    pub(crate) async fn rows(&self) -> Vec<AuditRow> {
        let mut rows = self.log().await.recent(1000).await.unwrap();
        rows.retain(|row| row.kind != "policy.loaded" && !row.kind.starts_with("stream."));
        rows.sort_by_key(|row| (row.stream, row.seq));
        rows
    }
}

fn block(provider: &Provider, directory: &TempDir) -> String {
    let file = format!("{}.jwks.json", provider.name);
    fs::write(directory.path().join(&file), provider.jwks()).unwrap();
    format!(
        "[[issuer]]\nname = \"{}\"\nissuer = \"{}\"\naudiences = [\"{}\"]\nprofile = \"{}\"\nkeys = {{ jwks_file = \
         \"{file}\" }}\n",
        provider.name, provider.issuer, provider.audience, provider.profile,
    )
}

/// The form of `AssumeRoleWithWebIdentity`.
pub(crate) fn sts_form(token: &str, more: &[(&str, &str)]) -> String {
    let fixed = [("Action", "AssumeRoleWithWebIdentity"), ("Version", "2011-06-15"), ("WebIdentityToken", token)];
    let named = |name: &str| more.iter().any(|(more, _)| *more == name);
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fixed.iter().filter(|(name, _)| !named(name)).chain(more));
    form.finish()
}

/// The form of a token exchange.
pub(crate) fn token_exchange_form(token: &str, more: &[(&str, &str)]) -> String {
    let fixed = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", token),
    ];
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fixed.iter().chain(more));
    form.finish()
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a test is a client of its own, with its own clock")]
pub(crate) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}
