//! The servers alone: if one of these fails, the ground is wrong, not `stint`.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sqlx::{Connection, Executor};

use crate::harness::{Boto3, Database, Keycloak, Minio, PARENT};

#[tokio::test]
async fn keycloak_tokens_name_the_audience_and_the_groups() {
    let keycloak = Keycloak::shared().await;
    for (client, groups) in [
        ("admin", json!(["spacemusic-admins"])),
        ("studio", json!(["spacemusic-studio"])),
        ("viewer", json!(["spacemusic-viewers"])),
        ("livekit-egress", json!(["egress-write"])),
        ("studio-rclone", json!(["readwrite"])),
        ("backup-agent", json!(["backup-write"])),
        ("nobody", json!([])),
    ] {
        let token = keycloak.token(client).await;
        let claims = token.split('.').nth(1).expect("a compact JWS has a payload");
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).expect("the payload is base64url");
        let claims: Value = serde_json::from_slice(&claims).expect("the payload is JSON");
        assert_eq!(claims["iss"], keycloak.issuer(), "{client}");
        assert_eq!(claims["aud"], "stint", "{client}");
        assert_eq!(claims["azp"], client);
        assert_eq!(claims["typ"], "Bearer", "{client}");
        assert_eq!(claims.get("groups").unwrap_or(&json!([])), &groups, "{client}");
        assert!(claims["sub"].is_string(), "{client}");
    }
}

#[tokio::test]
async fn postgresql_comes_back_at_the_same_address_with_what_it_had() {
    let mut database = Database::start().await;
    database.connection().await.execute("create table kept (a int)").await.expect("a table is made");
    let url = database.url();
    database.stop();
    assert!(sqlx::PgConnection::connect(&url).await.is_err(), "it is down");
    database.start_again().await;
    assert_eq!(database.url(), url);
    database.connection().await.execute("select a from kept").await.expect("the table is still there");
}

#[tokio::test]
async fn minio_comes_back_at_the_same_address_with_its_users() {
    let mut minio = Minio::start().await;
    let outsider = || Boto3::against(&minio).with("AWS_ACCESS_KEY_ID", PARENT);
    let with_secret = |secret: &str| outsider().with("AWS_SECRET_ACCESS_KEY", secret);
    let secret = minio.parent_secret().to_owned();
    assert_eq!(with_secret(&secret).walk(&["put:assets/a"]), ["ok"]);
    assert_eq!(with_secret("not-the-secret").walk(&["get:assets/a"]), ["SignatureDoesNotMatch"]);

    minio.stop();
    minio.start_again().await;
    let parent = Boto3::against(&minio).with("AWS_ACCESS_KEY_ID", PARENT).with("AWS_SECRET_ACCESS_KEY", &secret);
    assert_eq!(parent.walk(&["get:assets/a"]), ["ok"]);
}

#[tokio::test]
async fn the_parent_makes_no_accounts_and_root_does() {
    let minio = Minio::start().await;
    let attempts: [&[&str]; 3] = [
        &["admin", "accesskey", "create", "server"],
        &["admin", "user", "svcacct", "add", "server", PARENT],
        &["admin", "user", "add", "server", "intruder", "intruder-secret"],
    ];
    for attempt in attempts {
        let output = minio.as_parent(attempt);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains("Access Denied"), "mc {attempt:?}: {errors}");
    }
    assert!(minio.as_root(&["admin", "user", "svcacct", "add", "server", PARENT]).status.success());
    assert_eq!(minio.minted(), 0);
}
