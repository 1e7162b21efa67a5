//! The registered claims (RFC 7519 section 4.1) with the types they must have. Every claim is bound in type and size
//! here even though it was signed: in Authentik a scope mapping can overwrite any of them under a good signature.

use serde_json::{Map, Value};

use super::strict_json::{self, StrictJsonError};
use super::{IssuerRules, Profile, Subject, TokenReason};

/// `iss` of a developer's own identity provider: never accepted, even if configured.
const LOCAL_IDENTITY: &str = "local-identity";
/// Most entries of `aud`.
const MAX_AUDIENCES: usize = 64;
/// Numbers from here on are not exact in JSON readers that use doubles (RFC 8259 section 6).
const MAX_INSTANT: u64 = 1 << 53;

/// The claims of a payload, strictly read.
#[derive(Debug)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// Reads the payload.
    pub(super) fn parse(text: &[u8]) -> Result<Self, TokenReason> {
        strict_json::object(text).map(Self).map_err(|error| match error {
            StrictJsonError::NotAnObject => TokenReason::PayloadNotJson,
            StrictJsonError::DuplicateMember => TokenReason::DuplicateMember,
        })
    }

    /// All members, for claims outside the registry.
    pub(super) fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// All members, given away.
    pub(super) fn into_members(self) -> Map<String, Value> {
        self.0
    }

    /// `iss`: a string. Unverified, it does nothing but select among configured blocks.
    pub(super) fn issuer(&self) -> Result<&str, TokenReason> {
        let issuer = self.0.get("iss").and_then(Value::as_str).ok_or(TokenReason::IssuerInvalid)?;
        if issuer == LOCAL_IDENTITY { Err(TokenReason::LocalIdentity) } else { Ok(issuer) }
    }

    /// Whether `aud`, unverified, names an audience of this block: tells apart blocks that share one issuer string.
    pub(super) fn mentions_audience(&self, rules: &IssuerRules) -> bool {
        self.audience(rules).is_ok()
    }

    /// The configured audience that `aud` holds: a string, or an array of strings. Byte for byte, so that neither a
    /// prefix nor another case passes.
    pub(super) fn audience(&self, rules: &IssuerRules) -> Result<String, TokenReason> {
        let named = self.audiences()?;
        // Keycloak's `account` is in nearly every token of a realm: it says nothing about for whom the token is.
        let ours = |ours: &&String| rules.profile != Profile::Keycloak || ours.as_str() != "account";
        let found = rules.audiences.iter().filter(ours).find(|ours| named.contains(&ours.as_str()));
        found.cloned().ok_or(TokenReason::AudienceNotOurs)
    }

    fn audiences(&self) -> Result<Vec<&str>, TokenReason> {
        match self.0.get("aud") {
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(many)) if (1..=MAX_AUDIENCES).contains(&many.len()) => {
                many.iter().map(|one| one.as_str().ok_or(TokenReason::AudienceInvalid)).collect()
            }
            None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(TokenReason::AudienceInvalid)
            }
        }
    }

    /// `sub`: a usable string.
    pub(super) fn subject(&self) -> Result<Subject, TokenReason> {
        self.0.get("sub").and_then(Value::as_str).and_then(Subject::parse).ok_or(TokenReason::SubjectInvalid)
    }

    /// `jti`: if present, a string fit for a row.
    pub(super) fn token_id(&self) -> Result<Option<String>, TokenReason> {
        self.name("jti", 256).map_err(|NotAName| TokenReason::TokenIdInvalid)
    }

    /// `azp`, or `client_id` where there is no `azp`. Both must be on the configured list if there is one, and a token
    /// with several audiences must say who asked for it (OIDC Core section 2).
    pub(super) fn client(&self, rules: &IssuerRules) -> Result<Option<String>, TokenReason> {
        let read = |name| self.name(name, 255).map_err(|NotAName| TokenReason::ClientInvalid);
        let (party, client) = (read("azp")?, read("client_id")?);
        let allowed = |client: &String| rules.clients.is_empty() || rules.clients.contains(client);
        if ![&party, &client].into_iter().flatten().all(allowed) {
            return Err(TokenReason::ClientNotAllowed);
        }
        let client = party.or(client);
        if client.is_none() && (!rules.clients.is_empty() || self.audiences()?.len() > 1) {
            return Err(TokenReason::ClientMissing);
        }
        Ok(client)
    }

    /// A claim that is absent, or a string of 1 to `limit` bytes without control characters.
    fn name(&self, claim: &str, limit: usize) -> Result<Option<String>, NotAName> {
        let Some(value) = self.0.get(claim) else { return Ok(None) };
        let name = value.as_str().ok_or(NotAName)?;
        let fits = (1..=limit).contains(&name.len()) && !name.chars().any(char::is_control);
        if fits { Ok(Some(name.to_owned())) } else { Err(NotAName) }
    }

    /// A `NumericDate` (RFC 7519 section 2) if present: whole seconds in `0..2^53`. Fractions are legal there, but no
    /// provider here sends them and they invite rounding games.
    pub(super) fn instant(&self, claim: &str) -> Result<Option<i64>, NotAnInstant> {
        let Some(value) = self.0.get(claim) else { return Ok(None) };
        let seconds = value.as_u64().filter(|seconds| *seconds < MAX_INSTANT).ok_or(NotAnInstant)?;
        i64::try_from(seconds).map(Some).map_err(|_| NotAnInstant)
    }
}

