//! `stint object-server …`: what an operator does once, or after an upgrade, to the server behind the service.

mod bootstrap;

pub use bootstrap::bootstrap;
