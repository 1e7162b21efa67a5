//! The token of whoever is logged in, for what runs beside a person's programs: read from the private file at each use, and
//! renewed there when it is nearly over.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{Locked, Login, LoginFault, Store};
use crate::client::fault::Fault;
use crate::client::token_source::WorkloadToken;
use crate::client::transport::Transport;
use crate::clock::Clock;

/// How long another process may take to renew the login.
const RENEWAL: Duration = Duration::from_secs(40);

/// Where the login is, and what renewing it needs.
#[derive(Debug)]
pub struct PersonalToken {
    /// The private file.
    pub store: Store,
    /// Takes http addresses of other machines.
    pub insecure_http: bool,
    /// For requests.
    pub transport: Transport,
    /// For the ends of tokens.
    pub clock: Arc<dyn Clock>,
}

impl PersonalToken {
    pub(in crate::client) async fn token(&self) -> Result<WorkloadToken, Fault> {
        let token = self.renewed().await.map_err(|fault| self.told(fault))?;
        WorkloadToken::new(token.expose_secret())
            .ok_or(Fault::Nonsense("the login's token has characters that no token has"))
    }

    /// Issuer, client and subject of the login; nobody's, where there is none.
    pub(in crate::client) fn identity(&self) -> String {
        let status = match self.store.read() {
            Ok(Some(session)) => session.status(self.clock.now()),
            Ok(None) | Err(_) => return "login".to_owned(),
        };
        format!("login {} {} {}", status.issuer, status.client_id, status.subject)
    }

    async fn renewed(&self) -> Result<secrecy::SecretString, LoginFault> {
        let store = self.locked().await?;
        let session = store.read()?.ok_or(LoginFault::NotLoggedIn)?;
        let (issuer, client_id, scope) = session.of();
        let login = Login {
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            scope: scope.to_owned(),
            insecure_http: self.insecure_http,
            transport: self.transport.clone(),
            clock: Arc::clone(&self.clock),
        };
        login.token(session, &store).await
    }

    /// Another process may be renewing.
    async fn locked(&self) -> Result<Locked, LoginFault> {
        self.store.clone().lock_within(RENEWAL).await
    }

    fn told(&self, fault: LoginFault) -> Fault {
        match fault {
            LoginFault::Refused(answered) => Fault::ProviderRefused(answered),
            LoginFault::Unreachable(why) => Fault::ProviderUnavailable(why),
            LoginFault::Store { path, why } => Fault::File { path, why },
            LoginFault::NotLoggedIn | LoginFault::Over => {
                Fault::File { path: self.store.path().to_owned(), why: fault.to_string() }
            }
            LoginFault::Issuer(_)
            | LoginFault::Discovery(_)
            | LoginFault::Nonsense(_)
            | LoginFault::Denied
            | LoginFault::TimedOut
            | LoginFault::Loopback(_) => Fault::ProviderUnavailable(fault.to_string()),
        }
    }
}
