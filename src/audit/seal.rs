//! The seal of one commit: what its events hash to, chained to the seal before, signed. Whoever holds the public key can
//! tell any edit, deletion, reorder, insertion or cut of the events that a seal speaks of.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::instant;
use super::key::{KeyId, Signature, SigningKey, VerifyingKey};
use super::merkle::{self, Digest};
use super::stream::{StreamHead, StreamId};

/// What the statement begins to say, so that its signature can never pass for one made for another purpose.
const VERSION: &str = "stint seal 1";

/// One seal, as it stands in `audit_seal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The stream.
    pub stream: StreamId,
    /// Its place in the stream's chain, from 0, without gaps.
    pub number: u64,
    /// The first event it covers.
    pub first_seq: u64,
    /// The last event it covers.
    pub last_seq: u64,
    /// The leaf hash of every event it covers, in order. Signed through `root`; kept so that a changed row can be named.
    pub leaves: Vec<Digest>,
    /// The Merkle root of `leaves`.
    pub root: Digest,
    /// The hash of the seal before; [`Digest::ZERO`] for the first.
    pub previous: Digest,
    /// When it was made, by the service's clock, whole microseconds.
    pub sealed_at: OffsetDateTime,
    /// The key that signed.
    pub key_id: KeyId,
    /// Over [`Seal::statement`].
    pub signature: Signature,
}

/// The signed text: members in the order of RFC 8785, so that serializing it makes its canonical form.
#[derive(Serialize)]
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
    version: &'static str,
}

impl Seal {
    /// Seals these leaves as the next of a stream. `leaves` must not be empty.
    #[must_use]
    pub fn make(chain: &Chain, leaves: Vec<Digest>, sealed_at: OffsetDateTime, key: &SigningKey) -> Self {
        let count = u64::try_from(leaves.len()).unwrap_or(u64::MAX);
        let mut seal = Self {
            stream: chain.stream,
            number: chain.next_number,
            first_seq: chain.next_seq,
            last_seq: chain.next_seq.saturating_add(count.saturating_sub(1)),
            root: merkle::root(&leaves),
            leaves,
            previous: chain.previous,
            sealed_at: instant::whole_microseconds(sealed_at),
            key_id: key.public().id(),
            signature: Signature::from_bytes(&[0; 64]).unwrap_or_else(|| key.sign(b"")),
        };
        seal.signature = key.sign(&seal.statement());
        seal
    }

    /// The bytes that are signed: canonical JSON (RFC 8785) of everything but leaves and signature.
    #[must_use]
    pub fn statement(&self) -> Vec<u8> {
        let statement = Statement {
            first_seq: self.first_seq,
            key_id: self.key_id.to_hex(),
            last_seq: self.last_seq,
            number: self.number,
            previous: self.previous.to_hex(),
            root: self.root.to_hex(),
            sealed_at: self.sealed_at,
            stream: self.stream.0,
            version: VERSION,
        };
        serde_json::to_vec(&statement).unwrap_or_default()
    }

    /// What the next seal chains to: SHA-256 of the statement and, right behind it, the 64 bytes of the signature. So the
    /// signature of one seal vouches for every bit of all seals before it.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash_of(&self.statement())
    }

    /// The same, from a statement at hand.
    pub(super) fn hash_of(&self, statement: &[u8]) -> Digest {
        Digest::of_parts(&[statement, self.signature.as_bytes()])
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.id() == self.key_id && key.verifies(&self.statement(), &self.signature)
    }

    /// The head of a stream that ends with this seal.
    #[must_use]
    pub fn head(&self) -> StreamHead {
        StreamHead { stream: self.stream, number: self.number, last_seq: self.last_seq, hash: self.hash() }
    }
}

/// Where a stream goes on: what the next seal must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// The stream.
    pub stream: StreamId,
    /// The next seal's number.
    pub next_number: u64,
    /// The next event's number.
    pub next_seq: u64,
    /// The hash of the last seal.
    pub previous: Digest,
}

impl Chain {
    /// The beginning of a stream.
    #[must_use]
    pub fn start(stream: StreamId) -> Self {
        Self { stream, next_number: 0, next_seq: 0, previous: Digest::ZERO }
    }

    /// Where the stream stands after this seal.
    #[must_use]
    pub fn after(seal: &Seal) -> Self {
        Self {
            stream: seal.stream,
            next_number: seal.number.saturating_add(1),
            next_seq: seal.last_seq.saturating_add(1),
            previous: seal.hash(),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn seal(key: &SigningKey) -> Seal {
        let stream = StreamId(Uuid::from_u128(7));
        let leaves = vec![Digest::of_leaf(b"a"), Digest::of_leaf(b"b")];
        Seal::make(&Chain::start(stream), leaves, datetime!(2026-11-22 03:00:00.123456789 UTC), key)
    }

    #[test]
    fn a_seal_is_signed_by_its_key_and_no_other() {
        let key = SigningKey::generate().unwrap();
        let seal = seal(&key);
        assert!(seal.is_signed_by(key.public()));
        assert!(!seal.is_signed_by(SigningKey::generate().unwrap().public()));
    }

    #[test]
    fn every_member_of_the_statement_is_signed() {
        let key = SigningKey::generate().unwrap();
        let whole = seal(&key);
        let other = Digest::of(b"other");
        let changed = [
            Seal { stream: StreamId(Uuid::nil()), ..whole.clone() },
            Seal { number: 1, ..whole.clone() },
            Seal { first_seq: 1, ..whole.clone() },
            Seal { last_seq: 2, ..whole.clone() },
            Seal { root: other, ..whole.clone() },
            Seal { previous: other, ..whole.clone() },
            Seal { sealed_at: datetime!(2026-11-22 03:00:00.123457 UTC), ..whole.clone() },
        ];
        for changed in changed {
            assert!(!changed.is_signed_by(key.public()), "{changed:?}");
            assert_ne!(changed.hash(), whole.hash());
        }
    }

    #[test]
    fn the_statement_is_canonical_json() {
        let statement = seal(&SigningKey::generate().unwrap()).statement();
        let value: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_slice(&statement).unwrap();
        assert_eq!(serde_json::to_vec(&value).unwrap(), statement);
        assert_eq!(value["sealed_at"], "2026-11-22T03:00:00.123456Z");
    }

    #[test]
    fn the_next_seal_goes_on_where_the_last_ended() {
        let key = SigningKey::generate().unwrap();
        let first = seal(&key);
        let next = Seal::make(&Chain::after(&first), vec![Digest::of_leaf(b"c")], first.sealed_at, &key);
        assert_eq!((next.number, next.first_seq, next.last_seq, next.previous), (1, 2, 2, first.hash()));
    }
}
