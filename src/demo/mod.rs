//! Everything embedded for newcomers.

pub mod object_server;
