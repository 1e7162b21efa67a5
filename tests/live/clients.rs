//! Unmodified clients, each told of `stint` by its environment alone (two by one argument), at work through refreshes and
//! through an outage of the service, on a real MinIO. What they did is read from MinIO's own log of requests.
//!
//! A lease lives 15 minutes at the least. Here most of that is grace, so that clients see leases of seconds and refresh for
//! real; each client's own rule decides how long they have to look.

use std::future::ready;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Database, Issuer, Minio, PARENT, S3Log, Said, Stint, keep_client, named_by, until};

/// What a client finds in its environment.
#[derive(Clone, Copy)]
enum Way {
    /// The variables of `AssumeRoleWithWebIdentity`.
    Sts,
    /// Those of container credentials, as on loopback beside the service.
    Container,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Sts => "STS door",
            Self::Container => "container door",
        }
    }
}

/// Advertised for so many seconds. Clients that refresh at the very end, or some seconds before it, get few.
const SHORT: u64 = 12;
/// boto is in its refresh window below 900 s, asking at each request, and keeps what it has through a failure above 600.
const WITHIN_BOTOS_WINDOW: u64 = 840;
/// `object_store` asks anew from 300 s before the end, and has nothing to fall back on then.
const ABOVE_FIVE_MINUTES: u64 = 308;

