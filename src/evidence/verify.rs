//! Verifies a bundle offline. The manifest says what was written; the events and seals must prove themselves, with the
//! keys that the auditor brought or, said aloud, with the bundle's own.

use std::fs;
use std::path::Path;

use super::file::{Lines, digest};
use super::manifest::{self, Manifest};
use super::{EvidenceError, SealLine};
use crate::audit::{
    AuditRow, Checkpoint, Digest, Fault, Finding, Inspection, NamedBy, Progress, Report, Scope, SeenRow, Signature,
    StreamHead, StreamId, Verifier, VerifyingKey,
};

/// How many rows between two tellings.
const STEP: u64 = 4096;

/// Verifies the bundle in this directory. Blocking. A fault is an answer; an error is a bundle that cannot be read as one.
pub fn verify(directory: &Path, inspection: &Inspection, progress: &Progress) -> Result<Report, EvidenceError> {
    let path = directory.join(manifest::NAME);
    let document = fs::read(&path).map_err(EvidenceError::io(&path))?;
    let manifest = Manifest::parse(&document).map_err(|reason| EvidenceError::Manifest { path, reason })?;
    let mut findings = Vec::new();
    check_files(directory, &manifest, &mut findings)?;

    let own = own_keys(directory, &manifest);
    let keys_pinned = !inspection.trusted.is_empty();
    let keys = if keys_pinned { inspection.trusted.clone() } else { own.clone() };
    findings.extend(check_signature(directory, &document, &keys));
    let checkpoints = checkpoints(directory, &manifest, inspection, &keys, &mut findings);

    let scope = Scope { keys, keys_pinned, partial: manifest.partial, ..Scope::default() };
    let mut verifier = Verifier::new(scope);
    for key in own {
        verifier.know(key);
    }
    for finding in findings {
        verifier.add(finding);
    }
    for head in heads(&manifest.streams) {
        verifier.expect(head, NamedBy::Manifest);
    }
    for head in heads(&manifest.retired) {
        verifier.retire(head);
    }
    for head in checkpoints.iter().flat_map(Checkpoint::heads) {
        verifier.expect(*head, NamedBy::Checkpoint);
    }
    expect_openings(&mut verifier, &directory.join("events.jsonl"))?;
    walk(&mut verifier, directory, progress)?;
    Ok(verifier.finish())
}

fn heads(texts: &[String]) -> impl Iterator<Item = StreamHead> {
    texts.iter().filter_map(|text| text.parse().ok())
}

fn check_files(directory: &Path, manifest: &Manifest, findings: &mut Vec<Finding>) -> Result<(), EvidenceError> {
    for name in ["events.jsonl", "seals.jsonl"] {
        if !manifest.files.contains_key(name) {
            let path = directory.join(manifest::NAME);
            return Err(EvidenceError::Manifest { path, reason: "does not name events.jsonl and seals.jsonl" });
        }
    }
    for (name, facts) in &manifest.files {
        let path = directory.join(name);
        let words = match path.symlink_metadata() {
            Err(_) => "is not there",
            Ok(found) if !found.is_file() => "is not a file",
            Ok(_) => {
                let (sha256, bytes) = digest(&path)?;
                if sha256.to_hex() == facts.sha256 && bytes == facts.bytes {
                    continue;
                }
                "is not the file that was written: its SHA-256 or length differs from the manifest's"
            }
        };
        findings.push(Finding::new(Fault::FileChanged, format!("{name} {words}")));
    }
    Ok(())
}

/// The keys that came with the bundle, each under its own name.
fn own_keys(directory: &Path, manifest: &Manifest) -> Vec<VerifyingKey> {
    let names = manifest.files.keys().filter(|name| name.starts_with("keys/"));
    let keys = names.filter_map(|name| {
        let key = VerifyingKey::from_pem(&fs::read(directory.join(name)).ok()?).ok()?;
        (*name == format!("keys/{}.pem", key.id())).then_some(key)
    });
    keys.collect()
}

fn check_signature(directory: &Path, document: &[u8], keys: &[VerifyingKey]) -> Option<Finding> {
    let Ok(signature) = fs::read(directory.join(manifest::SIGNATURE)) else {
        // Not taken for the work of whoever exported: anybody can leave things out and remove the signature.
        let words = "manifest.json is not signed: the seals hold, but nothing proves that no stream, text or table was changed or left out";
        return Some(Finding::new(Fault::ManifestUnsigned, words));
    };
    let signature = Signature::from_bytes(&signature);
    let signed = signature.is_some_and(|signature| keys.iter().any(|key| key.verifies(document, &signature)));
    let words = "manifest.json is not the one that was written: no trusted key signed it";
    (!signed).then(|| Finding::new(Fault::FileChanged, words))
}

