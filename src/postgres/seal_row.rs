//! A seal as one row of `audit_seal`.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::{Digest, Seal, Signature, StreamId};

/// One row, on its way in or out.
#[derive(Debug)]
pub(super) struct SealRow {
    pub(super) stream: Uuid,
    pub(super) number: i64,
    pub(super) first_seq: i64,
    pub(super) last_seq: i64,
    pub(super) leaves: Vec<u8>,
    pub(super) root: Vec<u8>,
    pub(super) previous: Vec<u8>,
    pub(super) sealed_at: OffsetDateTime,
    pub(super) key_id: String,
    pub(super) signature: Vec<u8>,
}

/// A row that no writer of ours makes.
#[derive(Debug)]
pub(super) struct Malformed;

impl From<&Seal> for SealRow {
    fn from(seal: &Seal) -> Self {
        let Seal { stream, number, first_seq, last_seq, leaves, root, previous, sealed_at, key_id, signature } = seal;
        Self {
            stream: stream.0,
            number: bigint(*number),
            first_seq: bigint(*first_seq),
            last_seq: bigint(*last_seq),
            leaves: leaves.iter().flat_map(|leaf| *leaf.as_bytes()).collect(),
            root: root.as_bytes().to_vec(),
            previous: previous.as_bytes().to_vec(),
            sealed_at: *sealed_at,
            key_id: key_id.to_hex(),
            signature: signature.as_bytes().to_vec(),
        }
    }
}

impl TryFrom<SealRow> for Seal {
    type Error = Malformed;

    fn try_from(row: SealRow) -> Result<Self, Malformed> {
        let SealRow { stream, number, first_seq, last_seq, leaves, root, previous, sealed_at, key_id, signature } = row;
        let leaves = leaves.chunks(32).map(Digest::from_bytes).collect::<Option<Vec<_>>>();
        Ok(Self {
            stream: StreamId(stream),
            number: unsigned(number)?,
            first_seq: unsigned(first_seq)?,
            last_seq: unsigned(last_seq)?,
            leaves: leaves.ok_or(Malformed)?,
            root: Digest::from_bytes(&root).ok_or(Malformed)?,
            previous: Digest::from_bytes(&previous).ok_or(Malformed)?,
            sealed_at,
            key_id: Digest::parse(&key_id).ok_or(Malformed)?,
            signature: Signature::from_bytes(&signature).ok_or(Malformed)?,
        })
    }
}

fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> Result<u64, Malformed> {
    u64::try_from(number).map_err(|_| Malformed)
}
