//! A person's login: OAuth 2.0 for a public client, by the device flow (RFC 8628) or by an authorization code with PKCE on
//! loopback (RFC 7636, RFC 8252). It never starts a browser: it says where to go. What is granted is kept in one private
//! file, renewed when it is asked for, and never shown but for that.

mod authorization_code;
mod callback;
mod device;
mod discovery;
mod fault;
mod grant;
mod id_token;
mod personal_token;
mod proof;
mod session;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use secrecy::SecretString;

use super::transport::Transport;
use crate::clock::Clock;
use discovery::Provider;

pub use fault::LoginFault;
pub use personal_token::PersonalToken;
pub use session::{Session, Status};
pub use store::{Locked, Store};

/// A token with less life than this is renewed before it is shown.
const NEARLY_OVER: Duration = Duration::from_mins(1);

/// Who logs in where.
#[derive(Debug)]
pub struct Login {
    /// `iss`, byte for byte as the provider calls itself.
    pub issuer: String,
    /// The public client.
    pub client_id: String,
    /// What is asked for; `openid` must be part of it.
    pub scope: String,
    /// Takes http addresses of other machines.
    pub insecure_http: bool,
    /// For requests.
    pub transport: Transport,
    /// For the ends of tokens.
    pub clock: Arc<dyn Clock>,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The person opens an address on any machine and types a code.
    Device,
    /// The person opens an address on this machine.
    AuthorizationCode,
}

/// What the person is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Open this here, in a browser that reaches this machine's loopback.
    Open {
        /// The address.
        url: String,
    },
    /// Open this anywhere and enter the code.
    Enter {
        /// The address.
        url: String,
        /// The code.
        user_code: String,
        /// The address that holds the code already, where the provider has one.
        complete: Option<String>,
    },
}

impl Login {
    /// Logs in, and tells by `ask` what the person has to do. A provider without a device endpoint is logged in to by the
    /// other flow.
    pub async fn run(&self, flow: Flow, rng: &mut StdRng, ask: &mut dyn FnMut(Prompt)) -> Result<Session, LoginFault> {
        let provider = self.discover().await?;
        let granted = match (flow, &provider.device) {
            (Flow::Device, Some(endpoint)) => self.by_device(&provider, endpoint, rng, ask).await?,
            (Flow::Device, None) | (Flow::AuthorizationCode, _) => {
                self.by_authorization_code(&provider, rng, ask).await?
            }
        };
        Ok(Session::new(self, granted))
    }

    /// The session's token, renewed first if it is nearly over. A renewed session is written to `store` before its token is
    /// shown: the provider may have taken the old refresh token back.
    pub async fn token(&self, session: Session, store: &Locked) -> Result<SecretString, LoginFault> {
        let session = if session.lives_for(self.clock.now()) > NEARLY_OVER {
            session
        } else {
            let renewed = self.renew(&session).await?;
            store.write(&renewed)?;
            renewed
        };
        session.token().ok_or(LoginFault::Nonsense("the token has characters that no token has"))
    }

    async fn renew(&self, session: &Session) -> Result<Session, LoginFault> {
        let refresh_token = session.refresh_token().ok_or(LoginFault::Over)?;
        let provider = self.discover().await?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token), ("client_id", &self.client_id)];
        match grant::ask(&self.transport, &provider.token, &form).await? {
            grant::Answer::Granted(granted) => Ok(session.renewed(self, granted)),
            grant::Answer::Refused(answered) if answered.code == "invalid_grant" => Err(LoginFault::Over),
            grant::Answer::Refused(answered) => Err(LoginFault::Refused(answered)),
        }
    }

    /// Asks the provider to take the session's refresh token back (RFC 7009), where it can. The file goes whatever comes of it.
    pub async fn withdraw(&self, session: &Session) -> Result<(), LoginFault> {
        let Some(refresh_token) = session.refresh_token() else { return Ok(()) };
        let Provider { revocation: Some(endpoint), .. } = self.discover().await? else { return Ok(()) };
        let form = [("token", refresh_token), ("token_type_hint", "refresh_token"), ("client_id", &self.client_id)];
        grant::tell(&self.transport, &endpoint, &form).await
    }
}
