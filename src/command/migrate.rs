//! `stint migrate`: brings the schema up to date and settles the roles, as the user of the URL, and says what it did.

use std::io::Write;
use std::path::Path;

use super::{Failure, block_on, load};
use crate::postgres;

/// `stint migrate`
pub fn migrate(path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let config = load(path)?;
    block_on(async move {
        let migrated = postgres::migrate(&config.postgres_url).await;
        let migrated = migrated.map_err(|error| Failure(format!("postgres: {error}")))?;
        for applied in &migrated.applied {
            writeln!(out, "applied: {applied}")?;
        }
        if migrated.applied.is_empty() {
            writeln!(out, "the schema was up to date")?;
        }
        for undone in &migrated.undone {
            writeln!(out, "warning: {undone}: docs/operations.md says what a database administrator can do")?;
        }
        Ok(())
    })
}
