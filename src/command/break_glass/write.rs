//! `stint break-glass cancel` and `review`: write the document that stops or closes a use. Signed with a key at hand it can be
//! sent at once; otherwise it is signed and submitted like a request.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::files::{create_envelope, read_text};
use super::keygen::custodian;
use super::sign::sign_with_key;
use crate::break_glass::ceremony::{CancellationDocument, Document, Envelope, LARGEST_DOCUMENT, Nonce, ReviewDocument};
use crate::clock::{Clock, SystemClock};
use crate::command::Failure;
use crate::policy::CustodianName;

/// What is cancelled, and why.
#[derive(Debug, Args)]
pub struct CancelOptions {
    /// The use: the nonce of its request.
    #[arg(value_name = "USE", value_parser = nonce)]
    used: Nonce,
    /// Why, on one line; it stays in the log.
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Sign as this custodian; one is enough.
    #[arg(long, value_name = "NAME", value_parser = custodian, requires = "key")]
    custodian: Option<CustodianName>,
    /// With this key file.
    #[arg(long, value_name = "KEY.pem", requires = "custodian")]
    key: Option<PathBuf>,
    /// Read the key's passphrase from the first line of this file, which nobody else may read, instead of asking.
    #[arg(long, value_name = "FILE", requires = "key")]
    passphrase_file: Option<PathBuf>,
    /// The file to make.
    #[arg(long, value_name = "FILE", default_value = "cancellation.json")]
    out: PathBuf,
    /// Answer in JSON: `{"cancellation", "use"}`.
    #[arg(long)]
    json: bool,
}

/// What is reviewed, and what was found.
#[derive(Debug, Args)]
pub struct ReviewOptions {
    /// The use: the nonce of its request.
    #[arg(value_name = "USE", value_parser = nonce)]
    used: Nonce,
    /// What was found; it stays in the log.
    #[arg(long, value_name = "TEXT", required_unless_present = "findings_file", conflicts_with = "findings_file")]
    findings: Option<String>,
    /// The same, from a file: several lines.
    #[arg(long, value_name = "FILE")]
    findings_file: Option<PathBuf>,
    /// The file to make.
    #[arg(long, value_name = "FILE", default_value = "review.json")]
    out: PathBuf,
    /// Answer in JSON: `{"review", "use"}`.
    #[arg(long)]
    json: bool,
}

fn nonce(text: &str) -> Result<Nonce, String> {
    Nonce::parse(text).ok_or_else(|| "must be the nonce of a request, as its answer and the status say it".to_owned())
}

/// Writes a cancellation.
pub(super) fn cancel(options: &CancelOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let mut envelope = cancellation(options.used, &options.why)?;
    if let (Some(name), Some(key)) = (&options.custodian, &options.key) {
        sign_with_key(&mut envelope, name.clone(), key, options.passphrase_file.as_deref())?;
    }
    create_envelope(&options.out, &envelope)?;
    told(("cancellation", &options.out), options.used, &envelope, options.json, out)
}

/// A cancellation that nobody has signed yet.
pub(super) fn cancellation(used: Nonce, why: &str) -> Result<Envelope, Failure> {
    let document = CancellationDocument::write(used, why.to_owned(), SystemClock::start().now())?;
    Ok(Envelope::unsigned(Document::Cancellation(document)))
}

/// Writes a review.
pub(super) fn review(options: &ReviewOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let findings = match (&options.findings, &options.findings_file) {
        (Some(findings), _) => findings.clone(),
        (None, Some(path)) => read_text(path, LARGEST_DOCUMENT)?.trim_end().to_owned(),
        (None, None) => return Err(Failure("what was found? --findings TEXT".to_owned())),
    };
    let document = ReviewDocument::write(options.used, findings, SystemClock::start().now())?;
    let envelope = Envelope::unsigned(Document::Review(document));
    create_envelope(&options.out, &envelope)?;
    told(("review", &options.out), options.used, &envelope, options.json, out)
}

fn told(
    (what, path): (&str, &Path),
    used: Nonce,
    envelope: &Envelope,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if as_json {
        return Ok(writeln!(out, "{}", json!({what: path, "use": used.to_string()}))?);
    }
    let file = path.display();
    writeln!(out, "{}", envelope.document().shown())?;
    if envelope.claimed_signers().next().is_none() {
        let how_many = if what == "review" { "two custodians, not the requester" } else { "one custodian" };
        writeln!(
            out,
            "{file} is to be signed by {how_many}: stint break-glass sign {file} --custodian NAME --key KEY.pem"
        )?;
    }
    Ok(writeln!(out, "Then: stint break-glass submit {file} --url URL")?)
}
