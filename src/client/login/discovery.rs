//! The provider's endpoints, from its discovery document. It is believed about the very issuer that was named, and sends to
//! that issuer's own origin only: whoever can write into the document must not be able to have a code or a token sent to him.

use reqwest::Url;
use reqwest::header::ACCEPT;
use serde::Deserialize;

use super::Login;
use super::fault::LoginFault;
use crate::client::address::Address;
use crate::client::transport::receive;

/// Where things are asked for.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) authorization: Option<Url>,
    pub(super) token: Url,
    pub(super) device: Option<Url>,
    pub(super) revocation: Option<Url>,
    /// Every answer of the authorization endpoint names its issuer (RFC 9207 section 3).
    pub(super) names_itself: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: String,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Login {
    pub(super) async fn discover(&self) -> Result<Provider, LoginFault> {
        let issuer = Address::parse(&self.issuer, self.insecure_http).map_err(LoginFault::Issuer)?;
        let url = issuer.below("/.well-known/openid-configuration");
        let request = self.transport.get(url).header(ACCEPT, "application/json");
        let answer = receive(request).await.map_err(LoginFault::Unreachable)?;
        if answer.status.as_u16() != 200 {
            return Err(LoginFault::Discovery("is not there; give --issuer exactly as the provider writes it"));
        }
        let document: Document = serde_json::from_slice(&answer.body)
            .map_err(|_| LoginFault::Discovery("names no issuer and token_endpoint"))?;
        if document.issuer != self.issuer {
            return Err(LoginFault::Discovery("is another issuer's; give --issuer exactly as the provider writes it"));
        }
        // Silence says nothing; a list without S256 says that the proof would not be looked at (RFC 7636 section 4.2).
        let proves =
            document.code_challenge_methods_supported.is_none_or(|methods| methods.iter().any(|m| m == "S256"));
        let own = |endpoint: &str| own(endpoint, &issuer);
        Ok(Provider {
            authorization: document.authorization_endpoint.as_deref().filter(|_| proves).map(own).transpose()?,
            token: own(&document.token_endpoint)?,
            device: document.device_authorization_endpoint.as_deref().map(own).transpose()?,
            revocation: document.revocation_endpoint.as_deref().map(own).transpose()?,
            names_itself: document.authorization_response_iss_parameter_supported,
        })
    }
}

fn own(endpoint: &str, issuer: &Address) -> Result<Url, LoginFault> {
    let address = Address::parse(endpoint, issuer.url().scheme() == "http");
    let own = address.ok().filter(|address| address.same_origin(issuer));
    own.map(|address| address.url())
        .ok_or(LoginFault::Discovery("names an endpoint that is not on the issuer's origin"))
}
