//! Reuse and single flight from outside: who is handed a lease that is out already, who never is, and what is on record of it.
//! The object server counts what it mints; the log is the real one, or one that fails at one exact step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use stint::audit::AuditRow;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::harness::binary::eventually;
use crate::harness::clock::MovedClock;
use crate::harness::object_server::{Reply, ScriptedObjectServer, again};
use crate::harness::parts::{Parts, StoreDouble};
use crate::harness::service::{Seen, Service, Setup, now};
use crate::harness::session_server::{Leak, SessionServer};
use crate::harness::tokens::Forge;

const STEADY: &str = "[lease]\njitter = 0.0\n";
const OPERATORS: &str =
    "[[operator]]\nissuer = \"authentik\"\ngroups = [\"ops\"]\npermissions = [\"lease.revoke\", \"audit.read\"]\n";
const POLICIES: &[(&str, &str)] = &[
    ("operators.toml", OPERATORS),
    ("roles/second.toml", "documents = [\"recordings\"]\n[[allow]]\ngroups = [\"team-b\"]\n"),
];
const REAL_LIFE: Duration = Duration::from_secs(3590);

fn credentials() -> Reply {
    Reply::credentials_for(REAL_LIFE)
}

/// A service that hands leases out again, before a server that answers so.
async fn scripted(replies: Vec<Reply>) -> (ScriptedObjectServer, Service) {
    let object_server = ScriptedObjectServer::start(replies).await;
    let setup = Setup { more: STEADY, policies: POLICIES, reuse: true, ..Setup::with(object_server.endpoint()) };
    let service = Service::start(setup).await;
    (object_server, service)
}

/// How many credentials it was asked for.
fn mints(object_server: &ScriptedObjectServer) -> usize {
    object_server.received().iter().filter(|request| request.line.starts_with("POST / ")).count()
}

fn token_of(subject: &str, groups: &[&str]) -> String {
    let provider = &Forge::shared().authentik;
    provider.draft(now()).claim("sub", subject).claim("groups", json!(groups)).sign(&provider.key)
}

fn ada() -> String {
    token_of("ada", &["team-a"])
}

async fn issued(service: &Service, token: &str, body: Value) -> (String, String) {
    id_and_key(&service.lease(token, &body).await)
}

fn id_and_key(seen: &Seen) -> (String, String) {
    assert_eq!(seen.status, StatusCode::CREATED, "{}", seen.body);
    let lease = seen.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&lease["lease_id"]), text(&lease["credentials"]["access_key_id"]))
}

fn kinds(rows: &[AuditRow]) -> Vec<&str> {
    rows.iter().map(|row| row.kind.as_str()).collect()
}

fn narrowed(to: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [format!("arn:aws:s3:::recordings/{to}/*")]}]})
}

