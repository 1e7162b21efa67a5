//! The ceremony through the program: keys, a request, signatures and the sealed answer, without any service.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use secrecy::SecretString;
use serde_json::{Value, json};
use stint::break_glass::ceremony::{
    CancellationDocument, CeremonyError, Document, EmergencyCredentials, Envelope, RecipientKey, RequestDocument,
    approve_cancellation, approve_request,
};
use stint::clock::{Clock, SystemClock};
use stint::policy::{BreakGlass, CustodianKey, PolicyFiles, PolicySet};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::harness::binary::{DOCUMENT, Ended, run, stint};

const PASSPHRASE: &str = "planted correct horse";
const INSTANCE: &str = "0b8f7f3e-5c1d-4a53-9d5c-0f2f5a1b2c3d";

/// A directory of custodians' files.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write("pass", PASSPHRASE);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    async fn stint(&self, words: &str) -> Ended {
        self.with_url(words, None).await
    }

    /// With `STINT_URL` as the runbook has it exported.
    async fn with_url(&self, words: &str, url: Option<&str>) -> Ended {
        let mut command = stint(["break-glass"].into_iter().chain(words.split_whitespace()));
        command.current_dir(self.0.path()).envs(url.map(|url| ("STINT_URL", url)));
        run(command).await
    }

    /// What must go well.
    async fn done(&self, words: &str) -> String {
        let ended = self.stint(words).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{words}: {}", ended.stdout);
        assert!(!ended.stdout.contains(PASSPHRASE));
        ended.stdout
    }

    /// What must be refused, in these words.
    async fn refused(&self, words: &str, told: &str) {
        let ended = self.stint(words).await;
        assert_eq!(ended.code, Some(1), "{words}: {}", ended.stdout);
        assert!(ended.stderr.starts_with("stint: ") && ended.stderr.contains(told), "{words}: {}", ended.stderr);
        assert!(!ended.stderr.contains(PASSPHRASE));
    }

    /// Keys of three custodians, and the policy directory that names them.
    async fn policies(&self) -> PolicySet {
        let mut toml = "quorum = 2\ndeclared_quorum = 3\nconditions = [\"issuer_down\"]\n".to_owned();
        for name in ["alice", "bob", "carol"] {
            toml.push_str(
                &self.done(&format!("keygen --name {name} --contact call-{name} --passphrase-file pass")).await,
            );
        }
        toml.push_str("[[role]]\nname = \"emergency-read\"\ndocuments = [\"emergency-read\"]\n");
        toml.push_str("[drill]\nrole = \"drill\"\ndocuments = [\"drill\"]\nbucket = \"drills\"\n");
        fs::create_dir_all(self.path("policies/documents")).unwrap();
        for name in ["emergency-read", "drill", "team"] {
            fs::write(self.path(&format!("policies/documents/{name}.json")), DOCUMENT).unwrap();
        }
        fs::write(self.path("policies/break-glass.toml"), toml).unwrap();
        PolicySet::compile(&PolicyFiles::read(&self.path("policies")).unwrap(), &[]).unwrap()
    }

    async fn request(&self) -> Value {
        let asked =
            "request --role emergency-read --reason down --incident INC-7 --requester alice --policies policies";
        serde_json::from_str(&self.done(&format!("{asked} --instance {INSTANCE} --json")).await).unwrap()
    }

    fn envelope(&self, name: &str) -> Envelope {
        Envelope::parse(&fs::read(self.path(name)).unwrap()).unwrap()
    }
}

