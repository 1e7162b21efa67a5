//! The manifest: what a bundle holds, file by file and stream by stream. Signed beside it where a signing key is
//! configured, for it is all that binds the tables, the policy texts and the end of every stream together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::audit::instant;

/// What the document says it is: also keeps its signature from passing for that of a seal.
pub(super) const VERSION: &str = "stint evidence 1";
pub(super) const NAME: &str = "manifest.json";
pub(super) const SIGNATURE: &str = "manifest.sig";
/// Some hundred bytes for each stream.
const LARGEST: usize = 64 * 1024 * 1024;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Every file but this one, its signature and the README.
    pub files: BTreeMap<String, FileFacts>,
    /// When the export began, by the clock of who made it.
    #[serde(with = "instant")]
    pub made_at: OffsetDateTime,
    /// Only a part of the log: streams may begin and end outside, and others may be missing.
    pub partial: bool,
    /// Last heads of streams whose rows were detached before.
    pub retired: Vec<String>,
    /// What was asked for, in words.
    pub selection: String,
    /// The last seal of each stream in the bundle: `stream:number:last_seq:hash`.
    pub streams: Vec<String>,
    /// Of this document's form.
    pub version: String,
}

/// What a file was when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    /// Its length.
    pub bytes: u64,
    /// How many records, seals or texts it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Hex.
    pub sha256: String,
}

impl Manifest {
    /// Reads the document; says what is wrong with it.
    pub fn parse(document: &[u8]) -> Result<Self, &'static str> {
        if document.len() > LARGEST {
            return Err("is too large");
        }
        let manifest: Self = serde_json::from_slice(document).map_err(|_| "is not a manifest")?;
        if manifest.version != VERSION {
            return Err("is of a version that this program does not know");
        }
        // A name that leads elsewhere would have this program read, and speak of, whatever file it names.
        let plain = |name: &str| {
            let name = name.strip_prefix("keys/").unwrap_or(name);
            !name.is_empty()
                && !name.starts_with('.')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if manifest.files.keys().all(|name| plain(name)) {
            Ok(manifest)
        } else {
            Err("names a file outside the bundle")
        }
    }
}
