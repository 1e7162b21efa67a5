//! Any bytes as a JWKS document: an answer, bounded, and never a key that two entries could both be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stint::token::{KeyId, KeySet};

fuzz_target!(|document: &[u8]| {
    let Ok(set) = KeySet::parse(document) else { return };
    assert!(set.len() + set.faults().len() <= KeySet::MAX_KEYS);
    assert_eq!(set.find(None).is_ok(), set.len() == 1);
    if set.is_empty() {
        assert!(set.find(KeyId::parse("a").as_ref()).is_err());
    }
});
