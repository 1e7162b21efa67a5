//! The journal as one process has it open: what stands in it, where the next frame goes, and how much of it is merged. All
//! of it blocks: the handle runs it aside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use rand::rngs::StdRng;

use super::directory::Directory;
use super::frame::{Frame, Place};
use super::head::HeadFile;
use super::reading;
use super::segment::Segment;
use super::{InstanceId, JournalError};
use crate::audit::{AuditRow, Batch, Chain, Digest, PolicySetText, Seal, StreamHead, StreamId, VerifyingKey};

/// The longest policy set whose text travels in the journal: a longer one would take the room that was reserved for events.
const LONGEST_SET: usize = 1024 * 1024;
/// How many heads one event names at most, as in the log; the next opening names more.
const MOST_HEADS: usize = 1_000;

/// What a journal is made of.
#[derive(Debug)]
pub struct JournalParts {
    /// Where it is kept: a directory of this service alone.
    pub directory: PathBuf,
    /// The keys whose seals count: the one this service signs with, and any it signed with before what waits was merged.
    pub keys: Vec<VerifyingKey>,
    /// How many bytes are reserved for events to come: [`super::Journal::ROOM`].
    pub room: u64,
    /// Draws the instance id of a new journal.
    pub rng: StdRng,
}

/// A frame, and where it stands.
#[derive(Debug)]
struct Kept {
    frame: Arc<Frame>,
    hash: Digest,
    /// Its segment's place in `segments`.
    segment: usize,
}

/// A frame that is on disk and not yet counted by the head.
#[derive(Debug)]
struct Pending {
    kept: Kept,
    length: usize,
}

#[derive(Debug)]
pub(super) struct Book {
    directory: Directory,
    instance: InstanceId,
    keys: Vec<VerifyingKey>,
    room: u64,
    head: HeadFile,
    segments: Vec<Segment>,
    /// Where each segment's first frame stands.
    firsts: Vec<Place>,
    frames: Vec<Kept>,
    next: Place,
    pending: Option<Pending>,
    /// Streams that were opened in this process, and their keys.
    opened: BTreeMap<StreamId, VerifyingKey>,
    last_seals: BTreeMap<StreamId, Seal>,
    /// Sets to be kept with the next frame, and the hashes of those that are kept.
    sets: Vec<PolicySetText>,
    kept_sets: BTreeSet<String>,
    /// How many frames the log has.
    merged: usize,
    refused: Option<JournalError>,
}

impl Book {
    /// Opens the journal, or makes it. A journal that does not verify is opened too: it refuses everything, and says why.
    pub(super) fn open(parts: JournalParts) -> Result<Self, JournalError> {
        let JournalParts { directory, keys, room, mut rng } = parts;
        let directory = Directory::open(&directory)?;
        let mut segments = directory.segments()?;
        let (instance, head) = match (directory.instance()?, directory.head()?) {
            (Some(instance), Some(head)) => (instance, head),
            (Some(_), None) => return Err(directory.unverified("the file head is gone")),
            // Begun, and never finished: the instance id is the last thing to be made.
            (None, _) => Self::make(&directory, &mut segments, room, InstanceId::draw(&mut rng))?,
        };
        let (mut frames, mut firsts, mut next, mut broken) = (Vec::new(), Vec::new(), Place::START, None);
        for (place, segment) in segments.iter_mut().enumerate() {
            firsts.push(next);
            let contents = segment.read(next)?;
            next = contents.next;
            frames.extend(contents.frames.into_iter().map(|whole| Kept {
                frame: Arc::new(whole.frame),
                hash: whole.hash,
                segment: place,
            }));
            if contents.more {
                broken = broken.or_else(|| Some((place, segment.number())));
            }
        }
        let mut book = Self {
            instance,
            keys,
            room,
            merged: frames.iter().take_while(|kept| segments.get(kept.segment).is_some_and(Segment::is_merged)).count(),
            segments,
            firsts,
            next,
            pending: None,
            opened: BTreeMap::new(),
            last_seals: frames
                .iter()
                .map(|kept| (kept.frame.batch.seal.stream, kept.frame.batch.seal.clone()))
                .collect(),
            sets: Vec::new(),
            kept_sets: frames.iter().flat_map(|kept| &kept.frame.policy_sets).map(|set| set.hash.clone()).collect(),
            frames,
            head,
            refused: None,
            directory,
        };
        book.judge(broken)?;
        Ok(book)
    }

