//! A role's document and a caller's session policy, divided by a zero byte: what is narrowed allows nothing that one of
//! the two does not, and is a document itself.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use stint::policy::{AccessCheck, Document, Verdict, evaluate};

const ACTIONS: [&str; 5] = ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:PutBucketPolicy", "admin:CreateUser"];
const RESOURCES: [&str; 4] = ["arn:aws:s3:::b", "arn:aws:s3:::b/a", "arn:aws:s3:::b/a/c", "arn:aws:s3:::c/a"];

fuzz_target!(|data: &[u8]| {
    let Some(at) = data.iter().position(|&byte| byte == 0) else { return };
    let (role, wanted) = (&data[..at], &data[at + 1..]);
    let (Ok(role), Ok(text)) = (Document::parse(role), std::str::from_utf8(wanted)) else { return };
    let Ok(narrowed) = role.narrowed_by(text) else { return };
    let wanted = Document::parse(wanted).expect("narrowing parsed it");
    assert_eq!(Document::parse(narrowed.to_json().to_string().as_bytes()).as_ref(), Ok(&narrowed));
    for prefix in [None, Some(""), Some("a/")] {
        let context: BTreeMap<_, _> =
            prefix.map(|prefix| ("s3:prefix".to_owned(), vec![prefix.to_owned()])).into_iter().collect();
        for (action, resource) in ACTIONS.iter().flat_map(|&action| RESOURCES.map(|resource| (action, resource))) {
            let check = AccessCheck { action, resource, context: &context };
            if evaluate(&narrowed, &check) == Verdict::Allowed {
                assert_eq!(evaluate(&role, &check), Verdict::Allowed);
                assert_eq!(evaluate(&wanted, &check), Verdict::Allowed);
            }
        }
    }
});
