//! `stint lease …`: what operators do with leases, with the service's own configuration; it works while the service is down.

mod freeze;
mod revoke;

pub use freeze::{FreezeOptions, ThawOptions, freeze, thaw};
pub use revoke::{RevokeOptions, revoke};
