//! The attacks on what custodians sign: one whole request that is approved, and one thing of it broken per test.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::fixture::{REQUESTED_AT, draft, name, policies, policy, secret, signed, signed_request, toml};
use super::{
    ApprovedRequest, CancellationDocument, CeremonyError, Document, Envelope, LARGEST_DOCUMENT, LARGEST_ENVELOPE,
    Nonce, RecipientKey, RecipientSecret, RequestDocument, RequestDraft, ReviewDocument, UseKind, approve_cancellation,
    approve_request, approve_review, verified_signers,
};
use crate::audit::Digest;
use crate::policy::RoleName;

const NOW: OffsetDateTime = REQUESTED_AT;

fn approved(envelope: &Envelope) -> Result<ApprovedRequest, CeremonyError> {
    let (policy, hash) = policy();
    // As a service gets it: through the bytes.
    approve_request(&Envelope::parse(envelope.to_json().as_bytes())?, &policy, hash, NOW)
}

fn code(envelope: &Envelope) -> &'static str {
    approved(envelope).map_or_else(|error| error.code(), |_| "approved")
}

fn whole() -> Envelope {
    signed_request(draft(), &["alice", "bob"])
}

/// The envelope's JSON, with one thing changed.
fn changed(envelope: &Envelope, change: impl FnOnce(&mut Value)) -> Result<Envelope, CeremonyError> {
    let mut wire = serde_json::from_str(&envelope.to_json()).unwrap();
    change(&mut wire);
    Envelope::parse(wire.to_string().as_bytes())
}

fn payload(wire: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(wire["payload"].as_str().unwrap()).unwrap()
}

#[test]
fn a_request_that_the_quorum_signed_is_approved_with_what_was_signed_and_by_whom() {
    let approved = approved(&whole()).unwrap();
    assert_eq!(approved.signers(), [name("alice"), name("bob")]);
    assert_eq!(approved.document(), &RequestDocument::write(draft()).unwrap());
    assert_eq!(approved.role().name().as_str(), "emergency-read");
}

#[test]
fn a_custodian_counts_once_however_often_they_sign() {
    assert_eq!(code(&signed_request(draft(), &["alice", "alice"])), "quorum_not_met");
    let twice = changed(&signed_request(draft(), &["alice"]), |wire| {
        let first = wire["signatures"][0].clone();
        wire["signatures"].as_array_mut().unwrap().push(first);
    });
    assert_eq!(code(&twice.unwrap()), "quorum_not_met");
    assert_eq!(code(&whole()), "approved");
}

#[test]
fn one_signature_less_than_the_quorum_is_refused() {
    assert_eq!(
        approved(&signed_request(draft(), &["alice"])).unwrap_err(),
        CeremonyError::QuorumNotMet { signed: 1, needed: 2 }
    );
    assert_eq!(code(&signed_request(draft(), &[])), "quorum_not_met");
    let declared = RequestDraft { kind: UseKind::Declared, ..draft() };
    assert_eq!(
        approved(&signed_request(declared.clone(), &["alice", "bob"])).unwrap_err(),
        CeremonyError::QuorumNotMet { signed: 2, needed: 3 }
    );
    assert_eq!(code(&signed_request(declared, &["alice", "bob", "carol"])), "approved");
}

#[test]
fn a_signature_over_other_bytes_is_refused() {
    let others = [
        RequestDraft { nonce: Nonce::from_random([6; 16]), ..draft() },
        RequestDraft { policy_hash: Digest::of(b"other"), ..draft() },
        RequestDraft { role: RoleName::parse("drill").unwrap(), ..draft() },
        RequestDraft { length: Duration::from_secs(899), ..draft() },
        RequestDraft { reason: "another".to_owned(), ..draft() },
        RequestDraft { instance: Some(Uuid::from_u128(1)), ..draft() },
        RequestDraft { kind: UseKind::Declared, ..draft() },
        RequestDraft { requested_at: REQUESTED_AT + Duration::from_secs(1), ..draft() },
    ];
    for other in others {
        let other = signed_request(other, &["bob"]);
        let theirs: Value = serde_json::from_str(&other.to_json()).unwrap();
        let mixed = changed(&signed_request(draft(), &["alice"]), |wire| {
            wire["signatures"].as_array_mut().unwrap().push(theirs["signatures"][0].clone());
        });
        assert_eq!(approved(&mixed.unwrap()).unwrap_err(), CeremonyError::SignatureInvalid(name("bob")));
    }
}

