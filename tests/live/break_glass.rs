//! The glass is broken: the identity provider and PostgreSQL are really stopped, and two of three custodians get one person
//! to the objects, with the real commands of the real binary; then everything comes back, and nothing of it is lost.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Boto3, Custodians, Database, Keycloak, Minio, PARENT, Stint, free_port, until};
use crate::webhook::WebhookDouble;

const REFUSED: &str = "AccessDenied";
const SECRET: &str = "whsec_bGl2ZS1zZWNyZXQtb2YtdGhlLXdlYmhvb2stZG91Ymxl";

/// An installation with break-glass, on an issuer and a database that the test may stop.
struct Scene {
    stint: Stint,
    minio: Minio,
    database: Database,
    keycloak: Option<Keycloak>,
    port: u16,
    custodians: Custodians,
    webhook: WebhookDouble,
    _key: tempfile::TempDir,
}

/// Reads and writes below `prefix`, and may ask where the bucket is: what can be asked without a change proves the end.
fn document(bucket: &str, prefix: &str) -> String {
    let objects = json!({"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        "Resource": [format!("arn:aws:s3:::{bucket}/{prefix}*")]});
    let place = json!({"Effect": "Allow", "Action": ["s3:GetBucketLocation"],
        "Resource": [format!("arn:aws:s3:::{bucket}")]});
    json!({"Version": "2012-10-17", "Statement": [objects, place]}).to_string()
}

/// As an operator makes the key that seals the log.
fn signing_key() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
    let file = directory.path().join("signing.pem");
    let file = file.to_str().expect("the path is text").to_owned();
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out", &file]).output();
    assert!(made.is_ok_and(|made| made.status.success()), "openssl makes a key");
    let private = Command::new("chmod").args(["600", &file]).status();
    assert!(private.is_ok_and(|status| status.success()));
    (directory, file)
}

impl Scene {
    async fn start() -> Self {
        let port = free_port();
        let keycloak = Keycloak::start(port).await;
        let (database, minio) = (Database::start().await, Minio::start().await);
        let (custodians, webhook) = (Custodians::new(), WebhookDouble::start([]).await);
        let (key_directory, key) = signing_key();
        let policy = format!(
            "quorum = 2\ndeclared_quorum = 3\nconditions = [\"issuer_down\", \"log_down\"]\nminimum_outage = \"30s\"\n\
             review_within = \"72h\"\ndrill_every = \"90d\"\nalert_webhook = \"{}\"\n{}\
             [[role]]\nname = \"emergency-write\"\ndocuments = [\"emergency-write\"]\nlength = \"15m\"\n\
             [drill]\nrole = \"drill\"\ndocuments = [\"break-glass-drill\"]\nlength = \"15m\"\nbucket = \"assets\"\n",
            webhook.url("/alerts"),
            custodians.blocks(),
        );
        let policies = [
            ("break-glass.toml", policy),
            ("documents/emergency-write.json", document("recordings", "")),
            ("documents/break-glass-drill.json", document("assets", "drill/")),
        ];
        let object_server = format!(
            "kind = \"minio\"\nendpoint = \"{}\"\naccess_key = \"{PARENT}\"\nsecret_key = \"{}\"",
            minio.endpoint(),
            minio.parent_secret(),
        );
        let more = format!(
            "[break_glass]\njournal = \"journal\"\nwebhook_secret = \"{SECRET}\"\n[audit]\nsigning_key_file = \"{key}\"\n"
        );
        let stint = Stint::start_saying(&object_server, &keycloak.issuer(), &database, &policies, &more).await;
        stint.until_ready().await;
        let keycloak = Some(keycloak);
        Self { stint, minio, database, keycloak, port, custodians, webhook, _key: key_directory }
    }

    fn url(&self) -> String {
        self.stint.url("")
    }

    /// What anybody may know.
    async fn status(&self) -> Value {
        Answer::to_get(&self.stint.url("/v1/break-glass")).await.expect("stint answers").json()
    }

    async fn standing(&self, condition: &str) -> Value {
        let status = self.status().await;
        let conditions = status["conditions"].as_array().unwrap_or_else(|| panic!("{status}")).clone();
        conditions.into_iter().find(|known| known["name"] == condition).expect("the policy names it")["standing"]
            .clone()
    }

    /// A request by alice, signed by these.
    fn signed_request(&self, kind: &str, role: &str, file: &str, signers: &[&str]) {
        self.custodians.request(&self.url(), kind, role, file);
        self.custodians.sign(file, signers);
    }

    /// What became of a request that must be refused.
    fn refused(&self, file: &str) -> String {
        let ended = self.custodians.does(&["submit", file, "--url", &self.url(), "--out", "refused.json"]);
        assert_ne!(ended.code, Some(0), "{ended:?}");
        assert!(!self.custodians.file("refused.json").exists(), "a refusal leaves nothing");
        ended.stderr
    }

    async fn rows(&self, kind: &str) -> i64 {
        self.database.rows(kind).await
    }

    fn verify(&self) {
        let verified = self.stint.run(&["audit", "verify"]);
        let (out, error) = (String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&verified.stderr));
        assert!(verified.status.success(), "{out}{error}");
    }
}