/// Not a whole number of seconds in `0..2^53`.
#[derive(Debug)]
pub(super) struct NotAnInstant;

/// Not a string fit for a row.
#[derive(Debug)]
struct NotAName;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::{ClaimPath, IssuerName};
    use super::*;

    fn rules() -> IssuerRules {
        IssuerRules {
            name: IssuerName::parse("a").unwrap(),
            issuer: "https://a.example/".to_owned(),
            audiences: vec!["stint".to_owned(), "account".to_owned()],
            profile: Profile::Authentik,
            groups_claim: ClaimPath::parse("groups").unwrap(),
            not_before: None,
            max_token_lifetime: Duration::from_hours(1),
            clients: Vec::new(),
        }
    }

    fn claims(value: &Value) -> Claims {
        Claims::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_issuer_is_a_string_and_never_the_local_one() {
        for iss in [json!(["https://a.example/"]), json!(1), json!(null), json!({})] {
            assert_eq!(claims(&json!({"iss": iss})).issuer().err(), Some(TokenReason::IssuerInvalid));
        }
        assert_eq!(claims(&json!({})).issuer().err(), Some(TokenReason::IssuerInvalid));
        assert_eq!(claims(&json!({"iss": "local-identity"})).issuer().err(), Some(TokenReason::LocalIdentity));
        assert_eq!(claims(&json!({"iss": "https://a.example/"})).issuer(), Ok("https://a.example/"));
    }

    #[test]
    fn the_audience_is_one_of_ours_byte_for_byte() {
        for aud in [json!("stint"), json!(["stint"]), json!(["other", "stint"])] {
            assert_eq!(claims(&json!({"aud": aud})).audience(&rules()), Ok("stint".to_owned()));
        }
        for aud in ["Stint", "stint ", "stin", "stintx", "https://stint/", ""] {
            assert_eq!(claims(&json!({"aud": aud})).audience(&rules()), Err(TokenReason::AudienceNotOurs), "{aud}");
        }
        let wrong = [json!(1), json!(null), json!({"stint": 1}), json!([]), json!([["stint"]]), json!(["stint", 1])];
        for aud in wrong.into_iter().chain([json!(vec!["stint"; 65])]) {
            assert_eq!(claims(&json!({"aud": aud})).audience(&rules()), Err(TokenReason::AudienceInvalid), "{aud}");
        }
        assert_eq!(claims(&json!({})).audience(&rules()), Err(TokenReason::AudienceInvalid));
        assert!(claims(&json!({"aud": vec!["stint"; 64]})).audience(&rules()).is_ok());
    }

    #[test]
    fn keycloaks_account_audience_never_counts_even_if_configured() {
        let keycloak = IssuerRules { profile: Profile::Keycloak, ..rules() };
        assert_eq!(claims(&json!({"aud": "account"})).audience(&keycloak), Err(TokenReason::AudienceNotOurs));
        assert_eq!(claims(&json!({"aud": ["account", "stint"]})).audience(&keycloak), Ok("stint".to_owned()));
        assert_eq!(claims(&json!({"aud": "account"})).audience(&rules()), Ok("account".to_owned()));
    }

    #[test]
    fn the_client_is_azp_before_client_id_and_a_string() {
        let client = |value: Value| claims(&value).client(&rules());
        assert_eq!(client(json!({"aud": "stint", "azp": "a", "client_id": "b"})), Ok(Some("a".to_owned())));
        assert_eq!(client(json!({"aud": "stint", "client_id": "b"})), Ok(Some("b".to_owned())));
        assert_eq!(client(json!({"aud": "stint"})), Ok(None));
        for azp in [json!(1), json!(""), json!(null), json!(["a"]), json!("a\nb"), json!("a".repeat(256))] {
            assert_eq!(client(json!({"aud": "stint", "azp": azp})), Err(TokenReason::ClientInvalid));
        }
        assert_eq!(client(json!({"aud": ["stint", "other"]})), Err(TokenReason::ClientMissing));
    }

    #[test]
    fn configured_clients_are_the_only_ones() {
        let rules = IssuerRules { clients: vec!["a".to_owned()], ..rules() };
        let client = |value: Value| claims(&value).client(&rules);
        assert_eq!(client(json!({"azp": "a"})), Ok(Some("a".to_owned())));
        assert_eq!(client(json!({"azp": "b"})), Err(TokenReason::ClientNotAllowed));
        assert_eq!(client(json!({"azp": "a", "client_id": "b"})), Err(TokenReason::ClientNotAllowed));
        assert_eq!(client(json!({"aud": "stint"})), Err(TokenReason::ClientMissing));
    }

    #[test]
    fn an_instant_is_a_whole_number_of_seconds_below_2_to_the_53() {
        let instant = |text: &str| Claims::parse(format!(r#"{{"exp":{text}}}"#).as_bytes()).unwrap().instant("exp");
        assert_eq!(instant("0").unwrap(), Some(0));
        assert_eq!(instant("9007199254740991").unwrap(), Some(9_007_199_254_740_991));
        let numbers =
            ["9007199254740992", "1e18", "18446744073709551615", "18446744073709551616", "1.5", "1.0", "-1", "-0"];
        for text in numbers.into_iter().chain(["\"1\"", "null", "true", "[1]", "{}"]) {
            assert!(instant(text).is_err(), "{text}");
        }
        assert!(claims(&json!({})).instant("exp").unwrap().is_none());
    }

    #[test]
    fn subject_and_token_id_are_bounded_strings() {
        for sub in [json!(1), json!(""), json!(null), json!("a\0b"), json!("a".repeat(256))] {
            assert_eq!(claims(&json!({"sub": sub})).subject().err(), Some(TokenReason::SubjectInvalid));
        }
        assert!(claims(&json!({"sub": "a".repeat(255)})).subject().is_ok());
        for jti in [json!(1), json!(""), json!("a".repeat(257))] {
            assert_eq!(claims(&json!({"jti": jti})).token_id(), Err(TokenReason::TokenIdInvalid));
        }
        assert_eq!(claims(&json!({"jti": "onrtac:1"})).token_id(), Ok(Some("onrtac:1".to_owned())));
    }
}
