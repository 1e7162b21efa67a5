//! The token room from outside: the table of hostile tokens against the verifier, and what a good token comes to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stint::token::{
    ClaimPath, IssuerName, IssuerRules, KeyError, KeyId, KeySet, KeySource, Profile, TokenReason, TokenRefusal,
    Unverified, VerificationKey, VerifiedToken, Verifier,
};
use time::OffsetDateTime;

use crate::harness::hostile::{Fate, hostile};
use crate::harness::tokens::{Forge, Provider};

const NOW: i64 = 1_795_300_000;

/// Key sets in memory, and which blocks were asked.
#[derive(Debug, Default)]
struct Shelf {
    sets: HashMap<IssuerName, KeySet>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl KeySource for Shelf {
    async fn key(&self, issuer: &IssuerName, kid: Option<&KeyId>) -> Result<VerificationKey, KeyError> {
        self.asked.lock().unwrap().push(issuer.as_str().to_owned());
        self.sets.get(issuer).map_or(Err(KeyError::Unavailable), |set| set.find(kid))
    }
}

fn rules(provider: &Provider) -> IssuerRules {
    IssuerRules {
        name: IssuerName::parse(provider.name).unwrap(),
        issuer: provider.issuer.clone(),
        audiences: vec![provider.audience.to_owned()],
        profile: Profile::parse(provider.profile).unwrap(),
        groups_claim: ClaimPath::parse("groups").unwrap(),
        not_before: None,
        max_token_lifetime: Duration::from_hours(24),
        clients: Vec::new(),
    }
}

fn verifier_over(shelf: Arc<Shelf>) -> Verifier {
    Verifier::new(Forge::shared().providers().into_iter().map(rules).collect(), shelf)
}

fn shelf() -> Shelf {
    let set = |provider: &Provider| {
        (IssuerName::parse(provider.name).unwrap(), KeySet::parse(provider.jwks().as_bytes()).unwrap())
    };
    Shelf { sets: Forge::shared().providers().into_iter().map(set).collect(), asked: Mutex::default() }
}

async fn verify(verifier: &Verifier, token: &str) -> Result<VerifiedToken, TokenRefusal> {
    verifier.verify(&Unverified::new(token), OffsetDateTime::from_unix_timestamp(NOW).unwrap()).await
}

/// Whether the token names the group that its provider's role is for.
fn has_power(token: &VerifiedToken) -> bool {
    let provider = Forge::shared().providers().into_iter().find(|p| p.name == token.issuer().as_str()).unwrap();
    token.groups().iter().any(|group| group.as_str() == provider.group)
}

#[tokio::test]
async fn every_hostile_token_meets_its_fate_and_its_twin_passes() {
    let verifier = verifier_over(Arc::new(shelf()));
    let mut wrong = Vec::new();
    let cases = hostile(Forge::shared(), NOW);
    for case in &cases {
        let met = match verify(&verifier, &case.token).await {
            Ok(token) if has_power(&token) => "accepted",
            Ok(_) => "powerless",
            Err(refusal) => refusal.reason.code(),
        };
        let due = match case.fate {
            Fate::Refused(code) => code,
            Fate::Powerless => "powerless",
        };
        if met != due {
            wrong.push(format!("{} {}: {met}, not {due}", case.row, case.name));
        }
        if let Some(twin) = &case.twin {
            match verify(&verifier, twin).await {
                Ok(token) if has_power(&token) => (),
                Ok(_) => wrong.push(format!("{} {}: the twin is powerless", case.row, case.name)),
                Err(refusal) => wrong.push(format!("{} {}: the twin: {}", case.row, case.name, refusal.reason.code())),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn the_table_covers_every_row_that_one_token_can_express() {
    let cases = hostile(Forge::shared(), NOW);
    let rows = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 22, 23, 24, 26, 27];
    for row in rows.map(|row| format!("A{row}")) {
        let of_row = || cases.iter().filter(|case| case.row == row);
        assert!(of_row().count() > 0 && of_row().any(|case| case.twin.is_some()), "{row}");
    }
}

#[tokio::test]
async fn one_whole_valid_token_of_every_provider_is_accepted_and_says_who_it_is() {
    let verifier = verifier_over(Arc::new(shelf()));
    for provider in Forge::shared().providers() {
        let token = verify(&verifier, &provider.token(NOW)).await.unwrap();
        assert_eq!(token.issuer().as_str(), provider.name);
        assert_eq!(token.issuer_url(), provider.issuer);
        assert_eq!(token.audience(), provider.audience);
        assert_eq!(token.expires_at().unix_timestamp(), NOW + 600);
        assert_eq!(token.claims()["iss"], provider.issuer.as_str());
        assert!(has_power(&token), "{}", provider.name);
    }
}

#[tokio::test]
async fn a_token_changed_in_any_one_character_or_cut_anywhere_is_refused() {
    let verifier = verifier_over(Arc::new(shelf()));
    let good = Forge::shared().rfc9068.token(NOW);
    assert!(verify(&verifier, &good).await.is_ok());
    for (at, was) in good.char_indices() {
        for other in ['A', 'B', '.'].into_iter().filter(|other| *other != was) {
            let mut changed = good.clone();
            changed.replace_range(at..=at, &other.to_string());
            assert!(verify(&verifier, &changed).await.is_err(), "{other} at {at}");
        }
        assert!(verify(&verifier, &good[..at]).await.is_err(), "cut at {at}");
    }
}

#[tokio::test]
async fn a_refusal_names_its_holder_only_if_the_signature_held() {
    let forge = Forge::shared();
    let verifier = verifier_over(Arc::new(shelf()));
    let expired = forge.keycloak.draft(NOW).claim("exp", NOW - 30);
    let signed = verify(&verifier, &expired.sign(&forge.keycloak.key)).await.unwrap_err();
    let identity = signed.signed.unwrap();
    assert_eq!(identity.issuer.as_str(), "keycloak");
    assert_eq!(identity.subject.unwrap().as_str(), expired.claims["sub"]);
    assert_eq!(identity.jti.unwrap(), expired.claims["jti"].as_str().unwrap());
    assert!(signed.reason.is_expired() && !signed.reason.is_keys_unavailable());

    let forged = verify(&verifier, &expired.sign(&forge.stranger)).await.unwrap_err();
    assert_eq!((forged.reason, forged.signed.is_none()), (TokenReason::SignatureInvalid, true));
}

#[tokio::test]
async fn keys_are_asked_for_only_when_everything_free_of_cost_has_passed() {
    let forge = Forge::shared();
    let shelf = Arc::new(shelf());
    let verifier = verifier_over(Arc::clone(&shelf));
    for case in hostile(forge, NOW) {
        let cheap = ["token_malformed", "token_too_large", "token_encrypted", "header_not_json", "payload_not_json"];
        let more = ["duplicate_member", "algorithm_not_allowed", "header_member_forbidden", "kid_invalid"];
        let last = ["type_not_allowed", "issuer_invalid", "issuer_unknown"];
        let Fate::Refused(code) = case.fate else { continue };
        if cheap.into_iter().chain(more).chain(last).any(|cheap| cheap == code) {
            verify(&verifier, &case.token).await.unwrap_err();
            assert!(shelf.asked.lock().unwrap().is_empty(), "{} {}", case.row, case.name);
        }
    }
    verify(&verifier, &forge.authentik.token(NOW)).await.unwrap();
    assert_eq!(*shelf.asked.lock().unwrap(), ["authentik"]);
}

#[tokio::test]
async fn of_blocks_with_one_issuer_only_the_addressed_one_is_asked() {
    let [_, y] = &Forge::shared().global;
    let shelf = Arc::new(shelf());
    verify(&verifier_over(Arc::clone(&shelf)), &y.token(NOW)).await.unwrap();
    assert_eq!(*shelf.asked.lock().unwrap(), ["global-y"]);
}

#[tokio::test]
async fn of_blocks_with_one_issuer_and_audience_any_may_hold_the_key() {
    let [x, y] = &Forge::shared().global;
    let audiences = vec!["app-x".to_owned(), "app-y".to_owned()];
    let blocks = [x, y].map(|provider| IssuerRules { audiences: audiences.clone(), ..rules(provider) });
    let verifier = Verifier::new(blocks.to_vec(), Arc::new(shelf()));
    assert_eq!(verify(&verifier, &y.token(NOW)).await.unwrap().issuer().as_str(), "global-y");
    assert_eq!(verify(&verifier, &x.token(NOW)).await.unwrap().issuer().as_str(), "global-x");
    let late = y.draft(NOW).claim("exp", NOW - 30).sign(&y.key);
    let refusal = verify(&verifier, &late).await.unwrap_err();
    assert_eq!(refusal.reason, TokenReason::Expired);
    assert_eq!(refusal.signed.unwrap().issuer.as_str(), "global-y");
}

#[tokio::test]
async fn without_keys_the_fault_is_not_the_tokens() {
    let refusal = verify(&verifier_over(Arc::default()), &Forge::shared().authentik.token(NOW)).await.unwrap_err();
    assert_eq!(refusal.reason, TokenReason::KeysUnavailable);
    assert!(refusal.reason.is_keys_unavailable() && refusal.signed.is_none());
}

#[tokio::test]
async fn a_key_for_encryption_verifies_nothing() {
    let forge = Forge::shared();
    let token = forge.authentik.draft(NOW).header("kid", "ak-1-enc").sign(&forge.authentik.key);
    let refusal = verify(&verifier_over(Arc::new(shelf())), &token).await.unwrap_err();
    assert_eq!(refusal.reason, TokenReason::KeyUnknown);
}

/// For any source of the keys of the two applications in global mode.
pub(crate) async fn of_two_blocks_each_verifies_only_its_own_tokens(keys: Arc<dyn KeySource>) {
    let [x, y] = &Forge::shared().global;
    let verifier = Verifier::new(vec![rules(x), rules(y)], keys);
    for (own, other) in [(x, y), (y, x)] {
        let token = verify(&verifier, &own.token(NOW)).await.unwrap();
        assert_eq!(token.issuer().as_str(), own.name);
        let forged = own.draft(NOW).sign(&other.key);
        assert_eq!(verify(&verifier, &forged).await.unwrap_err().reason, TokenReason::SignatureInvalid);
    }
}