#[test]
fn a_request_edited_after_a_signature_is_refused_whatever_was_edited() {
    // By whoever has the file between alice and bob: alice's signature is over what she saw.
    let theirs = RecipientSecret::generate(&mut StdRng::seed_from_u64(99)).unwrap().public();
    for edited in [
        RequestDraft { recipient: theirs, ..draft() },
        RequestDraft { incident: "INC-8".to_owned(), ..draft() },
        RequestDraft { requester: name("bob"), ..draft() },
    ] {
        let edited = signed_request(edited, &["bob"]);
        let mixed = changed(&signed_request(draft(), &["alice"]), |wire| {
            let other: Value = serde_json::from_str(&edited.to_json()).unwrap();
            wire["payload"] = other["payload"].clone();
            wire["signatures"].as_array_mut().unwrap().push(other["signatures"][0].clone());
        });
        assert_eq!(approved(&mixed.unwrap()).unwrap_err(), CeremonyError::SignatureInvalid(name("alice")));
    }
}

#[test]
fn a_signature_under_another_custodians_name_is_refused() {
    let mut envelope = signed_request(draft(), &["alice"]);
    secret("alice").sign(&mut envelope, name("bob"));
    assert_eq!(approved(&envelope).unwrap_err(), CeremonyError::SignatureInvalid(name("bob")));
}

#[test]
fn a_custodian_who_was_removed_is_refused_even_beside_a_quorum() {
    let without_carol = toml().replace("name = \"carol\"", "name = \"dave\"");
    assert_eq!(code(&signed_request(draft(), &["alice", "bob", "mallory"])), "custodian_unknown");
    let set = policies(&without_carol);
    let of = |names: &[&str]| {
        let policy_hash = Digest::parse(&set.hash().to_hex()).unwrap();
        let envelope = signed_request(RequestDraft { policy_hash, ..draft() }, names);
        approve_request(&envelope, set.break_glass().unwrap(), set.hash(), NOW).map(|_| ())
    };
    assert_eq!(of(&["alice", "bob", "carol"]), Err(CeremonyError::CustodianUnknown(name("carol"))));
    assert_eq!(of(&["alice", "bob"]), Ok(()));
}

#[test]
fn the_requester_must_be_a_custodian_who_signed() {
    // Two who name a third as the requester could review their own use.
    assert_eq!(
        code(&signed_request(RequestDraft { requester: name("carol"), ..draft() }, &["alice", "bob"])),
        "requester_unsigned"
    );
    assert_eq!(
        code(&signed_request(RequestDraft { requester: name("mallory"), ..draft() }, &["alice", "bob"])),
        "custodian_unknown"
    );
    assert_eq!(
        code(&signed_request(RequestDraft { requester: name("bob"), ..draft() }, &["alice", "bob"])),
        "approved"
    );
}

#[test]
fn a_request_is_good_for_30_minutes_and_not_before_it_was_written() {
    let (policy, hash) = policy();
    let at = |now| approve_request(&whole(), &policy, hash, now).map_or_else(|error| error.code(), |_| "approved");
    assert_eq!(at(REQUESTED_AT + Duration::from_mins(30)), "approved");
    assert_eq!(at(REQUESTED_AT + Duration::from_secs(30 * 60 + 1)), "window_expired");
    assert_eq!(at(REQUESTED_AT - Duration::from_mins(1)), "approved");
    assert_eq!(at(REQUESTED_AT - Duration::from_secs(61)), "requested_in_the_future");
}

