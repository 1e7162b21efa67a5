//! What tests need around the service.

pub(crate) mod binary;
pub(crate) mod bucket_server;
pub(crate) mod clock;
pub(crate) mod custodians;
pub(crate) mod database;
pub(crate) mod demo_server;
pub(crate) mod events;
pub(crate) mod faulted;
pub(crate) mod home;
pub(crate) mod hostile;
pub(crate) mod manual_clock;
pub(crate) mod months;
pub(crate) mod object_server;
pub(crate) mod parts;
pub(crate) mod proxy;
pub(crate) mod scripted_server;
pub(crate) mod sealer;
pub(crate) mod service;
pub(crate) mod session_server;
pub(crate) mod signed;
pub(crate) mod tokens;
pub(crate) mod webhook;
pub(crate) mod witness;
