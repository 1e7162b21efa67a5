//! Merging: the very batches of the journal into the log, in the order they were written. What the log has of a stream its
//! head tells, so it can be given up at any step and begun again: nothing is lost, and nothing is there twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::JournalError;
use super::book::Book;
use super::frame::Frame;
use super::handle::Journal;
use crate::audit::{AuditStore, Seal, StoreError, StreamId};

/// What a merge did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Commits that the log did not have.
    pub commits: usize,
    /// The events in them.
    pub events: usize,
}

impl Journal {
    /// Brings everything that waits into the log. Nothing is merged of a journal that does not verify, or that the log
    /// contradicts; where the log fails it can be tried again.
    pub async fn merge_into(&self, store: &dyn AuditStore) -> Result<Merged, JournalError> {
        let _one_at_a_time = self.shared.merging.lock().await;
        let mut told = Merged::default();
        let mut opened = BTreeSet::new();
        loop {
            let (before, waiting) = self.aside(Book::unmerged).await?;
            if waiting.is_empty() {
                break;
            }
            for (done, frame) in (before.saturating_add(1)..).zip(waiting) {
                if self.merge_frame(store, &frame, &mut opened).await? {
                    told.commits = told.commits.saturating_add(1);
                    told.events = told.events.saturating_add(frame.batch.records.len());
                }
                self.aside(move |book| book.note_merged(done)).await?;
            }
        }
        self.aside(Book::tidy).await?;
        if told.commits > 0 {
            tracing::info!(
                commits = told.commits,
                events = told.events,
                "the break-glass journal is merged into the log"
            );
        }
        Ok(told)
    }

    /// The last merge of this process: everything of the journal is in the log, and says so by its name. Should something be
    /// written after all, it is, and waits.
    pub async fn put_away(&self, store: &dyn AuditStore) -> Result<(), JournalError> {
        self.merge_into(store).await?;
        self.aside(Book::put_away).await
    }

    /// Whether the log had to be given this one. Its head is asked for each: the server that answers now may not be the one
    /// that answered before.
    async fn merge_frame(
        &self,
        store: &dyn AuditStore,
        frame: &Arc<Frame>,
        opened: &mut BTreeSet<StreamId>,
    ) -> Result<bool, JournalError> {
        let seal = &frame.batch.seal;
        if opened.insert(seal.stream) {
            store.open(seal.stream, &frame.key).await.map_err(|error| unmerged(&error))?;
        }
        let there = store.head(seal.stream).await.map_err(|error| unmerged(&error))?;
        self.compare(seal.stream, there.as_ref()).await?;
        let next = there.map_or(0, |there| there.number.saturating_add(1));
        if seal.number < next {
            return Ok(false);
        }
        if seal.number > next {
            // A replica that was behind, or a backup, stands in for the server that had them: appended over the hole, this one
            // would keep what is lost from ever being merged.
            let stream = seal.stream;
            self.aside(move |book| book.rewind(stream, next)).await?;
            return Err(JournalError::Unmerged("the log lost commits it had: they are merged again".to_owned()));
        }
        for set in &frame.policy_sets {
            store.keep_policy_set(set).await.map_err(|error| unmerged(&error))?;
        }
        store.append(&frame.batch).await.map_err(|error| unmerged(&error))?;
        Ok(true)
    }

    /// What the log has of a stream must be of this journal: a seal that it never wrote under its stream means that the
    /// journal was put back to an earlier state, or that somebody else holds its key.
    async fn compare(&self, stream: StreamId, there: Option<&Seal>) -> Result<(), JournalError> {
        let Some(there) = there.cloned() else { return Ok(()) };
        self.aside(move |book| {
            if book.seal(stream, there.number).is_some_and(|ours| ours.hash() == there.hash()) {
                return Ok(());
            }
            let finding = format!("the log holds seal {} of stream {}, which is not here", there.number, stream.0);
            Err(book.refuse_for(&finding))
        })
        .await
    }
}

fn unmerged(error: &StoreError) -> JournalError {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    JournalError::Unmerged(cause.unwrap_or_else(|| error.to_string()))
}