fn now() -> OffsetDateTime {
    SystemClock::start().now()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn approved(set: &PolicySet, envelope: &Envelope) -> Result<Vec<String>, CeremonyError> {
    let approved = approve_request(envelope, set.break_glass().unwrap(), set.hash(), now())?;
    Ok(approved.signers().iter().map(ToString::to_string).collect())
}

fn request_of(envelope: &Envelope) -> RequestDocument {
    let Document::Request(request) = envelope.document() else { panic!("{envelope:?}") };
    request.clone()
}

/// As the service answers.
fn answer(recipient: &RecipientKey, nonce: &RequestDocument, life: Duration) -> String {
    let credentials = EmergencyCredentials {
        access_key_id: SecretString::from("AKEMERGENCY"),
        secret_access_key: SecretString::from("it's-secret"),
        session_token: SecretString::from("token"),
        expiration: now() + life,
        region: "us-east-1".to_owned(),
        endpoint: "http://127.0.0.1:9000".to_owned(),
        role: nonce.role().clone(),
        lease_id: Uuid::from_u128(9),
        nonce: nonce.nonce(),
        incident: nonce.incident().to_owned(),
    };
    json!({"sealed": recipient.seal(&credentials).unwrap(), "lease_id": Uuid::from_u128(9)}).to_string()
}

#[tokio::test]
async fn from_keys_to_an_approved_request_and_an_opened_answer_without_a_network() {
    let desk = Desk::new();
    let set = desk.policies().await;
    let made = desk.request().await;
    assert_eq!((&made["instance"], &made["request"]), (&json!(INSTANCE), &json!("request.json")));
    assert_eq!(made["policy_hash"], json!(set.hash().to_hex()));
    for secret in ["alice.pem", "request.json.key", "request.json"] {
        assert_eq!(mode(&desk.path(secret)), 0o600, "{secret}");
    }
    // Alice and bob sign copies of their own, at the same time.
    fs::copy(desk.path("request.json"), desk.path("bobs.json")).unwrap();
    let told = desk.done("sign request.json --custodian alice --key alice.pem --passphrase-file pass --yes").await;
    for text in
        ["emergency-read", "\"down\"", "\"INC-7\"", INSTANCE, made["sha256"].as_str().unwrap(), "signed by alice"]
    {
        assert!(told.contains(text), "{text}: {told}");
    }
    let signed = desk.done("sign bobs.json --custodian bob --key bob.pem --passphrase-file pass --yes --json").await;
    assert_eq!(serde_json::from_str::<Value>(&signed).unwrap()["signers"], json!(["bob"]));
    let alices = desk.envelope("request.json");
    assert_eq!(approved(&set, &alices), Err(CeremonyError::QuorumNotMet { signed: 1, needed: 2 }));
    let both = alices.merged(desk.envelope("bobs.json")).unwrap();
    assert_eq!(approved(&set, &both).unwrap(), ["alice", "bob"]);

    let request = request_of(&both);
    desk.write("answer.json", &answer(request.recipient(), &request, Duration::from_mins(15)));
    let lines = desk.done("open answer.json --env").await;
    assert!(
        lines.contains("export AWS_ACCESS_KEY_ID='AKEMERGENCY'\n") && lines.contains("'it'\\''s-secret'"),
        "{lines}"
    );
    let process: Value = serde_json::from_str(&desk.done("open answer.json --credential-process").await).unwrap();
    assert_eq!((&process["Version"], &process["SecretAccessKey"]), (&json!(1), &json!("it's-secret")));
    let mut child = stint(["break-glass", "open", "answer.json", "--", "/bin/sh", "-c"]);
    child.arg("echo $AWS_SESSION_TOKEN $AWS_ENDPOINT_URL_S3 $AWS_PROFILE; exit 7");
    child.current_dir(desk.0.path()).env("AWS_PROFILE", "planted");
    let ended = run(child).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(7), "token http://127.0.0.1:9000\n"));
}

