//! The verifier: seals and rows in, a report out. Pure: it knows no database and no file, holds no more than the seals
//! whose rows have not come yet, and never stops at a fault: it names it and goes on from what it sees.
//!
//! Rows hash to the leaves, leaves to the root, the root and the seal before to the statement, and the statement is
//! signed. What a chain cannot tell of itself, that its end is gone, the heads tell that others have named.

use std::collections::{BTreeMap, VecDeque};

use uuid::Uuid;

use super::merkle::{self, Digest};
use super::report::{Expected, Fault, Finding, NamedBy, Report};
use super::{KeyId, Seal, StreamHead, StreamId, VerifyingKey};

/// Up to where a stream is vouched for by a checkpoint: a seal number and its last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// The seal.
    pub number: u64,
    /// The last row under it.
    pub last_seq: u64,
}

/// What a verification takes for granted.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Keys whose seals hold.
    pub keys: Vec<VerifyingKey>,
    /// Whether the auditor brought them.
    pub keys_pinned: bool,
    /// Only a part was handed in: the beginnings and ends of streams, and whole streams, may lie outside.
    pub partial: bool,
    /// Of these streams, seals up to the floor are only chained: their rows are not handed in, but those of the first seal.
    pub floors: BTreeMap<StreamId, Floor>,
}

/// A row as the verifier needs it.
#[derive(Debug, Clone, Copy)]
pub struct SeenRow<'a> {
    /// Its stream.
    pub stream: StreamId,
    /// Its number.
    pub seq: u64,
    /// The event's id, as the row says.
    pub id: Uuid,
    /// The hash of its canonical form; none where the row holds what no version writes.
    pub leaf: Option<Digest>,
    /// The event's type.
    pub kind: &'a str,
    /// The key it names, in `stream.opened`.
    pub key_id: Option<&'a str>,
}

/// What is known of the stream at hand.
#[derive(Debug)]
struct Walk {
    stream: StreamId,
    /// The last seal: its number, last row, hash and key.
    last: Option<(u64, u64, Digest, KeyId)>,
    /// Seals whose rows have not all come.
    pending: VecDeque<Seal>,
    /// The next row that must come, once known.
    next_row: Option<u64>,
    last_row: Option<u64>,
    closed: bool,
    after_closed: bool,
    /// A run of rows under no seal, first and last.
    unsealed: Option<(u64, u64, Uuid)>,
}

impl Walk {
    fn new(stream: StreamId) -> Self {
        Self {
            stream,
            last: None,
            pending: VecDeque::new(),
            next_row: None,
            last_row: None,
            closed: false,
            after_closed: false,
            unsealed: None,
        }
    }
}

/// Takes seals and rows of one stream after the other, streams in ascending order, each in ascending order; a seal before
/// the first of its rows.
#[derive(Debug)]
pub struct Verifier {
    keys: BTreeMap<KeyId, VerifyingKey>,
    /// Keys that are known to somebody, but that the auditor did not bring.
    untrusted: BTreeMap<KeyId, VerifyingKey>,
    partial: bool,
    floors: BTreeMap<StreamId, Floor>,
    expected: BTreeMap<StreamId, Vec<Expected>>,
    retired: BTreeMap<StreamId, StreamHead>,
    queue: VecDeque<Queued>,
    walk: Option<Walk>,
    report: Report,
}

/// A seal whose rows may be on their way.
#[derive(Debug)]
enum Queued {
    Seal(Seal),
    Malformed { stream: StreamId, number: u64 },
}

impl Queued {
    /// Whether this row comes no sooner than the first that the seal covers.
    fn is_due(&self, row: &SeenRow<'_>) -> bool {
        match self {
            Self::Seal(seal) => (seal.stream, seal.first_seq) <= (row.stream, row.seq),
            Self::Malformed { stream, .. } => *stream <= row.stream,
        }
    }
}

