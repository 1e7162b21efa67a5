//! Reuse on a real MinIO: however often a holder asks, the server keeps one object for it.

use serde_json::json;

use crate::harness::{Answer, Boto3, Installation, Setup};

const STUDIO: &str = "arn:aws:iam::000000000000:role/studio";

async fn sharing() -> Installation {
    Installation::start_with(Setup { lease: "ttl = \"60m\"\nreuse = true" }).await
}

#[tokio::test]
async fn fifty_requests_of_one_holder_are_one_object_at_minio_and_fifty_rows() {
    let installation = sharing().await;
    let mut keys = std::collections::BTreeSet::new();
    for n in 0..25 {
        let token = installation.keycloak.token("studio").await;
        let answer =
            installation.stint.lease(&token, &json!({"role": "studio", "session_name": format!("w-{n}")})).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        keys.insert(answer.keys().access_key);
    }
    let token = installation.keycloak.token("studio").await;
    let together = (0..25).map(|_| installation.stint.assume(&token, "studio", None));
    for answer in futures::future::join_all(together).await {
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(keys.iter().any(|key| answer.body.contains(key.as_str())), "{keys:?} {}", answer.body);
    }
    assert_eq!((keys.len(), installation.minio.minted()), (1, 1));
    assert_eq!(installation.database.rows("lease.issued").await, 1);
    assert_eq!(installation.database.rows("lease.reused").await, 49);

    let answer = installation.stint.lease(&token, &json!({"role": "studio", "fresh": true})).await;
    assert_eq!((answer.status, installation.minio.minted()), (201, 2), "the near twin: {}", answer.body);
}

#[tokio::test]
async fn every_boto3_of_one_holder_holds_the_same_key_until_it_is_revoked_and_then_another() {
    let installation = sharing().await;
    let token = installation.keycloak.token("studio").await;
    let boto3 = || {
        Boto3::against(&installation.minio)
            .with_token_file(&token)
            .with("AWS_ROLE_ARN", STUDIO)
            .with("AWS_ENDPOINT_URL_STS", &installation.stint.url(""))
    };
    let walks: Vec<Vec<String>> =
        (0..3).map(|_| boto3().walk(&["key", "put:assets/model", "get:assets/model"])).collect();
    for walk in &walks {
        assert_eq!((&walk[0], &walk[1..]), (&walks[0][0], &["ok".to_owned(), "ok".to_owned()][..]));
    }
    assert_eq!((installation.minio.minted(), installation.database.rows("lease.reused").await), (1, 2));

    let lease = installation.stint.lease(&token, &json!({"role": "studio"})).await.json()["lease_id"].clone();
    let path = format!("/v1/leases/{}?reason=it+leaked", lease.as_str().expect("a lease id"));
    let ended = Answer::to_delete(&installation.stint.url(&path), &token).await.expect("an answer");
    assert_eq!(ended.json()["outcome"], "refused_at_server", "{}", ended.body);
    let after = boto3().walk(&["key", "get:assets/model"]);
    assert_eq!(after[1], "ok");
    assert_ne!(after[0], walks[0][0]);
    assert_eq!(installation.database.rows("lease.issued").await, 2);
}