#[test]
fn another_policy_than_the_one_in_force_is_refused() {
    let other = RequestDraft { policy_hash: Digest::of(b"other"), ..draft() };
    assert_eq!(code(&signed_request(other, &["alice", "bob"])), "policy_changed");
    let (policy, _) = policy();
    let changed = policies(&format!("{}\n# a comment\n", toml())).hash();
    assert_eq!(approve_request(&whole(), &policy, changed, NOW).unwrap_err(), CeremonyError::PolicyChanged);
}

#[test]
fn the_drills_role_and_drills_belong_together() {
    let drill = RoleName::parse("drill").unwrap();
    let of = |kind, role: &RoleName, names: &[&str]| {
        code(&signed_request(RequestDraft { kind, role: role.clone(), ..draft() }, names))
    };
    assert_eq!(of(UseKind::Drill, &drill, &["alice", "bob"]), "approved");
    assert_eq!(of(UseKind::Outage, &drill, &["alice", "bob"]), "only_for_drills");
    assert_eq!(of(UseKind::Declared, &drill, &["alice", "bob", "carol"]), "only_for_drills");
    assert_eq!(of(UseKind::Drill, &draft().role, &["alice", "bob"]), "not_the_drill_role");
    assert_eq!(of(UseKind::Outage, &RoleName::parse("viewers").unwrap(), &["alice", "bob"]), "role_unknown");
}

#[test]
fn a_kind_of_use_without_its_condition_in_the_file_is_refused() {
    let of = |conditions: &str, kind| {
        let set = policies(&toml().replace("[\"issuer_down\", \"log_down\", \"declared\"]", conditions));
        let policy_hash = Digest::parse(&set.hash().to_hex()).unwrap();
        let envelope = signed_request(RequestDraft { kind, policy_hash, ..draft() }, &["alice", "bob", "carol"]);
        approve_request(&envelope, set.break_glass().unwrap(), set.hash(), NOW)
            .map_or_else(|error| error.code(), |_| "approved")
    };
    assert_eq!(of("[\"declared\"]", UseKind::Declared), "approved");
    assert_eq!(of("[\"declared\"]", UseKind::Outage), "kind_not_allowed");
    assert_eq!(of("[\"log_down\"]", UseKind::Outage), "approved");
    assert_eq!(of("[\"log_down\"]", UseKind::Declared), "kind_not_allowed");
}

#[test]
fn a_length_beyond_the_roles_is_refused() {
    let set = policies(&toml().replace("length = \"15m\"", "length = \"5m\""));
    let policy_hash = Digest::parse(&set.hash().to_hex()).unwrap();
    let of = |seconds| {
        let length = Duration::from_secs(seconds);
        let envelope = signed_request(RequestDraft { length, policy_hash, ..draft() }, &["alice", "bob"]);
        approve_request(&envelope, set.break_glass().unwrap(), set.hash(), NOW)
            .map_or_else(|error| error.code(), |_| "approved")
    };
    assert_eq!((of(300), of(301)), ("approved", "length_too_long"));
}

