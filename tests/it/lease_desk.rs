//! The desk's reading doors and commands end to end: who is told of which lease, what is refused, and what is on record of it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use stint::audit::AuditRow;
use stint::clock::Clock;
use time::format_description::well_known::Rfc3339;

use crate::harness::binary::{Ended, Site, run, stint};
use crate::harness::manual_clock::ManualClock;
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::service::{Seen, Service, Setup, now};
use crate::harness::tokens::Forge;

const OPERATORS: &str = "[[operator]]\nissuer = \"authentik\"\ngroups = [\"readers\"]\npermissions = [\"lease.read\"]\n\
     [[operator]]\nissuer = \"authentik\"\ngroups = [\"auditors\"]\npermissions = [\"audit.read\", \"lease.revoke\"]\n";
/// Of a lease that failed.
const FAILED: &str = "0199f0c4-0000-7000-8000-00000000000f";
const UNKNOWN: &str = "0199f0c4-0000-7000-8000-000000000001";

struct Installation {
    service: Service,
    object_server: ScriptedObjectServer,
}

async fn installation() -> Installation {
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(Duration::from_mins(58))]).await;
    let setup = Setup {
        more: "[lease]\njitter = 0.0\n",
        policies: &[("operators.toml", OPERATORS)],
        ..Setup::with(object_server.endpoint())
    };
    Installation { service: Service::start(setup).await, object_server }
}

fn token(subject: &str, groups: &[&str]) -> String {
    let provider = &Forge::shared().authentik;
    provider.draft(now()).claim("sub", subject).claim("groups", json!(groups)).sign(&provider.key)
}

fn operator() -> String {
    token("olga", &["readers"])
}

impl Installation {
    async fn get(&self, token: &str, path: &str) -> Seen {
        let http = &self.service.http;
        self.service.send(http.get(self.service.url(path)).header("authorization", format!("Bearer {token}"))).await
    }

    async fn leases(&self, token: &str, query: &str) -> Vec<Value> {
        let seen = self.get(token, &format!("/v1/leases?{query}")).await;
        assert_eq!(seen.status, StatusCode::OK, "{query}: {}", seen.body);
        seen.json()["leases"].as_array().unwrap().clone()
    }

    async fn subjects(&self, token: &str, query: &str) -> Vec<String> {
        let leases = self.leases(token, query).await;
        leases.iter().map(|lease| lease["holder"]["subject"].as_str().unwrap().to_owned()).collect()
    }

    async fn mint(&self, subject: &str) -> String {
        let seen = self.service.lease(&token(subject, &["team-a"]), &json!({"role": "team"})).await;
        assert_eq!(seen.status, StatusCode::CREATED, "{}", seen.body);
        seen.json()["lease_id"].as_str().unwrap().to_owned()
    }

    /// Ada has two leases, Eve one; another one of Eve's failed.
    async fn leased(&self) -> (String, String) {
        let first = self.mint("ada").await;
        self.mint("ada").await;
        let eves = self.mint("eve").await;
        for (kind, reason) in [("lease.intended", "granted"), ("lease.failed", "object_server_refused")] {
            self.write(&eves, FAILED, kind, reason, false).await;
        }
        (first, eves)
    }

    async fn reads(&self) -> Vec<AuditRow> {
        let mut rows = self.service.log().await.recent(1000).await.unwrap();
        rows.retain(|row| row.kind == "audit.read");
        rows.sort_by_key(|row| (row.stream, row.seq));
        rows
    }

    /// Says of a lease what the service would say of it later.
    async fn say(&self, lease: &str, kind: &str, reason: &str) {
        self.write(lease, lease, kind, reason, true).await;
    }

    /// A row like that of `like`, about `lease`.
    async fn write(&self, like: &str, lease: &str, kind: &str, reason: &str, issued: bool) {
        let mut connection = PgConnection::connect(self.service.database.expose_secret()).await.unwrap();
        let said = sqlx::query(
            "insert into audit_event (stream, seq, id, occurred_at, type, effect, reason, door, issuer, subject, groups, role, \
             roles, lease_id, role_session_name, session_policy_sha256, granted_seconds, key_fingerprint, ends_at) select stream, \
             (select max(seq) + 1000 from audit_event), gen_random_uuid(), clock_timestamp(), $3, effect, $4, door, issuer, \
             subject, groups, role, roles, $2::uuid, role_session_name, session_policy_sha256, granted_seconds, \
             case when $5 then key_fingerprint end, case when $5 then ends_at end from audit_event where lease_id = $1::uuid and \
             type = 'lease.issued' limit 1",
        );
        let said = said.bind(like).bind(lease).bind(kind).bind(reason).bind(issued);
        assert_eq!(said.execute(&mut connection).await.unwrap().rows_affected(), 1);
    }
}

