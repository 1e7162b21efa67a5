//! The journal as a whole: written by a real log, read back from the same disk, merged into a store that keeps batches in
//! memory and dies when told.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::*;
use crate::audit::{
    AuditError, AuditLog, AuditRow, AuditStore, Batch, Chain, Digest, Emergency, EmergencyContext, EmergencyFacts,
    LogParts, LogSettings, NamedBy, PolicySetText, Scope, Seal, SeenRow, SessionPolicyText, SigningKey, StoreError,
    StreamHead, StreamId, Verifier, VerifyingKey,
};
use crate::clock::SystemClock;
use crate::policy::PolicyFiles;

const ROOM: u64 = 64 * 1024;

/// Written by `openssl genpkey -algorithm ed25519`, for these tests only.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIO4yn+A53sCFyv6/JDtYlljAza5CsOePpTDv34cO5VBm\n-----END PRIVATE KEY-----\n";

fn key() -> SigningKey {
    SigningKey::from_pem(KEY.as_bytes()).unwrap()
}

/// A place for a journal.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    fn try_open(&self) -> Result<Journal, JournalError> {
        self.try_open_with(vec![*key().public()], ROOM)
    }

    fn try_open_with(&self, keys: Vec<VerifyingKey>, room: u64) -> Result<Journal, JournalError> {
        Journal::open(JournalParts { directory: self.path(), keys, room, rng: rand::make_rng() })
    }

    fn open(&self) -> Arc<Journal> {
        Arc::new(self.try_open().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Every file but the lock.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap());
        let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
        named.filter(|(name, _)| name != "lock").collect()
    }

    /// A copy with these files, as after a crash.
    fn with(files: &[(String, Vec<u8>)]) -> Self {
        let place = Self::new();
        fs::create_dir(place.path()).unwrap();
        for (name, bytes) in files {
            fs::write(place.file(name), bytes).unwrap();
        }
        place
    }
}

/// A log over a journal, as the desk opens one.
struct Writing {
    log: AuditLog,
    tasks: TaskTracker,
}

impl Writing {
    fn over(store: Arc<dyn AuditStore>) -> Self {
        Self::sealed_with(store, key())
    }

    fn sealed_with(store: Arc<dyn AuditStore>, key: SigningKey) -> Self {
        let tasks = TaskTracker::new();
        let settings = LogSettings { deadline: Duration::from_secs(10), queue: 16 };
        let parts = LogParts { store, clock: Arc::new(SystemClock::start()), rng: rand::make_rng(), key, settings };
        Self { log: AuditLog::open(parts, &tasks), tasks }
    }

    async fn say(&self, incident: &str) -> Result<Uuid, AuditError> {
        let facts = EmergencyFacts { incident: Some(incident.to_owned()), ..EmergencyFacts::default() };
        self.log.emergency(Emergency::Requested, "requested", &facts, EmergencyContext::default()).await
    }

