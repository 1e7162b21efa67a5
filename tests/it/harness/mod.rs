//! What several tests build on.

pub(crate) mod hostile;
pub(crate) mod tokens;
