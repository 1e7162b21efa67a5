//! The policy directory as text: read once, bounded, and every fault named with its file and position.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The files of a policy directory: relative path (`/`-separated) → content.
#[derive(Debug, Clone, Default)]
pub struct PolicyFiles(pub BTreeMap<String, Vec<u8>>);

impl PolicyFiles {
    /// Reads the directory.
    pub fn read(_directory: &Path) -> Result<Self, Vec<Problem>> {
        todo!()
    }
}

/// One fault of the policy directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Relative path of the file.
    pub file: String,
    /// One-based line and column, where known.
    pub position: Option<(usize, usize)>,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}