/// The bundle's checkpoint and the auditor's: those that a trusted key signed.
fn checkpoints(
    directory: &Path,
    manifest: &Manifest,
    inspection: &Inspection,
    keys: &[VerifyingKey],
    findings: &mut Vec<Finding>,
) -> Vec<Checkpoint> {
    let mut believed = Vec::new();
    if manifest.files.contains_key("checkpoint.json") {
        let read = fs::read(directory.join("checkpoint.json")).ok();
        match read.and_then(|document| Checkpoint::parse(document.trim_ascii_end()).ok()) {
            Some(checkpoint) if is_signed(&checkpoint, keys) => believed.push(checkpoint),
            Some(_) | None => {
                findings
                    .push(Finding::new(Fault::CheckpointForged, "no trusted key signed the bundle's checkpoint.json"));
            }
        }
    }
    match &inspection.since {
        Some(checkpoint) if is_signed(checkpoint, keys) => believed.push(checkpoint.clone()),
        Some(_) => findings.push(Finding::new(Fault::CheckpointForged, "no trusted key signed the checkpoint")),
        None => {}
    }
    believed
}

fn is_signed(checkpoint: &Checkpoint, keys: &[VerifyingKey]) -> bool {
    keys.iter().any(|key| checkpoint.is_signed_by(key))
}

/// What the openings name must be known before the seals are read.
fn expect_openings(verifier: &mut Verifier, path: &Path) -> Result<(), EvidenceError> {
    let mut lines = Lines::open(path)?;
    while let Some((_, line)) = lines.read()? {
        // Nearly every line is none: only those that may be are read as records.
        if !line.windows(OPENED.len()).any(|window| window == OPENED) {
            continue;
        }
        let Ok(row) = serde_json::from_slice::<AuditRow>(line) else { continue };
        for head in heads(&row.heads).filter(|_| row.kind == "stream.opened") {
            verifier.expect(head, NamedBy::Stream(StreamId(row.stream)));
        }
    }
    Ok(())
}

const OPENED: &[u8] = br#""type":"stream.opened""#;

/// Events and seals side by side, each seal before the first of its events.
fn walk(verifier: &mut Verifier, directory: &Path, progress: &Progress) -> Result<(), EvidenceError> {
    let mut seals = Seals::open(&directory.join("seals.jsonl"))?;
    let mut events = Lines::open(&directory.join("events.jsonl"))?;
    while let Some((number, line)) = events.read()? {
        let leaf = Digest::of_leaf(line);
        let row = serde_json::from_slice::<AuditRow>(line).ok();
        let place = row.as_ref().and_then(|row| Some((StreamId(row.stream), u64::try_from(row.seq).ok()?)));
        let (Some(row), Some((stream, seq))) = (row, place) else {
            let words = format!("line {number} of events.jsonl is no record");
            verifier.add(Finding::new(Fault::FileChanged, words));
            continue;
        };
        seals.advance(verifier, (stream, seq))?;
        let (kind, key_id) = (row.kind.as_str(), row.key_id.as_deref());
        verifier.row(SeenRow { stream, seq, id: row.id, leaf: Some(leaf), kind, key_id });
        if number % STEP == 0 {
            progress(verifier.tally());
        }
    }
    seals.drain(verifier)?;
    progress(verifier.tally());
    Ok(())
}

struct Seals {
    lines: Lines,
    next: Option<crate::audit::Seal>,
}

impl Seals {
    fn open(path: &Path) -> Result<Self, EvidenceError> {
        Ok(Self { lines: Lines::open(path)?, next: None })
    }

    /// Hands over every seal that covers this row, or one before it.
    fn advance(&mut self, verifier: &mut Verifier, row: (StreamId, u64)) -> Result<(), EvidenceError> {
        loop {
            if self.next.is_none() && !self.read(verifier)? {
                return Ok(());
            }
            match self.next.take() {
                Some(seal) if (seal.stream, seal.first_seq) <= row => verifier.seal(seal),
                later => {
                    self.next = later;
                    return Ok(());
                }
            }
        }
    }

    fn drain(&mut self, verifier: &mut Verifier) -> Result<(), EvidenceError> {
        loop {
            match self.next.take() {
                Some(seal) => {
                    verifier.seal(seal);
                    verifier.settle();
                }
                None if self.read(verifier)? => {}
                None => return Ok(()),
            }
        }
    }

    /// Reads on to the next seal; no at the end.
    fn read(&mut self, verifier: &mut Verifier) -> Result<bool, EvidenceError> {
        while let Some((number, line)) = self.lines.read()? {
            if let Some(seal) = SealLine::parse(line) {
                self.next = Some(seal);
                return Ok(true);
            }
            verifier.add(Finding::new(Fault::SealMalformed, format!("line {number} of seals.jsonl is no seal")));
        }
        Ok(false)
    }
}
