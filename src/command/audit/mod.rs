//! `stint audit …`: for auditors. Verifying and taking heads reveal nothing and leave no trace; whatever shows events is
//! itself an event, committed before it answers.

mod export;
mod head;
mod progress;
mod query;
mod verify;

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

pub use export::{ExportOptions, export};
pub use head::head;
pub use query::{QueryOptions, query};
pub use verify::{VerifyOptions, verify};

use super::Failure;
use crate::app::{StartError, open_log};
use crate::audit::{AuditError, Identity, Inquiry, LedgerError, Origin, RecordedEffect, Request};
use crate::clock::{Clock, SystemClock, time_ordered_id};
use crate::config::Config;
use crate::postgres::{PostgresError, PostgresStore};

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self(super::with_causes(&error))
    }
}

impl From<PostgresError> for Failure {
    fn from(error: PostgresError) -> Self {
        StartError::from(error).into()
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        Self(format!("the reading could not be recorded, so nothing is shown: {error}"))
    }
}

/// Commits, in a stream of its own, that somebody at the command line is about to be shown the log. `reason` is `read`,
/// `reveal` or `export`; `detail` says what was asked.
pub(crate) async fn record_reading(config: &Config, reason: &'static str, detail: String) -> Result<(), Failure> {
    let store = Arc::new(PostgresStore::connect(&config.postgres_url, config.audit.deadline).await?);
    let clock = Arc::new(SystemClock::start());
    let tasks = TaskTracker::new();
    let mut rng = crate::app::random()?;
    let request_id = time_ordered_id(clock.now(), &mut rng);
    let log = open_log(&config.audit, store, clock, &tasks)?;
    let request = Request::for_no_lease(Origin::console(request_id), None);
    let identity = Identity::at_the_console(user());
    let read = log.read(Inquiry { request, identity, effect: RecordedEffect::Allow, reason, detail }).await;
    drop(log);
    tasks.close();
    tasks.wait().await;
    Ok(read?)
}

/// The user id that the system runs this process as.
pub(crate) fn user() -> Option<String> {
    std::fs::metadata("/proc/self").ok().map(|process| format!("uid {}", process.uid()))
}
