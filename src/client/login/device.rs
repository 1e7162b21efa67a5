//! The device flow (RFC 8628): the person types a code elsewhere, and this side asks until it was done.

use std::time::Duration;

use rand::rngs::StdRng;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::sleep;

use super::discovery::Provider;
use super::fault::LoginFault;
use super::grant::{self, Answer, Granted};
use super::proof::Proof;
use super::{Login, Prompt};
use crate::client::fault::one_line;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How long between two questions where the provider does not say (RFC 8628 section 3.2), and what one that asks to slow down
/// adds (section 3.5).
const INTERVAL: Duration = Duration::from_secs(5);
/// The longest wait between two questions, whatever the provider says.
const LONGEST_INTERVAL: Duration = Duration::from_mins(1);
/// The longest that anybody is waited for.
const LONGEST: Duration = Duration::from_mins(30);

#[derive(Deserialize)]
struct Begun {
    device_code: SecretString,
    user_code: String,
    verification_uri: String,
    #[serde(default)]
    verification_uri_complete: Option<String>,
    expires_in: u64,
    #[serde(default)]
    interval: Option<u64>,
}

impl Login {
    pub(super) async fn by_device(
        &self,
        provider: &Provider,
        endpoint: &Url,
        rng: &mut StdRng,
        ask: &mut dyn FnMut(Prompt),
    ) -> Result<Granted, LoginFault> {
        // No part of RFC 8628, and passed over by whoever does not know it: Keycloak wants it of a client that must prove itself.
        let proof = Proof::draw(rng);
        let form = [
            ("client_id", self.client_id.as_str()),
            ("scope", &self.scope),
            ("code_challenge", &proof.challenge),
            ("code_challenge_method", Proof::METHOD),
        ];
        let answer = grant::send(&self.transport, endpoint, &form).await?;
        if !answer.status.is_success() {
            return Err(LoginFault::Refused(answer.refusal()));
        }
        let begun: Begun = serde_json::from_slice(&answer.body)
            .map_err(|_| LoginFault::Nonsense("it holds no device_code, user_code and verification_uri"))?;
        let shown = |address: &str| shown(address).ok_or(LoginFault::Nonsense("verification_uri is no web address"));
        ask(Prompt::Enter {
            url: shown(&begun.verification_uri)?,
            user_code: one_line(&begun.user_code),
            complete: begun.verification_uri_complete.as_deref().map(shown).transpose()?,
        });
        self.until_done(provider, &begun, &proof).await
    }

    async fn until_done(&self, provider: &Provider, begun: &Begun, proof: &Proof) -> Result<Granted, LoginFault> {
        let until = self.clock.elapsed() + Duration::from_secs(begun.expires_in).min(LONGEST);
        let mut interval =
            begun.interval.map_or(INTERVAL, Duration::from_secs).clamp(Duration::from_secs(1), LONGEST_INTERVAL);
        let form = [
            ("grant_type", GRANT_TYPE),
            ("device_code", begun.device_code.expose_secret()),
            ("client_id", self.client_id.as_str()),
            ("code_verifier", proof.verifier()),
        ];
        loop {
            sleep(interval).await;
            if self.clock.elapsed() >= until {
                return Err(LoginFault::TimedOut);
            }
            match grant::ask(&self.transport, &provider.token, &form).await {
                Ok(Answer::Granted(granted)) => return Ok(granted),
                Ok(Answer::Refused(answered)) => match answered.code.as_str() {
                    "authorization_pending" => {}
                    "slow_down" => interval = (interval + INTERVAL).min(LONGEST_INTERVAL),
                    "access_denied" => return Err(LoginFault::Denied),
                    "expired_token" => return Err(LoginFault::TimedOut),
                    _ => return Err(LoginFault::Refused(answered)),
                },
                // Section 3.5: one that is away for a moment is asked less often.
                Err(LoginFault::Unreachable(_)) => interval = (interval * 2).min(LONGEST_INTERVAL),
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// An address that may be shown to a person: a web address, without anything that a terminal would obey.
fn shown(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    (matches!(url.scheme(), "https" | "http") && url.host_str().is_some()).then(|| url.to_string())
}
