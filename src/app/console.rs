//! What a command at the console works with: the log, in a stream of its own, and who says that it was done.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::{StartError, open_log, random};
use crate::audit::{AuditLog, Origin, RevokedBy};
use crate::clock::{Clock, time_ordered_id};
use crate::config::Config;
use crate::postgres::PostgresStore;

/// The log, opened for one command.
pub(super) struct Console {
    pub(super) store: Arc<PostgresStore>,
    pub(super) log: Arc<AuditLog>,
    /// The user of the system, and why.
    pub(super) by: RevokedBy,
    tasks: TaskTracker,
    patience: Duration,
}

impl Console {
    /// Connects, and opens the stream.
    pub(super) async fn open(
        config: &Config,
        (user, why): (Option<&str>, Option<&str>),
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let deadline = config.audit.deadline;
        let (store, tasks) =
            (Arc::new(PostgresStore::connect(&config.postgres_url, deadline).await?), TaskTracker::new());
        let log = Arc::new(open_log(&config.audit, store.clone(), Arc::clone(&clock), &tasks)?);
        let request_id = time_ordered_id(clock.now(), &mut random()?);
        let by = RevokedBy {
            origin: Origin::console(request_id),
            token_sha256: None,
            actor: format!("os:{}", user.unwrap_or("unknown")),
            why: why.map(str::to_owned),
        };
        Ok(Self { store, log, by, tasks, patience: deadline * 2 })
    }

    /// The stream is closed when the log is dropped: by everybody else before this.
    pub(super) async fn close(self) {
        let Self { log, tasks, patience, .. } = self;
        drop(log);
        tasks.close();
        if tokio::time::timeout(patience, tasks.wait()).await.is_err() {
            tracing::warn!("the log's stream could not be closed in time; what was committed stands");
        }
    }
}
