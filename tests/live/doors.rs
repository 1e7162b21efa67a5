//! The doors beside STS, against a real object server.

use serde_json::{Value, json};

use crate::harness::{Boto3, Installation};

#[tokio::test]
async fn the_lease_door_answers_a_lease_that_works() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("studio").await;
    let answer = installation.stint.lease(&token, &json!({"role": "studio", "duration_seconds": 3600})).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    let lease = answer.json();
    assert_eq!(lease["role"], "studio");
    for member in ["lease_id", "issued_at", "refresh_after"] {
        assert!(lease[member].is_string(), "{member}: {lease}");
    }
    let seconds = lease["ttl_seconds"].as_u64().unwrap_or_default();
    assert!((900..=3600).contains(&seconds), "{lease}");
    let boto3 = Boto3::against(&installation.minio).holding(&answer.keys());
    assert_eq!(boto3.walk(&["put:assets/model", "get:assets/model"]), ["ok", "ok"]);
}

#[tokio::test]
async fn boto3_takes_its_keys_from_the_container_door() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("studio").await;
    let boto3 = Boto3::against(&installation.minio)
        .with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &installation.stint.url("/v1/roles/studio/credentials"))
        .with("AWS_CONTAINER_AUTHORIZATION_TOKEN", &token);
    assert_eq!(boto3.walk(&["put:assets/model", "get:assets/model", "put:foreign/x"]), ["ok", "ok", "AccessDenied"]);
    assert_eq!(installation.database.rows("lease.issued").await, 1);
}

#[tokio::test]
async fn boto3_gets_nothing_from_the_container_door_for_a_role_that_is_not_its_own() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("viewer").await;
    let boto3 = Boto3::against(&installation.minio)
        .with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &installation.stint.url("/v1/roles/studio/credentials"))
        .with("AWS_CONTAINER_AUTHORIZATION_TOKEN", &token);
    assert_eq!(boto3.walk(&["put:assets/model"]), ["CredentialRetrievalError"]);
    assert_eq!(installation.minio.minted(), 0);
}

#[tokio::test]
async fn without_a_token_there_is_no_lease() {
    let installation = Installation::start().await;
    let answer = installation.stint.lease("", &json!({})).await;
    assert_eq!(answer.status, 401, "{}", answer.body);
    assert!(answer.json().get("code").is_some_and(Value::is_string), "{}", answer.body);
    assert_eq!(installation.minio.minted(), 0);
}
