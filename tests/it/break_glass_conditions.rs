//! What an emergency is judged by, at the wire: who counts as answering, and who as silent.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use stint::issuer::{IssuerKeys, IssuerSettings, KeyLocation};
use stint::postgres::PostgresReach;
use stint::token::{IssuerName, KeySource as _};

use crate::harness::database::fresh_database;
use crate::harness::manual_clock::ManualClock;
use crate::harness::scripted_server::{Reply, ScriptedServer};

fn issuers(keys: impl IntoIterator<Item = KeyLocation>) -> IssuerKeys {
    let settings = |(number, keys)| IssuerSettings {
        name: IssuerName::parse(&format!("issuer{number}")).unwrap(),
        issuer: "https://auth.example/".to_owned(),
        keys,
    };
    IssuerKeys::new(keys.into_iter().enumerate().map(settings).collect(), Arc::new(ManualClock::default()))
}

fn at(server: &ScriptedServer, path: &str) -> KeyLocation {
    KeyLocation::JwksUri(server.url(path))
}

fn keys() -> Reply {
    Reply::Json(json!({"keys": []}).to_string())
}

#[tokio::test]
async fn whoever_answers_is_there_however_wrongly_and_nobody_behind_a_proxy_is_not() {
    let server = ScriptedServer::start().await;
    for (path, reply, answers) in [
        ("/keys", keys(), true),
        ("/nonsense", Reply::Json("[".to_owned()), true),
        ("/moved", Reply::status("302 Found", "location: /keys\r\n", b""), true),
        ("/absent", Reply::status("404 Not Found", "", b""), true),
        ("/busy", Reply::status("429 Too Many Requests", "", b""), true),
        ("/large", Reply::Json(" ".repeat(300_000)), true),
        ("/dead-behind-proxy", Reply::status("502 Bad Gateway", "", b""), false),
        ("/starting-up", Reply::status("503 Service Unavailable", "", b""), false),
        ("/hangs-up", Reply::HangUp, false),
    ] {
        server.reply(path, reply);
        assert_eq!(issuers([at(&server, path)]).any_answers().await, answers, "{path}");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(!issuers([KeyLocation::JwksUri(format!("http://{closed}/"))]).any_answers().await);
}

#[tokio::test]
async fn issuers_are_down_only_when_every_one_that_can_be_asked_is() {
    let server = ScriptedServer::start().await;
    server.reply("/keys", keys());
    server.reply("/dead", Reply::HangUp);
    let file = || KeyLocation::JwksFile("/nonexistent".into());
    let [up, down] = ["/keys", "/dead"].map(|path| at(&server, path));
    assert!(issuers([down.clone(), up.clone()]).any_answers().await);
    assert!(!issuers([down.clone(), down.clone()]).any_answers().await);
    assert!(!issuers([down, file()]).any_answers().await, "a file cannot be asked");
    assert!(issuers([file()]).any_answers().await, "where nobody can be asked, nobody is known to be silent");
}

#[tokio::test]
async fn keys_in_the_cache_are_no_answer_and_a_probe_is_no_way_around_the_cooldown() {
    let server = ScriptedServer::start().await;
    server.reply("/keys", keys());
    let issuers = issuers([at(&server, "/keys")]);
    issuers.warm().await;
    server.reply("/keys", Reply::HangUp);
    assert!(!issuers.any_answers().await);
    let asked = server.hits("/keys");
    let name = IssuerName::parse("issuer0").unwrap();
    let _refused = issuers.key(&name, None).await;
    assert_eq!(server.hits("/keys"), asked, "the cache fetched a moment ago, and is not moved by probes");
}

#[tokio::test]
async fn a_postgres_that_runs_answers_whoever_asks_it() {
    let url = fresh_database().await;
    let within = Duration::from_secs(5);
    assert!(PostgresReach::new(&url, within).unwrap().answers().await);
    let absent = SecretString::from(format!("{}_absent", url.expose_secret()));
    assert!(PostgresReach::new(&absent, within).unwrap().answers().await, "it refuses, so it is there");
}
