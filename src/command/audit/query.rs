//! `stint audit query`: the auditors' questions for whoever holds the service's configuration. The same questions, the same
//! answers and the same record as at the doors; only nobody is asked for a token.

use std::io::{Read, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::user;
use crate::audit::question::Given;
use crate::command::archive::at_the_console;
use crate::command::{Failure, load, table};
use crate::inquiry::{Answer, Kind, Reader};

/// Longest access key id on standard input.
const LONGEST_KEY: u64 = 2_048;

/// What is asked, and how it is shown.
#[derive(Debug, Args)]
pub struct QueryOptions {
    /// The configuration file.
    #[arg(long, default_value = "stint.toml", value_name = "FILE", global = true)]
    config: PathBuf,
    /// Show key fingerprints whole; on record as a reveal.
    #[arg(long, global = true)]
    reveal: bool,
    /// Answer in JSON: the documents of the API.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    question: QuestionOptions,
}

/// The questions.
#[derive(Debug, Subcommand)]
enum QuestionOptions {
    /// Who held this access key?
    ///
    /// Example: `stint audit query key - --at 2026-11-22T03:00:00Z < key.txt`
    #[command(verbatim_doc_comment)]
    Key {
        /// The access key id; `-` reads it from standard input, where neither the shell's history nor `ps` shows it.
        #[arg(value_name = "ID", required_unless_present = "fingerprint", conflicts_with = "fingerprint")]
        key: Option<String>,
        /// Its fingerprint: the first 8 or all 32 digits.
        #[arg(long, value_name = "DIGITS")]
        fingerprint: Option<String>,
        /// When: RFC 3339 with an offset [default: now].
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Who could read or write this object?
    ///
    /// Example: `stint audit query object recordings 2026/11/a.ogg --at 2026-11-22T04:00:00+01:00`
    #[command(verbatim_doc_comment)]
    Object {
        /// The bucket.
        bucket: String,
        /// The object's key.
        object: String,
        /// When: RFC 3339 with an offset [default: now].
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Most holders to be named, 1 to 1000.
        #[arg(long, value_name = "N")]
        limit: Option<String>,
    },
    /// What did a subject or a group get, under which policy?
    ///
    /// Example: `stint audit query grants --group studio --from 2026-11-01T00:00:00Z`
    #[command(verbatim_doc_comment)]
    Grants {
        /// The `sub` claim, exact.
        #[arg(long)]
        subject: Option<String>,
        /// A group, exact.
        #[arg(long)]
        group: Option<String>,
        /// Only of this issuer: its configured name.
        #[arg(long)]
        issuer: Option<String>,
        /// From this instant on: RFC 3339 with an offset.
        #[arg(long, value_name = "TIME")]
        from: String,
        /// To before this instant [default: now].
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// 1 to 1000 [default: 100].
        #[arg(long, value_name = "N")]
        limit: Option<String>,
        /// The `next` of the page before.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Which events were there?
    ///
    /// Example: `stint audit query events --filter type=exchange.refused --filter address=203.0.113.0/24`
    #[command(verbatim_doc_comment)]
    Events {
        /// A column and its exact value, as in `subject=ada`; may be given again. Columns: type, effect, reason, issuer, subject,
        /// client, group, role, `lease_id`, `key_fingerprint`, `token_sha256`, jti, `request_id`, `policy_hash`, address, door,
        /// `session_name`, stream.
        #[arg(long = "filter", value_name = "COLUMN=VALUE", value_parser = pair)]
        filters: Vec<(String, String)>,
        /// From this instant on: RFC 3339 with an offset.
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// To before this instant.
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// `time`, or `log`: stream by stream, as sealed.
        #[arg(long, value_name = "ORDER")]
        order: Option<String>,
        /// 1 to 1000 [default: 100].
        #[arg(long, value_name = "N")]
        limit: Option<String>,
        /// The `next` of the page before.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Which emergencies were there, and who approved and reviewed them?
    Emergencies {
        /// From this instant on: RFC 3339 with an offset.
        #[arg(long, value_name = "TIME")]
        from: String,
        /// To before this instant [default: now].
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "must be COLUMN=VALUE, as in subject=ada".to_owned())
}

/// `stint audit query`
pub fn query(options: QueryOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let QueryOptions { config, reveal, json, question } = options;
    let config = load(&config)?;
    let (kind, mut given) = parameters(question)?;
    given.push(("reveal".to_owned(), reveal.to_string()));
    let reader = user();
    let answer = at_the_console(&config, async move |archive, request_id| {
        archive.answer(&Reader::at_the_console(reader, request_id), kind, Given::new(given)).await
    })?;
    if json {
        let text = serde_json::to_string_pretty(&answer).unwrap_or_default();
        return Ok(writeln!(out, "{text}")?);
    }
    show(&answer, out)
}

fn parameters(question: QuestionOptions) -> Result<(Kind, Vec<(String, String)>), Failure> {
    let mut given = Vec::new();
    let mut give = |name: &str, value: Option<String>| given.extend(value.map(|value| (name.to_owned(), value)));
    let kind = match question {
        QuestionOptions::Key { key, fingerprint, at } => {
            give("key", key.map(read_key).transpose()?);
            give("key_fingerprint", fingerprint);
            give("at", at);
            Kind::Access
        }
        QuestionOptions::Object { bucket, object, at, limit } => {
            give("bucket", Some(bucket));
            give("object", Some(object));
            give("at", at);
            give("limit", limit);
            Kind::Access
        }
        QuestionOptions::Grants { subject, group, issuer, from, to, limit, cursor } => {
            give("subject", subject);
            give("group", group);
            give("issuer", issuer);
            give("from", Some(from));
            give("to", to);
            give("limit", limit);
            give("cursor", cursor);
            Kind::Grants
        }
        QuestionOptions::Events { filters, from, to, order, limit, cursor } => {
            for (name, value) in filters {
                give(&name, Some(value));
            }
            give("from", from);
            give("to", to);
            give("order", order);
            give("limit", limit);
            give("cursor", cursor);
            Kind::Events
        }
        QuestionOptions::Emergencies { from, to } => {
            give("from", Some(from));
            give("to", to);
            Kind::Emergencies
        }
    };
    Ok((kind, given))
}

fn read_key(key: String) -> Result<String, Failure> {
    if key != "-" {
        return Ok(key);
    }
    let mut text = String::new();
    std::io::stdin().take(LONGEST_KEY).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// For people: one aligned line a row, times in UTC.
fn show(answer: &Answer, out: &mut dyn Write) -> Result<(), Failure> {
    let told = serde_json::to_value(answer).unwrap_or_default();
    match answer {
        // `stint audit head` and `stint audit verify` ask these.
        Answer::Head(_) | Answer::Verified(_) => writeln!(out, "{told:#}")?,
        Answer::Events(events) => {
            table::write(part(&told, "/events"), EVENT, out)?;
            next(events.next.as_deref(), out)?;
        }
        Answer::Key(key) => {
            writeln!(out, "key {} at {}", key.key_fingerprint, text(part(&told, "/at")))?;
            table::write(part(&told, "/leases"), LEASE, out)?;
            if !key.leases.iter().any(|lease| lease.held) {
                writeln!(out, "nobody held it then, as far as the log says")?;
            }
            for lease in part(&told, "/leases").as_array().into_iter().flatten() {
                if lease.get("reused").is_some() {
                    writeln!(out, "\nlease {} was handed out again until then", text(part(lease, "/lease_id")))?;
                    table::write(part(lease, "/reused"), REUSED, out)?;
                }
            }
            truncated(key.truncated, out)?;
        }
        Answer::Object(object) => {
            writeln!(out, "{}/{} at {}", object.bucket, object.object, text(part(&told, "/at")))?;
            writeln!(out, "\nholders: leases live then whose session policy allows something")?;
            table::write(part(&told, "/holders"), HOLDER, out)?;
            truncated(object.truncated, out)?;
            if let Some(unknown) = &object.unknown {
                writeln!(
                    out,
                    "unknown: what {} more live leases allowed, their policy text is not kept",
                    unknown.leases
                )?;
            }
            writeln!(out, "\nentitled: roles of policy set {}", text(part(&told, "/entitled/policy_hash")))?;
            match object.entitled.unknown {
                Some(why) => writeln!(out, "unknown: {why}")?,
                None => table::write(part(&told, "/entitled/roles"), ROLE, out)?,
            }
        }
        Answer::Grants(grants) => {
            table::write(part(&told, "/leases"), LEASE, out)?;
            next(grants.next.as_deref(), out)?;
        }
        Answer::Emergencies(emergencies) => {
            for emergency in part(&told, "/emergencies").as_array().into_iter().flatten() {
                writeln!(out, "incident {}", text(part(emergency, "/incident")))?;
                table::write(part(emergency, "/events"), EVENT, out)?;
            }
            if emergencies.emergencies.is_empty() {
                writeln!(out, "no emergency")?;
            }
            truncated(emergencies.truncated, out)?;
        }
    }
    Ok(())
}

const EVENT: &[&str] =
    &["occurred_at", "type", "effect", "reason", "issuer", "subject", "role", "lease_id", "address", "detail"];
const REUSED: &[&str] = &["at", "door", "session_name", "address", "request_id"];
const LEASE: &[&str] = &[
    "from",
    "until",
    "ended",
    "held",
    "holder.issuer",
    "holder.subject",
    "role",
    "matched_rule",
    "policy_hash",
    "key_fingerprint",
    "lease_id",
];
const HOLDER: &[&str] = &[
    "from",
    "until",
    "ended",
    "holder.issuer",
    "holder.subject",
    "role",
    "rights.read",
    "rights.write",
    "rights.delete",
    "rights.list",
    "lease_id",
];
const ROLE: &[&str] = &["role", "rights.read", "rights.write", "rights.delete", "rights.list", "given_to"];

fn next(cursor: Option<&str>, out: &mut dyn Write) -> Result<(), Failure> {
    match cursor {
        Some(cursor) => Ok(writeln!(out, "there may be more: --cursor {cursor}")?),
        None => Ok(()),
    }
}

fn truncated(truncated: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if truncated { Ok(writeln!(out, "there are more: ask more narrowly, or with a higher --limit")?) } else { Ok(()) }
}

/// A part of an answer; null where there is none.
fn part<'a>(told: &'a Value, pointer: &str) -> &'a Value {
    told.pointer(pointer).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}
