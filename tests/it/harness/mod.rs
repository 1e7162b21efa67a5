//! What tests need around the service.

pub mod object_server;
