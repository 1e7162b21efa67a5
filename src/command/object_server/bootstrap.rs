//! `stint object-server bootstrap`: the plan first, then what became of it, bucket by bucket.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::command::{Failure, block_on, cancel_on_signal, count, placed, with_causes};
use crate::config::{BootstrapConfig, ProcessEnvironment};
use crate::object_server::bootstrap::{Bootstrap, BucketPlan, Change, Plan, Report, Step};

/// `stint object-server bootstrap`
pub fn bootstrap(path: &Path, plan_only: bool, json: bool, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let config = BootstrapConfig::load(path, &ProcessEnvironment).map_err(|problems| {
        let lines = placed(path, &problems);
        Failure(format!("the configuration has {}\n{}", count(lines.len(), "error"), lines.join("\n")))
    })?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let bootstrap = app::bootstrap(config, &clock).map_err(|error| Failure(with_causes(&error)))?;
    block_on(async {
        let stop = CancellationToken::new();
        let work = async {
            let done = perform(&bootstrap, plan_only, json, &stop, out).await;
            stop.cancel();
            done
        };
        tokio::join!(cancel_on_signal(stop.clone()), work).1
    })
}

async fn perform(
    bootstrap: &Bootstrap,
    plan_only: bool,
    json: bool,
    stop: &CancellationToken,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let plan = bootstrap.plan().await;
    if !json {
        show_plan(&plan, out)?;
    }
    if plan_only {
        if json {
            writeln!(out, "{:#}", json!({"ok": !plan.is_incomplete(), "plan": plan_json(&plan)}))?;
        }
        let incomplete = || Failure("not everything could be read: the plan is incomplete".to_owned());
        return if plan.is_incomplete() { Err(incomplete()) } else { Ok(()) };
    }
    let mut told = Ok(());
    let report = bootstrap
        .apply(&plan, stop, |step| {
            if !json && told.is_ok() {
                told = show_step(step, out);
            }
        })
        .await;
    told?;
    if json {
        let steps: Vec<Value> = report.steps.iter().map(step_json).collect();
        writeln!(out, "{:#}", json!({"ok": report.is_done(), "plan": plan_json(&plan), "steps": steps}))?;
    }
    conclude(&plan, &report, json, out)
}

fn conclude(plan: &Plan, report: &Report, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let failed: Vec<&str> =
        report.steps.iter().filter(|step| !step.problems.is_empty()).map(|step| step.name.as_str()).collect();
    if !failed.is_empty() {
        return Err(Failure(format!("not as wanted: {}", failed.join(", "))));
    }
    if !json {
        let changed = if plan.is_empty() { "nothing to do" } else { "done" };
        writeln!(out, "{changed}: {} read back and found as wanted", count(report.steps.len(), "thing"))?;
    }
    Ok(())
}

fn show_plan(plan: &Plan, out: &mut dyn Write) -> std::io::Result<()> {
    if plan.is_empty() {
        writeln!(out, "plan: nothing to do")?;
    } else {
        writeln!(out, "plan:")?;
    }
    for bucket in plan.buckets() {
        let lines = bucket.changes().map(|changes| changes.iter().flat_map(Change::lines).collect());
        show_lines(&format!("bucket {}", bucket.name()), lines, out)?;
    }
    for (name, lines) in plan.parents() {
        show_lines(&name, lines, out)?;
    }
    // Mostly the same for every bucket: said once.
    let mut said: Vec<&str> = Vec::new();
    for bucket in plan.buckets() {
        for note in bucket.notes() {
            if !said.contains(&note.as_str()) {
                said.push(note);
                writeln!(out, "note: {note}")?;
            }
        }
    }
    out.flush()
}

fn show_lines(name: &str, lines: Result<Vec<String>, &str>, out: &mut dyn Write) -> std::io::Result<()> {
    match lines {
        Ok(lines) if lines.is_empty() => Ok(()),
        Ok(lines) => {
            writeln!(out, "  {name}")?;
            lines.iter().try_for_each(|line| writeln!(out, "    {line}"))
        }
        Err(unknown) => writeln!(out, "  {name}\n    ? {unknown}"),
    }
}

fn show_step(step: &Step, out: &mut dyn Write) -> std::io::Result<()> {
    let verdict = if step.problems.is_empty() { "ok" } else { "FAILED" };
    let changed = match step.applied.len() {
        0 => "unchanged".to_owned(),
        n => format!("{} applied", count(n, "line")),
    };
    let refused = match step.refused.as_slice() {
        [] => String::new(),
        deeds if step.name.starts_with("bucket") => format!("; strangers may not {}", deeds.join(", ")),
        deeds => format!("; it may not {}", deeds.join(", ")),
    };
    writeln!(out, "{verdict:<6} {}: {changed}{refused}", step.name)?;
    for problem in &step.problems {
        writeln!(out, "         {problem}")?;
    }
    out.flush()
}

fn plan_json(plan: &Plan) -> Value {
    let bucket = |bucket: &BucketPlan| {
        let lines = bucket.changes().map(|changes| changes.iter().flat_map(Change::lines).collect());
        lines_json(&format!("bucket {}", bucket.name()), lines, bucket.notes())
    };
    let parents = plan.parents().map(|(name, lines)| lines_json(&name, lines, &[]));
    plan.buckets().iter().map(bucket).chain(parents).collect()
}

fn lines_json(name: &str, lines: Result<Vec<String>, &str>, notes: &[String]) -> Value {
    match lines {
        Ok(lines) => json!({"name": name, "changes": lines, "notes": notes}),
        Err(unknown) => json!({"name": name, "unknown": unknown, "notes": notes}),
    }
}

fn step_json(Step { name, applied, refused, problems }: &Step) -> Value {
    json!({"name": name, "ok": problems.is_empty(), "applied": applied, "refused": refused, "problems": problems})
}
