//! What goes wrong beside a workload: its token file, its clock, the service, and the end in the middle of everything.

use std::fs;
use std::time::Duration;

use reqwest::StatusCode;
use tokio::net::TcpListener;

use super::{REAL_LIFE, Workload, good_token, instant, issued, leased, refusal, service};
use crate::harness::binary::{Running, Site, eventually, run};
use crate::harness::database::fresh_database;
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::service::now;
use crate::harness::tokens::Forge;

#[tokio::test]
async fn a_token_file_that_is_missing_empty_or_half_written_is_waited_for() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let token = good_token();
    fs::remove_file(workload.path("token")).unwrap();
    let mut agent = workload.serve(&[]).await;
    for (content, says) in [
        (None, "there is no such file"),
        (Some(""), "is empty"),
        (Some(&token[..token.rfind('.').unwrap()]), "holds no whole token"),
    ] {
        if let Some(content) = content {
            workload.put_token(content);
        }
        agent.running.says(says).await;
        let seen = agent.until(StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(
            (seen.json()["code"].as_str(), &seen.headers["retry-after"]),
            (Some("token_unavailable"), &"2".parse().unwrap())
        );
    }
    // Nothing of all that was sent.
    assert!(service.rows().await.is_empty());
    workload.put_token(&format!("{token}\n"));
    agent.until(StatusCode::OK).await;
    assert_eq!(issued(&service).await, 1);
}

#[tokio::test]
async fn an_expired_token_is_refused_and_its_successor_is_taken_within_seconds() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let provider = &Forge::shared().authentik;
    workload.put_token(&provider.draft(now() - 7200).claim("exp", now() - 3600).sign(&provider.key));
    let agent = workload.serve(&[]).await;
    let seen = agent.until(StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(seen.json()["code"], "token_refused");
    workload.put_token(&good_token());
    agent.until(StatusCode::OK).await;
}

#[tokio::test]
async fn a_token_that_is_cut_in_its_signature_is_read_again_within_the_same_exchange() {
    // The refusal takes two seconds to arrive, and the file is replaced meanwhile.
    let slowly = Reply::Drip("HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n".to_owned());
    let double = ScriptedObjectServer::start(vec![slowly, leased("AKIATWO", 60, time::Duration::ZERO)]).await;
    let workload = Workload::before(double.endpoint());
    let token = good_token();
    let cut = &token[..token.len() - 2];
    workload.put_token(cut);
    let agent = workload.serve(&[]).await;
    eventually("the first request", async || double.received().len() == 1).await;
    workload.put_token(&token);
    agent.until(StatusCode::OK).await;
    let received = double.received();
    let bearer = |at: usize| received[at].headers["authorization"].clone();
    assert_eq!(received.len(), 2);
    assert_eq!((bearer(0), bearer(1)), (format!("Bearer {cut}"), format!("Bearer {token}")));
}

#[tokio::test]
async fn a_refusal_by_policy_is_told_as_one_and_asked_about_seldom() {
    let double = ScriptedObjectServer::start(vec![refusal(403, "access_denied")]).await;
    let workload = Workload::before(double.endpoint());
    let agent = workload.serve(&[]).await;
    let seen = agent.until(StatusCode::FORBIDDEN).await;
    assert_eq!(seen.json()["code"], "refused");
    assert!(seen.json()["message"].as_str().unwrap().contains("(request r-1)"), "{}", seen.body);
    for _ in 0..50 {
        assert_eq!(agent.credentials().await.status, StatusCode::FORBIDDEN);
    }
    assert!(double.received().len() <= 3, "{}", double.received().len());
}

#[tokio::test]
async fn the_lease_outlives_the_service() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let mut agent = workload.serve(&[]).await.ready().await;
    let before = agent.credentials().await.json();
    service.end().await;
    agent.running.signal("HUP");
    agent.running.says("stint cannot be reached").await;
    let seen = agent.credentials().await;
    assert_eq!((seen.status, &seen.json()["AccessKeyId"]), (StatusCode::OK, &before["AccessKeyId"]));
    assert_eq!(agent.ends().await, 0);
}