#[test]
fn a_document_in_another_spelling_is_refused() {
    let canonical = String::from_utf8(whole().document().canonical().to_vec()).unwrap();
    assert!(Document::parse(canonical.as_bytes()).is_ok());
    let spellings = [
        (format!(" {canonical}"), "document_malformed"),
        (format!("{canonical}\n"), "document_malformed"),
        (format!("{canonical}{canonical}"), "document_malformed"),
        (
            canonical.replacen("{\"incident\":\"INC-7\",", "{", 1).replacen('}', ",\"incident\":\"INC-7\"}", 1),
            "document_malformed",
        ),
        (canonical.replace("INC-7", "\\u0049NC-7"), "document_malformed"),
        (canonical.replacen('{', "{\"incident\":\"INC-7\",", 1), "document_malformed"),
        (canonical.replacen('{', "{\"inc\\u0069dent\":\"INC-7\",", 1), "document_malformed"),
        (canonical.replacen('{', "{\"and\":1,", 1), "document_malformed"),
        (canonical.replacen("\"kind\"", "\"instance\":null,\"kind\"", 1), "document_malformed"),
        (canonical.replace(":900,", ":900.0,"), "document_malformed"),
        (canonical.replace(":900,", ":9e2,"), "document_malformed"),
        (canonical.replace(":900,", ":-900,"), "document_malformed"),
        (canonical.replace(":900,", ":901,"), "document_malformed"),
        (canonical.replace(":900,", ":59,"), "document_malformed"),
        (canonical.replace(":900,", ":\"900\","), "document_malformed"),
        (canonical.replace("05:00Z", "05:00+00:00"), "document_malformed"),
        (canonical.replace("05:00Z", "05:00.0Z"), "document_malformed"),
        (canonical.replace("2026-11-22T", "2026-11-31T"), "document_malformed"),
        (canonical.replace("2026-11-22T", "+2026-11-22T"), "document_malformed"),
        (canonical.replace("-4505-", "-1505-"), "document_malformed"),
        (canonical.replace("05050505-", "A5050505-"), "document_malformed"),
        (canonical.replace("INC-7", "INC\\u001b[2J"), "document_malformed"),
        (canonical.replace("INC-7", "INC\u{202e}7"), "document_malformed"),
        (canonical.replace("\"alice\"", "\"al ice\""), "document_malformed"),
        (canonical.replace("\"outage\"", "\"Outage\""), "document_malformed"),
        (canonical.replace("request 1", "request 2"), "document_malformed"),
        (canonical.replace("request 1", "review 1"), "document_malformed"),
    ];
    for (spelling, expected) in spellings {
        assert_ne!(spelling, canonical);
        assert_eq!(Document::parse(spelling.as_bytes()).map_err(|error| error.code()), Err(expected), "{spelling}");
    }
}

#[test]
fn what_is_too_large_or_nested_deeply_ends_in_an_error() {
    let long = RequestDocument::write(RequestDraft { reason: "x".repeat(1001), ..draft() });
    assert_eq!(long.unwrap_err().code(), "document_malformed");
    assert!(RequestDocument::write(RequestDraft { reason: "x".repeat(1000), ..draft() }).is_ok());
    assert_eq!(Document::parse(&vec![b' '; LARGEST_DOCUMENT + 1]), Err(CeremonyError::DocumentTooLarge));
    assert_eq!(Envelope::parse(&vec![b' '; LARGEST_ENVELOPE + 1]), Err(CeremonyError::DocumentTooLarge));
    for open in ["[", "{\"a\":", "{\"version\":[", "{\"payload\":["] {
        let deep = open.repeat(LARGEST_DOCUMENT / open.len());
        assert_eq!(Document::parse(deep.as_bytes()).unwrap_err().code(), "document_malformed");
        assert_eq!(Envelope::parse(deep.as_bytes()).unwrap_err().code(), "envelope_malformed");
    }
    let many =
        |n: usize| changed(&whole(), |wire| wire["signatures"] = Value::Array(vec![wire["signatures"][0].clone(); n]));
    assert!(many(64).is_ok());
    assert_eq!(many(65).unwrap_err().code(), "envelope_malformed");
}

