//! OIDC Discovery 1.0: where an issuer keeps its keys. The document is only believed about the very issuer that is
//! configured, and only sends to that issuer's own origin.

use openidconnect::core::{CoreJwsSigningAlgorithm, CoreProviderMetadata};
use reqwest::Url;

use super::fault::IssuerFault;
use super::fetch::address;

/// What discovery answers.
#[derive(Debug)]
pub(super) struct Discovered {
    /// Where the keys are.
    pub(super) jwks_uri: Url,
    /// The provider offers HS256 and nothing else: it has no signing key.
    pub(super) symmetric_only: bool,
}

/// The address of the document (OIDC Discovery 1.0 section 4: one slash, whether or not the issuer ends in one).
pub(super) fn document_url(issuer: &str) -> Result<Url, IssuerFault> {
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    address(&format!("{base}/.well-known/openid-configuration"), "issuer")
}

/// Reads the document of `issuer`. Its `issuer` must equal the configured one, byte for byte: a host that can answer
/// for another issuer's address must not be able to speak for it (OIDC Discovery 1.0 section 4.3).
pub(super) fn read(document: &[u8], issuer: &str) -> Result<Discovered, IssuerFault> {
    let metadata: CoreProviderMetadata = serde_json::from_slice(document).map_err(|_| IssuerFault::Discovery)?;
    if metadata.issuer().as_str() != issuer {
        return Err(IssuerFault::OtherIssuer);
    }
    let jwks_uri = address(metadata.jwks_uri().as_str(), "jwks_uri")?;
    if jwks_uri.origin() != address(issuer, "issuer")?.origin() {
        return Err(IssuerFault::OtherOrigin);
    }
    let algorithms = metadata.id_token_signing_alg_values_supported();
    let symmetric = |algorithm: &CoreJwsSigningAlgorithm| *algorithm == CoreJwsSigningAlgorithm::HmacSha256;
    Ok(Discovered { jwks_uri, symmetric_only: !algorithms.is_empty() && algorithms.iter().all(symmetric) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const AUTHENTIK: &str = "https://auth.example/application/o/stint/";

    fn document(issuer: &str, jwks_uri: &str) -> Value {
        json!({
            "issuer": issuer, "authorization_endpoint": "https://auth.example/application/o/authorize/",
            "token_endpoint": "https://auth.example/application/o/token/", "jwks_uri": jwks_uri,
            "response_types_supported": ["code", "id_token", "code id_token token"],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "grant_types_supported": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
            "acr_values_supported": ["goauthentik.io/providers/oauth2/default"],
            "scopes_supported": ["openid", "email", "profile"], "request_parameter_supported": false,
            "claims_supported": ["sub", "iss", "groups"], "claims_parameter_supported": false,
            "code_challenge_methods_supported": ["plain", "S256"], "backchannel_logout_supported": true,
        })
    }

    fn read_as(issuer: &str, document: &Value) -> Result<Discovered, IssuerFault> {
        read(document.to_string().as_bytes(), issuer)
    }

    #[test]
    fn the_document_is_below_the_issuer_with_one_slash() {
        for (issuer, url) in [
            (AUTHENTIK, "https://auth.example/application/o/stint/.well-known/openid-configuration"),
            ("https://kc.example/realms/r", "https://kc.example/realms/r/.well-known/openid-configuration"),
            ("https://auth.example", "https://auth.example/.well-known/openid-configuration"),
        ] {
            assert_eq!(document_url(issuer).unwrap().as_str(), url);
        }
        assert!(document_url("http://auth.example/").is_err());
    }

    #[test]
    fn an_authentik_document_names_its_keys() {
        let jwks = "https://auth.example/application/o/stint/jwks/";
        let discovered = read_as(AUTHENTIK, &document(AUTHENTIK, jwks)).unwrap();
        assert_eq!((discovered.jwks_uri.as_str(), discovered.symmetric_only), (jwks, false));
    }

    #[test]
    fn a_keycloak_document_with_all_its_extras_is_read() {
        let issuer = "https://kc.example/realms/r";
        let mut document = document(issuer, "https://kc.example/realms/r/protocol/openid-connect/certs");
        let extras = json!({
            "id_token_signing_alg_values_supported": ["PS384", "RS384", "EdDSA", "ES384", "HS256", "RS256", "ML-DSA-65"],
            "id_token_encryption_alg_values_supported": ["ECDH-ES", "RSA-OAEP", "RSA1_5"],
            "userinfo_signing_alg_values_supported": ["PS384", "none"], "claim_types_supported": ["normal"],
            "mtls_endpoint_aliases": {"token_endpoint": "https://kc.example/x"}, "prompt_values_supported": ["none"],
            "frontchannel_logout_supported": true, "authorization_response_iss_parameter_supported": true,
            "tls_client_certificate_bound_access_tokens": true, "dpop_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "tls_client_auth", "client_secret_jwt"],
        });
        document.as_object_mut().unwrap().extend(extras.as_object().unwrap().clone());
        assert!(!read_as(issuer, &document).unwrap().symmetric_only);
    }

    #[test]
    fn a_document_that_names_another_issuer_is_refused() {
        for other in ["https://auth.example/", "https://auth.example/application/o/stint", "https://evil.example/"] {
            let refused = read_as(AUTHENTIK, &document(other, "https://auth.example/jwks/"));
            assert!(matches!(refused, Err(IssuerFault::OtherIssuer)), "{other}");
        }
        assert!(IssuerFault::OtherIssuer.detail().contains("jwks_uri"));
    }

    #[test]
    fn a_document_cannot_send_to_another_origin() {
        for jwks in ["https://evil.example/jwks", "https://auth.example:8443/jwks", "https://auth.example.evil/jwks"] {
            let refused = read_as(AUTHENTIK, &document(AUTHENTIK, jwks));
            assert!(matches!(refused, Err(IssuerFault::OtherOrigin)), "{jwks}");
        }
        for jwks in ["http://169.254.169.254/", "file:///etc/passwd", "http://auth.example/jwks"] {
            let refused = read_as(AUTHENTIK, &document(AUTHENTIK, jwks));
            assert!(matches!(refused, Err(IssuerFault::Address("jwks_uri"))), "{jwks}");
        }
    }

    #[test]
    fn hs256_alone_is_noticed() {
        let mut document = document(AUTHENTIK, "https://auth.example/jwks/");
        document["id_token_signing_alg_values_supported"] = json!(["HS256"]);
        assert!(read_as(AUTHENTIK, &document).unwrap().symmetric_only);
    }

    #[test]
    fn what_is_no_discovery_document_is_refused() {
        for text in ["", "{}", "[]", "<html>", "null", r#"{"issuer":"https://auth.example/application/o/stint/"}"#] {
            assert!(matches!(read(text.as_bytes(), AUTHENTIK), Err(IssuerFault::Discovery)), "{text}");
        }
    }
}
