//! The journal: the stream of emergencies on local disk. Every event of break-glass is in it first, fsynced, before anything
//! comes of it; from here it is merged into the log, at once where PostgreSQL answers and otherwise at recovery, before
//! anything else is committed there. It never decides anything: it keeps what the log's facade seals, and gives it back.
//!
//! [`Journal`] is an [`crate::audit::AuditStore`], so a second [`crate::audit::AuditLog`] writes it. `frame.rs` is one
//! append, `segment.rs` a file of them, `head.rs` what was acknowledged, `reading.rs` what is believed, `merging.rs` the way
//! into the log, `gate.rs` what waits for it.

mod book;
mod directory;
mod error;
mod frame;
mod gate;
mod handle;
mod head;
mod instance;
mod merging;
mod reading;
mod segment;

pub use book::JournalParts;
pub use error::JournalError;
pub use gate::JournalFirst;
pub use handle::{Journal, JournalStanding};
pub use instance::InstanceId;
pub use merging::Merged;

#[cfg(test)]
mod tests;