#[test]
fn an_envelope_of_another_form_is_refused() {
    let header = |text: &str| json!(URL_SAFE_NO_PAD.encode(text));
    let honest = r#"{"alg":"EdDSA","kid":"alice","typ":"stint-break-glass+jws"}"#;
    assert!(changed(&whole(), |wire| wire["signatures"][0]["protected"] = header(honest)).is_ok());
    for text in [
        "",
        "{}",
        r#"{"alg":"none","kid":"alice","typ":"stint-break-glass+jws"}"#,
        r#"{"alg":"HS256","kid":"alice","typ":"stint-break-glass+jws"}"#,
        r#"{"alg":"EdDSA","kid":"alice","typ":"JWT"}"#,
        r#"{"alg":"EdDSA","kid":"alice"}"#,
        r#"{"alg":"EdDSA","kid":"alice","kid":"bob","typ":"stint-break-glass+jws"}"#,
        r#"{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"alice","typ":"stint-break-glass+jws"}"#,
        r#"{"alg":"EdDSA","jwk":{},"kid":"alice","typ":"stint-break-glass+jws"}"#,
        r#"{"kid":"alice","alg":"EdDSA","typ":"stint-break-glass+jws"}"#,
        r#"{"alg":"EdDSA","kid":"al ice","typ":"stint-break-glass+jws"}"#,
        r#"{ "alg":"EdDSA","kid":"alice","typ":"stint-break-glass+jws"}"#,
    ] {
        let refused = changed(&whole(), |wire| wire["signatures"][0]["protected"] = header(text));
        assert_eq!(refused.unwrap_err().code(), "envelope_malformed", "{text}");
    }
    let short = URL_SAFE_NO_PAD.encode([0; 63]);
    let changes: [fn(&mut Value, &str); 7] = [
        |wire, _| wire["header"] = json!({}),
        |wire, _| wire["signatures"][0]["header"] = json!({"alg": "none"}),
        |wire, _| wire["signatures"] = json!({}),
        |wire, short| wire["signatures"][0]["signature"] = json!(short),
        |wire, _| wire["payload"] = json!("not base64url!"),
        |wire, _| wire["payload"] = json!(format!("{}=", wire["payload"].as_str().unwrap())),
        |wire, _| drop(wire.as_object_mut().unwrap().remove("signatures")),
    ];
    for change in changes {
        assert_eq!(changed(&whole(), |wire| change(wire, &short)).unwrap_err().code(), "envelope_malformed");
    }
    let twice = whole().to_json().replacen("{\"payload\"", "{\"payload\":\"e30\",\"payload\"", 1);
    assert_eq!(Envelope::parse(twice.as_bytes()).unwrap_err().code(), "envelope_malformed");
}

#[test]
fn files_of_the_same_document_are_brought_together_and_others_are_not() {
    let [alice, bob] = ["alice", "bob"].map(|name| signed_request(draft(), &[name]));
    assert_eq!(alice.clone().merged(bob.clone()).unwrap(), whole());
    assert_eq!(bob.merged(alice.clone()).unwrap(), whole());
    let other = signed_request(RequestDraft { incident: "INC-8".to_owned(), ..draft() }, &["bob"]);
    assert_eq!(alice.merged(other).unwrap_err(), CeremonyError::EnvelopesDiffer);
}

#[test]
fn a_recipient_that_everybody_could_open_for_is_refused() {
    let canonical = String::from_utf8(whole().document().canonical().to_vec()).unwrap();
    let with = |recipient: &str| {
        Document::parse(canonical.replace(&draft().recipient.to_base64url(), recipient).as_bytes())
            .map_err(|error| error.code())
    };
    let prime = |first: u8| {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (first, 0x7f);
        bytes
    };
    let mut high = draft().recipient.to_base64url().into_bytes();
    high[42] = b'!';
    let mut one = [0; 32];
    one[0] = 1;
    let small = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    let small = small.map(|hex| hex::decode(hex).unwrap().try_into().unwrap());
    for bytes in [[0; 32], one, [0xff; 32], prime(0xec), prime(0xed), prime(0xee), small[0], small[1]] {
        assert_eq!(with(&URL_SAFE_NO_PAD.encode(bytes)), Err("recipient_invalid"), "{bytes:02x?}");
    }
    assert_eq!(with(&String::from_utf8(high).unwrap()), Err("recipient_invalid"));
    assert_eq!(with(""), Err("recipient_invalid"));
    // The last below the prime that is no point of small order.
    assert!(RecipientKey::from_bytes(prime(0xeb)).is_ok());
}

