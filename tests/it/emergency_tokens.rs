//! Emergency tokens at the doors: one whole emergency, then one thing broken at a time. Each decision, allow and deny, is on
//! record with its obligation.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use stint::audit::AuditRow;

use crate::harness::home::Home;
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::service::{Service, Setup, now};
use crate::harness::tokens::{Draft, Forge};

const BREAK_GLASS: &str = r#"
quorum = 2
declared_quorum = 3
conditions = ["issuer_down", "log_down", "declared"]
minimum_outage = "5m"
review_within = "72h"
drill_every = "90d"
[[custodian]]
name = "alice"
public_key = "MCowBQYDK2VwAyEAbcMwvkNusWQSnqrsni/rRP809M6+AJ37xDqssPdgMN8="
contact = "alice@example.com"
[[custodian]]
name = "bob"
public_key = "MCowBQYDK2VwAyEA5XgdBGQr2TWYQgeEFKmElWKPf5YBf1VUADzDq646m04="
contact = "bob@example.com"
[[custodian]]
name = "carol"
public_key = "MCowBQYDK2VwAyEAnAeSzYCNjYwtAt8R32a9Jk3bt7mU/Z7LImX8HrZLr/g="
contact = "carol@example.com"
[[role]]
name = "emergency-read"
documents = ["everything"]
length = "15m"
[[role]]
name = "emergency-write"
documents = ["everything"]
length = "15m"
[drill]
role = "drill"
documents = ["drill"]
bucket = "recordings"
[emergency_tokens]
issuers = ["key-cape"]
roles = ["emergency-read"]
"#;
const EVERYTHING: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::recordings/*"]}]}"#;
const DRILL: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["s3:GetBucketLocation"],"Resource":["arn:aws:s3:::recordings"]},
    {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":["arn:aws:s3:::recordings/drill/*"]}]}"#;

/// Its answers are as late as is believed, so that a slow machine does not make them too short.
async fn service(reuse: bool) -> ((ScriptedObjectServer, Home), Service) {
    let home = Home::new();
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(Duration::from_secs(950))]).await;
    let setup = Setup {
        more: home.configuration().leak(),
        policies: &[
            ("break-glass.toml", BREAK_GLASS),
            ("documents/everything.json", EVERYTHING),
            ("documents/drill.json", DRILL),
        ],
        reuse,
        ..Setup::with(object_server.endpoint())
    };
    let service = Service::start(setup).await;
    ((object_server, home), service)
}

/// What the exchange said: that no drill was ever done is said beside it.
async fn exchanges(service: &Service) -> Vec<AuditRow> {
    let mut rows = service.rows().await;
    rows.retain(|row| !row.kind.starts_with("break_glass."));
    rows
}

/// The fixture of the profile: fresh, human, hardware key, role and assurance.
fn emergency() -> Draft {
    Forge::shared()
        .iam
        .draft(now())
        .claim("roles", json!(["reader", "emergency"]))
        .claim("assurance", assurance("break_glass"))
        .claim("emergency", json!({"incident_id": "INC-7", "authorized_by": "steward-2", "reason": "quota is wrong"}))
}

fn assurance(level: &str) -> Value {
    json!({"level": level, "methods": ["pwd", "otp", "hwk"], "mfa": true, "source": "key-cape", "at": now() - 60})
}

fn signed(draft: &Draft) -> String {
    draft.sign(&Forge::shared().iam.key)
}

fn asked(role: &str) -> Value {
    json!({"role": role})
}

#[tokio::test]
async fn an_emergency_token_has_the_role_that_is_listed_and_every_row_says_so() {
    let (_object_server, service) = service(true).await;
    let token = signed(&emergency());
    let seen = service.lease(&token, &asked("emergency-read")).await;
    assert_eq!(seen.status, StatusCode::CREATED, "{}", seen.body);
    assert!((840..=900).contains(&seen.json()["ttl_seconds"].as_i64().unwrap()), "no grace: {}", seen.body);

    let again = service.lease(&token, &asked("emergency-read")).await;
    assert_ne!(again.json()["lease_id"], seen.json()["lease_id"], "never handed out again");

    let rows = exchanges(&service).await;
    let kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
    assert_eq!(kinds, ["lease.intended", "lease.issued", "lease.intended", "lease.issued"]);
    for row in &rows {
        let detail: Value = serde_json::from_str(row.detail.as_deref().unwrap()).unwrap();
        let said = json!({"obligation": "record_emergency", "incident": "INC-7", "authorized_by": "steward-2", "reason": "quota is wrong"});
        assert_eq!(detail, said);
        assert_eq!(row.matched_rule.as_deref(), Some("break-glass.toml#emergency_tokens"));
    }
}

#[tokio::test]
async fn whatever_is_broken_of_it_opens_nothing_and_is_on_record() {
    let whole = || json!({"incident_id": "INC-7", "authorized_by": "steward-2", "reason": "quota is wrong"});
    let without = |name: &str| {
        let mut claim = whole();
        claim.as_object_mut().unwrap().remove(name);
        claim
    };
    let told = |draft: Draft, role, reason, told| (draft, role, reason, told);
    let cases = [
        told(emergency().claim("roles", json!(["reader"])), "emergency-read", "role_not_granted", false),
        told(emergency().claim("assurance", assurance("aal3")), "emergency-read", "role_not_granted", false),
        told(emergency().claim("iat", json!(now() - 602)), "emergency-read", "emergency_token_too_old", true),
        told(
            emergency().claim("emergency", without("incident_id")),
            "emergency-read",
            "emergency_claim_incomplete",
            true,
        ),
        told(
            emergency().claim("emergency", without("authorized_by")),
            "emergency-read",
            "emergency_claim_incomplete",
            true,
        ),
        told(emergency().claim("emergency", without("reason")), "emergency-read", "emergency_claim_incomplete", true),
        // A role of the quorum's alone, the drill's, and one that does not exist.
        told(emergency(), "emergency-write", "role_not_granted", true),
        told(emergency(), "drill", "role_not_granted", true),
        told(emergency(), "emergency", "role_not_granted", true),
    ];
    let ((object_server, _home), service) = service(false).await;
    for (draft, role, reason, obliged) in cases {
        let before = exchanges(&service).await.len();
        let seen = service.lease(&signed(&draft), &asked(role)).await;
        assert_eq!(seen.status, StatusCode::FORBIDDEN, "{role} {reason}: {}", seen.body);
        assert!(!seen.body.contains("emergency_") && !seen.body.contains("INC-7"), "{}", seen.body);
        let rows = exchanges(&service).await;
        let [row] = &rows[before..] else { panic!("{role} {reason}: {rows:?}") };
        assert_eq!((row.kind.as_str(), row.reason.as_str()), ("exchange.refused", reason), "{role}");
        let recorded = row.detail.as_deref().is_some_and(|detail| detail.contains("\"record_emergency\""));
        assert_eq!(recorded, obliged, "{role} {reason}");
    }
    assert!(object_server.received().is_empty());
    let whole = service.lease(&signed(&emergency().claim("iat", json!(now() - 590))), &asked("emergency-read")).await;
    assert_eq!(whole.status, StatusCode::CREATED, "{}", whole.body);
}

#[tokio::test]
async fn the_word_of_an_issuer_that_is_not_listed_counts_for_nothing() {
    let ((object_server, _home), service) = service(false).await;
    let forge = Forge::shared();
    let draft = forge
        .keycloak
        .draft(now())
        .claim("roles", json!(["emergency"]))
        .claim("assurance", assurance("break_glass"))
        .claim("emergency", json!({"incident_id": "INC-7", "authorized_by": "a", "reason": "b"}));
    let seen = service.lease(&draft.sign(&forge.keycloak.key), &asked("emergency-read")).await;
    assert_eq!(seen.status, StatusCode::FORBIDDEN, "{}", seen.body);
    assert!(object_server.received().is_empty());
    let listed = service.lease(&signed(&emergency()), &asked("emergency-read")).await;
    assert_eq!(listed.status, StatusCode::CREATED, "{}", listed.body);
}

#[tokio::test]
async fn any_is_never_an_emergency_and_an_ordinary_role_stays_one() {
    let (_object_server, service) = service(false).await;
    let token = signed(&emergency());
    for role in ["any", "team"] {
        let seen = service.lease(&token, &asked(role)).await;
        assert_eq!(seen.status, StatusCode::CREATED, "{}", seen.body);
        assert_eq!(seen.json()["role"], "team");
    }
    let rows = exchanges(&service).await;
    assert!(rows.iter().all(|row| row.role.as_deref() == Some("team")));
    assert!(rows.iter().all(|row| row.detail.as_deref().is_some_and(|detail| detail.contains("record_emergency"))));
}
