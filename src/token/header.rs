//! The JOSE header (RFC 7515 section 4): one algorithm, a declared type, a key name, and nothing that asks for more.

use serde_json::{Map, Value};

use super::strict_json::{self, StrictJsonError};
use super::{KeyId, Profile, TokenReason};

/// The one algorithm, compared as bytes; never taken from discovery or a JWK (RFC 8725 section 3.1).
const ALGORITHM: &str = "RS256";

/// Members that change what is verified or bring their own key. No provider here sends one, so their presence is an
/// attack or a kind of token this service does not take: `crit` and `b64` change the rules (RFC 7515 section 4.1.11,
/// RFC 7797), `zip` is a decompression bomb, `enc` and `cty` mark nested tokens, the rest name an attacker's key
/// (CVE-2018-0114).
const FORBIDDEN: [&str; 9] = ["crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c", "cty"];

/// A header that passed every check that needs no issuer.
#[derive(Debug)]
pub(super) struct Header {
    kid: Option<KeyId>,
    typ: Option<String>,
}

impl Header {
    /// Reads and checks the header.
    pub(super) fn parse(text: &[u8]) -> Result<Self, TokenReason> {
        let members = strict_json::object(text).map_err(|error| match error {
            StrictJsonError::NotAnObject => TokenReason::HeaderNotJson,
            StrictJsonError::DuplicateMember => TokenReason::DuplicateMember,
        })?;
        if members.get("alg").and_then(Value::as_str) != Some(ALGORITHM) {
            return Err(TokenReason::AlgorithmNotAllowed);
        }
        if FORBIDDEN.iter().any(|name| members.contains_key(*name)) {
            return Err(TokenReason::HeaderMemberForbidden);
        }
        Ok(Self { kid: kid(&members)?, typ: typ(&members)? })
    }

    /// The key the token asks for.
    pub(super) fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// Whether `typ` is one that `profile` gives to access tokens (RFC 8725 section 3.11). An allow-list, so that
    /// logout tokens, `DPoP` proofs, security events and kinds not invented yet are out.
    pub(super) fn type_fits(&self, profile: Profile) -> Result<(), TokenReason> {
        let fits = match profile {
            Profile::Rfc9068 => self.typ.as_deref() == Some("at+jwt"),
            Profile::Authentik | Profile::Keycloak | Profile::IamProfile => {
                matches!(self.typ.as_deref(), Some("jwt" | "at+jwt"))
            }
            // Kubernetes writes none.
            Profile::Kubernetes => matches!(self.typ.as_deref(), None | Some("jwt")),
            Profile::GitHub | Profile::GitLab => self.typ.as_deref() == Some("jwt"),
        };
        if fits { Ok(()) } else { Err(TokenReason::TypeNotAllowed) }
    }
}

fn kid(members: &Map<String, Value>) -> Result<Option<KeyId>, TokenReason> {
    match members.get("kid") {
        None => Ok(None),
        Some(kid) => kid.as_str().and_then(KeyId::parse).map(Some).ok_or(TokenReason::KeyIdInvalid),
    }
}

/// `typ` in lower case, without `application/` (RFC 7515 section 4.1.9 lets senders leave the prefix out).
fn typ(members: &Map<String, Value>) -> Result<Option<String>, TokenReason> {
    let Some(typ) = members.get("typ") else { return Ok(None) };
    let typ = typ.as_str().ok_or(TokenReason::TypeNotAllowed)?.to_ascii_lowercase();
    Ok(Some(typ.strip_prefix("application/").unwrap_or(&typ).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> Option<TokenReason> {
        Header::parse(text.as_bytes()).err()
    }

    #[test]
    fn a_plain_header_passes() {
        let header = Header::parse(br#"{"alg":"RS256","typ":"JWT","kid":"k1","future":1}"#).unwrap();
        assert_eq!(header.kid(), KeyId::parse("k1").as_ref());
        assert!(Header::parse(br#"{"alg":"RS256","typ":"JWT"}"#).unwrap().kid().is_none());
    }

    #[test]
    fn only_rs256_is_an_algorithm() {
        for alg in [r#""none""#, r#""None""#, r#""HS256""#, r#""RS384""#, r#""PS256""#, r#""ES256""#, r#""rs256""#] {
            let text = format!(r#"{{"alg":{alg},"typ":"JWT"}}"#);
            assert_eq!(reason(&text), Some(TokenReason::AlgorithmNotAllowed), "{alg}");
        }
        for text in [r#"{"typ":"JWT"}"#, r#"{"alg":["RS256"],"typ":"JWT"}"#, r#"{"alg":null,"typ":"JWT"}"#] {
            assert_eq!(reason(text), Some(TokenReason::AlgorithmNotAllowed), "{text}");
        }
    }

    #[test]
    fn members_that_change_the_rules_or_bring_a_key_are_refused_whatever_their_value() {
        for name in FORBIDDEN {
            for value in ["null", "[]", r#""exp""#, "false", r#"{"kty":"RSA"}"#] {
                let text = format!(r#"{{"alg":"RS256","typ":"JWT","{name}":{value}}}"#);
                assert_eq!(reason(&text), Some(TokenReason::HeaderMemberForbidden), "{text}");
            }
        }
        assert_eq!(reason(r#"{"alg":"RS256","typ":"JWT","x5t":"abc"}"#), None);
    }

    #[test]
    fn a_kid_is_a_string_of_1_to_256_bytes() {
        let text = |kid: &str| format!(r#"{{"alg":"RS256","typ":"JWT","kid":{kid}}}"#);
        for kid in ["1", "null", "[]", "{}", r#""""#, &format!("\"{}\"", "k".repeat(257))] {
            assert_eq!(reason(&text(kid)), Some(TokenReason::KeyIdInvalid), "{kid}");
        }
        assert_eq!(reason(&text(&format!("\"{}\"", "k".repeat(256)))), None);
    }

    #[test]
    fn types_are_compared_without_case_and_media_type_prefix() {
        let fits = |typ: &str, profile| {
            let text = format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#);
            Header::parse(text.as_bytes()).and_then(|header| header.type_fits(profile)).is_ok()
        };
        for typ in ["JWT", "jwt", "application/jwt", "at+jwt", "AT+JWT", "application/at+jwt"] {
            for profile in [Profile::Authentik, Profile::Keycloak, Profile::IamProfile] {
                assert!(fits(typ, profile), "{typ} {profile:?}");
            }
            assert_eq!(fits(typ, Profile::Rfc9068), typ.to_ascii_lowercase().ends_with("at+jwt"), "{typ}");
        }
        for typ in ["logout+jwt", "JWE", "dpop+jwt", "secevent+jwt", "token-introspection+jwt", "JOSE", "", "x/at+jwt"]
        {
            for profile in Profile::ALL {
                assert!(!fits(typ, profile), "{typ} {profile:?}");
            }
        }
        for profile in [Profile::Kubernetes, Profile::GitHub, Profile::GitLab] {
            assert!(fits("JWT", profile) && !fits("at+jwt", profile), "{profile:?}");
        }
        let untyped = Header::parse(br#"{"alg":"RS256"}"#).unwrap();
        for profile in Profile::ALL {
            assert_eq!(untyped.type_fits(profile).is_ok(), profile == Profile::Kubernetes, "{profile:?}");
        }
        assert_eq!(reason(r#"{"alg":"RS256","typ":1}"#), Some(TokenReason::TypeNotAllowed));
    }
}
