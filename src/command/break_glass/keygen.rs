//! `stint break-glass keygen`: a custodian's key, encrypted, and what goes into the policy directory.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::files::create;
use super::{randomness, terminal};
use crate::break_glass::ceremony::CustodianSecret;
use crate::command::Failure;
use crate::policy::CustodianName;

/// Whose key, and where it goes.
#[derive(Debug, Args)]
pub struct KeygenOptions {
    /// The custodian: 1 to 64 characters of A-Za-z0-9._-
    #[arg(long, value_name = "NAME", value_parser = custodian)]
    name: CustodianName,
    /// How they are reached when it counts, for the block that is printed.
    #[arg(long, value_name = "TEXT", default_value = "")]
    contact: String,
    /// The key file to make [default: NAME.pem].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Read the passphrase from the first line of this file, which nobody else may read, instead of asking.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Answer in JSON: `{"key_file", "name", "public_key"}`.
    #[arg(long)]
    json: bool,
}

/// A custodian's name, as it is given.
pub(super) fn custodian(text: &str) -> Result<CustodianName, String> {
    CustodianName::parse(text).ok_or_else(|| "must be 1 to 64 characters of A-Za-z0-9._-".to_owned())
}

/// Makes the key.
pub(super) fn keygen(options: &KeygenOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let path = options.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.pem", options.name)));
    // Told before anybody has typed a passphrase; `create` makes sure.
    if path.exists() {
        return Err(Failure(format!("{}: is there already, and is not written over", path.display())));
    }
    let passphrase = terminal::new_passphrase(options.passphrase_file.as_deref())?;
    let mut rng = randomness()?;
    let secret = CustodianSecret::generate(&mut rng)?;
    create(&path, secret.to_encrypted_pem(&passphrase, &mut rng)?.as_bytes())?;
    let public = secret.public().to_base64();
    if options.json {
        let made = json!({"key_file": path, "name": options.name.as_str(), "public_key": public});
        return Ok(writeln!(out, "{made}")?);
    }
    writeln!(
        out,
        "# The key of {} is in {}: keep it and its passphrase apart, and both from others.",
        options.name,
        path.display()
    )?;
    writeln!(out, "# For policies/break-glass.toml, after a review by those who keep it:\n")?;
    writeln!(out, "[[custodian]]\nname = \"{}\"\npublic_key = \"{public}\"", options.name)?;
    let contact = if options.contact.is_empty() { "how to reach them at night" } else { &options.contact };
    Ok(writeln!(out, "contact = {}", toml::Value::String(contact.to_owned()))?)
}
