//! `stint object-server reconcile`: what the server holds and what the log says, side by side, and one exit code.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use crate::app::{self, ReconcileTold};
use crate::clock::{Clock, SystemClock};
use crate::command::{Failure, block_on, cancel_on_signal, count, load, table, with_causes};
use crate::config::Config;
use crate::reconciler::listing::{FoundOrphan, KnownLease, Report};

const ORPHANS: [&str; 6] = ["key_fingerprint", "parent_fingerprint", "reason", "fate", "ends_at", "lease_id"];
const MISSING: [&str; 3] = ["lease_id", "key_fingerprint", "ends_at"];
/// Rows that a terminal is shown of each kind; `--json` has all.
const MOST_SHOWN: usize = 50;
const NO_LIST: &str = "n/a: this object server keeps no list of temporary credentials, so there is nothing to compare with \
    the log; each credential ends at its expiration";

/// `stint object-server reconcile`
pub fn reconcile(path: &Path, revoke_orphans: bool, json: bool, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let config = load(path)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    block_on(async {
        let stop = CancellationToken::new();
        let work = async {
            // What is under way is on record already, or was not begun.
            let interrupted = Err(Failure("interrupted: nothing was concluded".to_owned()));
            let performed = Box::pin(perform(config, revoke_orphans, clock, json, out));
            let done = stop.run_until_cancelled(performed).await.unwrap_or(interrupted);
            stop.cancel();
            done
        };
        tokio::join!(cancel_on_signal(stop.clone()), work).1
    })
}

async fn perform(
    config: Config,
    revoke_orphans: bool,
    clock: Arc<dyn Clock>,
    json: bool,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let mut tell = |told: ReconcileTold| {
        let line = match told {
            ReconcileTold::Comparing => "comparing the object server's credentials with the log".to_owned(),
            ReconcileTold::Waiting { in_doubt, pause } => format!(
                "{in_doubt} out of place, perhaps for this moment only: looking again in {} s, when every exchange under way \
                 has ended",
                pause.as_secs()
            ),
        };
        // Not an answer, so not on stdout: what was asked for is there alone.
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    let report = app::reconcile(config, revoke_orphans, clock, &mut tell).await;
    match report.map_err(|error| Failure(with_causes(&error)))? {
        None if json => Ok(writeln!(out, "{:#}", json!({"ok": true, "listed": false, "note": NO_LIST}))?),
        None => Ok(writeln!(out, "{NO_LIST}")?),
        Some(report) => conclude(&report, json, out),
    }
}

fn conclude(report: &Report, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let Report { live, ended, with_lease, open_leases, in_doubt, orphans, closed, missing } = report;
    let orphan_rows: Vec<Value> = orphans.iter().map(orphan_json).collect();
    let missing_rows: Vec<Value> = missing.iter().map(lease_json).collect();
    let closed_rows: Vec<Value> = closed.iter().map(lease_json).collect();
    if json {
        let report = json!({
            "ok": report.is_in_order(), "listed": true, "credentials": live, "ended": ended, "with_lease": with_lease,
            "open_leases": open_leases, "in_doubt": in_doubt, "orphans": orphan_rows, "closed": closed_rows,
            "missing": missing_rows,
        });
        writeln!(out, "{report:#}")?;
    } else {
        for (name, number) in [
            ("credentials at the server", *live),
            ("  with an open lease", *with_lease),
            ("  without one (orphans)", orphans.len()),
            ("in doubt", *in_doubt),
            ("open leases on record", *open_leases),
            ("  to be ended, and gone (closed)", closed.len()),
            ("  without a credential (missing)", missing.len()),
        ] {
            writeln!(out, "{name:<34} {number}")?;
        }
        show("orphans", orphan_rows, &ORPHANS, out)?;
        show("closed", closed_rows, &MISSING, out)?;
        show("missing", missing_rows, &MISSING, out)?;
    }
    if report.is_in_order() {
        return if json { Ok(()) } else { Ok(writeln!(out, "ok: nothing is orphaned or missing")?) };
    }
    let left = orphans.iter().filter(|found| found.fate == crate::audit::OrphanFate::Reported).count();
    Err(Failure(format!("{} and {}", count(left, "live orphan"), count(missing.len(), "missing credential"))))
}

fn show(title: &str, mut rows: Vec<Value>, columns: &[&str], out: &mut dyn Write) -> std::io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let left_out = rows.len().saturating_sub(MOST_SHOWN);
    rows.truncate(MOST_SHOWN);
    writeln!(out, "\n{title}")?;
    table::write(&Value::Array(rows), columns, out)?;
    if left_out > 0 {
        writeln!(out, "and {left_out} more: --json shows all")?;
    }
    Ok(())
}

fn orphan_json(found: &FoundOrphan) -> Value {
    let FoundOrphan { orphan, fate, is_new } = found;
    json!({
        "key_fingerprint": orphan.key_fingerprint.as_str(), "parent_fingerprint": orphan.parent.as_str(),
        "reason": orphan.why.as_str(), "fate": fate.as_str(), "ends_at": orphan.ends_at.map(instant),
        "lease_id": orphan.lease.map(|lease| lease.to_string()), "new": is_new,
    })
}

fn lease_json(lease: &KnownLease) -> Value {
    json!({"lease_id": lease.id.to_string(), "key_fingerprint": lease.key.as_str(), "ends_at": instant(lease.ends_at)})
}

fn instant(at: OffsetDateTime) -> String {
    // A date from a row or a server's listing is one that RFC 3339 can spell.
    at.format(&Rfc3339).unwrap_or_default()
}
