//! Any bytes as a checkpoint: refused, or read in the one spelling that is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stint::audit::Checkpoint;

fuzz_target!(|document: &[u8]| {
    let Ok(checkpoint) = Checkpoint::parse(document) else { return };
    let written = checkpoint.to_json();
    assert_eq!(Checkpoint::parse(written.as_bytes()).as_ref(), Ok(&checkpoint));
});
