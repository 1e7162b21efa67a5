//! The verifier: seals and rows in, a report out. Pure: it knows no database and no file, holds no more than the seals
//! whose rows have not come yet, and never stops at a fault: it names it and goes on from what it sees.
//!
//! Rows hash to the leaves, leaves to the root, the root and the seal before to the statement, and the statement is
//! signed. What a chain cannot tell of itself, that its end is gone, the heads tell that others have named.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uuid::Uuid;

use super::merkle::{self, Digest};
use super::report::{Expected, Fault, Finding, NamedBy, Report};
use super::{KeyId, Seal, Signature, StreamHead, StreamId, VerifyingKey};

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

/// How many seals wait for the signature of the last of them to vouch for all. Each seal's hash covers its statement and
/// its signature, and stands in the signed statement of the next: while they chain, one signature proves them all, and
/// checking each would take most of the time. Where it does not hold, each is checked, to name the one that was forged.
const MOST_UNPROVEN: usize = 256;

/// A seal whose signature has not been checked.
#[derive(Debug)]
struct Unproven {
    number: u64,
    statement: Vec<u8>,
    signature: Signature,
}

/// What is known of the stream at hand.
#[derive(Debug)]
struct Walk {
    stream: StreamId,
    /// The last seal: its number, last row, hash and key.
    last: Option<(u64, u64, Digest, KeyId)>,
    /// Seals that chain to each other, the last of them the last seal, all by its key.
    unproven: Vec<Unproven>,
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
            unproven: Vec::new(),
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
    /// Months of which some stream is here: a month is detached whole or not at all.
    months: BTreeSet<(i32, u8)>,
    queue: VecDeque<Queued>,
    walk: Option<Walk>,
    report: Report,
}

/// A seal whose rows may be on their way.
#[derive(Debug)]
enum Queued {
    Seal(Box<Seal>),
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
            months: BTreeSet::new(),
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
        self.queue.push_back(Queued::Seal(Box::new(seal)));
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
            Queued::Seal(seal) => self.take_seal(*seal),
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
        let statement = seal.statement();
        let hash = seal.hash_of(&statement);
        if !self.follows(&seal) {
            self.prove();
        }
        self.check_chain(&seal);
        self.check_expected(&seal, hash);
        if !vouched || seal.number == 0 {
            self.check_root(&seal);
            self.check_signature(&seal, statement);
        }
        let Some(walk) = self.walk.as_mut() else { return };
        walk.last = Some((seal.number, seal.last_seq, hash, seal.key_id));
        let many = walk.unproven.len() >= MOST_UNPROVEN;
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
        if many {
            self.prove();
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
        let Self { partial, expected, retired, months, mut report, .. } = self;
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
            let finding = if stream.month().is_some_and(|month| months.contains(&month)) {
                Finding::new(
                    Fault::StreamMissing,
                    "it is said to be detached, but its month is still here: its rows were taken away",
                )
            } else {
                Finding::new(
                    Fault::StreamRetired,
                    "its rows were detached and only its head stayed: verify them where they were put",
                )
            };
            report.add(Finding { stream: Some(stream), seq: Some(0), last_seq: Some(head.last_seq), ..finding });
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
        self.months.extend(stream.month());
        self.walk = Some(Walk::new(stream));
    }

    /// Whether a signature of this seal would vouch for the one before.
    fn follows(&self, seal: &Seal) -> bool {
        let last = self.walk.as_ref().and_then(|walk| walk.last);
        last.is_some_and(|(number, _, hash, key)| {
            number.checked_add(1) == Some(seal.number) && seal.previous == hash && seal.key_id == key
        })
    }

