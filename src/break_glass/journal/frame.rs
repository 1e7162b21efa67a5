//! One frame: what one append put on disk. A head line that says how long it is, what it hashes to and which frame stands
//! before it, then one JSON object with the records as they were sealed, their seal, and the texts that they name by hash.
//! A frame that is not whole is told from one that was changed by its place: only the last can be torn by a crash.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::{Batch, Digest, PolicySetText, Seal, SessionPolicyText, Signature, StreamId, VerifyingKey, instant};

/// What a head line begins with.
const NAME: &str = "stint journal 1 ";
/// How long a head line is, its end included.
pub(super) const HEAD_LINE: usize = 178;

/// What one append is about.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The records and their seal.
    pub(super) batch: Batch,
    /// The key that seals the stream.
    pub(super) key: VerifyingKey,
    /// Policy sets that the records name by hash.
    pub(super) policy_sets: Vec<PolicySetText>,
}

/// Which frame comes next, and what it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its number in the whole journal, from 0.
    pub(super) number: u64,
    /// The hash of the frame before; [`Digest::ZERO`] for the first.
    pub(super) previous: Digest,
}

impl Place {
    /// Where a journal begins.
    pub(super) const START: Self = Self { number: 0, previous: Digest::ZERO };

    /// Where it goes on after the frame of this hash.
    pub(super) fn after(self, hash: Digest) -> Self {
        Self { number: self.number.saturating_add(1), previous: hash }
    }
}

/// A frame that was read, how long it is and what the next one follows.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) frame: Frame,
    pub(super) length: usize,
    pub(super) hash: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    key: String,
    policy_sets: Vec<PolicySetLine>,
    records: Vec<Box<RawValue>>,
    seal: SealLine,
    session_policies: Vec<SessionPolicyLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicySetLine {
    files: String,
    hash: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionPolicyLine {
    sha256: String,
    text: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealLine {
    first_seq: u64,
    key_id: String,
    last_seq: u64,
    leaves: Vec<String>,
    number: u64,
    previous: String,
    root: String,
    #[serde(with = "instant")]
    sealed_at: OffsetDateTime,
    signature: String,
    stream: Uuid,
}

impl Frame {
    /// The bytes of the frame at this place, and its hash. None where a record is no JSON.
    pub(super) fn write(&self, place: Place) -> Option<(Vec<u8>, Digest)> {
        let body = serde_json::to_vec(&self.body()?).ok()?;
        let (length, digest) = (body.len(), Digest::of(&body));
        let Place { number, previous } = place;
        let mut bytes = format!("{NAME}{number:020} {length:010} {previous} {digest}\n").into_bytes();
        let hash = Digest::of(&bytes);
        bytes.extend_from_slice(&body);
        bytes.push(b'\n');
        Some((bytes, hash))
    }

    /// Reads the frame that these bytes begin with. None: there is none whole that belongs at this place.
    pub(super) fn read(bytes: &[u8], place: Place) -> Option<Whole> {
        let head = bytes.get(..HEAD_LINE)?;
        let text = std::str::from_utf8(head).ok()?;
        let mut parts = text.strip_prefix(NAME)?.strip_suffix('\n')?.split(' ');
        let number = parts.next()?.parse().ok()?;
        let length: usize = parts.next()?.parse().ok()?;
        let read = Place { number, previous: Digest::parse(parts.next()?)? };
        let digest = Digest::parse(parts.next()?)?;
        let end = HEAD_LINE.checked_add(length)?;
        let body = bytes.get(HEAD_LINE..end)?;
        let whole = read == place && bytes.get(end) == Some(&b'\n') && Digest::of(body) == digest;
        let frame = whole.then(|| Self::of(serde_json::from_slice(body).ok()?)).flatten()?;
        // One spelling: what reads the same and is written otherwise is not what was written.
        let (written, hash) = frame.write(place)?;
        let length = end.checked_add(1)?;
        (bytes.get(..length) == Some(written.as_slice())).then_some(Whole { frame, length, hash })
    }

    fn body(&self) -> Option<Body> {
        let Self { batch: Batch { records, seal, session_policies }, key, policy_sets } = self;
        let sets = policy_sets.iter();
        let policies = session_policies.iter();
        Some(Body {
            key: key.to_pem(),
            policy_sets: sets
                .map(|PolicySetText { hash, files }| PolicySetLine { files: files.clone(), hash: hash.clone() })
                .collect(),
            records: records.iter().map(|record| RawValue::from_string(record.clone()).ok()).collect::<Option<_>>()?,
            seal: SealLine::from(seal),
            session_policies: policies
                .map(|SessionPolicyText { sha256, text }| SessionPolicyLine {
                    sha256: sha256.clone(),
                    text: text.clone(),
                })
                .collect(),
        })
    }

    fn of(body: Body) -> Option<Self> {
        let Body { key, policy_sets, records, seal, session_policies } = body;
        let batch = Batch {
            records: records.iter().map(|record| record.get().to_owned()).collect(),
            seal: seal.into_seal()?,
            session_policies: session_policies
                .into_iter()
                .map(|SessionPolicyLine { sha256, text }| SessionPolicyText { sha256, text })
                .collect(),
        };
        let sets = policy_sets.into_iter();
        Some(Self {
            batch,
            key: VerifyingKey::from_pem(key.as_bytes()).ok()?,
            policy_sets: sets.map(|PolicySetLine { files, hash }| PolicySetText { hash, files }).collect(),
        })
    }
}

impl From<&Seal> for SealLine {
    fn from(seal: &Seal) -> Self {
        let Seal { stream, number, first_seq, last_seq, leaves, root, previous, sealed_at, key_id, signature } = seal;
        Self {
            first_seq: *first_seq,
            key_id: key_id.to_hex(),
            last_seq: *last_seq,
            leaves: leaves.iter().map(|leaf| leaf.to_hex()).collect(),
            number: *number,
            previous: previous.to_hex(),
            root: root.to_hex(),
            sealed_at: *sealed_at,
            signature: signature.to_hex(),
            stream: stream.0,
        }
    }
}

impl SealLine {
    fn into_seal(self) -> Option<Seal> {
        let Self { first_seq, key_id, last_seq, leaves, number, previous, root, sealed_at, signature, stream } = self;
        Some(Seal {
            stream: StreamId(stream),
            number,
            first_seq,
            last_seq,
            leaves: leaves.iter().map(|leaf| Digest::parse(leaf)).collect::<Option<_>>()?,
            root: Digest::parse(&root)?,
            previous: Digest::parse(&previous)?,
            sealed_at,
            key_id: Digest::parse(&key_id)?,
            signature: Signature::from_bytes(&hex::decode(&signature).ok()?)?,
        })
    }
}
