//! Holds the import table of `docs/architecture.md`: reads the `use` lines, and every `crate::room` in the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From left to right: a room imports only rooms to its left.
const ROOMS: [&str; 14] = [
    "clock",
    "token",
    "policy",
    "lease",
    "audit",
    "telemetry",
    "object_server",
    "desk",
    "exchange",
    "break_glass",
    "reconciler",
    "inquiry",
    "http",
    "app",
];
/// Outside the line: adapter or composition → what it may import.
const OTHERS: [(&str, &[&str]); 9] = [
    ("evidence", &["audit"]),
    ("own_side", &[]),
    ("issuer", &["clock", "own_side", "token"]),
    ("postgres", &["clock", "own_side", "lease", "audit", "desk", "break_glass", "reconciler"]),
    ("webhook", &["clock", "break_glass"]),
    ("config", &["token", "policy", "lease", "issuer", "telemetry", "webhook"]),
    (
        "command",
        &[
            "app",
            "audit",
            "break_glass",
            "client",
            "clock",
            "config",
            "desk",
            "evidence",
            "inquiry",
            "lease",
            "object_server",
            "policy",
            "postgres",
            "reconciler",
            "telemetry",
        ],
    ),
    ("client", &["clock"]),
    (
        "demo",
        &[
            "app",
            "audit",
            "break_glass",
            "client",
            "clock",
            "command",
            "config",
            "object_server",
            "policy",
            "postgres",
            "telemetry",
        ],
    ),
];
/// Beyond its left neighbours, what a room may import.
const EXTRA: [(&str, &[&str]); 2] = [("app", &["config", "issuer", "postgres", "webhook"]), ("inquiry", &["evidence"])];
/// Crate → the only rooms that may name it.
const CRATES: [(&str, &[&str]); 6] = [
    ("csv", &["evidence"]),
    ("parquet", &["evidence"]),
    ("axum", &["http", "app", "client", "demo"]),
    ("sqlx", &["postgres", "demo"]),
    ("reqwest", &["issuer", "object_server", "client", "demo", "webhook"]),
    ("s3s", &["demo"]),
];

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut pending = vec![top.clone()];
    let mut sources = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(&top).unwrap();
            let first = relative.iter().next().unwrap().to_str().unwrap();
            let room = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            sources.push(Source { path: relative.to_owned(), room, text: code });
        }
    }
    sources
}

fn mentioned<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let word = |rest: &'a str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
    text.match_indices(prefix).map(|(at, _)| word(&text[at + prefix.len()..])).filter(|room| !room.is_empty()).collect()
}

fn allowed(room: &str) -> Option<BTreeSet<&'static str>> {
    let extra = EXTRA.iter().filter(|(name, _)| *name == room).flat_map(|(_, rooms)| rooms.iter().copied());
    if let Some(position) = ROOMS.iter().position(|name| *name == room) {
        return Some(ROOMS[..position].iter().copied().chain(extra).collect());
    }
    OTHERS.iter().find(|(name, _)| *name == room).map(|(_, rooms)| rooms.iter().copied().collect())
}

#[test]
fn a_room_imports_only_rooms_to_its_left() {
    let sources = sources();
    assert!(sources.len() > 30, "the sources were found");
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| !matches!(source.room.as_str(), "lib" | "main")) {
        let Some(allowed) = allowed(&source.room) else {
            violations.push(format!("{}: the room `{}` is not in the table", source.path.display(), source.room));
            continue;
        };
        for room in mentioned(&source.text, "crate::") {
            if room != source.room && !allowed.contains(room) {
                violations.push(format!("{}: `{}` must not import `{room}`", source.path.display(), source.room));
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn a_crate_is_named_only_where_it_belongs() {
    let mut violations = Vec::new();
    for source in sources() {
        for (name, rooms) in CRATES {
            let named = source.text.contains(&format!("{name}::")) && !rooms.contains(&source.room.as_str());
            if named {
                violations.push(format!("{}: `{name}` belongs to {rooms:?}", source.path.display()));
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn the_table_tells_a_wrong_import() {
    assert!(!allowed("token").unwrap().contains("policy"));
    assert!(allowed("policy").unwrap().contains("token"));
    assert_eq!(mentioned("use crate::http::Doors; crate::lease::plan", "crate::"), BTreeSet::from(["http", "lease"]));
}

#[test]
fn the_documentation_shows_the_same_line() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md")).unwrap();
    assert!(page.contains(&ROOMS.join(" → ")), "docs/architecture.md lacks: {}", ROOMS.join(" → "));
}
