//! Tokens by client credentials: discovery, the secret's file, and what a provider can do wrong.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use stint::clock::SystemClock;
use stint::demo::issuer::DemoIssuer;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{Workload, leased};
use crate::harness::binary::{Ended, run};
use crate::harness::object_server::{Reply, ScriptedObjectServer};

async fn issuer() -> (DemoIssuer, DropGuard) {
    let stop = CancellationToken::new();
    let issuer = DemoIssuer::start(Arc::new(SystemClock::start()), &TaskTracker::new(), stop.clone()).await.unwrap();
    (issuer, stop.drop_guard())
}

async fn service() -> ScriptedObjectServer {
    ScriptedObjectServer::start(vec![leased("AKIACLIENT", 60, time::Duration::ZERO)]).await
}

fn command(workload: &Workload, client: &str, more: &[&str]) -> Command {
    let secret = workload.path("secret");
    if !secret.exists() {
        fs::write(&secret, "demo\n").unwrap();
    }
    let mut command =
        workload.stint(&["credential-process", "--no-cache", "--client-id", client, "--client-secret-file"]);
    command.env_remove("STINT_TOKEN_FILE").arg(secret).args(more);
    command
}

fn refused(ended: &Ended, says: &str) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains(says), "{}", ended.stderr);
    assert!(!ended.stderr.contains("demo\n") && !ended.stderr.contains("planted"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_client_gets_its_token_by_discovery_or_from_the_endpoint_itself() {
    let ((issuer, _ends), service) = (issuer().await, service().await);
    let workload = Workload::before(service.endpoint());
    for more in [["--issuer", &issuer.issuer()], ["--token-endpoint", &issuer.token_url()]] {
        let ended = run(command(&workload, "studio", &more)).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    for received in service.received() {
        let token = received.headers["authorization"].strip_prefix("Bearer ").unwrap();
        assert_eq!(token.split('.').count(), 3);
    }
    assert_eq!(service.received().len(), 2);
}

#[tokio::test]
async fn a_wrong_secret_an_empty_one_and_another_issuers_name_end_before_the_service() {
    let ((issuer, _ends), service) = (issuer().await, service().await);
    let workload = Workload::before(service.endpoint());
    let endpoint = ["--token-endpoint", &issuer.token_url()];
    refused(&run(command(&workload, "nobody-known", &endpoint)).await, "refuses the client: 401 invalid_client");
    let slashless = issuer.issuer().trim_end_matches('/').to_owned();
    refused(&run(command(&workload, "studio", &["--issuer", &slashless])).await, "is another issuer's");
    fs::write(workload.path("secret"), "planted").unwrap();
    refused(&run(command(&workload, "studio", &endpoint)).await, "401 invalid_client");
    fs::write(workload.path("secret"), "\n").unwrap();
    refused(&run(command(&workload, "studio", &endpoint)).await, "secret: is empty");
    assert!(service.received().is_empty());
}

#[tokio::test]
async fn a_discovery_document_cannot_have_the_secret_sent_elsewhere() {
    let service = service().await;
    let workload = Workload::before(service.endpoint());
    let thief = ScriptedObjectServer::start(vec![Reply::http(200, "application/json", "{}")]).await;
    for (endpoint, says) in [
        (format!("{}/token", thief.endpoint()), "of another origin"),
        ("ftp://elsewhere.example/token".to_owned(), "that no secret may be sent to"),
    ] {
        // The double's own address is known only once it listens, so it tells the issuer's name by the request.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let document = json!({"issuer": address, "token_endpoint": endpoint}).to_string();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut request).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", document.len());
            std::io::Write::write_all(&mut stream, format!("{head}{document}").as_bytes()).unwrap();
        });
        refused(&run(command(&workload, "studio", &["--issuer", &address])).await, says);
        served.join().unwrap();
    }
    assert!(thief.received().is_empty() && service.received().is_empty());
}
