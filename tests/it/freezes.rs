//! Freezes end to end: who may set and lift one, whom it stops and whom not, and that every instance heeds it within a second,
//! whether or not it hears of it.

use std::process::Command;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use stint::clock::{Clock, SystemClock};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::binary::{Ended, Site, run, stint};
use crate::harness::database::{connect, fresh_database, one};
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::service::{Seen, Service, Setup, now};
use crate::harness::tokens::Forge;

const OPERATORS: &str = "[[operator]]\nissuer = \"authentik\"\ngroups = [\"ops\"]\npermissions = [\"freeze\"]\n\
                         [[operator]]\nissuer = \"authentik\"\ngroups = [\"enders\"]\npermissions = [\"lease.revoke\"]\n";
const POLICIES: &[(&str, &str)] = &[
    ("operators.toml", OPERATORS),
    ("roles/second.toml", "documents = [\"recordings\"]\n[[allow]]\ngroups = [\"team-b\"]\n"),
];

async fn mint() -> ScriptedObjectServer {
    ScriptedObjectServer::start(vec![Reply::credentials_for(Duration::from_hours(1))]).await
}

/// `stint …` with the configuration of a site.
fn cli(site: &Site, arguments: &[&str]) -> Command {
    let mut command = stint(arguments);
    command.arg("--config").arg(site.config());
    command
}

async fn installation() -> (Service, ScriptedObjectServer) {
    let server = mint().await;
    let setup = Setup { policies: POLICIES, more: "[lease]\njitter = 0.0\n", ..Setup::with(server.endpoint()) };
    (Service::start(setup).await, server)
}

/// One more on the same log.
async fn another(service: &Service, server: &ScriptedObjectServer) -> Service {
    let database = Some(service.database.clone());
    Service::start(Setup {
        policies: POLICIES,
        more: "[lease]\njitter = 0.0\n",
        database,
        ..Setup::with(server.endpoint())
    })
    .await
}

fn token(subject: &str, groups: &[&str]) -> String {
    let provider = &Forge::shared().authentik;
    provider.draft(now()).claim("sub", subject).claim("groups", json!(groups)).sign(&provider.key)
}

fn operator() -> String {
    token("olga", &["ops"])
}

async fn freeze(service: &Service, token: &str, body: &Value) -> Seen {
    let request = service.http.post(service.url("/v1/freezes")).header("authorization", format!("Bearer {token}"));
    service.send(request.header("content-type", "application/json").body(body.to_string())).await
}

async fn frozen(service: &Service, body: &Value) -> Uuid {
    let seen = freeze(service, &operator(), body).await;
    assert_eq!(seen.status.as_u16(), 201, "{}", seen.body);
    seen.json()["freeze_id"].as_str().unwrap().parse().unwrap()
}

async fn thaw(service: &Service, token: &str, id: Uuid) -> Seen {
    let request = service.http.delete(service.url(&format!("/v1/freezes/{id}?reason=over")));
    service.send(request.header("authorization", format!("Bearer {token}"))).await
}

async fn list(service: &Service, token: &str) -> Seen {
    service.send(service.http.get(service.url("/v1/freezes")).header("authorization", format!("Bearer {token}"))).await
}

async fn status(service: &Service, subject: &str, group: &str) -> u16 {
    service.lease(&token(subject, &[group]), &json!({})).await.status.as_u16()
}