    /// Believes what was read, or refuses it. `broken`: a segment's place and number, behind whose frames something stands.
    fn judge(&mut self, broken: Option<(usize, u64)>) -> Result<(), JournalError> {
        let last = self.segments.len().saturating_sub(1);
        // At the very end, behind what was acknowledged: a write that a crash cut short.
        let torn = broken.filter(|(place, _)| *place == last && self.next.number >= self.head.at().number);
        let strange = broken.filter(|_| torn.is_none()).map(|(_, number)| {
            format!("behind frame {} segment {number} holds what was not written there", self.next.number)
        });
        if let Some(finding) = strange.or_else(|| self.fault()) {
            self.refuse(&finding);
            return Ok(());
        }
        if let (Some((_, segment)), Some(last)) = (torn, self.segments.last_mut()) {
            let frame = self.next.number;
            tracing::warn!(segment, frame, "the break-glass journal ends in a frame that was never whole: cut off");
            last.cut()?;
        }
        self.head.write(self.next)?;
        self.make_ready();
        Ok(())
    }

    /// A new journal, or one whose making was cut short: then there is nothing in it yet.
    fn make(
        directory: &Directory,
        segments: &mut Vec<Segment>,
        room: u64,
        instance: InstanceId,
    ) -> Result<(InstanceId, HeadFile), JournalError> {
        for segment in segments.iter_mut() {
            segment.read(Place::START)?;
        }
        let begun = |head: Option<HeadFile>| head.is_some_and(|head| head.at() != Place::START);
        if !segments.iter().all(Segment::is_empty)
            || segments.iter().any(Segment::is_merged)
            || begun(directory.head()?)
        {
            return Err(directory.unverified("the file instance is gone"));
        }
        if segments.is_empty() {
            segments.push(directory.reserve(1, room)?);
        }
        directory.keep_head()?;
        let head = directory.head()?.ok_or_else(|| directory.unverified("the file head is gone"))?;
        directory.keep_instance(instance)?;
        Ok((instance, head))
    }

    /// What is wrong with what was read.
    fn fault(&self) -> Option<String> {
        let (acknowledged, found) = (self.head.at(), self.next.number);
        if found < acknowledged.number {
            return Some(format!("{} frames were acknowledged and {found} are there: it was cut", acknowledged.number));
        }
        // One may have been written without having been acknowledged; more means that the head was put back.
        if found > acknowledged.number.saturating_add(1) {
            return Some(format!("{found} frames are there and the head counts {}", acknowledged.number));
        }
        let index = |number: u64| usize::try_from(number).ok()?.checked_sub(1);
        let hash = index(acknowledged.number).map(|last| self.frames.get(last).map(|kept| kept.hash));
        if hash.is_some_and(|hash| hash != Some(acknowledged.previous)) {
            return Some(format!("frame {} is not the one that was acknowledged", acknowledged.number));
        }
        let merged = |kept: &Kept| self.segments.get(kept.segment).is_some_and(Segment::is_merged);
        let after = self.segments.iter().skip_while(|segment| segment.is_merged());
        if after.clone().any(Segment::is_merged) {
            return Some("a merged segment stands behind one that is not".to_owned());
        }
        reading::first_fault(self.frames.iter().map(|kept| (kept.frame.as_ref(), merged(kept))), &self.keys)
    }

    /// From now on nothing is written and nothing is merged.
    fn refuse(&mut self, finding: &str) {
        let error = self.directory.unverified(finding);
        tracing::error!(%error, "the break-glass journal is refused");
        self.refused = Some(error);
    }

    pub(super) fn refused(&self) -> Option<&JournalError> {
        self.refused.as_ref()
    }

    pub(super) fn instance(&self) -> InstanceId {
        self.instance
    }

    /// How many frames wait to be merged.
    pub(super) fn waiting(&self) -> usize {
        self.frames.len().saturating_sub(self.merged)
    }

    /// The frames that wait, the first of them after `merged` others.
    pub(super) fn unmerged(&mut self) -> Result<(usize, Vec<Arc<Frame>>), JournalError> {
        self.stand_ready()?;
        let waiting = self.frames.iter().skip(self.merged).map(|kept| Arc::clone(&kept.frame)).collect();
        Ok((self.merged, waiting))
    }

    /// This seal of a stream, if it is here.
    pub(super) fn seal(&self, stream: StreamId, number: u64) -> Option<Seal> {
        let seals = self.frames.iter().map(|kept| &kept.frame.batch.seal);
        seals.into_iter().find(|seal| seal.stream == stream && seal.number == number).cloned()
    }

    /// The log has so many frames.
    pub(super) fn note_merged(&mut self, merged: usize) -> Result<(), JournalError> {
        self.merged = self.merged.max(merged).min(self.frames.len());
        self.refused.clone().map_or(Ok(()), Err)
    }

    /// The log lost this seal of a stream and what follows it: whatever was written since waits again, also where its segment
    /// is named merged. A process that ends before it is merged finds the same hole with its next merge of the stream.
    pub(super) fn rewind(&mut self, stream: StreamId, number: u64) -> Result<(), JournalError> {
        let lost = self.frames.iter().position(|kept| {
            let seal = &kept.frame.batch.seal;
            seal.stream == stream && seal.number == number
        });
        tracing::warn!(stream = %stream.0, number, "the log lost commits of the break-glass journal that it had");
        self.merged = self.merged.min(lost.unwrap_or(0));
        self.refused.clone().map_or(Ok(()), Err)
    }