impl Verifier {
    /// Begins.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        let Scope { keys, keys_pinned, partial, floors } = scope;
        Self {
            keys: keys.into_iter().map(|key| (key.id(), key)).collect(),
            untrusted: BTreeMap::new(),
            partial,
            floors,
            expected: BTreeMap::new(),
            retired: BTreeMap::new(),
            queue: VecDeque::new(),
            walk: None,
            report: Report { keys_pinned, partial, ..Report::default() },
        }
    }

    /// A key kept beside the log that is not trusted: its seals are still told from forged ones.
    pub fn know(&mut self, key: VerifyingKey) {
        if !self.keys.contains_key(&key.id()) {
            self.untrusted.insert(key.id(), key);
        }
    }

    /// A head that must be found: of every `stream.opened` and of the checkpoint, before any seal comes.
    pub fn expect(&mut self, head: StreamHead, by: NamedBy) {
        self.expected.entry(head.stream).or_default().push(Expected { head, by });
    }

    /// The last head of a stream whose rows were detached.
    pub fn retire(&mut self, head: StreamHead) {
        self.retired.insert(head.stream, head);
    }

    /// Something found elsewhere.
    pub fn add(&mut self, finding: Finding) {
        self.report.add(finding);
    }

    /// How far it has come.
    #[must_use]
    pub fn tally(&self) -> super::Tally {
        super::Tally { seals: self.report.seals, rows: self.report.rows }
    }

    /// The next seal. It may come well before its rows: it waits for the first of them.
    pub fn seal(&mut self, seal: Seal) {
        self.queue.push_back(Queued::Seal(seal));
    }

    /// The next seal, which cannot be read as one.
    pub fn malformed_seal(&mut self, stream: StreamId, number: u64) {
        self.queue.push_back(Queued::Malformed { stream, number });
    }

    /// No more rows will come under the seals that came so far.
    pub fn settle(&mut self) {
        while let Some(queued) = self.queue.pop_front() {
            self.take(queued);
        }
    }

    fn take(&mut self, queued: Queued) {
        match queued {
            Queued::Seal(seal) => self.take_seal(seal),
            Queued::Malformed { stream, number } => {
                self.turn_to(stream);
                self.report.seals += 1;
                let words = "it is not a seal that any version of stint writes";
                self.fault_at(Fault::SealMalformed, stream, Some(number), words);
            }
        }
    }

    fn take_seal(&mut self, seal: Seal) {
        self.turn_to(seal.stream);
        self.report.seals += 1;
        self.report.count_key(seal.key_id);
        let floor = self.floors.get(&seal.stream).copied();
        let vouched = floor.is_some_and(|floor| seal.number <= floor.number);
        let hash = seal.hash();
        self.check_chain(&seal);
        self.check_expected(&seal, hash);
        if !vouched || seal.number == 0 {
            self.check_content(&seal);
        }
        let Some(walk) = self.walk.as_mut() else { return };
        walk.last = Some((seal.number, seal.last_seq, hash, seal.key_id));
        if vouched && seal.number != 0 {
            self.report.rows_before =
                self.report.rows_before.saturating_add(seal.last_seq.saturating_sub(seal.first_seq).saturating_add(1));
            if walk.pending.is_empty() {
                walk.next_row = Some(seal.last_seq.saturating_add(1));
            }
        } else {
            walk.next_row.get_or_insert(seal.first_seq);
            walk.pending.push_back(seal);
        }
    }

    /// The next row.
    pub fn row(&mut self, row: SeenRow<'_>) {
        while let Some(due) = self.queue.pop_front_if(|queued| queued.is_due(&row)) {
            self.take(due);
        }
        self.turn_to(row.stream);
        self.report.rows += 1;
        let SeenRow { stream, seq, id, leaf, kind, key_id } = row;
        let Some(walk) = self.walk.as_mut() else { return };
        let repeated = walk.last_row.is_some_and(|last| seq <= last);
        if repeated {
            let finding = Finding {
                seq: Some(seq),
                event: Some(id),
                stream: Some(stream),
                ..Finding::new(Fault::RowOutOfOrder, "it stands twice, or after a row that follows it")
            };
            return self.report.add(finding);
        }
        walk.last_row = Some(seq);
        if walk.closed && !walk.after_closed {
            walk.after_closed = true;
            self.report.add(Finding {
                stream: Some(stream),
                seq: Some(seq),
                event: Some(id),
                ..Finding::new(Fault::StreamAfterClosed, "it stands after the stream was closed")
            });
        }
        self.pass_to(seq);
        let Some(walk) = self.walk.as_mut() else { return };
        let Some(seal) = walk.pending.front().filter(|seal| seal.first_seq <= seq) else {
            walk.next_row = walk.next_row.map(|next| next.max(seq.saturating_add(1)));
            walk.unsealed = match walk.unsealed {
                Some((first, last, event)) if last.saturating_add(1) == seq => Some((first, seq, event)),
                run => {
                    tell_unsealed(&mut self.report, stream, run);
                    Some((seq, seq, id))
                }
            };
            return;
        };
        let (number, sealing_key, last_seq) = (seal.number, seal.key_id, seal.last_seq);
        let place = usize::try_from(seq - seal.first_seq).ok();
        let sealed = place.and_then(|place| seal.leaves.get(place));
        if leaf.is_none() || sealed != leaf.as_ref() {
            self.report.add(Finding {
                stream: Some(stream),
                number: Some(number),
                seq: Some(seq),
                event: Some(id),
                ..Finding::new(
                    Fault::RowEdited,
                    "the row is not the one that was sealed: it was changed, or put in its place",
                )
            });
        }
        if seq == 0 {
            let named = key_id.and_then(Digest::parse);
            if kind != "stream.opened" || named != Some(sealing_key) {
                self.report.add(Finding {
                    stream: Some(stream),
                    seq: Some(0),
                    event: Some(id),
                    ..Finding::new(
                        Fault::StreamNotOpened,
                        "the stream's first row is not a stream.opened that names the key of its seals",
                    )
                });
            }
        }
        walk.closed |= kind == "stream.closed";
        walk.next_row = Some(seq.saturating_add(1));
        if seq >= last_seq {
            walk.pending.pop_front();
        }
    }

    /// Ends, and answers.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.settle();
        self.end_walk();
        let Self { partial, expected, retired, mut report, .. } = self;
        for (stream, named) in expected {
            let Some(named) = named.iter().max_by_key(|named| named.head.number) else { continue };
            match retired.get(&stream) {
                Some(head) => judge_retired(&mut report, head, named),
                None if partial && named.by != NamedBy::Manifest => {}
                None => report.add(Finding {
                    stream: Some(stream),
                    number: Some(named.head.number),
                    seq: Some(0),
                    last_seq: Some(named.head.last_seq),
                    ..Finding::new(
                        Fault::StreamMissing,
                        format!("the whole stream is gone, which stood at row {} by {}", named.head.last_seq, named.by),
                    )
                }),
            }
        }
        for (stream, head) in retired {
            report.add(Finding {
                stream: Some(stream),
                seq: Some(0),
                last_seq: Some(head.last_seq),
                ..Finding::new(
                    Fault::StreamRetired,
                    "its rows were detached and only its head stayed: verify them where they were put",
                )
            });
        }
        report
    }

    fn turn_to(&mut self, stream: StreamId) {
        match self.walk.as_ref().map(|walk| walk.stream) {
            Some(at_hand) if at_hand == stream => {}
            Some(at_hand) if at_hand > stream => {
                // Of a bundle only: a database sorts. The walk begins anew, and says what it lacks.
                self.fault_at(Fault::RowOutOfOrder, stream, None, "the stream stands after one that sorts behind it");
                self.begin(stream);
            }
            Some(_) | None => self.begin(stream),
        }
    }

    fn begin(&mut self, stream: StreamId) {
        self.end_walk();
        self.report.streams += 1;
        self.walk = Some(Walk::new(stream));
    }

    /// Number, link, range and key must follow from the seal before.
    fn check_chain(&mut self, seal: &Seal) {
        let Some(walk) = self.walk.as_ref() else { return };
        let stream = seal.stream;
        let begins_inside = walk.last.is_none() && self.partial;
        if begins_inside && seal.number != 0 {
            return;
        }
        let (number, first_seq, previous, key) = match walk.last {
            Some((number, last_seq, hash, key)) => (number.saturating_add(1), last_seq.saturating_add(1), hash, key),
            None => (0, 0, Digest::ZERO, seal.key_id),
        };
        if seal.number > number {
            let words = format!(
                "seals {number} to {} are gone, with rows {first_seq} to {}",
                seal.number - 1,
                seal.first_seq.saturating_sub(1)
            );
            self.fault_at(Fault::SealMissing, stream, Some(number), words);
        } else if seal.number < number {
            self.fault_at(Fault::SealChain, stream, Some(seal.number), "it stands twice, or after one that follows it");
        } else if seal.previous != previous {
            self.fault_at(
                Fault::SealChain,
                stream,
                Some(seal.number),
                "it does not chain to the seal before: one of the two was replaced",
            );
        } else if seal.first_seq != first_seq || seal.last_seq < seal.first_seq {
            self.fault_at(
                Fault::SealChain,
                stream,
                Some(seal.number),
                format!("it covers rows from {} where row {first_seq} is next", seal.first_seq),
            );
        }
        if key != seal.key_id {
            self.fault_at(
                Fault::KeyChanged,
                stream,
                Some(seal.number),
                "its key is not the one that sealed the stream so far",
            );
        }
    }

    /// The leaves must make the root, and a trusted key the signature.
    fn check_content(&mut self, seal: &Seal) {
        let (stream, number) = (seal.stream, Some(seal.number));
        let covered = seal.last_seq.checked_sub(seal.first_seq).and_then(|more| more.checked_add(1));
        if covered != u64::try_from(seal.leaves.len()).ok() || merkle::root(&seal.leaves) != seal.root {
            self.fault_at(
                Fault::SealRoot,
                stream,
                number,
                "its leaves do not make its root: one of the two was changed",
            );
        }
        if let Some(key) = self.keys.get(&seal.key_id) {
            if !seal.is_signed_by(key) {
                self.fault_at(
                    Fault::SealForged,
                    stream,
                    number,
                    "its key did not sign it: it was changed or made by somebody else",
                );
            }
        } else if let Some(key) = self.untrusted.get(&seal.key_id) {
            let words = if seal.is_signed_by(key) {
                format!("it is signed by key {}, which is not among the trusted ones", seal.key_id)
            } else {
                format!("it names key {}, which is not trusted, and which did not sign it", seal.key_id)
            };
            self.fault_at(Fault::SealKeyUntrusted, stream, number, words);
        } else {
            let words = format!("it names key {}, which is not known", seal.key_id);
            self.fault_at(Fault::SealKeyUnknown, stream, number, words);
        }
    }

    fn check_expected(&mut self, seal: &Seal, hash: Digest) {
        let Some(named) = self.expected.get_mut(&seal.stream) else { return };
        let mut differing = None;
        named.retain(|expected| {
            let here = expected.head.number == seal.number;
            if here && (expected.head.hash != hash || expected.head.last_seq != seal.last_seq) {
                differing.get_or_insert(expected.by);
            }
            !here
        });
        if named.is_empty() {
            self.expected.remove(&seal.stream);
        }
        if let Some(by) = differing {
            let words = format!("another seal stood here by {by}: what came before it was rewritten");
            self.report.add(Finding {
                stream: Some(seal.stream),
                number: Some(seal.number),
                seq: Some(seal.first_seq),
                last_seq: Some(seal.last_seq),
                ..Finding::new(Fault::HeadDiffers, words)
            });
        }
    }

    /// Tells the rows that should have come before this one.
    fn pass_to(&mut self, seq: u64) {
        let Some(walk) = self.walk.as_mut() else { return };
        while let Some(seal) = walk.pending.front() {
            let next = walk.next_row.unwrap_or(seal.first_seq).max(seal.first_seq);
            let until = seal.last_seq.min(seq.saturating_sub(1));
            if seq > next && next <= until {
                tell_missing(&mut self.report, walk.stream, seal.number, next, until);
                walk.next_row = Some(until.saturating_add(1));
            }
            if seal.last_seq >= seq {
                return;
            }
            walk.pending.pop_front();
        }
    }

    /// The stream at hand has ended: what should still have come?
    fn end_walk(&mut self) {
        self.pass_to(u64::MAX);
        let Some(walk) = self.walk.take() else { return };
        let Walk { stream, last, closed, unsealed, .. } = walk;
        tell_unsealed(&mut self.report, stream, unsealed);
        let named = self.expected.remove(&stream).unwrap_or_default();
        let beyond = named.iter().filter(|named| last.is_none_or(|(number, ..)| named.head.number > number));
        let cut = beyond.max_by_key(|named| named.head.number);
        if let Some(Expected { head, by }) = cut {
            let (number, from) =
                last.map_or((0, 0), |(number, last_seq, ..)| (number.saturating_add(1), last_seq.saturating_add(1)));
            let outside = self.partial && *by != NamedBy::Manifest;
            if !outside {
                self.report.add(Finding {
                    stream: Some(stream),
                    number: Some(number),
                    seq: Some(from),
                    last_seq: Some(head.last_seq.max(from)),
                    ..Finding::new(
                        Fault::StreamCut,
                        format!(
                            "the end of the stream is gone, which stood at seal {} and row {} by {by}",
                            head.number, head.last_seq
                        ),
                    )
                });
            }
        } else if let Some((number, last_seq, ..)) = last
            && !closed
            && !self.partial
            && !self.is_vouched(stream, number)
        {
            self.report.add(Finding {
                stream: Some(stream),
                number: Some(number),
                seq: Some(last_seq),
                ..Finding::new(
                    Fault::StreamNotClosed,
                    "the stream ends without being closed: it is still being written, or was cut at its last seal",
                )
            });
        }
    }

    fn is_vouched(&self, stream: StreamId, number: u64) -> bool {
        self.floors.get(&stream).is_some_and(|floor| number <= floor.number)
    }

    fn fault_at(&mut self, fault: Fault, stream: StreamId, number: Option<u64>, words: impl Into<String>) {
        self.report.add(Finding { stream: Some(stream), number, ..Finding::new(fault, words) });
    }
}

