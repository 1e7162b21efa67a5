//! Break-glass end to end: the real service, PostgreSQL and an object server that keeps its sessions. One whole use, and then
//! every way in which a document is replayed, is late, is short of a signature or comes at the wrong time, each beside a near
//! twin that passes.

use std::fs;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stint::audit::AuditRow;
use stint::break_glass::ceremony::UseKind;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::harness::binary::eventually;
use crate::harness::custodians::{ALL, cancellation, draft, recipient, request, review};
use crate::harness::demo_server::Demo;
use crate::harness::home::Home;
use crate::harness::service::{Seen, Service, Setup, now};
use crate::harness::signed::Key;

struct Installation {
    service: Service,
    demo: Demo,
    home: Home,
}

async fn installation() -> Installation {
    let (demo, home) = (Demo::start().await, Home::new());
    let service = home.start(&demo.endpoint, None).await;
    Installation { service, demo, home }
}

fn instant() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(now()).unwrap()
}

async fn status(service: &Service) -> Value {
    let seen = service.get("/v1/break-glass").await;
    assert_eq!(seen.status.as_u16(), 200, "{}", seen.body);
    seen.json()
}

async fn send(service: &Service, door: &str, envelope: &str) -> Seen {
    let request = service.http.post(service.url(&format!("/v1/break-glass/{door}")));
    service.send(request.header("content-type", "application/json").body(envelope.to_owned())).await
}

async fn submit(service: &Service, envelope: &str) -> Seen {
    send(service, "requests", envelope).await
}

