//! Revocation end to end: who may end which lease, what is said before and after, and that what is said is true: every
//! "refused" was seen with the very credential, here at an object server that keeps its sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rand::SeedableRng;
use rand::rngs::StdRng;
use secrecy::SecretString;
use serde_json::{Value, json};
use stint::audit::question::Place;
use stint::audit::{
    AuditLog, AuditReceipt, AuditRow, Door, FingerprintKey, LeaseOnRecord, LogParts, LogSettings, Origin, RevokedBy,
    SigningKey, StoreError,
};
use stint::clock::{Clock, SystemClock};
use stint::desk::{
    Desk, DeskParts, HeldCredentials, OpenLease, OpenLeases, OpenPage, Pace, RunError, Selection, Summary, Whose,
};
use stint::lease::{AssumeRole, Capabilities};
use stint::object_server::{
    Absence, AccessKeyId, LeaseToEnd, ListedCredential, MinioServer, ObjectServer, ObjectServerError, ParentListing,
    ServerSettings, TemporaryCredentials,
};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::binary::{Ended, Running, Site, run, stint};
use crate::harness::database::fresh_database;
use crate::harness::demo_server::Demo;
use crate::harness::object_server::{Reply, ScriptedObjectServer, again};
use crate::harness::parts::StoreDouble;
use crate::harness::service::{Seen, Service, Setup, now};
use crate::harness::signed::Key;
use crate::harness::tokens::Forge;

const OPERATORS: &str = "[[operator]]\nissuer = \"authentik\"\ngroups = [\"ops\"]\npermissions = [\"lease.revoke\"]\n\
                         [[operator]]\nissuer = \"authentik\"\ngroups = [\"readers\"]\npermissions = [\"lease.read\"]\n";
const POLICIES: &[(&str, &str)] = &[
    ("operators.toml", OPERATORS),
    ("roles/second.toml", "documents = [\"recordings\"]\n[[allow]]\ngroups = [\"team-b\"]\n"),
];

async fn installation() -> (Service, Demo) {
    let demo = Demo::start().await;
    let setup = Setup { more: "[lease]\njitter = 0.0\n", policies: POLICIES, ..Setup::with(&demo.endpoint) };
    (Service::start(setup).await, demo)
}

fn token(subject: &str, groups: &[&str]) -> String {
    let provider = &Forge::shared().authentik;
    provider.draft(now()).claim("sub", subject).claim("groups", json!(groups)).sign(&provider.key)
}

fn operator() -> String {
    token("olga", &["ops"])
}

/// A lease and its key.
async fn lease(service: &Service, subject: &str, group: &str) -> (Uuid, Key) {
    let seen = service.lease(&token(subject, &[group]), &json!({})).await;
    assert_eq!(seen.status.as_u16(), 201, "{}", seen.body);
    let lease = seen.json();
    let text = |name: &str| lease["credentials"][name].as_str().unwrap().to_owned();
    let key =
        Key { access: text("access_key_id"), secret: text("secret_access_key"), token: Some(text("session_token")) };
    (lease["lease_id"].as_str().unwrap().parse().unwrap(), key)
}

async fn delete(service: &Service, token: &str, path: &str) -> Seen {
    service.send(service.http.delete(service.url(path)).header("authorization", format!("Bearer {token}"))).await
}

async fn end(service: &Service, token: &str, lease: Uuid) -> Seen {
    delete(service, token, &format!("/v1/leases/{lease}?reason=it+leaked")).await
}

async fn revoke(service: &Service, token: &str, body: &Value) -> Seen {
    let request = service.http.post(service.url("/v1/revocations")).header("authorization", format!("Bearer {token}"));
    service.send(request.header("content-type", "application/json").body(body.to_string())).await
}

