//! The handle: the journal as the rest of the service has it. Everything that touches the disk runs aside, so that a slow
//! disk holds up no other request, and one after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use super::book::{Book, JournalParts};
use super::{InstanceId, JournalError};
use crate::audit::{AuditRow, AuditStore, Batch, PolicySetText, Seal, StoreError, StreamHead, StreamId, VerifyingKey};

/// What the journal is to everybody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalStanding {
    /// Everything in it is in the log.
    Merged,
    /// So many commits wait to be merged.
    Waiting(usize),
    /// It does not verify: nothing is written to it, merged or granted. In words for an operator, the cure among them.
    Refused(String),
}

/// The journal of one instance, open in this process and in no other.
#[derive(Debug)]
pub struct Journal {
    pub(super) shared: Arc<Shared>,
    instance: InstanceId,
}

#[derive(Debug)]
pub(super) struct Shared {
    book: Mutex<Book>,
    /// False while anything waits to be merged, or is being written: asked at every commit of the log, without a wait.
    merged: AtomicBool,
    /// One merge at a time.
    pub(super) merging: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the book whether anything waits. Under its lock, so that no append is between.
    fn settle(&self, book: &Book) {
        self.merged.store(book.refused().is_none() && book.waiting() == 0, Ordering::Release);
    }
}

impl Journal {
    /// How much room is reserved: some thousand events.
    pub const ROOM: u64 = 4 * 1024 * 1024;

    /// Opens it, or makes it. Blocking. A journal that does not verify opens too: it refuses everything and says why
    /// ([`Journal::standing`]). An error where there is no journal to speak of: the directory cannot be used, another
    /// process has it, or what names it is gone.
    pub fn open(parts: JournalParts) -> Result<Self, JournalError> {
        let book = Book::open(parts)?;
        let instance = book.instance();
        let shared =
            Shared { merged: AtomicBool::new(false), merging: tokio::sync::Mutex::default(), book: Mutex::new(book) };
        shared.settle(&shared.book());
        Ok(Self { shared: Arc::new(shared), instance })
    }

    /// Whose journal it is: the id that request documents name.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Whether everything in it is in the log.
    #[must_use]
    pub fn is_merged(&self) -> bool {
        self.shared.merged.load(Ordering::Acquire)
    }

    /// What it is to everybody else. Waits for a write under way: at most as long as the disk takes.
    #[must_use]
    pub fn standing(&self) -> JournalStanding {
        let book = self.shared.book();
        match (book.refused(), book.waiting()) {
            (Some(error), _) => JournalStanding::Refused(error.to_string()),
            (None, 0) => JournalStanding::Merged,
            (None, waiting) => JournalStanding::Waiting(waiting),
        }
    }

    /// The rows `break_glass.*` of everything kept, merged or not, in the order they were written. An error where it does not
    /// verify: then nobody knows which nonces were used.
    pub fn records(&self) -> Result<Vec<AuditRow>, JournalError> {
        let book = self.shared.book();
        if let Some(refused) = book.refused() {
            return Err(refused.clone());
        }
        let mut rows = book.rows();
        rows.retain(|row| row.kind.starts_with("break_glass."));
        Ok(rows)
    }

    /// Where the stream stands that was written last: told to people, it is a witness outside this machine.
    #[must_use]
    pub fn head_now(&self) -> Option<StreamHead> {
        self.shared.book().last_head()
    }

    /// Runs work on the book aside. Given up half-way, it still ends as it would have.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Book) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let shared = Arc::clone(&self.shared);
        let worked = spawn_blocking(move || {
            let mut book = shared.book();
            let worked = work(&mut book);
            shared.settle(&book);
            worked
        });
        worked.await.map_err(|_ended| JournalError::GivenUp)?
    }
}

#[async_trait]
impl AuditStore for Journal {
    async fn open(&self, stream: StreamId, key: &VerifyingKey) -> Result<Vec<StreamHead>, StoreError> {
        let key = *key;
        Ok(self.aside(move |book| book.open_stream(stream, key)).await?)
    }

    async fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        // Before the write begins: no commit of the log may slip in between it and the flag.
        self.shared.merged.store(false, Ordering::Release);
        let batch = batch.clone();
        Ok(self.aside(move |book| book.append(&batch)).await?)
    }

    async fn head(&self, stream: StreamId) -> Result<Option<Seal>, StoreError> {
        Ok(self.aside(move |book| book.last_seal(stream)).await?)
    }

    async fn keep_policy_set(&self, set: &PolicySetText) -> Result<(), StoreError> {
        let set = set.clone();
        let keep = move |book: &mut Book| {
            book.keep_set(&set);
            Ok(())
        };
        Ok(self.aside(keep).await?)
    }
}
