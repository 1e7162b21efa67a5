//! The shipped `policies/` and the corpora under `tests/policies/`, through the compile that serves. Beside each
//! directory of a corpus, `<name>.txt` holds what the compile says: a role per line for what is accepted (warnings
//! after), a problem per line for what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stint::policy::{AccessCheck, Document, Expiry, PolicyFiles, PolicySet, Problem, Verdict, evaluate};
use stint::token::IssuerName;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn compile(directory: &Path) -> Result<PolicySet, Vec<Problem>> {
    PolicySet::compile(&PolicyFiles::read(directory)?, &[IssuerName::parse("authentik").unwrap()])
}

fn shipped() -> PolicySet {
    compile(&root("policies")).unwrap()
}

fn described(compiled: Result<PolicySet, Vec<Problem>>) -> String {
    match compiled {
        Ok(set) => {
            let role = |(name, document, ttl): (_, &Document, Option<_>)| {
                format!("{name} {ttl:?} {}", in_order(document.to_json()))
            };
            let warnings = set.warnings().iter().map(|warning| format!("warning: {warning}"));
            lines(set.roles().map(role).chain(warnings))
        }
        Err(problems) => lines(problems),
    }
}

/// Members in the order of their names: a map keeps them as they came or sorts them, as the whole build decides.
fn in_order(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<String, Value> =
                members.into_iter().map(|(name, value)| (name, in_order(value))).collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(in_order).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn lines(items: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    items.into_iter().fold(String::new(), |text, item| format!("{text}{item}\n"))
}

/// Every directory of the corpus with what is expected of it.
fn corpus(which: &str) -> Vec<(PathBuf, String)> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(root("tests/policies").join(which)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let expected = path.with_extension("txt");
            let text = fs::read_to_string(&expected).unwrap_or_else(|error| panic!("{}: {error}", expected.display()));
            cases.push((path, text));
        }
    }
    assert!(!cases.is_empty());
    cases
}

#[test]
fn the_accepted_corpus_compiles_to_what_is_written_beside_it() {
    for (directory, expected) in corpus("accept") {
        let compiled = compile(&directory);
        assert!(compiled.is_ok(), "{}: {}", directory.display(), described(compiled));
        assert_eq!(described(compiled), expected, "{}", directory.display());
    }
}

#[test]
fn the_rejected_corpus_is_refused_for_the_reasons_written_beside_it() {
    for (directory, expected) in corpus("reject") {
        let compiled = compile(&directory);
        assert!(compiled.is_err(), "{} was accepted", directory.display());
        assert_eq!(described(compiled), expected, "{}", directory.display());
    }
}

#[test]
fn the_shipped_policies_compile_without_a_warning() {
    let set = shipped();
    assert!(set.warnings().is_empty(), "{:?}", set.warnings());
    let names: Vec<&str> = set.roles().map(|(name, _, _)| name.as_str()).collect();
    let expected = [
        "authentik-Admins",
        "backup-agent",
        "livekit-egress",
        "spacemusic-admins",
        "spacemusic-viewers",
        "studio",
        "studio-rclone",
    ];
    assert_eq!(names, expected);
}

/// The longest Deny block a server asks for: MinIO's account-making actions, one by one.
const LONGEST_DENY_BLOCK: usize = 512;

#[test]
fn every_shipped_document_fits_a_session_policy_together_with_its_deny_block() {
    for (name, document, _) in shipped().roles() {
        assert!(document.to_json().to_string().len() + LONGEST_DENY_BLOCK <= 2_048, "{name}");
    }
}

#[test]
fn both_admin_documents_say_the_same_so_that_any_joins_them_into_one() {
    let set = shipped();
    let document = |role| set.roles().find(|(name, _, _)| name.as_str() == role).unwrap().1.clone();
    assert_eq!(document("authentik-Admins"), document("spacemusic-admins"));
    assert!(document("spacemusic-admins").allows_admin());
    assert!(!document("studio").allows_admin());
}

#[test]
fn the_shipped_buckets_are_those_the_documents_name() {
    let set = shipped();
    let expiry: BTreeMap<&str, Expiry> = set.buckets().iter().map(|bucket| (bucket.name(), bucket.expiry())).collect();
    let expected = BTreeMap::from([
        ("assets", Expiry::Never),
        ("backups", Expiry::Days(90)),
        ("exports", Expiry::Days(90)),
        ("recordings", Expiry::Days(30)),
        ("textures", Expiry::Never),
    ]);
    assert_eq!(expiry, expected);
    for (name, document, _) in set.roles() {
        let json = document.to_json();
        let statements = json["Statement"].as_array().unwrap().iter();
        for resource in statements.filter_map(|s| s["Resource"].as_array()).flatten().filter_map(Value::as_str) {
            let bucket = resource.trim_start_matches("arn:aws:s3:::").trim_end_matches("/*");
            assert!(bucket == "*" || expiry.contains_key(bucket), "{name}: {resource}");
        }
    }
}