    async fn end(self) {
        drop(self.log);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// One process's use of a journal: opened, these incidents, and ended in good order.
async fn use_of(place: &Place, incidents: &[&str]) {
    let journal = place.open();
    let writing = Writing::over(journal.clone());
    for incident in incidents {
        writing.say(incident).await.unwrap();
    }
    writing.end().await;
    drop(Arc::try_unwrap(journal).unwrap());
}

fn incidents(rows: &[AuditRow]) -> Vec<String> {
    let facts = rows.iter().filter_map(|row| EmergencyFacts::read(row).and_then(|(_, facts)| facts.incident));
    facts.collect()
}

/// A test double for PostgreSQL: a batch is there whole or not at all, and after so many calls nothing answers any more.
#[derive(Debug)]
struct Memory {
    batches: Mutex<Vec<Batch>>,
    sets: Mutex<Vec<PolicySetText>>,
    calls: AtomicUsize,
    /// The first call that is not answered, and none after it.
    dies_at: AtomicUsize,
    /// That call takes effect all the same.
    late: bool,
}

impl Memory {
    fn well() -> Arc<Self> {
        Self::dying_at(usize::MAX, false)
    }

    fn dying_at(call: usize, late: bool) -> Arc<Self> {
        let (batches, sets) = (Mutex::default(), Mutex::default());
        Arc::new(Self { batches, sets, calls: AtomicUsize::new(0), dies_at: AtomicUsize::new(call), late })
    }

    /// Whether this call takes effect, and whether it is answered.
    fn step(&self) -> (bool, Result<(), StoreError>) {
        let (call, dies_at) = (self.calls.fetch_add(1, Ordering::SeqCst), self.dies_at.load(Ordering::SeqCst));
        let answer = if call < dies_at { Ok(()) } else { Err(StoreError::Unavailable("it is down".into())) };
        (call < dies_at || call == dies_at && self.late, answer)
    }

    fn heal(&self) {
        self.dies_at.store(usize::MAX, Ordering::SeqCst);
    }

    /// Another server stands in, which had not heard of the last so many.
    fn lose(&self, last: usize) {
        let mut batches = self.batches.lock().unwrap();
        let left = batches.len() - last;
        batches.truncate(left);
    }

    fn rows(&self) -> Vec<AuditRow> {
        let batches = self.batches.lock().unwrap();
        batches.iter().flat_map(|batch| &batch.records).map(|record| serde_json::from_str(record).unwrap()).collect()
    }

    /// As `stint audit verify` does.
    fn verify(&self) {
        let keys = vec![*key().public()];
        let mut verifier = Verifier::new(Scope { keys, keys_pinned: true, ..Scope::default() });
        for row in self.rows() {
            for head in &row.heads {
                verifier.expect(head.parse().unwrap(), NamedBy::Stream(StreamId(row.stream)));
            }
        }
        let mut batches = self.batches.lock().unwrap().clone();
        batches.sort_by_key(|batch| (batch.seal.stream, batch.seal.number));
        for batch in &batches {
            verifier.seal(batch.seal.clone());
            for record in &batch.records {
                let row: AuditRow = serde_json::from_str(record).unwrap();
                verifier.row(SeenRow {
                    stream: StreamId(row.stream),
                    seq: row.seq.try_into().unwrap(),
                    id: row.id,
                    leaf: Some(row.leaf()),
                    kind: &row.kind,
                    key_id: row.key_id.as_deref(),
                });
            }
        }
        let report = verifier.finish();
        assert!(report.is_whole(), "{:?}", report.findings);
    }
}

#[async_trait]
impl AuditStore for Memory {
    async fn open(&self, _stream: StreamId, _key: &VerifyingKey) -> Result<Vec<StreamHead>, StoreError> {
        self.step().1.map(|()| Vec::new())
    }

    async fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let (takes_effect, answer) = self.step();
        if takes_effect {
            let mut batches = self.batches.lock().unwrap();
            let place = |batch: &Batch| (batch.seal.stream, batch.seal.number);
            assert!(batches.iter().all(|kept| place(kept) != place(batch)), "nothing is offered twice");
            batches.push(batch.clone());
        }
        answer
    }

    async fn head(&self, stream: StreamId) -> Result<Option<Seal>, StoreError> {
        self.step().1?;
        let batches = self.batches.lock().unwrap();
        let seals = batches.iter().map(|batch| &batch.seal).filter(|seal| seal.stream == stream);
        Ok(seals.max_by_key(|seal| seal.number).cloned())
    }

    async fn keep_policy_set(&self, set: &PolicySetText) -> Result<(), StoreError> {
        let (takes_effect, answer) = self.step();
        if takes_effect {
            self.sets.lock().unwrap().push(set.clone());
        }
        answer
    }
}

fn refused(journal: &Journal) -> String {
    match journal.standing() {
        JournalStanding::Refused(why) => why,
        standing @ (JournalStanding::Merged | JournalStanding::Waiting(_)) => panic!("it is believed: {standing:?}"),
    }
}

/// It opens, refuses everything, merges nothing and is left as it is.
async fn is_refused(place: &Place, finding: &str) {
    let before = place.files();
    let journal = place.open();
    let why = refused(&journal);
    assert!(why.contains(finding) && why.contains("move it away"), "{why}");
    assert!(journal.records().is_err() && !journal.is_merged());
    let store = Memory::well();
    assert!(matches!(journal.merge_into(store.as_ref()).await, Err(JournalError::Unverified { .. })));
    let writing = Writing::over(journal.clone());
    assert_eq!(writing.say("more").await, Err(AuditError::Unavailable));
    writing.end().await;
    assert!(store.rows().is_empty(), "nothing of it is merged");
    let sorted = |mut files: Vec<_>| {
        files.sort();
        files
    };
    assert!(sorted(before) == sorted(place.files()), "it is kept as it is");
}

#[tokio::test]
async fn what_was_written_is_read_back_by_the_next_process_under_the_same_instance() {
    let place = Place::new();
    let first = place.open();
    let instance = first.instance();
    assert_eq!(first.standing(), JournalStanding::Merged);
    drop(first);
    use_of(&place, &["a", "b"]).await;
    use_of(&place, &["c"]).await;
    let journal = place.open();
    assert_eq!(incidents(&journal.records().unwrap()), ["a", "b", "c"]);
    assert_eq!((journal.instance(), journal.is_merged()), (instance, false));
    // Opened, two events, closed; opened, one, closed.
    assert_eq!(journal.standing(), JournalStanding::Waiting(7));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.path()), 0o700);
    for (name, _) in place.files() {
        assert_eq!(mode(&place.file(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn an_event_takes_no_block_that_was_not_reserved() {
    let place = Place::new();
    let journal = place.open();
    let blocks = || {
        let segment = fs::metadata(place.file("000001.stream")).unwrap();
        (segment.len(), segment.blocks(), fs::metadata(place.file("head")).unwrap().blocks(), place.files().len())
    };
    let before = blocks();
    assert!(before.0 == ROOM && before.1 * 512 >= ROOM, "{before:?}");
    let writing = Writing::over(journal.clone());
    for _ in 0..20 {
        writing.say("a").await.unwrap();
    }
    assert_eq!(blocks(), before, "no file is made, none grows, no hole is filled");
    writing.end().await;
}

#[tokio::test]
async fn a_second_process_is_refused_the_directory() {
    let place = Place::new();
    let journal = place.open();
    let error = place.try_open().unwrap_err();
    assert!(matches!(error, JournalError::Locked { .. }) && error.to_string().contains("in use"), "{error}");
    drop(journal);
    place.try_open().unwrap();
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    for mode in [0o720, 0o702, 0o777] {
        let place = Place::new();
        fs::create_dir(place.path()).unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(place.try_open().unwrap_err(), JournalError::Exposed { .. }), "{mode:o}");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        place.try_open().unwrap();
    }
    let place = Place::new();
    fs::write(place.path(), "a file").unwrap();
    assert!(matches!(place.try_open().unwrap_err(), JournalError::Exposed { .. }));
}

#[test]
fn a_making_that_was_cut_short_is_begun_again() {
    let whole = {
        let place = Place::new();
        place.open();
        place.files()
    };
    for left_out in [vec!["instance"], vec!["instance", "head"], vec!["instance", "head", "000001.stream"]] {
        let files: Vec<_> = whole.iter().filter(|(name, _)| !left_out.contains(&name.as_str())).cloned().collect();
        let place = Place::with(&files);
        fs::write(place.file("000001.stream.new"), "half").unwrap();
        assert_eq!(place.open().standing(), JournalStanding::Merged, "{left_out:?}");
        assert!(!place.file("000001.stream.new").exists());
    }
}

/// A journal of one process that crashed behind its third event: no `stream.closed`.
async fn crashed() -> Vec<(String, Vec<u8>)> {
    let place = Place::new();
    let writing = Writing::over(place.open());
    for incident in ["a", "b", "c"] {
        writing.say(incident).await.unwrap();
    }
    place.files()
}

/// Where the frames of a segment end.
fn ends(segment: &[u8]) -> Vec<usize> {
    let (mut ends, mut at, mut next) = (Vec::new(), 0, frame::Place::START);
    while let Some(whole) = frame::Frame::read(&segment[at..], next) {
        at += whole.length;
        next = next.after(whole.hash);
        ends.push(at);
    }
    ends
}

fn change(files: &[(String, Vec<u8>)], name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Place {
    let mut files = files.to_vec();
    let (_, bytes) = files.iter_mut().find(|(named, _)| named == name).unwrap();
    change(bytes);
    Place::with(&files)
}

const SEGMENT: &str = "000001.stream";

/// The head as it was when so many frames were acknowledged.
fn head_at(segment: &[u8], frames: usize) -> Vec<u8> {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    let path = place.file("head");
    fs::write(&path, head::HeadFile::empty()).unwrap();
    let mut file = head::HeadFile::open(&path).unwrap().unwrap();
    let mut next = frame::Place::START;
    for at in std::iter::once(0).chain(ends(segment)).take(frames) {
        next = next.after(frame::Frame::read(&segment[at..], next).unwrap().hash);
        file.write(next).unwrap();
    }
    fs::read(&path).unwrap()
}

#[tokio::test]
async fn a_write_torn_at_any_byte_is_cut_off_and_nothing_acknowledged_is_lost() {
    let files = crashed().await;
    let segment = files.iter().find(|(name, _)| name == SEGMENT).unwrap().1.clone();
    let ends = ends(&segment);
    assert_eq!(ends.len(), 4);
    // The crash while the last frame was written: the head counts three, of the fourth any beginning is on disk.
    let head = head_at(&segment, 3);
    // No beginning of it passes for a whole one, whatever follows ...
    let third = ends[..3].iter().fold((frame::Place::START, 0), |(next, at), end| {
        (next.after(frame::Frame::read(&segment[at..], next).unwrap().hash), *end)
    });
    for length in ends[2]..ends[3] {
        let mut torn = segment[ends[2]..].to_vec();
        torn[length - ends[2]..].fill(0);
        assert!(frame::Frame::read(&torn, third.0).is_none(), "{length}");
    }
    // ... and the whole journal is read without it.
    for length in (ends[2]..ends[3]).step_by(61).chain([ends[3] - 1, ends[3]]) {
        let place = change(&files, SEGMENT, |bytes| bytes[length..].fill(0));
        fs::write(place.file("head"), &head).unwrap();
        let journal = place.open();
        let whole = length == ends[3];
        let expected: &[&str] = if whole { &["a", "b", "c"] } else { &["a", "b"] };
        assert_eq!(incidents(&journal.records().unwrap()), expected, "{length}");
        // And the next process goes on as if nothing had been.
        let writing = Writing::over(journal.clone());
        writing.say("d").await.unwrap();
        writing.end().await;
        drop(journal);
        assert_eq!(incidents(&place.open().records().unwrap()).last().unwrap(), "d");
    }
}

#[tokio::test]
async fn a_torn_write_may_have_kept_any_of_its_sectors() {
    let files = crashed().await;
    let segment = files.iter().find(|(name, _)| name == SEGMENT).unwrap().1.clone();
    let ends = ends(&segment);
    let head = head_at(&segment, 3);
    // Sectors of 64 bytes: more ways to be torn than a disk has.
    let sectors: Vec<_> = (ends[2]..ends[3]).step_by(64).collect();
    for lost in &sectors {
        let place = change(&files, SEGMENT, |bytes| bytes[*lost..(lost + 64).min(ends[3])].fill(0));
        fs::write(place.file("head"), &head).unwrap();
        assert_eq!(incidents(&place.open().records().unwrap()), ["a", "b"], "{lost}");
    }
}

#[tokio::test]
async fn a_journal_cut_anywhere_before_what_was_acknowledged_is_refused() {
    let files = crashed().await;
    let segment = files.iter().find(|(name, _)| name == SEGMENT).unwrap().1.clone();
    let ends = ends(&segment);
    for length in (0..ends[3]).step_by(97).chain(ends[..3].iter().copied()).chain([ends[3] - 1]) {
        let zeroed = change(&files, SEGMENT, |bytes| bytes[length..].fill(0));
        is_refused(&zeroed, "").await;
        let shorter = change(&files, SEGMENT, |bytes| bytes.truncate(length));
        is_refused(&shorter, "").await;
    }
    // The near twin: the zeros behind the last frame are nothing.
    let twin = change(&files, SEGMENT, |bytes| bytes.truncate(ends[3]));
    assert_eq!(incidents(&twin.open().records().unwrap()), ["a", "b", "c"]);
}

#[tokio::test]
async fn any_edit_of_what_was_acknowledged_is_refused() {
    let files = crashed().await;
    let segment = files.iter().find(|(name, _)| name == SEGMENT).unwrap().1.clone();
    let end = *ends(&segment).last().unwrap();
    for at in (0..end).step_by(41) {
        is_refused(&change(&files, SEGMENT, |bytes| bytes[at] ^= 1), "").await;
    }
    // A head that says nothing leaves no journal to speak of.
    let headless = change(&files, "head", |bytes| bytes.fill(0)).try_open().unwrap_err();
    assert!(matches!(headless, JournalError::Unverified { .. }), "{headless}");
}

#[tokio::test]
async fn frames_in_another_order_and_files_taken_out_are_refused() {
    let place = Place::new();
    use_of(&place, &["a", "b"]).await;
    use_of(&place, &["c"]).await;
    let files = place.files();
    assert_eq!(incidents(&Place::with(&files).open().records().unwrap()), ["a", "b", "c"], "the near twin");
    let segment = files.iter().find(|(name, _)| name == SEGMENT).unwrap().1.clone();
    let ends = ends(&segment);
    let swapped = [&segment[..ends[0]], &segment[ends[1]..ends[2]], &segment[ends[0]..ends[1]], &segment[ends[2]..]];
    is_refused(&change(&files, SEGMENT, |bytes| *bytes = swapped.concat()), "holds what was not written").await;
    let without = |gone: &str| files.iter().filter(|(name, _)| name != gone).cloned().collect::<Vec<_>>();
    let error = Place::with(&without(SEGMENT)).try_open().unwrap_err().to_string();
    assert!(error.contains("segment 1 is missing"), "{error}");
    is_refused(&Place::with(&without("000002.stream")), "it was cut").await;
    for gone in ["head", "instance"] {
        let error = Place::with(&without(gone)).try_open().unwrap_err().to_string();
        assert!(error.contains(&format!("the file {gone} is gone")), "{error}");
    }
    let exchanged = |name: &str| match name {
        SEGMENT => "000002.stream".to_owned(),
        "000002.stream" => SEGMENT.to_owned(),
        other => other.to_owned(),
    };
    let exchanged: Vec<_> = files.iter().map(|(name, bytes)| (exchanged(name), bytes.clone())).collect();
    is_refused(&Place::with(&exchanged), "holds what was not written").await;
}

#[tokio::test]
async fn a_head_that_was_put_back_is_told_by_what_stands_behind_it() {
    let files = crashed().await;
    let segment = files.iter().find(|(name, _)| name == SEGMENT).unwrap().1.clone();
    is_refused(&change(&files, "head", |bytes| *bytes = head_at(&segment, 2)), "the head counts 2").await;
    // One frame beyond the head is a crash before it was acknowledged: it is kept.
    let twin = change(&files, "head", |bytes| *bytes = head_at(&segment, 3));
    assert_eq!(incidents(&twin.open().records().unwrap()), ["a", "b", "c"]);
}

/// The same journal, written anew by somebody else: every frame, seal and count is sound, and the key is not ours.
#[tokio::test]
async fn a_journal_sealed_with_a_foreign_key_is_refused_until_it_is_trusted() {
    let (place, foreign) = (Place::new(), SigningKey::generate().unwrap());
    let trusted = *foreign.public();
    let journal = Arc::new(place.try_open_with(vec![trusted], ROOM).unwrap());
    let writing = Writing::sealed_with(journal.clone(), foreign);
    writing.say("a").await.unwrap();
    writing.end().await;
    drop(journal);
    is_refused(&place, "seal").await;
    // After a change of keys, the old one is named until what it sealed is merged.
    let store = Memory::well();
    let journal = place.try_open_with(vec![*key().public(), trusted], ROOM).unwrap();
    journal.merge_into(store.as_ref()).await.unwrap();
    drop(journal);
    // From then on the log holds the truth, and the old key need not be known.
    let journal = place.open();
    assert_eq!(
        (journal.standing(), incidents(&journal.records().unwrap())),
        (JournalStanding::Merged, vec!["a".to_owned()])
    );
}

#[tokio::test]
async fn a_log_that_seals_with_another_key_cannot_write_it() {
    let place = Place::new();
    let writing = Writing::sealed_with(place.open(), SigningKey::generate().unwrap());
    assert_eq!(writing.say("a").await, Err(AuditError::Unavailable));
    writing.end().await;
    assert!(place.open().records().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_changed_behind_a_process_is_found_by_its_next_event() {
    let changes: [fn(&Place); 5] = [
        |place| fs::write(place.file(SEGMENT), head_at(&fs::read(place.file(SEGMENT)).unwrap(), 1)).unwrap(),
        |place| fs::remove_file(place.file(SEGMENT)).unwrap(),
        |place| {
            let bytes = fs::read(place.file(SEGMENT)).unwrap();
            fs::remove_file(place.file(SEGMENT)).unwrap();
            fs::write(place.file(SEGMENT), bytes).unwrap();
        },
        |place| {
            let mut bytes = fs::read(place.file(SEGMENT)).unwrap();
            let ends = ends(&bytes);
            bytes[ends[0]..].fill(0);
            fs::OpenOptions::new().write(true).open(place.file(SEGMENT)).unwrap().write_all_at(&bytes, 0).unwrap();
        },
        |place| fs::OpenOptions::new().write(true).open(place.file(SEGMENT)).unwrap().set_len(1000).unwrap(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let place = Place::new();
        let journal = place.open();
        let writing = Writing::over(journal.clone());
        writing.say("a").await.unwrap();
        change(&place);
        assert_eq!(writing.say("b").await, Err(AuditError::Unavailable), "{number}");
        assert!(refused(&journal).contains("was changed while"), "{number}");
        let store = Memory::well();
        assert!(journal.merge_into(store.as_ref()).await.is_err() && store.rows().is_empty(), "{number}");
        writing.end().await;
    }
}

#[tokio::test]
async fn a_full_segment_is_followed_by_the_next_and_a_disk_without_room_is_told() {
    let place = Place::new();
    let journal = place.open();
    let writing = Writing::over(journal.clone());
    let long = "x".repeat(9_000);
    for _ in 0..20 {
        writing.say(&long).await.unwrap();
    }
    let names =
        |place: &Place| place.files().into_iter().map(|(name, _)| name).filter(|name| name.contains('0')).count();
    assert!(names(&place) >= 3, "{}", names(&place));
    writing.end().await;
    drop(journal);
    let journal = place.open();
    assert_eq!(journal.records().unwrap().len(), 20);

    // What the next segment would be called is in the way.
    let blocked = format!("{:06}.stream.new", names(&place) + 1);
    fs::create_dir(place.file(&blocked)).unwrap();
    let writing = Writing::over(journal.clone());
    let mut said = 0;
    while writing.say(&long).await.is_ok() {
        said += 1;
    }
    assert!((4..=7).contains(&said), "the reserved room is used: {said}");
    assert_eq!(writing.say(&long).await, Err(AuditError::Unavailable));
    assert_eq!(journal.records().unwrap().len(), 20 + said);
    fs::remove_dir(place.file(&blocked)).unwrap();
    while writing.say(&long).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    writing.end().await;
    let store = Memory::well();
    journal.merge_into(store.as_ref()).await.unwrap();
    store.verify();
}

#[tokio::test]
async fn a_merge_gives_the_log_everything_once_and_keeps_what_it_gave() {
    let place = Place::new();
    use_of(&place, &["a", "b"]).await;
    let journal = place.open();
    let writing = Writing::over(journal.clone());
    writing.say("c").await.unwrap();
    let store = Memory::well();
    let merged = journal.merge_into(store.as_ref()).await.unwrap();
    assert_eq!((merged, journal.is_merged()), (Merged { commits: 6, events: 6 }, true));
    assert_eq!(journal.merge_into(store.as_ref()).await.unwrap(), Merged::default());
    writing.say("d").await.unwrap();
    assert!(!journal.is_merged());
    journal.merge_into(store.as_ref()).await.unwrap();
    assert_eq!(incidents(&store.rows()), ["a", "b", "c", "d"]);
    store.verify();
    writing.end().await;
    assert_eq!(journal.standing(), JournalStanding::Waiting(1), "the end of the stream");
    journal.merge_into(store.as_ref()).await.unwrap();
    drop(journal);

    let names = place.files().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert!(names.contains(&"000001.merged".to_owned()) && names.contains(&"000002.stream".to_owned()), "{names:?}");
    let journal = place.open();
    assert_eq!(incidents(&journal.records().unwrap()), ["a", "b", "c", "d"], "its nonces are known");
    assert_eq!(journal.merge_into(store.as_ref()).await.unwrap(), Merged::default());
    assert_eq!(journal.standing(), JournalStanding::Merged);
    store.verify();
}

#[tokio::test]
async fn a_process_that_ends_in_good_order_leaves_nothing_that_the_next_key_must_verify() {
    let (place, store) = (Place::new(), Memory::well());
    let journal = place.open();
    let writing = Writing::over(journal.clone());
    writing.say("a").await.unwrap();
    writing.end().await;
    journal.put_away(store.as_ref()).await.unwrap();
    assert!(place.file("000001.merged").exists());
    // Something that is said after all has room of its own.
    let late = Writing::over(journal.clone());
    late.say("late").await.unwrap();
    late.end().await;
    assert_eq!(journal.standing(), JournalStanding::Waiting(3));
    journal.put_away(store.as_ref()).await.unwrap();
    journal.put_away(store.as_ref()).await.unwrap();
    drop(journal);
    let next = SigningKey::generate().unwrap();
    let journal = place.try_open_with(vec![*next.public()], ROOM).unwrap();
    assert_eq!(
        (journal.standing(), incidents(&journal.records().unwrap())),
        (JournalStanding::Merged, vec!["a".to_owned(), "late".to_owned()])
    );
    store.verify();
    // While anything waits, nothing is put away.
    let store = Memory::dying_at(0, false);
    let place = Place::new();
    use_of(&place, &["b"]).await;
    assert!(place.open().put_away(store.as_ref()).await.is_err() && place.file("000001.stream").exists());
}

#[tokio::test]
async fn a_process_that_starts_on_a_full_disk_has_the_room_that_the_one_before_left_it() {
    let (place, store) = (Place::new(), Memory::well());
    let journal = place.open();
    let writing = Writing::over(journal.clone());
    writing.say("a").await.unwrap();
    writing.end().await;
    // Where no room can be made, the last segment keeps its name and what is left of it.
    let in_the_way = place.file("000002.stream.new");
    fs::create_dir(&in_the_way).unwrap();
    journal.put_away(store.as_ref()).await.unwrap_err();
    assert!(place.file(SEGMENT).exists());
    fs::remove_dir(&in_the_way).unwrap();
    journal.put_away(store.as_ref()).await.unwrap();
    drop(journal);
    assert!(place.file("000001.merged").exists());
    assert_eq!(fs::metadata(place.file("000002.stream")).unwrap().len(), ROOM);

    let names = || place.files().into_iter().map(|(name, _)| name).filter(|name| name.contains('0')).count();
    let before = names();
    let journal = place.open();
    assert_eq!(names(), before, "nothing is made at the start");
    fs::create_dir(place.file("000003.stream.new")).unwrap();
    let writing = Writing::over(journal.clone());
    writing.say("b").await.unwrap();
    writing.end().await;
    assert_eq!(incidents(&journal.records().unwrap()), ["a", "b"]);
}

/// Every call at which the log or the process can end, with and without that call having taken effect.
#[tokio::test]
async fn a_merge_that_ends_at_any_step_is_ended_by_the_next_process_with_everything_there_once() {
    let place = Place::new();
    use_of(&place, &["a", "b"]).await;
    use_of(&place, &["c"]).await;
    let files = place.files();
    let steps = {
        let store = Memory::well();
        Place::with(&files).open().merge_into(store.as_ref()).await.unwrap();
        store.calls.load(Ordering::SeqCst)
    };
    assert!(steps > 8, "{steps}");
    for step in 0..steps {
        for late in [false, true] {
            let (place, store) = (Place::with(&files), Memory::dying_at(step, late));
            assert!(matches!(place.open().merge_into(store.as_ref()).await, Err(JournalError::Unmerged(_))), "{step}");
            store.heal();
            place.open().merge_into(store.as_ref()).await.unwrap();
            assert_eq!(incidents(&store.rows()), ["a", "b", "c"], "{step} {late}");
            store.verify();
        }
    }
}

#[tokio::test]
async fn commits_that_the_log_lost_are_merged_again_before_anything_that_follows_them() {
    // None: the near twin.
    for lost in 0..=4 {
        let (place, store) = (Place::new(), Memory::well());
        let journal = place.open();
        let writing = Writing::over(journal.clone());
        for incident in ["a", "b", "c"] {
            writing.say(incident).await.unwrap();
        }
        journal.put_away(store.as_ref()).await.unwrap();
        assert!(place.file("000001.merged").exists());
        store.lose(lost);
        writing.say("d").await.unwrap();
        let merged = journal.merge_into(store.as_ref()).await;
        if lost > 0 {
            let error = merged.unwrap_err();
            assert!(matches!(error, JournalError::Unmerged(_)), "{error}");
            assert!(error.to_string().contains("lost commits"), "{error}");
            assert_eq!((store.rows().len(), journal.is_merged()), (4 - lost, false), "nothing stands over the hole");
            let merged = journal.merge_into(store.as_ref()).await.unwrap();
            assert_eq!(merged, Merged { commits: lost + 1, events: lost + 1 });
        } else {
            assert_eq!(merged.unwrap().commits, 1);
        }
        assert!(journal.is_merged());
        writing.end().await;
        journal.merge_into(store.as_ref()).await.unwrap();
        assert_eq!(incidents(&store.rows()), ["a", "b", "c", "d"], "{lost}");
        store.verify();
    }
}

#[tokio::test]
async fn two_journals_are_merged_into_one_log_side_by_side() {
    let (one, other, store) = (Place::new(), Place::new(), Memory::well());
    use_of(&one, &["a", "b"]).await;
    use_of(&other, &["c", "d"]).await;
    let (one, other) = (one.open(), other.open());
    assert_ne!(one.instance(), other.instance());
    let (first, second) = tokio::join!(one.merge_into(store.as_ref()), other.merge_into(store.as_ref()));
    assert_eq!((first.unwrap().events, second.unwrap().events), (4, 4));
    let mut told = incidents(&store.rows());
    told.sort();
    assert_eq!(told, ["a", "b", "c", "d"]);
    store.verify();
}

#[tokio::test]
async fn a_journal_put_back_to_an_earlier_day_is_told_by_the_log() {
    let place = Place::new();
    let journal = place.open();
    let writing = Writing::over(journal.clone());
    writing.say("a").await.unwrap();
    let earlier = place.files();
    writing.say("b").await.unwrap();
    let store = Memory::well();
    journal.merge_into(store.as_ref()).await.unwrap();
    writing.end().await;
    let place = Place::with(&earlier);
    let put_back = place.open();
    assert_eq!(incidents(&put_back.records().unwrap()), ["a"], "it is sound in itself");
    let error = put_back.merge_into(store.as_ref()).await.unwrap_err();
    assert!(error.to_string().contains("which is not here"), "{error}");
    assert!(refused(&put_back).contains("which is not here") && put_back.records().is_err());
}

#[tokio::test]
async fn nothing_else_is_committed_before_the_journal_is_merged() {
    let place = Place::new();
    use_of(&place, &["a"]).await;
    let (journal, store) = (place.open(), Memory::dying_at(0, false));
    let gate: Arc<dyn AuditStore> = Arc::new(JournalFirst::new(journal.clone(), store.clone()));
    let service = Writing::over(Arc::clone(&gate));
    assert_eq!(service.say("ordinary").await, Err(AuditError::Unavailable));
    assert!(!service.log.is_healthy() && store.rows().is_empty());
    store.heal();
    while service.say("ordinary").await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(incidents(&store.rows()), ["a", "ordinary"], "the journal came first");

    // An emergency beside the running service: its next commit brings the journal in before it.
    let emergency = Writing::over(journal.clone());
    emergency.say("b").await.unwrap();
    assert!(!journal.is_merged());
    service.say("later").await.unwrap();
    assert_eq!(incidents(&store.rows()), ["a", "ordinary", "b", "later"]);
    emergency.end().await;
    service.end().await;
    store.verify();
}

#[tokio::test]
async fn a_journal_that_does_not_verify_keeps_the_gate_shut() {
    let files = crashed().await;
    let place = change(&files, SEGMENT, |bytes| bytes[300] ^= 1);
    let journal = place.open();
    let store = Memory::well();
    let service = Writing::over(Arc::new(JournalFirst::new(journal, store.clone())));
    assert_eq!(service.say("ordinary").await, Err(AuditError::Unavailable));
    assert!(!service.log.is_healthy() && store.rows().is_empty());
    service.end().await;
    assert!(store.rows().is_empty());
}

fn policy_set(text: &str) -> PolicySetText {
    let files = PolicyFiles([("documents/x.json".to_owned(), text.as_bytes().to_vec())].into());
    PolicySetText { hash: files.hash().to_hex(), files: files.to_json().unwrap() }
}

#[tokio::test]
async fn the_texts_that_rows_name_travel_with_them_and_are_believed_for_their_hashes() {
    let (place, set) = (Place::new(), policy_set("{}"));
    let journal = place.open();
    let writing = Writing::over(journal.clone());
    journal.keep_policy_set(&set).await.unwrap();
    writing.say("a").await.unwrap();
    journal.keep_policy_set(&set).await.unwrap();
    writing.say("b").await.unwrap();
    writing.end().await;
    drop(journal);
    let store = Memory::well();
    place.open().merge_into(store.as_ref()).await.unwrap();
    assert_eq!(*store.sets.lock().unwrap(), std::slice::from_ref(&set), "once");

    // A set under the hash of another would stand beside the log for ever: first come.
    let place = Place::new();
    let journal = place.open();
    let writing = Writing::over(journal.clone());
    journal.keep_policy_set(&PolicySetText { files: policy_set("other").files, ..set }).await.unwrap();
    assert_eq!(writing.say("a").await, Err(AuditError::Unavailable));
    writing.end().await;
    assert_eq!(journal.standing(), JournalStanding::Merged, "nothing was written");
}

#[tokio::test]
async fn a_batch_is_taken_only_where_its_stream_goes_on_and_as_it_was_sealed() {
    let place = Place::new();
    let journal = place.open();
    let writing = Writing::over(journal.clone());
    writing.say("a").await.unwrap();
    writing.end().await;
    let store = Memory::well();
    journal.merge_into(store.as_ref()).await.unwrap();
    let batches = store.batches.lock().unwrap().clone();
    let [opened, said, closed] = batches.as_slice() else { panic!("{batches:?}") };
    for batch in [opened, said, closed] {
        assert!(matches!(journal.append(batch).await, Err(StoreError::Unavailable(_))), "it has them");
    }
    let place = Place::new();
    let fresh = place.open();
    assert!(fresh.append(opened).await.is_err(), "not opened");
    fresh.open(opened.seal.stream, key().public()).await.unwrap();
    assert!(fresh.append(said).await.is_err(), "a gap");
    let record = opened.records[0].replace("opened", "closed");
    let forged = Batch { records: vec![record.clone()], ..opened.clone() };
    assert!(matches!(fresh.append(&forged).await, Err(StoreError::Rejected(_))), "another record");
    let leaf = vec![Digest::of_leaf(record.as_bytes())];
    let stranger =
        Seal::make(&Chain::start(opened.seal.stream), leaf, opened.seal.sealed_at, &SigningKey::generate().unwrap());
    let forged = Batch { records: vec![record], seal: stranger, session_policies: Vec::new() };
    assert!(matches!(fresh.append(&forged).await, Err(StoreError::Rejected(_))), "another key");
    let policy = SessionPolicyText { sha256: "00".repeat(32), text: "{}".to_owned() };
    let forged = Batch { session_policies: vec![policy], ..opened.clone() };
    assert!(matches!(fresh.append(&forged).await, Err(StoreError::Rejected(_))), "another policy");
    fresh.append(opened).await.unwrap();
    fresh.append(said).await.unwrap();
    assert_eq!(fresh.head(said.seal.stream).await.unwrap().unwrap(), said.seal);
}
