//! `stint agent exec`: a child with a private endpoint of its own.

use std::ffi::OsString;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::options::VARIABLES;
use super::serve::Opened;
use super::{Ground, LeaseOptions, block_on, log, wait};
use crate::client::{self, Endpoint, Imds, Variables};
use crate::command::Failure;

/// Which child.
#[derive(Debug, Args)]
pub struct ExecOptions {
    #[command(flatten)]
    lease: LeaseOptions,
    /// How long the first lease is waited for while stint or the identity provider is away.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = wait)]
    wait: Duration,
    /// Log as JSON lines.
    #[arg(long)]
    json: bool,
    /// Levels by target.
    #[arg(long, value_name = "LEVELS", env = "STINT_AGENT_LOG", default_value = "warn")]
    log: String,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// `stint agent exec`; answers with the child's exit code.
pub fn exec(options: ExecOptions) -> Result<u8, Failure> {
    block_on(async move {
        let _telemetry = log(options.json, &options.log)?;
        let mut ground = Ground::new()?;
        let service = options.lease.service(Arc::clone(&ground.clock))?;
        let Opened { door, token, file } = Opened::new(0, None, 0o600, &mut ground)?;
        let variables = Variables { address: door.address(), token_file: file.path().to_owned(), imds: Imds::Off };
        let (renewer, leases) = ground.renewer(service);
        let endpoint = Endpoint { leases: leases.clone(), token, clock: Arc::clone(&ground.clock) };
        let router = client::router(Arc::new(endpoint), &door, Imds::Off);
        let shutdown = CancellationToken::new();
        let ran = async {
            let ran = run(leases, options.wait, options.command, &variables).await;
            shutdown.cancel();
            ran
        };
        let (ran, served, ()) =
            tokio::join!(ran, client::serve(door, router, shutdown.clone()), renewer.run(shutdown.clone()));
        if let Err(error) = served {
            tracing::warn!(%error, "the endpoint ended");
        }
        ran
    })
}

/// A child is not started for a lease that is refused: it would only fail later, and less clearly.
async fn run(
    mut leases: client::Leases,
    patience: Duration,
    command: Vec<OsString>,
    variables: &Variables,
) -> Result<u8, Failure> {
    leases.first(patience).await.map_err(|fault| Failure(fault.to_string()))?;
    let mut words = command.into_iter();
    let program = words.next().unwrap_or_default();
    match client::exec(program, words.collect(), variables, &VARIABLES).await {
        Ok(code) => Ok(code),
        Err(fault) => {
            // As a shell: the message here, its code below.
            let _ = writeln!(std::io::stderr(), "stint: {fault}");
            Ok(fault.code())
        }
    }
}