#[test]
fn the_shipped_documents_grant_what_their_names_say_and_no_more() {
    let set = shipped();
    let allowed = |role: &str, action: &str, path: &str| {
        let (_, document, _) = set.roles().find(|(name, _, _)| name.as_str() == role).unwrap();
        let resource = format!("arn:aws:s3:::{path}");
        evaluate(document, &AccessCheck { action, resource: &resource, context: &BTreeMap::new() }) == Verdict::Allowed
    };
    let granted = [
        ("spacemusic-admins", "s3:PutBucketPolicy", "assets"),
        ("spacemusic-admins", "admin:ServerInfo", ""),
        ("authentik-Admins", "s3:DeleteObject", "assets/x"),
        ("studio", "s3:PutObject", "exports/x"),
        ("studio", "s3:ListBucket", "backups"),
        ("studio-rclone", "s3:DeleteObject", "textures/a/b"),
        ("spacemusic-viewers", "s3:GetObject", "recordings/x"),
        ("spacemusic-viewers", "s3:ListBucket", "recordings"),
        ("livekit-egress", "s3:PutObject", "recordings/x"),
        ("backup-agent", "s3:PutObject", "backups/x"),
        ("backup-agent", "s3:GetObject", "backups/x"),
    ];
    for (role, action, path) in granted {
        assert!(allowed(role, action, path), "{role} {action} {path}");
    }
    let refused = [
        ("spacemusic-admins", "admin:CreateServiceAccount", ""),
        ("authentik-Admins", "admin:CreateUser", ""),
        ("studio", "s3:PutBucketPolicy", "exports"),
        ("studio", "s3:DeleteObjectVersion", "exports/x"),
        ("studio", "s3:PutObject", "other/x"),
        ("studio", "admin:ServerInfo", ""),
        ("studio-rclone", "s3:DeleteBucket", "textures"),
        ("spacemusic-viewers", "s3:PutObject", "recordings/x"),
        ("livekit-egress", "s3:GetObject", "recordings/x"),
        ("livekit-egress", "s3:PutObject", "exports/x"),
        ("backup-agent", "s3:DeleteObject", "backups/x"),
        ("backup-agent", "s3:PutObject", "assets/x"),
    ];
    for (role, action, path) in refused {
        assert!(!allowed(role, action, path), "{role} {action} {path}");
    }
}

#[test]
fn the_hash_changes_with_every_byte_and_every_name() {
    let files = |entries: &[(&str, &str)]| {
        PolicyFiles(entries.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect())
    };
    let statement = json!({ "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*" });
    let document = &json!({ "Version": "2012-10-17", "Statement": statement }).to_string();
    let hash = |entries: &[(&str, &str)]| PolicySet::compile(&files(entries), &[]).unwrap().hash();
    let one = hash(&[("documents/a.json", document)]);
    assert_eq!(one, hash(&[("documents/a.json", document)]));
    assert_ne!(one, hash(&[("documents/b.json", document)]));
    assert_ne!(one, hash(&[("documents/a.json", &format!("{document} "))]));
    assert_ne!(one, hash(&[("documents/a.json", document), ("operators.toml", "")]));
}

#[test]
fn an_empty_directory_is_no_policy_set() {
    let empty = PolicyFiles::default();
    assert!(PolicySet::compile(&empty, &[]).unwrap_err()[0].message.contains("no role"));
}

#[test]
fn the_worked_examples_of_narrowing_in_the_docs_hold() {
    let docs = fs::read_to_string(root("docs/policies.md")).unwrap();
    let blocks: Vec<(&str, &str)> =
        docs.split("```json ").skip(1).filter_map(|rest| rest.split("```").next()?.split_once('\n')).collect();
    let role = Document::parse(blocks[0].1.as_bytes()).unwrap();
    let mut examples = blocks.iter().skip(1).peekable();
    let mut refused = 0;
    while let Some((kind, session)) = examples.next() {
        assert_eq!(*kind, "session");
        if let Some((_, lease)) = examples.next_if(|(kind, _)| *kind == "lease") {
            let narrowed = role.narrowed_by(session).unwrap().to_json();
            assert_eq!(narrowed, serde_json::from_str::<Value>(lease).unwrap());
        } else {
            assert!(role.narrowed_by(session).is_err());
            refused += 1;
        }
    }
    assert_eq!((blocks.len(), refused), (6, 1));
}