#[tokio::test]
async fn the_same_holder_is_handed_the_same_lease_with_a_row_for_each_time() {
    let (object_server, service) = scripted(vec![credentials()]).await;
    let first = service.lease(&ada(), &json!({"session_name": "w-1"})).await;
    let second = service.lease(&ada(), &json!({"session_name": "w-2", "duration_seconds": 3600})).await;
    let (first, second) = (first.json(), second.json());
    assert_eq!(first["credentials"], second["credentials"]);
    for member in ["lease_id", "role", "issued_at", "refresh_after", "ttl_seconds"] {
        assert_eq!(first[member], second[member], "{member}");
    }
    assert_eq!((first.get("shortened_by"), second["shortened_by"].as_str()), (None, Some("reuse")));
    assert_eq!(mints(&object_server), 1);

    let rows = service.rows().await;
    assert_eq!(kinds(&rows), ["lease.intended", "lease.issued", "lease.reused"]);
    let (issued, reused) = (&rows[1], &rows[2]);
    for (one, other) in [
        (issued.lease_id.map(|id| id.to_string()), reused.lease_id.map(|id| id.to_string())),
        (issued.key_fingerprint.clone(), reused.key_fingerprint.clone()),
        (issued.parent_fingerprint.clone(), reused.parent_fingerprint.clone()),
        (issued.session_policy_sha256.clone(), reused.session_policy_sha256.clone()),
        (issued.role_session_name.clone(), reused.role_session_name.clone()),
        (issued.policy_hash.clone(), reused.policy_hash.clone()),
        (issued.ends_at.map(|at| at.to_string()), reused.ends_at.map(|at| at.to_string())),
    ] {
        assert_eq!(one, other);
        assert!(one.is_some());
    }
    assert_eq!((reused.effect.as_str(), reused.reason.as_str()), ("allow", "granted"));
    assert_eq!((issued.session_name.as_deref(), reused.session_name.as_deref()), (Some("w-1"), Some("w-2")));
    assert_ne!(issued.request_id, reused.request_id);
    let metrics = service.get("/metrics").await.body;
    for (outcome, count) in [("issued", 1), ("reused", 1)] {
        let line = format!(r#"stint_exchanges_total{{door="leases",outcome="{outcome}",reason="granted"}} {count}"#);
        assert!(metrics.lines().any(|seen| seen == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn every_door_hands_out_the_same_lease_and_another_token_of_the_holder_will_do() {
    let (object_server, service) = scripted(vec![credentials()]).await;
    let (_, key) = issued(&service, &ada(), json!({"role": "team"})).await;
    let sts = service.sts(&ada(), &[("RoleSessionName", "sdk-1"), ("RoleArn", "arn:aws:iam::0:role/team")]).await;
    assert_eq!(sts.element("AccessKeyId"), Some(key.as_str()), "{}", sts.body);
    let container = service.container(&ada(), "team").await;
    assert_eq!(container.json()["AccessKeyId"], key.as_str());
    assert_eq!(mints(&object_server), 1);
    let doors: Vec<_> = service.rows().await.into_iter().map(|row| row.door.unwrap()).collect();
    assert_eq!(doors, ["leases", "leases", "sts", "container"]);
}

#[tokio::test]
async fn whoever_differs_in_anything_but_the_session_name_is_minted_another() {
    let (object_server, service) = scripted(vec![credentials()]).await;
    let provider = &Forge::shared().authentik;
    let of_client = provider
        .draft(now())
        .claim("sub", "ada")
        .claim("azp", "another-client")
        .claim("groups", json!(["team-a"]))
        .sign(&provider.key);
    let asked = [
        ("ada", ada(), json!({})),
        ("bob", token_of("bob", &["team-a"]), json!({})),
        ("another client", of_client, json!({})),
        ("more groups, of no meaning here", token_of("ada", &["team-a", "x"]), json!({})),
        ("more groups, and a second role", token_of("ada", &["team-a", "team-b"]), json!({})),
        ("a second role by name", token_of("ada", &["team-a", "team-b"]), json!({"role": "second"})),
        ("narrowed", ada(), json!({"session_policy": narrowed("mine")})),
        ("narrowed otherwise", ada(), json!({"session_policy": narrowed("yours")})),
    ];
    let mut keys = BTreeSet::new();
    let mut minted = 0;
    for round in 0..2 {
        for (name, token, body) in &asked {
            let (_, key) = id_and_key(&service.lease(token, body).await);
            assert_eq!(keys.insert(key), round == 0, "{name}");
            minted += usize::from(round == 0);
            assert_eq!(mints(&object_server), minted, "{name}");
        }
    }
}

/// The object server's answers end in an hour; a lease of a quarter of one needs its own.
#[tokio::test]
async fn a_caller_who_asks_for_a_short_lease_is_not_handed_a_long_one_nor_the_other_way_round() {
    let quarter = again(&Reply::credentials_for(Duration::from_secs(890)), 2);
    let (object_server, service) = scripted(vec![credentials(), quarter]).await;
    let (long, _) = issued(&service, &ada(), json!({})).await;
    let (short, _) = issued(&service, &ada(), json!({"duration_seconds": 900})).await;
    assert_ne!(long, short);
    for _ in 0..2 {
        assert_eq!(issued(&service, &ada(), json!({"duration_seconds": 900})).await.0, short);
        assert_eq!(issued(&service, &ada(), json!({"duration_seconds": 43_200})).await.0, long, "shortened as ever");
    }
    assert_eq!(mints(&object_server), 2);
}

#[tokio::test]
async fn fresh_mints_another_and_that_is_handed_out_from_then_on() {
    let (object_server, service) = scripted(vec![credentials()]).await;
    let (first, _) = issued(&service, &ada(), json!({})).await;
    let (fresh, _) = issued(&service, &ada(), json!({"fresh": true})).await;
    assert_ne!(first, fresh);
    assert_eq!(issued(&service, &ada(), json!({"fresh": false})).await.0, fresh);
    assert_eq!(mints(&object_server), 2);
}

#[tokio::test]
async fn without_reuse_every_exchange_mints() {
    let object_server = ScriptedObjectServer::start(vec![credentials()]).await;
    let setup = Setup { more: STEADY, reuse: false, ..Setup::with(object_server.endpoint()) };
    let service = Service::start(setup).await;
    let (first, _) = issued(&service, &ada(), json!({})).await;
    assert_ne!(issued(&service, &ada(), json!({})).await.0, first);
    assert_eq!(mints(&object_server), 2);
}

#[tokio::test]
async fn a_lease_is_handed_out_until_its_refresh_and_not_after() {
    let object_server = ScriptedObjectServer::start(vec![credentials()]).await;
    let clock = Arc::new(MovedClock::start());
    let setup = Setup { more: STEADY, reuse: true, ..Setup::with(object_server.endpoint()) };
    let service = Service::start_by(clock.clone(), setup).await;
    let provider = &Forge::shared().authentik;
    let lasting = provider.draft(now()).claim("groups", json!(["team-a"])).claim("exp", now() + 7200);
    let token = lasting.sign(&provider.key);
    let (first, _) = issued(&service, &token, json!({})).await;
    // Refreshed at the earliest after four fifths of 34 minutes.
    clock.advance(Duration::from_mins(27));
    assert_eq!(issued(&service, &token, json!({})).await.0, first);
    clock.advance(Duration::from_mins(8));
    assert_ne!(issued(&service, &token, json!({})).await.0, first);
    assert_eq!(mints(&object_server), 2);
}

#[tokio::test]
async fn a_token_that_has_expired_gets_nothing_however_young_the_lease_is() {
    let (object_server, service) = scripted(vec![credentials()]).await;
    issued(&service, &ada(), json!({})).await;
    let provider = &Forge::shared().authentik;
    let expired = provider
        .draft(now())
        .claim("sub", "ada")
        .claim("groups", json!(["team-a"]))
        .claim("iat", now() - 7200)
        .claim("exp", now() - 3600);
    let seen = service.lease(&expired.sign(&provider.key), &json!({})).await;
    assert_eq!(seen.status, StatusCode::UNAUTHORIZED);
    let out_of_the_group = token_of("ada", &["other"]);
    assert_eq!(service.lease(&out_of_the_group, &json!({})).await.status, StatusCode::FORBIDDEN);
    assert_eq!(mints(&object_server), 1);
    assert_eq!(kinds(&service.rows().await)[2..], ["exchange.refused", "exchange.refused"]);
}

#[tokio::test]
async fn a_revoked_lease_is_handed_out_to_nobody_from_the_wish_on() {
    // The server takes no revocation: the wish alone counts.
    let replies = vec![credentials(), Reply::refusal(403, "AccessDenied"), credentials()];
    let (object_server, service) = scripted(replies).await;
    let (first, _) = issued(&service, &ada(), json!({})).await;
    let path = format!("/v1/leases/{first}?reason=it+leaked");
    let operator = token_of("olga", &["ops"]);
    let ending = service.http.delete(service.url(&path)).header("authorization", format!("Bearer {operator}"));
    let ended = service.send(ending).await;
    assert_eq!(ended.json()["outcome"], "revoke_failed", "{}", ended.body);
    let (second, _) = issued(&service, &ada(), json!({})).await;
    assert_ne!(first, second);
    assert_eq!(issued(&service, &ada(), json!({})).await.0, second, "the near twin: the new one is shared");
    assert_eq!(mints(&object_server), 2);
}

#[tokio::test]
async fn another_policy_set_makes_everybodys_next_lease_a_new_one() {
    let (object_server, service) = scripted(vec![credentials()]).await;
    let (first, _) = issued(&service, &ada(), json!({})).await;
    assert_eq!(issued(&service, &ada(), json!({})).await.0, first);
    // The text of the role stays: its directory is another.
    service.change_policy("roles/third.toml", "documents = [\"recordings\"]\n[[allow]]\ngroups = [\"nobody\"]\n");
    eventually("another set is in force", async || issued(&service, &ada(), json!({})).await.0 != first).await;
    assert_eq!(mints(&object_server), 2);
}

#[tokio::test]
async fn a_role_that_a_self_test_closes_hands_out_nothing_that_is_out() {
    let object_server = SessionServer::start(Leak::Nothing).await;
    let setup = Setup {
        more: STEADY,
        policies: POLICIES,
        self_test: "1",
        reuse: true,
        ..Setup::with(object_server.endpoint())
    };
    let service = Service::start(setup).await;
    let (first, _) = issued(&service, &ada(), json!({})).await;
    assert_eq!(issued(&service, &ada(), json!({})).await.0, first);
    object_server.becomes(Leak::ListsEverything);
    // Bob's is minted and tried, and closes the role for ada too.
    assert_eq!(service.lease(&token_of("bob", &["team-a"]), &json!({})).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let refused = service.lease(&ada(), &json!({})).await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("role_closed"))
    );
    assert_eq!(service.rows().await.last().unwrap().reason, "role_closed");
}

#[tokio::test]
async fn equal_requests_that_come_together_share_one_mint_and_have_a_row_each() {
    let (object_server, service) = scripted(vec![credentials()]).await;
    let (ada, bob) = (ada(), token_of("bob", &["team-a"]));
    let body = json!({});
    let sent = (0..40).map(|n| service.lease(if n % 2 == 0 { &ada } else { &bob }, &body));
    let answers = futures::future::join_all(sent).await;
    let keys: BTreeSet<_> = answers.iter().map(id_and_key).collect();
    assert_eq!((keys.len(), mints(&object_server)), (2, 2));
    let rows = service.rows().await;
    let of = |kind: &str| rows.iter().filter(|row| row.kind == kind).count();
    assert_eq!((of("lease.intended"), of("lease.issued"), of("lease.reused"), rows.len()), (2, 2, 38, 42));
    let requests: BTreeSet<_> =
        rows.iter().filter(|row| row.kind != "lease.intended").map(|row| row.request_id).collect();
    assert_eq!(requests.len(), 40, "each answer has a row of its own");
}

#[tokio::test]
async fn a_caller_who_hangs_up_takes_the_mint_from_nobody() {
    let object_server = ScriptedObjectServer::start(vec![credentials()]).await;
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let store = Arc::new(StoreDouble::pausing_on("lease.intended", Arc::clone(&reached), Arc::clone(&go)));
    let parts = Parts::sharing(Arc::clone(&store), object_server.endpoint());
    let token = ada();
    let leader = parts.exchange_of(&token);
    tokio::select! {
        _ = leader => panic!("the intent was not to be committed yet"),
        () = reached.notified() => {}
    }
    let tasks = TaskTracker::new();
    let followers: Vec<_> = (0..5).map(|_| tasks.spawn(parts.exchange_of(&token))).collect();
    go.notify_one();
    for follower in followers {
        assert!(follower.await.unwrap().unwrap().reused);
    }
    assert_eq!(mints(&object_server), 1);
    let kinds = store.kinds();
    assert_eq!(kinds[..2], ["lease.intended", "lease.issued"]);
    assert_eq!(kinds[2..], ["lease.reused"; 5]);
}

#[tokio::test]
async fn those_who_waited_for_a_mint_that_failed_share_its_refusal_and_none_asks_the_server_again() {
    let object_server = ScriptedObjectServer::start(vec![Reply::refusal(503, "SlowDown"), credentials()]).await;
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let store = Arc::new(StoreDouble::pausing_on("lease.intended", Arc::clone(&reached), Arc::clone(&go)));
    let parts = Parts::sharing(Arc::clone(&store), object_server.endpoint());
    let token = ada();
    let tasks = TaskTracker::new();
    let leader = tasks.spawn(parts.exchange_of(&token));
    reached.notified().await;
    let mut followers: Vec<_> = (0..5).map(|_| Box::pin(parts.exchange_of(&token))).collect();
    // Each as far as it gets: it waits for the mint.
    for follower in &mut followers {
        assert!(futures::poll!(follower).is_pending());
    }
    go.notify_one();
    let reason = leader.await.unwrap().unwrap_err().code();
    for follower in followers {
        assert_eq!(follower.await.unwrap_err().code(), reason);
    }
    assert_eq!(object_server.received().len(), 1, "no stampede");
    let told: Vec<_> = store.told().into_iter().filter(|(_, said)| said == reason).map(|(kind, _)| kind).collect();
    assert_eq!(told[0], "lease.failed");
    assert_eq!(told[1..], ["exchange.refused"; 5], "each is on record");
    go.notify_one();
    assert!(!parts.exchange(&token).await.unwrap().reused, "the next one asks again");
}

#[tokio::test]
async fn a_lease_whose_handing_out_cannot_be_recorded_is_not_handed_out() {
    let object_server = ScriptedObjectServer::start(vec![credentials()]).await;
    let store = Arc::new(StoreDouble::failing_on("lease.reused"));
    let parts = Parts::sharing(Arc::clone(&store), object_server.endpoint());
    let token = ada();
    assert!(!parts.exchange(&token).await.unwrap().reused);
    for _ in 0..3 {
        assert_eq!(parts.exchange(&token).await.unwrap_err().code(), "log_unavailable");
    }
    assert_eq!((mints(&object_server), store.kinds().len()), (1, 2));
}

#[tokio::test]
async fn an_outcome_that_cannot_be_recorded_leaves_nothing_to_be_handed_out() {
    let replies = vec![credentials(), Reply::http(204, "text/plain", "")];
    let object_server = ScriptedObjectServer::start(replies).await;
    let store = Arc::new(StoreDouble::failing_on("lease.issued"));
    let parts = Parts::sharing(Arc::clone(&store), object_server.endpoint());
    assert_eq!(parts.exchange(&ada()).await.unwrap_err().code(), "log_unavailable");
    assert!(parts.held.is_empty());
}

#[tokio::test]
async fn a_revocation_while_the_row_is_written_takes_the_lease_from_whoever_waits_for_it() {
    let object_server = ScriptedObjectServer::start(vec![credentials()]).await;
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let store = Arc::new(StoreDouble::pausing_on("lease.reused", Arc::clone(&reached), Arc::clone(&go)));
    let parts = Parts::sharing(Arc::clone(&store), object_server.endpoint());
    let token = ada();
    let first = parts.exchange(&token).await.unwrap().assume_role.lease_id();
    let tasks = TaskTracker::new();
    let second = tasks.spawn(parts.exchange_of(&token));
    reached.notified().await;
    parts.held.withdraw(first);
    go.notify_one();
    let second = second.await.unwrap().unwrap();
    assert!(!second.reused && second.assume_role.lease_id() != first);
    assert_eq!(store.kinds()[2..], ["lease.reused", "lease.intended", "lease.issued"]);
}

#[tokio::test]
async fn a_revocation_while_the_outcome_is_written_keeps_the_lease_from_those_who_wait() {
    let object_server = ScriptedObjectServer::start(vec![credentials()]).await;
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let store = Arc::new(StoreDouble::pausing_on("lease.issued", Arc::clone(&reached), Arc::clone(&go)));
    let parts = Parts::sharing(Arc::clone(&store), object_server.endpoint());
    let token = ada();
    let tasks = TaskTracker::new();
    let leader = tasks.spawn(parts.exchange_of(&token));
    reached.notified().await;
    let mut follower = Box::pin(parts.exchange_of(&token));
    assert!(futures::poll!(&mut follower).is_pending());
    parts.held.withdraw_of(|_| true);
    let both = async { (leader.await.unwrap().unwrap(), follower.await.unwrap()) };
    let twice = async {
        go.notify_one();
        reached.notified().await;
        go.notify_one();
        std::future::pending::<()>().await;
    };
    let (leader, follower) = tokio::select! {
        both = both => both,
        () = twice => unreachable!("it waits for ever"),
    };
    assert_ne!(leader.assume_role.lease_id(), follower.assume_role.lease_id());
    assert_eq!(mints(&object_server), 2);
}

#[tokio::test]
async fn an_auditor_is_told_every_session_that_held_a_key_until_an_instant() {
    let (_object_server, service) = scripted(vec![credentials()]).await;
    let (lease, key) = issued(&service, &ada(), json!({"session_name": "w-1"})).await;
    for session in ["w-2", "w-3"] {
        issued(&service, &ada(), json!({"session_name": session})).await;
    }
    let last = service.rows().await.pop().unwrap();
    let operator = token_of("olga", &["ops"]);
    let held_at = async |at: time::OffsetDateTime| {
        let at = at.format(&time::format_description::well_known::Rfc3339).unwrap();
        let path = format!("/v1/audit/access?key={key}&at={}", at.replace('+', "%2B"));
        service.send(service.http.get(service.url(&path)).header("authorization", format!("Bearer {operator}"))).await
    };
    let answer = held_at(last.occurred_at).await.json();
    let [held] = answer["leases"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!((held["lease_id"].as_str(), held["held"].as_bool()), (Some(lease.as_str()), Some(true)));
    let sessions: Vec<_> =
        held["reused"].as_array().unwrap().iter().map(|again| again["session_name"].clone()).collect();
    assert_eq!(sessions, ["w-2", "w-3"]);
    assert_eq!(held["reused"][1]["request_id"].as_str(), last.request_id.map(|id| id.to_string()).as_deref());
    assert_eq!(held["reused"][1]["token_sha256"].as_str(), last.token_sha256.as_deref());

    let before = held_at(last.occurred_at - Duration::from_micros(1)).await.json();
    assert_eq!(before["leases"][0]["reused"].as_array().unwrap().len(), 1, "the near twin: an instant before");
}
