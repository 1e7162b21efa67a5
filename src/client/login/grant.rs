//! The token endpoint: a form goes there, and tokens or an OAuth error come back.

use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use secrecy::SecretString;
use serde::Deserialize;

use super::fault::LoginFault;
use crate::client::fault::Answered;
use crate::client::transport::{Received, Transport, receive};

/// What was granted.
#[derive(Debug, Deserialize)]
pub(super) struct Granted {
    pub(super) access_token: SecretString,
    #[serde(default)]
    pub(super) refresh_token: Option<SecretString>,
    #[serde(default)]
    pub(super) id_token: Option<SecretString>,
    /// Seconds.
    #[serde(default)]
    pub(super) expires_in: Option<u64>,
}

/// What the endpoint said.
#[derive(Debug)]
pub(super) enum Answer {
    Granted(Granted),
    /// An OAuth error, which may mean to come back.
    Refused(Answered),
}

/// Asks for tokens.
pub(super) async fn ask(transport: &Transport, url: &Url, form: &[(&str, &str)]) -> Result<Answer, LoginFault> {
    let answer = send(transport, url, form).await?;
    match answer.status.as_u16() {
        200 => read(&answer.body).map(Answer::Granted),
        400..=499 => Ok(Answer::Refused(answer.refusal())),
        _ => Err(LoginFault::Unreachable(format!("it answers {}", answer.refusal()))),
    }
}

/// Says something that is answered with nothing.
pub(super) async fn tell(transport: &Transport, url: &Url, form: &[(&str, &str)]) -> Result<(), LoginFault> {
    let answer = send(transport, url, form).await?;
    if answer.status.is_success() { Ok(()) } else { Err(LoginFault::Refused(answer.refusal())) }
}

/// Sends a form.
pub(super) async fn send(transport: &Transport, url: &Url, form: &[(&str, &str)]) -> Result<Received, LoginFault> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = transport.post(url.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    receive(request.header(ACCEPT, "application/json").body(body)).await.map_err(LoginFault::Unreachable)
}

fn read(body: &[u8]) -> Result<Granted, LoginFault> {
    serde_json::from_slice(body).map_err(|_| LoginFault::Nonsense("it holds no access_token"))
}
