//! Any bytes as a token exchange: never a panic, and never a second value for what names or narrows something.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stint::audit::{Door, Origin};
use stint::http::read_token_exchange;

fuzz_target!(|body: &[u8]| {
    let origin = Origin { door: Door::TokenExchange, address: None, request_id: uuid::Uuid::nil() };
    if read_token_exchange(body, origin).is_some() {
        let times = |name: &str| form_urlencoded::parse(body).filter(|(given, _)| given == name).count();
        assert_eq!(times("subject_token"), 1);
        for name in ["audience", "resource", "session_policy", "duration_seconds"] {
            assert!(times(name) <= 1);
        }
    }
});
