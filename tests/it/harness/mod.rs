//! What tests need around the service.

pub(crate) mod clock;
pub(crate) mod database;
pub(crate) mod object_server;
pub(crate) mod service;
pub(crate) mod signed;
pub(crate) mod tokens;