#[tokio::test]
async fn an_answer_for_another_or_over_is_not_opened() {
    let desk = Desk::new();
    desk.policies().await;
    desk.request().await;
    let request = request_of(&desk.envelope("request.json"));
    desk.write("answer.json", &answer(request.recipient(), &request, Duration::from_mins(15)));
    desk.done("open answer.json --env").await;
    fs::rename(desk.path("request.json.key"), desk.path("first.key")).unwrap();
    fs::rename(desk.path("request.json"), desk.path("first.json")).unwrap();
    desk.request().await;
    desk.refused("open answer.json --env", "does not open with this key").await;
    desk.write("over.json", &answer(request.recipient(), &request, Duration::ZERO));
    desk.refused("open over.json --key first.key --env", "never renewed").await;
    desk.write("junk.json", "{\"sealed\":\"junk\"}");
    desk.refused("open junk.json --key first.key --env", "not in the form").await;
    fs::set_permissions(desk.path("first.key"), fs::Permissions::from_mode(0o644)).unwrap();
    desk.refused("open answer.json --key first.key --env", "chmod 600").await;
}

#[tokio::test]
async fn a_key_that_is_kept_elsewhere_signs_what_is_written_out_for_it() {
    let desk = Desk::new();
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = CustodianKey::from_bytes(pair.public_key().as_ref().try_into().unwrap()).unwrap().to_base64();
    let set = desk.policies().await;
    let [alice, bob, _] = set.break_glass().unwrap().custodians() else { panic!("three custodians") };
    let toml = fs::read_to_string(desk.path("policies/break-glass.toml")).unwrap();
    let toml = toml.replace("name = \"bob\"", "name = \"dave\"").replace(&bob.key().to_base64(), &public);
    fs::write(desk.path("policies/break-glass.toml"), toml).unwrap();
    let set_with_dave = PolicySet::compile(&PolicyFiles::read(&desk.path("policies")).unwrap(), &[]).unwrap();
    desk.request().await;

    let written = desk.done("sign request.json --custodian dave --custodian carol --digest --json").await;
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written["to_sign"][0]["file"], json!("request.json.dave.tosign"));
    let input = fs::read(desk.path("request.json.dave.tosign")).unwrap();
    desk.write("dave.sig", &format!("{}\n", hex::encode(pair.sign(&input).as_ref())));
    let sign =
        |name: &str, key: &str| format!("sign request.json --custodian {name} --signature dave.sig --public-key {key}");
    // Over what carol would sign, it is nobody's signature; nor is it another key's.
    desk.refused(&sign("carol", &public), "is not the signature of this key").await;
    desk.refused(&sign("dave", &alice.key().to_base64()), "is not the signature of this key").await;
    assert_eq!(desk.envelope("request.json").claimed_signers().count(), 0);
    desk.done(&sign("dave", &public)).await;
    desk.done("sign request.json --custodian alice --key alice.pem --passphrase-file pass --yes").await;
    assert_eq!(approved(&set_with_dave, &desk.envelope("request.json")).unwrap(), ["alice", "dave"]);
    let error = approved(&set, &desk.envelope("request.json")).unwrap_err();
    assert_eq!(error.code(), "custodian_unknown", "dave was not one before");
}

#[tokio::test]
async fn a_cancellation_is_signed_as_a_request_is() {
    let desk = Desk::new();
    let set = desk.policies().await;
    desk.request().await;
    let nonce = request_of(&desk.envelope("request.json")).nonce();
    let document = CancellationDocument::write(nonce, "not needed".to_owned(), now()).unwrap();
    desk.write("cancel.json", &Envelope::unsigned(Document::Cancellation(document)).to_json());
    let policy: &BreakGlass = set.break_glass().unwrap();
    assert!(approve_cancellation(&desk.envelope("cancel.json"), policy, now()).is_err());
    let told = desk.done("sign cancel.json --custodian carol --key carol.pem --passphrase-file pass --yes").await;
    assert!(told.contains("CANCELLATION") && told.contains(&nonce.to_string()), "{told}");
    assert!(approve_cancellation(&desk.envelope("cancel.json"), policy, now()).is_ok());
}

