//! The journal's log, opened at the first thing that is said: a service in which nothing happens keeps no stream of it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::task::TaskTracker;

use crate::audit::{AuditError, AuditLog, LogParts};

/// An [`AuditLog`] that is opened when it is first needed, and the only one over its journal.
pub struct EmergencyLog(Mutex<Opening>);

#[derive(Default)]
struct Opening {
    parts: Option<(LogParts, TaskTracker)>,
    log: Option<Arc<AuditLog>>,
}

impl EmergencyLog {
    /// Opens nothing yet. `parts.store` is the journal; its writer will run on `tasks`.
    #[must_use]
    pub fn new(parts: LogParts, tasks: TaskTracker) -> Self {
        Self(Mutex::new(Opening { parts: Some((parts, tasks)), log: None }))
    }

    /// The log. Closed after [`EmergencyLog::close`].
    pub fn open(&self) -> Result<Arc<AuditLog>, AuditError> {
        let mut opening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((parts, tasks)) = opening.parts.take() {
            opening.log = Some(Arc::new(AuditLog::open(parts, &tasks)));
        }
        opening.log.clone().ok_or(AuditError::Unavailable)
    }

    /// Ends its stream in good order, once nobody says anything any more.
    pub fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Opening::default();
    }
}

impl fmt::Debug for EmergencyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmergencyLog")
    }
}
