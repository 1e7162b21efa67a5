//! The table of `docs/clients.md` is made of `docs/clients/*.json`, which live runs write: nobody writes it by hand. Each client
//! has its own section, and one that was not run says so.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Whom the page is for, and why there is no row where there is none.
const CLIENTS: [(&str, &str); 19] = [
    ("boto3", ""),
    ("aioboto3", ""),
    ("s3fs", ""),
    ("aws-cli", ""),
    ("aws-sdk-go-v2", ""),
    ("aws-sdk-js v3", ""),
    ("aws-sdk-java v2", ""),
    ("aws-sdk-rust", ""),
    ("minio-py", ""),
    ("minio-go", ""),
    ("rclone copy", ""),
    ("rclone serve", ""),
    ("rclone mount", ": it wants FUSE"),
    ("restic", ""),
    ("object_store", ""),
    ("DuckDB", ""),
    ("barman-cloud", ""),
    ("django-storages", ""),
    ("pgBackRest", ": Debian has 2.45; 2.58 is the first that takes container credentials, 2.59 a custom STS"),
];

const BEGIN: &str = "<!-- made of docs/clients/*.json -->\n";
const END: &str = "<!-- end -->\n";

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_else(|| panic!("a row has {name}: {row}"))
}

fn rows(directory: &Path) -> Vec<Value> {
    let read = |entry: std::io::Result<fs::DirEntry>| fs::read(entry.unwrap().path()).unwrap();
    let mut rows: Vec<Value> =
        fs::read_dir(directory).unwrap().map(read).map(|row| serde_json::from_slice(&row).unwrap()).collect();
    rows.sort_by_key(|row| text(row, "way").to_owned());
    rows
}

fn table(rows: &[Value]) -> String {
    let mut table =
        "| client | version | way | advertised | keys | requests | without stint | steps failed | run on |\n\
                     |---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for (client, why) in CLIENTS {
        let mut known = rows.iter().filter(|row| row["client"] == client).peekable();
        if known.peek().is_none() {
            writeln!(table, "| {client} | – | not run{why} | | | | | | |").unwrap();
        }
        for row in known {
            let (version, way, date) = (text(row, "version"), text(row, "way"), text(row, "date"));
            let count = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("a row has {name}: {row}"));
            let [advertised, keys, requests, in_outage, steps, failed] =
                ["advertised_seconds", "keys", "requests", "in_outage", "steps", "failed_steps"].map(count);
            let all = steps + failed;
            writeln!(
                table,
                "| {client} | {version} | {way} | {advertised} s | {keys} | {requests} | {in_outage} | {failed} of {all} | {date} |"
            )
            .unwrap();
        }
    }
    for row in rows {
        let client = text(row, "client");
        assert!(CLIENTS.iter().any(|(known, _)| *known == client), "{client} is in the list of clients");
    }
    table
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md")).unwrap()
}

#[test]
fn the_table_of_clients_is_what_live_runs_saw() {
    let (page, rows) = (page(), rows(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients")));
    let (before, rest) = page.split_once(BEGIN).expect("the table begins");
    let (_, after) = rest.split_once(END).expect("the table ends");
    let fresh = format!("{before}{BEGIN}{}{END}{after}", table(&rows));
    if page != fresh {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients.md");
        fs::write(&kept, fresh).unwrap();
        panic!("docs/clients.md is stale: cp {} docs/clients.md", kept.display());
    }
}

#[test]
fn each_client_has_a_section_of_its_own() {
    let page = page();
    for (client, _) in CLIENTS {
        let name = client.split_whitespace().next().unwrap();
        assert!(
            page.lines().any(|line| line.starts_with("### ") && line.contains(name)),
            "docs/clients.md has a section for {name}"
        );
    }
}

#[test]
fn a_client_that_was_not_run_says_so() {
    let table = table(&[]);
    for (client, why) in CLIENTS {
        assert!(table.contains(&format!("| {client} | – | not run{why} |")), "{client}");
    }
}
