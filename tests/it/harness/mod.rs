//! What several tests build on.

pub(crate) mod hostile;
pub(crate) mod manual_clock;
pub(crate) mod scripted_server;
pub(crate) mod tokens;