#[tokio::test]
async fn a_frozen_holder_is_told_what_policy_would_tell_and_the_row_says_which_freeze() {
    let (service, _server) = installation().await;
    let id = frozen(&service, &json!({"issuer": "authentik", "subject": "ada", "reason": "token seen in a log"})).await;
    let ada = token("ada", &["team-a"]);
    let (refused, nobody) =
        (service.lease(&ada, &json!({})).await, service.lease(&token("nob", &["none"]), &json!({})).await);
    let but_for_its_id = |seen: &Seen| {
        let mut json = seen.json();
        json.as_object_mut().unwrap().remove("request_id").unwrap();
        (seen.status.as_u16(), json)
    };
    assert_eq!(but_for_its_id(&refused), but_for_its_id(&nobody), "whoever holds a stolen token learns nothing");
    assert_eq!(refused.status.as_u16(), 403);
    let sts = service.sts(&ada, &[]).await;
    assert_eq!((sts.status.as_u16(), sts.element("Code")), (403, Some("AccessDenied")));
    assert_eq!(status(&service, "bob", "team-a").await, 201, "nobody else");

    let rows = service.rows().await;
    let set = rows.iter().find(|row| row.kind == "freeze.set").unwrap();
    assert_eq!(
        (set.actor.as_deref(), set.detail.as_deref(), set.subject.as_deref(), set.freeze_id),
        (Some("authentik:olga"), Some("token seen in a log"), Some("ada"), Some(id))
    );
    let refusals: Vec<_> = rows.iter().filter(|row| row.reason == "frozen").collect();
    let [refusal] = refusals[..] else { panic!("one row, the second is counted: {refusals:?}") };
    assert_eq!((refusal.kind.as_str(), refusal.freeze_id), ("exchange.refused", Some(id)));
    assert_eq!((refusal.subject.as_deref(), refusal.effect.as_str()), (Some("ada"), "deny"));
}

#[tokio::test]
async fn each_kind_of_freeze_stops_whom_it_names_until_it_is_lifted_by_its_id() {
    let (service, _server) = installation().await;
    for what in [
        json!({"issuer": "authentik", "subject": "ada"}),
        json!({"group": "team-a"}),
        json!({"group": "team-a", "issuer": "authentik"}),
        json!({"role": "team"}),
    ] {
        let id = frozen(&service, &what).await;
        assert_eq!((status(&service, "ada", "team-a").await, status(&service, "eve", "team-b").await), (403, 201));
        assert_eq!(thaw(&service, &operator(), id).await.status.as_u16(), 200, "{what}");
        assert_eq!(status(&service, "ada", "team-a").await, 201, "{what}");
        assert_eq!(thaw(&service, &operator(), id).await.json()["code"], "freeze_not_found", "{what}");
    }
    let elsewhere = frozen(&service, &json!({"issuer": "keycloak"})).await;
    assert_eq!(status(&service, "ada", "team-a").await, 201);
    let (one, two) = (
        frozen(&service, &json!({"group": "team-a"})).await,
        frozen(&service, &json!({"issuer": "authentik", "subject": "ada"})).await,
    );
    assert_eq!(thaw(&service, &operator(), elsewhere).await.status.as_u16(), 200);
    assert_eq!(list(&service, &operator()).await.json()["freezes"].as_array().unwrap().len(), 2);
    assert_eq!(thaw(&service, &operator(), one).await.status.as_u16(), 200);
    assert_eq!(status(&service, "ada", "team-a").await, 403, "another freeze covers her still");
    assert_eq!(thaw(&service, &operator(), two).await.status.as_u16(), 200);
}

#[tokio::test]
async fn when_everything_is_frozen_all_are_asked_to_come_back_and_an_operator_can_still_thaw() {
    let (service, _server) = installation().await;
    let id = frozen(&service, &json!({"everything": true})).await;
    let seen = service.lease(&token("ada", &["team-a"]), &json!({})).await;
    assert_eq!((seen.status.as_u16(), seen.json()["code"].clone()), (503, json!("frozen")));
    assert!(seen.headers.contains_key("retry-after"));
    let sts = service.sts(&token("bob", &["team-b"]), &[]).await;
    assert_eq!((sts.status.as_u16(), sts.element("Code")), (503, Some("Throttling")));
    let listed = list(&service, &operator()).await.json();
    assert_eq!(
        (listed["freezes"][0]["freeze_id"].clone(), listed["freezes"][0]["everything"].clone()),
        (json!(id), json!(true))
    );
    assert_eq!(thaw(&service, &operator(), id).await.status.as_u16(), 200);
    assert_eq!(status(&service, "ada", "team-a").await, 201);
}

