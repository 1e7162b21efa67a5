//! `stint object-server …`: what an operator does once, or after an upgrade, to the server behind the service.

mod bootstrap;
mod reconcile;
mod verify;

pub use bootstrap::bootstrap;
pub use reconcile::reconcile;
pub use verify::verify;
