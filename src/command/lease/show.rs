//! `stint lease show`: one lease and its timeline.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::question::Given;
use crate::command::archive::at_the_console;
use crate::command::audit::user;
use crate::command::{Failure, load, table};
use crate::inquiry::{LeaseKind, Reader};

/// Which, and how it is shown.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// The lease.
    #[arg(value_name = "LEASE_ID")]
    lease: Uuid,
    /// Answer in JSON: the document of the API.
    #[arg(long)]
    json: bool,
    /// The configuration file.
    #[arg(long, default_value = "stint.toml", value_name = "FILE")]
    config: PathBuf,
}

/// What is told above the timeline, each on a line of its own where it is known.
const FACTS: [(&str, &str); 17] = [
    ("state", "/state"),
    ("reason", "/reason"),
    ("issuer", "/holder/issuer"),
    ("subject", "/holder/subject"),
    ("client", "/holder/client"),
    ("groups", "/holder/groups"),
    ("role", "/role"),
    ("roles", "/roles"),
    ("issued at", "/issued_at"),
    ("ends at", "/ends_at"),
    ("ended at", "/ended_at"),
    ("asked for, s", "/requested_seconds"),
    ("granted, s", "/granted_seconds"),
    ("handed out again", "/reused"),
    ("key fingerprint", "/key_fingerprint"),
    ("matched rule", "/matched_rule"),
    ("policy set", "/policy_hash"),
];
const TIMELINE: &[&str] =
    &["at", "event", "reason", "door", "address", "actor", "refused_after_ms", "session_name", "detail"];

/// `stint lease show`
pub fn show(options: &ShowOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let config = load(&options.config)?;
    let kind = LeaseKind::One(options.lease);
    let answer = at_the_console(&config, async move |archive, request_id| {
        archive.leases(&Reader::at_the_console(user(), request_id), kind, Given::new([])).await
    })?;
    let told = serde_json::to_value(&answer).unwrap_or_default();
    if options.json {
        return Ok(writeln!(out, "{told:#}")?);
    }
    let known = |(name, at): (&str, &str)| {
        let value = told.pointer(at).filter(|value| !value.is_null())?;
        Some(json!({"lease": name, options.lease.to_string(): value}))
    };
    let facts: Vec<Value> = FACTS.into_iter().filter_map(known).collect();
    table::write(&Value::Array(facts), &["lease", &options.lease.to_string()], out)?;
    writeln!(out)?;
    table::write(told.get("timeline").unwrap_or_default(), TIMELINE, out)?;
    if told.get("truncated") == Some(&Value::Bool(true)) {
        writeln!(out, "there are more events: stint audit query events --filter lease_id={}", options.lease)?;
    }
    Ok(())
}