/// The status and the reason.
fn refusal(seen: &Seen) -> (u16, String) {
    (seen.status.as_u16(), seen.json()["reason"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

fn granted(seen: &Seen) -> Value {
    assert_eq!(seen.status.as_u16(), 201, "{}", seen.body);
    seen.json()
}

/// A declared use: its nonce, and what was answered.
async fn declared(service: &Service) -> (Uuid, Value) {
    let draft = draft(UseKind::Declared, &status(service).await, instant());
    (draft.nonce.uuid(), granted(&submit(service, &request(&draft, &ALL)).await))
}

/// The key that an answer holds.
fn opened(answer: &Value) -> Key {
    let credentials = recipient().open(answer["sealed"].as_str().unwrap()).unwrap();
    Key {
        access: credentials.access_key_id.expose_secret().to_owned(),
        secret: credentials.secret_access_key.expose_secret().to_owned(),
        token: Some(credentials.session_token.expose_secret().to_owned()),
    }
}

/// The rows of emergencies and their leases, in the order in which they were written.
async fn rows(service: &Service) -> Vec<AuditRow> {
    let mut rows = service.rows().await;
    rows.retain(|row| row.kind.starts_with("break_glass.") || row.kind.starts_with("lease."));
    // Of an installation that never had a drill, whenever the watch comes to it.
    rows.retain(|row| row.kind != "break_glass.drill_overdue");
    rows.sort_by_key(|row| (row.occurred_at, row.seq));
    rows
}

fn kinds(rows: &[AuditRow]) -> Vec<&str> {
    rows.iter().map(|row| row.kind.as_str()).collect()
}

/// Ends the lease of a use.
async fn end(service: &Service, used: Uuid) -> Value {
    let seen = send(service, "cancellations", &cancellation(used, "bob", instant())).await;
    assert_eq!(seen.status.as_u16(), 200, "{}", seen.body);
    seen.json()
}

#[tokio::test]
async fn a_whole_use_is_on_record_before_it_leaves_works_where_it_may_and_ends_when_a_custodian_says_so() {
    let Installation { service, demo, home: _home } = installation().await;
    let (used, answer) = declared(&service).await;
    assert_eq!((answer["conditions"].clone(), answer["merged"].clone()), (json!(["declared"]), json!(true)));
    assert!(answer["receipt"].as_str().unwrap().contains(':'), "{answer}");
    let written = rows(&service).await;
    assert_eq!(
        kinds(&written),
        ["break_glass.requested", "lease.intended", "lease.issued", "break_glass.granted", "break_glass.review_opened"]
    );
    for row in &written {
        assert_eq!((row.issuer.as_deref(), row.subject.as_deref()), (Some("break-glass"), Some("alice")), "{row:?}");
        assert_eq!(row.door.as_deref(), Some("break_glass"), "{row:?}");
        let detail: Value = serde_json::from_str(row.detail.as_deref().unwrap()).unwrap();
        assert_eq!((detail["nonce"].clone(), detail["signers"].clone()), (json!(used), json!(ALL)));
    }
    assert_eq!(written[2].role_session_name.as_deref(), answer["review"]["session_name"].as_str());
    assert_eq!(written[2].key_fingerprint.as_deref(), answer["review"]["key_fingerprint"].as_str());

    let key = opened(&answer);
    let told = format!("{answer} {written:?}");
    for secret in [&key.access, &key.secret, key.token.as_ref().unwrap()] {
        assert!(!told.contains(secret.as_str()), "sealed, and nowhere else");
    }
    assert_eq!(demo.says(&key, "recordings/x").await, (404, "NoSuchKey".to_owned()));
    assert_eq!(demo.says(&key, "other/x").await.0, 403);

    let ended = end(&service, used).await;
    assert_eq!((ended["outcome"].as_str(), ended["proven"].clone()), (Some("refused_at_server"), json!(true)));
    assert_eq!(demo.says(&key, "recordings/x").await.0, 403);
    let again = send(&service, "cancellations", &cancellation(used, "bob", instant())).await;
    assert_eq!(refusal(&again), refused(409, "already_done"));
    assert_eq!(kinds(&rows(&service).await)[5..7], ["break_glass.cancelled", "break_glass.ended"]);
}

#[tokio::test]
async fn a_request_works_once_here_and_after_a_restart_and_only_at_the_instance_that_it_names() {
    let Installation { service, demo, home } = installation().await;
    let elsewhere = Home::new();
    let other = elsewhere.start(&demo.endpoint, Some(service.database.clone())).await;
    let draft = draft(UseKind::Declared, &status(&service).await, instant());
    let envelope = request(&draft, &ALL);
    assert_eq!(refusal(&submit(&other, &envelope).await), refused(409, "other_instance"));
    granted(&submit(&service, &envelope).await);
    assert_eq!(refusal(&submit(&service, &envelope).await), refused(409, "nonce_used"));
    assert_eq!(refusal(&submit(&other, &envelope).await), refused(409, "other_instance"));
    let database = service.database.clone();
    service.end().await;
    let restarted = home.start(&demo.endpoint, Some(database)).await;
    assert_eq!(status(&restarted).await["instance"], json!(draft.instance));
    assert_eq!(refusal(&submit(&restarted, &envelope).await), refused(409, "nonce_used"));
    // Refused again and again, said once.
    let told = rows(&restarted).await.iter().filter(|row| row.kind == "break_glass.refused").count();
    assert_eq!(told, 3, "other_instance there, nonce_used here before and after the restart");
}

#[tokio::test]
async fn a_journal_that_was_lost_does_not_make_a_request_work_again() {
    let Installation { service, demo, home } = installation().await;
    let draft = draft(UseKind::Declared, &status(&service).await, instant());
    let envelope = request(&draft, &ALL);
    granted(&submit(&service, &envelope).await);
    let database = service.database.clone();
    service.end().await;
    fs::remove_dir_all(home.path().join("journal")).unwrap();
    let anew = home.start(&demo.endpoint, Some(database)).await;
    assert_eq!(refusal(&submit(&anew, &envelope).await), refused(409, "other_instance"), "it is another instance now");
}

#[tokio::test]
async fn a_request_that_names_no_instance_is_honoured_by_the_first_alone_also_where_two_have_it_at_once() {
    let Installation { service, demo, home: _home } = installation().await;
    let (home, database) = (Home::new(), service.database.clone());
    let other = home.start(&demo.endpoint, Some(database)).await;
    for _ in 0..3 {
        let mut draft = draft(UseKind::Drill, &status(&service).await, instant());
        draft.instance = None;
        let envelope = request(&draft, &["alice", "bob"]);
        let (here, there) = tokio::join!(submit(&service, &envelope), submit(&other, &envelope));
        let mut seen = [here.status.as_u16(), there.status.as_u16()];
        seen.sort_unstable();
        assert_eq!(seen, [201, 409], "{} {}", here.body, there.body);
        for service in [&service, &other] {
            assert_eq!(refusal(&submit(service, &envelope).await), refused(409, "nonce_used"));
        }
    }
}

#[tokio::test]
async fn a_request_needs_its_quorum_its_window_and_the_policies_in_force() {
    let Installation { service, demo: _demo, home: _home } = installation().await;
    let known = status(&service).await;
    let whole = || draft(UseKind::Declared, &known, instant());
    let short = request(&whole(), &["alice", "bob"]);
    assert_eq!(refusal(&submit(&service, &short).await), refused(400, "quorum_not_met"), "two do not declare");
    let mut late = whole();
    late.requested_at = instant() - Duration::from_mins(31);
    assert_eq!(refusal(&submit(&service, &request(&late, &ALL)).await), refused(400, "window_expired"));
    let mut early = whole();
    early.requested_at = instant() + Duration::from_mins(5);
    assert_eq!(refusal(&submit(&service, &request(&early, &ALL)).await), refused(400, "requested_in_the_future"));
    let mut other = whole();
    other.policy_hash = stint::audit::Digest::of(b"another policy");
    assert_eq!(refusal(&submit(&service, &request(&other, &ALL)).await), refused(400, "policy_changed"));
    let mut drilled = draft(UseKind::Drill, &known, instant());
    drilled.role = stint::policy::RoleName::parse("emergency-read").unwrap();
    assert_eq!(refusal(&submit(&service, &request(&drilled, &ALL)).await), refused(400, "not_the_drill_role"));
    let told = rows(&service).await;
    assert_eq!(kinds(&told), ["break_glass.refused"; 5], "each was signed by somebody");

    let read = |envelope: String| serde_json::from_str::<Value>(&envelope).unwrap();
    let (mut junk, elsewhere) = (read(request(&whole(), &["alice"])), read(request(&whole(), &["alice"])));
    junk["signatures"] = elsewhere["signatures"].clone();
    assert_eq!(refusal(&submit(&service, &junk.to_string()).await), refused(400, "signature_invalid"));
    let nobodys = request(&whole(), &[]);
    assert_eq!(submit(&service, &nobodys).await.status.as_u16(), 400);
    assert_eq!(rows(&service).await.len(), 5, "anybody can send junk");

    let mut in_time = whole();
    in_time.requested_at = instant() - Duration::from_mins(29);
    granted(&submit(&service, &request(&in_time, &ALL)).await);
}

#[tokio::test]
async fn without_an_outage_that_the_service_sees_itself_a_quorum_gets_nothing() {
    let Installation { service, demo: _demo, home: _home } = installation().await;
    let outage = draft(UseKind::Outage, &status(&service).await, instant());
    let envelope = request(&outage, &["alice", "bob"]);
    for _ in 0..2 {
        assert_eq!(refusal(&submit(&service, &envelope).await), refused(409, "no_emergency"), "and uses nothing up");
    }
    declared(&service).await;
}

#[tokio::test]
async fn an_open_review_blocks_the_next_use_until_two_others_close_it_and_is_overridden_once() {
    let Installation { service, demo: _demo, home: _home } = installation().await;
    let (first, _) = declared(&service).await;
    assert_eq!(status(&service).await["open_reviews"][0]["use"], json!(first));
    let outage = draft(UseKind::Outage, &status(&service).await, instant());
    assert_eq!(refusal(&submit(&service, &request(&outage, &ALL)).await), refused(409, "review_open"));
    let (second, answer) = declared(&service).await;
    assert_eq!(answer["review"]["overrides"], json!(first));
    let third = draft(UseKind::Declared, &status(&service).await, instant());
    let third = request(&third, &ALL);
    assert_eq!(refusal(&submit(&service, &third).await), refused(409, "review_overridden"));

    let close = |used, names: &'static [&'static str]| {
        let envelope = review(used, names, instant());
        let service = &service;
        async move { send(service, "reviews", &envelope).await }
    };
    assert_eq!(refusal(&close(first, &["bob", "carol"]).await), refused(409, "lease_open"));
    end(&service, first).await;
    end(&service, second).await;
    assert_eq!(refusal(&close(first, &["bob"]).await), refused(400, "quorum_not_met"));
    assert_eq!(
        refusal(&close(first, &["alice", "bob"]).await),
        refused(400, "reviewers_missing"),
        "alice asked for it"
    );
    assert_eq!(refusal(&close(Uuid::new_v4(), &["bob", "carol"]).await), refused(404, "use_unknown"));
    let closed = close(first, &["bob", "carol"]).await;
    assert_eq!((closed.status.as_u16(), closed.json()["still_open"].clone()), (200, json!([second])));
    assert_eq!(refusal(&close(first, &["bob", "carol"]).await), refused(409, "already_done"));
    assert_eq!(close(second, &["bob", "carol"]).await.status.as_u16(), 200);
    assert_eq!(status(&service).await["open_reviews"], json!([]));
    granted(&submit(&service, &third).await);
}

#[tokio::test]
async fn a_cancelled_request_is_worth_nothing_and_one_that_was_not_is() {
    let Installation { service, demo: _demo, home: _home } = installation().await;
    let known = status(&service).await;
    let (one, two) = (draft(UseKind::Declared, &known, instant()), draft(UseKind::Declared, &known, instant()));
    let burnt = send(&service, "cancellations", &cancellation(one.nonce.uuid(), "carol", instant())).await;
    assert_eq!((burnt.status.as_u16(), burnt.json()["outcome"].clone()), (200, json!("burnt")));
    assert_eq!(refusal(&submit(&service, &request(&one, &ALL)).await), refused(409, "nonce_used"));
    let unsigned = cancellation(two.nonce.uuid(), "carol", instant()).replace("signature\":\"", "signature\":\"AAAA");
    assert_eq!(send(&service, "cancellations", &unsigned).await.status.as_u16(), 400, "a stranger stops nobody");
    granted(&submit(&service, &request(&two, &ALL)).await);
}

#[tokio::test]
async fn an_object_server_that_is_down_uses_nothing_up() {
    let (home, listener) = (Home::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    drop(listener);
    let service = home.start(&format!("http://{address}"), None).await;
    let draft = draft(UseKind::Declared, &status(&service).await, instant());
    let envelope = request(&draft, &ALL);
    let seen = submit(&service, &envelope).await;
    assert_eq!(refusal(&seen), refused(503, "object_server_unreachable"));
    assert_eq!(seen.json()["code"], "break_glass_unavailable");
    assert!(seen.json()["detail"].as_str().unwrap().contains("nothing was used"), "{}", seen.body);
    let _demo = Demo::at(TcpListener::bind(address).await.unwrap());
    granted(&submit(&service, &envelope).await);
}

#[tokio::test]
async fn a_drill_walks_the_whole_way_and_opens_no_review() {
    let Installation { service, demo, home: _home } = installation().await;
    assert_eq!(status(&service).await["drill_overdue"], json!(true));
    let drill = draft(UseKind::Drill, &status(&service).await, instant());
    let answer = granted(&submit(&service, &request(&drill, &["alice", "bob"])).await);
    let key = opened(&answer);
    assert_eq!(demo.says(&key, "recordings/drill/x").await.0, 404);
    assert_eq!(demo.says(&key, "recordings/x").await.0, 403);
    let ended = end(&service, drill.nonce.uuid()).await;
    assert_eq!((ended["drill"].clone(), ended["proven"].clone()), (json!("passed"), json!(true)));
    let known = status(&service).await;
    assert_eq!((known["drill_overdue"].clone(), known["open_reviews"].clone()), (json!(false), json!([])));
    assert!(kinds(&rows(&service).await).contains(&"break_glass.drilled"));
}

#[tokio::test]
async fn what_is_no_document_is_refused_without_a_word_of_what_came() {
    let Installation { service, demo: _demo, home: _home } = installation().await;
    for body in [
        String::new(),
        "{}".to_owned(),
        "planted".to_owned(),
        "[".repeat(60_000),
        json!({"payload": "x".repeat(60_000), "signatures": []}).to_string(),
        json!({"payload": "e30", "signatures": [{"protected": "e30", "signature": "AA"}], "more": 1}).to_string(),
    ] {
        for door in ["requests", "cancellations", "reviews"] {
            let seen = send(&service, door, &body).await;
            assert_eq!((seen.status.as_u16(), seen.json()["code"].clone()), (400, json!("break_glass_document")));
            assert!(!seen.body.contains("planted"), "{}", seen.body);
        }
    }
    let seen = send(&service, "requests", &"x".repeat(70_000)).await;
    assert_eq!(seen.status.as_u16(), 413);
    let request = service.http.post(service.url("/v1/break-glass/requests")).body("{}");
    assert_eq!(service.send(request).await.status.as_u16(), 415);
}

#[tokio::test]
async fn one_network_cannot_keep_the_desk_busy() {
    let Installation { service, demo: _demo, home: _home } = installation().await;
    let mut seen = send(&service, "requests", "{}").await;
    for _ in 0..40 {
        if seen.status.as_u16() == 429 {
            break;
        }
        seen = send(&service, "requests", "{}").await;
    }
    assert_eq!((seen.status.as_u16(), seen.json()["code"].clone()), (429, json!("rate_limited")));
    assert!(seen.headers.contains_key("retry-after"));
    assert_eq!(service.get("/v1/break-glass").await.status.as_u16(), 200, "asking is free");
}

#[tokio::test]
async fn a_service_without_a_journal_has_no_such_doors_open() {
    let demo = Demo::start().await;
    let service = Service::start(Setup::with(&demo.endpoint)).await;
    let seen = service.get("/v1/break-glass").await;
    assert_eq!((seen.status.as_u16(), seen.json()["code"].clone()), (404, json!("break_glass_not_configured")));
    assert_eq!(submit(&service, "{}").await.status.as_u16(), 404);
}

#[tokio::test]
async fn what_is_in_the_journal_is_in_the_log_and_the_service_stays_ready() {
    let Installation { service, demo: _demo, home: _home } = installation().await;
    let (used, _) = declared(&service).await;
    end(&service, used).await;
    eventually("the journal is merged", async || status(&service).await["journal_waits"] == json!(false)).await;
    let ready = service.get("/health/ready").await;
    assert_eq!(ready.status.as_u16(), 200, "{}", ready.body);
}
