//! A Garage of one node, and the admin API as its operator uses it. The operator's own token stays here: `stint` is given one
//! that can do what leases need and nothing else.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::environment::named_by;
use super::{Answer, free_ports, server::Server, until};
use crate::signed::Key;

static SHARED: OnceCell<Garage> = OnceCell::const_new();

/// What `stint` may do, as docs/object-servers.md tells operators.
pub(crate) const SCOPE: [&str; 5] = ["CreateKey", "AllowBucketKey", "DeleteKey", "ListKeys", "ListBuckets"];
const OPERATOR: &str = "the-operators-own-token";

/// A running Garage.
pub(crate) struct Garage {
    _server: Server,
    _directory: TempDir,
    endpoint: String,
    admin: String,
    /// The token of `stint`.
    token: String,
}

impl Garage {
    /// The one that tests share; each works in buckets of its own.
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// One of a test's own, where keys are counted.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        let [s3, admin, rpc] = free_ports();
        let place = directory.path().display();
        let configuration = format!(
            "metadata_dir = \"{place}/meta\"\ndata_dir = \"{place}/data\"\ndb_engine = \"sqlite\"\n\
             replication_factor = 1\nrpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_secret = \"{secret}\"\n[s3_api]\ns3_region = \"us-east-1\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n\
             [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\nadmin_token = \"{OPERATOR}\"\n",
            secret = "5a".repeat(32),
        );
        let file = directory.path().join("garage.toml");
        fs::write(&file, configuration).expect("the configuration is written");
        let mut garage = Command::new(named_by("STINT_LIVE_GARAGE"));
        garage.arg("-c").arg(&file).args(["server", "--single-node"]);
        let server = Server::start("garage", directory.path(), "KILL", &garage);
        let admin = format!("http://127.0.0.1:{admin}");
        let health = format!("{admin}/health");
        until("Garage is healthy", Duration::from_mins(1), async || {
            Answer::to_get(&health).await.is_some_and(|answer| answer.status == 200)
        })
        .await;
        let endpoint = format!("http://127.0.0.1:{s3}");
        let mut garage = Self { _server: server, _directory: directory, endpoint, admin, token: String::new() };
        garage.token = garage.token_of(&SCOPE).await;
        garage
    }

    /// The S3 endpoint.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The admin API.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// The token of `stint`.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The lines of `[object_server]` for a service that holds this token.
    pub(crate) fn configuration(&self, token: &str) -> String {
        let Self { endpoint, admin, .. } = self;
        format!("kind = \"garage\"\nendpoint = \"{endpoint}\"\nadmin_endpoint = \"{admin}\"\nadmin_token = \"{token}\"")
    }

    /// A call as the operator.
    pub(crate) async fn ask(&self, call: &str, body: &Value) -> Answer {
        self.ask_as(OPERATOR, call, body).await
    }

    /// A call with this token: a POST if there is a body.
    pub(crate) async fn ask_as(&self, token: &str, call: &str, body: &Value) -> Answer {
        let url = format!("{}/v2/{call}", self.admin);
        let answer = if body.is_null() {
            Answer::to_get_as(&url, token).await
        } else {
            Answer::to_json(&url, token, body).await
        };
        answer.expect("Garage answers")
    }

    async fn must(&self, call: &str, body: &Value) -> Value {
        let answer = self.ask(call, body).await;
        assert_eq!(answer.status, 200, "{call}: {}", answer.body);
        answer.json()
    }

    /// A token that can do this.
    pub(crate) async fn token_of(&self, scope: &[&str]) -> String {
        let made = self.must("CreateAdminToken", &json!({"name": "stint", "neverExpires": true, "scope": scope})).await;
        made["secretToken"].as_str().expect("a token").to_owned()
    }

    /// Makes a bucket under a global alias, as operators do (one made over S3 has its maker's own alias); its id.
    pub(crate) async fn bucket(&self, name: &str) -> String {
        let made = self.must("CreateBucket", &json!({"globalAlias": name})).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    /// A key that ends at `expiration`, with `permissions` on a bucket.
    pub(crate) async fn key_until(&self, bucket: &str, permissions: &Value, expiration: &str) -> Key {
        let made = self.must("CreateKey", &json!({"name": "by-hand", "expiration": expiration})).await;
        let text = |name: &str| made[name].as_str().expect("text").to_owned();
        let (access, secret) = (text("accessKeyId"), text("secretAccessKey"));
        let allow = json!({"bucketId": bucket, "accessKeyId": access, "permissions": permissions});
        self.must("AllowBucketKey", &allow).await;
        Key { access, secret, token: None }
    }

    /// The same for ten years.
    pub(crate) async fn key(&self, bucket: &str, permissions: &Value) -> Key {
        self.key_until(bucket, permissions, "2036-01-01T00:00:00Z").await
    }

    /// New buckets, and the operator's key that owns them and may make more.
    pub(crate) async fn owner_of(&self, buckets: &[&str]) -> Key {
        let allow = json!({"name": "owner", "expiration": "2036-01-01T00:00:00Z", "allow": {"createBucket": true}});
        let made = self.must("CreateKey", &allow).await;
        let text = |name: &str| made[name].as_str().expect("text").to_owned();
        let key = Key { access: text("accessKeyId"), secret: text("secretAccessKey"), token: None };
        for bucket in buckets {
            self.own(&key, &self.bucket(bucket).await).await;
        }
        key
    }

    /// All rights on a bucket.
    pub(crate) async fn own(&self, key: &Key, bucket: &str) {
        let permissions = json!({"read": true, "write": true, "owner": true});
        let allow = json!({"bucketId": bucket, "accessKeyId": key.access, "permissions": permissions});
        self.must("AllowBucketKey", &allow).await;
    }

    /// Deletes a bucket, which must be empty.
    pub(crate) async fn delete_bucket(&self, name: &str) {
        let found = self.must(&format!("GetBucketInfo?globalAlias={name}"), &Value::Null).await;
        self.must(&format!("DeleteBucket?id={}", found["id"].as_str().expect("an id")), &json!({})).await;
    }

    /// The leases' keys that are there: name and expiration.
    pub(crate) async fn leases(&self) -> Vec<(String, String)> {
        let keys = self.must("ListKeys", &Value::Null).await;
        let text = |key: &Value, name: &str| key[name].as_str().unwrap_or_default().to_owned();
        let keys = keys.as_array().expect("a list").iter();
        keys.map(|key| (text(key, "name"), text(key, "expiration")))
            .filter(|(name, _)| name.starts_with("stint-lease-"))
            .collect()
    }
}
