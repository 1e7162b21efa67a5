//! `stint object-server …`: what an operator does once, or after an upgrade, to the server behind the service.

mod bootstrap;
mod reconcile;
mod rotate;
mod verify;

pub use bootstrap::bootstrap;
pub use reconcile::reconcile;
pub use rotate::{RotateOptions, rotate};
pub use verify::verify;
