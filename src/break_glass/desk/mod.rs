//! The desk of break-glass: what a quorum asks for becomes a lease here, or a refusal.

mod port;
mod state;

pub use port::{EmergencyJournal, EmergencyRecord, NotMerged};
pub use state::{DRILL, EmergencyState, EmergencyUse, GrantedUse, LastDrill, OWNED_ELSEWHERE, PASSED};
