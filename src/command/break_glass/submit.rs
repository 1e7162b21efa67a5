//! `stint break-glass submit`: brings the signed files together and sends them to an instance; a granted answer is kept sealed.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::files::{create, is_there, read_envelope, read_secret};
use super::instance::{InstanceOptions, text};
use crate::break_glass::ceremony::{Document, Envelope, RecipientKey, RecipientSecret};
use crate::command::Failure;

/// Longest recipient key.
const LONGEST: usize = 16 * 1024;
/// The key of a request that was written without `--out`.
const USUAL_KEY: &str = "request.json.key";

/// What is submitted, and where the answer goes.
#[derive(Debug, Args)]
pub struct SubmitOptions {
    /// The signed files: one, or several with the same document, whose signatures are brought together.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    instance: InstanceOptions,
    /// Of a request: the file to make for the sealed answer.
    #[arg(long, value_name = "FILE", default_value = "answer.json")]
    out: PathBuf,
    /// Print the whole answer in JSON.
    #[arg(long)]
    json: bool,
}

/// Submits a document.
pub(super) fn submit(options: &SubmitOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let envelope = together(&options.files)?;
    let is_request = matches!(envelope.document(), Document::Request(_));
    // Told before anything is used up: an answer that cannot be kept is lost.
    if is_request && is_there(&options.out) {
        let there = options.out.display();
        return Err(Failure(format!("{there}: is there already, and is not written over: name another with --out")));
    }
    let told = send(&options.instance, &envelope)?;
    if is_request {
        keep(&options.out, &told)?;
    }
    if options.json {
        writeln!(out, "{told:#}")?;
    } else {
        match envelope.document() {
            Document::Request(request) => granted(&told, request.recipient(), options, out)?,
            Document::Review(_) => reviewed(&told, out)?,
            Document::Cancellation(_) => cancelled(&told, out)?,
        }
    }
    if matches!(envelope.document(), Document::Cancellation(_)) { seen(&told) } else { Ok(()) }
}

/// Whoever cancels in a script must not take a lease that may live for one that is over.
fn seen(told: &Value) -> Result<(), Failure> {
    if told.get("proven").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    Err(Failure(format!("{} was not seen to be ended everywhere ({})", text(told, "use"), text(told, "outcome"))))
}

/// Sends it to the door of its kind.
pub(super) fn send(instance: &InstanceOptions, envelope: &Envelope) -> Result<Value, Failure> {
    if envelope.claimed_signers().next().is_none() {
        return Err(Failure("nobody has signed this yet: stint break-glass sign FILE --custodian NAME".to_owned()));
    }
    let door = match envelope.document() {
        Document::Request(_) => "requests",
        Document::Review(_) => "reviews",
        Document::Cancellation(_) => "cancellations",
    };
    instance.submit(door, &envelope.to_json())
}

/// Keeps a granted answer before anything is said of it: it is answered once.
pub(super) fn keep(path: &Path, told: &Value) -> Result<(), Failure> {
    create(path, format!("{told:#}\n").as_bytes()).map_err(|Failure(why)| {
        let sealed = told.get("sealed").and_then(Value::as_str).unwrap_or_default();
        Failure(format!("{why}\nThe sealed answer, which is not given twice:\n{sealed}"))
    })
}

fn together(files: &[PathBuf]) -> Result<Envelope, Failure> {
    let mut envelopes = files.iter().map(|path| read_envelope(path));
    let first = envelopes.next().ok_or_else(|| Failure("which file?".to_owned()))??;
    envelopes.try_fold(first, |envelope, next| Ok(envelope.merged(next?)?))
}

