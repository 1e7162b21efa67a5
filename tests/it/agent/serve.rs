//! `stint agent serve`: who gets the lease, and who gets nothing.

use std::fs;

use futures::future::join_all;
use reqwest::StatusCode;

use super::{Agent, Workload, exchanged, instant, issued, leased, mode, service};
use crate::harness::binary::{eventually, http};
use crate::harness::object_server::ScriptedObjectServer;
use crate::harness::service::{Seen, now};

fn refused(seen: &Seen, status: u16, code: &str) {
    assert_eq!(
        (seen.status.as_u16(), &seen.json()["code"], &seen.json()["Code"]),
        (status, &code.into(), &code.into())
    );
    assert_eq!(seen.headers["content-type"], "application/json");
    assert!(!seen.body.contains("SecretAccessKey") && seen.json()["message"].is_string(), "{}", seen.body);
}

#[tokio::test]
async fn a_caller_with_the_token_gets_the_lease_and_any_other_gets_nothing() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let agent = workload.serve(&[]).await.ready().await;

    let seen = agent.credentials().await;
    assert_eq!(seen.status, StatusCode::OK);
    assert_eq!(seen.headers["cache-control"], "no-store");
    let json = seen.json();
    assert!(json["AccessKeyId"].is_string() && json["SecretAccessKey"].is_string() && json["Token"].is_string());
    assert_eq!(json["RoleArn"], "arn:aws:iam::000000000000:role/team");
    let left = instant(&json["Expiration"]).unix_timestamp() - now();
    assert!((3000..=3600).contains(&left), "{left}");

    let (uri, token) = (agent.lines.uri.clone(), agent.token());
    let get = || http().get(&uri);
    refused(&agent.send(get()).await, 401, "missing_token");
    for wrong in ["x", &token[1..], &format!("{token}x"), &token.to_uppercase(), "Bearer", ""] {
        refused(&agent.send(get().header("authorization", wrong)).await, 403, "wrong_token");
    }
    let twice = get().header("authorization", &token).header("authorization", &token);
    refused(&agent.send(twice).await, 403, "wrong_token");
    let authorized = || get().header("authorization", &token);
    assert_eq!(agent.send(get().header("authorization", format!("Bearer {token}"))).await.status, StatusCode::OK);

    // A name that its owner points at this machine, and what only a browser sends.
    for host in ["evil.example", "127.0.0.1", "127.0.0.1.evil.example:80", "[::1]:1"] {
        refused(&agent.send(authorized().header("host", host)).await, 403, "wrong_host");
    }
    let port = agent.url("").rsplit(':').next().unwrap().to_owned();
    assert_eq!(agent.send(authorized().header("host", format!("localhost:{port}"))).await.status, StatusCode::OK);
    refused(&agent.send(authorized().header("origin", "http://evil.example")).await, 403, "not_local");
    refused(&agent.send(authorized().header("sec-fetch-site", "cross-site")).await, 403, "not_local");
    let preflight = http().request(reqwest::Method::OPTIONS, &uri);
    let seen = agent.send(preflight).await;
    refused(&seen, 405, "method_not_allowed");
    assert!(seen.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
    refused(&agent.send(http().get(agent.url("/latest/api/token"))).await, 404, "not_found");
    refused(&agent.send(http().put(agent.url("/latest/api/token"))).await, 404, "not_found");

    assert_eq!(agent.send(http().get(agent.url("/health/ready"))).await.body, r#"{"ready":true}"#);
    assert_eq!(agent.ends().await, 0);
}

#[tokio::test]
async fn any_number_of_callers_at_once_are_one_exchange() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let agent = workload.serve(&[]).await;
    let seen = join_all((0..40).map(|_| agent.credentials())).await;
    let keys: Vec<_> = seen.iter().map(|seen| seen.json()["AccessKeyId"].clone()).collect();
    assert!(
        seen.iter().all(|seen| seen.status == StatusCode::OK) && keys.iter().all(|key| *key == keys[0]),
        "{seen:?}"
    );
    assert_eq!(exchanged(&service).await, 1);
}

#[tokio::test]
async fn the_token_file_is_private_bare_and_gone_at_the_end() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let agent = workload.serve(&[]).await.ready().await;
    let file = agent.lines.token_file.clone();
    let text = fs::read(&file).unwrap();
    assert!(text.len() >= 43 && text.iter().all(u8::is_ascii_graphic));
    assert_eq!((mode(&file), mode(file.parent().unwrap()), mode(&workload.path("agent.env"))), (0o600, 0o700, 0o600));
    let said = format!("{}{}", agent.running.stdout(), agent.running.stderr());
    let secret = agent.credentials().await.json()["SecretAccessKey"].as_str().unwrap().to_owned();
    assert!(!said.contains(&String::from_utf8(text).unwrap()) && !said.contains(&secret), "{said}");
    assert_eq!(agent.ends().await, 0);
    assert!(!file.parent().unwrap().exists());
}

