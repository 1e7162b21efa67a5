//! The doors end to end: every hostile token at each of them, and what outsiders may learn.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use serde_json::json;

use crate::harness::hostile::{Fate, HostileCase, hostile};
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::service::{Seen, Service, Setup, now, sts_form};
use crate::harness::tokens::Forge;

const REAL_LIFE: Duration = Duration::from_mins(58);

async fn minting() -> ScriptedObjectServer {
    ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await
}

/// The scripted server always answers with 58 minutes, so no jitter: a longer end than asked is not believed.
async fn service(object_server: &ScriptedObjectServer) -> Service {
    Service::start(Setup { more: "[lease]\njitter = 0.0\n", ..Setup::with(object_server.endpoint()) }).await
}

/// Sends a token through every door that can carry it: a header holds no line breaks and has its bound, a form does not
/// mind the one and bounds the other.
async fn at_each_door(service: &Service, token: &str) -> Vec<(&'static str, Seen)> {
    let mut seen = Vec::new();
    if token.len() < 48 * 1024 {
        seen.push(("sts", service.sts(token, &[]).await));
        seen.push(("token_exchange", service.token_exchange(token, &[]).await));
    }
    if token.len() < 32 * 1024 && HeaderValue::from_str(token).is_ok() {
        seen.push(("leases", service.lease(token, &json!({})).await));
        seen.push(("container", service.container(&format!("Bearer {token}"), "team").await));
    }
    seen
}

/// The table for doors whose clock moves on while it is sent: what is refused by the second is taken from a table a little
/// to the refused side, and its twin from one a little to the accepted side.
fn hostile_for_doors() -> Vec<HostileCase> {
    const DRIFT: i64 = 25;
    let at = |drift: i64| hostile(Forge::shared(), now() + drift);
    let cases = at(0).into_iter().zip(at(-DRIFT)).zip(at(DRIFT));
    let steady = |((case, early), late): ((HostileCase, HostileCase), HostileCase)| match case.fate {
        Fate::Refused("token_expired") => HostileCase { twin: late.twin, ..early },
        Fate::Refused("issued_in_future" | "token_not_yet_valid") => HostileCase { twin: early.twin, ..late },
        Fate::Refused(_) | Fate::Powerless => case,
    };
    cases.map(steady).collect()
}

#[tokio::test]
async fn every_hostile_token_is_refused_at_every_door_and_its_near_twin_is_served() {
    let object_server = minting().await;
    let service = service(&object_server).await;
    let mut sent = 0;
    for case in hostile_for_doors() {
        for (door, seen) in at_each_door(&service, &case.token).await {
            sent += 1;
            let name = format!("{} {} at {door}: {} {}", case.row, case.name, seen.status, seen.body);
            match (case.fate, door) {
                (Fate::Refused("token_expired"), "sts") => {
                    assert_eq!(seen.element("Code"), Some("ExpiredTokenException"), "{name}");
                }
                (Fate::Refused(_), "sts") => assert_eq!(seen.status, StatusCode::BAD_REQUEST, "{name}"),
                // RFC 8693 section 2.2.2: both are 400, and told apart.
                (Fate::Refused(_), "token_exchange") => {
                    assert_eq!(
                        (seen.status, seen.json()["error"].as_str()),
                        (StatusCode::BAD_REQUEST, Some("invalid_request")),
                        "{name}"
                    );
                }
                (Fate::Powerless, "token_exchange") => {
                    assert_eq!(
                        (seen.status, seen.json()["error"].as_str()),
                        (StatusCode::BAD_REQUEST, Some("invalid_target")),
                        "{name}"
                    );
                }
                (Fate::Refused(_), _) => assert_eq!(seen.status, StatusCode::UNAUTHORIZED, "{name}"),
                (Fate::Powerless, _) => assert_eq!(seen.status, StatusCode::FORBIDDEN, "{name}"),
            }
            assert!(!seen.body.contains("ecret"), "{name}");
        }
    }
    assert!(sent > 500, "only {sent} hostile requests were sent");
    assert!(object_server.received().is_empty(), "nothing was minted for any of them");

    let mut twins: Vec<String> = hostile_for_doors().into_iter().filter_map(|case| case.twin).collect();
    twins.sort();
    twins.dedup();
    for twin in twins {
        for (door, seen) in at_each_door(&service, &twin).await {
            assert!(seen.status.is_success(), "a twin at {door}: {} {}", seen.status, seen.body);
        }
    }
}

