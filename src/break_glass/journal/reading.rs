//! Whether frames say what was sealed: the log's own verifier over every stream of the journal, and each text against the
//! hash that names it. A key counts where it is this service's; of segments that were merged, under whatever key sealed them
//! then, the log holds the truth.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::frame::Frame;
use crate::audit::{AuditRow, Digest, Finding, NamedBy, Scope, SeenRow, StreamHead, StreamId, Verifier, VerifyingKey};
use crate::policy::PolicyFiles;

/// A frame, and whether it stands in a segment that was merged.
pub(super) type Read<'a> = (&'a Frame, bool);

/// The first thing that is wrong; nothing where all of it verifies.
pub(super) fn first_fault<'a>(frames: impl Iterator<Item = Read<'a>>, trusted: &[VerifyingKey]) -> Option<String> {
    let mut streams: BTreeMap<StreamId, Vec<Read<'a>>> = BTreeMap::new();
    let mut fault = None;
    for read in frames {
        fault = fault.or_else(|| text_fault(read.0));
        streams.entry(read.0.batch.seal.stream).or_default().push(read);
    }
    if fault.is_some() {
        return fault;
    }
    let mut keys = trusted.to_vec();
    let settled = streams.values().filter(|frames| frames.iter().all(|(_, merged)| *merged));
    keys.extend(settled.flatten().map(|(frame, _)| frame.key));
    let mut verifier = Verifier::new(Scope { keys, keys_pinned: true, ..Scope::default() });
    for (stream, frames) in &streams {
        for row in frames.iter().flat_map(|(frame, _)| rows(frame)) {
            for head in row.heads.iter().filter_map(|head| head.parse::<StreamHead>().ok()) {
                verifier.expect(head, NamedBy::Stream(*stream));
            }
        }
    }
    for (stream, frames) in &streams {
        for (frame, _) in frames {
            verifier.seal(frame.batch.seal.clone());
            for (seq, line) in (frame.batch.seal.first_seq..).zip(lines(frame)) {
                verifier.row(line.seen(*stream, seq));
            }
        }
    }
    verifier.finish().findings.first().map(Finding::to_string)
}

/// What is wrong with one batch on its way in: nothing may be kept that could not be merged later.
pub(super) fn batch_fault(frame: &Frame) -> Option<String> {
    let seal = &frame.batch.seal;
    let lines: Vec<Line> = lines(frame).collect();
    let leaves: Option<Vec<Digest>> = lines.iter().map(|line| line.leaf).collect();
    let places = (seal.first_seq..=seal.last_seq).zip(&lines).all(|(seq, line)| line.stands_at(seal.stream, seq));
    let count = u64::try_from(lines.len()).ok();
    let whole = leaves.as_ref() == Some(&seal.leaves)
        && count == seal.last_seq.checked_sub(seal.first_seq).map(|more| more.saturating_add(1));
    if whole && places && seal.is_signed_by(&frame.key) {
        return text_fault(frame);
    }
    Some("its records are not those that its seal is of".to_owned())
}

/// Texts are believed for their hashes alone: no seal is over them.
fn text_fault(frame: &Frame) -> Option<String> {
    let number = frame.batch.seal.number;
    let stream = frame.batch.seal.stream.0;
    let policies = frame.batch.session_policies.iter();
    let forged = policies.filter(|policy| Digest::of(policy.text.as_bytes()).to_hex() != policy.sha256).count();
    let sets = frame.policy_sets.iter();
    let hash = |files: &str| PolicyFiles::from_json(files).map(|files| files.hash().to_hex());
    let forged = forged + sets.filter(|set| hash(&set.files).as_ref() != Some(&set.hash)).count();
    (forged > 0)
        .then(|| format!("stream {stream} seal {number}: a policy beside it is not the one that its hash names"))
}

/// One record as it was written.
struct Line {
    row: Option<AuditRow>,
    leaf: Option<Digest>,
}

fn lines(frame: &Frame) -> impl Iterator<Item = Line> {
    frame.batch.records.iter().map(|text| {
        let row: Option<AuditRow> = serde_json::from_str(text).ok();
        // Only the canonical form: PostgreSQL would make the same row of another, whose leaf nobody sealed.
        let canonical = row.as_ref().is_some_and(|row| row.canonical() == text.as_bytes());
        Line { leaf: canonical.then(|| Digest::of_leaf(text.as_bytes())), row }
    })
}

impl Line {
    fn stands_at(&self, stream: StreamId, seq: u64) -> bool {
        self.row.as_ref().is_some_and(|row| row.stream == stream.0 && u64::try_from(row.seq) == Ok(seq))
    }

    /// As the verifier needs it; a record that is no row stands where its seal has it, and hashes to nothing.
    fn seen(&self, stream: StreamId, seq: u64) -> SeenRow<'_> {
        match &self.row {
            Some(row) => SeenRow {
                stream: StreamId(row.stream),
                seq: u64::try_from(row.seq).unwrap_or(u64::MAX),
                id: row.id,
                leaf: self.leaf,
                kind: &row.kind,
                key_id: row.key_id.as_deref(),
            },
            None => SeenRow { stream, seq, id: Uuid::nil(), leaf: None, kind: "", key_id: None },
        }
    }
}

/// The rows of a frame.
pub(super) fn rows(frame: &Frame) -> impl Iterator<Item = AuditRow> {
    lines(frame).filter_map(|line| line.row)
}
