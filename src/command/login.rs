//! `stint login`: a person's login at the identity provider, and the token of it for whatever asks the service.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{Failure, block_on, state_directory, variable};
use crate::client::Transport;
use crate::client::login::{Flow, Locked, Login, LoginFault, Prompt, Session, Store};
use crate::clock::{Clock, SystemClock};

/// Who logs in where, or what is done with the login there is.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct LoginOptions {
    /// The identity provider, byte for byte as it calls itself.
    #[arg(
        long,
        value_name = "URL",
        env = "STINT_LOGIN_ISSUER",
        required_unless_present = "about",
        requires = "client_id"
    )]
    issuer: Option<String>,
    /// A public client of the provider: with the device grant, or with PKCE and `http://127.0.0.1/callback` (any port) as its redirect.
    #[arg(long, value_name = "ID", env = "STINT_LOGIN_CLIENT_ID")]
    client_id: Option<String>,
    /// What is asked for; `offline_access` lets the login be renewed for longer at most providers.
    #[arg(long, value_name = "SCOPE", env = "STINT_LOGIN_SCOPE", default_value = "openid")]
    scope: String,
    /// How: `device` works from any machine; `code` wants a browser that reaches this one [default: code where there is a
    /// display, else device].
    #[arg(long, value_name = "FLOW")]
    flow: Option<FlowOption>,
    /// Say whose login there is. Exit code 1: nobody's.
    #[arg(long, group = "about")]
    status: bool,
    /// Print the login's token, renewed if it is nearly over.
    #[arg(long, group = "about")]
    token: bool,
    /// Take the login back at the provider, where it can be, and remove it here.
    #[arg(long, group = "about")]
    logout: bool,
    /// Trust these roots (PEM) besides the system's.
    #[arg(long, value_name = "PEM", env = "STINT_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Take http addresses of other machines: everybody on the way reads the tokens.
    #[arg(long, env = "STINT_INSECURE_HTTP")]
    insecure_http: bool,
    /// Answer in JSON, a line for each thing there is to say.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FlowOption {
    Device,
    Code,
}

impl From<LoginFault> for Failure {
    fn from(fault: LoginFault) -> Self {
        Self(fault.to_string())
    }
}

/// `stint login`
pub fn login(options: &LoginOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let place = Store::in_directory(&state_directory()?);
    // A place that cannot be used is told before anybody has typed a code.
    let store = place.clone().lock()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    match (options.status, options.token, options.logout) {
        (true, _, _) => status(options, &store, clock.as_ref(), out),
        (_, true, _) => block_on(token(options, &store, clock, out)),
        (_, _, true) => block_on(logout(options, &store, clock, out)),
        (false, false, false) => {
            // The person may take minutes, and another login's token may be wanted meanwhile.
            drop(store);
            block_on(begin(options, place, clock, out))
        }
    }
}

async fn begin(
    options: &LoginOptions,
    place: Store,
    clock: Arc<dyn Clock>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (issuer, client_id) =
        (options.issuer.clone().unwrap_or_default(), options.client_id.clone().unwrap_or_default());
    let login = Login {
        issuer,
        client_id,
        scope: options.scope.clone(),
        insecure_http: options.insecure_http,
        transport: transport(options)?,
        clock: Arc::clone(&clock),
    };
    let flow = match options.flow {
        Some(FlowOption::Device) => Flow::Device,
        Some(FlowOption::Code) => Flow::AuthorizationCode,
        None => {
            if has_display() {
                Flow::AuthorizationCode
            } else {
                Flow::Device
            }
        }
    };
    let rng = StdRng::try_from_rng(&mut SysRng);
    let mut rng = rng.map_err(|_| Failure("the system's random source failed".to_owned()))?;
    let mut ask = |prompt: Prompt| {
        // What cannot be said is found out by nobody logging in.
        let _ = say(options, &prompt, out).and_then(|()| out.flush());
    };
    let session = login.run(flow, &mut rng, &mut ask).await?;
    place.lock()?.write(&session)?;
    let status = session.status(clock.now());
    if options.json {
        return line(out, &json!({"logged_in": true, "login": status}));
    }
    Ok(writeln!(out, "logged in at {} as {}, until {}", status.issuer, status.subject, status.expires_at)?)
}

