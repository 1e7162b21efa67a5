//! What can go wrong with the journal, in words for the operator who has to mend it.

use std::io;
use std::path::{Path, PathBuf};

use crate::audit::StoreError;

/// The journal cannot be used, or not for this.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The system refused something about a file.
    #[error("the break-glass journal: {}: {words}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        words: String,
    },
    /// Others could put words into it, or take them out.
    #[error("{}: others than its owner can write it, or somebody else owns it: chown it to the service's user and chmod 700", path.display())]
    Exposed {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("{} is in use: another stint has it open, and two cannot write one journal", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// It is not what was written: nothing of it is believed, nothing of it is merged.
    #[error(
        "the break-glass journal does not verify: {finding}. It is kept as it is. Copy {} for the inquiry, move it away and \
         restart: an empty one is made, under another instance id, and requests that name the old one are refused",
        path.display()
    )]
    Unverified {
        /// The directory.
        path: PathBuf,
        /// What was found, and where.
        finding: String,
    },
    /// There is no room, and none can be made.
    #[error("the break-glass journal has no room left, and the disk gave it no more ({words})")]
    Full {
        /// The system's answer.
        words: String,
    },
    /// An event that can never be taken.
    #[error("the break-glass journal cannot take this: {0}")]
    Unfit(String),
    /// Numbers that the stream has already, or that leave a gap.
    #[error("the batch does not go on where its stream stands in the break-glass journal")]
    OutOfOrder,
    /// The work was given up.
    #[error("the work on the break-glass journal was given up")]
    GivenUp,
    /// The store it is to be merged into failed, or refused.
    #[error("the break-glass journal waits to be merged: {0}")]
    Unmerged(String),
}

impl JournalError {
    /// Says what the system answered about this path.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, words: error.to_string() }
    }
}

impl From<JournalError> for StoreError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Unfit(_) => Self::Rejected(Box::new(error)),
            JournalError::Io { .. }
            | JournalError::Exposed { .. }
            | JournalError::Locked { .. }
            | JournalError::Unverified { .. }
            | JournalError::Full { .. }
            | JournalError::OutOfOrder
            | JournalError::GivenUp
            | JournalError::Unmerged(_) => Self::Unavailable(Box::new(error)),
        }
    }
}
