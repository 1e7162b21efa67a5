//! `stint lease revoke`: ends leases before their time and says of each what was seen. A table, and one exit code.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::{self, DeskError, Wish};
use crate::audit::instant;
use crate::clock::{Clock, SystemClock};
use crate::command::audit::user;
use crate::command::{Failure, block_on, cancel_on_signal, count, load, table, with_causes};
use crate::config::{BootstrapConfig, BootstrapKey, Config, ProcessEnvironment};
use crate::desk::{Ended, GivenSelection, Pace, Selection, Summary};

/// Longest answer to a question.
const LONGEST_ANSWER: u64 = 64;

/// Which leases, and how.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Args)]
pub struct RevokeOptions {
    /// One lease.
    #[arg(value_name = "LEASE_ID")]
    lease: Option<Uuid>,
    /// All of this holder: the `sub` claim, exact; needs --issuer.
    #[arg(long, value_name = "SUB", requires = "issuer")]
    subject: Option<String>,
    /// All of this issuer, or the issuer of --subject or --group: its configured name.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// All of this role, alone or combined with others.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// All whose token named this group, exact.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// All there are.
    #[arg(long)]
    all: bool,
    /// Why; recorded.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only list them; that somebody was shown them is recorded.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before --all.
    #[arg(long)]
    yes: bool,
    /// At most so many a second.
    #[arg(long, value_name = "N", default_value = "20", value_parser = pace)]
    pace: Pace,
    /// Answer in JSON: {"ok", "leases", "summary"}.
    #[arg(long)]
    json: bool,
    /// The configuration file.
    #[arg(long, default_value = "stint.toml", value_name = "FILE")]
    config: PathBuf,
}

fn pace(text: &str) -> Result<Pace, String> {
    text.parse().ok().and_then(Pace::per_second).ok_or_else(|| "must be 1 to 1000".to_owned())
}

impl From<DeskError> for Failure {
    fn from(error: DeskError) -> Self {
        Self(with_causes(&error))
    }
}

/// `stint lease revoke`
pub fn revoke(options: RevokeOptions, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let RevokeOptions { lease, subject, issuer, role, group, all, reason, dry_run, yes, pace, json, config: path } =
        options;
    let given = GivenSelection { lease, subject, issuer, role, group, all };
    let selection = Selection::one_of(given).map_err(|bad| Failure(bad.to_string()))?;
    let config = load(&path)?;
    if selection == Selection::All && !dry_run && !yes {
        confirm()?;
    }
    let wish = Wish { selection, why: reason, user: user(), pace };
    let administrator = administrator(&path)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    block_on(async {
        let stop = CancellationToken::new();
        let work = async {
            let done = if dry_run {
                list(config, &wish, clock, json, &stop, out).await
            } else {
                perform(config, administrator, &wish, clock, json, &stop, out).await
            };
            stop.cancel();
            done
        };
        tokio::join!(cancel_on_signal(stop.clone()), work).1
    })
}

