//! artifact-store's way with its bucket, by unmodified aioboto3 (`tests/live/artifact_store.py`), on each server: under leases
//! that the real service gives for Keycloak's tokens, kept to its prefix, and renewed halfway.

use serde_json::{Value, json};

use crate::dialect::{ADMINS, allow};
use crate::harness::{
    ArtifactStore, AwsEmulator, Ceph, Database, Installation, Keycloak, Minio, Place, Rustfs, Seaweedfs, Stint,
};
use crate::signed::Key;

/// A bucket that the studio's role has, and the prefix that is the artifact store's own.
const BUCKET: &str = "exports";
const PREFIX: &str = "artifacts/";

/// What has to hold under the first lease, and what under the second.
const FIRST: [&str; 5] =
    ["health", "upload, multipart upload, metadata", "range reads, whole reads", "list with prefix", "presigned URL"];
const SECOND: [&str; 4] =
    ["health", "an upload begun under one lease and completed under the next", "aborted upload", "delete"];

/// What an artifact store asks for: no more than its role has, below its own prefix. `head_bucket`, its health check, is a
/// listing without a prefix: the listing of the bucket must be allowed without a condition.
fn wanted() -> Value {
    let (bucket, objects) = (format!("arn:aws:s3:::{BUCKET}"), format!("arn:aws:s3:::{BUCKET}/{PREFIX}*"));
    let session_policy = json!({"Version": "2012-10-17", "Statement": [
        allow(&["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload",
                "s3:ListMultipartUploadParts"], &[&objects]),
        allow(&["s3:ListBucket", "s3:ListBucketMultipartUploads"], &[&bucket]),
    ]});
    json!({"role": "studio", "session_policy": session_policy})
}

/// The whole story before one server; `foreign` is a bucket that is there and that no role names.
pub(crate) async fn keeps_its_artifacts(
    stint: &Stint,
    database: &Database,
    endpoint: &str,
    foreign: &str,
    wanted: &Value,
) {
    keeps_its_artifacts_with(&[], stint, database, endpoint, foreign, wanted).await;
}

/// The same, with an SDK that is told more by its environment.
pub(crate) async fn keeps_its_artifacts_with(
    environment: &[(&str, &str)],
    stint: &Stint,
    database: &Database,
    endpoint: &str,
    foreign: &str,
    wanted: &Value,
) {
    let token = Keycloak::shared().await.token("studio").await;
    let lease = async || {
        let answer = stint.lease(&token, wanted).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.keys()
    };
    let place = Place { endpoint, region: "us-east-1", bucket: BUCKET, prefix: PREFIX, foreign, environment };
    let mut store = ArtifactStore::start(&place, &lease().await);
    assert_eq!(store.until_it_awaits_a_lease(), FIRST);
    assert_eq!(store.renewed(&lease().await), SECOND);
    assert_eq!(database.rows("lease.issued").await, 2);
}

/// The same with a service of its own before a server that others use too.
async fn keeps_its_artifacts_on(object_server: &str, endpoint: &str, owner: &Key) {
    let foreign = "not-for-artifacts";
    for bucket in [BUCKET, foreign] {
        let made = owner.s3("PUT", &format!("{endpoint}/{bucket}"), "").await;
        assert_eq!(made.status, 200, "{bucket}: {}", made.body);
    }
    let (keycloak, database) = (Keycloak::shared().await, Database::start().await);
    let stint = Stint::start_before(object_server, &keycloak.issuer(), &database, "ttl = \"60m\"", &ADMINS).await;
    stint.until_ready().await;
    keeps_its_artifacts(&stint, &database, endpoint, foreign, &wanted()).await;
}

fn of_roles(kind: &str, endpoint: &str, role: &str) -> String {
    format!(
        "kind = \"{kind}\"\nendpoint = \"{endpoint}\"\nrole_arn = \"{role}\"\naccess_key = \"minter\"\n\
         secret_key = \"mintersecret\""
    )
}

#[tokio::test]
async fn minio_keeps_the_artifacts_of_a_store_whose_lease_is_renewed() {
    let installation = Installation::start().await;
    let endpoint = installation.minio.endpoint();
    keeps_its_artifacts(&installation.stint, &installation.database, &endpoint, "foreign", &wanted()).await;
}

#[tokio::test]
async fn minio_last_keeps_the_artifacts_of_a_store_whose_lease_is_renewed() {
    let (minio, database) = (Minio::last().await, Database::start().await);
    let issuer = Keycloak::shared().await.issuer();
    let stint = Stint::start(&issuer, &database, &minio, "ttl = \"60m\"").await;
    stint.until_ready().await;
    keeps_its_artifacts(&stint, &database, &minio.endpoint(), "foreign", &wanted()).await;
}

#[tokio::test]
async fn seaweedfs_keeps_the_artifacts_of_a_store_whose_lease_is_renewed() {
    let server = Seaweedfs::shared().await;
    let object_server = of_roles("seaweedfs", server.endpoint(), &Seaweedfs::role("Vend"));
    let owner = Key { access: "admin".to_owned(), secret: "adminsecret".to_owned(), token: None };
    keeps_its_artifacts_on(&object_server, server.endpoint(), &owner).await;
}

#[tokio::test]
async fn ceph_keeps_the_artifacts_of_a_store_whose_lease_is_renewed() {
    let ceph = Ceph::shared().await;
    ceph.role("artifacts", true).await;
    let object_server = of_roles("ceph", ceph.endpoint(), &Ceph::arn("artifacts"));
    keeps_its_artifacts_on(&object_server, ceph.endpoint(), &Ceph::key("minter")).await;
}

#[tokio::test]
async fn rustfs_keeps_the_artifacts_of_a_store_whose_lease_is_renewed() {
    let server = Rustfs::shared().await;
    keeps_its_artifacts_on(&server.configuration(), server.endpoint(), &Rustfs::root()).await;
}

#[tokio::test]
async fn the_aws_emulator_keeps_the_artifacts_of_a_store_whose_lease_is_renewed() {
    let emulator = AwsEmulator::shared().await;
    keeps_its_artifacts_on(&emulator.configuration(), emulator.endpoint(), emulator.administrator()).await;
}

/// `HEAD` of a bucket has no prefix, so a lease whose listing is kept to one is unhealthy in an artifact store's eyes.
#[tokio::test]
async fn health_by_head_bucket_wants_a_listing_without_a_condition() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("studio").await;
    let mut kept = wanted();
    kept["session_policy"]["Statement"][1] = allow(&["s3:ListBucket"], &["arn:aws:s3:::exports"]);
    let open = kept.clone();
    kept["session_policy"]["Statement"][1]["Condition"] = json!({"StringLike": {"s3:prefix": ["artifacts/*"]}});
    for (wanted, status) in [(open, 200), (kept, 403)] {
        let lease = installation.stint.lease(&token, &wanted).await;
        let keys = lease.keys();
        let key = Key { access: keys.access_key, secret: keys.secret_key, token: Some(keys.session_token) };
        let bucket = format!("{}/{BUCKET}", installation.minio.endpoint());
        assert_eq!(key.s3("HEAD", &bucket, "").await.status, status);
        assert_eq!(key.s3("GET", &format!("{bucket}?prefix=artifacts%2F"), "").await.status, 200);
    }
}
