//! Any bytes as a file of custodians: refused, or read in the one spelling that is written, and never shown raw.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stint::break_glass::ceremony::{Document, Envelope};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = Document::parse(bytes) {
        assert_eq!(document.canonical(), bytes);
        shown(&document);
    }
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    assert_eq!(Envelope::parse(envelope.to_json().as_bytes()).as_ref(), Ok(&envelope));
    shown(envelope.document());
});

fn shown(document: &Document) {
    assert!(document.shown().chars().all(|c| c == '\n' || !c.is_control()));
}
