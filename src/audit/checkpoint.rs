//! A checkpoint: where every stream stood at one instant, signed. Whoever keeps one outside the database can later prove
//! that history only grew. Heads that some `stream.opened` has named since are left out: the stream that named them
//! vouches for them, so a checkpoint stays as small as the number of streams that nobody has followed yet.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::instant;
use super::key::{KeyId, Signature, SigningKey, VerifyingKey};
use super::merkle::Digest;
use super::stream::StreamHead;

/// What the statement says it is, so that its signature can never pass for that of a seal.
const VERSION: &str = "stint checkpoint 1";
/// Bounds the document: each head is some 150 bytes.
const LARGEST: usize = 4 * 1024 * 1024;

/// The heads of the log at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    heads: Vec<StreamHead>,
    key_id: KeyId,
    taken_at: OffsetDateTime,
    signature: Signature,
}

/// A document that is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Longer than any checkpoint.
    #[error("is larger than {LARGEST} bytes: no checkpoint is")]
    TooLarge,
    /// Not JSON, an unknown or missing member, or a value in another spelling.
    #[error("is not a checkpoint as `stint audit head --json` writes it")]
    Malformed,
    /// Of another kind, or of a later version.
    #[error("is not of the version \"{VERSION}\"")]
    Version,
}

/// The signed text: members in the order of RFC 8785.
#[derive(Serialize)]
struct Statement<'a> {
    heads: &'a [String],
    key_id: String,
    #[serde(with = "instant")]
    taken_at: OffsetDateTime,
    version: &'static str,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    heads: Vec<String>,
    key_id: String,
    signature: String,
    #[serde(with = "instant")]
    taken_at: OffsetDateTime,
    version: String,
}

impl Checkpoint {
    /// Signs these heads.
    #[must_use]
    pub fn take(mut heads: Vec<StreamHead>, taken_at: OffsetDateTime, key: &SigningKey) -> Self {
        heads.sort_unstable();
        heads.dedup();
        let taken_at = instant::whole_microseconds(taken_at);
        let key_id = key.public().id();
        let signature = key.sign(&statement(&heads, key_id, taken_at));
        Self { heads, key_id, taken_at, signature }
    }

    /// Reads the document. Strict: a value in two spellings would be two documents under one signature.
    pub fn parse(document: &[u8]) -> Result<Self, CheckpointError> {
        if document.len() > LARGEST {
            return Err(CheckpointError::TooLarge);
        }
        let read: Document = serde_json::from_slice(document).map_err(|_| CheckpointError::Malformed)?;
        if read.version != VERSION {
            return Err(CheckpointError::Version);
        }
        let heads: Result<Vec<StreamHead>, _> = read.heads.iter().map(|head| head.parse()).collect();
        let heads = heads.map_err(|_| CheckpointError::Malformed)?;
        let one_order = heads.is_sorted_by(|before, after| before.stream < after.stream);
        let signature = (read.signature.len() == 128).then(|| hex::decode(&read.signature).ok()).flatten();
        let signature = signature.and_then(|bytes| Signature::from_bytes(&bytes));
        match (one_order, Digest::parse(&read.key_id), signature) {
            (true, Some(key_id), Some(signature)) => {
                Ok(Self { heads, key_id, taken_at: instant::whole_microseconds(read.taken_at), signature })
            }
            _ => Err(CheckpointError::Malformed),
        }
    }

    /// The document, one line of canonical JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let document = Document {
            heads: self.heads.iter().map(StreamHead::to_string).collect(),
            key_id: self.key_id.to_hex(),
            signature: self.signature.to_hex(),
            taken_at: self.taken_at,
            version: VERSION.to_owned(),
        };
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// The bytes that are signed: the document without its signature.
    #[must_use]
    pub fn statement(&self) -> Vec<u8> {
        statement(&self.heads, self.key_id, self.taken_at)
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.id() == self.key_id && key.verifies(&self.statement(), &self.signature)
    }

    /// The heads, by stream: at most one of each.
    #[must_use]
    pub fn heads(&self) -> &[StreamHead] {
        &self.heads
    }

    /// The key that signed.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// When it was taken, by the clock of who took it.
    #[must_use]
    pub fn taken_at(&self) -> OffsetDateTime {
        self.taken_at
    }
}

fn statement(heads: &[StreamHead], key_id: KeyId, taken_at: OffsetDateTime) -> Vec<u8> {
    let heads: Vec<String> = heads.iter().map(StreamHead::to_string).collect();
    let statement = Statement { heads: &heads, key_id: key_id.to_hex(), taken_at, version: VERSION };
    serde_json::to_vec(&statement).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::audit::StreamId;

    fn checkpoint(key: &SigningKey) -> Checkpoint {
        let head = |id: u128| StreamHead {
            stream: StreamId(Uuid::from_u128(id)),
            number: 1,
            last_seq: 4,
            hash: Digest::of(b"x"),
        };
        Checkpoint::take(vec![head(2), head(1)], datetime!(2026-11-22 03:00:00.5 UTC), key)
    }

    #[test]
    fn a_checkpoint_survives_its_document_and_is_signed_by_its_key_alone() {
        let key = SigningKey::generate().unwrap();
        let taken = checkpoint(&key);
        let read = Checkpoint::parse(taken.to_json().as_bytes()).unwrap();
        assert_eq!(read, taken);
        assert!(read.is_signed_by(key.public()));
        assert!(!read.is_signed_by(SigningKey::generate().unwrap().public()));
    }

    #[test]
    fn every_member_of_the_document_is_signed_or_refused() {
        let key = SigningKey::generate().unwrap();
        let document = checkpoint(&key).to_json();
        let changes = [
            ("03:00:00.500000", "03:00:00.500001"),
            (":1:4:", ":1:5:"),
            ("checkpoint 1", "checkpoint 2"),
            ("\"version\"", "\"more\":1,\"version\""),
            (&key.public().id().to_hex(), &Digest::of(b"other").to_hex()),
        ];
        for (from, to) in changes {
            assert!(document.contains(from), "{from}");
            let read = Checkpoint::parse(document.replacen(from, to, 1).as_bytes());
            assert!(!read.is_ok_and(|read| read.is_signed_by(key.public())), "{to}");
        }
    }

    #[test]
    fn a_stream_named_twice_or_out_of_order_is_refused() {
        let key = SigningKey::generate().unwrap();
        let taken = checkpoint(&key);
        for heads in [[taken.heads[1], taken.heads[0]], [taken.heads[0], taken.heads[0]]] {
            let document = Checkpoint { heads: heads.to_vec(), ..taken.clone() }.to_json();
            assert_eq!(Checkpoint::parse(document.as_bytes()), Err(CheckpointError::Malformed));
        }
        assert_eq!(Checkpoint::parse(&vec![b' '; LARGEST + 1]), Err(CheckpointError::TooLarge));
    }
}