fn judge_retired(report: &mut Report, head: &StreamHead, named: &Expected) {
    if named.head.number < head.number || named.head == *head {
        return;
    }
    let words = format!(
        "the stream was detached at seal {} and row {}, which is not where it stood by {}",
        head.number, head.last_seq, named.by
    );
    let fault = if named.head.number > head.number { Fault::StreamCut } else { Fault::HeadDiffers };
    report.add(Finding { stream: Some(head.stream), number: Some(named.head.number), ..Finding::new(fault, words) });
}

fn tell_missing(report: &mut Report, stream: StreamId, number: u64, first: u64, last: u64) {
    report.add(Finding {
        stream: Some(stream),
        number: Some(number),
        seq: Some(first),
        last_seq: Some(last),
        ..Finding::new(Fault::RowMissing, "what was sealed here is gone")
    });
}

fn tell_unsealed(report: &mut Report, stream: StreamId, run: Option<(u64, u64, Uuid)>) {
    if let Some((first, last, event)) = run {
        report.add(Finding {
            stream: Some(stream),
            seq: Some(first),
            last_seq: Some(last),
            event: Some(event),
            ..Finding::new(Fault::RowUnsealed, "no seal covers it: it was inserted, or its seal was taken away")
        });
    }
}

/// Up to where each stream is vouched for by these heads: by naming it, or by naming a stream whose opening named it, and
/// so on. `openings`: what each `stream.opened` names.
#[must_use]
pub fn floors(heads: &[StreamHead], openings: &BTreeMap<StreamId, Vec<StreamHead>>) -> BTreeMap<StreamId, Floor> {
    let mut floors: BTreeMap<StreamId, Floor> = BTreeMap::new();
    let mut pending: Vec<StreamHead> = heads.to_vec();
    while let Some(head) = pending.pop() {
        let known = floors.get(&head.stream).copied();
        if known.is_none() {
            pending.extend(openings.get(&head.stream).into_iter().flatten().copied());
        }
        if known.is_none_or(|known| known.number < head.number) {
            floors.insert(head.stream, Floor { number: head.number, last_seq: head.last_seq });
        }
    }
    floors
}
