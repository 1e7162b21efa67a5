//! `stint object-server verify`: a table of what was seen, and one exit code.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::app::{self, ConformanceOptions};
use crate::clock::{Clock, SystemClock};
use crate::command::{Failure, block_on, cancel_on_signal, count, load, with_causes};
use crate::config::{BootstrapConfig, Config, ProcessEnvironment};
use crate::object_server::conformance::{Check, Outcome};

/// `stint object-server verify`
pub fn verify(
    path: &Path,
    json: bool,
    options: ConformanceOptions,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let config = load(path)?;
    let own = BootstrapConfig::load(path, &ProcessEnvironment)
        .map_err(|problems| Failure(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    block_on(async {
        let stop = CancellationToken::new();
        let work = async {
            let done = perform(config, own, options, clock, json, &stop, out).await;
            stop.cancel();
            done
        };
        tokio::join!(cancel_on_signal(stop.clone()), work).1
    })
}

async fn perform(
    config: Config,
    own: BootstrapConfig,
    options: ConformanceOptions,
    clock: Arc<dyn Clock>,
    json: bool,
    stop: &CancellationToken,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let endpoint = config.object_server.endpoint.clone();
    let mut told = Ok(());
    let mut tell = |check: &Check| {
        if !json && told.is_ok() {
            told = show(check, out);
        }
    };
    let checks = app::verify(config, own.key, options, clock, stop, &mut tell).await;
    let checks = checks.map_err(|error| Failure(with_causes(&error)))?;
    told?;
    let failed: Vec<&str> =
        checks.iter().filter(|check| check.outcome == Outcome::Failed).map(|check| check.name).collect();
    if json {
        writeln!(out, "{:#}", json!({"ok": failed.is_empty(), "endpoint": endpoint, "checks": checks}))?;
    }
    match failed.as_slice() {
        [] if json => Ok(()),
        [] => Ok(writeln!(out, "ok: {}, none failed", count(checks.len(), "check"))?),
        failed => Err(Failure(format!("{} failed: {}", count(failed.len(), "check"), failed.join(", ")))),
    }
}

pub(super) fn show(check: &Check, out: &mut dyn Write) -> std::io::Result<()> {
    let parent = check.parent.as_ref().map(|parent| format!("{parent}: ")).unwrap_or_default();
    writeln!(out, "{:<6}  {:<23}  {parent}{}", check.outcome.as_str(), check.name, check.seen)?;
    if let Some(advice) = check.advice {
        writeln!(out, "{:33}→ {advice}", "")?;
    }
    out.flush()
}
