//! Files of a bundle: written once, hashed as they are written; read by lines of bounded length.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::EvidenceError;
use super::manifest::FileFacts;
use crate::audit::Digest;

/// The longest line that is read: no record or seal of ours comes near.
const LONGEST_LINE: u64 = 1024 * 1024;
const BUFFER: usize = 256 * 1024;

/// A file on its way.
pub(super) struct HashedFile {
    path: PathBuf,
    file: BufWriter<File>,
    context: Context,
    bytes: u64,
}

impl HashedFile {
    pub(super) fn create(directory: &Path, name: &str) -> Result<Self, EvidenceError> {
        let path = directory.join(name);
        let file = File::create_new(&path).map_err(EvidenceError::io(&path))?;
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(Self { path, file, context: Context::new(&SHA256), bytes: 0 })
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), EvidenceError> {
        let written = self.write_all(bytes);
        written.map_err(EvidenceError::io(&self.path))
    }

    /// On disk when it answers.
    pub(super) fn finish(self, rows: Option<u64>) -> Result<FileFacts, EvidenceError> {
        let Self { path, file, context, bytes } = self;
        let flushed = file.into_inner().map_err(io::IntoInnerError::into_error);
        flushed.and_then(|file| file.sync_all()).map_err(EvidenceError::io(&path))?;
        Ok(FileFacts { bytes, rows, sha256: hex::encode(context.finish()) })
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.context.update(bytes.get(..written).unwrap_or(bytes));
        self.bytes = self.bytes.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The SHA-256 of a file, and its length.
pub(super) fn digest(path: &Path) -> Result<(Digest, u64), EvidenceError> {
    let mut file = File::open(path).map_err(EvidenceError::io(path))?;
    let (mut context, mut buffer, mut length) = (Context::new(&SHA256), vec![0; BUFFER], 0_u64);
    loop {
        let read = file.read(&mut buffer).map_err(EvidenceError::io(path))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        context.update(bytes);
        length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    Ok((Digest::from_bytes(context.finish().as_ref()).unwrap_or(Digest::ZERO), length))
}

/// A file read line by line.
pub(super) struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, EvidenceError> {
        let file = File::open(path).map_err(EvidenceError::io(path))?;
        Ok(Self { path: path.to_owned(), file: BufReader::with_capacity(BUFFER, file), line: Vec::new(), number: 0 })
    }

    /// The next line without its end. One that is too long is given cut: it is no line of ours.
    pub(super) fn read(&mut self) -> Result<Option<(u64, &[u8])>, EvidenceError> {
        self.line.clear();
        let mut bounded = (&mut self.file).take(LONGEST_LINE);
        bounded.read_until(b'\n', &mut self.line).map_err(EvidenceError::io(&self.path))?;
        if self.line.is_empty() {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        Ok(Some((self.number, line)))
    }
}
