//! `docs/compatibility.md` is made of `docs/compatibility/*.json`, and those of live runs: nobody writes it by hand.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// What stint means to stand in front of, and what to know where there is no row: a server without one says so.
const SERVERS: [(&str, &str); 8] = [
    ("MinIO", ""),
    ("RustFS", ""),
    ("SeaweedFS", ""),
    ("Ceph RGW", ""),
    ("Garage", ": `tests/run --all` builds it where it can"),
    ("Silo", ": configured as `minio`, whose code it continues (Pigsty); it cannot be had by `go install`"),
    ("AWS", ": only an emulator of it was"),
    ("AWS emulator", ""),
];

const HEAD: &str = "# Compatibility

What `stint object-server verify` saw on real servers, and on one emulator, which is called one. Made of
`docs/compatibility/*.json`, which `tests/run live --all` writes to `target/run/compatibility/`: nothing here is written by hand,
and a server that was not run says so. What each check means is in
[object-servers.md](object-servers.md#stint-object-server-verify).
";

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_else(|| panic!("a row has {name}: {row}"))
}

fn rows(directory: &Path) -> Vec<Value> {
    let read = |entry: std::io::Result<fs::DirEntry>| fs::read(entry.unwrap().path()).unwrap();
    let mut rows: Vec<Value> =
        fs::read_dir(directory).unwrap().map(read).map(|row| serde_json::from_slice(&row).unwrap()).collect();
    rows.sort_by_key(|row| (text(row, "server").to_owned(), text(row, "version").to_owned()));
    rows
}

fn page(rows: &[Value]) -> String {
    let mut page = HEAD.to_owned();
    let checks = |row: &Value| row["checks"].as_array().unwrap().clone();
    let count = |row: &Value, outcome: &str| checks(row).iter().filter(|check| check["outcome"] == outcome).count();
    page.push_str(
        "\n| server | version | run on | passed | failed | noted | not applicable |\n|---|---|---|---|---|---|---|\n",
    );
    for (server, why) in SERVERS {
        let mut known = rows.iter().filter(|row| row["server"] == server).peekable();
        if known.peek().is_none() {
            writeln!(page, "| {server} | – | not run{why} | | | | |").unwrap();
        }
        for row in known {
            let [passed, failed, noted, none] =
                ["passed", "failed", "noted", "not_applicable"].map(|outcome| count(row, outcome));
            let (version, date) = (text(row, "version"), text(row, "date"));
            writeln!(page, "| {server} | {version} | {date} | {passed} | {failed} | {noted} | {none} |").unwrap();
        }
    }
    for row in rows {
        assert!(
            SERVERS.iter().any(|(server, _)| *server == text(row, "server")),
            "{} is in the list of servers",
            text(row, "server")
        );
        writeln!(page, "\n## {} {}, {}\n", text(row, "server"), text(row, "version"), text(row, "date")).unwrap();
        page.push_str("| check | | what was seen |\n|---|---|---|\n");
        for check in checks(row) {
            let seen = text(&check, "seen").replace('|', "\\|");
            let outcome = text(&check, "outcome").replace('_', " ");
            writeln!(page, "| {} | {outcome} | {seen} |", text(&check, "name")).unwrap();
        }
    }
    page
}

#[test]
fn the_page_is_what_live_runs_saw() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let fresh = page(&rows(&docs.join("compatibility")));
    if fs::read_to_string(docs.join("compatibility.md")).unwrap_or_default() != fresh {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compatibility.md");
        fs::write(&kept, fresh).unwrap();
        panic!("docs/compatibility.md is stale: cp {} docs/compatibility.md", kept.display());
    }
}

#[test]
fn a_server_that_was_not_run_says_so() {
    let page = page(&[]);
    for (server, why) in SERVERS {
        assert!(page.contains(&format!("| {server} | – | not run{why} |")), "{server}");
    }
}
