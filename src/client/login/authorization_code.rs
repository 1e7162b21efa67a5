//! An authorization code with PKCE (RFC 7636) on a loopback redirect (RFC 8252). The state ties the answer to this login, the
//! verifier ties the code to this process, the nonce ties the ID token to this request, and `iss` (RFC 9207) ties the
//! answer to the provider that was asked.

use rand::rngs::StdRng;
use secrecy::ExposeSecret;

use super::callback::{Callback, Loopback};
use super::discovery::Provider;
use super::fault::LoginFault;
use super::grant::{self, Answer, Granted};
use super::proof::{Proof, random_text};
use super::{Login, Prompt, id_token};
use crate::client::fault::Answered;

impl Login {
    pub(super) async fn by_authorization_code(
        &self,
        provider: &Provider,
        rng: &mut StdRng,
        ask: &mut dyn FnMut(Prompt),
    ) -> Result<Granted, LoginFault> {
        let endpoint = provider.authorization.as_ref();
        let endpoint =
            endpoint.ok_or(LoginFault::Discovery("names no authorization_endpoint that takes PKCE with S256"))?;
        let loopback = Loopback::open().await?;
        let redirect_uri = loopback.redirect_uri();
        let (state, nonce, proof) = (random_text(rng), random_text(rng), Proof::draw(rng));
        let mut url = endpoint.clone();
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &redirect_uri),
            ("scope", &self.scope),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &proof.challenge),
            ("code_challenge_method", Proof::METHOD),
        ]);
        ask(Prompt::Open { url: url.to_string() });

        let Callback { code, iss, error } = loopback.wait(&state).await?;
        self.is_from(provider, iss.as_deref())?;
        let code = match (code, error.as_deref()) {
            (Some(code), None) => code,
            (_, Some("access_denied")) => return Err(LoginFault::Denied),
            (_, Some(error)) => return Err(refused(error)),
            (None, None) => return Err(LoginFault::Nonsense("it brings no code")),
        };
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.expose_secret()),
            ("redirect_uri", &redirect_uri),
            ("client_id", &self.client_id),
            ("code_verifier", proof.verifier()),
        ];
        match grant::ask(&self.transport, &provider.token, &form).await? {
            Answer::Granted(granted) => {
                id_token::check(&granted, &self.issuer, &self.client_id, &nonce)?;
                Ok(granted)
            }
            Answer::Refused(answered) => Err(LoginFault::Refused(answered)),
        }
    }

    /// RFC 9207 section 2.4: another issuer's answer, or none where every answer has one, is the mix-up attack.
    fn is_from(&self, provider: &Provider, iss: Option<&str>) -> Result<(), LoginFault> {
        match iss {
            Some(iss) if iss == self.issuer => Ok(()),
            Some(_) => Err(LoginFault::Nonsense("it comes from another issuer")),
            None if provider.names_itself => Err(LoginFault::Nonsense("it does not say which issuer it comes from")),
            None => Ok(()),
        }
    }
}

fn refused(error: &str) -> LoginFault {
    LoginFault::Refused(Answered {
        status: 302,
        code: error.to_owned(),
        said: String::new(),
        request_id: None,
        retry_after: None,
    })
}
