//! Any bytes as a line or the manifest of a bundle: refused, or read in the one spelling that is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stint::audit::AuditRow;
use stint::evidence::{Manifest, SealLine};

fuzz_target!(|line: &[u8]| {
    if let Some(seal) = SealLine::parse(line) {
        assert_eq!(SealLine::write(&seal), line);
        let _ = seal.hash();
    }
    if let Ok(manifest) = Manifest::parse(line) {
        assert!(manifest.files.keys().all(|name| !name.contains("..") && !name.starts_with('/')));
    }
    if let Ok(row) = serde_json::from_slice::<AuditRow>(line) {
        let canonical = row.canonical();
        let again: AuditRow = serde_json::from_slice(&canonical).expect("what is written is read");
        assert_eq!(again.canonical(), canonical);
    }
});
