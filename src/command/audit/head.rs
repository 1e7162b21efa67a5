//! `stint audit head`: a checkpoint, signed. Kept away from the database it proves later that history only grew.

use std::io::Write;
use std::path::Path;

use crate::app::{SigningKeyFile, StartError};
use crate::audit::{Checkpoint, Ledger, SigningKey, instant};
use crate::clock::{Clock, SystemClock};
use crate::command::{Failure, block_on, load};
use crate::config::Config;
use crate::postgres::PostgresStore;

/// `stint audit head`
pub fn head(path: &Path, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let config = load(path)?;
    let Some(key) = signing_key(&config)? else {
        let told = "audit.signing_key_file is not set: a checkpoint signed by a key that nobody knows proves nothing";
        return Err(Failure(told.to_owned()));
    };
    let mut taken = None;
    block_on(async {
        let store = PostgresStore::attach(&config.postgres_url, config.audit.deadline)?;
        taken = Some(Checkpoint::take(store.heads().await?, SystemClock::start().now(), &key));
        Ok(())
    })?;
    let Some(checkpoint) = taken else { return Err(Failure("the log was not read".to_owned())) };
    if json {
        return Ok(writeln!(out, "{}", checkpoint.to_json())?);
    }
    writeln!(out, "taken {} by key {}", instant::format(checkpoint.taken_at()), checkpoint.key_id())?;
    for head in checkpoint.heads() {
        writeln!(out, "stream {} seal {} row {} hash {}", head.stream.0, head.number, head.last_seq, head.hash)?;
    }
    Ok(writeln!(out, "keep the document away from the database: `stint audit head --json > checkpoint.json`")?)
}

/// The configured key, if one is.
pub(super) fn signing_key(config: &Config) -> Result<Option<SigningKey>, Failure> {
    let Some(path) = &config.audit.signing_key_file else { return Ok(None) };
    let file = SigningKeyFile::read(path).map_err(StartError::from)?;
    file.key().map(Some).map_err(|error| Failure(format!("audit.signing_key_file: {} {error}", path.display())))
}