#[tokio::test]
async fn nobody_freezes_without_the_permission_nor_while_frozen() {
    let (service, _server) = installation().await;
    let all = json!({"everything": true});
    for token in [token("eve", &["enders"]), token("ada", &["team-a"])] {
        for seen in [freeze(&service, &token, &all).await, list(&service, &token).await] {
            assert_eq!((seen.status.as_u16(), seen.json()["code"].clone()), (403, json!("not_permitted")));
        }
        assert_eq!(thaw(&service, &token, Uuid::nil()).await.status.as_u16(), 403);
    }
    let id = frozen(&service, &json!({"issuer": "authentik", "subject": "olga"})).await;
    assert_eq!(thaw(&service, &operator(), id).await.status.as_u16(), 403, "with the token that she is frozen for");
    let other = token("omar", &["ops"]);
    assert_eq!(thaw(&service, &other, id).await.status.as_u16(), 200);
    for bad in
        [json!({}), json!({"subject": "ada"}), json!({"role": "tema"}), json!({"role": "team", "everything": true})]
    {
        let seen = freeze(&service, &operator(), &bad).await;
        assert_eq!((seen.status.as_u16(), seen.json()["code"].clone()), (400, json!("invalid_request")), "{bad}");
    }
    assert_eq!(status(&service, "ada", "team-a").await, 201, "nothing is frozen");
    let turned_away = service.rows().await.into_iter().filter(|row| row.reason == "not_permitted").count();
    assert_eq!(turned_away, 3, "each of them once, then counted");
}

#[tokio::test]
async fn a_freeze_survives_a_restart_and_a_role_closed_by_one_process_does_not_become_one() {
    let (service, server) = installation().await;
    frozen(&service, &json!({"group": "team-a"})).await;
    // As a self-test that failed has it said: without an id it is the state of the process that said it.
    let mut connection = connect(&service.database).await;
    let closed = "insert into audit_event (stream, seq, id, occurred_at, type, effect, reason, role, roles)
        select gen_random_uuid(), 0, gen_random_uuid(), now(), 'freeze.set', 'deny', 'self_test_failed', 'second', '{second}'";
    connection.execute(closed).await.unwrap();
    let later = another(&service, &server).await;
    service.end().await;
    assert_eq!((status(&later, "ada", "team-a").await, status(&later, "eve", "team-b").await), (403, 201));
}

#[tokio::test]
async fn a_freeze_of_the_installation_names_who_is_answerable_for_it() {
    let mut connection = {
        let (service, _server) = installation().await;
        connect(&service.database).await
    };
    let unsigned = "insert into audit_event (stream, seq, id, occurred_at, type, effect, reason, freeze_id)
        values (gen_random_uuid(), 0, gen_random_uuid(), now(), 'freeze.set', 'deny', 'operator', gen_random_uuid())";
    let error = connection.execute(unsigned).await.unwrap_err().to_string();
    assert!(error.contains("audit_event_freeze_check"), "{error}");
}

#[tokio::test]
async fn the_command_line_freezes_beside_the_service_and_while_it_is_down() {
    let (server, database) = (mint().await, fresh_database().await);
    let site = Site::new(&database, server.endpoint());
    let Ended { code, stdout, stderr } =
        run(cli(&site, &["lease", "freeze", "--role", "team", "--reason", "why"])).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("role team") && stdout.contains("why"), "{stdout}");
    let listed = run(cli(&site, &["lease", "freeze", "--list", "--json"])).await;
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let id = listed["freezes"][0]["freeze_id"].as_str().unwrap().to_owned();
    for wrong in [
        vec!["lease", "freeze"],
        vec!["lease", "freeze", "--issuer", "nobody"],
        vec!["lease", "freeze", "--role", "team", "--everything"],
        vec!["lease", "thaw", "00000000-0000-7000-8000-000000000000"],
    ] {
        let ended = run(cli(&site, &wrong)).await;
        assert_eq!(ended.code, Some(1), "{wrong:?}: {}", ended.stderr);
    }
    let setup = Setup {
        policies: POLICIES,
        more: "[lease]\njitter = 0.0\n",
        database: Some(database),
        ..Setup::with(server.endpoint())
    };
    let service = Service::start(setup).await;
    assert_eq!((status(&service, "ada", "team-a").await, status(&service, "eve", "team-b").await), (403, 201));
    assert_eq!(run(cli(&site, &["lease", "thaw", &id])).await.code, Some(0));
    within_a_second(&service, 201).await;
    let actors: i64 = one(
        &mut connect(&service.database).await,
        "select count(*) from audit_event where type like 'freeze.%' and actor like 'os:%' and door = 'cli'",
    )
    .await;
    assert_eq!(actors, 2);
}

