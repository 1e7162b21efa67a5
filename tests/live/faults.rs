//! One server down at a time: `stint` refuses in time, mints nothing it cannot account for, and comes back by itself.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Database, Installation, Keycloak, Minio, Stint, free_port, until};

const LEASE: &str = "ttl = \"60m\"";

/// Readiness may answer from what it knew a second ago.
async fn until_not_ready(stint: &Stint) {
    until("stint says that it is not ready", Duration::from_secs(10), async || stint.readiness().await.status == 503)
        .await;
}

#[tokio::test]
async fn without_postgresql_nothing_is_minted_and_the_caller_is_told_when_to_come_back() {
    let mut installation = Installation::start().await;
    let token = installation.keycloak.token("studio").await;
    installation.keys_of("studio").await;
    let before = installation.minio.minted();

    installation.database.stop();
    let bound = Duration::from_secs(5);
    let answer = tokio::time::timeout(bound, installation.stint.lease(&token, &json!({}))).await;
    let answer = answer.expect("the refusal comes within the audit deadline");
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{:?}", answer.headers);
    let answer = installation.stint.assume(&token, "studio", None).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.element("Code").is_some(), "the STS door answers XML on 503 too: {}", answer.body);
    assert_eq!(installation.minio.minted(), before, "nothing was minted");
    until_not_ready(&installation.stint).await;

    installation.database.start_again().await;
    // A healed log is noticed within a second.
    until("leases are issued again", Duration::from_secs(10), async || {
        installation.stint.lease(&token, &json!({})).await.status == 201
    })
    .await;
    assert_eq!(installation.minio.minted(), before + 1);
    installation.stint.until_ready().await;
}

#[tokio::test]
async fn without_minio_the_refusal_is_typed_and_the_failure_is_on_record() {
    let mut installation = Installation::start().await;
    let token = installation.keycloak.token("studio").await;

    installation.minio.stop();
    let answer = installation.stint.lease(&token, &json!({})).await;
    assert!([502, 503, 504].contains(&answer.status), "{} {}", answer.status, answer.body);
    assert!(answer.json()["code"].is_string(), "{}", answer.body);
    assert_eq!(installation.database.rows("lease.intended").await, 1);
    assert_eq!(installation.database.rows("lease.failed").await, 1);
    assert_eq!(installation.database.rows("lease.issued").await, 0);
    until_not_ready(&installation.stint).await;

    installation.minio.start_again().await;
    installation.stint.until_ready().await;
    let answer = installation.stint.lease(&token, &json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

#[tokio::test]
async fn stint_starts_before_its_issuer_and_serves_on_known_keys_after_it() {
    let port = free_port();
    let database = Database::start().await;
    let minio = Minio::start().await;
    let issuer = Keycloak::issuer_on(port);

    let stint = Stint::start(&issuer, &database, &minio, LEASE).await;
    // It need not be unready for that: other issuers' tokens can be exchanged.
    let keys_known = async || {
        let checks = stint.readiness().await.json()["checks"].clone();
        let checks: Vec<Value> = serde_json::from_value(checks).unwrap_or_default();
        let issuer = checks.into_iter().find(|check| check["name"] == "issuer:keycloak");
        issuer.unwrap_or_else(|| panic!("readiness names no issuer"))["ready"] == true
    };
    assert!(!keys_known().await, "readiness says that the issuer's keys are not known");

    let keycloak = Keycloak::start(port).await;
    let token = keycloak.token("studio").await;
    // A failed fetch of keys arms a cooldown of half a minute.
    until("stint has learnt the issuer's keys", Duration::from_secs(90), async || {
        stint.lease(&token, &json!({})).await.status == 201
    })
    .await;

    assert!(keys_known().await, "readiness says that they are");

    let later = keycloak.token("viewer").await;
    drop(keycloak);
    for token in [&token, &later] {
        let answer = stint.lease(token, &json!({})).await;
        assert_eq!(answer.status, 201, "known keys serve: {}", answer.body);
    }
}
