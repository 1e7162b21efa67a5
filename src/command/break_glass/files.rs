//! The files of the ceremony: read bounded, and written whole or not at all. What is secret is for its owner alone.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::break_glass::ceremony::{Envelope, LARGEST_ENVELOPE};
use crate::client::write_private;
use crate::command::Failure;

/// Others read nothing of the ceremony: who asks for what is nobody's business before it is in the log.
const OWN: u32 = 0o600;

/// Reads a file of at most `most` bytes.
pub(super) fn read(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failure = |why: String| Failure(format!("{}: {why}", path.display()));
    let bound = u64::try_from(most).unwrap_or(u64::MAX);
    let mut content = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(|error| failure(error.to_string()))?;
    file.take(bound.saturating_add(1)).read_to_end(&mut content).map_err(|error| failure(error.to_string()))?;
    if content.len() > most {
        return Err(failure(format!("is longer than {most} bytes")));
    }
    Ok(content)
}

/// The same, of text.
pub(super) fn read_text(path: &Path, most: usize) -> Result<Zeroizing<String>, Failure> {
    let content = read(path, most)?;
    let text = std::str::from_utf8(&content).map_err(|_| Failure(format!("{}: is not text", path.display())))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads a secret that nobody else may read.
pub(super) fn read_secret(path: &Path, most: usize) -> Result<Zeroizing<String>, Failure> {
    let mode =
        fs::metadata(path).map_err(|error| Failure(format!("{}: {error}", path.display())))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure(format!("{}: others than its owner can read or write it: chmod 600", path.display())));
    }
    read_text(path, most)
}

/// Writes a new file for its owner alone; one that is there is never written over: it may be the only copy of a key.
pub(super) fn create(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let failure = |error: std::io::Error| {
        let there = error.kind() == ErrorKind::AlreadyExists;
        let why = if there { "is there already, and is not written over".to_owned() } else { error.to_string() };
        Failure(format!("{}: {why}", path.display()))
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWN).open(path).map_err(failure)?;
    let written = file
        .set_permissions(Permissions::from_mode(OWN))
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key is none.
        let _ = fs::remove_file(path);
    }
    written.map_err(failure)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(failure)
}

/// Whether something of this name is there: also a link that leads nowhere, over which nothing is written either.
pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Reads a document with its signatures.
pub(super) fn read_envelope(path: &Path) -> Result<Envelope, Failure> {
    let content = read(path, LARGEST_ENVELOPE)?;
    Envelope::parse(&content).map_err(|error| Failure(format!("{}: {error}", path.display())))
}

/// Writes a new file with a document that is to be signed.
pub(super) fn create_envelope(path: &Path, envelope: &Envelope) -> Result<(), Failure> {
    create(path, envelope.to_json().as_bytes())
}

/// Writes a document with its signatures in the place of what was there.
pub(super) fn replace_envelope(path: &Path, envelope: &Envelope) -> Result<(), Failure> {
    let written = write_private(path, envelope.to_json().as_bytes(), OWN);
    written.map_err(|error| Failure(format!("{}: {error}", path.display())))
}
