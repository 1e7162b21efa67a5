//! Tokens by OAuth client credentials (RFC 6749 section 4.4). The secret's file is read at each use; a token is kept for
//! half of its life, so that an outage of the service does not become a storm at the identity provider.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::address::Address;
use super::fault::Fault;
use super::token_source::WorkloadToken;
use super::transport::{Transport, receive};
use crate::clock::Clock;

/// Largest secret file.
const MOST_BYTES: usize = 4096;

/// Where tokens are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// The issuer as it calls itself, byte for byte: the endpoint stands in its discovery document.
    Issuer {
        /// `iss`, as configured.
        name: String,
        /// The same, checked.
        address: Address,
    },
    /// The token endpoint itself.
    TokenEndpoint(Address),
}

/// A client of an identity provider.
#[derive(Debug)]
pub struct ClientCredentials {
    /// Where tokens are made.
    pub provider: Provider,
    /// `client_id`.
    pub client_id: String,
    /// A file that holds the client secret and perhaps a newline.
    pub secret_file: PathBuf,
    /// `scope`, where the provider wants one.
    pub scope: Option<String>,
    /// For requests.
    pub transport: Transport,
    /// For the age of a kept token.
    pub clock: Arc<dyn Clock>,
    /// The last token.
    pub kept: Mutex<Option<Kept>>,
}

/// A token, and until when it is used again.
#[derive(Debug)]
pub struct Kept {
    token: SecretString,
    until: Duration,
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    #[serde(default)]
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    token_endpoint: String,
}

impl ClientCredentials {
    pub(super) async fn token(&self) -> Result<WorkloadToken, Fault> {
        let mut kept = self.kept.lock().await;
        let now = self.clock.elapsed();
        if let Some(kept) = kept.as_ref().filter(|kept| now < kept.until) {
            return whole(&kept.token);
        }
        let granted = self.grant().await?;
        let token = whole(&granted.access_token)?;
        let half = Duration::from_secs(granted.expires_in.unwrap_or(0) / 2);
        *kept = Some(Kept { token: granted.access_token, until: now.saturating_add(half) });
        Ok(token)
    }

    /// Drops the kept token.
    pub(super) async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    pub(super) fn identity(&self) -> String {
        let at = match &self.provider {
            Provider::Issuer { name, .. } => name.clone(),
            Provider::TokenEndpoint(address) => address.to_string(),
        };
        format!("client {} {at} {}", self.client_id, self.scope.as_deref().unwrap_or_default())
    }

    async fn grant(&self) -> Result<Granted, Fault> {
        let endpoint = match &self.provider {
            Provider::TokenEndpoint(endpoint) => endpoint.clone(),
            Provider::Issuer { name, address } => self.discover(name, address).await?,
        };
        let request = self
            .transport
            .post(endpoint.url())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, self.basic(&self.secret().await?)?)
            .body(self.form());
        let answer = receive(request).await.map_err(Fault::ProviderUnavailable)?;
        match answer.status.as_u16() {
            200 => serde_json::from_slice(&answer.body)
                .map_err(|_| Fault::ProviderUnavailable("the answer holds no access_token".to_owned())),
            400..=499 if answer.status.as_u16() != 429 => Err(Fault::ProviderRefused(answer.refusal())),
            _ => Err(Fault::ProviderUnavailable(format!("it answers {}", answer.refusal()))),
        }
    }

    fn form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = &self.scope {
            form.append_pair("scope", scope);
        }
        form.finish()
    }

    /// The token endpoint in the document of the issuer, which must be the issuer's own (OIDC Discovery 1.0 section 4.3)
    /// and on its origin: whoever can write into the document must not be able to have the secret sent to him.
    async fn discover(&self, name: &str, address: &Address) -> Result<Address, Fault> {
        let unusable = |why: &str| Fault::ProviderUnavailable(format!("its discovery document {why}"));
        let url = address.below("/.well-known/openid-configuration");
        let request = self.transport.get(url).header(ACCEPT, "application/json");
        let answer = receive(request).await.map_err(Fault::ProviderUnavailable)?;
        if answer.status.as_u16() != 200 {
            return Err(unusable(&format!("is answered with {}", answer.status.as_u16())));
        }
        let found: Discovered =
            serde_json::from_slice(&answer.body).map_err(|_| unusable("names no issuer and token_endpoint"))?;
        if found.issuer != name {
            return Err(unusable("is another issuer's: give --issuer exactly as the provider writes it"));
        }
        let endpoint = Address::parse(&found.token_endpoint, address.url().scheme() == "http")
            .map_err(|_| unusable("names a token_endpoint that no secret may be sent to"))?;
        if endpoint.same_origin(address) {
            Ok(endpoint)
        } else {
            Err(unusable("names a token_endpoint of another origin: if it is meant, give it with --token-endpoint"))
        }
    }

    async fn secret(&self) -> Result<Zeroizing<String>, Fault> {
        let path = &self.secret_file;
        let fault = |why: &str| Fault::File { path: path.clone(), why: why.to_owned() };
        let found = tokio::fs::metadata(path).await.map_err(|error| Fault::unread(path, &error))?;
        if !found.is_file() {
            // A pipe would be waited for.
            return Err(fault("is no regular file"));
        }
        let text = tokio::fs::read(path).await.map(Zeroizing::new).map_err(|error| Fault::unread(path, &error))?;
        if text.len() > MOST_BYTES {
            return Err(fault("is larger than 4 KiB"));
        }
        let text = str::from_utf8(&text).map_err(|_| fault("is not UTF-8"))?;
        let secret = text.trim_end_matches(['\n', '\r']);
        if secret.is_empty() { Err(fault("is empty")) } else { Ok(Zeroizing::new(secret.to_owned())) }
    }

    /// RFC 6749 section 2.3.1: both parts form-encoded first, or a colon in one of them would split it elsewhere.
    fn basic(&self, secret: &str) -> Result<HeaderValue, Fault> {
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = Zeroizing::new(format!("{}:{}", encoded(&self.client_id), encoded(secret)));
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&value).map_err(|_| Fault::Nonsense("a header of base64"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn whole(token: &SecretString) -> Result<WorkloadToken, Fault> {
    let unusable = || Fault::ProviderUnavailable("the access_token holds characters that no token has".to_owned());
    WorkloadToken::new(token.expose_secret()).ok_or_else(unusable)
}
