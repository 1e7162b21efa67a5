//! `stint break-glass open`: the sealed answer as a program takes it. It reads the answer and the key of its request, and
//! speaks to nobody.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::files::{read_secret, read_text};
use crate::break_glass::ceremony::{EmergencyCredentials, RecipientSecret};
use crate::client;
use crate::clock::{Clock, SystemClock};
use crate::command::{Failure, block_on};

/// Longest answer and key.
const LONGEST: usize = 256 * 1024;

/// Which answer, and for whom.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("form").required(true).args(["env", "credential_process", "command"]))]
pub struct OpenOptions {
    /// The answer that `stint break-glass submit` wrote, or the sealed text alone.
    #[arg(value_name = "ANSWER")]
    answer: PathBuf,
    /// The private key that `stint break-glass request` made.
    #[arg(long, value_name = "FILE", default_value = "request.json.key")]
    key: PathBuf,
    /// Print lines for a shell: `eval "$(… --env …)"`.
    #[arg(long)]
    env: bool,
    /// Print what `credential_process` of `~/.aws/config` wants.
    #[arg(long)]
    credential_process: bool,
    /// Run this program with the credentials in its environment; they end in minutes and are not renewed.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// The answer of the service; what else it says is not needed here.
#[derive(Deserialize)]
struct Answer {
    sealed: String,
}

/// Opens the answer; with a program, answers with its exit code.
pub(super) fn open(options: OpenOptions, out: &mut dyn Write) -> Result<u8, Failure> {
    let credentials = opened(&options)?;
    if options.env {
        out.write_all(credentials.shell_lines().as_bytes())?;
    } else if options.credential_process {
        out.write_all(credentials.credential_process()?.as_bytes())?;
    } else {
        return run(&credentials, options.command);
    }
    Ok(0)
}

fn opened(options: &OpenOptions) -> Result<EmergencyCredentials, Failure> {
    let answer = read_text(&options.answer, LONGEST)?;
    let sealed = match serde_json::from_str::<Answer>(&answer) {
        Ok(answer) => answer.sealed,
        Err(_) => answer.trim().to_owned(),
    };
    let failure = |path: &PathBuf, error| Failure(format!("{}: {error}", path.display()));
    let key = RecipientSecret::from_pem(&read_secret(&options.key, LONGEST)?);
    let key = key.map_err(|error| failure(&options.key, error))?;
    let credentials = key.open(&sealed).map_err(|error| failure(&options.answer, error))?;
    if credentials.expiration <= SystemClock::start().now() {
        // A program would only fail later, and less clearly.
        return Err(Failure(format!("the credentials ended at {}: they are never renewed", credentials.expiration)));
    }
    Ok(credentials)
}

fn run(credentials: &EmergencyCredentials, command: Vec<OsString>) -> Result<u8, Failure> {
    let mut words = command.into_iter();
    let program = words.next().ok_or_else(|| Failure("which program?".to_owned()))?;
    let variables = credentials.variables().into_iter();
    let variables = variables.map(|(name, value)| (name, value.expose_secret().to_owned())).collect();
    let mut code = 0;
    block_on(async {
        code = match client::exec_with(program, words.collect(), variables, &[]).await {
            Ok(code) => code,
            Err(fault) => {
                let _ = writeln!(std::io::stderr(), "stint: {fault}");
                fault.code()
            }
        };
        Ok(())
    })?;
    Ok(code)
}
