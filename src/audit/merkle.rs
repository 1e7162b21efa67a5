//! The Merkle tree hash of a batch (RFC 6962 section 2.1): leaves and inner nodes are hashed under different prefixes, so
//! that an inner node can never be passed off as an event.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

const LEAF: &[u8] = &[0];
const NODE: &[u8] = &[1];

/// A SHA-256 value: 32 bytes, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// What stands where there is nothing before: the `previous` of a stream's first seal.
    pub const ZERO: Self = Self([0; 32]);

    /// The SHA-256 of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        hash(&[bytes])
    }

    /// The SHA-256 of these bytes, one after the other.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        hash(parts)
    }

    /// The hash of a leaf: `SHA-256(0x00 || canonical event)`.
    #[must_use]
    pub fn of_leaf(canonical: &[u8]) -> Self {
        hash(&[LEAF, canonical])
    }

    /// Reads exactly 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads 64 lower-case hex digits, nothing else: two spellings of one digest would be two heads of one stream.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let bytes = lower.then(|| hex::decode(text).ok()).flatten()?;
        Self::from_bytes(&bytes)
    }

    /// 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// The Merkle tree hash of these leaf hashes; of none, the hash of the empty string.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => *leaf,
        leaves => {
            // The largest power of two smaller than the number of leaves.
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            hash(&[NODE, root(left).as_bytes(), root(right).as_bytes()])
        }
    }
}

fn hash(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    Digest::from_bytes(context.finish().as_ref()).unwrap_or(Digest::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves of RFC 6962's reference test vectors (certificate-transparency's `merkle_tree_test`).
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn the_roots_are_those_of_the_reference_vectors() {
        let leaves: Vec<Digest> = LEAVES.iter().map(|leaf| Digest::of_leaf(&hex::decode(leaf).unwrap())).collect();
        for (count, expected) in (1..).zip(ROOTS) {
            assert_eq!(root(&leaves[..count]).to_hex(), expected, "{count} leaves");
        }
        assert_eq!(root(&[]).to_hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Digest::of(b"x");
        assert_eq!(Digest::parse(&digest.to_hex()), Some(digest));
        assert_eq!(Digest::parse(&digest.to_hex().to_uppercase()), None);
        assert_eq!(Digest::parse(&digest.to_hex()[1..]), None);
        assert_eq!(Digest::parse(&format!("{} ", &digest.to_hex()[1..])), None);
    }
}
