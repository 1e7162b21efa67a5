//! An unmodified boto3, told of `stint` by environment variables alone.

use serde_json::json;

use crate::harness::{Answer, Boto3, Installation, Keys, Setup};

const STUDIO: &str = "arn:aws:iam::000000000000:role/studio";

const VIEWERS: &str = "arn:aws:iam::000000000000:role/spacemusic-viewers";

async fn pointed_at(installation: &Installation, client: &str, role: &str) -> Boto3 {
    let token = installation.keycloak.token(client).await;
    Boto3::against(&installation.minio)
        .with_token_file(&token)
        .with("AWS_ROLE_ARN", role)
        .with("AWS_ENDPOINT_URL_STS", &installation.stint.url(""))
}

#[tokio::test]
async fn three_variables_give_boto3_its_keys() {
    let installation = Installation::start().await;
    let boto3 = pointed_at(&installation, "studio", STUDIO).await;
    let outcomes = boto3.walk(&["key", "put:assets/model", "get:assets/model", "key"]);
    assert_eq!(outcomes[1..3], ["ok", "ok"]);
    assert_eq!(outcomes[0], outcomes[3], "an hour's lease is asked for once");
    assert_eq!(installation.database.rows("lease.issued").await, 1);
}

#[tokio::test]
async fn boto3_refreshes_its_keys_before_they_end() {
    // Fifteen minutes are always within boto3's refresh window, so it asks again at every call. The viewers' role sets no
    // length of its own.
    let installation = Installation::start_with(Setup { lease: "ttl = \"15m\"" }).await;
    let boto3 = pointed_at(&installation, "viewer", VIEWERS).await;
    let outcomes = boto3.walk(&["key", "list:assets", "list:assets", "key"]);
    assert_eq!(outcomes[1..3], ["ok", "ok"]);
    assert_ne!(outcomes[0], outcomes[3], "the second key is another");

    let leases: i64 =
        sqlx::query_scalar("select count(distinct lease_id) from audit_event where type = 'lease.issued'")
            .fetch_one(&mut installation.database.connection().await)
            .await
            .expect("the log can be read");
    assert!(leases >= 2, "{leases} leases on record");
}

#[tokio::test]
async fn boto3_hears_access_denied_for_a_role_that_is_not_its_own() {
    let installation = Installation::start().await;
    for client in ["nobody", "viewer"] {
        let boto3 = pointed_at(&installation, client, STUDIO).await;
        assert_eq!(boto3.walk(&["put:assets/model"]), ["AccessDenied"], "{client}");
    }
    assert_eq!(installation.minio.minted(), 0);
}

#[tokio::test]
async fn a_trailing_newline_in_the_token_file_does_no_harm() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("studio").await;
    let boto3 = Boto3::against(&installation.minio)
        .with_token_file(&format!("{token}\n"))
        .with("AWS_ROLE_ARN", STUDIO)
        .with("AWS_ENDPOINT_URL_STS", &installation.stint.url(""));
    assert_eq!(boto3.walk(&["put:assets/model"]), ["ok"]);
}

#[tokio::test]
async fn boto3_is_told_whose_key_it_holds_until_the_lease_is_revoked() {
    let installation = Installation::start().await;
    let (sts, token) = (installation.stint.url(""), installation.keycloak.token("studio").await);
    let answer = installation.stint.lease(&token, &json!({"role": "studio"})).await;
    let (keys, lease) = (answer.keys(), answer.json()["lease_id"].as_str().expect("an id").to_owned());
    let asks = |keys: &Keys| {
        let boto3 = Boto3::against(&installation.minio).with("AWS_ENDPOINT_URL_STS", &sts).holding(keys);
        boto3.walk(&["whoami"]).remove(0)
    };
    let arn = asks(&keys);
    assert!(arn.starts_with("arn:aws:sts::000000000000:assumed-role/studio/"), "{arn}");
    assert!(arn.ends_with(&lease.replace('-', "")), "{arn}");
    let itself = pointed_at(&installation, "studio", STUDIO).await;
    assert!(itself.walk(&["whoami"])[0].starts_with("arn:aws:sts::000000000000:assumed-role/studio/"));

    let unknown = "InvalidClientTokenId";
    for (wrong, expected) in [
        (Keys { secret_key: "of-somebody-else".to_owned(), ..keys.clone() }, "SignatureDoesNotMatch"),
        (Keys { session_token: "of-somebody-else".to_owned(), ..keys.clone() }, unknown),
        (Keys { access_key: "OFSOMEBODYELSE".to_owned(), ..keys.clone() }, unknown),
    ] {
        assert_eq!(asks(&wrong), expected);
    }
    assert_eq!(asks(&keys), arn);

    let ended = Answer::to_delete(&installation.stint.url(&format!("/v1/leases/{lease}")), &token).await;
    assert_eq!(ended.expect("stint answers").status, 200);
    assert_eq!(asks(&keys), unknown);
}
