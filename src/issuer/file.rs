//! A key set in a file: for issuers that cannot be reached, and for mounts that are replaced under a running service.

use std::path::Path;
use std::time::SystemTime;

use tokio::fs::{self, File};
use tokio::io::AsyncReadExt as _;

use super::fault::IssuerFault;
use super::fetch::MAX_BYTES;

/// What changes when a file is replaced or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

/// The file's stamp now; nothing if it cannot be had.
pub(super) async fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).await.ok()?;
    Some(Stamp { modified: metadata.modified().ok(), length: metadata.len() })
}

/// The whole file, if it is a regular one of bounded size.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, IssuerFault> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path).await.map_err(IssuerFault::File)?.is_file() {
        return Err(IssuerFault::NotAFile);
    }
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let mut body = Vec::new();
    let file = File::open(path).await.map_err(IssuerFault::File)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut body).await.map_err(IssuerFault::File)?;
    if body.len() > MAX_BYTES { Err(IssuerFault::TooLarge) } else { Ok(body) }
}
