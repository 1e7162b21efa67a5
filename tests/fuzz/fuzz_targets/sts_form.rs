//! Any bytes as an AWS query request: never a panic, and never a second value for a parameter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stint::audit::{Door, Origin};
use stint::http::read_sts_parameters;

fuzz_target!(|input: (String, Vec<u8>)| {
    let (query, body) = input;
    let origin = Origin { door: Door::Sts, address: None, request_id: uuid::Uuid::nil() };
    if read_sts_parameters(&query, &body, origin).is_some() {
        let pairs = form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(&body));
        let tokens = pairs.filter(|(name, _)| name == "WebIdentityToken").count();
        assert_eq!(tokens, 1);
    }
});