#[test]
fn a_review_takes_two_and_none_of_them_is_the_requester() {
    let (policy, _) = policy();
    let review = || {
        Document::Review(ReviewDocument::write(draft().nonce, "nothing amiss\nkeys rotated".to_owned(), NOW).unwrap())
    };
    let of = |names: &[&str]| approve_review(&signed(review(), names), &policy, NOW);
    assert_eq!(of(&["bob", "bob"]).unwrap_err(), CeremonyError::QuorumNotMet { signed: 1, needed: 2 });
    assert_eq!(of(&["bob", "carol"]).unwrap().closes_use_of(&name("alice")), Ok(()));
    assert_eq!(of(&["alice", "bob", "carol"]).unwrap().closes_use_of(&name("alice")), Ok(()));
    assert_eq!(
        of(&["alice", "carol"]).unwrap().closes_use_of(&name("alice")),
        Err(CeremonyError::ReviewersMissing { signed: 1, needed: 2 })
    );
    assert_eq!(of(&["bob", "carol"]).unwrap().document().nonce(), draft().nonce);
    let early = approve_review(&signed(review(), &["bob", "carol"]), &policy, NOW - Duration::from_secs(61));
    assert_eq!(early.unwrap_err(), CeremonyError::WrittenInTheFuture);
}

#[test]
fn a_cancellation_takes_one_custodian() {
    let (policy, _) = policy();
    let document =
        || Document::Cancellation(CancellationDocument::write(draft().nonce, "not needed".to_owned(), NOW).unwrap());
    let of = |names: &[&str]| approve_cancellation(&signed(document(), names), &policy, NOW);
    assert_eq!(of(&["carol"]).unwrap().signers(), [name("carol")]);
    assert_eq!(of(&[]).unwrap_err().code(), "quorum_not_met");
    assert_eq!(of(&["mallory"]).unwrap_err().code(), "custodian_unknown");
}

#[test]
fn a_document_of_one_kind_is_never_taken_for_another() {
    let (policy, hash) = policy();
    let review =
        signed(Document::Review(ReviewDocument::write(draft().nonce, "x".to_owned(), NOW).unwrap()), &["alice", "bob"]);
    assert_eq!(approve_request(&review, &policy, hash, NOW).unwrap_err().code(), "document_other");
    assert_eq!(approve_cancellation(&review, &policy, NOW).unwrap_err().code(), "document_other");
    assert_eq!(approve_review(&whole(), &policy, NOW).unwrap_err().code(), "document_other");
}

#[test]
fn whose_signature_holds_is_known_of_what_is_refused() {
    let (policy, _) = policy();
    let mut envelope = signed_request(draft(), &["alice", "mallory"]);
    envelope.sign(name("bob"), [7; 64]);
    assert_eq!(verified_signers(&envelope, &policy), [name("alice")]);
}

#[test]
fn what_is_shown_names_every_member_and_moves_no_terminal() {
    let draft =
        RequestDraft { reason: "it's \"down\" \\ off".to_owned(), instance: Some(Uuid::from_u128(7)), ..draft() };
    let document = Document::Request(RequestDocument::write(draft.clone()).unwrap());
    let shown = document.shown();
    for text in [
        "outage",
        "emergency-read",
        "900 seconds",
        "\\\"down\\\" \\\\ off",
        "INC-7",
        "alice",
        "2026-11-22T14:05:00Z",
        &draft.recipient.to_base64url(),
        "00000000-0000-0000-0000-000000000007",
        &draft.policy_hash.to_hex(),
        &draft.nonce.to_string(),
        &Digest::of(document.canonical()).to_hex(),
    ] {
        assert!(shown.contains(text), "{text} is not in\n{shown}");
    }
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
    let review = ReviewDocument::write(draft.nonce, "one\ntwo".to_owned(), NOW).unwrap();
    assert!(Document::Review(review).shown().contains("\"one\\ntwo\""));
}