#[tokio::test]
async fn when_everything_is_down_two_custodians_reach_the_objects_and_all_of_it_is_in_the_log_afterwards() {
    let mut scene = Scene::start().await;
    let token = scene.keycloak.as_ref().expect("it runs").token("studio").await;
    assert_eq!(scene.stint.lease(&token, &json!({})).await.status, 201, "before the emergency everything works");

    // Nothing is down: the same document is refused, and works later.
    scene.signed_request("outage", "emergency-write", "request.json", &["alice", "bob"]);
    let refusal = scene.refused("request.json");
    assert!(refusal.contains("no outage"), "{refusal}");

    // The identity provider and PostgreSQL are stopped. An outage of seconds is none.
    scene.keycloak = None;
    scene.database.stop();
    let minted = scene.minio.minted();
    until("stint has seen the outage", Duration::from_secs(30), async || {
        scene.standing("issuer_down").await == "silent" && scene.standing("log_down").await == "silent"
    })
    .await;
    assert_eq!(scene.stint.lease(&token, &json!({})).await.status, 503, "nobody gets anything without the log");
    let refusal = scene.refused("request.json");
    assert!(refusal.contains("no outage"), "{refusal}");
    until("the outage counts", Duration::from_secs(90), async || {
        scene.standing("issuer_down").await == "holds" && scene.standing("log_down").await == "holds"
    })
    .await;

    // One signature is not enough, and nobody's word but the custodians' is taken.
    scene.signed_request("outage", "emergency-write", "alone.json", &["alice"]);
    scene.refused("alone.json");
    assert_eq!(scene.minio.minted(), minted, "nothing was minted for any of them");

    // Two of three.
    let url = scene.url();
    let submitted = scene.custodians.does(&["submit", "request.json", "--url", &url, "--out", "answer.json"]);
    submitted.well();
    let answer = scene.custodians.json("answer.json");
    let conditions = answer["conditions"].to_string();
    assert!(conditions.contains("issuer_down") && conditions.contains("log_down"), "{answer}");
    let keys = scene.custodians.open("answer.json", "request.json");
    assert!(!answer.to_string().contains(&keys.secret_key), "only the recipient opens it");
    let holder = Boto3::against(&scene.minio).holding(&keys);
    let outcomes = holder.walk(&["put:recordings/take-1", "get:recordings/take-1", "put:assets/x", "list:recordings"]);
    assert_eq!(outcomes, ["ok", "ok", REFUSED, REFUSED]);

    // It works once, and the next use waits for the review of this one.
    let replay = scene.refused("request.json");
    assert!(replay.contains("once"), "{replay}");
    scene.signed_request("outage", "emergency-write", "next.json", &["alice", "bob"]);
    let blocked = scene.refused("next.json");
    assert!(blocked.contains("review"), "{blocked}");

    // One custodian ends the lease: MinIO refuses it from then on.
    let nonce = scene.status().await["open_reviews"][0]["use"].as_str().expect("a use is open").to_owned();
    scene.custodians.does(&["cancel", &nonce, "--why", "done", "--out", "cancellation.json"]).well();
    scene.custodians.sign("cancellation.json", &["carol"]);
    scene.custodians.does(&["submit", "cancellation.json", "--url", &url]).well();
    let after = holder.walk(&["get:recordings/take-1", "put:recordings/take-2"]);
    assert!(after.iter().all(|outcome| outcome != "ok"), "{after:?}");
    assert!(scene.status().await["open_reviews"][0]["good_until"].is_null(), "it was seen to be refused");

    // Killed and started without PostgreSQL it serves break-glass alone, and remembers what was used.
    scene.stint.stop();
    scene.stint.start_again().await;
    assert_eq!(scene.stint.lease(&token, &json!({})).await.status, 503);
    let replay = scene.refused("request.json");
    assert!(replay.contains("once"), "{replay}");

    // PostgreSQL is back: the journal is merged before anything else is said, and the log holds.
    scene.database.start_again().await;
    until("the journal is merged", Duration::from_mins(1), async || {
        let status = scene.status().await;
        status["journal_waits"] == false && status["shared_log"] == true
    })
    .await;
    for (kind, rows) in [
        ("break_glass.requested", 1),
        ("break_glass.granted", 1),
        ("break_glass.review_opened", 1),
        ("break_glass.ended", 1),
        ("break_glass.failed", 0),
    ] {
        assert_eq!(scene.rows(kind).await, rows, "{kind}");
    }
    scene.verify();
    scene.keycloak = Some(Keycloak::start(scene.port).await);
    let token = scene.keycloak.as_ref().expect("it runs").token("studio").await;
    until("leases are issued again", Duration::from_mins(2), async || {
        scene.stint.lease(&token, &json!({})).await.status == 201
    })
    .await;

    // The review is closed by two who did not ask.
    let findings = ["--findings", "take-1 was written, and nothing else", "--out", "review.json"];
    scene.custodians.does(&[&["review", &nonce][..], &findings].concat()).well();
    scene.custodians.sign("review.json", &["alice", "bob"]);
    let early = scene.custodians.does(&["submit", "review.json", "--url", &url]);
    assert_ne!(early.code, Some(0), "alice asked for it: {early:?}");
    scene.custodians.sign("review.json", &["carol"]);
    scene.custodians.does(&["submit", "review.json", "--url", &url]).well();
    assert_eq!(scene.status().await["open_reviews"], json!([]));

    // A drill, with nothing down.
    let keys = ["--key", "alice=alice.pem", "--key", "bob=bob.pem", "--passphrase-file", "passphrase"];
    scene.custodians.does(&[&["drill", "--url", &url][..], &keys].concat()).well();
    let status = scene.status().await;
    assert!(status["last_drill"].is_string() && status["drill_overdue"] == false, "{status}");
    until("the drill is in the log", Duration::from_secs(30), async || scene.rows("break_glass.drilled").await == 1)
        .await;
    scene.verify();

    // Who watches the webhook knew of every step.
    let told = tokio::time::timeout(Duration::from_secs(30), scene.webhook.received(8)).await.expect("alerts came");
    assert!(told.iter().all(|alert| alert.is_signed_with(SECRET)));
    let told: BTreeSet<String> =
        told.iter().map(|alert| alert.json()["type"].as_str().unwrap_or_default().to_owned()).collect();
    for event in ["requested", "granted", "refused", "review_opened", "ended", "review_closed", "drilled"] {
        assert!(told.contains(&format!("break_glass.{event}")), "{event}: {told:?}");
    }
    let log = scene.stint.log();
    assert!(!log.contains(&answer["sealed"].to_string()) && !log.contains(SECRET));
}
