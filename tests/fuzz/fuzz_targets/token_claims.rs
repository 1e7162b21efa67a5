//! Any payload under a good signature, as a mapping gone wrong at the provider would make it: an answer, and whatever
//! is accepted is alive, for us, and bounded.
#![no_main]

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use stint::token::{
    ClaimPath, IssuerName, IssuerRules, KeyError, KeyId, KeySet, KeySource, Profile, Unverified, VerificationKey,
    Verifier,
};
use time::OffsetDateTime;

const NOW: i64 = 1_795_300_000;

#[derive(Debug)]
struct OneSet(KeySet);

#[async_trait]
impl KeySource for OneSet {
    async fn key(&self, _issuer: &IssuerName, kid: Option<&KeyId>) -> Result<VerificationKey, KeyError> {
        self.0.find(kid)
    }
}

static KEY: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

/// One block per profile, told apart by `iss`.
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let n = URL_SAFE_NO_PAD.encode(KEY.public_key().modulus().big_endian_without_leading_zero());
    let set = KeySet::parse(format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"AQAB"}}]}}"#).as_bytes()).unwrap();
    let rules = Profile::ALL.map(|profile| IssuerRules {
        name: IssuerName::parse(profile.as_str()).unwrap(),
        issuer: profile.as_str().to_owned(),
        audiences: vec!["stint".to_owned()],
        profile,
        groups_claim: ClaimPath::parse("groups").unwrap(),
        not_before: None,
        max_token_lifetime: Duration::from_secs(86_400),
        clients: Vec::new(),
    });
    Verifier::new(rules.to_vec(), Arc::new(OneSet(set)))
});

fuzz_target!(|payload: &[u8]| {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"at+jwt"}"#);
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
    let mut signature = vec![0; 256];
    KEY.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
    let token = Unverified::new(&format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)));
    let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
    let Ok(token) = block_on(VERIFIER.verify(&token, now)) else { return };
    assert!(token.expires_at().unix_timestamp() > NOW - 30 && token.expires_at().unix_timestamp() <= NOW + 86_430);
    assert!(token.audience() == "stint" && token.groups().len() <= 1000);
    assert!(token.groups().iter().all(|group| (1..=256).contains(&group.as_str().len())));
    assert!(!["cnf", "act", "may_act", "events"].iter().any(|claim| token.claims().contains_key(*claim)));
});