#[tokio::test]
async fn nothing_is_written_over_and_nothing_is_signed_by_accident() {
    let desk = Desk::new();
    desk.policies().await;
    desk.request().await;
    let key = fs::read(desk.path("alice.pem")).unwrap();
    desk.refused("keygen --name alice --passphrase-file pass", "is not written over").await;
    assert_eq!(fs::read(desk.path("alice.pem")).unwrap(), key);
    let again = "request --role emergency-read --reason down --incident INC-7 --requester alice --policies policies --any-instance";
    desk.refused(again, "request.json: is there already, and is not written over: use an empty directory, or --out")
        .await;
    // Of a request whose key is elsewhere no new key is left, which would open nothing.
    let first = fs::read(desk.path("request.json")).unwrap();
    fs::rename(desk.path("request.json.key"), desk.path("elsewhere.key")).unwrap();
    desk.refused(again, "request.json: is there already").await;
    assert!(!desk.path("request.json.key").exists() && fs::read(desk.path("request.json")).unwrap() == first);
    fs::rename(desk.path("elsewhere.key"), desk.path("request.json.key")).unwrap();
    let key_alone = format!("{again} --out new.json --recipient-key request.json.key");
    desk.refused(&key_alone, "request.json.key: is there already").await;
    assert!(!desk.path("new.json").exists());
    desk.refused(&format!("{again} --out other.json --recipient-key request.json.key"), "is not written over").await;
    assert!(!desk.path("other.json").exists());
    desk.write("short", "elevenchars");
    desk.refused("keygen --name dave --passphrase-file short", "at least 12 characters").await;
    fs::set_permissions(desk.path("short"), fs::Permissions::from_mode(0o640)).unwrap();
    desk.refused("keygen --name dave --passphrase-file short", "chmod 600").await;
    assert!(!desk.path("dave.pem").exists());
    desk.write("wrong", "planted wrong horse");
    desk.refused(
        "sign request.json --custodian alice --key alice.pem --passphrase-file wrong --yes",
        "does not open the key",
    )
    .await;
    desk.refused(
        "sign alice.pem --custodian alice --key alice.pem --passphrase-file pass --yes",
        "not a document with signatures",
    )
    .await;
    let both = "sign request.json --custodian alice --custodian bob --key alice.pem --passphrase-file pass --yes";
    desk.refused(both, "one custodian signs at a time").await;
    assert_eq!(desk.envelope("request.json").claimed_signers().count(), 0);
}

#[tokio::test]
async fn a_request_names_its_policies_and_who_may_honour_it() {
    let desk = Desk::new();
    desk.policies().await;
    let asked = "request --role emergency-read --reason down --incident INC-7 --requester alice";
    desk.refused(&format!("{asked} --any-instance"), "--policies DIR").await;
    desk.refused(&format!("{asked} --policies policies"), "--any-instance").await;
    desk.refused(&format!("{asked} --policies nowhere --any-instance"), "cannot be read").await;
    desk.refused(&format!("{asked} --policies policies --any-instance --length 16m"), "60 to 900 seconds").await;
    desk.refused(&format!("{asked} --url http://example.invalid"), "must be https").await;
    assert!(!desk.path("request.json").exists() && !desk.path("request.json.key").exists());
    for usage in [
        "--policies policies --any-instance --length 1500ms",
        "--policies p --policy-hash 00",
        &format!("--any-instance --instance {INSTANCE}"),
    ] {
        assert_eq!(desk.stint(&format!("{asked} {usage}")).await.code, Some(2), "{usage}");
    }
}

/// A port at which nobody listens any more.
fn nobody() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

/// An instance with these policies.
fn status(hash: &str) -> Value {
    json!({
        "instance": INSTANCE,
        "policy_hash": hash,
        "roles": [{"name": "emergency-read", "length_seconds": 600, "drill": false}],
        "custodians": [{"name": "alice"}, {"name": "bob"}, {"name": "carol"}],
        "conditions": [{"name": "issuer_down"}],
        "more": 1,
    })
}

/// Answers `GET /v1/break-glass` once with this text.
fn instance(status: Value) -> String {
    answers("GET /v1/break-glass HTTP/1.1\r\n", "200 OK", status)
}

