//! The log, asked at the console: the same questions, answers and records as at the doors, in a stream of this command's own.
//! It works beside the service and while it is down.

use std::sync::Arc;

use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{Failure, block_on, with_causes};
use crate::app::{fingerprint_key, open_log, random};
use crate::clock::{Clock, SystemClock, time_ordered_id};
use crate::config::Config;
use crate::inquiry::{Archive, ArchiveParts, InquiryRefusal};
use crate::postgres::PostgresStore;

impl From<InquiryRefusal> for Failure {
    fn from(refusal: InquiryRefusal) -> Self {
        Self(with_causes(&refusal))
    }
}

/// Asks one question, under the request id that it is recorded with.
pub(super) fn at_the_console<T>(
    config: &Config,
    ask: impl AsyncFnOnce(&Archive, Uuid) -> Result<T, InquiryRefusal>,
) -> Result<T, Failure> {
    let mut answered = None;
    block_on(async {
        let clock = Arc::new(SystemClock::start());
        let store = Arc::new(PostgresStore::connect(&config.postgres_url, config.audit.deadline).await?);
        let tasks = TaskTracker::new();
        let log = Arc::new(open_log(&config.audit, store.clone(), clock.clone(), &tasks)?);
        let request_id = time_ordered_id(clock.now(), &mut random()?);
        let fingerprints = fingerprint_key(config);
        let archive = Archive::new(ArchiveParts {
            log,
            questions: store.clone(),
            ledger: store,
            signing_key: None,
            fingerprints,
            lease_rules: config.lease,
            clock,
        });
        let answer = ask(&archive, request_id).await;
        drop(archive);
        tasks.close();
        tasks.wait().await;
        answered = Some(answer?);
        Ok(())
    })?;
    answered.ok_or_else(|| Failure("the log was not asked".to_owned()))
}