fn lines(seen: &Seen) -> Vec<Value> {
    assert_eq!(seen.status.as_u16(), 200, "{}", seen.body);
    seen.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn code(seen: &Seen) -> (u16, String) {
    (seen.status.as_u16(), seen.json()["code"].as_str().unwrap_or_default().to_owned())
}

async fn told(service: &Service, lease: Uuid) -> Vec<AuditRow> {
    let mut rows = service.rows().await;
    rows.retain(|row| row.kind == "lease.revoked" && row.lease_id == Some(lease));
    rows
}

fn reasons(rows: &[AuditRow]) -> Vec<&str> {
    rows.iter().map(|row| row.reason.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_ends_nothing_and_leaves_no_row() {
    let (service, demo) = installation().await;
    let (id, key) = lease(&service, "ada", "team-a").await;
    let missing = service.send(service.http.delete(service.url(&format!("/v1/leases/{id}")))).await;
    assert_eq!(code(&missing), (401, "missing_token".to_owned()));
    let junk = end(&service, "planted.planted.planted", id).await;
    assert_eq!(code(&junk), (401, "invalid_token".to_owned()));
    assert_eq!(code(&revoke(&service, "a.b.c", &json!({"all": true})).await), (401, "invalid_token".to_owned()));
    assert!(demo.takes(&key).await);
    assert!(service.rows().await.iter().all(|row| row.kind.starts_with("lease.i")));
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_lease_and_one_that_never_was_are_the_same_answer_and_on_record() {
    let (service, demo) = installation().await;
    let (id, key) = lease(&service, "ada", "team-a").await;
    // Another subject, the same subject at another issuer, and a permission that is another.
    let forge = Forge::shared();
    let namesake = forge.keycloak.draft(now()).claim("sub", "ada").sign(&forge.keycloak.key);
    for stranger in [token("eve", &["team-a"]), namesake, token("rita", &["readers"])] {
        let theirs = end(&service, &stranger, id).await;
        let nobodys = end(&service, &stranger, Uuid::now_v7()).await;
        let malformed = delete(&service, &stranger, "/v1/leases/not-an-id").await;
        for seen in [&theirs, &nobodys, &malformed] {
            assert_eq!(code(seen), (404, "lease_not_found".to_owned()), "{}", seen.body);
        }
        let without_id = |seen: &Seen| {
            let mut problem = seen.json();
            problem["request_id"].take();
            problem
        };
        assert_eq!(without_id(&theirs), without_id(&nobodys));
        let one = revoke(&service, &stranger, &json!({"lease": id})).await;
        assert_eq!(code(&one), (404, "lease_not_found".to_owned()));
    }
    assert!(demo.takes(&key).await);
    let rows = service.rows().await;
    assert!(!rows.iter().any(|row| row.kind == "lease.revoked"));
    let refused: Vec<_> = rows.iter().filter(|row| row.kind == "audit.read").collect();
    assert_eq!(refused.len(), 3, "once a token and reason: {refused:?}");
    for row in refused {
        assert_eq!((row.effect.as_str(), row.reason.as_str()), ("deny", "no_such_lease"));
        assert_eq!(
            (row.door.as_deref(), row.detail.as_deref()),
            (Some("desk"), Some(format!("revoke lease {id}").as_str()))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_permission_nothing_wider_than_ones_own_is_ended() {
    let (service, demo) = installation().await;
    let (_, key) = lease(&service, "ada", "team-a").await;
    let eve = token("eve", &["team-a"]);
    for wish in [
        json!({"all": true}),
        json!({"role": "team"}),
        json!({"group": "team-a"}),
        json!({"issuer": "authentik"}),
        json!({"subject": "ada", "issuer": "authentik"}),
        json!({"subject": "eve", "issuer": "keycloak"}),
    ] {
        let seen = revoke(&service, &eve, &wish).await;
        assert_eq!(code(&seen), (403, "not_permitted".to_owned()), "{wish}");
    }
    assert!(demo.takes(&key).await);
    let own = lines(&revoke(&service, &eve, &json!({"subject": "eve", "issuer": "authentik"})).await);
    assert_eq!(own[0]["summary"]["leases"], 0, "{own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_exactly_one_selection_is_refused() {
    let (service, demo) = installation().await;
    let (id, key) = lease(&service, "ada", "team-a").await;
    for wish in [
        json!({}),
        json!({"all": false}),
        json!({"all": true, "role": "team"}),
        json!({"subject": "ada"}),
        json!({"subject": "ada", "issuer": "authentik", "group": "team-a"}),
        json!({"lease": id, "all": true}),
        json!({"role": ""}),
        json!({"roles": "team"}),
        json!({"all": true, "reason": "two\nlines"}),
        json!([]),
    ] {
        let seen = revoke(&service, &operator(), &wish).await;
        assert_eq!(code(&seen), (400, "invalid_request".to_owned()), "{wish}: {}", seen.body);
    }
    let twice = delete(&service, &operator(), &format!("/v1/leases/{id}?reason=a&reason=b")).await;
    assert_eq!(code(&twice), (400, "invalid_request".to_owned()));
    assert!(demo.takes(&key).await);
    assert!(told(&service, id).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_ends_its_own_lease_and_it_was_seen_to_be_refused() {
    let (service, demo) = installation().await;
    let (id, key) = lease(&service, "ada", "team-a").await;
    let (other, spared) = lease(&service, "ada", "team-a").await;
    assert!(demo.takes(&key).await);
    // Another token of the same holder, without any group.
    let ada = token("ada", &[]);
    let seen = end(&service, &ada, id).await;
    assert_eq!(seen.status.as_u16(), 200, "{}", seen.body);
    let answer = seen.json();
    assert_eq!(
        (&answer["outcome"], &answer["proven"], &answer["recorded"]),
        (&json!("refused_at_server"), &json!(true), &json!(true))
    );
    assert_eq!((&answer["lease_id"], &answer["subject"]), (&json!(id), &json!("ada")));
    assert!(answer["refused_after_ms"].as_u64().is_some_and(|after| after < 10_000), "{answer}");
    for secret in [&key.access, &key.secret, key.token.as_ref().unwrap()] {
        assert!(!seen.body.contains(secret.as_str()), "{}", seen.body);
    }
    assert!(!demo.takes(&key).await && demo.takes(&spared).await);

    let rows = told(&service, id).await;
    assert_eq!(reasons(&rows), ["requested", "refused_at_server"]);
    let issued = service.rows().await.into_iter().find(|row| row.kind == "lease.issued").unwrap();
    for row in &rows {
        assert_eq!(
            (row.actor.as_deref(), row.door.as_deref(), row.effect.as_str()),
            (Some("authentik:ada"), Some("desk"), "deny")
        );
        assert_eq!((&row.issuer, &row.subject, &row.groups), (&issued.issuer, &issued.subject, &issued.groups));
        assert_eq!((&row.role, &row.roles, &row.policy_hash), (&issued.role, &issued.roles, &issued.policy_hash));
        assert_eq!((&row.key_fingerprint, row.ends_at), (&issued.key_fingerprint, issued.ends_at));
        assert_ne!(row.token_sha256, issued.token_sha256, "the operator's token, not the holder's");
    }
    assert_eq!((rows[0].detail.as_deref(), rows[0].refused_after_ms), (Some("it leaked"), None));
    assert_eq!(rows[1].refused_after_ms, answer["refused_after_ms"].as_i64());

    assert_eq!(code(&end(&service, &ada, id).await), (404, "lease_not_found".to_owned()), "it is not open any more");
    assert!(told(&service, other).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_what_is_meant_and_nothing_else() {
    let (service, demo) = installation().await;
    let by = |wish: Value| {
        let service = &service;
        async move { lines(&revoke(service, &operator(), &wish).await) }
    };
    let (_, ada) = lease(&service, "ada", "team-a").await;
    let (_, bob) = lease(&service, "bob", "team-a").await;
    let (_, cyd) = lease(&service, "cyd", "team-b").await;
    let ended = by(json!({"subject": "ada", "issuer": "authentik", "reason": "dismissed"})).await;
    assert_eq!(ended.len(), 2, "{ended:?}");
    assert_eq!((&ended[0]["subject"], &ended[0]["outcome"]), (&json!("ada"), &json!("refused_at_server")));
    assert_eq!(
        ended[1]["summary"],
        json!({"leases": 1, "proven": 1, "unproven": 0, "end_by_themselves": 0, "failed": 0, "complete": true})
    );
    assert_eq!([demo.takes(&ada).await, demo.takes(&bob).await, demo.takes(&cyd).await], [false, true, true]);

    assert_eq!(by(json!({"group": "team-b", "issuer": "keycloak"})).await[0]["summary"]["leases"], 0);
    assert_eq!(by(json!({"group": "team-b"})).await[0]["subject"], "cyd");
    assert_eq!([demo.takes(&bob).await, demo.takes(&cyd).await], [true, false]);

    let (_, dan) = lease(&service, "dan", "team-b").await;
    assert_eq!(by(json!({"role": "team"})).await[0]["subject"], "bob");
    assert_eq!([demo.takes(&bob).await, demo.takes(&dan).await], [false, true]);

    assert_eq!(by(json!({"issuer": "authentik"})).await[0]["subject"], "dan");
    assert!(!demo.takes(&dan).await);
    let (first, eva) = lease(&service, "eva", "team-a").await;
    let (_, fay) = lease(&service, "fay", "team-b").await;
    let all = by(json!({"all": true})).await;
    assert_eq!((all.len(), &all[2]["summary"]["proven"]), (3, &json!(2)), "{all:?}");
    assert_eq!([demo.takes(&eva).await, demo.takes(&fay).await], [false, false]);
    let rows = told(&service, first).await;
    assert_eq!(reasons(&rows), ["requested", "refused_at_server"]);
    assert_eq!(rows[0].actor.as_deref(), Some("authentik:olga"));
}

/// A service before a server that answers a mint and then so.
async fn before(kind: &'static str, replies: Vec<Reply>) -> (Service, ScriptedObjectServer) {
    let replies = [vec![Reply::credentials_for(Duration::from_mins(58))], replies].concat();
    let server = ScriptedObjectServer::start(replies).await;
    let setup = Setup { more: "[lease]\njitter = 0.0\n", policies: POLICIES, kind, ..Setup::with(server.endpoint()) };
    (Service::start(setup).await, server)
}

fn asked(server: &ScriptedObjectServer, part: &str) -> usize {
    server.received().iter().filter(|received| received.line.contains(part)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_said_to_have_failed_and_can_be_asked_again() {
    // The probe before it, the refusal, and from then on: the revocation and every probe are answered alike.
    let refusal = Reply::http(403, "application/json", r#"{"Code":"AccessDenied"}"#);
    let (service, server) = before("minio", vec![Reply::http(200, "text/plain", "no"), refusal]).await;
    let (id, _) = lease(&service, "ada", "team-a").await;
    for _ in 0..2 {
        let seen = end(&service, &operator(), id).await;
        assert_eq!(seen.status.as_u16(), 202, "{}", seen.body);
        let answer = seen.json();
        assert_eq!((&answer["outcome"], &answer["told"]), (&json!("revoke_failed"), &json!("object_server_refused")));
    }
    assert_eq!(reasons(&told(&service, id).await), ["requested", "revoke_failed", "requested", "revoke_failed"]);
    assert_eq!(asked(&server, "tokenRevokeType"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_asks_again_at_once_is_told_what_was_said_and_adds_no_row() {
    let refusal = Reply::http(403, "application/json", r#"{"Code":"AccessDenied"}"#);
    let (service, server) = before("minio", vec![refusal]).await;
    let (id, _) = lease(&service, "ada", "team-a").await;
    for told in ["object_server_refused", "said_before"] {
        let answer = end(&service, &token("ada", &[]), id).await.json();
        assert_eq!((&answer["outcome"], &answer["told"]), (&json!("revoke_failed"), &json!(told)));
    }
    assert_eq!((told(&service, id).await.len(), asked(&server, "tokenRevokeType")), (2, 1));
    end(&service, &operator(), id).await;
    assert_eq!(
        (told(&service, id).await.len(), asked(&server, "tokenRevokeType")),
        (4, 2),
        "an operator need not wait"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_all_of_a_parent_can_be_ended_one_of_several_ends_by_itself() {
    let over = Reply::http(403, "application/xml", "<Error><Code>InvalidAccessKeyId</Code></Error>");
    // Another key than the first: one key for two leases is refused.
    let minted = again(&Reply::credentials_for(Duration::from_mins(58)), 2);
    let allowed = || Reply::http(200, "application/xml", "<ListBucketResult/>");
    let replies = vec![minted, allowed(), allowed(), Reply::http(200, "application/json", r#"{"revoked":2}"#), over];
    let (service, server) = before("rustfs", replies).await;
    let (ada, _) = lease(&service, "ada", "team-a").await;
    let (bob, _) = lease(&service, "bob", "team-a").await;
    let seen = end(&service, &operator(), ada).await;
    let answer = seen.json();
    assert_eq!((seen.status.as_u16(), &answer["outcome"]), (202, &json!("ends_by_itself")), "{answer}");
    assert!(answer["ends_at"].is_string() && answer["advice"].is_string(), "{answer}");
    // Said once: the same wish again adds nothing.
    end(&service, &operator(), ada).await;
    assert_eq!(reasons(&told(&service, ada).await), ["requested", "ends_by_itself"]);
    let some = lines(&revoke(&service, &operator(), &json!({"subject": "ada", "issuer": "authentik"})).await);
    assert_eq!(some[1]["summary"]["end_by_themselves"], 1, "{some:?}");
    assert_eq!(asked(&server, "revoke-tokens"), 0, "it would have ended bob's");
    assert!(told(&service, bob).await.is_empty());

    let group = lines(&revoke(&service, &operator(), &json!({"group": "team-a"})).await);
    assert_eq!(asked(&server, "fullRevoke=true"), 1, "all there are, however they are named");
    assert_eq!(group.len(), 3, "{group:?}");
    assert_eq!(group[2]["summary"]["proven"], 2, "{group:?}");
    assert_eq!(reasons(&told(&service, bob).await), ["requested", "refused_at_server"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_ends_nothing_by_a_means_that_could_end_anothers() {
    let revoked = Reply::http(200, "application/json", r#"{"revoked":1}"#);
    let (service, server) = before("rustfs", vec![revoked]).await;
    lease(&service, "ada", "team-a").await;
    let own = json!({"subject": "ada", "issuer": "authentik"});
    let ended = lines(&revoke(&service, &token("ada", &[]), &own).await);
    assert_eq!(ended[1]["summary"]["end_by_themselves"], 1, "{ended:?}");
    assert_eq!(asked(&server, "revoke-tokens"), 0);
    lines(&revoke(&service, &operator(), &own).await);
    assert_eq!(asked(&server, "revoke-tokens"), 1, "an operator may");
}

/// The program, a database with two leases, and the object server that minted them; the service has ended.
async fn left_behind() -> (Site, Service, Demo, [Key; 2]) {
    let demo = Demo::start().await;
    let database = fresh_database().await;
    let setup = Setup {
        more: "[lease]\njitter = 0.0\n",
        policies: POLICIES,
        database: Some(database.clone()),
        ..Setup::with(&demo.endpoint)
    };
    let service = Service::start(setup).await;
    let (_, ada) = lease(&service, "ada", "team-a").await;
    let (_, bob) = lease(&service, "bob", "team-a").await;
    (Site::new(&database, &demo.endpoint), service, demo, [ada, bob])
}

async fn command(site: &Site, more: &[&str]) -> Ended {
    let mut command = stint(["lease", "revoke", "--config"]);
    command.arg(site.config()).args(more);
    run(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lists_asks_and_ends_and_never_says_more_than_it_saw() {
    let (site, service, demo, [ada, bob]) = left_behind().await;
    let listed = command(&site, &["--all", "--dry-run"]).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(listed.stdout.contains("ada") && listed.stdout.contains("2 leases would be ended; none was"), "{listed:?}");
    let unasked = command(&site, &["--all"]).await;
    assert_eq!(unasked.code, Some(1), "{unasked:?}");
    assert!(unasked.stderr.contains("--yes"), "{unasked:?}");
    assert!(demo.takes(&ada).await && demo.takes(&bob).await);

    let one = command(&site, &["--subject", "ada", "--issuer", "authentik", "--reason", "lost laptop", "--json"]).await;
    assert_eq!(one.code, Some(1), "nobody saw it refused: {one:?}");
    let report: Value = serde_json::from_str(&one.stdout).unwrap();
    assert_eq!((&report["ok"], &report["summary"]["unproven"]), (&json!(false), &json!(1)), "{report}");
    assert!(!demo.takes(&ada).await && demo.takes(&bob).await);
    let rows = service.rows().await;
    let revoked: Vec<_> = rows.iter().filter(|row| row.kind == "lease.revoked").collect();
    assert_eq!(revoked.iter().map(|row| row.reason.as_str()).collect::<Vec<_>>(), ["requested", "revoked_unproven"]);
    assert!(revoked[0].actor.as_deref().is_some_and(|actor| actor.starts_with("os:uid ")), "{revoked:?}");
    assert_eq!((revoked[0].door.as_deref(), revoked[0].detail.as_deref()), (Some("cli"), Some("lost laptop")));
    assert!(rows.iter().any(|row| row.kind == "audit.read" && row.detail.as_deref() == Some("list open leases: all")));

    let all = command(&site, &["--all", "--yes"]).await;
    assert_eq!(all.code, Some(1), "{all:?}");
    assert!(all.stderr.contains("2 ended as the object server says, unproven"), "{all:?}");
    assert!(all.stdout.contains("bob") && all.stdout.contains("revoked_unproven"), "{all:?}");
    assert!(!demo.takes(&bob).await);

    // The service that minted them never saw them allowed: that they are refused now is no proof, and they are open still.
    let unproven = lines(&revoke(&service, &operator(), &json!({"all": true})).await);
    assert_eq!(unproven[2]["summary"]["unproven"], 2, "{unproven:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_stops_between_two_leases_and_another_goes_on() {
    let (site, service, demo, [ada, bob]) = left_behind().await;
    // A page of an hour between two leases: it is interrupted while it waits for the second.
    let mut slow = stint(["lease", "revoke", "--issuer", "authentik", "--pace", "1", "--config"]);
    slow.arg(site.config());
    let mut running = Running::start(slow);
    crate::harness::binary::eventually("the first is ended", async || {
        service.rows().await.iter().any(|row| row.reason == "requested")
    })
    .await;
    running.signal("INT");
    assert_eq!(running.ended().await, Some(1));
    let ended = [demo.takes(&ada).await, demo.takes(&bob).await];
    assert!(!ended[0], "the older one first");
    if ended[1] {
        assert!(running.stderr().contains("interrupted"), "{}", running.stderr());
    }
    let rest = command(&site, &["--issuer", "authentik", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&rest.stdout).unwrap()["summary"]["complete"], true, "{rest:?}");
    assert!(!demo.takes(&bob).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_call_sends_and_records_nothing() {
    let (site, service, demo, [ada, _]) = left_behind().await;
    for (arguments, exit) in [
        (&[][..], 1),
        (&["--role", "team", "--all"], 1),
        (&["--subject", "ada"], 2),
        (&["not-a-lease"], 2),
        (&["--all", "--yes", "--pace", "0"], 2),
    ] {
        let ended = command(&site, arguments).await;
        assert_eq!(ended.code, Some(exit), "{arguments:?}: {ended:?}");
    }
    let nobodys = command(&site, &[&Uuid::now_v7().to_string()]).await;
    assert_eq!(nobodys.code, Some(1), "a lease that is not there was not ended: {nobodys:?}");
    assert!(demo.takes(&ada).await);
    assert!(!service.rows().await.iter().any(|row| row.kind == "lease.revoked"));
}

/// So many leases, open for ever; read again, there are `later` more.
#[derive(Debug)]
struct Open {
    leases: u128,
    later: u128,
    read: AtomicU32,
}

impl Open {
    fn these(leases: u128) -> Self {
        Self { leases, later: 0, read: AtomicU32::new(0) }
    }
}

fn on_record(number: u128) -> OpenLease {
    let row = json!({
        "effect": "allow", "granted_seconds": 900, "id": Uuid::nil(), "issuer": "authentik", "subject": "ada",
        "lease_id": Uuid::from_u128(number), "occurred_at": "2026-11-22T03:00:00.000000Z", "reason": "granted",
        "ends_at": "2026-11-22T04:00:00.000000Z", "role_session_name": "s", "seq": 1, "stream": Uuid::nil(),
        "session_policy_sha256": "0".repeat(64), "type": "lease.issued", "role": "team",
    });
    let lease = LeaseOnRecord::try_from(serde_json::from_value::<AuditRow>(row).unwrap()).unwrap();
    OpenLease { lease, last_said: None }
}

#[async_trait]
impl OpenLeases for Open {
    async fn open(&self, _: &Selection, _: OffsetDateTime, _: Option<Place>) -> Result<OpenPage, StoreError> {
        let again = self.read.fetch_add(1, Ordering::Relaxed) > 0;
        let leases = self.leases + if again { self.later } else { 0 };
        Ok(OpenPage { leases: (1..=leases).map(on_record).collect(), next: None })
    }
}

/// What a server lists that says yes to every revocation, before the first and after the last: or no list, or a refusal.
#[derive(Debug)]
enum Lists {
    These(Vec<&'static str>, Vec<&'static str>),
    Nothing,
    NoList,
}

/// Lists, and counts how often.
#[derive(Debug)]
struct Lister {
    lists: Lists,
    parent: &'static str,
    asked: AtomicUsize,
    capabilities: Capabilities,
}

#[async_trait]
impl ObjectServer for Lister {
    async fn assume_role(&self, _: &AuditReceipt, _: &AssumeRole) -> Result<TemporaryCredentials, ObjectServerError> {
        Err(ObjectServerError::NotReady)
    }

    async fn revoke(&self, _: &LeaseToEnd) -> Result<(), ObjectServerError> {
        assert_eq!(self.asked.load(Ordering::SeqCst), 1, "the list is asked before the first and after the last");
        Ok(())
    }

    async fn live_credentials(&self) -> Result<Vec<ParentListing>, ObjectServerError> {
        let was_asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let keys = match &self.lists {
            Lists::These(before, after) => {
                if was_asked == 0 {
                    before
                } else {
                    after
                }
            }
            Lists::Nothing => {
                return Err(ObjectServerError::Refused { status: 403, code: "AccessDenied".to_owned() });
            }
            Lists::NoList => return Err(ObjectServerError::KeepsNoList),
        };
        let listed = |key: &&str| ListedCredential {
            access_key_id: AccessKeyId::parse(key).unwrap(),
            ends_at: None,
            lease: None,
        };
        let credentials = keys.iter().map(listed).collect();
        let parent = AccessKeyId::parse(self.parent).unwrap();
        Ok(vec![ParentListing { parent, absence: Absence::GoneIfListedBefore, credentials }])
    }

    async fn ready(&self) -> Result<(), ObjectServerError> {
        Ok(())
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

/// Three open leases, with the keys KEY1 to KEY3 of the parent `parent`.
#[derive(Debug)]
struct ThreeLeases;

#[async_trait]
impl OpenLeases for ThreeLeases {
    async fn open(&self, _: &Selection, _: OffsetDateTime, _: Option<Place>) -> Result<OpenPage, StoreError> {
        let fingerprints = FingerprintKey::derive(b"test");
        let lease = |number: u128| {
            let row = json!({
                "effect": "allow", "granted_seconds": 900, "id": Uuid::nil(), "issuer": "authentik", "subject": "ada",
                "lease_id": Uuid::from_u128(number), "occurred_at": "2026-11-22T03:00:00.000000Z", "reason": "granted",
                "ends_at": "2026-11-22T04:00:00.000000Z", "role_session_name": "s", "seq": 1, "stream": Uuid::nil(),
                "session_policy_sha256": "0".repeat(64), "type": "lease.issued",
                "key_fingerprint": fingerprints.fingerprint(&format!("KEY{number}")).as_str(),
                "parent_fingerprint": fingerprints.fingerprint("parent").as_str(),
            });
            let lease = LeaseOnRecord::try_from(serde_json::from_value::<AuditRow>(row).unwrap()).unwrap();
            OpenLease { lease, last_said: None }
        };
        Ok(OpenPage { leases: (1..=3).map(lease).collect(), next: None })
    }
}

/// Ends the three leases; what was said of each, what is on record, and how often the list was asked.
async fn end_three(lists: Lists, parent: &'static str) -> (Summary, Vec<String>, Vec<String>, usize) {
    let (tasks, store) = (TaskTracker::new(), Arc::new(StoreDouble::default()));
    let capabilities = minio("http://127.0.0.1:1").capabilities().clone();
    let lister = Arc::new(Lister { lists, parent, asked: AtomicUsize::new(0), capabilities });
    let desk = desk_with(store.clone(), &tasks, lister.clone(), Arc::new(ThreeLeases));
    let mut told = Vec::new();
    let mut tell = |ended: stint::desk::Ended| {
        told.push(format!("{} {}", ended.outcome, ended.told.as_deref().unwrap_or("-")));
    };
    let role = Selection::Role("team".to_owned());
    let pace = Pace::per_second(1000).unwrap();
    let summary = desk.run((&role, Whose::Operators), &by(), pace, &CancellationToken::new(), &mut tell).await.unwrap();
    let rows = store.told().into_iter().map(|(_, reason)| reason).collect();
    (summary, told, rows, lister.asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn what_nobody_holds_is_looked_for_in_one_listing_before_the_first_revocation_and_one_after_the_last() {
    let all = || vec!["KEY1", "KEY2", "KEY3", "KEY9"];
    let (summary, told, rows, asked) = end_three(Lists::These(all(), vec!["KEY2", "KEY9"]), "parent").await;
    assert_eq!(asked, 2);
    assert_eq!(told, ["gone_from_listing -", "revoked_unproven still_listed", "gone_from_listing -"]);
    assert_eq!((summary.proven, summary.unproven, summary.complete, summary.is_proven()), (2, 1, true, false));
    assert_eq!(rows[..3], ["requested", "requested", "requested"]);
    assert_eq!(rows[3..].iter().filter(|row| *row == "gone_from_listing").count(), 2);
    let (summary, _, _, asked) = end_three(Lists::These(all(), Vec::new()), "parent").await;
    assert_eq!((asked, summary.proven, summary.is_proven()), (2, 3, true));
    let (summary, told, _, _) = end_three(Lists::These(vec!["KEY3"], Vec::new()), "parent").await;
    assert_eq!((summary.proven, summary.unproven), (1, 2), "MinIO lists and ends only what was used since it started");
    assert_eq!(told[0], "revoked_unproven not_listed_before");
}

#[tokio::test]
async fn a_list_that_is_refused_not_kept_or_of_another_parent_proves_nothing() {
    for (lists, parent, why) in [
        (Lists::Nothing, "parent", "object_server_refused"),
        (Lists::NoList, "parent", "object_server_keeps_no_list"),
        (Lists::These(Vec::new(), Vec::new()), "another", "parent_not_listed"),
    ] {
        let (summary, told, rows, asked) = end_three(lists, parent).await;
        assert_eq!((summary.unproven, summary.proven, asked), (3, 0, 2), "{why}");
        assert_eq!(told, vec![format!("revoked_unproven {why}"); 3]);
        assert_eq!(rows[3..], ["revoked_unproven"; 3], "{why}");
    }
}

/// A desk around a log store double, before a server that says yes to everything.
async fn desk(store: Arc<StoreDouble>, tasks: &TaskTracker) -> (Desk, ScriptedObjectServer) {
    desk_of(Open::these(1), store, vec![Reply::http(204, "text/plain", "")], tasks).await
}

async fn desk_of(
    open: Open,
    store: Arc<StoreDouble>,
    replies: Vec<Reply>,
    tasks: &TaskTracker,
) -> (Desk, ScriptedObjectServer) {
    let double = ScriptedObjectServer::start(replies).await;
    let server = Arc::new(minio(double.endpoint()));
    (desk_with(store, tasks, server, Arc::new(open)), double)
}

fn minio(endpoint: &str) -> MinioServer {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = ServerSettings {
        endpoint: endpoint.to_owned(),
        region: "us-east-1".to_owned(),
        access_key: "parent".to_owned(),
        secret_key: SecretString::from("parent-secret"),
        timeout: Duration::from_secs(2),
    };
    MinioServer::new(settings, Arc::new(SystemClock::start())).unwrap()
}

fn desk_with(
    store: Arc<StoreDouble>,
    tasks: &TaskTracker,
    object_server: Arc<dyn ObjectServer>,
    open_leases: Arc<dyn OpenLeases>,
) -> Desk {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let parts = LogParts {
        store,
        clock: Arc::clone(&clock),
        rng: StdRng::seed_from_u64(2),
        key: SigningKey::generate().unwrap(),
        settings: LogSettings { deadline: Duration::from_secs(2), queue: 64 },
    };
    Desk::new(DeskParts {
        open_leases,
        object_server,
        log: Arc::new(AuditLog::open(parts, tasks)),
        held: Arc::new(HeldCredentials::default()),
        probe: None,
        fingerprints: FingerprintKey::derive(b"test"),
        clock,
    })
}

fn by() -> RevokedBy {
    let origin = Origin { door: Door::Cli, address: None, request_id: Uuid::nil() };
    RevokedBy { origin, token_sha256: None, actor: "os:uid 0".to_owned(), why: None }
}

async fn run_all(desk: &Desk, selection: Selection, stop: &CancellationToken) -> (Result<Summary, RunError>, usize) {
    let mut told = 0;
    let ran = desk.run((&selection, Whose::Operators), &by(), Pace::USUAL, stop, &mut |_ended| told += 1).await;
    (ran, told)
}

#[tokio::test]
async fn if_the_log_cannot_take_the_wish_nothing_is_sent() {
    let tasks = TaskTracker::new();
    for selection in [Selection::All, Selection::Role("team".to_owned())] {
        let (desk, server) = desk(Arc::new(StoreDouble::failing_on("lease.revoked")), &tasks).await;
        let (ran, told) = run_all(&desk, selection.clone(), &CancellationToken::new()).await;
        assert!(matches!(ran, Err(RunError::Audit(_))), "{selection:?}: {ran:?}");
        assert_eq!((told, server.received().len()), (0, 0), "{selection:?}");
    }
    let store = Arc::new(StoreDouble::default());
    let (desk, server) = desk(store.clone(), &tasks).await;
    let (ran, told) = run_all(&desk, Selection::Role("team".to_owned()), &CancellationToken::new()).await;
    assert_eq!((ran.unwrap().unproven, told, asked(&server, "tokenRevokeType")), (1, 1, 1));
    let wish_and_sight = [("lease.revoked", "requested"), ("lease.revoked", "revoked_unproven")];
    assert_eq!(store.told(), wish_and_sight.map(|(kind, reason)| (kind.to_owned(), reason.to_owned())));
}

#[tokio::test]
async fn a_run_that_was_stopped_before_it_began_touches_nothing() {
    let (store, tasks, stop) = (Arc::new(StoreDouble::default()), TaskTracker::new(), CancellationToken::new());
    stop.cancel();
    for selection in [Selection::All, Selection::Role("team".to_owned())] {
        let (desk, server) = desk(store.clone(), &tasks).await;
        let (ran, told) = run_all(&desk, selection, &stop).await;
        assert_eq!((ran.unwrap(), told, server.received().len()), (Summary::default(), 0, 0));
    }
    assert!(store.told().is_empty());
}

#[tokio::test]
async fn leases_that_the_server_will_not_end_hold_up_no_other_and_a_server_that_is_away_does() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let role = || Selection::Role("team".to_owned());
    let refusal = Reply::http(403, "application/json", r#"{"Code":"AccessDenied"}"#);
    let (desk, server) = desk_of(Open::these(5), Arc::default(), vec![refusal], &tasks).await;
    let (ran, told) = run_all(&desk, role(), &stop).await;
    let expected = Summary { leases: 5, failed: 5, complete: true, ..Summary::default() };
    assert_eq!((ran.unwrap(), told, asked(&server, "tokenRevokeType")), (expected, 5, 5));
    let (desk, server) = desk_of(Open::these(5), Arc::default(), vec![Reply::Close], &tasks).await;
    let (ran, told) = run_all(&desk, role(), &stop).await;
    let expected = Summary { leases: 3, failed: 3, complete: false, ..Summary::default() };
    assert_eq!((ran.unwrap(), told), (expected, 3));
    drop(server);
}

#[tokio::test]
async fn what_is_found_only_when_read_again_is_ended_too_and_by_itself() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    for (later, selection, requests) in [
        (0, Selection::Role("team".to_owned()), 2),
        (1, Selection::Role("team".to_owned()), 3),
        (0, Selection::All, 1),
        // One request for the two that were there, and one for the one that was issued after it.
        (1, Selection::All, 2),
    ] {
        let open = Open { later, ..Open::these(2) };
        let (desk, server) = desk_of(open, Arc::default(), vec![Reply::http(204, "text/plain", "")], &tasks).await;
        let (ran, _) = run_all(&desk, selection.clone(), &stop).await;
        let summary = ran.unwrap();
        assert_eq!((u128::from(summary.leases), summary.complete), (2 + later, true), "{selection:?}");
        let requested = asked(&server, "evoke");
        assert_eq!(requested, requests, "{selection:?} {later}: {:?}", server.received());
    }
}