/// Answers one request that begins like this, and whose body comes with its head or after it.
fn answers(begins: &'static str, status: &'static str, body: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = Vec::new();
        let whole = |read: &[u8]| {
            let text = String::from_utf8_lossy(read).to_ascii_lowercase();
            text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
                body.len() >= length.parse().unwrap()
            })
        };
        while !whole(&read) {
            let mut part = [0; 4096];
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "the caller hung up");
            read.extend_from_slice(&part[..length]);
        }
        assert!(read.starts_with(begins.as_bytes()));
        let body = body.to_string();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
        write!(stream, "{head}\r\n\r\n{body}").unwrap();
    });
    format!("http://{address}")
}

#[tokio::test]
async fn an_instance_that_is_asked_is_the_one_that_may_honour_the_request() {
    let desk = Desk::new();
    let set = desk.policies().await;
    let hash = set.hash().to_hex();
    let asked = "request --role emergency-read --reason down --incident INC-7 --requester alice --json";
    let url = instance(status(&hash));
    desk.done(&format!("{asked} --url {url}")).await;
    let request = request_of(&desk.envelope("request.json"));
    assert_eq!(request.instance().map(|id| id.to_string()).as_deref(), Some(INSTANCE));
    assert_eq!(request.policy_hash().to_hex(), hash);
    assert_eq!(request.length(), Duration::from_mins(10), "as long as the role is given there");
    let url = instance(status(&hash));
    desk.done(&format!("{asked} --url {url} --any-instance --out any.json")).await;
    assert_eq!(request_of(&desk.envelope("any.json")).instance(), None);
    let url = instance(status(&"0".repeat(64)));
    desk.refused(&format!("{asked} --url {url} --policies policies --out other.json"), "has other policies").await;
    let url = instance(json!({"instance": "planted", "policy_hash": hash}));
    desk.refused(&format!("{asked} --url {url} --out other.json"), "names no instance").await;
    let url = instance(status(&hash));
    desk.refused(&format!("{asked} --url {url} --out other.json --kind declared"), "let nobody declare").await;
    assert!(!desk.path("other.json").exists() && !desk.path("other.json.key").exists());
}

#[tokio::test]
async fn an_instance_that_cannot_be_reached_stops_no_request_that_names_all_by_hand() {
    let desk = Desk::new();
    let set = desk.policies().await;
    let hash = set.hash().to_hex();
    let asked = "request --role emergency-read --reason down --incident INC-7 --requester alice --json";
    let url = nobody();
    for incomplete in ["", " --policies policies", " --any-instance"] {
        let ended = desk.with_url(&format!("{asked}{incomplete}"), Some(&url)).await;
        let told = ended.stderr.contains("cannot be reached") && ended.stderr.contains("it need not answer");
        assert!(ended.code == Some(1) && told, "{incomplete}: {}", ended.stderr);
    }
    // Somebody who answers, and not as an instance does, is a fault and no absence.
    let other = answers("GET ", "502 Bad Gateway", json!({"title": "planted"}));
    let whole = format!("{asked} --policy-hash {hash} --instance {INSTANCE}");
    let ended = desk.with_url(&whole, Some(&other)).await;
    assert!(ended.code == Some(1) && ended.stderr.contains("502"), "{}", ended.stderr);
    assert!(!desk.path("request.json").exists() && !desk.path("request.json.key").exists());

    let ended = desk.with_url(&whole, Some(&url)).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.starts_with("stint: warning: ") && ended.stderr.contains("nobody was asked"),
        "{}",
        ended.stderr
    );
    let request = request_of(&desk.envelope("request.json"));
    assert_eq!(request.instance().map(|id| id.to_string()).as_deref(), Some(INSTANCE));
    assert_eq!((request.policy_hash().to_hex(), request.length()), (hash, Duration::from_mins(15)));
    let any = format!("{asked} --policies policies --any-instance --out any.json");
    let ended = desk.with_url(&any, Some(&url)).await;
    assert!(ended.code == Some(0) && ended.stderr.contains("warning"), "{}", ended.stderr);
    assert_eq!(request_of(&desk.envelope("any.json")).instance(), None);
}

