//! `stint lease …`: what operators do with leases, with the service's own configuration; it works while the service is down.

mod forecast;
mod freeze;
mod list;
mod revoke;
mod show;

pub use forecast::{ForecastOptions, forecast};
pub use freeze::{FreezeOptions, ThawOptions, freeze, thaw};
pub use list::{ListOptions, list};
pub use revoke::{RevokeOptions, revoke};
pub use show::{ShowOptions, show};