    /// Checks the signature of the last seal, and where it does not hold those before it: one of them was forged.
    fn prove(&mut self) {
        let Some(walk) = self.walk.as_mut() else { return };
        let (stream, unproven) = (walk.stream, std::mem::take(&mut walk.unproven));
        let Some(key) = walk.last.and_then(|(.., key)| self.keys.get(&key)).copied() else { return };
        let holds = |seal: &Unproven| key.verifies(&seal.statement, &seal.signature);
        if unproven.last().is_some_and(holds) {
            return;
        }
        for forged in unproven.iter().filter(|seal| !holds(seal)) {
            self.fault_at(
                Fault::SealForged,
                stream,
                Some(forged.number),
                "its key did not sign it: it was changed or made by somebody else",
            );
        }
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

    /// The leaves must make the root.
    fn check_root(&mut self, seal: &Seal) {
        let covered = seal.last_seq.checked_sub(seal.first_seq).and_then(|more| more.checked_add(1));
        if covered != u64::try_from(seal.leaves.len()).ok() || merkle::root(&seal.leaves) != seal.root {
            self.fault_at(
                Fault::SealRoot,
                seal.stream,
                Some(seal.number),
                "its leaves do not make its root: one of the two was changed",
            );
        }
    }

    /// A trusted key must have signed it: this one, or soon one that vouches for it.
    fn check_signature(&mut self, seal: &Seal, statement: Vec<u8>) {
        let (stream, number) = (seal.stream, Some(seal.number));
        if self.keys.contains_key(&seal.key_id) {
            let Some(walk) = self.walk.as_mut() else { return };
            walk.unproven.push(Unproven { number: seal.number, statement, signature: seal.signature });
        } else if let Some(key) = self.untrusted.get(&seal.key_id) {
            let words = if key.verifies(&statement, &seal.signature) {
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
        self.prove();
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::OffsetDateTime;

    use super::super::{Chain, SigningKey};
    use super::*;

    /// Written by `openssl genpkey -algorithm ed25519`, for this test only.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIO4yn+A53sCFyv6/JDtYlljAza5CsOePpTDv34cO5VBm\n-----END PRIVATE KEY-----\n";

    fn key() -> SigningKey {
        SigningKey::from_pem(PRIVATE.as_bytes()).unwrap()
    }

    #[derive(Debug, Clone)]
    struct Row {
        stream: StreamId,
        seq: u64,
        leaf: Digest,
        kind: &'static str,
    }

    #[derive(Debug, Clone, Default)]
    struct Log {
        seals: Vec<Seal>,
        rows: Vec<Row>,
        heads: Vec<StreamHead>,
    }

    /// Streams of batches of these sizes, each closed; every head is named.
    fn log(streams: &[Vec<u8>]) -> Log {
        let mut log = Log::default();
        for (index, batches) in (1_u128..).zip(streams) {
            let stream = StreamId(Uuid::from_u128(index));
            let mut chain = Chain::start(stream);
            let last = batches.iter().map(|size| u64::from(*size)).sum::<u64>() - 1;
            for size in batches {
                let rows: Vec<Row> = (chain.next_seq..chain.next_seq + u64::from(*size))
                    .map(|seq| Row {
                        stream,
                        seq,
                        leaf: Digest::of_leaf(format!("{index}/{seq}").as_bytes()),
                        kind: match seq {
                            0 => "stream.opened",
                            seq if seq == last => "stream.closed",
                            _ => "lease.issued",
                        },
                    })
                    .collect();
                let leaves = rows.iter().map(|row| row.leaf).collect();
                let seal = Seal::make(&chain, leaves, OffsetDateTime::UNIX_EPOCH, &key());
                chain = Chain::after(&seal);
                log.rows.extend(rows);
                log.seals.push(seal);
            }
            log.heads.push(log.seals.last().unwrap().head());
        }
        log
    }

    fn verify(log: &Log, heads: &[StreamHead]) -> Report {
        let scope = Scope { keys: vec![*key().public()], keys_pinned: true, ..Scope::default() };
        let mut verifier = Verifier::new(scope);
        for head in heads {
            verifier.expect(*head, NamedBy::Checkpoint);
        }
        log.seals.iter().for_each(|seal| verifier.seal(seal.clone()));
        let key_id = key().public().id().to_hex();
        for Row { stream, seq, leaf, kind } in log.rows.clone() {
            let key_id = (seq == 0).then_some(key_id.as_str());
            verifier.row(SeenRow { stream, seq, id: Uuid::nil(), leaf: Some(leaf), kind, key_id });
        }
        verifier.finish()
    }

    fn sizes() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(1_u8..6, 2..6), 1..4)
    }

    proptest! {
        #[test]
        fn a_log_that_nobody_touched_is_whole(sizes in sizes()) {
            let log = log(&sizes);
            let report = verify(&log, &log.heads);
            prop_assert!(report.is_whole() && report.warnings.is_empty(), "{report:#?}");
            prop_assert_eq!(report.rows, u64::try_from(log.rows.len()).unwrap());
        }

        #[test]
        fn any_one_change_of_a_row_is_found_there(sizes in sizes(), at: prop::sample::Index, change in 0..5) {
            let whole = log(&sizes);
            let mut log = whole.clone();
            let at = at.index(log.rows.len());
            let row = log.rows[at].clone();
            match change {
                0 => log.rows[at].leaf = Digest::of(b"edited"),
                1 => drop(log.rows.remove(at)),
                2 => log.rows.insert(at, row.clone()),
                3 => log.rows[at].seq += 1_000,
                _ => log.rows[at].stream = StreamId(Uuid::from_u128(1_000)),
            }
            log.rows.sort_by_key(|row| (row.stream, row.seq));
            let report = verify(&log, &whole.heads);
            let named = report.findings.iter().any(|finding| {
                let last = finding.last_seq.or(finding.seq);
                finding.stream == Some(row.stream) && finding.seq <= Some(row.seq) && last >= Some(row.seq)
            });
            prop_assert!(named, "row {} of {:?}: {:#?}", row.seq, row.stream, report);
        }

        #[test]
        fn any_one_change_of_a_seal_is_found_there(sizes in sizes(), at: prop::sample::Index, change in 0..9) {
            let whole = log(&sizes);
            let mut log = whole.clone();
            let at = at.index(log.seals.len());
            let other = Digest::of(b"other");
            let seal = &mut log.seals[at];
            let (stream, number) = (seal.stream, seal.number);
            match change {
                0 => seal.root = other,
                1 => seal.previous = other,
                2 => seal.leaves[0] = other,
                3 => seal.key_id = other,
                4 => seal.sealed_at += time::Duration::MICROSECOND,
                5 => seal.last_seq += 1,
                6 => seal.first_seq += 1,
                7 => seal.signature = key().sign(b"something else"),
                _ => drop(log.seals.remove(at)),
            }
            let report = verify(&log, &whole.heads);
            let named = report.findings.iter().any(|finding| finding.stream == Some(stream) && finding.number == Some(number));
            prop_assert!(named, "seal {number} of {stream:?}: {report:#?}");
        }

        #[test]
        fn a_stream_that_lost_its_end_is_found_by_its_head(sizes in sizes(), at: prop::sample::Index, keep: prop::sample::Index) {
            let whole = log(&sizes);
            let mut log = whole.clone();
            let head = whole.heads[at.index(whole.heads.len())];
            let keep = u64::try_from(keep.index(usize::try_from(head.number).unwrap())).unwrap();
            log.seals.retain(|seal| seal.stream != head.stream || seal.number < keep);
            let last = log.seals.iter().rfind(|seal| seal.stream == head.stream).map(|seal| seal.last_seq);
            log.rows.retain(|row| row.stream != head.stream || last.is_some_and(|last| row.seq <= last));
            let report = verify(&log, &whole.heads);
            prop_assert_eq!(report.findings.len(), 1, "{:#?}", report);
            let finding = &report.findings[0];
            let expected = if keep == 0 { Fault::StreamMissing } else { Fault::StreamCut };
            prop_assert_eq!((finding.fault, finding.stream, finding.number.is_some()), (expected, Some(head.stream), true));
            // Without the head it is only a stream that was not closed.
            let report = verify(&log, &[]);
            prop_assert!(report.is_whole());
            prop_assert_eq!(report.warnings.len(), usize::from(keep > 0));
        }
    }

    #[test]
    fn findings_are_bounded_and_the_rest_is_counted() {
        let mut log = log(&[vec![200, 200]]);
        log.rows.iter_mut().for_each(|row| row.leaf = Digest::ZERO);
        let report = verify(&log, &[]);
        assert_eq!((report.findings.len(), report.more_findings), (100, 300));
    }

    #[test]
    fn a_floor_reaches_whatever_its_heads_lead_to() {
        let head = |stream: u128, number| StreamHead {
            stream: StreamId(Uuid::from_u128(stream)),
            number,
            last_seq: number * 2,
            hash: Digest::ZERO,
        };
        let id = |stream: u128| StreamId(Uuid::from_u128(stream));
        let openings = BTreeMap::from([
            (id(3), vec![head(2, 5)]),
            (id(2), vec![head(1, 4), head(3, 1)]),
            (id(9), vec![head(8, 8)]),
        ]);
        let floors = floors(&[head(3, 7)], &openings);
        let numbers: Vec<(StreamId, u64)> = floors.iter().map(|(stream, floor)| (*stream, floor.number)).collect();
        assert_eq!(numbers, [(id(1), 4), (id(2), 5), (id(3), 7)]);
    }
}
