//! `stint agent files`: files of credentials that are always whole.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::serve::file_mode;
use super::{Ground, LeaseOptions, block_on, log, renew_on_hangup, wait};
use crate::client::{self, Directory, Files, Form, Hook, Lease, Permissions};
use crate::command::{Failure, cancel_on_signal};

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// `credentials`: an AWS shared credentials file.
    Aws,
    /// `rclone.conf`: a remote.
    Rclone,
    /// `access-key`, `secret-key`, `session-token`, `expiration`: the bare values.
    Plain,
}

/// What is written where.
#[derive(Debug, Args)]
pub struct FilesOptions {
    #[command(flatten)]
    lease: LeaseOptions,
    /// The directory; the files are in its `current`. One agent for each.
    #[arg(long, value_name = "DIR", env = "STINT_FILES_DIRECTORY")]
    directory: PathBuf,
    /// Which files.
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_value = "aws,rclone,plain")]
    write: Vec<Kind>,
    /// The profile's name in `credentials`.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = name)]
    profile: String,
    /// The remote's name in `rclone.conf`.
    #[arg(long, value_name = "NAME", default_value = "stint", value_parser = name)]
    remote: String,
    /// The object server, for `rclone.conf`.
    #[arg(long, value_name = "URL", env = "STINT_S3_URL", value_parser = value)]
    s3_endpoint: Option<String>,
    /// Its region, for `rclone.conf`.
    #[arg(long, value_name = "REGION", env = "STINT_S3_REGION", default_value = "us-east-1", value_parser = value)]
    s3_region: String,
    /// The files' mode; nothing for others.
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = file_mode)]
    mode: u32,
    /// The files' owner, by numbers; needs the right to give files away.
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    owner: Option<(u32, u32)>,
    /// Run this line with /bin/sh after each refresh; `$STINT_FILES` is the directory of the files.
    #[arg(long, value_name = "LINE")]
    after: Option<String>,
    /// Send this signal after each refresh: HUP, USR1, USR2, TERM or INT.
    #[arg(long, value_name = "NAME", requires = "pid_file", value_parser = signal)]
    signal: Option<rustix::process::Signal>,
    /// To the process whose id this file holds.
    #[arg(long, value_name = "FILE", requires = "signal")]
    pid_file: Option<PathBuf>,
    /// Write the files once, then end.
    #[arg(long)]
    once: bool,
    /// With --once: how long the lease is waited for while stint or the identity provider is away.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = wait)]
    wait: Duration,
    /// Log as JSON lines.
    #[arg(long)]
    json: bool,
    /// Levels by target.
    #[arg(long, value_name = "LEVELS", env = "STINT_AGENT_LOG", default_value = "info")]
    log: String,
}

fn name(text: &str) -> Result<String, String> {
    if Form::is_name(text) { Ok(text.to_owned()) } else { Err("must be of A-Za-z0-9_.-".to_owned()) }
}

fn value(text: &str) -> Result<String, String> {
    if Form::is_value(text) { Ok(text.to_owned()) } else { Err("must be visible ASCII characters".to_owned()) }
}

fn owner(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once(':').and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
    numbers.ok_or_else(|| "must be two numbers, as in 1000:1000".to_owned())
}

fn signal(text: &str) -> Result<rustix::process::Signal, String> {
    Hook::signal(text).ok_or_else(|| "must be HUP, USR1, USR2, TERM or INT".to_owned())
}

/// `stint agent files`
pub fn files(options: FilesOptions, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    block_on(async move {
        let _telemetry = log(options.json, &options.log)?;
        let mut ground = Ground::new()?;
        let forms = forms(&options);
        let permissions = Permissions { mode: options.mode, owner: options.owner };
        let directory = Directory::open(&options.directory, permissions).map_err(|fault| Failure(fault.to_string()))?;
        let signal = options.signal.zip(options.pid_file).map(|(signal, file)| Hook::Signal(signal, file));
        let hooks = options.after.map(Hook::Command).into_iter().chain(signal).collect();
        let files = Files { directory, forms, hooks, clock: Arc::clone(&ground.clock) };
        let (renewer, mut leases) = ground.renewer(options.lease.service(Arc::clone(&ground.clock))?);
        let shutdown = CancellationToken::new();
        if options.once {
            let once = async {
                let lease = leases.first(options.wait).await.map_err(|fault| Failure(fault.to_string()));
                let wrote = write_once(files, lease, out).await;
                shutdown.cancel();
                wrote
            };
            let stopped = Failure("asked to end before the files were written".to_owned());
            let (wrote, (), ()) = tokio::join!(
                async { shutdown.run_until_cancelled(once).await.unwrap_or(Err(stopped)) },
                renewer.run(shutdown.clone()),
                cancel_on_signal(shutdown.clone())
            );
            return wrote;
        }
        tokio::join!(
            renewer.run(shutdown.clone()),
            client::keep(files, leases.clone(), shutdown.clone()),
            cancel_on_signal(shutdown.clone()),
            renew_on_hangup(leases, shutdown.clone()),
        );
        Ok(())
    })
}

fn forms(options: &FilesOptions) -> Vec<Form> {
    let mut kinds = options.write.clone();
    kinds.dedup();
    let form = |kind| match kind {
        Kind::Aws => Form::Aws { profile: options.profile.clone() },
        Kind::Rclone => Form::Rclone {
            remote: options.remote.clone(),
            endpoint: options.s3_endpoint.clone(),
            region: options.s3_region.clone(),
        },
        Kind::Plain => Form::Plain,
    };
    kinds.into_iter().map(form).collect()
}

async fn write_once(
    mut files: Files,
    lease: Result<Arc<Lease>, Failure>,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let lease = lease?;
    files.write(&lease).map_err(|fault| Failure(fault.to_string()))?;
    let failures = files.tell().await;
    if !failures.is_empty() {
        return Err(Failure(failures.join("\n")));
    }
    writeln!(out, "{}", files.directory.current().display())?;
    Ok(())
}
