//! `stint agent serve`: the loopback endpoint, its token file, and the lines that point an SDK at both.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Ground, LeaseOptions, block_on, log, renew_on_hangup, runtime_directory};
use crate::client::{self, Door, Endpoint, EndpointToken, Imds, Leases, TokenFileOnDisk, Variables};
use crate::command::{Failure, cancel_on_signal};

/// A mode that nobody outside owner and group can use.
const CLOSED: u32 = 0o007;

/// How the endpoint is opened.
#[derive(Debug, Args)]
pub struct ServeOptions {
    #[command(flatten)]
    lease: LeaseOptions,
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, value_name = "PORT", env = "STINT_AGENT_PORT", default_value_t = 0)]
    port: u16,
    /// Where to write the callers' token [default: a new private directory below `$XDG_RUNTIME_DIR` or the temporary one].
    #[arg(long, value_name = "FILE", env = "STINT_AGENT_TOKEN_FILE")]
    authorization_token_file: Option<PathBuf>,
    /// The mode of that file: 0640 shows it to another user of the group, as in a pod.
    #[arg(
        long,
        value_name = "MODE",
        default_value = "0600",
        value_parser = file_mode,
        requires = "authorization_token_file"
    )]
    authorization_token_mode: u32,
    /// Write the variables that point an SDK here to this file, once the endpoint listens.
    #[arg(long, value_name = "FILE", env = "STINT_AGENT_ENV_FILE")]
    env_file: Option<PathBuf>,
    /// Answer EC2 metadata requests too (IMDSv2). Weaker: every program and user of this machine can get the lease.
    #[arg(long)]
    imds: bool,
    /// Log as JSON lines.
    #[arg(long)]
    json: bool,
    /// Levels by target.
    #[arg(long, value_name = "LEVELS", env = "STINT_AGENT_LOG", default_value = "info")]
    log: String,
}

pub(super) fn file_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    match mode {
        Some(mode) if mode & CLOSED != 0 => {
            Err("must give nothing to others: they would have the credentials".to_owned())
        }
        Some(mode) if mode & 0o400 != 0 => Ok(mode),
        Some(_) | None => Err("must be an octal mode, as in 0640".to_owned()),
    }
}

/// `stint agent serve`
pub fn serve(options: ServeOptions, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    block_on(async move {
        let _telemetry = log(options.json, &options.log)?;
        let mut ground = Ground::new()?;
        let imds = if options.imds { Imds::On } else { Imds::Off };
        let service = options.lease.service(Arc::clone(&ground.clock))?;
        let what = service.to_string();
        let opened =
            Opened::new(options.port, options.authorization_token_file, options.authorization_token_mode, &mut ground)?;
        let Opened { door, token, file } = opened;
        let variables = Variables { address: door.address(), token_file: file.path().to_owned(), imds };
        let (renewer, leases) = ground.renewer(service);
        let endpoint = Endpoint { leases: leases.clone(), token, clock: Arc::clone(&ground.clock) };
        let router = client::router(Arc::new(endpoint), &door, imds);
        let lines = variables.lines();
        if let Some(path) = &options.env_file {
            let unwritten = |error| Failure(format!("--env-file {}: {error}", path.display()));
            client::write_private(path, lines.as_bytes(), 0o600).map_err(unwritten)?;
        }
        write!(out, "{lines}")?;
        out.flush()?;
        tracing::info!(address = %door.address(), lease = what, "the agent listens");
        if imds == Imds::On {
            tracing::warn!("--imds: every program and user of this machine can get the lease without the token file");
        }
        let shutdown = CancellationToken::new();
        let served = async {
            let served = client::serve(door, router, shutdown.clone()).await;
            shutdown.cancel();
            served
        };
        let (served, (), (), told, ()) = tokio::join!(
            served,
            renewer.run(shutdown.clone()),
            cancel_on_signal(shutdown.clone()),
            tell_ready(leases.clone(), out, shutdown.clone()),
            renew_on_hangup(leases, shutdown.clone()),
        );
        Ok(served.and(told)?)
    })
}

/// The door with its token on disk.
pub(super) struct Opened {
    pub(super) door: Door,
    pub(super) token: EndpointToken,
    pub(super) file: TokenFileOnDisk,
}

impl Opened {
    pub(super) fn new(port: u16, path: Option<PathBuf>, mode: u32, ground: &mut Ground) -> Result<Self, Failure> {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let door = Door::open(address).map_err(|error| Failure(format!("listening on {address}: {error}")))?;
        let token = EndpointToken::generate(&mut ground.rng);
        let unwritten = |path: &Path| {
            let path = path.display().to_string();
            move |error| Failure(format!("writing the endpoint's token to {path}: {error}"))
        };
        let file = if let Some(path) = path {
            token.write(&std::path::absolute(&path)?, mode).map_err(unwritten(&path))?
        } else {
            let directory = runtime_directory();
            token.write_below(&directory, &mut ground.rng).map_err(unwritten(&directory))?
        };
        if Variables::can_name(file.path()) {
            Ok(Self { door, token, file })
        } else {
            Err(Failure("the path of the endpoint's token holds characters that no variable can".to_owned()))
        }
    }
}

/// One line on stdout when the first lease is held: whoever starts the workload can wait for it.
async fn tell_ready(
    mut leases: Leases,
    out: &mut (dyn Write + Send),
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let held = async {
        loop {
            match leases.next().await {
                Some(Ok(lease)) => return Some(lease),
                Some(Err(_)) => {}
                None => return None,
            }
        }
    };
    if let Some(Some(lease)) = shutdown.run_until_cancelled(held).await {
        writeln!(out, "# ready: role {}, lease {}", lease.role(), lease.id())?;
        out.flush()?;
    }
    Ok(())
}
