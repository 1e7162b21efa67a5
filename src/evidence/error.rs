//! What can go wrong with a bundle that is not a fault of the log.

use std::path::{Path, PathBuf};

/// A bundle cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// Something stands where the bundle should.
    #[error("{} is there already: name a directory that is not", .0.display())]
    Exists(PathBuf),
    /// A name that no directory can have.
    #[error("{} cannot be the name of a bundle: name a new directory", .0.display())]
    Unnameable(PathBuf),
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its answer.
        source: std::io::Error,
    },
    /// The table file could not be made.
    #[error("{}: {reason}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// The writer's words.
        reason: String,
    },
    /// No manifest, or one that no version of stint writes.
    #[error("{} {reason}: is this a bundle that `stint audit export` wrote?", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The reading of the log broke off: what was written so far is removed.
    #[error("the log was not read to its end")]
    BrokenOff,
}

impl EvidenceError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(super) fn table(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        let path = path.to_owned();
        move |error| Self::Table { path, reason: error.to_string() }
    }
}
