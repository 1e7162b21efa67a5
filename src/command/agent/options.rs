//! What every way beside a workload wants to know: the service, the role, and where the workload's token comes from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::Mutex;

use crate::client::login::{PersonalToken, Store};
use crate::client::{
    Address, AddressFault, ClientCredentials, Provider, Service, TokenFile, TokenSource, Transport, Wish,
};
use crate::clock::Clock;
use crate::command::{Failure, state_directory};

/// Which lease, from whom, with which token.
#[derive(Debug, Args)]
pub struct LeaseOptions {
    /// The service: https, or http on loopback.
    #[arg(long, value_name = "URL", env = "STINT_URL")]
    server: String,
    /// A role's name, or `any`: all roles that match.
    #[arg(long, value_name = "ROLE", env = "STINT_ROLE", default_value = "any")]
    role: String,
    /// The workload's token, read anew for each exchange.
    #[arg(
        long,
        value_name = "FILE",
        env = "STINT_TOKEN_FILE",
        required_unless_present_any = ["client_id", "login"],
        conflicts_with_all = ["client_id", "login"]
    )]
    token_file: Option<PathBuf>,
    /// The token of whoever is logged in by `stint login`, renewed as it needs.
    #[arg(long, conflicts_with = "client_id")]
    login: bool,
    /// Get tokens by OAuth client credentials, as this client.
    #[arg(long, value_name = "ID", env = "STINT_CLIENT_ID", requires = "client_secret_file", requires = "provider")]
    client_id: Option<String>,
    /// The client's secret, read anew for each token.
    #[arg(long, value_name = "FILE", env = "STINT_CLIENT_SECRET_FILE")]
    client_secret_file: Option<PathBuf>,
    /// The identity provider, byte for byte as it calls itself: its discovery document names the token endpoint.
    #[arg(long, value_name = "URL", env = "STINT_ISSUER", group = "provider")]
    issuer: Option<String>,
    /// The token endpoint itself, instead of --issuer.
    #[arg(long, value_name = "URL", env = "STINT_TOKEN_URL", group = "provider")]
    token_endpoint: Option<String>,
    /// The scope to ask the identity provider for.
    #[arg(long, value_name = "SCOPE", env = "STINT_SCOPE")]
    scope: Option<String>,
    /// Trust these roots (PEM) besides the system's, for the service and the identity provider.
    #[arg(long, value_name = "PEM", env = "STINT_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// The length wanted, as in 45m; more than the role allows is shortened [default: the role's].
    #[arg(long, value_name = "TIME", env = "STINT_DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Recorded with each lease: 2 to 64 characters of `A-Za-z0-9_+=,.@-`.
    #[arg(long, value_name = "NAME", env = "STINT_SESSION_NAME", value_parser = session_name)]
    session_name: Option<String>,
    /// Take http addresses of other machines: everybody on the way reads the token and the credentials.
    #[arg(long, env = "STINT_INSECURE_HTTP")]
    insecure_http: bool,
}

/// Names of the variables above, which say where tokens and secrets are: a child is not told.
pub(super) const VARIABLES: [&str; 12] = [
    "STINT_URL",
    "STINT_ROLE",
    "STINT_TOKEN_FILE",
    "STINT_CLIENT_ID",
    "STINT_CLIENT_SECRET_FILE",
    "STINT_ISSUER",
    "STINT_TOKEN_URL",
    "STINT_SCOPE",
    "STINT_CA_FILE",
    "STINT_DURATION",
    "STINT_SESSION_NAME",
    "STINT_INSECURE_HTTP",
];

fn duration(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).map_err(|_| "must be a time, as in 45m or 1h".to_owned())?;
    if length < Duration::from_mins(15) { Err("must be 15m or more".to_owned()) } else { Ok(length) }
}

fn session_name(text: &str) -> Result<String, String> {
    let good = (2..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
    if good { Ok(text.to_owned()) } else { Err("must be 2 to 64 characters of A-Za-z0-9_+=,.@-".to_owned()) }
}

impl LeaseOptions {
    /// The service, with everything that exchanges need. No network yet.
    pub(super) fn service(self, clock: Arc<dyn Clock>) -> Result<Service, Failure> {
        let transport = Transport::new(self.ca_file.as_deref()).map_err(|fault| Failure(fault.to_string()))?;
        let address = |option: &str, text: &str| {
            let bad = |fault: AddressFault| Failure(format!("{option} {fault}"));
            Address::parse(text, self.insecure_http).map_err(bad)
        };
        let tokens = match (self.token_file, self.client_id) {
            (Some(file), _) => TokenSource::File(TokenFile::new(file)),
            (None, Some(client_id)) => {
                let provider = match (self.issuer, self.token_endpoint) {
                    (_, Some(endpoint)) => Provider::TokenEndpoint(address("--token-endpoint", &endpoint)?),
                    (Some(name), None) => Provider::Issuer { address: address("--issuer", &name)?, name },
                    (None, None) => return Err(Failure("--client-id needs --issuer or --token-endpoint".to_owned())),
                };
                let secret_file = self.client_secret_file;
                TokenSource::Client(Box::new(ClientCredentials {
                    provider,
                    client_id,
                    secret_file: secret_file.ok_or(Failure("--client-id needs --client-secret-file".to_owned()))?,
                    scope: self.scope,
                    transport: transport.clone(),
                    clock: Arc::clone(&clock),
                    kept: Mutex::new(None),
                }))
            }
            (None, None) if self.login => TokenSource::Person(Box::new(PersonalToken {
                store: Store::in_directory(&state_directory()?),
                insecure_http: self.insecure_http,
                transport: transport.clone(),
                clock: Arc::clone(&clock),
            })),
            (None, None) => {
                return Err(Failure("give --token-file, --login, or --client-id with its secret".to_owned()));
            }
        };
        let wish = Wish {
            role: self.role,
            duration_seconds: self.duration.map(|length| length.as_secs()),
            session_name: self.session_name,
        };
        Ok(Service { address: address("--server", &self.server)?, tokens, wish, transport, clock })
    }
}
