//! The ID token of an authorization code. It came from the token endpoint itself, over a connection that proved who answers:
//! that stands for its signature (OpenID Connect Core section 3.1.3.7, rule 6). What remains is whether it is of this login.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::fault::LoginFault;
use super::grant::Granted;

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    #[serde(default)]
    nonce: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// What is read of a token without believing it.
#[derive(Debug, Default, Deserialize)]
struct Subject {
    #[serde(default)]
    sub: String,
}

/// The second part of a JWT.
fn claims<T: serde::de::DeserializeOwned>(token: &str) -> Option<T> {
    let part = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// `sub`, to be shown; empty where there is none.
pub(super) fn subject(token: &str) -> String {
    claims::<Subject>(token).unwrap_or_default().sub
}

/// Whether the ID token is the issuer's, for this client, and of this request. There must be one: `openid` was asked for.
pub(super) fn check(granted: &Granted, issuer: &str, client_id: &str, nonce: &str) -> Result<(), LoginFault> {
    let token =
        granted.id_token.as_ref().ok_or(LoginFault::Nonsense("it holds no ID token; ask for the scope openid"))?;
    let claims: Claims = claims(token.expose_secret()).ok_or(LoginFault::Nonsense("its ID token cannot be read"))?;
    let for_us = match &claims.aud {
        Audience::One(audience) => audience == client_id,
        Audience::Many(audiences) => audiences.iter().any(|audience| audience == client_id),
    };
    if claims.iss != issuer {
        return Err(LoginFault::Nonsense("its ID token is another issuer's"));
    }
    if !for_us {
        return Err(LoginFault::Nonsense("its ID token is for another client"));
    }
    verify_slices_are_equal(claims.nonce.as_bytes(), nonce.as_bytes())
        .map_err(|_| LoginFault::Nonsense("its ID token is of another request"))
}
