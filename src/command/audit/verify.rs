//! `stint audit verify`: whether the log, or a bundle of it, is whole.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::progress;
use crate::audit::{Checkpoint, Finding, Inspection, Ledger, Report, VerifyingKey};
use crate::command::{Failure, block_on, count, load};
use crate::evidence;
use crate::postgres::PostgresStore;

/// The largest key file that is read.
const LARGEST_KEY: u64 = 64 * 1024;

/// What was asked.
#[derive(Debug)]
pub struct VerifyOptions {
    /// The configuration file, which names the database.
    pub config: PathBuf,
    /// A bundle to verify instead: no configuration, no network.
    pub bundle: Option<PathBuf>,
    /// Public keys in PEM: only these are trusted.
    pub keys: Vec<PathBuf>,
    /// A checkpoint taken earlier.
    pub since: Option<PathBuf>,
    /// Also what was before the checkpoint.
    pub all: bool,
    /// Answer in JSON.
    pub json: bool,
}

/// `stint audit verify`
pub fn verify(options: &VerifyOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let trusted: Result<Vec<VerifyingKey>, Failure> = options.keys.iter().map(|path| public_key(path)).collect();
    let since = options.since.as_deref().map(checkpoint).transpose()?;
    let inspection = Inspection { trusted: trusted?, since, all: options.all };
    let progress = progress::on_stderr(options.json);
    let report = if let Some(directory) = &options.bundle {
        evidence::verify(directory, &inspection, &progress)?
    } else {
        let config = load(&options.config)?;
        let mut answer = None;
        block_on(async {
            let store = PostgresStore::attach(&config.postgres_url, config.audit.deadline)?;
            answer = Some(store.verify(inspection, progress).await?);
            Ok(())
        })?;
        answer.ok_or_else(|| Failure("the verification was given up".to_owned()))?
    };
    progress::end(options.json);
    tell(&report, options.json, out)
}

/// The answer, and as an error what makes the command fail.
fn tell(report: &Report, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        let mut answer = json!(report);
        if let Some(members) = answer.as_object_mut() {
            members.insert("whole".to_owned(), report.is_whole().into());
        }
        writeln!(out, "{answer:#}")?;
    } else {
        tell_people(report, out)?;
    }
    let Some(first) = report.findings.first() else { return Ok(()) };
    let found = u64::try_from(report.findings.len()).unwrap_or(u64::MAX).saturating_add(report.more_findings);
    let found = if found == 1 { "1 finding".to_owned() } else { format!("{found} findings") };
    Err(Failure(format!("the log is not whole: {found}, the first {first}")))
}

fn tell_people(report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    tell_all("found", &report.findings, report.more_findings, out)?;
    tell_all("note", &report.warnings, report.more_warnings, out)?;
    if !report.keys_pinned {
        writeln!(
            out,
            "note: THE KEYS WERE TAKEN FROM THE SAME PLACE AS THE LOG. Whoever could rewrite the log could replace them: \
             pin the keys you were given with --key"
        )?;
    }
    if report.partial {
        writeln!(out, "note: this is a part of the log: what is not in it is not spoken of")?;
    }
    for key in &report.keys {
        writeln!(out, "key {}: {} seals", key.key_id, key.seals)?;
    }
    if report.rows_before > 0 {
        writeln!(
            out,
            "{} rows stand before the checkpoint: chained, not read again (--all reads them)",
            report.rows_before
        )?;
    }
    let verdict = if report.is_whole() { "whole" } else { "NOT WHOLE" };
    let Report { rows, seals, streams, .. } = report;
    Ok(writeln!(out, "{verdict}: {rows} rows, {seals} seals, {streams} streams")?)
}

fn tell_all(what: &str, findings: &[Finding], more: u64, out: &mut dyn Write) -> Result<(), Failure> {
    for finding in findings {
        writeln!(out, "{what}: {finding}")?;
    }
    if more > 0 {
        writeln!(out, "{what}: … and {more} more")?;
    }
    Ok(())
}

fn public_key(path: &Path) -> Result<VerifyingKey, Failure> {
    let told = |error: &dyn std::fmt::Display| Failure(format!("--key {} {error}", path.display()));
    let length = fs::metadata(path).map_err(|error| told(&format!("cannot be read: {error}")))?.len();
    if length > LARGEST_KEY {
        return Err(told(&format!("is larger than {}", count(64, "KiB"))));
    }
    let pem = fs::read(path).map_err(|error| told(&format!("cannot be read: {error}")))?;
    VerifyingKey::from_pem(&pem).map_err(|error| told(&error))
}

fn checkpoint(path: &Path) -> Result<Checkpoint, Failure> {
    let told = |error: &dyn std::fmt::Display| Failure(format!("--since {} {error}", path.display()));
    let length = fs::metadata(path).map_err(|error| told(&format!("cannot be read: {error}")))?.len();
    if length > 8 * 1024 * 1024 {
        return Err(told(&"is too large to be a checkpoint"));
    }
    let document = fs::read(path).map_err(|error| told(&format!("cannot be read: {error}")))?;
    Checkpoint::parse(document.trim_ascii()).map_err(|error| told(&error))
}
