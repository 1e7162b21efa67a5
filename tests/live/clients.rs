//! Unmodified clients, each told of `stint` by its environment alone (two by one argument), at work through refreshes and
//! through an outage of the service, on a real MinIO. What they did is read from MinIO's own log of requests.
//!
//! A lease lives 15 minutes at the least. Here most of that is grace, so that clients see leases of seconds and refresh for
//! real; each client's own rule decides how long they have to look.

use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::{
    Agent, Answer, Client, Database, Issuer, Minio, PARENT, S3Log, Said, Stint, Working, keep_client, named_by, now,
    until,
};

/// How a client comes by its credentials.
#[derive(Clone, Copy)]
enum Way {
    /// The variables of `AssumeRoleWithWebIdentity`.
    Sts,
    /// Those of container credentials, from an agent beside it.
    AgentServe,
    /// The same, from an agent around it.
    AgentExec,
    /// A profile that names a program.
    CredentialProcess,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Sts => "STS door",
            Self::AgentServe => "agent serve",
            Self::AgentExec => "agent exec",
            Self::CredentialProcess => "credential-process",
        }
    }
}

/// Advertised for so many seconds. Clients that refresh at the very end, or some seconds before it, get few.
const SHORT: u64 = 12;
/// The agent renews halfway, and serves what it has until the end.
const FOR_THE_AGENT: u64 = 20;
/// Between runs, the program of a profile keeps no lease that ends within a minute.
const FOR_A_PROFILE: u64 = 80;
/// boto is in its refresh window below 900 s, asking at each request, and keeps what it has through a failure above 600.
const WITHIN_BOTOS_WINDOW: u64 = 840;
const STINT: &str = env!("CARGO_BIN_EXE_stint");

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
    /// With leases of 15 minutes that are advertised for so many seconds.
    async fn start(advertised: u64) -> Self {
        let grace = 15 * 60 - advertised;
        Self::start_with(&format!("ttl = \"15m\"\njitter = 0\ngrace = \"{grace}s\"\nreuse = false")).await
    }

    async fn start_with(lease: &str) -> Self {
        let (log, database) = (S3Log::start().await, Database::start().await);
        let minio = Minio::told(&log.environment()).await;
        let lease = format!(
            "{lease}
self_test = \"off\""
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

    async fn told(&self, client: Client, way: Way, Account(account, role, _): &Account) -> (Client, Option<Agent>) {
        let (token, stint) = (self.issuer.member(account, role), self.stint.url(""));
        match way {
            Way::Sts => {
                let client = client
                    .with("AWS_ROLE_ARN", &format!("arn:aws:iam::000000000000:role/{role}"))
                    .with("AWS_ENDPOINT_URL_STS", &stint)
                    .with_file("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
                (client, None)
            }
            Way::AgentServe => {
                let agent = Agent::serve(&stint, role, &token).await;
                let with = |client: Client, (name, value): (String, String)| client.with(&name, &value);
                (agent.variables().into_iter().fold(client, with), Some(agent))
            }
            Way::AgentExec => {
                let client = client.with_file("STINT_TOKEN_FILE", &token).with("STINT_ROLE", role);
                (client.with("STINT_URL", &stint).within(STINT, &["agent", "exec", "--"]), None)
            }
            Way::CredentialProcess => {
                let client = client.with_file("STINT_TOKEN_FILE", &token).with("STINT_ROLE", role);
                let profile = format!("[default]\ncredential_process = {STINT} credential-process\n");
                (client.with("STINT_URL", &stint).with_home_file(".aws/config", &profile), None)
            }
        }
    }

    /// Ends a lease, as its holder may.
    async fn end(&self, lease: &str, Account(account, role, _): &Account) {
        let url = self.stint.url(&format!("/v1/leases/{lease}"));
        let ended = Answer::to_delete(&url, &self.issuer.member(account, role)).await.expect("stint answers");
        assert_eq!((ended.status, &ended.json()["proven"]), (200, &json!(true)), "{}", ended.body);
    }

    /// Leases on record, the oldest first.
    async fn leases(&self) -> Vec<String> {
        sqlx::query_scalar("select lease_id::text from audit_event where type = 'lease.issued' order by lease_id")
            .fetch_all(&mut self.database.connection().await)
            .await
            .expect("the log can be read")
    }

    /// How many requests under leases have gone well.
    fn went_well(&self) -> usize {
        self.log.requests().iter().filter(|request| request.went_well()).count()
    }
}

const PATIENCE: Duration = Duration::from_mins(2);

/// A client at work. Fields are dropped in order: the client before what it needs.
struct Run {
    client: Working,
    _agent: Option<Agent>,
    site: Site,
    name: &'static str,
    way: Way,
    advertised: u64,
}

impl Run {
    async fn begin(
        name: &'static str,
        way: Way,
        advertised: u64,
        account: &Account,
        program: impl FnOnce(&Minio, &str) -> Client,
    ) -> Self {
        let site = Site::start(advertised).await;
        let (client, agent) = site.told(program(&site.minio, account.2), way, account).await;
        Self { client: client.start(), _agent: agent, site, name, way, advertised }
    }

    /// Waits until the client's requests have gone well under so many keys.
    async fn until_keys(&mut self, what: &str, count: usize) {
        until(what, PATIENCE, || {
            self.client.must_work();
            ready(self.site.log.keys().len() >= count)
        })
        .await;
    }

    /// Ends the service, waits until the client has worked on for a while, and starts the service again: how many requests went
    /// well meanwhile.
    async fn outage(&mut self) -> usize {
        self.site.stint.stop();
        let before = self.site.went_well();
        until("it works on while the service is gone", PATIENCE, || {
            self.client.must_work();
            ready(self.site.went_well() >= before + 3)
        })
        .await;
        let in_outage = self.site.went_well() - before;
        self.site.stint.start_again().await;
        in_outage
    }

    /// Tells the client to stop, and keeps its row.
    async fn end(self, in_outage: usize) -> Said {
        let said = self.client.end().await;
        assert!(said.done > said.failed, "{} steps done, {} failed", said.done, said.failed);
        let (keys, issued) = (self.site.log.keys().len(), self.site.leases().await.len());
        assert!(issued >= keys, "{keys} keys of {issued} leases on record");
        let row = json!({
            "version": said.version, "advertised_seconds": self.advertised, "keys": keys,
            "requests": self.site.log.requests().len(), "in_outage": in_outage, "steps": said.done,
            "failed_steps": said.failed,
        });
        keep_client(self.name, self.way.name(), row);
        said
    }
}

/// The whole story of one client: it starts, refreshes twice, works on while the service is gone, refreshes after it is back,
/// and ends well when told to. `program` makes it, for the bucket of its account.
async fn story(
    name: &'static str,
    way: Way,
    advertised: u64,
    account: &Account,
    program: impl FnOnce(&Minio, &str) -> Client,
) -> Said {
    let mut run = Run::begin(name, way, advertised, account, program).await;
    run.until_keys("it has refreshed twice", 3).await;
    let in_outage = run.outage().await;
    let known = run.site.log.keys().len();
    run.until_keys("it refreshes after the service is back", known + 1).await;
    let refused: Vec<String> = run.site.log.requests().into_iter().filter_map(|it| it.refusal()).collect();
    assert!(refused.is_empty(), "MinIO refused nothing: {refused:?}");
    run.end(in_outage).await
}

const PYTHON: &str = "STINT_LIVE_CLIENTS_PYTHON";
const AIOPYTHON: &str = "STINT_LIVE_CLIENTS_AIOPYTHON";

/// A script, which no step may fail.
async fn patient(name: &'static str, way: Way, advertised: u64, account: &Account, environment: &str, script: &str) {
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

/// The recipe of a Django site: its storage signs a URL for each file.
#[tokio::test]
async fn django_storages_refreshes_and_works_through_an_outage() {
    patient("django-storages", Way::Sts, WITHIN_BOTOS_WINDOW, &STUDIO, PYTHON, "with_django.py").await;
}

/// The URL says an hour, and carries the session token, which says less: the lease bounds it, and so does its revocation.
#[tokio::test]
async fn django_signs_a_url_that_lives_no_longer_than_its_lease() {
    let site = Site::start_with("ttl = \"20m\"\njitter = 0\ngrace = \"1m\"").await;
    let (client, _) =
        site.told(Client::python(PYTHON, "with_django.py", &site.minio, STUDIO.2), Way::Sts, &STUDIO).await;
    let mut client = client.start();
    until("a URL is signed", PATIENCE, || {
        client.must_work();
        ready(client.output().contains("\"url\""))
    })
    .await;
    let line: Value = serde_json::from_str(client.output().lines().next().expect("a line")).expect("JSON");
    let url = line["url"].as_str().expect("a URL");
    client.end().await;

    let parameters: BTreeMap<String, String> =
        form_urlencoded::parse(url.split_once('?').expect("a query").1.as_bytes()).into_owned().collect();
    assert_eq!(parameters["X-Amz-Expires"], "3600");
    let claims = parameters["X-Amz-Security-Token"].split('.').nth(1).expect("MinIO's session tokens are JWTs");
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64url")).expect("JSON");
    let left = claims["exp"].as_i64().expect("an end") - now().unix_timestamp();
    assert!((1..=20 * 60).contains(&left), "{left} s are left");

    assert_eq!(Answer::to_get(url).await.expect("MinIO answers").status, 200);
    let leases = site.leases().await;
    let [lease] = &leases[..] else { panic!("one lease signed all: {leases:?}") };
    site.end(lease, &STUDIO).await;
    assert_eq!(Answer::to_get(url).await.expect("MinIO answers").status, 403);
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

/// The recipe of `studio-rclone`.
#[tokio::test]
async fn rclone_mount_works_through_an_outage() {
    story("rclone mount", Way::Sts, SHORT, &RCLONE, |minio, bucket| {
        let path = format!("{}:/usr/bin:/bin", named_by("STINT_LIVE_CLIENTS_FUSE").display());
        Client::python(PYTHON, "with_rclone.py", minio, bucket).argument("mount").with("PATH", &path)
    })
    .await;
}

/// The same for those who have no FUSE.
#[tokio::test]
async fn rclone_serves_through_an_outage() {
    story("rclone serve", Way::Sts, SHORT, &RCLONE, |minio, bucket| {
        Client::python(PYTHON, "with_rclone.py", minio, bucket).argument("serve")
    })
    .await;
}

/// Through the agent, `object_store` asks it at each request and `minio-go` and `minio-py` are told nothing in code.
#[tokio::test]
async fn object_store_takes_its_leases_from_the_agent_around_it() {
    story("object_store", Way::AgentExec, FOR_THE_AGENT, &STUDIO, |minio, bucket| {
        Client::python(PYTHON, "with_object_store.py", minio, bucket)
    })
    .await;
}

#[tokio::test]
async fn minio_py_as_it_is_takes_its_leases_from_the_agent_around_it() {
    story("minio-py", Way::AgentExec, FOR_THE_AGENT, &STUDIO, |minio, bucket| {
        Client::python(PYTHON, "with_minio.py", minio, bucket).argument("container")
    })
    .await;
}

#[tokio::test]
async fn minio_go_as_it_is_takes_its_leases_from_the_agent_beside_it() {
    story("minio-go", Way::AgentServe, FOR_THE_AGENT, &STUDIO, |minio, bucket| {
        Client::of(&named_by("STINT_LIVE_CLIENTS_GO").join("minio"), minio, bucket).argument("container")
    })
    .await;
}

#[tokio::test]
async fn aws_sdk_java_takes_its_leases_from_the_agent_beside_it() {
    story("aws-sdk-java v2", Way::AgentServe, FOR_THE_AGENT, &STUDIO, |minio, bucket| {
        let home = named_by("STINT_LIVE_CLIENTS_JAVA");
        let classes = format!("{0}/classes:{0}/jars/*", home.display());
        let java = Client::of("/usr/bin/env".as_ref(), minio, bucket).argument("java").argument("-Xmx128m");
        java.argument("-cp").argument(classes).argument("WithAwsSdk")
    })
    .await;
}

/// It never refreshes by time, only when opening a file is refused: leases are ended under it.
#[tokio::test]
async fn duckdb_takes_another_lease_from_the_agent_when_one_is_refused() {
    let program = |minio: &Minio, bucket: &str| Client::python(PYTHON, "with_duckdb.py", minio, bucket);
    let mut run = Run::begin("DuckDB", Way::AgentServe, FOR_THE_AGENT, &STUDIO, program).await;
    run.until_keys("it works", 1).await;
    let (mut ended, mut in_outage) = (0, 0);
    for keys in 2..=4 {
        if keys == 4 {
            in_outage = run.outage().await;
        }
        // All but the newest, which the agent holds now.
        until("the agent has renewed", PATIENCE, async || run.site.leases().await.len() > ended + 1).await;
        let leases = run.site.leases().await;
        for lease in &leases[ended..leases.len() - 1] {
            run.site.end(lease, &STUDIO).await;
        }
        ended = leases.len() - 1;
        run.until_keys("it works with another key", keys).await;
    }
    run.end(in_outage).await;
}

/// Its role must let it delete its own locks, which `backup-write` does not.
#[tokio::test]
async fn restic_backs_up_with_leases_from_the_agent_around_it() {
    let backups = Account(STUDIO.0, STUDIO.1, BACKUP.2);
    story("restic", Way::AgentExec, FOR_THE_AGENT, &backups, |minio, bucket| {
        let restic = named_by("STINT_LIVE_CLIENTS_RESTIC");
        Client::python(PYTHON, "with_restic.py", minio, bucket).argument(restic)
    })
    .await;
}

/// A process for each segment: none could start during the outage but for the agent.
#[tokio::test]
async fn barman_archives_with_leases_from_the_agent_beside_it() {
    story("barman-cloud", Way::AgentServe, FOR_THE_AGENT, &BACKUP, |minio, bucket| {
        Client::python(PYTHON, "with_barman.py", minio, bucket)
    })
    .await;
}

/// The same for a profile: its program keeps the lease between runs.
#[tokio::test]
async fn aws_cli_takes_its_leases_from_a_profile() {
    story("aws-cli", Way::CredentialProcess, FOR_A_PROFILE, &BACKUP, |minio, bucket| {
        Client::python(PYTHON, "with_aws_cli.py", minio, bucket).argument("each")
    })
    .await;
}
