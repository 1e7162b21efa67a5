//! Any bytes as a policy document: no panic, no hang, and what is accepted reads back as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stint::policy::Document;

fuzz_target!(|json: &[u8]| {
    if let Ok(document) = Document::parse(json) {
        let text = document.to_json().to_string();
        assert_eq!(Document::parse(text.as_bytes()), Ok(document));
    }
});
