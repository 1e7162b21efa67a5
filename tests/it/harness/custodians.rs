//! Three custodians with keys of their own, the policy that names them, and whole documents of theirs to break one thing of.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use stint::audit::Digest;
use stint::break_glass::ceremony::{
    CancellationDocument, CustodianSecret, Document, Envelope, Nonce, RecipientSecret, RequestDocument, RequestDraft,
    ReviewDocument, UseKind,
};
use stint::policy::{CustodianName, RoleName};
use time::OffsetDateTime;
use uuid::Uuid;

/// Everybody.
pub(crate) const ALL: [&str; 3] = ["alice", "bob", "carol"];

const READ: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::recordings"]},
    {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::recordings/*"]}]}"#;
const DRILL: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::recordings"],
     "Condition":{"StringLike":{"s3:prefix":["drill/*"]}}},
    {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::recordings/drill/*"]}]}"#;

/// The files of the policy directory: two of the three to use it, all three to declare an emergency.
pub(crate) fn policies() -> &'static [(&'static str, &'static str)] {
    let custodian = |name: &str| {
        let key = secret(name).public().to_base64();
        format!("[[custodian]]\nname = \"{name}\"\npublic_key = \"{key}\"\ncontact = \"+49 30 1 {name}\"\n")
    };
    let toml = [
        "quorum = 2\ndeclared_quorum = 3\nconditions = [\"issuer_down\", \"log_down\", \"declared\"]\n".to_owned(),
        "minimum_outage = \"30s\"\n".to_owned(),
        ALL.map(custodian).concat(),
        "[[role]]\nname = \"emergency-read\"\ndocuments = [\"emergency-read\"]\nlength = \"15m\"\n".to_owned(),
        "[drill]\nrole = \"drill\"\ndocuments = [\"break-glass-drill\"]\nbucket = \"recordings\"\n".to_owned(),
    ];
    vec![
        ("break-glass.toml", &*toml.concat().leak()),
        ("documents/emergency-read.json", READ),
        ("documents/break-glass-drill.json", DRILL),
    ]
    .leak()
}

/// A custodian's private key, always the same.
pub(crate) fn secret(name: &str) -> CustodianSecret {
    let seed = name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    CustodianSecret::generate(&mut StdRng::seed_from_u64(seed)).unwrap()
}

/// Whom answers are sealed for.
pub(crate) fn recipient() -> RecipientSecret {
    RecipientSecret::generate(&mut StdRng::seed_from_u64(1)).unwrap()
}

fn named(name: &str) -> CustodianName {
    CustodianName::parse(name).unwrap()
}

/// A whole request of alice's, for the instance and the policies that a status names.
pub(crate) fn draft(kind: UseKind, status: &Value, now: OffsetDateTime) -> RequestDraft {
    let role = if kind == UseKind::Drill { "drill" } else { "emergency-read" };
    RequestDraft {
        kind,
        role: RoleName::parse(role).unwrap(),
        reason: "the identity provider is down".to_owned(),
        incident: "INC-7".to_owned(),
        length: Duration::from_mins(15),
        recipient: recipient().public(),
        nonce: Nonce::from_random(rand::random()),
        requested_at: now,
        requester: named("alice"),
        policy_hash: Digest::parse(status["policy_hash"].as_str().unwrap()).unwrap(),
        instance: Some(status["instance"].as_str().unwrap().parse().unwrap()),
    }
}

fn signed(document: Document, names: &[&str]) -> String {
    let mut envelope = Envelope::unsigned(document);
    for name in names {
        secret(name).sign(&mut envelope, named(name));
    }
    envelope.to_json()
}

/// A request as it is submitted.
pub(crate) fn request(draft: &RequestDraft, names: &[&str]) -> String {
    signed(Document::Request(RequestDocument::write(draft.clone()).unwrap()), names)
}

/// A review of a use.
pub(crate) fn review(used: Uuid, names: &[&str], now: OffsetDateTime) -> String {
    let document = ReviewDocument::write(Nonce::of(used).unwrap(), "nothing else was read".to_owned(), now).unwrap();
    signed(Document::Review(document), names)
}

/// A cancellation of a use.
pub(crate) fn cancellation(used: Uuid, name: &str, now: OffsetDateTime) -> String {
    let document = CancellationDocument::write(Nonce::of(used).unwrap(), "it is over".to_owned(), now).unwrap();
    signed(Document::Cancellation(document), &[name])
}
