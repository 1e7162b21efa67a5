//! An issuer of our own for tests that are about something else: it publishes one key and signs tokens shaped like
//! Keycloak's, at once and on any machine.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::now;

/// A running one; it ends when dropped.
pub(crate) struct Issuer {
    url: String,
    key: RsaKeyPair,
    _ends: DropGuard,
}

impl Issuer {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let discovery = json!({
            "issuer": url, "jwks_uri": format!("{url}/keys"), "token_endpoint": format!("{url}/token"),
            "authorization_endpoint": format!("{url}/authorize"), "response_types_supported": ["code"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
        });
        let public = key.public_key();
        let (n, e) = (public.modulus(), public.exponent());
        let jwk = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "live",
            "n": encoded(n.big_endian_without_leading_zero()), "e": encoded(e.big_endian_without_leading_zero())});
        let keys = json!({"keys": [jwk]});
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || discovery.to_string()))
            .route("/keys", get(async move || keys.to_string()));
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(axum::serve(listener, router).into_future()));
        Self { url, key, _ends: stop.drop_guard() }
    }

    /// `iss` of its tokens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// An hour's token of a member of the studio.
    pub(crate) fn studio(&self) -> String {
        self.member("studio", "spacemusic-studio")
    }

    /// An hour's token of a service account in one group.
    pub(crate) fn member(&self, account: &str, group: &str) -> String {
        let issued_at = now().unix_timestamp();
        let claims = json!({"iss": self.url, "aud": "stint", "sub": account, "azp": account, "typ": "Bearer",
            "iat": issued_at, "exp": issued_at + 3600, "jti": "live", "groups": [group]});
        self.signed(&claims)
    }

    fn signed(&self, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": "live"});
        let input = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let signed = self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature);
        signed.expect("a signature");
        format!("{input}.{}", encoded(signature))
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