fn code(seen: &Seen) -> (u16, String) {
    (seen.status.as_u16(), seen.json()["code"].as_str().unwrap_or_default().to_owned())
}

fn ids(leases: &[Value]) -> Vec<&str> {
    leases.iter().map(|lease| lease["lease_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn without_a_good_token_nothing_is_told() {
    let at = installation().await;
    let (lease, _) = at.leased().await;
    let forge = Forge::shared();
    let expired = forge.authentik.draft(now()).claim("exp", now() - 3600).claim("iat", now() - 7200);
    let expired = expired.claim("groups", json!(["readers"])).sign(&forge.authentik.key);
    for path in ["/v1/leases".to_owned(), format!("/v1/leases/{lease}"), format!("/v1/leases?limit=0&x={lease}")] {
        assert_eq!(code(&at.service.get(&path).await), (401, "missing_token".to_owned()), "{path}");
        assert_eq!(code(&at.get("planted.planted.planted", &path).await), (401, "invalid_token".to_owned()), "{path}");
        assert_eq!(code(&at.get(&expired, &path).await), (401, "invalid_token".to_owned()), "{path}");
    }
    let reads = at.reads().await;
    assert_eq!(reads.len(), 1, "the expired token, once: {reads:#?}");
    assert_eq!((reads[0].effect.as_str(), reads[0].reason.as_str()), ("deny", "token_expired"));
    assert_eq!(reads[0].door.as_deref(), Some("desk"));
    assert_eq!(at.get(&operator(), "/v1/leases").await.status, StatusCode::OK, "the near twin is told");
}

#[tokio::test]
async fn somebody_elses_lease_is_answered_like_one_that_never_was() {
    let at = installation().await;
    let (adas, eves) = at.leased().await;
    let ada = token("ada", &["team-a"]);
    let elsewhere = Forge::shared().keycloak.draft(now()).claim("sub", "eve").sign(&Forge::shared().keycloak.key);
    let mut bodies = Vec::new();
    for (token, lease) in
        [(&ada, eves.as_str()), (&ada, UNKNOWN), (&ada, "no-lease"), (&elsewhere, &eves), (&operator(), UNKNOWN)]
    {
        let seen = at.get(token, &format!("/v1/leases/{lease}")).await;
        assert_eq!(code(&seen), (404, "lease_not_found".to_owned()), "{lease}: {}", seen.body);
        let mut body = seen.json();
        body["request_id"] = Value::Null;
        bodies.push(body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:#?}");
    let refused = at.reads().await;
    assert!(refused.iter().all(|row| row.effect == "deny" && row.reason == "no_such_lease"), "{refused:#?}");
    assert_eq!(refused.len(), 3, "each of three tokens once; asked again, it is counted");

    let own = at.get(&ada, &format!("/v1/leases/{adas}")).await;
    assert_eq!(own.status, StatusCode::OK, "the near twin is told: {}", own.body);
    assert_eq!(at.get(&operator(), &format!("/v1/leases/{eves}")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_holder_lists_its_own_leases_and_may_not_even_ask_for_others() {
    let at = installation().await;
    at.leased().await;
    // Another permission on the same service is none on leases.
    for (subject, groups) in [("ada", &["team-a"][..]), ("ada", &["auditors"])] {
        let ada = token(subject, groups);
        for query in ["subject=eve", "issuer=keycloak", "issuer=keycloak&subject=ada", "state=all&subject=Ada"] {
            let seen = at.get(&ada, &format!("/v1/leases?{query}")).await;
            assert_eq!(code(&seen), (403, "not_permitted".to_owned()), "{query}");
        }
        for query in ["", "state=all", "issuer=authentik&subject=ada"] {
            assert_eq!(at.subjects(&ada, query).await, ["ada", "ada"], "{query}");
        }
    }
    for query in ["group=team-a", "role=team"] {
        assert_eq!(at.subjects(&token("ada", &[]), query).await, ["ada", "ada"], "{query}");
    }
    let nobody = token("nobody", &[]);
    assert_eq!(
        at.subjects(&nobody, "state=all").await,
        Vec::<String>::new(),
        "a good token without a lease is told of none"
    );
    let own = at.leases(&token("ada", &["team-a"]), "limit=1").await;
    for hidden in ["matched_rule", "policy_hash"] {
        assert!(own[0].get(hidden).is_none(), "{own:#?}");
        assert!(at.leases(&operator(), "limit=1").await[0].get(hidden).is_some(), "{hidden}");
    }
}

#[tokio::test]
async fn a_bad_question_is_one_clear_400_and_no_reading() {
    let at = installation().await;
    let (lease, _) = at.leased().await;
    let reader = operator();
    let page = at.get(&reader, "/v1/leases?limit=1").await.json();
    let cursor = page["next"].as_str().expect("there are three").to_owned();
    let events = at.get(&token("a", &["auditors"]), "/v1/audit/events?limit=1").await.json();
    let events = events["next"].as_str().unwrap().to_owned();
    let before = at.reads().await.len();
    for query in [
        "state=live",
        "state=pending",
        "state=",
        "limit=0",
        "limit=1001",
        "limit=ten",
        "from=2026-01-01",
        "from=2026-01-01T00:00:00",
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "subject=",
        "subject=a%0Ab",
        "subject=a%FFb",
        "subject=ada&subject=eve",
        "subjct=ada",
        "reveal=true",
        "cursor=AAAA",
        &format!("cursor={}", &cursor[1..]),
        &format!("cursor={cursor}&state=all"),
        &format!("cursor={cursor}&subject=ada"),
        &format!("cursor={events}"),
        &format!("subject={}", "x".repeat(1025)),
    ] {
        let seen = at.get(&reader, &format!("/v1/leases?{query}")).await;
        assert_eq!(code(&seen), (400, "invalid_request".to_owned()), "{query}: {}", seen.body);
        assert!(seen.json()["detail"].as_str().unwrap_or_default().len() > 10, "{query}: {}", seen.body);
    }
    let seen = at.get(&reader, &format!("/v1/leases/{lease}?state=open")).await;
    assert_eq!(code(&seen), (400, "invalid_request".to_owned()), "{}", seen.body);
    // A cursor that an operator got is bound to everybody's leases, and a holder's to its own.
    let holders = at.get(&token("ada", &["team-a"]), &format!("/v1/leases?cursor={cursor}")).await;
    assert_eq!(code(&holders), (400, "invalid_request".to_owned()), "{}", holders.body);
    assert_eq!(at.reads().await.len(), before, "what is not answered is not a reading");
    let again = at.get(&reader, &format!("/v1/leases?limit=1&cursor={cursor}")).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.body);
}

#[tokio::test]
async fn pages_tell_each_lease_once_and_the_latest_first() {
    let at = installation().await;
    at.leased().await;
    let (mut seen, mut query) = (Vec::new(), "state=all&limit=1".to_owned());
    loop {
        let page = at.get(&operator(), &format!("/v1/leases?{query}")).await.json();
        seen.extend(page["leases"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("state=all&limit=1&cursor={next}");
    }
    let told: Vec<(&str, &str)> = seen
        .iter()
        .map(|lease| (lease["holder"]["subject"].as_str().unwrap(), lease["state"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("eve", "failed"), ("eve", "open"), ("ada", "open"), ("ada", "open")]);
    let mut once = ids(&seen);
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), 4);
}

#[tokio::test]
async fn filters_find_what_they_name_in_every_state() {
    let at = installation().await;
    let (adas, eves) = at.leased().await;
    let operator = operator();
    assert_eq!(at.subjects(&operator, "subject=eve").await, ["eve"]);
    assert_eq!(at.subjects(&operator, "role=team").await.len(), 3);
    assert_eq!(at.subjects(&operator, "role=other").await.len(), 0);
    assert_eq!(at.subjects(&operator, "group=team-a&client=nobody").await.len(), 0);
    assert_eq!(at.subjects(&operator, "state=all&to=2026-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(at.subjects(&operator, "state=all&from=2026-01-01T00:00:00Z").await.len(), 4);
    let failed = at.leases(&operator, "state=failed").await;
    assert_eq!((failed.len(), failed[0]["state"].as_str()), (1, Some("failed")));
    assert!(failed[0]["reason"].as_str().unwrap().starts_with("object_server"), "{failed:#?}");
    assert!(failed[0].get("key_fingerprint").is_none() && failed[0].get("ends_at").is_none(), "{failed:#?}");

    // A wish ends nothing; what was seen does, and counts once however often it is said.
    at.say(&adas, "lease.revoked", "requested").await;
    assert_eq!(at.leases(&operator, "subject=ada").await.len(), 2);
    assert_eq!(at.leases(&operator, "state=revoked").await.len(), 0);
    at.say(&adas, "lease.revoked", "refused_at_server").await;
    at.say(&adas, "lease.revoked", "gone_from_listing").await;
    let revoked = at.leases(&operator, "state=revoked").await;
    assert_eq!((revoked.len(), revoked[0]["lease_id"].as_str()), (1, Some(adas.as_str())));
    assert_eq!(revoked[0]["reason"], "refused_at_server");
    assert!(revoked[0]["issued_at"].is_string() && revoked[0]["ended_at"].is_string(), "{revoked:#?}");
    assert_eq!(at.leases(&operator, "subject=ada").await.len(), 1);

    // Abandoned after it was on record as issued: its commit was late.
    at.say(&eves, "lease.abandoned", "revoke_failed").await;
    at.say(&eves, "lease.abandoned", "revoked").await;
    let abandoned = at.leases(&operator, "state=abandoned").await;
    assert_eq!((abandoned.len(), abandoned[0]["lease_id"].as_str()), (1, Some(eves.as_str())));
    assert_eq!(at.leases(&operator, "").await.len(), 1);
    let mut states: Vec<String> = Vec::new();
    for lease in at.leases(&operator, "state=all").await {
        states.push(lease["state"].as_str().unwrap().to_owned());
    }
    states.sort_unstable();
    assert_eq!(states, ["abandoned", "failed", "open", "revoked"], "each listed by its own state is the same in all");
    assert_eq!(at.leases(&operator, "state=ended").await.len(), 0);
}

#[tokio::test]
async fn a_lease_is_shown_with_its_timeline_and_its_reuse_and_the_key_masked() {
    let at = installation().await;
    let (lease, _) = at.leased().await;
    for _ in 0..3 {
        at.say(&lease, "lease.reused", "reused").await;
    }
    at.say(&lease, "lease.revoked", "refused_at_server").await;
    let path = format!("/v1/leases/{lease}");
    let seen = at.get(&operator(), &path).await;
    let told = seen.json();
    assert_eq!((told["state"].as_str(), told["reused"].as_i64()), (Some("revoked"), Some(3)), "{}", seen.body);
    let events: Vec<&str> =
        told["timeline"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    let reused = ["lease.reused"; 3];
    let expected = [&["lease.intended", "lease.issued"][..], &reused, &["lease.revoked"]].concat();
    assert_eq!(events, expected);
    let fingerprint = told["key_fingerprint"].as_str().unwrap();
    assert_eq!((fingerprint.chars().count(), fingerprint.ends_with('…')), (9, true));
    let whole = at.service.rows().await.iter().find_map(|row| row.key_fingerprint.clone()).unwrap();
    assert!(!seen.body.contains(&whole), "{}", seen.body);
    assert!(!seen.body.contains(at.object_server.endpoint()));
    // Handed out again, it is still one lease.
    assert_eq!(at.leases(&operator(), "state=all").await.len(), 4);

    let own = at.get(&token("ada", &["team-a"]), &path).await.json();
    assert_eq!(own["timeline"].as_array().unwrap().len(), 6);
    assert!(own.get("matched_rule").is_none(), "{own:#}");
}

#[tokio::test]
async fn every_reading_is_on_record_first_and_ones_own_are_bounded() {
    let at = installation().await;
    let (lease, _) = at.leased().await;
    at.get(&operator(), "/v1/leases?state=all&role=team").await;
    at.get(&operator(), &format!("/v1/leases/{lease}")).await;
    let reads = at.reads().await;
    let told: Vec<&str> = reads.iter().map(|row| row.detail.as_deref().unwrap()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains(r#""question":"leases""#) && told[0].contains(r#""role":"team""#), "{told:?}");
    assert!(told[1].contains(&lease) && told[1].contains(r#""own":false"#), "{told:?}");
    assert!(reads.iter().all(|row| row.effect == "allow" && row.reason == "read"), "{reads:#?}");
    assert!(reads.iter().all(|row| row.door.as_deref() == Some("desk") && row.subject.as_deref() == Some("olga")));

    let ada = token("ada", &["team-a"]);
    let mut refused = 0;
    for _ in 0..25 {
        let seen = at.get(&ada, "/v1/leases").await;
        if seen.status != StatusCode::OK {
            assert_eq!(code(&seen), (503, "overloaded".to_owned()), "{}", seen.body);
            assert!(seen.headers.contains_key("retry-after"));
            refused += 1;
        }
    }
    assert_eq!(refused, 5, "twenty a minute");
    assert_eq!(at.reads().await.len(), 22);
    assert_eq!(at.get(&operator(), "/v1/leases").await.status, StatusCode::OK, "an operator is not bounded so");
    assert_eq!(at.subjects(&token("eve", &["team-a"]), "").await, ["eve"], "and neither is another holder");
}

#[tokio::test]
async fn a_head_request_and_another_method_are_refused() {
    let at = installation().await;
    let bearer = format!("Bearer {}", operator());
    for path in ["/v1/leases".to_owned(), format!("/v1/leases/{UNKNOWN}")] {
        let head = at.service.http.head(at.service.url(&path)).header("authorization", &bearer);
        assert_eq!(at.service.send(head).await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let put = at.service.http.put(at.service.url(&path)).header("authorization", &bearer);
        assert_eq!(at.service.send(put).await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    assert_eq!(at.reads().await, []);
}

#[tokio::test]
async fn the_forecast_is_the_operators_and_counts_what_is_open() {
    let at = installation().await;
    let (lease, _) = at.leased().await;
    let path = "/v1/leases/forecast";
    assert_eq!(code(&at.service.get(path).await), (401, "missing_token".to_owned()));
    for groups in [&["team-a"][..], &["auditors"]] {
        let seen = at.get(&token("ada", groups), path).await;
        assert_eq!(code(&seen), (403, "not_permitted".to_owned()), "{}", seen.body);
    }
    assert_eq!(code(&at.get(&operator(), &format!("{path}?x=1")).await), (400, "invalid_request".to_owned()));
    let forecast = at.get(&operator(), path).await.json();
    assert_eq!((forecast["open_leases"].as_u64(), forecast["minutes"].as_array().unwrap().len()), (Some(3), 60));
    // They came by the leases door, and are 58 minutes long, 53 of them advertised: back after 26 to 33, all three, and some once more.
    let within = |name: &str| forecast["expected"][name].as_f64().unwrap();
    assert!((3.0..6.0).contains(&within("minutes_60")) && within("minutes_15") < 0.01, "{forecast:#}");
    assert!(forecast["peak_per_second"].as_f64().unwrap() > 0.0 && forecast.get("cap_per_second").is_none());

    at.say(&lease, "lease.reused", "reused").await;
    assert_eq!(at.get(&operator(), path).await.json()["open_leases"], 3, "handed out again, it is one lease");
    at.say(&lease, "lease.revoked", "refused_at_server").await;
    assert_eq!(at.get(&operator(), path).await.json()["open_leases"], 2);
    let reads = at.reads().await;
    assert_eq!(reads.iter().filter(|row| row.reason == "not_permitted").count(), 2);
    assert_eq!(reads.iter().filter(|row| row.detail.as_deref() == Some(r#"{"question":"forecast"}"#)).count(), 3);

    let site = Site::new(&at.service.database, at.object_server.endpoint());
    at.service.end().await;
    let told = at_the_console(&site, &["forecast"]).await;
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert!(lines[0].starts_with("2 leases open at") && lines.len() == 15, "{}", told.stdout);
    assert!(told.stdout.contains('#') && told.stdout.contains("15 min 0.0, 60 min "), "{}", told.stdout);
    let json = at_the_console(&site, &["forecast", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&json.stdout).unwrap()["open_leases"], 2);
}

#[tokio::test]
async fn a_cap_is_kept_by_what_is_drawn_and_what_does_not_fit_is_counted() {
    let clock = Arc::new(ManualClock::default());
    let at = clock.now();
    let end = (at + Duration::from_hours(1)).format(&Rfc3339).unwrap();
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials(&end)]).await;
    let setup =
        Setup { more: "[lease]\njitter = 0.0\nmints_per_second = 1\n", ..Setup::with(object_server.endpoint()) };
    let service = Service::start_by(clock, setup).await;
    let forge = Forge::shared();
    let token = forge.authentik.draft(at.unix_timestamp()).sign(&forge.authentik.key);
    // Without jitter all who know only the end come back together, and half of them in one bucket: five seconds have room for ten.
    for _ in 0..16 {
        let seen = service.container(&token, "team").await;
        assert_eq!(seen.status, StatusCode::OK, "refused nobody: {}", seen.body);
    }
    let text = service.get("/metrics").await.body;
    assert!(text.lines().any(|line| line == "stint_leases_over_cap_total 6"), "{text}");
    assert!(text.contains(r#"stint_refreshes_expected{within="60m"}"#), "{text}");
}

async fn at_the_console(site: &Site, arguments: &[&str]) -> Ended {
    let mut command = stint(["lease"]);
    command.args(arguments).arg("--config").arg(site.config());
    run(command).await
}

#[tokio::test]
async fn the_commands_say_the_same_with_the_service_down() {
    let at = installation().await;
    let (lease, _) = at.leased().await;
    let site = Site::new(&at.service.database, at.object_server.endpoint());
    let log = at.service.log().await;
    at.service.end().await;

    for (arguments, exit) in [
        (&["list", "--state", "live"][..], 1),
        (&["list", "--cursor", "AAAA"], 1),
        (&["list", "--limit", "0"], 1),
        (&["list", "--from", "yesterday"], 1),
        (&["list", "--subjct", "ada"], 2),
        (&["show", "no-lease"], 2),
        (&["show"], 2),
        (&["show", UNKNOWN], 1),
    ] {
        let ended = at_the_console(&site, arguments).await;
        assert_eq!(ended.code, Some(exit), "{arguments:?}: {} {}", ended.stdout, ended.stderr);
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{arguments:?}: {}", ended.stdout);
    }

    let listed = at_the_console(&site, &["list", "--subject", "ada", "--limit", "1"]).await;
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert!(lines[0].starts_with("lease_id") && lines[1].contains("open") && lines[1].contains("ada"), "{lines:#?}");
    let cursor = lines[2].strip_prefix("there may be more: --cursor ").expect("there are two");
    let rest = at_the_console(&site, &["list", "--subject", "ada", "--limit", "1", "--cursor", cursor]).await;
    assert_eq!((rest.code, rest.stdout.lines().count()), (Some(0), 2), "{} {}", rest.stdout, rest.stderr);
    let json = at_the_console(&site, &["list", "--state", "all", "--json"]).await;
    let told: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(told["leases"].as_array().unwrap().len(), 4);
    let none = at_the_console(&site, &["list", "--subject", "nobody"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), "(none)\n"));

    let shown = at_the_console(&site, &["show", &lease]).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    for told in ["state", "open", "authentik", "lease.intended", "lease.issued", "roles/team.toml"] {
        assert!(shown.stdout.contains(told), "{told} is not in\n{}", shown.stdout);
    }
    let json: Value = serde_json::from_str(&at_the_console(&site, &["show", &lease, "--json"]).await.stdout).unwrap();
    assert_eq!(json["lease_id"].as_str(), Some(lease.as_str()));

    let mut reads = log.recent(1000).await.unwrap();
    reads.retain(|row| row.kind == "audit.read");
    assert!(reads.iter().all(|row| row.door.as_deref() == Some("cli") && row.issuer.as_deref() == Some("os")));
    let refused: Vec<&str> =
        reads.iter().filter(|row| row.effect == "deny").filter_map(|row| row.detail.as_deref()).collect();
    assert_eq!(refused, [format!("lease {UNKNOWN}")]);
    assert_eq!(reads.len(), 7, "{reads:#?}");
}
