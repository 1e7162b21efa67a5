//! `stint break-glass sign`: shows a document in full, asks, and puts a custodian's signature in. A key that is kept elsewhere
//! signs the very same bytes, which are written out for it.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{ArgGroup, Args};
use serde_json::json;
use time::OffsetDateTime;

use super::files::{create, read, read_envelope, read_text, replace_envelope};
use super::keygen::custodian;
use super::terminal;
use crate::audit::Digest;
use crate::break_glass::ceremony::{CustodianSecret, Document, Envelope, WINDOW};
use crate::clock::{Clock, SystemClock};
use crate::command::Failure;
use crate::policy::{CustodianKey, CustodianName};

/// Longest key file and signature file.
const LONGEST: usize = 16 * 1024;

/// What is signed, by whom, and where their key is.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("how").required(true).args(["key", "digest", "signature"]))]
pub struct SignOptions {
    /// The document. The signature is put into this file.
    #[arg(value_name = "FILE")]
    document: PathBuf,
    /// Who signs, as break-glass.toml names them; with --digest it may be given several times.
    #[arg(long, value_name = "NAME", required = true, value_parser = custodian)]
    custodian: Vec<CustodianName>,
    /// Sign with this key file, as keygen wrote it.
    #[arg(long, value_name = "KEY.pem")]
    key: Option<PathBuf>,
    /// Read the key's passphrase from the first line of this file, which nobody else may read, instead of asking.
    #[arg(long, value_name = "FILE", requires = "key")]
    passphrase_file: Option<PathBuf>,
    /// Sign nothing: write the exact bytes for a key that is kept elsewhere, FILE.NAME.tosign for each custodian.
    #[arg(long)]
    digest: bool,
    /// Put in a signature that was made elsewhere: 64 bytes as they are, in hex or in base64.
    #[arg(long, value_name = "SIGNATURE", requires = "public_key")]
    signature: Option<PathBuf>,
    /// The key that --signature is verified with: `public_key` of the custodian in break-glass.toml.
    #[arg(long, value_name = "BASE64", requires = "signature")]
    public_key: Option<String>,
    /// Do not ask. For scripts: whoever writes one answers for what it signs.
    #[arg(long)]
    yes: bool,
    /// Answer in JSON: `{"file", "sha256", "signers"}`; with --digest `{"to_sign": [{"custodian", "file", "sha256"}]}`.
    #[arg(long)]
    json: bool,
}

/// Signs the document.
pub(super) fn sign(options: &SignOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let mut envelope = read_envelope(&options.document)?;
    if options.digest {
        return write_out(options, &envelope, out);
    }
    let [name] = options.custodian.as_slice() else {
        return Err(Failure("one custodian signs at a time: give --custodian once".to_owned()));
    };
    if let Some(path) = &options.key {
        if !options.yes {
            let shown = described(&envelope, SystemClock::start().now());
            terminal::confirm(&shown, &format!("Sign this as {name}?"))?;
        }
        sign_with_key(&mut envelope, name.clone(), path, options.passphrase_file.as_deref())?;
    } else if let (Some(signature), Some(public)) = (&options.signature, &options.public_key) {
        put_in(&mut envelope, name, signature, public)?;
    }
    replace_envelope(&options.document, &envelope)?;
    let signers: Vec<&str> = envelope.claimed_signers().map(CustodianName::as_str).collect();
    let digest = envelope.document().digest();
    if options.json {
        let signed = json!({"file": options.document, "sha256": digest.to_hex(), "signers": signers});
        return Ok(writeln!(out, "{signed}")?);
    }
    if options.yes || options.key.is_none() {
        writeln!(out, "{}", envelope.document().shown())?;
    }
    Ok(writeln!(out, "{} is signed by {}", options.document.display(), signers.join(", "))?)
}

/// Signs with a key file.
pub(super) fn sign_with_key(
    envelope: &mut Envelope,
    name: CustodianName,
    key: &Path,
    passphrase_file: Option<&Path>,
) -> Result<(), Failure> {
    let pem = read_text(key, LONGEST)?;
    let passphrase = terminal::passphrase(passphrase_file, &format!("passphrase of {}", key.display()))?;
    let failure = |error| Failure(format!("{}: {error}", key.display()));
    CustodianSecret::from_encrypted_pem(&pem, &passphrase).map_err(failure)?.sign(envelope, name);
    Ok(())
}

/// What a custodian reads before they sign.
fn described(envelope: &Envelope, now: OffsetDateTime) -> String {
    let signers: Vec<&str> = envelope.claimed_signers().map(CustodianName::as_str).collect();
    let signers = if signers.is_empty() { "nobody yet".to_owned() } else { signers.join(", ") };
    let shown = format!("{}  signed by     {signers} (not verified here)\n", envelope.document().shown());
    let Document::Request(request) = envelope.document() else { return shown };
    let left = WINDOW - (now - request.requested_at());
    let left = if left.is_positive() {
        format!("{} minutes are left to use it", left.whole_minutes())
    } else {
        "it is TOO OLD to be used: let a new one be written".to_owned()
    };
    format!("{shown}  window        {left}\n")
}

fn write_out(options: &SignOptions, envelope: &Envelope, out: &mut dyn Write) -> Result<(), Failure> {
    let mut written = Vec::new();
    for name in &options.custodian {
        let mut path = options.document.as_os_str().to_owned();
        path.push(format!(".{name}.tosign"));
        let (path, input) = (PathBuf::from(path), envelope.signing_input(name));
        create(&path, &input)?;
        written.push((name, path, Digest::of(&input)));
    }
    if options.json {
        let written: Vec<_> = written
            .iter()
            .map(|(name, path, digest)| json!({"custodian": name.as_str(), "file": path, "sha256": digest.to_hex()}))
            .collect();
        return Ok(writeln!(out, "{}", json!({"to_sign": written}))?);
    }
    write!(out, "{}", described(envelope, SystemClock::start().now()))?;
    for (name, path, digest) in written {
        let path = path.display();
        writeln!(out, "\nFor the key of {name}: {path}\n  sha256 {digest}", digest = digest.to_hex())?;
        writeln!(out, "  openssl pkeyutl -sign -rawin -inkey KEY.pem -in {path} -out {name}.sig")?;
        writeln!(
            out,
            "  stint break-glass sign {} --custodian {name} --signature {name}.sig --public-key BASE64",
            options.document.display()
        )?;
    }
    Ok(())
}

fn put_in(envelope: &mut Envelope, name: &CustodianName, file: &Path, public: &str) -> Result<(), Failure> {
    let key = CustodianKey::parse(public).map_err(|error| Failure(format!("--public-key {error}")))?;
    let content = read(file, LONGEST)?;
    let signature = spelled(&content)
        .ok_or_else(|| Failure(format!("{}: is not an Ed25519 signature of 64 bytes", file.display())))?;
    if !key.verifies(&envelope.signing_input(name), &signature) {
        return Err(Failure(format!(
            "{}: is not the signature of this key over what {name} signs; nothing was changed",
            file.display()
        )));
    }
    envelope.sign(name.clone(), signature);
    Ok(())
}

/// 64 bytes as they are, in hex or in base64.
fn spelled(content: &[u8]) -> Option<[u8; 64]> {
    if let Ok(signature) = content.try_into() {
        return Some(signature);
    }
    let text = std::str::from_utf8(content).ok()?.trim();
    let bytes = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok())?;
    bytes.try_into().ok()
}
