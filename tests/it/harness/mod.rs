//! What tests need around the service.

pub(crate) mod clock;
pub(crate) mod object_server;
pub(crate) mod signed;
pub(crate) mod tokens;
