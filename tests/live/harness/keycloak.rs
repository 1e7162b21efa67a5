//! A Keycloak with the shipped realm: groups named as the policies are, and one service account per SpaceMusic client.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::environment::{named_by, repository};
use super::{Answer, free_port, server::Server, until};

static SHARED: OnceCell<Keycloak> = OnceCell::const_new();

/// A running Keycloak.
pub(crate) struct Keycloak {
    _server: Server,
    _home: TempDir,
    port: u16,
    client_secret: String,
}

impl Keycloak {
    /// The one that all tests share, except those that stop it.
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start(free_port())).await
    }

    /// Starts one, with a data directory of its own.
    pub(crate) async fn start(port: u16) -> Self {
        let distribution = named_by("STINT_LIVE_KEYCLOAK");
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        let copied = Command::new("cp").arg("-a").arg(distribution.join(".")).arg(home.path()).status();
        assert!(copied.is_ok_and(|status| status.success()), "the distribution is copied");
        let import: PathBuf = home.path().join("data/import");
        fs::create_dir_all(&import).expect("the import directory is made");
        fs::copy(repository().join("docs/deploy/realm.json"), import.join("realm.json")).expect("the realm is copied");

        let client_secret = Uuid::now_v7().simple().to_string();
        let mut kc = Command::new(home.path().join("bin/kc.sh"));
        kc.args(["start-dev", "--import-realm", "--http-host", "127.0.0.1", "--http-port", &port.to_string()])
            .args(["--hostname", &format!("http://127.0.0.1:{port}")])
            .env("STINT_REALM_CLIENT_SECRET", &client_secret)
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", "administrator")
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", &client_secret)
            .env("JAVA_OPTS_APPEND", "-Dkeycloak.migration.replace-placeholders=true")
            .env("JAVA_OPTS_KC_HEAP", "-Xms128m -Xmx512m")
            .current_dir(home.path());
        let keycloak =
            Self { _server: Server::start("keycloak", home.path(), "KILL", &kc), _home: home, port, client_secret };
        let discovery = format!("{}/.well-known/openid-configuration", keycloak.issuer());
        until("Keycloak answers discovery for the realm", Duration::from_mins(4), async || {
            Answer::to_get(&discovery).await.is_some_and(|answer| answer.status == 200)
        })
        .await;
        keycloak
    }

    /// The issuer that its realm has, or would have, on `port`.
    pub(crate) fn issuer_on(port: u16) -> String {
        format!("http://127.0.0.1:{port}/realms/spacemusic")
    }

    /// `iss` of its tokens.
    pub(crate) fn issuer(&self) -> String {
        Self::issuer_on(self.port)
    }

    /// `POST` to the realm's part of the admin API; what is there already stays.
    pub(crate) async fn administer(&self, path: &str, body: &Value) {
        let master = format!("http://127.0.0.1:{}/realms/master/protocol/openid-connect/token", self.port);
        let form = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", "administrator"),
            ("password", &self.client_secret),
        ];
        let answer = Answer::to_form(&master, &form).await.expect("Keycloak answers");
        let answer = answer.json();
        let token = answer["access_token"].as_str().expect("the administrator has a token");
        let url = format!("http://127.0.0.1:{}/admin/realms/spacemusic{path}", self.port);
        let answer = Answer::to_json(&url, token, body).await.expect("Keycloak answers");
        assert!(matches!(answer.status, 201 | 409), "{}: {}", answer.status, answer.body);
    }

    /// An access token of a service account, by the client credentials grant.
    pub(crate) async fn token(&self, client: &str) -> String {
        let endpoint = format!("{}/protocol/openid-connect/token", self.issuer());
        let form =
            [("grant_type", "client_credentials"), ("client_id", client), ("client_secret", &self.client_secret)];
        let answer = Answer::to_form(&endpoint, &form).await.expect("Keycloak answers");
        let token = answer.json().get("access_token").and_then(Value::as_str).map(str::to_owned);
        token.unwrap_or_else(|| panic!("Keycloak gives {client} no token: {}", answer.body))
    }
}
