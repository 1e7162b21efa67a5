//! The gate: the log's store, behind the journal. While anything in the journal is not in the log, nothing else is committed
//! there: whoever asks first has it merged, and is refused where that cannot be.

use std::sync::Arc;

use async_trait::async_trait;

use super::Journal;
use crate::audit::{AuditStore, Batch, PolicySetText, Seal, StoreError, StreamHead, StreamId, VerifyingKey};

/// A store that takes nothing before the journal is merged into it.
#[derive(Debug)]
pub struct JournalFirst {
    journal: Arc<Journal>,
    store: Arc<dyn AuditStore>,
}

impl JournalFirst {
    /// Puts the journal before the store.
    #[must_use]
    pub fn new(journal: Arc<Journal>, store: Arc<dyn AuditStore>) -> Self {
        Self { journal, store }
    }

    async fn pass(&self) -> Result<(), StoreError> {
        if !self.journal.is_merged() {
            self.journal.merge_into(self.store.as_ref()).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl AuditStore for JournalFirst {
    async fn open(&self, stream: StreamId, key: &VerifyingKey) -> Result<Vec<StreamHead>, StoreError> {
        self.pass().await?;
        self.store.open(stream, key).await
    }

    async fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.pass().await?;
        self.store.append(batch).await
    }

    // Closed too: a log whose head can be read counts as healed.
    async fn head(&self, stream: StreamId) -> Result<Option<Seal>, StoreError> {
        self.pass().await?;
        self.store.head(stream).await
    }

    async fn keep_policy_set(&self, set: &PolicySetText) -> Result<(), StoreError> {
        self.pass().await?;
        self.store.keep_policy_set(set).await
    }
}
