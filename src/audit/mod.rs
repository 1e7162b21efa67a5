//! What we say we did. This room holds the shape of every event, and the log that makes an event durable before the
//! thing it speaks of happens. It never holds a secret: its types cannot carry one. It does not know SQL: rows go
//! through the [`AuditStore`] port.
//!
//! [`AuditLog::intend`] → [`AuditReceipt`] → the mint → [`AuditLog::conclude`]. Nothing outside `log.rs` can make a
//! receipt, and the mint demands one. One task, `writer.rs`, gives every event its number and its commit.

mod event;
mod fingerprint;
mod log;
mod store;
mod writer;

pub use event::{Address, Door, Event, EventKind, Identity, LeaseFacts, Origin, Outcome, RecordedEffect, Request};
pub use fingerprint::{FingerprintKey, KeyFingerprint};
pub use log::{AuditError, AuditLog, AuditReceipt, Intent, LogSettings, Refused};
pub use store::{AuditStore, Head, Position, SequencedEvent, StoreError, StreamId};
pub use writer::{LogMeter, LogStats};
