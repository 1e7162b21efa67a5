//! A seal as one line of `seals.jsonl`: the signed statement as it was signed, the leaves and the signature beside it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::{Digest, Seal, Signature, StreamId, instant};

const VERSION: &str = "stint seal 1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    leaves: Vec<String>,
    signature: String,
    statement: Statement,
}

/// Members in the order of RFC 8785: written out again it is what was signed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    first_seq: u64,
    key_id: String,
    last_seq: u64,
    number: u64,
    previous: String,
    root: String,
    #[serde(with = "instant")]
    sealed_at: OffsetDateTime,
    stream: Uuid,
    version: String,
}

/// Writes and reads the lines.
#[derive(Debug, Clone, Copy)]
pub struct SealLine;

impl SealLine {
    /// The line, without its end.
    #[must_use]
    pub fn write(seal: &Seal) -> Vec<u8> {
        let statement = Statement {
            first_seq: seal.first_seq,
            key_id: seal.key_id.to_hex(),
            last_seq: seal.last_seq,
            number: seal.number,
            previous: seal.previous.to_hex(),
            root: seal.root.to_hex(),
            sealed_at: seal.sealed_at,
            stream: seal.stream.0,
            version: VERSION.to_owned(),
        };
        let leaves = seal.leaves.iter().map(|leaf| leaf.to_hex()).collect();
        let line = Line { leaves, signature: seal.signature.to_hex(), statement };
        serde_json::to_vec(&line).unwrap_or_default()
    }

    /// Reads a line in the one spelling that it is written in.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Seal> {
        let Line { leaves, signature, statement } = serde_json::from_slice(line).ok()?;
        let seal = Seal {
            stream: StreamId(statement.stream),
            number: statement.number,
            first_seq: statement.first_seq,
            last_seq: statement.last_seq,
            leaves: leaves.iter().map(|leaf| Digest::parse(leaf)).collect::<Option<_>>()?,
            root: Digest::parse(&statement.root)?,
            previous: Digest::parse(&statement.previous)?,
            sealed_at: statement.sealed_at,
            key_id: Digest::parse(&statement.key_id)?,
            signature: Signature::from_bytes(&hex::decode(&signature).ok()?)?,
        };
        (Self::write(&seal) == line).then_some(seal)
    }
}
