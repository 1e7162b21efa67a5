//! What they may have. This room compiles the reviewed policy directory into one immutable [`PolicySet`] and decides,
//! by default deny, which role a verified identity holds and which IAM document goes with it. It is pure: it reads no
//! network and no clock, and it never knows which object server will enforce the result.
//!
//! [`PolicySet::compile`] → [`PolicySet::decide`] → [`Grant`] or [`Denial`]. Nothing outside `decide.rs` can make a
//! [`Grant`].

mod action;
mod break_glass;
mod buckets;
mod claims;
mod compile;
mod condition;
mod conjunction;
mod decide;
mod directory;
mod document;
mod evaluate;
mod glob;
mod hindsight;
mod json;
mod names;
mod narrow;
mod operator;
mod operators;
mod problem;
mod resource;
mod role_file;
mod rule;
mod set;
mod statement;
mod stored;
mod toml_section;
mod warnings;

pub use action::stands_for;
pub use break_glass::{
    BreakGlass, Custodian, CustodianKey, CustodianKeyError, CustodianName, Drill, EmergencyCondition, EmergencyRole,
    EmergencyTokens,
};
pub use buckets::{Bucket, Expiry, is_bucket_name};
pub use decide::{AccessRequest, Denial, DenialReason, Grant, RequestedRole};
pub use directory::PolicyFiles;
pub use document::Document;
pub use evaluate::{AccessCheck, Verdict, evaluate};
pub use hindsight::{Hindsight, hindsight};
pub use names::{PolicyHash, RoleName};
pub use operators::{Operators, Permission};
pub use problem::Problem;
pub use rule::Asked;
pub use set::PolicySet;
pub use statement::Effect;