fn administrator(path: &Path) -> Result<Option<BootstrapKey>, Failure> {
    let own = BootstrapConfig::load(path, &ProcessEnvironment)
        .map_err(|problems| Failure(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    Ok(own.key)
}

/// Everything stops working for everybody at once: nobody says so by accident.
fn confirm() -> Result<(), Failure> {
    let mut ask = std::io::stderr();
    writeln!(ask, "This ends every open lease: all workloads get new credentials or fail. Type `yes` to go on:")?;
    let mut answer = String::new();
    std::io::Read::take(std::io::stdin().lock(), LONGEST_ANSWER).read_line(&mut answer)?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(Failure("nothing was done: --all needs `yes`, or --yes".to_owned()))
    }
}

async fn perform(
    config: Config,
    administrator: Option<BootstrapKey>,
    wish: &Wish,
    clock: Arc<dyn Clock>,
    json: bool,
    stop: &CancellationToken,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let mut leases: Vec<Value> = Vec::new();
    let mut told = |ended: Ended| {
        leases.push(serde_json::to_value(&ended).unwrap_or_default());
        progress(leases.len());
    };
    let ran = app::revoke_leases(config, administrator, wish, clock, stop, &mut told).await;
    let interrupted = stop.is_cancelled();
    // What was done is told also when the rest could not be.
    let (summary, broke_off) = match ran {
        Ok(summary) => (summary, None),
        Err(error) => (Summary::default(), Some(Failure::from(error))),
    };
    let proven = broke_off.is_none() && summary.is_proven();
    if json {
        writeln!(out, "{:#}", json!({"ok": proven, "leases": leases, "summary": summary}))?;
    } else {
        table::write(&Value::Array(leases), COLUMNS, out)?;
    }
    if let Some(failure) = broke_off {
        return Err(failure);
    }
    let is_one = matches!(wish.selection, Selection::Lease(_));
    match verdict(&summary, is_one, interrupted) {
        None if json => Ok(()),
        None => {
            let leases = usize::try_from(summary.leases).unwrap_or(usize::MAX);
            Ok(writeln!(out, "ok: {}, every one seen to be refused or gone", count(leases, "lease"))?)
        }
        Some(failure) => Err(failure),
    }
}

const COLUMNS: &[&str] =
    &["lease_id", "issuer", "subject", "role", "outcome", "refused_after_ms", "ends_at", "told", "recorded"];

/// What keeps it from being proven, each with what to do.
fn verdict(summary: &Summary, is_one: bool, interrupted: bool) -> Option<Failure> {
    let Summary { leases: _, proven: _, unproven, end_by_themselves, failed, complete } = *summary;
    let mut faults = Vec::new();
    if unproven > 0 {
        faults.push(format!(
            "{unproven} ended as the object server says, unproven: DELETE /v1/leases/{{id}} at the service that minted them \
             can prove it"
        ));
    }
    if end_by_themselves > 0 {
        faults.push(format!(
            "{end_by_themselves} end by themselves at ends_at: this object server cannot end them with what is configured \
             (docs/operations.md, \"A key has leaked\")"
        ));
    }
    if failed > 0 {
        faults.push(format!("{failed} could not be ended: run it again"));
    }
    if !complete {
        let why = if interrupted { "interrupted" } else { "the object server is away" };
        faults.push(format!("not all were worked on ({why}): run it again, it takes what is left"));
    }
    if faults.is_empty() && is_one && summary.leases == 0 {
        faults.push("there is no open lease of that id".to_owned());
    }
    if faults.is_empty() { None } else { Some(Failure(faults.join("\n"))) }
}

async fn list(
    config: Config,
    wish: &Wish,
    clock: Arc<dyn Clock>,
    json: bool,
    stop: &CancellationToken,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let mut leases: Vec<Value> = Vec::new();
    app::list_leases(config, wish, clock, stop, &mut |lease| {
        let holder = lease.holder();
        leases.push(json!({
            "lease_id": lease.id(), "issuer": holder.issuer, "subject": holder.subject, "role": lease.role(),
            "issued_at": instant::format(lease.issued_at()), "ends_at": instant::format(lease.ends_at()),
        }));
    })
    .await?;
    let many = leases.len();
    let leases = Value::Array(leases);
    if json {
        return Ok(writeln!(out, "{:#}", json!({"ok": true, "leases": leases}))?);
    }
    table::write(&leases, &["lease_id", "issuer", "subject", "role", "issued_at", "ends_at"], out)?;
    Ok(writeln!(out, "{} would be ended; none was", count(many, "lease"))?)
}

fn progress(done: usize) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        // Nobody may be looking.
        let _ = write!(terminal, "\r{} done", count(done, "lease"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_is_a_success() {
        let whole = Summary { leases: 2, proven: 2, complete: true, ..Summary::default() };
        assert!(verdict(&whole, true, false).is_none());
        let nothing = Summary { complete: true, ..Summary::default() };
        assert!(verdict(&nothing, false, false).is_none(), "nothing was open");
        assert!(verdict(&nothing, true, false).is_some(), "the one that was meant was not");
        for (summary, said) in [
            (Summary { unproven: 1, ..whole }, "unproven"),
            (Summary { end_by_themselves: 1, ..whole }, "ends_at"),
            (Summary { failed: 1, ..whole }, "run it again"),
            (Summary { complete: false, ..whole }, "away"),
        ] {
            let Some(Failure(told)) = verdict(&summary, false, false) else { panic!("{summary:?} is no success") };
            assert!(told.contains(said), "{told}");
        }
    }
}
