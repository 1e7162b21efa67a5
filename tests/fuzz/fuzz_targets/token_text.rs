//! Any text as a token, and any bytes as its header and payload: an answer, never a panic, and without a key never a yes.
#![no_main]

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use stint::token::{
    ClaimPath, IssuerName, IssuerRules, KeyError, KeyId, KeySource, Profile, Unverified, VerificationKey, Verifier,
};
use time::OffsetDateTime;

#[derive(Debug)]
struct NoKeys;

#[async_trait]
impl KeySource for NoKeys {
    async fn key(&self, _issuer: &IssuerName, _kid: Option<&KeyId>) -> Result<VerificationKey, KeyError> {
        Err(KeyError::Unknown)
    }
}

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let rules = IssuerRules {
        name: IssuerName::parse("a").unwrap(),
        issuer: "https://a/".to_owned(),
        audiences: vec!["stint".to_owned()],
        profile: Profile::Authentik,
        groups_claim: ClaimPath::parse("groups").unwrap(),
        not_before: None,
        max_token_lifetime: Duration::from_secs(86_400),
        clients: Vec::new(),
    };
    Verifier::new(vec![rules], Arc::new(NoKeys))
});

fn refused(token: &str) {
    let refusal = block_on(VERIFIER.verify(&Unverified::new(token), OffsetDateTime::UNIX_EPOCH)).unwrap_err();
    assert!(refusal.signed.is_none());
}

fuzz_target!(|data: (&[u8], &[u8])| {
    let (header, payload) = data;
    refused(&String::from_utf8_lossy(header));
    refused(&format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload)));
});
