//! A double of Authentik: discovery, JWKS and a token endpoint for client credentials, tokens of the same shape. It
//! exists because Authentik cannot be embedded; the live tests use a real Keycloak.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::command::Failure;

/// How long a demo token lives.
pub const TOKEN_LIFETIME: Duration = Duration::from_hours(1);
/// How long requests that have begun may take once the demo ends.
const DRAIN: Duration = Duration::from_secs(1);
/// The secret of every demo client.
const SECRET: &str = "demo";
/// `client_id` → groups, as in the `SpaceMusic` installation; a service account is in the group named as its policy.
const CLIENTS: [(&str, &[&str]); 7] = [
    ("admin", &["spacemusic-admins", "authentik Admins"]),
    ("studio", &["spacemusic-studio"]),
    ("viewer", &["spacemusic-viewers"]),
    ("livekit-egress", &["egress-write"]),
    ("studio-rclone", &["readwrite"]),
    ("backup-agent", &["backup-write"]),
    ("nobody", &[]),
];

/// A running issuer.
#[derive(Debug)]
pub struct DemoIssuer {
    base: String,
}

struct Provider {
    issuer: String,
    key: KeyPair,
    kid: String,
    clock: Arc<dyn Clock>,
}

impl DemoIssuer {
    /// Makes a key and serves on a free loopback port until `stop`.
    pub async fn start(clock: Arc<dyn Clock>, tasks: &TaskTracker, stop: CancellationToken) -> Result<Self, Failure> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), clock, tasks, stop).await
    }

    /// The same on this address: one that was stopped is started again where it was, with another key.
    pub async fn start_at(
        address: SocketAddr,
        clock: Arc<dyn Clock>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address).await?;
        let base = format!("http://{}", listener.local_addr()?);
        let key = KeyPair::generate(KeySize::Rsa2048).map_err(|_| Failure("no RSA key could be made".to_owned()))?;
        let kid = hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key().as_ref()).as_ref(), 16);
        let issuer = format!("{base}/application/o/stint/");
        let provider = Arc::new(Provider { issuer, key, kid, clock });
        let router = Router::new()
            .route("/application/o/stint/.well-known/openid-configuration", get(discovery))
            .route("/application/o/stint/jwks/", get(jwks))
            .route("/application/o/token/", post(token))
            .with_state(provider);
        tasks.spawn(async move {
            let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
            // Answers take no time here: who is still sending a request then, sends none.
            let drained = async {
                stop.cancelled().await;
                tokio::time::sleep(DRAIN).await;
            };
            tokio::select! {
                ended = server.into_future() => if let Err(error) = ended {
                    tracing::error!(%error, "the demo's issuer ended");
                },
                () = drained => {}
            }
        });
        Ok(Self { base })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr, Failure> {
        let address = self.base.trim_start_matches("http://").parse();
        address.map_err(|_| Failure("the demo's issuer has no address".to_owned()))
    }

    /// `iss`: ends in a slash, as Authentik's does.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("{}/application/o/stint/", self.base)
    }

    /// The token endpoint, shared by all applications as in Authentik.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("{}/application/o/token/", self.base)
    }
}

async fn discovery(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let base = provider.issuer.trim_end_matches("/application/o/stint/");
    Json(json!({
        "issuer": provider.issuer,
        "authorization_endpoint": format!("{base}/application/o/authorize/"),
        "token_endpoint": format!("{base}/application/o/token/"),
        "jwks_uri": format!("{}jwks/", provider.issuer),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
    }))
}

async fn jwks(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let der = provider.key.public_key().as_ref();
    // RSAPublicKey (RFC 8017 A.1.1) of a 2048-bit key ends in 256 bytes of modulus and the five bytes of 65537.
    let end = der.len().saturating_sub(5);
    let modulus = der.get(end.saturating_sub(256)..end).unwrap_or_default();
    Json(json!({"keys": [{
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": provider.kid,
        "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB",
    }]}))
}

async fn token(State(provider): State<Arc<Provider>>, headers: HeaderMap, body: String) -> Response {
    let form: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if field("grant_type").as_deref() != Some("client_credentials") {
        return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let given = basic(&headers).or_else(|| Some((field("client_id")?, field("client_secret")?)));
    let client =
        given.filter(|(_, secret)| secret == SECRET).and_then(|(id, _)| CLIENTS.iter().find(|(c, _)| *c == id));
    let Some((client, groups)) = client else {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    };
    match provider.sign(client, groups) {
        Some(token) => {
            let answer = json!({
                "access_token": token, "token_type": "Bearer", "scope": "openid email profile",
                "expires_in": TOKEN_LIFETIME.as_secs(),
            });
            ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
        }
        None => refused(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    decoded.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

impl Provider {
    /// An access token with the claims of Authentik's: `azp` and `uid` both present are what tells it from an ID token.
    fn sign(&self, client: &str, groups: &[&str]) -> Option<String> {
        let now = self.clock.now().unix_timestamp();
        let user = format!("ak-{client}-client_credentials");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, client.as_bytes());
        let header = json!({"alg": "RS256", "kid": self.kid, "typ": "JWT"});
        let lifetime = i64::try_from(TOKEN_LIFETIME.as_secs()).ok()?;
        let claims = json!({
            "iss": self.issuer, "sub": hex(digest.as_ref(), 32), "aud": "stint", "azp": client, "uid": random_hex()?,
            "jti": random_hex()?, "iat": now, "exp": now + lifetime, "auth_time": now,
            "acr": "goauthentik.io/providers/oauth2/default", "email_verified": false,
            "name": user, "preferred_username": user, "nickname": user, "groups": groups, "scope": "openid email profile",
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).ok()?;
        Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn random_hex() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(hex(&bytes, 16))
}

fn hex(bytes: &[u8], length: usize) -> String {
    ::hex::encode(bytes.get(..length).unwrap_or(bytes))
}
