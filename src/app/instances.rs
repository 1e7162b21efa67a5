//! One instance of several: while the doors are open it hears of what the others say in the log they share, and reads it soon
//! also when it hears nothing.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::desk::Watch;
use crate::postgres::PostgresStore;

/// What keeps an instance up with the others.
#[derive(Debug)]
pub(super) struct Instances {
    pub(super) watch: Watch,
    pub(super) wake: Arc<Notify>,
    pub(super) store: Arc<PostgresStore>,
}

impl Instances {
    /// Until told to stop.
    pub(super) async fn keep_up(self, stop: CancellationToken) {
        let Self { watch, wake, store } = self;
        tokio::join!(store.listen(&wake, &stop), watch.run(stop.clone()));
    }
}
