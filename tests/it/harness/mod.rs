//! What tests need around the service.

pub mod clock;
pub mod object_server;
pub mod signed;
