//! `stint break-glass status`: what an instance says of itself, for people under stress: is it an emergency, who signs, what is
//! open.

use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::instance::{InstanceOptions, text};
use crate::command::{Failure, table};

/// Which instance.
#[derive(Debug, Args)]
pub struct StatusOptions {
    #[command(flatten)]
    instance: InstanceOptions,
    /// Print the whole answer in JSON.
    #[arg(long)]
    json: bool,
}

/// Shows the state of break-glass at an instance.
pub(super) fn status(options: &StatusOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let told = options.instance.status()?;
    if options.json {
        return Ok(writeln!(out, "{told:#}")?);
    }
    let member = |name: &str| told.get(name).cloned().unwrap_or_default();
    let number = |name: &str| member(name).as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let is = |name: &str| member(name).as_bool() == Some(true);
    writeln!(out, "instance      {}", text(&told, "instance"))?;
    writeln!(out, "policy hash   {}", text(&told, "policy_hash"))?;
    writeln!(out, "quorum        {}; to declare an emergency {}", number("quorum"), number("declared_quorum"))?;
    writeln!(out, "shared log    {}", if is("shared_log") { "answers" } else { "AWAY" })?;
    if is("journal_waits") {
        writeln!(out, "journal       waits to be merged")?;
    }
    let drill = if is("drill_overdue") { " (OVERDUE)" } else { "" };
    writeln!(out, "last drill    {}{drill}", text(&told, "last_drill"))?;
    writeln!(out, "\nconditions")?;
    table::write(&member("conditions"), &["name", "standing", "since", "seconds", "minimum_seconds"], out)?;
    writeln!(out, "\nroles")?;
    table::write(&member("roles"), &["name", "length_seconds", "drill"], out)?;
    writeln!(out, "\ncustodians")?;
    table::write(&member("custodians"), &["name", "contact"], out)?;
    let open = member("open_reviews");
    if open.as_array().is_some_and(|open| !open.is_empty()) {
        writeln!(out, "\nOPEN REVIEWS: the next use waits for them")?;
        table::write(
            &open,
            &["use", "role", "opened_at", "overdue", "good_until", "session_name", "key_fingerprint"],
            out,
        )?;
        for review in open.as_array().into_iter().flatten() {
            how(review, out)?;
        }
    }
    Ok(())
}

/// How a review finds what was done.
pub(super) fn how(review: &Value, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "  what was done under {}: {}", text(review, "use"), text(review, "accesses"))?;
    if review.get("rotate").is_some() {
        writeln!(out, "  its parent key is to be rotated: {}", text(review, "rotate"))?;
    }
    Ok(())
}
