//! What we say we did. This room holds the shape of every event, and the log that makes an event durable before the
//! thing it speaks of happens. It never holds a secret: its types cannot carry one. It does not know SQL: rows go
//! through the [`AuditStore`] port.
//!
//! [`AuditLog::intend`] → [`AuditReceipt`] → the mint → [`AuditLog::conclude`]. Nothing outside `log.rs` can make a
//! receipt, and the mint demands one. One task, `writer.rs`, gives every event its number, its commit and its [`Seal`].

mod break_glass;
mod checkpoint;
mod event;
mod fingerprint;
mod freezing;
pub mod instant;
mod key;
mod ledger;
mod log;
mod lone_intent;
pub mod merkle;
pub mod question;
mod record;
mod recorded_lease;
mod report;
mod reuse;
mod revocation;
mod scribe;
#[cfg(test)]
mod scripted;
mod seal;
mod store;
mod stream;
mod tally;
mod verify;
mod writer;

pub use break_glass::{BREAK_GLASS, Emergency, EmergencyContext, EmergencyFacts, obligation};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use event::{
    Abandonment, Address, Door, Event, EventKind, FreezeFacts, Identity, LeaseFacts, Origin, Orphan, OrphanFate,
    Orphanhood, Outcome, RecordedEffect, Refusals, Request,
};
pub use fingerprint::{FingerprintKey, KeyFingerprint};
pub use key::{KeyError, KeyId, Signature, SigningKey, VerifyingKey};
pub use ledger::{Inspection, KeptKey, Ledger, LedgerError, Piece, Progress, Selection, Tally};
pub use log::{
    AuditError, AuditLog, AuditReceipt, ClosedRole, Inquiry, Intent, LogParts, LogSettings, RECEIPT_LIFE, Refused,
    Unrecorded,
};
pub use lone_intent::{LoneIntent, NotAnIntent};
pub use merkle::Digest;
pub use record::{AuditRow, Record};
pub use report::{Expected, Fault, Finding, KeyUse, MOST_FINDINGS, NamedBy, Report};
pub use reuse::{Reuse, ReuseReceipt};
#[cfg(test)]
pub(crate) use revocation::tests::issued;
pub use revocation::{LeaseOnRecord, NotALease, REQUESTED, Revoked, RevokedBy};
pub use seal::{Chain, Seal};
pub use store::{AuditStore, Batch, PolicySetText, Position, SequencedEvent, SessionPolicyText, StoreError};
pub use stream::{NotAHead, StreamHead, StreamId};
pub use verify::{Floor, Scope, SeenRow, Verifier, floors};
pub use writer::{LogMeter, LogStats};