/// Who it works as: its account at the issuer, the role of that account's group, its bucket.
struct Account(&'static str, &'static str, &'static str);

const STUDIO: Account = Account("studio", "spacemusic-studio", "assets");
const EGRESS: Account = Account("livekit-egress", "egress-write", "recordings");
const RCLONE: Account = Account("studio-rclone", "readwrite", "textures");
const BACKUP: Account = Account("backup-agent", "backup-write", "backups");

/// The shipped roles have lengths of their own; without these files they are bound to their groups, and have none.
const OF_60_MINUTES: [&str; 4] =
    ["roles/studio.toml", "roles/livekit-egress.toml", "roles/studio-rclone.toml", "roles/backup-agent.toml"];

/// A service before a MinIO that tells of its requests. Fields are dropped in order.
struct Site {
    stint: Stint,
    minio: Minio,
    database: Database,
    log: S3Log,
    issuer: Issuer,
}

impl Site {
    async fn start(advertised: u64) -> Self {
        let (log, database) = (S3Log::start().await, Database::start().await);
        let minio = Minio::told(&log.environment()).await;
        let lease = format!(
            "ttl = \"15m\"\njitter = 0\ngrace = \"{}s\"\nreuse = false\nself_test = \"off\"",
            15 * 60 - advertised
        );
        let object_server = format!(
            "kind = \"minio\"\nendpoint = \"{}\"\naccess_key = \"{}\"\nsecret_key = \"{}\"",
            minio.endpoint(),
            PARENT,
            minio.parent_secret()
        );
        let issuer = Issuer::start().await;
        let stint = Stint::start_before(&object_server, issuer.url(), &database, &lease, &OF_60_MINUTES).await;
        stint.until_ready().await;
        Self { stint, minio, database, log, issuer }
    }

    fn told(&self, client: Client, way: Way, Account(account, role, _): &Account) -> Client {
        let token = self.issuer.member(account, role);
        match way {
            Way::Sts => client
                .with("AWS_ROLE_ARN", &format!("arn:aws:iam::000000000000:role/{role}"))
                .with("AWS_ENDPOINT_URL_STS", &self.stint.url(""))
                .with_file("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
            Way::Container => client
                .with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &self.stint.url(&format!("/v1/roles/{role}/credentials")))
                .with_file("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
        }
    }

    /// How many requests under leases have gone well.
    fn went_well(&self) -> usize {
        self.log.requests().iter().filter(|request| request.went_well()).count()
    }
}

/// The whole story of one client: it starts, refreshes twice, works on while the service is gone, refreshes after it is back,
/// and ends well when told to. `program` makes it, for the bucket of its account.
async fn story(
    name: &str,
    way: Way,
    advertised: u64,
    account: &Account,
    program: impl FnOnce(&Minio, &str) -> Client,
) -> Said {
    let mut site = Site::start(advertised).await;
    let client = site.told(program(&site.minio, account.2), way, account);
    let mut client = client.start();
    let patience = Duration::from_mins(2);

    until("it has refreshed twice", patience, || {
        client.must_work();
        ready(site.log.keys().len() >= 3)
    })
    .await;

    site.stint.stop();
    let before = site.went_well();
    until("it works on while the service is gone", patience, || {
        client.must_work();
        ready(site.went_well() >= before + 3)
    })
    .await;
    let in_outage = site.went_well() - before;
    let known = site.log.keys();

    site.stint.start_again().await;
    until("it refreshes after the service is back", patience, || {
        client.must_work();
        ready(site.log.keys().len() > known.len())
    })
    .await;
    let said = client.end().await;

    let requests = site.log.requests();
    let refused: Vec<&str> =
        requests.iter().filter(|it| matches!(it.status, 401 | 403)).map(|it| &*it.operation).collect();
    assert!(refused.is_empty(), "MinIO refused nothing: {refused:?}");
    assert!(said.done > said.failed, "{} steps done, {} failed", said.done, said.failed);
    let (keys, issued) = (site.log.keys().len(), site.database.rows("lease.issued").await);
    assert!(usize::try_from(issued).is_ok_and(|issued| issued >= keys), "{keys} keys of {issued} leases on record");
    let row = json!({
        "version": said.version, "advertised_seconds": advertised, "keys": keys, "requests": requests.len(),
        "in_outage": in_outage, "steps": said.done, "failed_steps": said.failed,
    });
    keep_client(name, way.name(), row);
    said
}

const PYTHON: &str = "STINT_LIVE_CLIENTS_PYTHON";
const AIOPYTHON: &str = "STINT_LIVE_CLIENTS_AIOPYTHON";

/// A script, which no step may fail.
async fn patient(name: &str, way: Way, advertised: u64, account: &Account, environment: &str, script: &str) {
    let said =
        story(name, way, advertised, account, |minio, bucket| Client::python(environment, script, minio, bucket)).await;
    assert_eq!(said.failed, 0, "no step fails");
}

#[tokio::test]
async fn boto3_refreshes_and_works_through_an_outage() {
    patient("boto3", Way::Sts, WITHIN_BOTOS_WINDOW, &STUDIO, PYTHON, "with_boto3.py").await;
}

#[tokio::test]
async fn aioboto3_refreshes_and_works_through_an_outage() {
    patient("aioboto3", Way::Sts, WITHIN_BOTOS_WINDOW, &STUDIO, AIOPYTHON, "with_aioboto3.py").await;
}

#[tokio::test]
async fn s3fs_refreshes_and_works_through_an_outage() {
    patient("s3fs", Way::Sts, WITHIN_BOTOS_WINDOW, &STUDIO, AIOPYTHON, "with_s3fs.py").await;
}

/// The recipe of `backup-agent`: a dump goes through a pipe, and takes longer than a lease.
#[tokio::test]
async fn aws_cli_uploads_a_dump_that_takes_longer_than_a_lease() {
    patient("aws-cli", Way::Sts, WITHIN_BOTOS_WINDOW, &BACKUP, PYTHON, "with_aws_cli.py").await;
}

#[tokio::test]
async fn aws_sdk_js_refreshes_and_works_through_an_outage() {
    story("aws-sdk-js v3", Way::Sts, SHORT, &STUDIO, |minio, bucket| {
        let program = named_by("STINT_LIVE_CLIENTS_NODE").join("with_client_s3.mjs");
        Client::of("/usr/bin/env".as_ref(), minio, bucket).argument("node").argument(program)
    })
    .await;
}

/// The recipe of `livekit-egress`: its uploader is the SDK's, on the SDK's own chain, with no key in any request.
#[tokio::test]
async fn aws_sdk_go_uploads_recordings_through_an_outage() {
    story("aws-sdk-go-v2", Way::Sts, SHORT, &EGRESS, |minio, bucket| {
        Client::of(&named_by("STINT_LIVE_CLIENTS_GO").join("aws"), minio, bucket)
    })
    .await;
}

#[tokio::test]
async fn aws_sdk_rust_refreshes_and_works_through_an_outage() {
    story("aws-sdk-rust", Way::Sts, SHORT, &STUDIO, |minio, bucket| {
        Client::of(&named_by("STINT_LIVE_CLIENTS_RUST").join("aws-sdk-rust"), minio, bucket)
    })
    .await;
}

#[tokio::test]
async fn minio_py_refreshes_when_its_code_names_the_door() {
    story("minio-py", Way::Sts, SHORT, &STUDIO, |minio, bucket| {
        Client::python(PYTHON, "with_minio.py", minio, bucket).argument("sts")
    })
    .await;
}

#[tokio::test]
async fn minio_go_refreshes_when_its_code_names_the_door() {
    story("minio-go", Way::Sts, SHORT, &STUDIO, |minio, bucket| {
        Client::of(&named_by("STINT_LIVE_CLIENTS_GO").join("minio"), minio, bucket).argument("sts")
    })
    .await;
}

#[tokio::test]
async fn rclone_copies_through_an_outage() {
    story("rclone copy", Way::Sts, SHORT, &RCLONE, |minio, bucket| {
        Client::python(PYTHON, "with_rclone.py", minio, bucket).argument("copy")
    })
    .await;
}

/// The recipe of `studio-rclone`: what a mount does, by the same layer, for those who have no FUSE.
#[tokio::test]
async fn rclone_serves_through_an_outage() {
    story("rclone serve", Way::Sts, SHORT, &RCLONE, |minio, bucket| {
        Client::python(PYTHON, "with_rclone.py", minio, bucket).argument("serve")
    })
    .await;
}

#[tokio::test]
async fn object_store_refreshes_and_works_through_an_outage() {
    story("object_store", Way::Container, ABOVE_FIVE_MINUTES, &STUDIO, |minio, bucket| {
        Client::python(PYTHON, "with_object_store.py", minio, bucket)
    })
    .await;
}
