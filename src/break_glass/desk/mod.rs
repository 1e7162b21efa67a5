//! The desk of break-glass: what a quorum asks for becomes a lease here, or a refusal. One page each: `submit.rs` is the use,
//! `cancel.rs` its end before its time, `review.rs` its review, `tick.rs` what time brings, `status.rs` what anybody may know.
//!
//! Everything is said in the journal first, and decided by what the journal, and where it answers the shared log, say: this
//! room keeps nothing in memory but the credentials that are out, to prove their end.

mod admit;
mod break_glass_desk;
mod burns;
mod cancel;
mod duties;
mod end;
mod held;
mod log;
mod mint;
mod port;
mod rate;
mod refusal;
mod refusals;
mod review;
mod state;
mod status;
mod submit;
mod tick;

pub use break_glass_desk::{BreakGlassDesk, BreakGlassParts, Knowledge, ServerFacts};
pub use cancel::Cancelled;
pub use held::HeldEmergencies;
pub use log::EmergencyLog;
pub use port::{EmergencyJournal, EmergencyRecord, NotMerged};
pub use refusal::BreakGlassRefusal;
pub use review::Reviewed;
pub use state::{DRILL, EmergencyState, EmergencyUse, GrantedUse, OWNED_ELSEWHERE, PASSED};
pub use status::{Status, StatusCondition, StatusCustodian, StatusReview, StatusRole};
pub use submit::{Granted, ReviewDue};
