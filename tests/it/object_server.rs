//! The object server's adapter from outside: readiness and revocation against a server that lies.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use stint::clock::SystemClock;
use stint::lease::LeaseId;
use stint::object_server::{MinioServer, ObjectServer, ObjectServerError, ServerSettings};
use uuid::Uuid;

use crate::harness::object_server::{Reply, ScriptedObjectServer, answer, assume_role_response};

fn minio(endpoint: &str, timeout: Duration) -> MinioServer {
    let settings = ServerSettings {
        endpoint: endpoint.to_owned(),
        region: "us-east-1".to_owned(),
        access_key: "minter".to_owned(),
        secret_key: SecretString::from("mintersecret"),
        timeout,
    };
    MinioServer::new(settings, Arc::new(SystemClock::start())).unwrap()
}

fn lease() -> LeaseId {
    LeaseId::from_uuid(Uuid::from_u128(7))
}

async fn revoke(reply: Reply) -> (Result<(), ObjectServerError>, ScriptedObjectServer) {
    let double = ScriptedObjectServer::start(vec![reply]).await;
    (minio(double.endpoint(), Duration::from_secs(2)).revoke(&lease().into()).await, double)
}

async fn ready(reply: Reply) -> Result<(), ObjectServerError> {
    let double = ScriptedObjectServer::start(vec![reply]).await;
    minio(double.endpoint(), Duration::from_millis(300)).ready().await
}

#[tokio::test]
async fn a_lease_is_revoked_alone_and_by_its_parent() {
    let (revoked, double) = revoke(Reply::http(204, "application/json", "")).await;
    revoked.unwrap();
    let [request] = double.received().try_into().unwrap();
    assert_eq!(
        request.line,
        "POST /minio/admin/v3/revoke-tokens/builtin?tokenRevokeType=00000000-0000-0000-0000-000000000007&user=minter \
         HTTP/1.1"
    );
    assert!(request.headers["authorization"].contains("Credential=minter/"));
    assert!(request.headers["authorization"].contains("/us-east-1/s3/aws4_request,"));
    assert!(request.headers.contains_key("x-amz-content-sha256"));
    assert_eq!(request.body, "");
}

#[tokio::test]
async fn a_revocation_that_is_not_confirmed_is_an_error() {
    let json = r#"{"Code":"AccessDenied","Message":"Access Denied."}"#;
    let (Err(ObjectServerError::Refused { status: 403, code }), _) =
        revoke(Reply::http(403, "application/json", json)).await
    else {
        panic!()
    };
    assert_eq!(code, "AccessDenied");
    for reply in [
        Reply::http(200, "application/xml", &assume_role_response("2999-01-01T00:00:00Z")),
        Reply::credentials_for(Duration::from_mins(15)),
        Reply::credentials("never"),
        Reply::refusal(500, "InternalError"),
        Reply::Endless("HTTP/1.1 200 x\r\nconnection: close\r\n\r\n".to_owned()),
        Reply::Bytes(answer(200, "text/plain", 2_000_000_000, "")),
        Reply::Close,
    ] {
        let (revoked, double) = revoke(reply.clone()).await;
        assert!(revoked.is_err(), "{reply:?}");
        assert_eq!(double.received().len(), 1, "{reply:?}");
    }
}

#[tokio::test]
async fn only_a_server_whose_users_are_loaded_is_ready() {
    ready(Reply::http(200, "text/plain", "")).await.unwrap();
    let starting = "HTTP/1.1 503 x\r\nx-minio-server-status: iam-offline\r\ncontent-length: 0\r\n\r\n";
    assert!(matches!(ready(Reply::Bytes(starting.to_owned())).await, Err(ObjectServerError::NotReady)));
    assert!(matches!(ready(Reply::http(404, "text/html", "no")).await, Err(ObjectServerError::Refused { .. })));
    assert!(matches!(ready(Reply::Silence).await, Err(ObjectServerError::Interrupted(_))));
    assert!(matches!(ready(Reply::Drip("HTTP/1.1 200 x".to_owned())).await, Err(ObjectServerError::Interrupted(_))));
}