/// Asks until the answer is this one, which must be before a second has gone by; once it is, it stays.
async fn within_a_second(service: &Service, expected: u16) {
    let began = SystemClock::start();
    let mut asked = Duration::ZERO;
    while status(service, "ada", "team-a").await != expected {
        assert!(asked < Duration::from_secs(1), "asked {asked:?} after the freeze");
        asked = began.elapsed();
    }
    assert_eq!(status(service, "ada", "team-a").await, expected);
}

#[tokio::test]
async fn every_instance_heeds_a_freeze_within_a_second_also_one_that_hears_of_nothing() {
    let (one, server) = installation().await;
    let (two, deaf) = (another(&one, &server).await, another(&one, &server).await);
    for service in [&one, &two, &deaf] {
        assert_eq!(status(service, "ada", "team-a").await, 201);
    }
    // From here on no notification arrives anywhere: whoever listens is cut off as soon as it does.
    let mut administrator = connect(&one.database).await;
    let cutting = TaskTracker::new().spawn(async move {
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where datname = current_database() and query ilike 'listen%'";
        loop {
            administrator.execute(cut).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    for _ in 0..3 {
        let id = frozen(&one, &json!({"issuer": "authentik", "subject": "ada"})).await;
        assert_eq!(status(&one, "ada", "team-a").await, 403, "here at once");
        for service in [&two, &deaf] {
            within_a_second(service, 403).await;
        }
        assert_eq!(thaw(&two, &operator(), id).await.status.as_u16(), 200);
        assert_eq!(status(&two, "ada", "team-a").await, 201, "here at once");
        within_a_second(&one, 201).await;
        within_a_second(&deaf, 201).await;
    }
    cutting.abort();
}

#[tokio::test]
async fn a_notification_makes_it_known_at_once_and_says_nothing_but_what_to_look_for() {
    let (service, server) = installation().await;
    let other = another(&service, &server).await;
    let mut listener = sqlx::postgres::PgListener::connect(service.database.expose_secret()).await.unwrap();
    listener.listen("stint_audit_event").await.unwrap();
    let id = frozen(&service, &json!({"issuer": "authentik", "subject": "ada", "reason": "planted"})).await;
    let heard = listener.recv().await.unwrap();
    assert_eq!(heard.payload(), format!("freeze.set:{id}"));
    // Whoever can connect can say anything: nothing comes of it.
    let mut stranger = PgConnection::connect(service.database.expose_secret()).await.unwrap();
    for said in [format!("freeze.lifted:{id}"), "freeze.set:x".to_owned(), "x".repeat(7000)] {
        stranger.execute(AssertSqlSafe(format!("notify stint_audit_event, '{said}'"))).await.unwrap();
    }
    within_a_second(&other, 403).await;
    assert_eq!(status(&service, "bob", "team-a").await, 201);
}

#[tokio::test]
async fn what_cannot_be_read_is_frozen() {
    let (service, _server) = installation().await;
    assert_eq!(status(&service, "ada", "team-a").await, 201);
    let mut administrator = connect(&service.database).await;
    administrator.execute("alter table audit_event rename column freeze_id to gone").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let seen = service.lease(&token("ada", &["team-a"]), &json!({})).await;
    assert_eq!((seen.status.as_u16(), seen.json()["code"].clone()), (503, json!("log_unavailable")));
    administrator.execute("alter table audit_event rename column gone to freeze_id").await.unwrap();
    within_a_second(&service, 201).await;
}
