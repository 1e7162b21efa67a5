//! The policy directory as text: read once, bounded, and every fault named with its file and position.

use std::collections::BTreeMap;
use std::path::Path;

use super::Problem;

/// The files of a policy directory: relative path (`/`-separated) → content.
#[derive(Debug, Clone, Default)]
pub struct PolicyFiles(pub BTreeMap<String, Vec<u8>>);

impl PolicyFiles {
    /// Reads the directory.
    pub fn read(_directory: &Path) -> Result<Self, Vec<Problem>> {
        todo!()
    }
}
