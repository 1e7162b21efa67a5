//! When a token counts. Pure arithmetic on whole seconds that cannot overflow: every instant is below 2^53.

use time::OffsetDateTime;

use super::claims::{Claims, NotAnInstant};
use super::{IssuerRules, Profile, TokenReason};

/// How far the issuer's clock may be from ours. Longer, and a revoked or expired token lives on; shorter, and ordinary
/// drift refuses fresh tokens.
const LEEWAY_SECONDS: i64 = 30;

/// Checks `exp`, `iat` and `nbf` at `now` and answers `exp`.
pub(super) fn check(claims: &Claims, rules: &IssuerRules, now: OffsetDateTime) -> Result<OffsetDateTime, TokenReason> {
    let required = |claim, reason| claims.instant(claim).map_err(|NotAnInstant| reason)?.ok_or(reason);
    let expires = required("exp", TokenReason::ExpiryInvalid)?;
    let issued = required("iat", TokenReason::IssuedAtInvalid)?;
    let not_before = claims.instant("nbf").map_err(|NotAnInstant| TokenReason::NotBeforeInvalid)?;
    if not_before.is_none() && rules.profile == Profile::IamProfile {
        return Err(TokenReason::NotBeforeInvalid);
    }

    let present = now.unix_timestamp();
    let latest = present.saturating_add(LEEWAY_SECONDS);
    if present >= expires.saturating_add(LEEWAY_SECONDS) {
        return Err(TokenReason::Expired);
    }
    if issued > latest {
        return Err(TokenReason::IssuedInFuture);
    }
    if not_before.is_some_and(|not_before| not_before > latest) {
        return Err(TokenReason::NotYetValid);
    }
    // A token that lives for years is a stolen key that lives for years, whatever its issuer allows.
    let longest = i64::try_from(rules.max_token_lifetime.as_secs()).unwrap_or(i64::MAX);
    if expires <= issued || expires.saturating_sub(issued) > longest {
        return Err(TokenReason::LifetimeNotAllowed);
    }
    // Offline verification never hears of the provider's own revocation; this is the operator's.
    let issued_at = OffsetDateTime::from_unix_timestamp(issued).map_err(|_| TokenReason::IssuedAtInvalid)?;
    if rules.not_before.is_some_and(|revoked_before| issued_at < revoked_before) {
        return Err(TokenReason::Revoked);
    }
    OffsetDateTime::from_unix_timestamp(expires).map_err(|_| TokenReason::ExpiryInvalid)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::super::{ClaimPath, IssuerName};
    use super::*;

    const NOW: i64 = 1_795_300_000;

    fn rules() -> IssuerRules {
        IssuerRules {
            name: IssuerName::parse("a").unwrap(),
            issuer: "https://a.example/".to_owned(),
            audiences: vec!["stint".to_owned()],
            profile: Profile::Authentik,
            groups_claim: ClaimPath::parse("groups").unwrap(),
            not_before: None,
            max_token_lifetime: Duration::from_hours(1),
            clients: Vec::new(),
        }
    }

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    fn checked(claims: &serde_json::Value, rules: &IssuerRules) -> Result<OffsetDateTime, TokenReason> {
        check(&Claims::parse(claims.to_string().as_bytes()).unwrap(), rules, at(NOW))
    }

    fn times(iat: i64, exp: i64) -> Result<OffsetDateTime, TokenReason> {
        checked(&json!({"iat": iat, "exp": exp}), &rules())
    }

    #[test]
    fn expiry_has_thirty_seconds_of_leeway_and_not_one_more() {
        assert_eq!(times(NOW - 60, NOW - 29), Ok(at(NOW - 29)));
        assert_eq!(times(NOW - 60, NOW - 30), Err(TokenReason::Expired));
    }

    #[test]
    fn a_token_from_the_future_has_thirty_seconds_of_leeway_and_not_one_more() {
        assert!(times(NOW + 30, NOW + 60).is_ok());
        assert_eq!(times(NOW + 31, NOW + 60), Err(TokenReason::IssuedInFuture));
        let nbf = |nbf: i64| checked(&json!({"iat": NOW, "exp": NOW + 60, "nbf": nbf}), &rules());
        assert!(nbf(NOW + 30).is_ok());
        assert_eq!(nbf(NOW + 31), Err(TokenReason::NotYetValid));
    }

    #[test]
    fn a_token_lives_no_longer_than_configured_and_ends_after_it_began() {
        assert!(times(NOW, NOW + 3600).is_ok());
        assert_eq!(times(NOW, NOW + 3601), Err(TokenReason::LifetimeNotAllowed));
        assert_eq!(times(NOW, NOW), Err(TokenReason::LifetimeNotAllowed));
        assert_eq!(times(NOW, NOW - 1), Err(TokenReason::LifetimeNotAllowed));
        assert_eq!(times(0, (1 << 53) - 1), Err(TokenReason::LifetimeNotAllowed));
    }

    #[test]
    fn missing_or_mistyped_times_are_refused() {
        let refused = |claims: serde_json::Value| checked(&claims, &rules()).err();
        assert_eq!(refused(json!({"iat": NOW})), Some(TokenReason::ExpiryInvalid));
        assert_eq!(refused(json!({"iat": NOW, "exp": "1795300900"})), Some(TokenReason::ExpiryInvalid));
        assert_eq!(refused(json!({"exp": NOW + 60})), Some(TokenReason::IssuedAtInvalid));
        assert_eq!(refused(json!({"exp": NOW + 60, "iat": null})), Some(TokenReason::IssuedAtInvalid));
        let nbf = refused(json!({"exp": NOW + 60, "iat": NOW, "nbf": "0"}));
        assert_eq!(nbf, Some(TokenReason::NotBeforeInvalid));
    }

    #[test]
    fn the_iam_profile_requires_nbf() {
        let iam = IssuerRules { profile: Profile::IamProfile, ..rules() };
        let refused = checked(&json!({"iat": NOW, "exp": NOW + 60}), &iam).err();
        assert_eq!(refused, Some(TokenReason::NotBeforeInvalid));
        assert!(checked(&json!({"iat": NOW, "exp": NOW + 60, "nbf": NOW}), &iam).is_ok());
    }

    #[test]
    fn tokens_from_before_the_revocation_instant_are_refused() {
        let revoked = |not_before: OffsetDateTime| {
            checked(&json!({"iat": NOW, "exp": NOW + 60}), &IssuerRules { not_before: Some(not_before), ..rules() })
        };
        assert!(revoked(at(NOW)).is_ok());
        assert_eq!(revoked(at(NOW + 1)), Err(TokenReason::Revoked));
        assert_eq!(revoked(at(NOW) + time::Duration::milliseconds(500)), Err(TokenReason::Revoked));
    }

    proptest! {
        #[test]
        fn whatever_passes_is_alive_and_bounded(iat in any::<u64>(), exp in any::<u64>(), nbf in any::<u64>(), now in -99_999_999_999_i64..=99_999_999_999) {
            let claims = Claims::parse(json!({"iat": iat, "exp": exp, "nbf": nbf}).to_string().as_bytes()).unwrap();
            let rules = IssuerRules { max_token_lifetime: Duration::MAX, ..rules() };
            if let Ok(expires_at) = check(&claims, &rules, at(now)) {
                prop_assert!(expires_at.unix_timestamp() > now - LEEWAY_SECONDS);
                prop_assert!(iat < exp && i64::try_from(iat).unwrap() <= now + LEEWAY_SECONDS);
            }
        }
    }
}
