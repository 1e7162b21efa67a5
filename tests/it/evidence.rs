//! Evidence bundles: what the command writes is whole offline, and a change of any file is found.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use stint::audit::{Fault, Finding, Inspection, Report};
use stint::evidence;
use stint::postgres::PostgresStore;

use crate::harness::binary::{Ended, Site, run, stint};
use crate::verify::{PRIVATE, Tampered, key, pinned};

/// A log, a configuration that names it, and a bundle of all of it.
fn site(log: &Tampered) -> Site {
    let site = Site::new(&log.url, "http://127.0.0.1:9");
    site.write("signing.pem", PRIVATE);
    site.write("public.pem", key().public().to_pem());
    let private = site.path().join("signing.pem");
    fs::set_permissions(private, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    site.configure("[lease]\n", "[audit]\nsigning_key_file = \"signing.pem\"\n[lease]\n");
    site
}

async fn export(site: &Site, more: &[&str]) -> Ended {
    let (config, output) = (site.config(), site.path().join("bundle"));
    let mut arguments = vec!["audit", "export", "--config", config.to_str().unwrap()];
    arguments.extend(["--output", output.to_str().unwrap()]);
    arguments.extend(more);
    run(stint(arguments)).await
}

/// Progress that nobody watches.
fn unheard() -> stint::audit::Progress {
    Arc::new(|_| {})
}

fn verify(directory: &Path, inspection: &Inspection) -> Report {
    evidence::verify(directory, inspection, &unheard()).unwrap()
}

#[track_caller]
fn assert_found(findings: &[Finding], fault: Fault) {
    assert!(findings.iter().any(|finding| finding.fault == fault), "{fault:?}: {findings:#?}");
}

#[tokio::test]
async fn a_bundle_of_everything_is_whole_and_each_file_that_is_changed_is_named() {
    let log = Tampered::new().await;
    let site = site(&log);
    let ended = export(&site, &[]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let bundle = site.path().join("bundle");
    let mode = fs::metadata(&bundle).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "it holds whole fingerprints: for whoever made it alone");
    let report = verify(&bundle, &pinned());
    assert_eq!(report.findings, []);
    assert!(!report.partial && report.streams == 5, "the export is a stream of its own: {report:?}");

    let manifest: Value = serde_json::from_slice(&fs::read(bundle.join("manifest.json")).unwrap()).unwrap();
    let mut names: Vec<String> = manifest["files"].as_object().unwrap().keys().cloned().collect();
    let written =
        ["events.csv", "events.jsonl", "events.parquet", "policy_sets.jsonl", "seals.jsonl", "checkpoint.json"];
    for name in written {
        assert!(names.iter().any(|there| there == name), "{name}");
    }
    names.extend(["manifest.json".to_owned(), "manifest.sig".to_owned()]);
    for name in names {
        let path = bundle.join(&name);
        let whole = fs::read(&path).unwrap();
        if whole.is_empty() {
            continue;
        }
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            match evidence::verify(&bundle, &pinned(), &unheard()) {
                Ok(report) => assert_found(&report.findings, Fault::FileChanged),
                Err(error) => assert_eq!(name, "manifest.json", "{error}"),
            }
        }
        fs::remove_file(&path).unwrap();
        match evidence::verify(&bundle, &pinned(), &unheard()) {
            Ok(report) if name == "manifest.sig" => {
                assert_eq!(report.findings, [], "an unsigned bundle is one too");
                assert!(report.warnings.iter().any(|noted| noted.fault == Fault::ManifestUnsigned), "{report:#?}");
            }
            Ok(report) => assert_found(&report.findings, Fault::FileChanged),
            Err(error) => {
                assert!(["manifest.json", "events.jsonl", "seals.jsonl"].contains(&name.as_str()), "{name}: {error}");
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(verify(&bundle, &pinned()).findings, []);
}

/// Whoever changes a file can write a manifest to it: then the seals must tell.
#[tokio::test]
async fn a_change_under_a_manifest_made_anew_is_named_by_the_seals() {
    let log = Tampered::new().await;
    let site = site(&log);
    assert_eq!(export(&site, &["--format", "jsonl"]).await.code, Some(0));
    let bundle = site.path().join("bundle");
    fs::remove_file(bundle.join("manifest.sig")).unwrap();
    let events = fs::read_to_string(bundle.join("events.jsonl")).unwrap();
    let seals = fs::read_to_string(bundle.join("seals.jsonl")).unwrap();
    let lines: Vec<&str> = events.split_inclusive('\n').collect();
    let without = |line: usize| [&lines[..line], &lines[line + 1..]].concat().concat();
    let mut swapped = lines.clone();
    swapped.swap(3, 4);
    let doubled = [&lines[..4], &lines[3..]].concat().concat();
    let changes = [
        ("events.jsonl", events.replacen("authentik", "authentic", 1), Fault::RowEdited),
        ("events.jsonl", events.replacen(':', ": ", 1), Fault::RowEdited),
        ("events.jsonl", without(0), Fault::RowMissing),
        ("events.jsonl", without(3), Fault::RowMissing),
        ("events.jsonl", without(lines.len() - 1), Fault::RowMissing),
        ("events.jsonl", swapped.concat(), Fault::RowOutOfOrder),
        ("events.jsonl", doubled, Fault::RowOutOfOrder),
        ("events.jsonl", format!("{events}planted\n"), Fault::FileChanged),
        ("seals.jsonl", seals.split_inclusive('\n').skip(1).collect(), Fault::SealMissing),
        ("seals.jsonl", seals.replacen("\"number\":1,", "\"number\":99,", 1), Fault::SealForged),
        ("seals.jsonl", seals.replacen("stint seal 1", "stint seal 2", 1), Fault::SealMalformed),
        ("seals.jsonl", String::new(), Fault::RowUnsealed),
    ];
    let rewrite = |name: &str, content: &str| {
        fs::write(bundle.join(name), content).unwrap();
        let path = bundle.join("manifest.json");
        let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        manifest["files"][name]["sha256"] = stint::audit::Digest::of(content.as_bytes()).to_hex().into();
        manifest["files"][name]["bytes"] = content.len().into();
        fs::write(&path, manifest.to_string()).unwrap();
    };
    for (name, content, fault) in changes {
        let whole = if name == "events.jsonl" { &events } else { &seals };
        assert_ne!(&content, whole);
        rewrite(name, &content);
        assert_found(&verify(&bundle, &pinned()).findings, fault);
        rewrite(name, whole);
    }
    assert_eq!(verify(&bundle, &pinned()).findings, []);
}

#[tokio::test]
async fn a_part_is_whole_as_a_part_and_its_tables_hold_the_same_rows() {
    let log = Tampered::new().await;
    let site = site(&log);
    let ended = export(&site, &["--stream", &log.streams[1].0.to_string()]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let bundle = site.path().join("bundle");
    let report = verify(&bundle, &pinned());
    assert_eq!(report.findings, []);
    assert!(report.partial && report.streams == 1);

    let parquet = SerializedFileReader::new(fs::File::open(bundle.join("events.parquet")).unwrap()).unwrap();
    let table: Vec<_> = parquet.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(u64::try_from(table.len()).unwrap(), report.rows);
    let text = table.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("b,{c}") && text.contains("ünïcode"), "{text}");
    let csv = fs::read_to_string(bundle.join("events.csv")).unwrap();
    assert!(csv.contains(",'=cmd(),") && !csv.contains(",=cmd()"), "{csv}");

    // A period: the seals with an event inside, whole.
    let other = site.path().join("period");
    let config = site.config();
    let arguments = ["audit", "export", "--config", config.to_str().unwrap(), "--from", "2026-12-01T00:00:00Z"];
    let ended = run(stint(arguments.into_iter().chain(["--output", other.to_str().unwrap()]))).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report = verify(&other, &pinned());
    assert_eq!((report.findings.as_slice(), report.partial), ([].as_slice(), true));
}

#[tokio::test]
async fn an_export_is_on_record_before_it_is_written_and_never_writes_over_anything() {
    let log = Tampered::new().await;
    let site = site(&log);
    fs::create_dir(site.path().join("bundle")).unwrap();
    let ended = export(&site, &[]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("is there already"), "{}", ended.stderr);
    fs::remove_dir(site.path().join("bundle")).unwrap();
    assert_eq!(export(&site, &[]).await.code, Some(0));
    let store = PostgresStore::connect(&log.url, std::time::Duration::from_secs(5)).await.unwrap();
    let rows = store.recent(1000).await.unwrap();
    let exports: Vec<_> = rows.iter().filter(|row| row.reason == "export").collect();
    let [export] = exports.as_slice() else { panic!("{exports:?}") };
    assert_eq!((export.kind.as_str(), export.door.as_deref()), ("audit.read", Some("cli")));
    assert!(export.subject.as_deref().unwrap().starts_with("uid "));
    let events = fs::read_to_string(site.path().join("bundle/events.jsonl")).unwrap();
    assert!(events.contains("\"reason\":\"export\""), "the bundle holds its own export");
}

#[tokio::test]
async fn the_commands_answer_with_their_exit_codes_and_a_tampered_row_is_named_on_one_line() {
    let mut log = Tampered::new().await;
    let site = site(&log);
    let (config, public) = (site.config(), site.path().join("public.pem"));
    let (config, public) = (config.to_str().unwrap(), public.to_str().unwrap());
    let head = run(stint(["audit", "head", "--config", config, "--json"])).await;
    assert_eq!((head.code, head.stderr.as_str()), (Some(0), ""));
    site.write("checkpoint.json", &head.stdout);
    let checkpoint = site.path().join("checkpoint.json");
    let verify =
        ["audit", "verify", "--config", config, "--key", public, "--since", checkpoint.to_str().unwrap(), "--all"];
    let ended = run(stint(verify)).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.contains("whole: ") && !ended.stdout.contains("SAME PLACE"), "{}", ended.stdout);
    let unpinned = run(stint(["audit", "verify", "--config", config])).await;
    assert!(unpinned.code == Some(0) && unpinned.stdout.contains("SAME PLACE AS THE LOG"), "{}", unpinned.stdout);

    let stream = log.streams[0].0;
    log.execute(&format!("update audit_event set subject = 'x' where stream = '{stream}' and seq = 2")).await;
    let ended = run(stint(verify.into_iter().chain(["--json"]))).await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("row_edited: stream {stream} seal 2 row 2")), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&report["whole"], &report["findings"][0]["seq"]), (&false.into(), &2.into()));

    for (arguments, told) in [
        (vec!["audit", "verify", "--config", config, "--key", config], "is not an Ed25519 public key"),
        (vec!["audit", "verify", "--config", config, "--since", public], "is not a checkpoint"),
        (vec!["audit", "verify", "--bundle", "/nonexistent"], "manifest.json"),
    ] {
        let ended = run(stint(&arguments)).await;
        assert!(ended.code == Some(1) && ended.stderr.contains(told), "{arguments:?}: {}", ended.stderr);
    }
    assert_eq!(run(stint(["audit", "verify", "--bundle", ".", "--config", config])).await.code, Some(2));
    site.configure("signing_key_file = \"signing.pem\"\n", "");
    let ended = run(stint(["audit", "head", "--config", config])).await;
    assert!(ended.code == Some(1) && ended.stderr.contains("audit.signing_key_file is not set"), "{}", ended.stderr);
}
