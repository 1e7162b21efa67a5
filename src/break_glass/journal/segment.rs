//! One segment: a file of frames, one after the other, and zeros behind them. It is as long as it was made until it is
//! taken away, so that a shorter one was cut.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::JournalError;
use super::directory::plain;
use super::frame::{Frame, Place, Whole};

/// Longer than any segment that is made: a file that somebody grew must not fill the memory.
const LONGEST: u64 = 256 * 1024 * 1024;

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    number: u64,
    path: PathBuf,
    file: File,
    merged: bool,
    /// How long the file is.
    room: u64,
    /// Where the frames end.
    end: u64,
    /// Up to where a write that failed may have left something behind the end.
    dirty: u64,
}

/// What stands in a segment.
#[derive(Debug)]
pub(super) struct Contents {
    /// The frames that belong where they stand, in order.
    pub(super) frames: Vec<Whole>,
    /// Where the next frame goes.
    pub(super) next: Place,
    /// Something stands behind the last of them that is no frame, or none that belongs there.
    pub(super) more: bool,
}

impl Segment {
    pub(super) fn open(path: &Path, number: u64, merged: bool) -> Result<Self, JournalError> {
        let file = plain().open(path).map_err(JournalError::io(path))?;
        let room = file.metadata().map_err(JournalError::io(path))?.len();
        Ok(Self { number, path: path.to_owned(), file, merged, room, end: 0, dirty: 0 })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_merged(&self) -> bool {
        self.merged
    }

    pub(super) fn is_empty(&self) -> bool {
        self.end == 0 && self.dirty == 0
    }

    /// Whether a write that failed may have left something behind the frames.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty > self.end
    }

    /// How many bytes of frames it still takes.
    pub(super) fn room_left(&self) -> u64 {
        self.room.saturating_sub(self.end)
    }

    /// Reads it from its beginning, where the frame of this place must stand if any does.
    pub(super) fn read(&mut self, first: Place) -> Result<Contents, JournalError> {
        let bytes = self.bytes()?;
        let (mut frames, mut next, mut rest) = (Vec::new(), first, bytes.as_slice());
        while let Some(whole) = Frame::read(rest, next) {
            next = next.after(whole.hash);
            rest = rest.get(whole.length..).unwrap_or_default();
            frames.push(whole);
        }
        let length = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        self.end = length(bytes.len().saturating_sub(rest.len()));
        let last = rest.iter().rposition(|byte| *byte != 0);
        self.dirty = last.map_or(self.end, |last| self.end.saturating_add(length(last)).saturating_add(1));
        Ok(Contents { frames, next, more: last.is_some() })
    }

    /// Whether the file under the segment's name is still the one that is open, as long as it was, with these frames.
    pub(super) fn still_holds(&self, first: Place, next: Place) -> Result<bool, JournalError> {
        let failed = || JournalError::io(&self.path);
        let Ok(named) = fs::symlink_metadata(&self.path) else { return Ok(false) };
        let open = self.file.metadata().map_err(failed())?;
        if (named.dev(), named.ino()) != (open.dev(), open.ino()) || open.len() != self.room {
            return Ok(false);
        }
        let mut bytes = vec![0; usize::try_from(self.end).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, 0).map_err(failed())?;
        let (mut at, mut rest) = (first, bytes.as_slice());
        while let Some(whole) = Frame::read(rest, at) {
            at = at.after(whole.hash);
            rest = rest.get(whole.length..).unwrap_or_default();
        }
        Ok(at == next && rest.is_empty())
    }

    /// Writes a frame behind the last, durably. It counts from [`Segment::grown`] on.
    pub(super) fn write(&mut self, frame: &[u8]) -> Result<(), JournalError> {
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        let behind = self.end.saturating_add(length);
        // What a failed write left must not stand behind this frame.
        let clear = usize::try_from(self.dirty.saturating_sub(behind)).unwrap_or(0);
        let bytes = [frame, &vec![0; clear]].concat();
        self.dirty = self.dirty.max(behind);
        let written = self.file.write_all_at(&bytes, self.end).and_then(|()| self.file.sync_all());
        written.map_err(JournalError::io(&self.path))?;
        self.dirty = behind;
        Ok(())
    }

    /// The frame that was written is part of the segment.
    pub(super) fn grown(&mut self, length: usize) {
        self.end = self.end.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
    }

    /// Cuts off what stands behind the frames.
    pub(super) fn cut(&mut self) -> Result<(), JournalError> {
        let zeros = vec![0; usize::try_from(self.dirty.saturating_sub(self.end)).unwrap_or(0)];
        let cut = self.file.write_all_at(&zeros, self.end).and_then(|()| self.file.sync_all());
        cut.map_err(JournalError::io(&self.path))?;
        self.dirty = self.end;
        Ok(())
    }

    pub(super) fn renamed(&mut self, to: PathBuf) {
        self.path = to;
        self.merged = true;
    }

    fn bytes(&self) -> Result<Vec<u8>, JournalError> {
        let mut bytes = Vec::new();
        let mut file = File::open(&self.path).map_err(JournalError::io(&self.path))?;
        file.by_ref().take(LONGEST).read_to_end(&mut bytes).map_err(JournalError::io(&self.path))?;
        Ok(bytes)
    }
}