#[tokio::test]
async fn a_token_file_of_the_operators_choice_can_be_shown_to_a_group_and_to_nobody_else() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let shared = workload.path("shared");
    let name = shared.to_str().unwrap().to_owned();
    let more = ["--authorization-token-file", &name, "--authorization-token-mode", "0640"];
    let agent = workload.serve(&more).await.ready().await;
    assert_eq!((agent.lines.token_file.as_path(), mode(&shared)), (shared.as_path(), 0o640));
    assert_eq!(agent.credentials().await.status, StatusCode::OK);
    assert_eq!(agent.ends().await, 0);
    for (mode, code) in [("0644", 2), ("0604", 2), ("0200", 2), ("9", 2)] {
        let more = ["agent", "serve", "--authorization-token-file", &name, "--authorization-token-mode", mode];
        assert_eq!(workload.stint(&more).output().unwrap().status.code(), Some(code), "{mode}");
    }
}

#[tokio::test]
async fn a_hangup_asks_for_a_new_lease() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let agent = workload.serve(&[]).await.ready().await;
    let before = agent.credentials().await.json();
    agent.running.signal("HUP");
    eventually("another key", async || agent.credentials().await.json()["AccessKeyId"] != before["AccessKeyId"]).await;
    assert_eq!(issued(&service).await, 2);
}

/// The metadata paths as an SDK walks them.
async fn metadata(agent: &Agent, path: &str, token: Option<&str>) -> Seen {
    let request = http().get(agent.url(&format!("/latest/meta-data/iam/security-credentials/{path}")));
    let request = match token {
        Some(token) => request.header("x-aws-ec2-metadata-token", token),
        None => request,
    };
    agent.send(request).await
}

fn token_request(agent: &Agent, ttl: &str) -> reqwest::RequestBuilder {
    http().put(agent.url("/latest/api/token")).header("x-aws-ec2-metadata-token-ttl-seconds", ttl)
}

#[tokio::test]
async fn metadata_is_version_2_only_and_never_forwarded() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let agent = workload.serve(&["--imds"]).await.ready().await;
    assert!(agent.running.stderr().contains("without the token file"), "{}", agent.running.stderr());

    refused(&metadata(&agent, "", None).await, 401, "missing_token");
    refused(&metadata(&agent, "team", Some("x")).await, 403, "wrong_token");
    for ttl in ["0", "21601", "-1", "x", ""] {
        refused(&agent.send(token_request(&agent, ttl)).await, 400, "invalid_ttl");
    }
    refused(&agent.send(http().put(agent.url("/latest/api/token"))).await, 400, "invalid_ttl");
    let forwarded = token_request(&agent, "60").header("x-forwarded-for", "10.0.0.1");
    refused(&agent.send(forwarded).await, 403, "not_local");

    let token = agent.send(token_request(&agent, "21600")).await.body;
    assert_eq!(metadata(&agent, "", Some(&token)).await.body, "team");
    let answer = metadata(&agent, "team", Some(&token)).await.json();
    assert_eq!((&answer["Code"], &answer["Type"]), (&"Success".into(), &"AWS-HMAC".into()));
    assert_eq!(answer["AccessKeyId"], agent.credentials().await.json()["AccessKeyId"]);
    refused(&metadata(&agent, "other", Some(&token)).await, 404, "not_found");
    let mut forged = token.clone().into_bytes();
    forged[3] ^= 1;
    refused(&metadata(&agent, "team", Some(str::from_utf8(&forged).unwrap())).await, 403, "wrong_token");
}

#[tokio::test]
async fn metadata_clients_get_no_lease_that_they_would_use_after_its_end() {
    let double = ScriptedObjectServer::start(vec![leased("AKIASHORT", 29, time::Duration::ZERO)]).await;
    let workload = Workload::before(double.endpoint());
    let agent = workload.serve(&["--imds"]).await.ready().await;
    let token = agent.send(token_request(&agent, "60")).await.body;
    refused(&metadata(&agent, "team", Some(&token)).await, 404, "lease_too_short");
    assert_eq!(agent.credentials().await.json()["AccessKeyId"], "AKIASHORT");
}
