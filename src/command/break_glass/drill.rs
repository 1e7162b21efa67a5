//! `stint break-glass drill`: the whole way with the harmless role, in one command: request, signatures, submission, seal,
//! credential, end. The service tries the credential where it may and may not go before it seals it, and after the end until
//! it is refused; both are on record with the drill. Here it is seen that the answer opens, and what became of it all.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rand::RngExt;
use serde_json::{Value, json};
use uuid::Uuid;

use super::files::{create_envelope, read_envelope, read_secret};
use super::instance::{InstanceOptions, text};
use super::keygen::custodian;
use super::randomness;
use super::sign::sign_with_key;
use super::submit::{cancelled, send};
use super::write::cancellation;
use crate::audit::Digest;
use crate::break_glass::ceremony::{
    Document, Envelope, Nonce, RecipientSecret, RequestDocument, RequestDraft, UseKind,
};
use crate::clock::{Clock, SystemClock};
use crate::command::Failure;
use crate::policy::{CustodianName, RoleName};

/// Longest recipient key.
const LONGEST: usize = 16 * 1024;

/// Who drills, and with which keys.
#[derive(Debug, Args)]
pub struct DrillOptions {
    #[command(flatten)]
    instance: InstanceOptions,
    /// A custodian who signs and their key file, once for each; the first one is the requester and ends the lease.
    #[arg(long, value_name = "NAME=KEY.pem", value_parser = key, required = true)]
    key: Vec<(CustodianName, PathBuf)>,
    /// Read all passphrases from the first line of this file, which nobody else may read, instead of asking for each.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// A request of kind drill that others have signed already, instead of a new one; --key then signs it too, and ends it.
    #[arg(long, value_name = "FILE", requires = "recipient_key")]
    request: Option<PathBuf>,
    /// The private key that opens the answer to --request.
    #[arg(long, value_name = "FILE", requires = "request")]
    recipient_key: Option<PathBuf>,
    /// The incident under which it is on record.
    #[arg(long, value_name = "ID", default_value = "drill")]
    incident: String,
    /// Keep the signed request in this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Answer in JSON: `{"drill", "use", "lease_id", "opened", "outcome"}`.
    #[arg(long)]
    json: bool,
}

fn key(text: &str) -> Result<(CustodianName, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or_else(|| "must be NAME=KEY.pem".to_owned())?;
    Ok((custodian(name)?, PathBuf::from(path)))
}

/// Drills; exit code 1 where it did not pass.
pub(super) fn drill(options: &DrillOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let (mut envelope, recipient) = prepared(options)?;
    for (name, path) in &options.key {
        sign_with_key(&mut envelope, name.clone(), path, options.passphrase_file.as_deref())?;
    }
    if let Some(path) = &options.out {
        create_envelope(path, &envelope)?;
    }
    let Document::Request(request) = envelope.document() else {
        return Err(Failure("--request must be a request".to_owned()));
    };
    let nonce = request.nonce();
    let say = |out: &mut dyn Write, line: &str| if options.json { Ok(()) } else { writeln!(out, "{line}") };
    say(out, &format!("signed     by {} custodians", envelope.claimed_signers().count()))?;
    let granted = send(&options.instance, &envelope)?;
    say(out, &format!("granted    lease {} until {}", text(&granted, "lease_id"), text(&granted, "expiration")))?;
    say(out, "tried      by the service: it works where it may, and is refused elsewhere")?;
    let sealed = granted.get("sealed").and_then(Value::as_str).unwrap_or_default();
    let opened = recipient.open(sealed);
    match &opened {
        Ok(_) => say(out, "opened     the sealed answer, with the recipient's key")?,
        // The lease is ended all the same.
        Err(error) => say(out, &format!("NOT OPENED {error}"))?,
    }
    let told = end(options, nonce)?;
    if !options.json {
        cancelled(&told, out)?;
    }
    let outcome = told.get("drill").and_then(Value::as_str);
    if options.json {
        let done = json!({
            "drill": outcome, "use": nonce.to_string(), "lease_id": granted.get("lease_id"), "opened": opened.is_ok(),
            "outcome": told.get("outcome"),
        });
        writeln!(out, "{done}")?;
    }
    match (outcome, opened) {
        (Some("passed"), Ok(_)) => Ok(()),
        (_, Err(error)) => Err(Failure(format!("the drill failed: the sealed answer does not open: {error}"))),
        // This server ends no lease alone: the service says what it saw once the time is over.
        (None, Ok(_)) => Ok(say(out, "the service sees it end by itself, and then records the drill")?),
        (Some(_), Ok(_)) => Err(Failure("the drill failed: the credential was not seen to be refused".to_owned())),
    }
}

/// The request, perhaps with signatures, and what opens the answer.
fn prepared(options: &DrillOptions) -> Result<(Envelope, RecipientSecret), Failure> {
    if let (Some(request), Some(key)) = (&options.request, &options.recipient_key) {
        return Ok((read_envelope(request)?, RecipientSecret::from_pem(&read_secret(key, LONGEST)?)?));
    }
    let status = options.instance.status()?;
    let unreadable = || Failure("the instance's status names no instance, policies or drill role".to_owned());
    let roles = status.get("roles").and_then(Value::as_array);
    let role = roles.and_then(|roles| roles.iter().find(|role| role.get("drill") == Some(&Value::Bool(true))));
    let role = role.ok_or_else(unreadable)?;
    let length = role.get("length_seconds").and_then(Value::as_u64).ok_or_else(unreadable)?;
    let (requester, _) = options.key.first().ok_or_else(|| Failure("whose key? --key NAME=KEY.pem".to_owned()))?;
    let mut rng = randomness()?;
    let recipient = RecipientSecret::generate(&mut rng)?;
    let request = RequestDocument::write(RequestDraft {
        kind: UseKind::Drill,
        role: RoleName::parse(&text(role, "name")).ok_or_else(unreadable)?,
        reason: "a drill".to_owned(),
        incident: options.incident.clone(),
        length: Duration::from_secs(length),
        recipient: recipient.public(),
        nonce: Nonce::from_random(rng.random()),
        requested_at: SystemClock::start().now(),
        requester: requester.clone(),
        policy_hash: Digest::parse(&text(&status, "policy_hash")).ok_or_else(unreadable)?,
        instance: Some(Uuid::try_parse(&text(&status, "instance")).map_err(|_| unreadable())?),
    })?;
    Ok((Envelope::unsigned(Document::Request(request)), recipient))
}

fn end(options: &DrillOptions, nonce: Nonce) -> Result<Value, Failure> {
    let mut envelope = cancellation(nonce, "the end of a drill")?;
    let (name, path) = options.key.first().ok_or_else(|| Failure("whose key? --key NAME=KEY.pem".to_owned()))?;
    sign_with_key(&mut envelope, name.clone(), path, options.passphrase_file.as_deref())?;
    send(&options.instance, &envelope)
}