/// RFC 8037 appendix A.4: a signature made elsewhere, over a JWS signing input made elsewhere.
#[test]
fn the_signature_of_rfc_8037_verifies() {
    let public = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    let key = crate::policy::CustodianKey::from_bytes(&public.try_into().unwrap()).unwrap();
    let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let signature: [u8; 64] = URL_SAFE_NO_PAD.decode(signature).unwrap().try_into().unwrap();
    assert!(key.verifies(input, &signature));
    assert!(!key.verifies(&input[1..], &signature));
}

/// Orders of the same signatures, some of them twice.
fn orders() -> impl Strategy<Value = Vec<usize>> {
    (Just(vec![0_usize, 1, 2]).prop_shuffle(), proptest::collection::vec(0..3_usize, 0..3))
        .prop_map(|(order, more)| order.into_iter().chain(more).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_and_place_of_signatures_do_not_matter(order in orders(), files in 1..4_usize) {
        let whole = signed_request(draft(), &["alice", "bob", "carol"]);
        let wire: Value = serde_json::from_str(&whole.to_json()).unwrap();
        // Dealt out to some files, which are brought together again.
        let dealt = (0..files).map(|file| {
            let mine: Vec<Value> = order.iter().enumerate().filter(|(i, _)| i % files == file)
                .map(|(_, signature)| wire["signatures"][*signature].clone()).collect();
            Envelope::parse(json!({"payload": wire["payload"], "signatures": mine}).to_string().as_bytes()).unwrap()
        });
        let together = dealt.reduce(|one, other| one.merged(other).unwrap()).unwrap();
        prop_assert_eq!(&together, &whole);
        prop_assert_eq!(approved(&together).unwrap().signers().len(), 3);
    }

    #[test]
    fn any_bit_of_the_document_flipped_refuses(place: prop::sample::Index, bit in 0..8_u8) {
        let refused = changed(&whole(), |wire| {
            let mut bytes = payload(wire);
            *place.get_mut(&mut bytes) ^= 1 << bit;
            wire["payload"] = json!(URL_SAFE_NO_PAD.encode(bytes));
        });
        prop_assert!(refused.and_then(|envelope| approved(&envelope)).is_err());
    }

    #[test]
    fn any_bit_of_a_signature_or_its_header_flipped_refuses(
        which in 0..2_usize, member in prop::sample::select(vec!["signature", "protected"]), place: prop::sample::Index, bit in 0..8_u8,
    ) {
        let refused = changed(&whole(), |wire| {
            let text = wire["signatures"][which][member].as_str().unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
            *place.get_mut(&mut bytes) ^= 1 << bit;
            wire["signatures"][which][member] = json!(URL_SAFE_NO_PAD.encode(bytes));
        });
        prop_assert!(refused.and_then(|envelope| approved(&envelope)).is_err());
    }

    #[test]
    fn any_byte_of_the_file_changed_is_refused_or_says_the_same(place: prop::sample::Index, byte: u8) {
        let mut bytes = whole().to_json().into_bytes();
        *place.get_mut(&mut bytes) = byte;
        if let Ok(envelope) = Envelope::parse(&bytes) {
            prop_assert!(envelope == whole() || approved(&envelope).is_err());
        }
    }

    #[test]
    fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Document::parse(&bytes);
        let _ = Envelope::parse(&bytes);
    }

    #[test]
    fn a_written_document_is_read_as_it_was_written(reason in "[ -~äß„“]{1,60}", seconds in 60..=900_u64) {
        let draft = RequestDraft { reason: reason.trim().to_owned(), length: Duration::from_secs(seconds), ..draft() };
        prop_assume!(!draft.reason.is_empty());
        let written = RequestDocument::write(draft.clone()).unwrap();
        prop_assert_eq!(Document::parse(written.canonical()), Ok(Document::Request(written.clone())));
        prop_assert_eq!((written.reason(), written.length()), (draft.reason.as_str(), draft.length));
    }
}
