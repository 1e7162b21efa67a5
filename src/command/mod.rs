//! What the subcommands do, apart from the demo: from a path and a writer to one clear message when it fails.

pub mod agent;
mod archive;
pub mod audit;
pub mod break_glass;
mod completion;
pub mod lease;
mod login;
mod migrate;
pub mod object_server;
mod table;

use std::error::Error;
use std::io::Write;
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::{App, StartError, compile_directory, compile_policies, server_capabilities};
use crate::clock::SystemClock;
use crate::config::{Config, Environment, Problem, ProcessEnvironment};
use crate::telemetry::{self, TelemetryError};

pub use completion::{Shell, completion, man};
pub use login::{LoginOptions, login};
pub use migrate::migrate;

const UNCHECKED: &str = "the policies were not checked: that needs [[issuer]] and [policies] without errors";

/// A command that refused or failed: exit code 1, this on stderr.
#[derive(Debug)]
pub struct Failure(pub String);

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let told = with_causes(&error);
        Self(match error.cure() {
            Some(cure) => format!("{told}\n{cure}"),
            None => told,
        })
    }
}

impl From<TelemetryError> for Failure {
    fn from(error: TelemetryError) -> Self {
        Self(format!("telemetry: {error}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// `stint serve`
pub fn serve(path: &Path) -> Result<(), Failure> {
    let config = load(path)?;
    block_on(async {
        let telemetry = telemetry::init(&config.telemetry)?;
        let shutdown = CancellationToken::new();
        let service = async {
            let stopped = Box::pin(start_and_run(path, config, shutdown.clone())).await;
            shutdown.cancel();
            stopped
        };
        // Signals first: whoever asks it to end before it has started is heard too.
        let stopped = tokio::join!(cancel_on_signal(shutdown.clone()), service).1;
        telemetry.shutdown().await;
        Ok(stopped?)
    })
}

async fn start_and_run(path: &Path, config: Config, shutdown: CancellationToken) -> Result<(), StartError> {
    let clock = Arc::new(SystemClock::start());
    let Some(app) = Box::pin(App::start(config, clock, &shutdown)).await? else { return Ok(()) };
    let path = path.to_owned();
    app.rereading(Box::new(move || Config::load(&path, &ProcessEnvironment))).run(shutdown).await
}

/// `stint check`
pub fn check(path: &Path, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let (errors, warnings, roles) = match Config::load(path, &ProcessEnvironment) {
        Err(problems) => {
            let (mut errors, mut warnings) = (placed(path, &problems), Vec::new());
            match Config::policy_directory(path, &ProcessEnvironment) {
                Some((directory, issuers)) => {
                    errors.extend(compile_directory(&directory, &issuers).err().unwrap_or_default());
                }
                None => warnings.push(UNCHECKED.to_owned()),
            }
            (errors, warnings, Vec::new())
        }
        Ok(config) => {
            match server_capabilities(&config).and_then(|capabilities| compile_policies(&config, &capabilities)) {
                Err(problems) => (problems, config.warnings, Vec::new()),
                Ok(report) => {
                    let roles = report.policies.roles().map(|(name, _, _)| name.as_str().to_owned()).collect();
                    (Vec::new(), config.warnings.into_iter().chain(report.warnings).collect(), roles)
                }
            }
        }
    };
    if json {
        let report = json!({"ok": errors.is_empty(), "errors": errors, "warnings": warnings, "roles": roles});
        writeln!(out, "{report:#}")?;
    } else {
        for warning in &warnings {
            writeln!(out, "warning: {warning}")?;
        }
    }
    match errors.as_slice() {
        [] if json => Ok(()),
        [] => Ok(writeln!(out, "ok: {} ({})", count(roles.len(), "role"), roles.join(", "))?),
        errors => Err(Failure(format!("{} found\n{}", count(errors.len(), "error"), errors.join("\n")))),
    }
}

/// Loads the configuration or says everything that is wrong with it.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    Config::load(path, &ProcessEnvironment).map_err(|problems| {
        let lines = placed(path, &problems);
        Failure(format!("the configuration has {}\n{}", count(lines.len(), "error"), lines.join("\n")))
    })
}

/// The problems of a configuration file, each with its place.
pub(crate) fn placed(path: &Path, problems: &[Problem]) -> Vec<String> {
    if !path.exists() {
        return vec![format!("there is no {}: name the configuration file with --config", path.display())];
    }
    problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect()
}

/// An error and its causes in one line, each said once. None of them repeats a configured value.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    successors(error.source(), |cause| (*cause).source()).fold(error.to_string(), |line, cause| {
        let said = cause.to_string();
        if line.contains(&said) { line } else { format!("{line}: {said}") }
    })
}

/// Runs a command's future on the runtime, with the process-wide TLS provider in place.
pub(crate) fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Cancels on SIGINT or SIGTERM, and ends when somebody else has cancelled.
pub(crate) async fn cancel_on_signal(shutdown: CancellationToken) {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    if let (Ok(mut interrupt), Ok(mut terminate)) = signals {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("interrupted: draining"),
            _ = terminate.recv() => tracing::info!("asked to end: draining"),
            () = shutdown.cancelled() => {}
        }
    }
    shutdown.cancel();
}

/// The user's directory for what outlives a reboot (XDG Base Directory).
pub(crate) fn state_directory() -> Result<PathBuf, Failure> {
    let state = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = state.or(home).ok_or_else(|| Failure("neither XDG_STATE_HOME nor HOME is set".to_owned()))?;
    Ok(state.join("stint"))
}

/// A variable that is not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    let mut variables = ProcessEnvironment.variables().into_iter();
    variables.find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value)
}

pub(crate) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