    /// The database holds of a stream what this journal never wrote.
    pub(super) fn refuse_for(&mut self, finding: &str) -> JournalError {
        self.refuse(finding);
        self.directory.unverified(finding)
    }

    /// Names what is merged and written no more, and makes the next room. Best effort: nothing depends on it.
    pub(super) fn tidy(&mut self) -> Result<(), JournalError> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let first_waiting = self.frames.get(self.merged).map(|kept| kept.segment);
        let last = self.segments.len().saturating_sub(1);
        let done = last.min(first_waiting.unwrap_or(usize::MAX));
        for segment in self.segments.iter_mut().take(done).filter(|segment| !segment.is_merged()) {
            if let Err(error) = self.directory.mark_merged(segment) {
                tracing::warn!(%error, "a merged segment of the break-glass journal keeps its name");
                return Ok(());
            }
        }
        let half = self.room / 2;
        // A frame that the head does not count yet belongs before whatever is made next.
        if self.pending.is_some() {
            return Ok(());
        }
        if self.segments.last().is_none_or(|segment| segment.is_merged() || segment.room_left() < half) {
            self.extend_quietly();
        }
        Ok(())
    }

    /// Names every segment with frames, the last too, where everything is merged: nothing more will be written by this process.
    /// The next may seal with another key, and find no more than what the log has, and room of its own. Where none can be made
    /// the last keeps its name, and what is left of it.
    pub(super) fn put_away(&mut self) -> Result<(), JournalError> {
        self.stand_ready()?;
        if self.waiting() > 0 {
            return Ok(());
        }
        // The room of the next process first: it may come up on a full disk, and break the glass there.
        if self.segments.last().is_none_or(|last| last.is_merged() || !last.is_empty()) {
            self.extend()?;
        }
        let before_last = self.segments.len().saturating_sub(1);
        for segment in self.segments.iter_mut().take(before_last).filter(|segment| !segment.is_merged()) {
            self.directory.mark_merged(segment)?;
        }
        Ok(())
    }

    /// Room for this process: a segment of its own, so that those before it can be merged and put away.
    fn make_ready(&mut self) {
        if self.segments.last().is_none_or(|segment| segment.is_merged() || !segment.is_empty()) {
            self.extend_quietly();
        }
    }

    fn extend_quietly(&mut self) {
        if let Err(error) = self.extend() {
            tracing::error!(%error, "no room could be reserved for the break-glass journal: free the disk");
        }
    }

    fn extend(&mut self) -> Result<(), JournalError> {
        // What a failed write left is torn only in the last segment: behind another it would be somebody's forgery.
        if let Some(last) = self.segments.last_mut().filter(|last| last.is_dirty()) {
            last.cut()?;
        }
        let number = u64::try_from(self.segments.len()).unwrap_or(u64::MAX).saturating_add(1);
        let segment = self.directory.reserve(number, self.room)?;
        self.segments.push(segment);
        self.firsts.push(self.next);
        Ok(())
    }

    /// Whether it can be used: it verifies, nobody changed it behind our back, and the head counts every frame.
    fn stand_ready(&mut self) -> Result<(), JournalError> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        if let Some(Pending { kept, length }) = self.pending.take() {
            let next = self.next.after(kept.hash);
            if let Err(error) = self.head.write(next) {
                self.pending = Some(Pending { kept, length });
                return Err(error);
            }
            self.count(kept, length);
        }
        if let Some(changed) = self.changed()? {
            return Err(self.refuse_for(&format!("{} was changed while this process had it open", changed.display())));
        }
        Ok(())
    }

    /// A segment that no longer holds what was read from it or written to it.
    fn changed(&self) -> Result<Option<PathBuf>, JournalError> {
        let ends = self.firsts.iter().skip(1).chain([&self.next]);
        for ((segment, first), end) in self.segments.iter().zip(&self.firsts).zip(ends) {
            if !segment.still_holds(*first, *end)? {
                return Ok(Some(segment.path().to_owned()));
            }
        }
        Ok(None)
    }

    fn count(&mut self, kept: Kept, length: usize) {
        self.next = self.next.after(kept.hash);
        if let Some(segment) = self.segments.get_mut(kept.segment) {
            segment.grown(length);
        }
        let seal = kept.frame.batch.seal.clone();
        self.last_seals.insert(seal.stream, seal);
        self.kept_sets.extend(kept.frame.policy_sets.iter().map(|set| set.hash.clone()));
        let kept_sets = &self.kept_sets;
        self.sets.retain(|set| !kept_sets.contains(&set.hash));
        self.frames.push(kept);
    }

    /// Begins a stream, and answers the heads that it must name: of every other stream that none has named as it stands.
    pub(super) fn open_stream(&mut self, stream: StreamId, key: VerifyingKey) -> Result<Vec<StreamHead>, JournalError> {
        self.stand_ready()?;
        if !self.keys.contains(&key) {
            return Err(JournalError::Unfit("the key of the stream is none whose seals count here".to_owned()));
        }
        self.opened.insert(stream, key);
        let named: BTreeSet<StreamHead> =
            self.rows().iter().flat_map(|row| &row.heads).filter_map(|head| head.parse().ok()).collect();
        let heads = self.last_seals.values().map(Seal::head);
        Ok(heads.filter(|head| head.stream != stream && !named.contains(head)).take(MOST_HEADS).collect())
    }

    /// Appends a batch: on disk, and counted, when it answers.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<(), JournalError> {
        self.stand_ready()?;
        let seal = &batch.seal;
        let (stream, last) = (seal.stream, self.last_seals.get(&seal.stream));
        let chain = last.map_or(Chain::start(stream), Chain::after);
        if (chain.next_number, chain.next_seq, chain.previous) != (seal.number, seal.first_seq, seal.previous) {
            return Err(JournalError::OutOfOrder);
        }
        let Some(key) = self.opened.get(&stream).copied() else { return Err(JournalError::OutOfOrder) };
        let frame = Frame { batch: batch.clone(), key, policy_sets: self.sets.clone() };
        if let Some(fault) = reading::batch_fault(&frame) {
            return Err(JournalError::Unfit(fault));
        }
        let unfit = || JournalError::Unfit("a record is no JSON".to_owned());
        let (bytes, hash) = frame.write(self.next).ok_or_else(unfit)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > self.room {
            return Err(JournalError::Unfit(format!("{length} bytes are more than a segment takes")));
        }
        let fits = |segment: &Segment| !segment.is_merged() && segment.room_left() >= length;
        if !self.segments.last().is_some_and(fits) {
            self.extend().map_err(|error| JournalError::Full { words: error.to_string() })?;
        }
        let last = self.segments.len().saturating_sub(1);
        let Some(segment) = self.segments.last_mut() else { return Err(JournalError::GivenUp) };
        segment.write(&bytes)?;
        let kept = Kept { frame: Arc::new(frame), hash, segment: last };
        let next = self.next.after(hash);
        if let Err(error) = self.head.write(next) {
            self.pending = Some(Pending { kept, length: bytes.len() });
            return Err(error);
        }
        self.count(kept, bytes.len());
        Ok(())
    }

    /// The last seal of a stream.
    pub(super) fn last_seal(&mut self, stream: StreamId) -> Result<Option<Seal>, JournalError> {
        self.stand_ready()?;
        Ok(self.last_seals.get(&stream).cloned())
    }

    /// The head of the stream that was written last.
    pub(super) fn last_head(&self) -> Option<StreamHead> {
        self.frames.last().map(|kept| kept.frame.batch.seal.head())
    }

    /// Keeps a set's text with the next frame, unless it is kept already.
    pub(super) fn keep_set(&mut self, set: &PolicySetText) {
        if set.files.len() > LONGEST_SET {
            tracing::warn!(
                hash = set.hash,
                "the policy set is too long for the break-glass journal: keep its text elsewhere"
            );
        } else if !self.kept_sets.contains(&set.hash) && !self.sets.contains(set) {
            self.sets.push(set.clone());
        }
    }

    /// Every row, in the order it was written.
    pub(super) fn rows(&self) -> Vec<AuditRow> {
        self.frames.iter().flat_map(|kept| reading::rows(&kept.frame)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::SigningKey;

    fn open(directory: &std::path::Path) -> Book {
        let key = *SigningKey::generate().unwrap().public();
        let directory = directory.join("journal");
        Book::open(JournalParts { directory, keys: vec![key], room: 4096, rng: rand::make_rng() }).unwrap()
    }

    #[test]
    fn what_a_failed_write_left_is_cut_off_before_another_segment_follows() {
        let place = tempfile::tempdir().unwrap();
        let mut book = open(place.path());
        book.segments.last_mut().unwrap().write(b"half a frame").unwrap();
        assert!(book.segments.last().unwrap().is_dirty(), "written, and never counted");
        drop(book);
        let mut book = open(place.path());
        assert!(
            book.refused().is_none() && !book.segments.last().unwrap().is_dirty(),
            "the near twin: at the very end"
        );
        book.segments.last_mut().unwrap().write(b"half a frame").unwrap();
        book.extend().unwrap();
        drop(book);
        assert!(open(place.path()).refused().is_none());
        assert_eq!(std::fs::read(place.path().join("journal/000001.stream")).unwrap(), vec![0; 4096]);
    }
}