fn say(options: &LoginOptions, prompt: &Prompt, out: &mut dyn Write) -> std::io::Result<()> {
    let asked = match prompt {
        Prompt::Open { url } => json!({"open": url}),
        Prompt::Enter { url, user_code, complete } => {
            json!({"open": url, "user_code": user_code, "complete": complete})
        }
    };
    match prompt {
        _ if options.json => writeln!(out, "{asked}"),
        Prompt::Open { url } => writeln!(out, "Open this in a browser of this machine:\n\n    {url}\n"),
        Prompt::Enter { url, user_code, complete } => {
            writeln!(out, "Open this in any browser, and enter the code {user_code}:\n\n    {url}\n")?;
            complete
                .as_ref()
                .map_or(Ok(()), |url| writeln!(out, "or this, which holds the code already:\n\n    {url}\n"))
        }
    }
}

fn status(options: &LoginOptions, store: &Locked, clock: &dyn Clock, out: &mut dyn Write) -> Result<(), Failure> {
    let session = store.read()?;
    let status = session.map(|session| session.status(clock.now()));
    if options.json {
        line(out, &json!({"logged_in": status.is_some(), "login": status}))?;
    } else if let Some(status) = &status {
        let ends = match (status.expired, status.renewable) {
            (false, _) => "ends",
            (true, true) => "to be renewed since",
            (true, false) => "over since",
        };
        writeln!(out, "{} at {} ({}), {ends} {}", status.subject, status.issuer, status.client_id, status.expires_at)?;
    }
    status.map(|_| ()).ok_or_else(|| LoginFault::NotLoggedIn.into())
}

async fn token(
    options: &LoginOptions,
    store: &Locked,
    clock: Arc<dyn Clock>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = store.read()?.ok_or(LoginFault::NotLoggedIn)?;
    let login = again(options, &session, clock)?;
    let token = login.token(session, store).await?;
    if options.json {
        return line(out, &json!({"token": token.expose_secret()}));
    }
    // Without a newline into a file: some SDKs send it along.
    let end = if std::io::stdout().is_terminal() { "\n" } else { "" };
    Ok(write!(out, "{}{end}", token.expose_secret())?)
}

async fn logout(
    options: &LoginOptions,
    store: &Locked,
    clock: Arc<dyn Clock>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    // A file that cannot be read is removed all the same.
    let session = store.read().ok().flatten();
    let withdrawn = match session {
        Some(session) => again(options, &session, clock)?.withdraw(&session).await,
        None => Ok(()),
    };
    let was_there = store.remove()?;
    if options.json {
        line(out, &json!({"logged_out": was_there, "withdrawn": withdrawn.is_ok()}))?;
    } else {
        writeln!(out, "{}", if was_there { "logged out" } else { "nobody was logged in" })?;
    }
    withdrawn
        .map_err(|fault| Failure(format!("the login is removed here, but not taken back at the provider: {fault}")))
}

/// The login that made a session.
fn again(options: &LoginOptions, session: &Session, clock: Arc<dyn Clock>) -> Result<Login, Failure> {
    let (issuer, client_id, scope) = session.of();
    Ok(Login {
        issuer: issuer.to_owned(),
        client_id: client_id.to_owned(),
        scope: scope.to_owned(),
        insecure_http: options.insecure_http,
        transport: transport(options)?,
        clock,
    })
}

fn transport(options: &LoginOptions) -> Result<Transport, Failure> {
    Transport::new(options.ca_file.as_deref()).map_err(|fault| Failure(fault.to_string()))
}

/// Where a desktop would be.
fn has_display() -> bool {
    variable("DISPLAY").is_some() || variable("WAYLAND_DISPLAY").is_some()
}

fn line(out: &mut dyn Write, value: &Value) -> Result<(), Failure> {
    Ok(writeln!(out, "{value}")?)
}
