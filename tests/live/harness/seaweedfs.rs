//! A SeaweedFS that all tests share: a parent without any right of its own, and roles of different trust.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::environment::named_by;
use super::{Answer, free_ports, server::Server, until};

static SHARED: OnceCell<Seaweedfs> = OnceCell::const_new();

/// By itself it takes half a minute to end, and killed it leaves its local sockets behind.
const AT_ONCE: &str = r#"
trap 'kill -s KILL $server; for port in $PORTS; do rm -f /tmp/seaweedfs-*-"$port".sock; done; exit' TERM
"$0" "$@" &
server=$!
wait $server
"#;

/// A running SeaweedFS.
pub(crate) struct Seaweedfs {
    server: Option<Server>,
    directory: TempDir,
    ports: [u16; 8],
    endpoint: String,
}

impl Seaweedfs {
    /// The one that all tests share; each works in buckets of its own.
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// Starts one of one's own.
    pub(crate) async fn start() -> Self {
        Self::start_with(&Self::roles()).await
    }

    /// One with these roles.
    pub(crate) async fn start_with(iam: &Value) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        let write = |name: &str, content: &Value| {
            fs::write(directory.path().join(name), content.to_string()).expect("the file is written");
        };
        write("s3.json", &identities());
        write("iam.json", iam);
        fs::create_dir(directory.path().join("data")).expect("the data directory is made");
        // A gRPC port would be the other port and 10,000, which may be beyond the last one.
        let ports: [u16; 8] = free_ports();
        let endpoint = format!("http://127.0.0.1:{}", ports[0]);
        let mut seaweedfs = Self { server: None, directory, ports, endpoint };
        seaweedfs.start_again().await;
        seaweedfs
    }

    /// Starts the server on the data that is there.
    pub(crate) async fn start_again(&mut self) {
        let [s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc] = self.ports;
        let mut weed = Command::new("bash");
        weed.args(["-c", AT_ONCE]).arg(named_by("STINT_LIVE_WEED"));
        weed.env("PORTS", self.ports.map(|port| port.to_string()).join(" "));
        weed.args(["server", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"])
            .args([
                "-s3.config=s3.json",
                "-s3.iam.config=iam.json",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-master.telemetry=false",
            ])
            .args([format!("-s3.port={s3}"), format!("-s3.port.grpc={s3_grpc}")])
            .args([format!("-master.port={master}"), format!("-master.port.grpc={master_grpc}")])
            .args([format!("-volume.port={volume}"), format!("-volume.port.grpc={volume_grpc}")])
            .args([format!("-filer.port={filer}"), format!("-filer.port.grpc={filer_grpc}")])
            .args(["-master.volumeSizeLimitMB=64", "-volume.max=200"])
            .current_dir(self.directory.path());
        self.server = Some(Server::start("seaweedfs", self.directory.path(), "TERM", &weed));
        let ready = format!("{}/readyz", self.endpoint);
        until("SeaweedFS is ready", Duration::from_mins(2), async || {
            Answer::to_get(&ready).await.is_some_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// Stops the server as a crash would.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    /// The S3 endpoint, which is the STS too.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// `Vend` may do everything and trusts the minter; `Bucket` may only reach the bucket `lent`; `Anyone` trusts everybody.
    pub(crate) fn roles() -> Value {
        let role = |name: &str, policy: &str, principal: Value| {
            json!({"roleName": name, "roleArn": Self::role(name), "attachedPolicies": [policy],
                   "trustPolicy": {"Version": "2012-10-17",
                       "Statement": [{"Effect": "Allow", "Principal": principal, "Action": ["sts:AssumeRole"]}]}})
        };
        let policy = |name: &str, resources: Value| {
            json!({"name": name, "document": {"Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": resources}]}})
        };
        let minter = json!({"AWS": ["arn:aws:iam::000000000000:user/minter"]});
        let mut short = role("Short", "All", minter.clone());
        short["maxSessionDuration"] = json!(3600);
        json!({
            "sts": {"tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "live-tests",
                    "signingKey": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="},
            "policy": {"defaultEffect": "Deny", "storeType": "memory"},
            "roles": [role("Vend", "All", minter.clone()), role("Bucket", "Lent", minter), short,
                      role("Anyone", "All", json!({"AWS": ["*"]}))],
            "policies": [policy("All", json!(["arn:aws:s3:::*", "arn:aws:s3:::*/*"])),
                         policy("Lent", json!(["arn:aws:s3:::lent", "arn:aws:s3:::lent/*"]))]
        })
    }

    /// The ARN of a role.
    pub(crate) fn role(name: &str) -> String {
        format!("arn:aws:iam::000000000000:role/{name}")
    }
}

/// `minter` holds nothing but its key; `admin` owns the buckets; `stranger` is trusted by nobody.
fn identities() -> Value {
    let identity = |name: &str, actions: Value| {
        json!({"name": name, "actions": actions,
               "credentials": [{"accessKey": name, "secretKey": format!("{name}secret")}]})
    };
    json!({"identities": [identity("minter", json!([])), identity("stranger", json!([])), identity("admin", json!(["Admin"]))]})
}