/// The private key that opens the answer, if it lies here: each candidate is read, for a hint that names a wrong key is worse
/// than none.
fn key_of(recipient: &RecipientKey, files: &[PathBuf]) -> Option<PathBuf> {
    let beside = files.iter().map(|file| {
        let mut name = file.as_os_str().to_owned();
        name.push(".key");
        PathBuf::from(name)
    });
    beside.chain([PathBuf::from(USUAL_KEY)]).find(|path| {
        let pem = read_secret(path, LONGEST).ok();
        pem.and_then(|pem| RecipientSecret::from_pem(&pem).ok()).is_some_and(|key| key.public() == *recipient)
    })
}

fn granted(
    told: &Value,
    recipient: &RecipientKey,
    options: &SubmitOptions,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let answer = options.out.display();
    let key = key_of(recipient, &options.files);
    let key = key.map_or_else(|| "REQUEST.key".to_owned(), |path| path.display().to_string());
    writeln!(out, "GRANTED until {}; it is never renewed", text(told, "expiration"))?;
    writeln!(out, "  lease         {}", text(told, "lease_id"))?;
    for condition in told.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        writeln!(out, "  condition     {}", condition.as_str().unwrap_or("-"))?;
    }
    writeln!(out, "  receipt       {}", text(told, "receipt"))?;
    writeln!(out, "\n{answer} is sealed. On the machine where the request was written:")?;
    writeln!(out, "  eval \"$(stint break-glass open --env {answer} --key {key})\"")?;
    writeln!(out, "  stint break-glass open {answer} --key {key} -- aws s3 ls")?;
    let review = told.get("review").cloned().unwrap_or_default();
    let used = text(&review, "use");
    writeln!(out, "Done early? Any custodian ends it: stint break-glass cancel {used} --why TEXT")?;
    if review.get("required").and_then(Value::as_bool) == Some(true) {
        writeln!(out, "The next use is blocked until this one is reviewed: stint break-glass review {used}")?;
        writeln!(
            out,
            "  session       {} (key fingerprint {})",
            text(&review, "session_name"),
            text(&review, "key_fingerprint")
        )?;
        writeln!(out, "  what was done {}", text(&review, "accesses"))?;
        if review.get("rotate").is_some() {
            writeln!(out, "  afterwards    {}", text(&review, "rotate"))?;
        }
    }
    Ok(())
}

fn reviewed(told: &Value, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "the review of {} is closed", text(told, "use"))?;
    for open in told.get("still_open").and_then(Value::as_array).into_iter().flatten() {
        writeln!(out, "still open: {}", open.as_str().unwrap_or("-"))?;
    }
    if told.get("rotate").is_some() {
        writeln!(out, "now rotate the parent key: {}", text(told, "rotate"))?;
    }
    Ok(())
}

/// What became of a cancelled use.
pub(super) fn cancelled(told: &Value, out: &mut dyn Write) -> Result<(), Failure> {
    let used = text(told, "use");
    match told.get("outcome").and_then(Value::as_str).unwrap_or_default() {
        "burnt" => writeln!(out, "{used} was not used, and never can be")?,
        "burnt_here" => writeln!(
            out,
            "{used} is burnt at THIS instance alone, for PostgreSQL is away: submit the same file to the instance that the \
             request names"
        )?,
        "refused_at_server" | "gone_from_listing" => {
            writeln!(out, "the lease of {used} is ended: its credential was seen to be refused")?;
        }
        "ends_by_itself" => {
            let ends_at = text(told, "ends_at");
            writeln!(out, "this object server ends no lease alone: that of {used} is good until {ends_at}")?;
        }
        "may_have_minted" => {
            let ends_at = text(told, "ends_at");
            writeln!(
                out,
                "{used} is used, and nobody was handed anything: what there is ends by {ends_at} at the latest"
            )?;
        }
        _ => {
            let (outcome, ends_at) = (text(told, "outcome"), text(told, "ends_at"));
            writeln!(
                out,
                "NOT SEEN TO BE ENDED ({outcome}): the lease of {used} may live until {ends_at}; submit it again"
            )?;
        }
    }
    if told.get("drill").is_some() {
        writeln!(out, "the drill {}", text(told, "drill"))?;
    }
    Ok(())
}
