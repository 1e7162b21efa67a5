//! `stint lease …`: what operators do with leases, with the service's own configuration; it works while the service is down.

mod revoke;

pub use revoke::{RevokeOptions, revoke};
