//! A whole policy with three custodians and one whole request of theirs: what every test of break-glass breaks one thing of.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use time::OffsetDateTime;
use time::macros::datetime;

use super::{CustodianSecret, Document, Envelope, Nonce, RecipientSecret, RequestDocument, RequestDraft, UseKind};
use crate::audit::Digest;
use crate::policy::{BreakGlass, CustodianName, PolicyFiles, PolicyHash, PolicySet, RoleName};

/// When the request is written.
pub(crate) const REQUESTED_AT: OffsetDateTime = datetime!(2026-11-22 14:05:00 UTC);

/// A custodian's name.
pub(crate) fn name(name: &str) -> CustodianName {
    CustodianName::parse(name).unwrap()
}

/// The private key that belongs to a name, always the same.
pub(crate) fn secret(name: &str) -> CustodianSecret {
    let seed = name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    CustodianSecret::generate(&mut StdRng::seed_from_u64(seed)).unwrap()
}

/// The recipient of the request.
pub(crate) fn recipient() -> RecipientSecret {
    RecipientSecret::generate(&mut StdRng::seed_from_u64(1)).unwrap()
}

/// The text of a whole `break-glass.toml`: 2 of alice, bob and carol, all 3 to declare.
pub(crate) fn toml() -> String {
    let custodian = |name: &str| {
        let key = secret(name).public().to_base64();
        format!("[[custodian]]\nname = \"{name}\"\npublic_key = \"{key}\"\ncontact = \"+49 30 1 {name}\"\n")
    };
    [
        "quorum = 2\ndeclared_quorum = 3\nconditions = [\"issuer_down\", \"log_down\", \"declared\"]\n".to_owned(),
        ["alice", "bob", "carol"].map(custodian).concat(),
        "[[role]]\nname = \"emergency-read\"\ndocuments = [\"emergency-read\"]\nlength = \"15m\"\n".to_owned(),
        "[drill]\nrole = \"drill\"\ndocuments = [\"break-glass-drill\"]\nbucket = \"drills\"\n".to_owned(),
    ]
    .concat()
}

/// The policy directory with this `break-glass.toml`.
pub(crate) fn policies(toml: &str) -> PolicySet {
    let document = |action: &str, resource: &str| {
        format!(
            "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\"Action\":[\"{action}\"],\
             \"Resource\":[\"arn:aws:s3:::{resource}\"]}}]}}"
        )
    };
    let files = [
        ("break-glass.toml", toml.to_owned()),
        ("documents/break-glass-drill.json", document("s3:GetObject", "drills/drill/*")),
        ("documents/emergency-read.json", document("s3:GetObject", "media/*")),
        ("documents/viewers.json", document("s3:GetObject", "media/public/*")),
    ];
    let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.into_bytes())).collect();
    PolicySet::compile(&PolicyFiles(files), &[]).unwrap()
}

/// The whole policy: the part of break-glass and the hash of all.
pub(crate) fn policy() -> (BreakGlass, PolicyHash) {
    let policies = policies(&toml());
    (policies.break_glass().unwrap().clone(), policies.hash())
}

/// A whole request of alice's.
pub(crate) fn draft() -> RequestDraft {
    RequestDraft {
        kind: UseKind::Outage,
        role: RoleName::parse("emergency-read").unwrap(),
        reason: "the identity provider is down".to_owned(),
        incident: "INC-7".to_owned(),
        length: Duration::from_mins(15),
        recipient: recipient().public(),
        nonce: Nonce::from_random([5; 16]),
        requested_at: REQUESTED_AT,
        requester: name("alice"),
        policy_hash: Digest::parse(&policy().1.to_hex()).unwrap(),
        instance: None,
    }
}

/// A document, signed by these.
pub(crate) fn signed(document: Document, names: &[&str]) -> Envelope {
    let mut envelope = Envelope::unsigned(document);
    for custodian in names {
        secret(custodian).sign(&mut envelope, name(custodian));
    }
    envelope
}

/// A request, signed by these.
pub(crate) fn signed_request(draft: RequestDraft, names: &[&str]) -> Envelope {
    signed(Document::Request(RequestDocument::write(draft).unwrap()), names)
}
