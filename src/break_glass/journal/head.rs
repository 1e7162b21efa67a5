//! The journal's head: how many frames were acknowledged, and the hash of the last. Two lines of one size in a file of one
//! size, written in turn and in place: a crash while one is written leaves the other, and no room is ever needed. Without it
//! a journal cut at the end of a frame would look whole.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::JournalError;
use super::frame::Place;
use crate::audit::Digest;

/// What a line begins with.
const NAME: &str = "stint journal head 1 ";
/// How long a line is, its end included.
const LINE: usize = 172;
/// Where the second line begins: in another sector, so that no torn write reaches both.
const SECOND: u64 = 4096;
/// How long the file is.
const SIZE: usize = 8192;

/// The file, and what it says.
#[derive(Debug)]
pub(super) struct HeadFile {
    path: PathBuf,
    file: File,
    at: Place,
}

impl HeadFile {
    /// What a new file holds: a journal without frames.
    pub(super) fn empty() -> Vec<u8> {
        let mut bytes = line(Place::START).into_bytes();
        bytes.resize(SIZE, 0);
        bytes
    }

    /// Opens it; none where it says nothing that was ever written whole.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, JournalError> {
        let opened = OpenOptions::new().read(true).write(true).custom_flags(NOFOLLOW).open(path);
        let file = opened.map_err(JournalError::io(path))?;
        let read = |offset| {
            let mut bytes = [0; LINE];
            file.read_exact_at(&mut bytes, offset).ok()?;
            parse(&bytes)
        };
        // The later of the two that hold: the other is the one before it, or was being written.
        let at = [read(0), read(SECOND)].into_iter().flatten().max_by_key(|place| place.number);
        Ok(at.map(|at| Self { path: path.to_owned(), file, at }))
    }

    /// Where the next frame goes.
    pub(super) fn at(&self) -> Place {
        self.at
    }

    /// Says durably that everything before this place was acknowledged.
    pub(super) fn write(&mut self, at: Place) -> Result<(), JournalError> {
        if at == self.at {
            return Ok(());
        }
        let offset = if at.number.is_multiple_of(2) { 0 } else { SECOND };
        let written = self.file.write_all_at(line(at).as_bytes(), offset).and_then(|()| self.file.sync_all());
        written.map_err(JournalError::io(&self.path))?;
        self.at = at;
        Ok(())
    }
}

/// `O_NOFOLLOW`: a link in the directory leads to a file that is not the journal's.
pub(super) const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

fn line(at: Place) -> String {
    let said = format!("{NAME}{:020} {}", at.number, at.previous);
    format!("{said} {}\n", Digest::of(said.as_bytes()))
}

fn parse(bytes: &[u8]) -> Option<Place> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut parts = text.strip_prefix(NAME)?.split(' ');
    let at = Place { number: parts.next()?.parse().ok()?, previous: Digest::parse(parts.next()?)? };
    (line(at) == text).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: u64) -> Place {
        Place { number, previous: Digest::of(&number.to_be_bytes()) }
    }

    #[test]
    fn a_head_is_read_back_and_a_torn_one_leaves_the_one_before() {
        assert_eq!(line(place(7)).len(), LINE);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("head");
        std::fs::write(&path, HeadFile::empty()).unwrap();
        let mut head = HeadFile::open(&path).unwrap().unwrap();
        assert_eq!(head.at(), Place::START);
        for number in 1..=4 {
            head.write(place(number)).unwrap();
            assert_eq!(HeadFile::open(&path).unwrap().unwrap().at(), place(number));
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 8192, "it never grows");
        }
        // The write of the fifth, cut anywhere.
        let (whole, next) = (std::fs::read(&path).unwrap(), line(place(5)));
        for cut in 0..LINE - 1 {
            let mut torn = whole.clone();
            torn[4096..4096 + cut].copy_from_slice(&next.as_bytes()[..cut]);
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(HeadFile::open(&path).unwrap().unwrap().at(), place(4), "{cut}");
        }
        std::fs::write(&path, vec![0; 8192]).unwrap();
        assert!(HeadFile::open(&path).unwrap().is_none());
    }
}