#[tokio::test]
async fn a_cancellation_succeeds_only_where_the_end_was_seen() {
    let desk = Desk::new();
    desk.policies().await;
    desk.request().await;
    let used = request_of(&desk.envelope("request.json")).nonce().to_string();
    desk.done(&format!("cancel {used} --why over --custodian bob --key bob.pem --passphrase-file pass")).await;
    let answered = |status, outcome: &str, proven: bool| {
        let told = json!({"use": used, "outcome": outcome, "proven": proven, "ends_at": "2026-11-22T16:00:00Z"});
        answers("POST /v1/break-glass/cancellations ", status, told)
    };
    for (outcome, told) in [("burnt", "never can be"), ("refused_at_server", "seen to be refused")] {
        let url = answered("200 OK", outcome, true);
        assert!(desk.done(&format!("submit cancellation.json --url {url}")).await.contains(told));
    }
    for (outcome, told) in [
        ("revoked_unproven", "NOT SEEN TO BE ENDED"),
        ("revoke_failed", "may live until 2026-11-22T16:00:00Z"),
        ("ends_by_itself", "ends no lease alone"),
        ("may_have_minted", "at the latest"),
        ("burnt_here", "at THIS instance alone"),
    ] {
        let url = answered("202 Accepted", outcome, false);
        let ended = desk.stint(&format!("submit cancellation.json --url {url}")).await;
        assert!(ended.stdout.contains(told) && ended.stderr.contains(outcome), "{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(1), "{outcome}");
    }
    let url = answered("202 Accepted", "revoke_failed", false);
    let ended = desk.stint(&format!("submit cancellation.json --json --url {url}")).await;
    assert_eq!(serde_json::from_str::<Value>(&ended.stdout).unwrap()["outcome"], json!("revoke_failed"));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

#[tokio::test]
async fn the_hint_after_a_grant_names_the_key_that_opens_it_and_no_other() {
    let desk = Desk::new();
    desk.policies().await;
    // The key of another request lies where a key usually does.
    desk.request().await;
    let asked = "request --role emergency-read --reason down --incident INC-8 --requester alice --policies policies";
    desk.done(&format!("{asked} --any-instance --out second.json")).await;
    desk.done("sign second.json --custodian alice --key alice.pem --passphrase-file pass --yes").await;
    let granted = |out: &str| {
        let url =
            answers("POST /v1/break-glass/requests ", "201 Created", json!({"sealed": "planted", "lease_id": "x"}));
        format!("submit second.json --out {out} --url {url}")
    };
    let told = desk.done(&granted("answer.json")).await;
    assert!(told.contains("--env answer.json --key second.json.key)"), "{told}");
    fs::rename(desk.path("second.json.key"), desk.path("away.key")).unwrap();
    let told = desk.done(&granted("other.json")).await;
    assert!(told.contains("--key REQUEST.key") && !told.contains("request.json.key"), "{told}");
}

#[test]
fn the_documents_of_the_manual_are_those_that_are_known_to_compile() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manual = fs::read_to_string(root.join("docs/policies.md")).unwrap();
    let blocks: Vec<Value> = manual
        .split("```json\n")
        .skip(1)
        .map(|rest| serde_json::from_str(rest.split("```").next().unwrap()).unwrap())
        .collect();
    for name in ["emergency-read", "break-glass-drill"] {
        let file = root.join("tests/policies/accept/break-glass/documents").join(format!("{name}.json"));
        let document: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert!(blocks.contains(&document), "{name}");
    }
    let files = PolicyFiles::read(&root.join("tests/policies/accept/break-glass")).unwrap();
    let set = PolicySet::compile(&files, &[]).unwrap();
    assert!(manual.contains(&format!("bucket = \"{}\"", set.break_glass().unwrap().drill().bucket())));
}