#[tokio::test]
async fn outsiders_learn_that_they_were_refused_and_nothing_more() {
    let object_server = minting().await;
    let service = service(&object_server).await;
    let forge = Forge::shared();
    let draft = forge.authentik.draft(now());
    let refused = [
        draft.clone().claim("aud", "other").sign(&forge.authentik.key),
        draft.clone().claim("iss", "https://unknown.example/").sign(&forge.authentik.key),
        draft.sign(&forge.stranger),
        "junk".to_owned(),
    ];
    let mut answers = Vec::new();
    for token in &refused {
        for (door, seen) in at_each_door(&service, token).await {
            // Ids differ by design; everything else must be the same.
            let id = seen.headers["x-request-id"].to_str().unwrap();
            answers.push((door, seen.status, seen.body.replace(id, "ID")));
        }
    }
    let first: Vec<_> = answers.iter().take(4).cloned().collect();
    for answer in answers.chunks(4) {
        assert_eq!(answer, first.as_slice());
    }
}

#[tokio::test]
async fn an_unknown_role_and_one_that_is_not_granted_look_alike() {
    let object_server = minting().await;
    let policies = &[("roles/other.toml", "documents = [\"recordings\"]\n[[allow]]\ngroups = [\"somebody-else\"]\n")];
    let more = "[lease]\njitter = 0.0\n";
    let service = Service::start(Setup { more, policies, ..Setup::with(object_server.endpoint()) }).await;
    let token = Forge::shared().authentik.token(now());
    let body = |seen: &Seen| seen.body.replace(seen.headers["x-request-id"].to_str().unwrap(), "ID");
    let exists = service.lease(&token, &json!({"role": "other"})).await;
    let absent = service.lease(&token, &json!({"role": "no-such-role"})).await;
    assert_eq!((exists.status, body(&exists)), (absent.status, body(&absent)));
    assert_eq!(exists.status, StatusCode::FORBIDDEN);
    let reasons: Vec<String> = service.rows().await.into_iter().map(|row| row.reason).collect();
    assert_eq!(reasons, ["role_not_granted", "role_not_granted"]);
    assert_eq!(service.lease(&token, &json!({"role": "team"})).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn all_three_transports_of_the_sts_door_are_served() {
    let object_server = minting().await;
    let service = service(&object_server).await;
    let token = Forge::shared().authentik.token(now());
    let query = sts_form(&token, &[]);
    let form = service.sts(&format!("{token}\n"), &[("RoleArn", "arn:aws:iam::000000000000:role/team")]).await;
    let post = service.send(service.http.post(service.url(&format!("/?{query}")))).await;
    let get = service.get(&format!("/?{query}")).await;
    for seen in [form, post, get] {
        assert_eq!(seen.status, StatusCode::OK, "{}", seen.body);
        assert!(seen.body.starts_with("<AssumeRoleWithWebIdentityResponse xmlns="), "{}", seen.body);
        assert!(seen.element("AccessKeyId").unwrap().starts_with("GGCTIHYG44N04A0X14LN"), "{}", seen.body);
        assert_eq!(seen.headers["cache-control"], "no-store");
        assert_eq!(seen.headers["content-type"], "text/xml");
    }
}

#[tokio::test]
async fn the_answers_have_exactly_the_promised_members() {
    let object_server = minting().await;
    let service = service(&object_server).await;
    let token = Forge::shared().keycloak.token(now());
    let lease = service.lease(&token, &json!({"duration_seconds": 3600, "session_name": "worker-1"})).await;
    assert_eq!(lease.status, StatusCode::CREATED);
    assert_eq!(lease.headers["cache-control"], "no-store");
    let answer = lease.json();
    let mut members: Vec<&String> = answer.as_object().unwrap().keys().collect();
    members.sort();
    let expected = ["credentials", "issued_at", "lease_id", "refresh_after", "role", "shortened_by", "ttl_seconds"];
    assert_eq!(members, expected, "the object server gave two minutes less than asked");
    assert_eq!(answer["shortened_by"], "object_server");

    let container = service.container(&token, "team").await;
    assert_eq!(container.status, StatusCode::OK);
    let answer = container.json();
    let mut members: Vec<&String> = answer.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["AccessKeyId", "Expiration", "RoleArn", "SecretAccessKey", "Token"]);
    assert!(answer["Expiration"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_token_exchange_answers_a_credential_set_and_is_on_record_as_what_it_was() {
    let object_server = minting().await;
    let service = service(&object_server).await;
    let token = Forge::shared().keycloak.token(now());
    let narrow = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::recordings/mine/*"}]}"#;
    let asked =
        [("audience", "team"), ("duration_seconds", "3600"), ("session_name", "worker-1"), ("session_policy", narrow)];
    let seen = service.token_exchange(&token, &asked).await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.body);
    assert_eq!(seen.headers["cache-control"], "no-store");
    assert_eq!(seen.headers["pragma"], "no-cache");
    let answer = seen.json();
    let mut members: Vec<&String> = answer.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["access_token", "expires_in", "issued_token_type", "token_type"]);
    assert_eq!(answer["token_type"], "N_A");
    assert!((2_700..3_600).contains(&answer["expires_in"].as_i64().unwrap()));
    let lease: serde_json::Value = serde_json::from_str(answer["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(lease["role"], "team");
    assert!(lease["credentials"]["session_token"].as_str().is_some_and(|token| !token.is_empty()));

    let refused = service.token_exchange(&token, &[("resource", "no-such-role")]).await;
    assert_eq!((refused.status, refused.json()["error"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_target")));

    let rows = service.rows().await;
    let told: Vec<_> = rows.iter().map(|row| (row.kind.as_str(), row.door.as_deref())).collect();
    let door = Some("token_exchange");
    assert_eq!(told, [("lease.intended", door), ("lease.issued", door), ("exchange.refused", door)]);
    assert_eq!(rows[0].session_name.as_deref(), Some("worker-1"));
    assert_eq!(rows[0].requested_seconds, Some(3600));
}

#[tokio::test]
async fn ten_thousand_junk_tokens_leave_no_row_and_mint_nothing() {
    let object_server = minting().await;
    let service = service(&object_server).await;
    let forge = Forge::shared();
    let draft = forge.authentik.draft(now());
    for batch in 0..100 {
        let sent = (0..100).map(|n| {
            let token = draft.clone().header("kid", format!("junk-{batch}-{n}")).sign(&forge.stranger);
            let service = &service;
            async move { service.lease(&token, &json!({})).await.status }
        });
        let statuses = futures::future::join_all(sent).await;
        assert!(statuses.iter().all(|status| *status == StatusCode::UNAUTHORIZED), "{statuses:?}");
    }
    assert!(service.rows().await.is_empty());
    assert!(object_server.received().is_empty());
    let metrics = service.get("/metrics").await.body;
    let counted = metrics.lines().find(|line| line.contains("key_unknown") && line.ends_with(" 10000"));
    assert!(counted.is_some(), "{metrics}");
}

#[tokio::test]
async fn readiness_says_names_and_yes_or_no() {
    let object_server = ScriptedObjectServer::start(vec![Reply::http(200, "text/plain", "")]).await;
    let service = service(&object_server).await;
    // Keys are fetched while the doors are open already, so the first answer may be a no.
    let ready = async {
        loop {
            let seen = service.get("/health/ready").await;
            if seen.status == StatusCode::OK {
                return seen;
            }
        }
    };
    let ready = tokio::time::timeout(Duration::from_secs(15), ready).await.expect("ready within seconds");
    let answer = ready.json();
    assert_eq!(answer["ready"], true);
    assert!(answer["checks"].as_array().unwrap().iter().any(|check| check["name"] == "issuer:keycloak"));
    assert_eq!(service.get("/health/live").await.status, StatusCode::OK);

    let starting = ScriptedObjectServer::start(vec![Reply::http(503, "text/plain", "")]).await;
    let service = self::service(&starting).await;
    let ready = service.get("/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.get("/health/live").await.status, StatusCode::OK);
}
