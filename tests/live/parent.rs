//! The parent user of docs/deploy/parent-policy.json: leases narrow its rights, so it must hold every S3 right that a shipped
//! policy grants. Admin rights it names one by one: `admin:*` would let an admin's session download the secrets of all
//! users (`admin:InspectData`, which no policy may deny by name).

use std::fs;
use std::path::Path;

use serde_json::Value;

fn document(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("the document can be read");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// Every (action, resource) that the document's Allow statements name.
fn allowed(document: &Value) -> Vec<(&str, &str)> {
    let statements = document["Statement"].as_array().expect("a document has statements");
    let mut pairs = Vec::new();
    for statement in statements.iter().filter(|statement| statement["Effect"] == "Allow") {
        let resources = match strings(&statement["Resource"]) {
            none if none.is_empty() => vec![""],
            some => some,
        };
        for action in strings(&statement["Action"]) {
            pairs.extend(resources.iter().map(|resource| (action, *resource)));
        }
    }
    pairs
}

/// Whether `pattern`, where only its end may be `*`, covers `text`, itself perhaps a pattern.
fn covers(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    }
}

#[test]
fn the_parent_holds_every_s3_right_that_a_shipped_policy_grants() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parent = document(&root.join("docs/deploy/parent-policy.json"));
    let held = allowed(&parent);
    let documents = fs::read_dir(root.join("policies/documents")).expect("the shipped documents can be listed");
    let mut seen = 0;
    for entry in documents {
        let path = entry.expect("the shipped documents can be listed").path();
        for (action, resource) in allowed(&document(&path)) {
            if action.starts_with("admin:") {
                continue;
            }
            seen += 1;
            let holds = |&(own_action, own_resource): &(&str, &str)| {
                covers(own_action, action) && (own_resource.is_empty() || covers(own_resource, resource))
            };
            assert!(held.iter().any(holds), "{}: the parent lacks {action} on {resource}", path.display());
        }
    }
    assert!(seen > 0, "no rights were compared");
}

#[test]
fn the_parent_names_its_admin_rights_one_by_one_and_no_account_is_among_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parent = document(&root.join("docs/deploy/parent-policy.json"));
    let denied: Vec<&str> = parent["Statement"]
        .as_array()
        .expect("a document has statements")
        .iter()
        .filter(|statement| statement["Effect"] == "Deny")
        .flat_map(|statement| strings(&statement["Action"]))
        .collect();
    assert!(denied.contains(&"admin:CreateServiceAccount"), "the parent may not make a key that outlives its leases");
    for (action, _) in allowed(&parent).into_iter().filter(|(action, _)| !action.starts_with("s3:")) {
        assert!(action.starts_with("admin:") && !action.contains('*'), "{action}");
        assert!(!denied.contains(&action), "{action} is allowed and denied");
        for leak in ["admin:InspectData", "admin:ServerTrace", "admin:Profiling", "admin:ExportIAM"] {
            assert_ne!(action, leak, "it shows secrets of others");
        }
    }
}
