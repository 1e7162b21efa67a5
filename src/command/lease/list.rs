//! `stint lease list`: which leases there are. A table, or the document of the API.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::audit::question::Given;
use crate::command::archive::at_the_console;
use crate::command::audit::user;
use crate::command::{Failure, load, table};
use crate::inquiry::{LeaseAnswer, LeaseKind, Reader};

/// Which, and how they are shown. Every filter is exact; what is left out asks nothing.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// `open`, `ended`, `revoked`, `failed`, `abandoned` or `all` [default: open].
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// The holder: the `sub` claim.
    #[arg(long, value_name = "SUB")]
    subject: Option<String>,
    /// The issuer: its configured name.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// The role, alone or combined with others.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// A group in the holder's token.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// The client: `azp` or `client_id`.
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// From this instant on: RFC 3339 with an offset. Of revoked leases, when they were ended; of others, when they began.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// To before this instant.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// 1 to 1000 [default: 100].
    #[arg(long, value_name = "N")]
    limit: Option<String>,
    /// The `next` of the page before.
    #[arg(long)]
    cursor: Option<String>,
    /// Answer in JSON: the document of the API, {"leases", "next"}.
    #[arg(long)]
    json: bool,
    /// The configuration file.
    #[arg(long, default_value = "stint.toml", value_name = "FILE")]
    config: PathBuf,
}

const COLUMNS: &[&str] = &[
    "lease_id",
    "state",
    "reason",
    "holder.issuer",
    "holder.subject",
    "role",
    "issued_at",
    "ends_at",
    "ended_at",
    "door",
    "key_fingerprint",
];

/// `stint lease list`
pub fn list(options: ListOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let ListOptions { state, subject, issuer, role, group, client, from, to, limit, cursor, json, config } = options;
    let config = load(&config)?;
    let given = [
        ("state", state),
        ("subject", subject),
        ("issuer", issuer),
        ("role", role),
        ("group", group),
        ("client", client),
        ("from", from),
        ("to", to),
        ("limit", limit),
        ("cursor", cursor),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let given = Given::new(given);
    let answer = at_the_console(&config, async move |archive, request_id| {
        archive.leases(&Reader::at_the_console(user(), request_id), LeaseKind::List, given).await
    })?;
    let told = serde_json::to_value(&answer).unwrap_or_default();
    if json {
        return Ok(writeln!(out, "{told:#}")?);
    }
    table::write(told.get("leases").unwrap_or_default(), COLUMNS, out)?;
    match answer {
        LeaseAnswer::Leases(page) => match page.next {
            Some(cursor) => Ok(writeln!(out, "there may be more: --cursor {cursor}")?),
            None => Ok(()),
        },
        LeaseAnswer::Lease(_) | LeaseAnswer::Forecast(_) => Ok(()),
    }
}
