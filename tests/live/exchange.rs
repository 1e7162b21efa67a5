//! The main job, end to end: a Keycloak token through `stint` gives MinIO credentials that do what the group may, and no
//! more.

use serde_json::json;

use crate::harness::{Boto3, Installation};

const REFUSED: &str = "AccessDenied";

#[tokio::test]
async fn a_studio_member_reads_and_writes_every_bucket_of_ours_and_no_other() {
    let installation = Installation::start().await;
    let keys = installation.keys_of("studio").await;
    let outcomes = Boto3::against(&installation.minio).holding(&keys).walk(&[
        "put:recordings/take-1",
        "get:recordings/take-1",
        "put:textures/sky",
        "get:textures/sky",
        "list:assets",
        "put:foreign/x",
        "get:foreign/x",
        "list:foreign",
    ]);
    assert_eq!(outcomes, ["ok", "ok", "ok", "ok", "ok", REFUSED, REFUSED, REFUSED]);
}

#[tokio::test]
async fn a_viewer_reads_what_the_studio_wrote_and_writes_nothing() {
    let installation = Installation::start().await;
    let studio = installation.keys_of("studio").await;
    let written = Boto3::against(&installation.minio).holding(&studio).walk(&["put:exports/reel"]);
    assert_eq!(written, ["ok"]);

    let viewer = installation.keys_of("viewer").await;
    let outcomes = Boto3::against(&installation.minio).holding(&viewer).walk(&[
        "get:exports/reel",
        "list:exports",
        "put:exports/reel",
        "delete:exports/reel",
        "put:recordings/take-1",
    ]);
    assert_eq!(outcomes, ["ok", "ok", REFUSED, REFUSED, REFUSED]);
}

#[tokio::test]
async fn livekit_egress_writes_recordings_and_nothing_else() {
    let installation = Installation::start().await;
    let keys = installation.keys_of("livekit-egress").await;
    let outcomes = Boto3::against(&installation.minio).holding(&keys).walk(&[
        "put:recordings/take-1",
        "put:textures/sky",
        "put:backups/dump",
        "list:exports",
    ]);
    assert_eq!(outcomes, ["ok", REFUSED, REFUSED, REFUSED]);
}

#[tokio::test]
async fn the_backup_agent_writes_backups_and_nothing_else() {
    let installation = Installation::start().await;
    let keys = installation.keys_of("backup-agent").await;
    let outcomes =
        Boto3::against(&installation.minio).holding(&keys).walk(&["put:backups/dump", "put:recordings/take-1"]);
    assert_eq!(outcomes, ["ok", REFUSED]);
}

#[tokio::test]
async fn a_member_of_no_group_is_refused_and_nothing_is_minted() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("nobody").await;
    let before = installation.minio.minted();

    let answer = installation.stint.lease(&token, &json!({})).await;
    assert_eq!(answer.status, 403, "{}", answer.body);
    let answer = installation.stint.lease(&token, &json!({"role": "studio"})).await;
    assert_eq!(answer.status, 403, "{}", answer.body);

    assert_eq!(installation.minio.minted(), before);
    assert_eq!(installation.database.rows("exchange.refused").await, 2, "a refusal is on record");
    assert_eq!(installation.database.rows("lease.intended").await, 0);

    installation.keys_of("viewer").await;
    assert_eq!(installation.minio.minted(), before + 1, "the count sees a mint");
}

#[tokio::test]
async fn a_token_with_one_character_changed_is_refused() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("studio").await;
    let (rest, signature) = token.rsplit_once('.').expect("a compact JWS");
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged: String = format!("{rest}.{first}{}", signature.chars().skip(1).collect::<String>());

    let answer = installation.stint.lease(&forged, &json!({})).await;
    assert_eq!(answer.status, 401, "{}", answer.body);
    let answer = installation.stint.lease(&token, &json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}
