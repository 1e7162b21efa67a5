//! What the log says of leases on a real object server.

use serde_json::json;

use crate::harness::{Boto3, Installation};

#[tokio::test]
async fn every_issued_lease_has_its_intent_before_it() {
    let installation = Installation::start().await;
    for client in ["studio", "viewer", "livekit-egress", "studio-rclone", "backup-agent", "admin"] {
        installation.keys_of(client).await;
    }
    let token = installation.keycloak.token("studio").await;
    let boto3 = Boto3::against(&installation.minio)
        .with_token_file(&token)
        .with("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/studio")
        .with("AWS_ENDPOINT_URL_STS", &installation.stint.url(""));
    assert_eq!(boto3.walk(&["put:assets/a"]), ["ok"]);

    assert_eq!(installation.database.rows("lease.issued").await, 7);
    let unannounced: i64 = sqlx::query_scalar(
        "select count(*) from audit_event issued where issued.type = 'lease.issued' and not exists (
           select from audit_event intent where intent.type = 'lease.intended'
             and intent.lease_id = issued.lease_id and intent.stream = issued.stream and intent.seq < issued.seq)",
    )
    .fetch_one(&mut installation.database.connection().await)
    .await
    .expect("the log can be read");
    assert_eq!(unannounced, 0, "issued without an intent before it");
    assert_eq!(installation.minio.minted(), 7, "and the server minted as many as are on record");
}

#[tokio::test]
async fn neither_log_nor_rows_hold_a_secret() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("studio").await;
    let answer = installation.stint.lease(&token, &json!({})).await;
    let keys = answer.keys();
    let rows: Vec<String> = sqlx::query_scalar("select to_jsonb(audit_event)::text from audit_event")
        .fetch_all(&mut installation.database.connection().await)
        .await
        .expect("the log can be read");
    let said = format!("{}\n{}", installation.stint.log(), rows.join("\n"));
    assert!(said.contains("lease.issued"), "the rows were read");
    let database = installation.database.url();
    for secret in [&token, &keys.access_key, &keys.secret_key, &keys.session_token, &database] {
        assert!(!said.contains(secret.as_str()), "a secret is in the log");
    }
    assert!(!said.contains(installation.minio.parent_secret()), "the parent's secret is in the log");
}
