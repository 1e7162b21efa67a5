//! `stint object-server rotate`: what was done, and what to put into the configuration. No key is printed unless asked for.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::ExposeSecret;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use super::verify::show;
use crate::app::{KeyFiles, RotateError, Rotated, Rotation, Waiting};
use crate::clock::{Clock, SystemClock};
use crate::command::{Failure, block_on, cancel_on_signal, load, with_causes};
use crate::config::{BootstrapConfig, ProcessEnvironment};
use crate::object_server::Duty;
use crate::object_server::conformance::Check;
use crate::policy::RoleName;

/// What is asked of it.
#[derive(Debug, clap::Args)]
pub struct RotateOptions {
    /// The configuration file.
    #[arg(long, default_value = "stint.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// Rotate this role's parent [default: the default parent].
    #[arg(long, value_name = "ROLE", conflicts_with = "finish")]
    pub role: Option<String>,
    /// Where the new key goes: the files `access_key` and `secret_key`, mode 600. Run again with the same directory, it goes
    /// on with the key that is there.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["plan", "finish"])]
    pub into: Option<PathBuf>,
    /// Only say what would be done.
    #[arg(long)]
    pub plan: bool,
    /// Delete the users of the retired parents on which, by the log, nothing hangs any more.
    #[arg(long)]
    pub finish: bool,
    /// Print the new key too.
    #[arg(long, conflicts_with_all = ["plan", "finish"])]
    pub print: bool,
}

impl From<RotateError> for Failure {
    fn from(error: RotateError) -> Self {
        Self(with_causes(&error))
    }
}

/// `stint object-server rotate`
pub fn rotate(options: &RotateOptions, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let config = load(&options.config)?;
    let own = BootstrapConfig::load(&options.config, &ProcessEnvironment)
        .map_err(|problems| Failure(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let rotation = Rotation::new(config, own.key, clock)?;
    block_on(async {
        let stop = CancellationToken::new();
        let work = async {
            let done = perform(&rotation, options, &stop, out).await;
            stop.cancel();
            done
        };
        tokio::join!(cancel_on_signal(stop.clone()), work).1
    })
}

async fn perform(
    rotation: &Rotation,
    options: &RotateOptions,
    stop: &CancellationToken,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    if options.finish {
        return finish(rotation, options.plan, out).await;
    }
    let role = options.role.as_deref();
    let (duty, policies) = rotation.plan(role).await?;
    writeln!(out, "{duty}: its policies are {policies}")?;
    let Some(directory) = options.into.as_ref().filter(|_| !options.plan) else {
        writeln!(out, "would make a new user with these policies, and try its key")?;
        return Ok(());
    };
    let files = KeyFiles::new(absolute(directory)?);
    let mut told = Ok(());
    let mut tell = |check: &Check| {
        if told.is_ok() {
            told = show(check, out);
        }
    };
    let rotated = rotation.rotate(role, &files, stop, &mut tell).await?;
    told?;
    instruct(&rotated, &files, options.print, out)?;
    Ok(())
}

fn absolute(directory: &Path) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(directory)?)
}

fn instruct(rotated: &Rotated, files: &KeyFiles, print: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let Rotated { duty, policies: _, key } = rotated;
    let block = match duty {
        Duty::Default | Duty::Retired => "[object_server]".to_owned(),
        Duty::Roles(roles) => {
            let names: Vec<String> = roles.iter().map(RoleName::as_str).map(|name| format!("{name:?}")).collect();
            format!("[[object_server.parent]]\nroles = [{}]", names.join(", "))
        }
    };
    writeln!(
        out,
        "\nThe new user is there and mints. Now, in the configuration of every instance:\n\n{block}\naccess_key_file = \
         \"{}\"\nsecret_key_file = \"{}\"\n\n[[object_server.retired_parent]]\n# access_key and secret_key (or the files) as \
         they were there until now\n\nThen send SIGHUP to every instance, or restart one after another: both keys are good. \
         When the last\nlease of the old one has ended, `stint object-server rotate --finish` deletes its user.",
        files.access_key().display(),
        files.secret_key().display(),
    )?;
    if print {
        let (access_key, secret_key) = (key.access_key.expose_secret(), key.secret_key.expose_secret());
        writeln!(out, "\naccess_key = \"{access_key}\"\nsecret_key = \"{secret_key}\"")?;
    }
    out.flush()
}

async fn finish(rotation: &Rotation, plan_only: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let ended = rotation.finish(plan_only).await?;
    let mut waits = 0;
    for (index, waiting) in ended.iter().enumerate() {
        let told = match waiting {
            Waiting::Done { now: true } => "its user is deleted: remove the block".to_owned(),
            Waiting::Done { now: false } => "there is no such user any more: remove the block".to_owned(),
            Waiting::WouldDelete => "nothing hangs on it: would disable and delete its user".to_owned(),
            Waiting::Until { at, because } => {
                waits += 1;
                format!("not before {}: {because}", at.format(&Rfc3339).unwrap_or_default())
            }
        };
        writeln!(out, "object_server.retired_parent[{index}]: {told}")?;
    }
    match waits {
        0 => Ok(()),
        _ => Err(Failure("not finished: something still hangs on a retired parent; run this again then".to_owned())),
    }
}
