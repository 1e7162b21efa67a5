//! One exchange end to end, and everything that can fail on its way: what is answered, what is on record, what exists
//! at the object server afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use stint::demo::database::PrivatePostgres;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::harness::database::{THROWAWAY, fresh_database, server_directory};
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::parts::{Parts, QUEUE, StoreDouble};
use crate::harness::service::{Service, Setup, now};
use crate::harness::tokens::Forge;

/// The scripted server answers with a fixed end, so no jitter: a later end than asked is not believed.
const STEADY: &str = "[lease]\njitter = 0.0\n";
const REAL_LIFE: Duration = Duration::from_secs(3590);

async fn scripted(replies: Vec<Reply>) -> (ScriptedObjectServer, Service) {
    let object_server = ScriptedObjectServer::start(replies).await;
    let service = Service::start(Setup { more: STEADY, ..Setup::with(object_server.endpoint()) }).await;
    (object_server, service)
}

fn told(events: [(&str, &str); 2]) -> [(String, String); 2] {
    events.map(|(kind, reason)| (kind.to_owned(), reason.to_owned()))
}

fn token() -> String {
    Forge::shared().authentik.token(now())
}

#[tokio::test]
async fn an_exchange_leaves_its_intent_and_then_its_outcome() {
    let (object_server, service) = scripted(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let seen = service.lease(&token(), &json!({"role": "team", "duration_seconds": 3600, "session_name": "w-1"})).await;
    assert_eq!(seen.status, StatusCode::CREATED, "{}", seen.body);
    let rows = service.rows().await;
    let [intended, issued] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((intended.kind.as_str(), issued.kind.as_str()), ("lease.intended", "lease.issued"));
    assert!(intended.seq < issued.seq);
    for row in [intended, issued] {
        assert_eq!(row.lease_id.unwrap().to_string(), seen.json()["lease_id"]);
        assert_eq!(row.role.as_deref(), Some("team"));
        assert_eq!(row.issuer.as_deref(), Some("authentik"));
        assert_eq!(row.groups, ["authentik Admins", "team-a"]);
        assert_eq!(row.session_name.as_deref(), Some("w-1"));
        assert_eq!(row.requested_seconds, Some(3600));
        assert_eq!(row.door.as_deref(), Some("leases"));
        assert_eq!(row.address, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(row.request_id.unwrap().to_string(), seen.headers["x-request-id"].to_str().unwrap());
        assert!(row.matched_rule.as_ref().unwrap().contains("team.toml"));
    }
    assert_eq!((&intended.key_fingerprint, intended.ends_at), (&None, None));
    assert_eq!(issued.key_fingerprint.as_ref().unwrap().len(), 32);
    assert!(issued.ends_at.is_some());

    let [request] = object_server.received().try_into().unwrap();
    let lease = issued.lease_id.unwrap().to_string();
    assert!(request.body.contains(&format!("TokenRevokeType={lease}")), "{}", request.body);
    assert!(request.body.contains("Policy="), "never without a session policy");
}

#[tokio::test]
async fn the_advertised_end_precedes_the_real_one_by_the_grace() {
    let (_object_server, service) = scripted(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let answer = service.lease(&token(), &json!({})).await.json();
    let ttl = answer["ttl_seconds"].as_i64().unwrap();
    assert!((3590 - 300 - 2..=3590 - 300).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn an_identity_without_a_role_is_refused_and_recorded() {
    let (object_server, service) = scripted(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let forge = Forge::shared();
    let nobody = forge.authentik.draft(now()).claim("groups", json!([])).sign(&forge.authentik.key);
    assert_eq!(service.lease(&nobody, &json!({})).await.status, StatusCode::FORBIDDEN);
    let rows = service.rows().await;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.kind.as_str(), row.effect.as_str(), row.reason.as_str()), ("exchange.refused", "deny", "no_role"));
    assert!(row.policy_hash.is_some() && row.subject.is_some() && row.lease_id.is_none());
    assert!(object_server.received().is_empty());
}

#[tokio::test]
async fn an_expired_token_with_a_good_signature_is_recorded_and_a_forged_one_is_not() {
    let (object_server, service) = scripted(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let forge = Forge::shared();
    let expired = forge.authentik.draft(now()).claim("iat", now() - 7200).claim("exp", now() - 3600);
    let refused = service.lease(&expired.sign(&forge.authentik.key), &json!({})).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(service.lease(&expired.sign(&forge.stranger), &json!({})).await.status, StatusCode::UNAUTHORIZED);
    let rows = service.rows().await;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.kind.as_str(), row.reason.as_str()), ("exchange.refused", "token_expired"));
    assert!(object_server.received().is_empty());
}

#[tokio::test]
async fn a_session_policy_narrows_what_is_sent_and_one_that_cannot_is_refused() {
    let (object_server, service) = scripted(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let policy = |action: &str, resource: &str| json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": [action], "Resource": [resource]}]});
    let narrow = policy("s3:GetObject", "arn:aws:s3:::recordings/mine/*");
    let seen = service.lease(&token(), &json!({"session_policy": narrow})).await;
    assert_eq!(seen.status, StatusCode::CREATED, "{}", seen.body);
    let [request] = object_server.received().try_into().unwrap();
    let sent = form_urlencoded::parse(request.body.as_bytes()).find(|(name, _)| name == "Policy").unwrap().1;
    assert!(sent.contains("recordings/mine/*") && !sent.contains("PutObject"), "{sent}");

    let wider = policy("s3:*", "arn:aws:s3:::*");
    let seen = service.lease(&token(), &json!({"session_policy": wider})).await;
    if seen.status == StatusCode::CREATED {
        let sent = &object_server.received()[1].body;
        assert!(!sent.contains("s3%3A%2A"), "never a union: {sent}");
    }
    let minted = object_server.received().len();
    let malformed = service.lease(&token(), &json!({"session_policy": "{\"Version\":1}"})).await;
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
    assert_eq!(object_server.received().len(), minted, "nothing was minted for the malformed one");
    assert_eq!(service.rows().await.last().unwrap().reason, "session_policy_malformed");
}

/// Each lie and failure of the object server: the reason on record, and whether the lease is revoked afterwards because
/// credentials may exist.
fn failures() -> Vec<(&'static str, Vec<Reply>, &'static str, bool)> {
    let xml = |body: &str| Reply::http(200, "text/xml", body);
    let ends_in = |length| Reply::credentials_for(Duration::from_secs(length));
    let instead = |truth: &str, lie: &str| {
        let Reply::Bytes(answer) = ends_in(3590) else { unreachable!("a whole answer") };
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains(truth), "{truth}");
        xml(&body.replace(truth, lie))
    };
    vec![
        ("refuses", vec![Reply::refusal(403, "AccessDenied")], "object_server_refused", false),
        ("is starting", vec![Reply::refusal(503, "STSNotInitialized")], "object_server_not_ready", false),
        ("answers HTML", vec![Reply::http(200, "text/html", "<html>proxy</html>")], "object_server_nonsense", true),
        ("answers nothing", vec![xml("")], "object_server_nonsense", true),
        ("closes", vec![Reply::Close], "object_server_interrupted", true),
        ("says the end has passed", vec![Reply::credentials("2020-01-01T00:00:00Z")], "object_server_expiration", true),
        ("says no end", vec![Reply::credentials("")], "object_server_nonsense", true),
        ("gives a day", vec![ends_in(86_400)], "object_server_expiration", true),
        ("gives an hour more", vec![ends_in(7190)], "object_server_expiration", true),
        ("gives ten minutes", vec![ends_in(600)], "object_server_expiration", true),
        ("gives a minute", vec![ends_in(60)], "object_server_expiration", true),
        ("gives its parent's key", vec![instead("GGCTIHYG44N04A0X14LN", "parent")], "object_server_nonsense", true),
        (
            "gives no session token",
            vec![instead("eyJhbGciOiJIUzUxMiJ9.e30.K4QlpL16", "")],
            "object_server_nonsense",
            true,
        ),
        (
            "gives two keys",
            vec![instead("</AccessKeyId>", "</AccessKeyId><AccessKeyId>OTHER</AccessKeyId>")],
            "object_server_nonsense",
            true,
        ),
        ("fails", vec![Reply::refusal(500, "InternalError")], "object_server_failed", true),
        ("never stops", vec![Reply::Endless("HTTP/1.1 200 OK\r\n\r\n".into())], "object_server_nonsense", true),
    ]
}

#[tokio::test]
async fn every_failure_of_the_object_server_has_its_refusal_and_its_row() {
    for (name, replies, reason, revoked) in failures() {
        let (object_server, service) = scripted(replies).await;
        let seen = service.lease(&token(), &json!({})).await;
        assert_eq!(seen.status, StatusCode::SERVICE_UNAVAILABLE, "{name}: {}", seen.body);
        assert!(seen.headers.contains_key("retry-after"), "{name}");
        let rows = service.rows().await;
        let kinds: Vec<(&str, &str)> = rows.iter().map(|row| (row.kind.as_str(), row.reason.as_str())).collect();
        assert_eq!(kinds, [("lease.intended", "granted"), ("lease.failed", reason)], "{name}");
        let requests = object_server.received();
        let lease = rows[0].lease_id.unwrap().to_string();
        let asked = |request: &crate::harness::object_server::Received| {
            request.line.contains("revoke-tokens") && request.line.contains(&lease)
        };
        assert_eq!(requests.iter().any(asked), revoked, "{name}: {requests:?}");
        assert_eq!(requests.iter().filter(|r| r.line.starts_with("POST / ")).count(), 1, "{name}: minted once");
    }
}

#[tokio::test]
async fn a_key_that_an_open_lease_has_is_given_to_no_other() {
    let twice = Reply::credentials_for(REAL_LIFE);
    let (object_server, service) =
        scripted(vec![twice.clone(), twice, Reply::http(204, "text/plain", ""), Reply::credentials_for(REAL_LIFE)])
            .await;
    assert_eq!(service.lease(&token(), &json!({})).await.status, StatusCode::CREATED);
    let seen = service.lease(&token(), &json!({})).await;
    assert_eq!(
        (seen.status, seen.json()["code"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("object_server_unavailable"))
    );
    let rows = service.rows().await;
    let kinds: Vec<(&str, &str)> = rows.iter().map(|row| (row.kind.as_str(), row.reason.as_str())).collect();
    let failed = ("lease.failed", "object_server_nonsense");
    assert_eq!(
        kinds,
        [("lease.intended", "granted"), ("lease.issued", "granted"), ("lease.intended", "granted"), failed]
    );
    // By the id of the second lease: the first, whose key it is, goes on.
    let revoked = &object_server.received()[2].line;
    assert!(revoked.contains("revoke-tokens") && revoked.contains(&rows[3].lease_id.unwrap().to_string()), "{revoked}");
}

#[tokio::test]
async fn an_object_server_that_is_not_there_fails_the_lease_on_record() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let service = Service::start(Setup::with(&format!("http://127.0.0.1:{port}"))).await;
    let seen = service.sts(&token(), &[]).await;
    assert_eq!((seen.status, seen.element("Code")), (StatusCode::SERVICE_UNAVAILABLE, Some("Throttling")));
    assert_eq!(service.rows().await[1].reason, "object_server_unreachable");
}

#[tokio::test]
async fn without_postgresql_everything_is_refused_in_time_and_nothing_is_minted() {
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let directory = server_directory();
    let server = PrivatePostgres::start_with(directory.path(), THROWAWAY).await.unwrap();
    let setup = Setup { database: Some(server.url().clone()), more: STEADY, ..Setup::with(object_server.endpoint()) };
    let service = Service::start(setup).await;
    assert_eq!(service.lease(&token(), &json!({})).await.status, StatusCode::CREATED);
    let minted = object_server.received().len();

    server.kill().await.unwrap();
    for _ in 0..3 {
        let refusal = tokio::time::timeout(Duration::from_secs(5), service.lease(&token(), &json!({}))).await;
        let seen = refusal.expect("refused within the deadline");
        assert_eq!(seen.status, StatusCode::SERVICE_UNAVAILABLE, "{}", seen.body);
        assert!(seen.headers.contains_key("retry-after"));
    }
    let sts = service.sts(&token(), &[]).await;
    assert_eq!((sts.status, sts.element("Code")), (StatusCode::SERVICE_UNAVAILABLE, Some("Throttling")));
    assert_eq!(service.get("/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(object_server.received().iter().filter(|r| r.line.starts_with("POST / ")).count(), minted);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_recorded_drops_and_revokes_the_credential() {
    let object_server =
        ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE), Reply::http(204, "text/plain", "")]).await;
    let store = Arc::new(StoreDouble::failing_on("lease.issued"));
    let parts = Parts::with(Arc::clone(&store), object_server.endpoint());
    let error = parts.exchange(&token()).await.unwrap_err();
    assert_eq!(error.code(), "log_unavailable");
    let requests = object_server.received();
    assert!(requests.iter().any(|request| request.line.contains("revoke-tokens")), "{requests:?}");
    parts.drained().await;
    assert_eq!(store.told(), told([("lease.intended", "granted"), ("lease.abandoned", "revoked")]));
}

#[tokio::test]
async fn a_failed_mint_whose_outcome_cannot_be_recorded_says_that_nothing_was_minted() {
    let object_server = ScriptedObjectServer::start(vec![Reply::refusal(403, "AccessDenied")]).await;
    let store = Arc::new(StoreDouble::failing_on("lease.failed"));
    let parts = Parts::with(Arc::clone(&store), object_server.endpoint());
    assert_eq!(parts.exchange(&token()).await.unwrap_err().code(), "log_unavailable");
    parts.drained().await;
    assert_eq!(store.told(), told([("lease.intended", "granted"), ("lease.abandoned", "not_minted")]));
    assert_eq!(object_server.received().len(), 1, "there is nothing to revoke");
}

#[tokio::test]
async fn a_credential_that_cannot_be_revoked_either_is_on_record_as_that() {
    let replies = vec![Reply::credentials_for(REAL_LIFE), Reply::refusal(503, "SlowDown")];
    let object_server = ScriptedObjectServer::start(replies).await;
    let store = Arc::new(StoreDouble::failing_on("lease.issued"));
    let parts = Parts::with(Arc::clone(&store), object_server.endpoint());
    assert_eq!(parts.exchange(&token()).await.unwrap_err().code(), "log_unavailable");
    parts.drained().await;
    assert_eq!(store.told(), told([("lease.intended", "granted"), ("lease.abandoned", "revoke_failed")]));
}

#[tokio::test]
async fn one_exchange_more_than_the_logs_queue_holds_is_refused_at_once() {
    let reached = Arc::new(Notify::new());
    let store = Arc::new(StoreDouble::pausing_on("lease.intended", Arc::clone(&reached), Arc::default()));
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let parts = Parts::with(Arc::clone(&store), object_server.endpoint());
    let under_way = TaskTracker::new();
    let token = token();
    under_way.spawn(parts.exchange_of(&token));
    reached.notified().await;
    let more = futures::future::join_all((0..=QUEUE).map(|_| parts.exchange_of(&token)));
    let overloaded = async {
        while parts.refusals("log_overloaded") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        answers = more => panic!("all were answered: {answers:?}"),
        () = overloaded => {}
    }
    assert_eq!((parts.refusals("log_overloaded"), parts.refusals("log_deadline")), (1, 0));
    assert!(object_server.received().is_empty());
}

#[tokio::test]
async fn an_intent_that_cannot_be_recorded_mints_nothing() {
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let store = Arc::new(StoreDouble::failing_on("lease.intended"));
    let parts = Parts::with(Arc::clone(&store), object_server.endpoint());
    assert_eq!(parts.exchange(&token()).await.unwrap_err().code(), "log_unavailable");
    assert!(object_server.received().is_empty());
    let parts = Parts::with(Arc::new(StoreDouble::default()), object_server.endpoint());
    assert!(parts.exchange(&token()).await.is_ok(), "the near twin: a log that works");
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_is_slower_than_the_deadline_mints_nothing() {
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let parts = Parts::with(Arc::new(StoreDouble::hanging()), object_server.endpoint());
    assert_eq!(parts.exchange(&token()).await.unwrap_err().code(), "log_deadline");
    assert!(object_server.received().is_empty());
}

#[tokio::test]
async fn a_refusal_that_cannot_be_recorded_is_the_logs_refusal() {
    let store = Arc::new(StoreDouble::failing_on("exchange.refused"));
    let parts = Parts::with(store, "http://127.0.0.1:9");
    let forge = Forge::shared();
    let nobody = forge.authentik.draft(now()).claim("groups", json!([])).sign(&forge.authentik.key);
    assert_eq!(parts.exchange(&nobody).await.unwrap_err().code(), "log_unavailable");
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_leave_a_credential_without_a_fate() {
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let (minting, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let store = Arc::new(StoreDouble::pausing_on("lease.issued", Arc::clone(&minting), Arc::clone(&go)));
    let parts = Parts::with(Arc::clone(&store), object_server.endpoint());
    let caller = {
        let exchange = parts.exchange_of(&token());
        let hang_up = Arc::clone(&minting);
        async move {
            tokio::select! {
                _ = exchange => panic!("the outcome was not to be committed yet"),
                () = hang_up.notified() => {}
            }
        }
    };
    Box::pin(caller).await;
    assert_eq!(store.kinds(), ["lease.intended"]);
    go.notify_one();
    parts.drained().await;
    assert_eq!(store.kinds(), ["lease.intended", "lease.issued"]);
}

#[tokio::test]
async fn concurrent_exchanges_all_have_both_rows_and_share_commits() {
    let (_object_server, service) = scripted(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let token = token();
    let body = json!({});
    let sent = (0..64).map(|_| service.lease(&token, &body));
    let answers = futures::future::join_all(sent).await;
    assert!(answers.iter().all(|seen| seen.status == StatusCode::CREATED));
    let rows = service.rows().await;
    assert_eq!(rows.len(), 128);
    for answer in &answers {
        let id = answer.json()["lease_id"].as_str().unwrap().to_owned();
        let mut of_lease = rows.iter().filter(|row| row.lease_id.is_some_and(|lease| lease.to_string() == id));
        assert_eq!(of_lease.next().unwrap().kind, "lease.intended");
        assert_eq!(of_lease.next().unwrap().kind, "lease.issued");
    }
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    assert_eq!(seqs, (2..=129).collect::<Vec<i64>>(), "gapless after stream.opened and policy.loaded");

    let metrics = service.get("/metrics").await.body;
    let counted = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in {metrics}")).parse::<u64>().unwrap()
    };
    assert_eq!(counted("stint_log_events_total"), 130);
    assert!(counted("stint_log_commits_total") < 130, "commits are shared");
}

#[tokio::test]
async fn a_drain_lets_exchanges_under_way_end_with_their_rows() {
    let (_object_server, service) = scripted(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let over = Arc::new(AtomicBool::new(false));
    let (url, http, token) = (service.url("/v1/leases"), service.http.clone(), token());
    let caller = async {
        let mut issued = 0;
        while !over.load(Ordering::Relaxed) {
            let request = http.post(&url).header("authorization", format!("Bearer {token}"));
            match request.send().await {
                Ok(answer) if answer.status() == StatusCode::CREATED => issued += 1,
                Ok(answer) => panic!("{}", answer.status()),
                // The listener is closed.
                Err(_) => break,
            }
        }
        issued
    };
    let database = service.database.clone();
    let ending = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        service.end().await;
        over.store(true, Ordering::Relaxed);
    };
    let (issued, ()) = tokio::join!(caller, ending);
    assert!(issued > 0);
    let log = stint::postgres::PostgresStore::connect(&database, Duration::from_secs(5)).await.unwrap();
    let rows = log.recent(10_000).await.unwrap();
    let count = |kind: &str| rows.iter().filter(|row| row.kind == kind).count();
    assert_eq!(count("lease.intended"), count("lease.issued"));
    assert!(count("lease.issued") >= issued);
}

#[tokio::test]
async fn two_services_share_one_database_without_waiting_for_each_other() {
    let database = fresh_database().await;
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let setup = || Setup { database: Some(database.clone()), more: STEADY, ..Setup::with(object_server.endpoint()) };
    let (one, two) = (Service::start(setup()).await, Service::start(setup()).await);
    let token = token();
    let body = json!({});
    let sent = (0..20).map(|n| if n % 2 == 0 { &one } else { &two }).map(|service| service.lease(&token, &body));
    assert!(futures::future::join_all(sent).await.iter().all(|seen| seen.status == StatusCode::CREATED));
    let rows = one.rows().await;
    let mut streams: Vec<_> = rows.iter().map(|row| row.stream).collect();
    streams.dedup();
    assert_eq!((rows.len(), streams.len()), (40, 2));
}