#[tokio::test]
async fn nobody_at_the_services_address_is_told_and_healed() {
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let workload = Workload::before(&format!("http://{nowhere}"));
    let agent = workload.serve(&[]).await;
    let seen = agent.until(StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(seen.json()["code"], "service_unreachable");
    assert_eq!(agent.ends().await, 0);
}

#[tokio::test]
async fn answers_that_are_no_lease_are_never_handed_on() {
    let endless = "HTTP/1.1 201 x\r\ncontent-type: application/json\r\n\r\n";
    let broken = leased("AKIA\n[other]", 60, time::Duration::ZERO);
    let ended = leased("AKIAENDED", -1, time::Duration::ZERO);
    for reply in [
        Reply::http(200, "text/html", "<html>hello</html>"),
        Reply::http(201, "application/json", "{}"),
        Reply::Endless(endless.to_owned()),
        Reply::Close,
        broken,
        ended,
        Reply::http(302, "text/plain", ""),
    ] {
        let double = ScriptedObjectServer::start(vec![reply.clone()]).await;
        let workload = Workload::before(double.endpoint());
        let agent = workload.serve(&[]).await;
        eventually("it is asked", async || !double.received().is_empty()).await;
        let seen = agent.credentials().await;
        assert!(seen.status.is_server_error() && !seen.body.contains("SecretAccessKey"), "{reply:?}: {seen:?}");
    }
}

#[tokio::test]
async fn a_wrong_clock_shortens_no_lease_and_sdks_are_told_the_end_by_their_own() {
    for hours in [-7, 7] {
        let double = ScriptedObjectServer::start(vec![leased("AKIASKEWED", 60, time::Duration::hours(hours))]).await;
        let workload = Workload::before(double.endpoint());
        let mut agent = workload.serve(&[]).await.ready().await;
        let left = instant(&agent.credentials().await.json()["Expiration"]).unix_timestamp() - now();
        assert!((3500..=3602).contains(&left), "{hours} h: {left}");
        agent.running.says("clock").await;
        assert_eq!(double.received().len(), 1);
    }
}

#[tokio::test]
async fn the_end_in_the_middle_of_a_refresh_is_clean() {
    let double = ScriptedObjectServer::start(vec![Reply::Silence]).await;
    let workload = Workload::before(double.endpoint());
    let agent = workload.serve(&[]).await;
    eventually("the exchange is under way", async || double.received().len() == 1).await;
    let file = agent.lines.token_file.clone();
    let begun = tokio::time::timeout(Duration::from_secs(9), agent.ends()).await;
    // Sooner than the exchange would have given up.
    assert_eq!(begun.expect("it waits for nobody"), 0);
    assert!(!file.exists());
}

#[tokio::test]
async fn a_service_with_a_certificate_of_its_own_is_believed_with_its_roots_and_not_without() {
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let site = Site::new(&fresh_database().await, object_server.endpoint());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    site.write("tls.crt", made.cert.pem());
    site.write("tls.key", made.signing_key.serialize_pem());
    site.configure("[http]\n", "[http]\ntls = { certificate = \"tls.crt\", key = \"tls.key\" }\n");
    let (_serving, address) = site.serve().await;
    let workload = Workload::before(&format!("https://localhost:{}", address.port()));
    let roots = site.path().join("tls.crt");
    let with = |roots: &std::path::Path| {
        ["credential-process", "--no-cache", "--ca-file", roots.to_str().unwrap()].map(str::to_owned)
    };
    let print = async |words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run(workload.stint(&words)).await
    };
    let ended = print(&with(&roots)).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = print(&["credential-process".to_owned(), "--no-cache".to_owned()]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("stint cannot be reached"), "{}", ended.stderr);
    for unusable in [workload.path("token"), workload.path("missing")] {
        let ended = print(&with(&unusable)).await;
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(unusable.to_str().unwrap()), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_service_over_http_elsewhere_is_refused_before_anything_is_sent() {
    let workload = Workload::before("http://stint.example");
    for words in [&["agent", "serve"][..], &["credential-process"], &["agent", "exec", "--", "true"]] {
        let ended = run(workload.stint(words)).await;
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("--server must be https"), "{}", ended.stderr);
    }
    let mut command = workload.stint(&["agent", "serve"]);
    command.env_remove("STINT_TOKEN_FILE");
    assert_eq!(Running::start(command).ended().await, Some(2));
}
