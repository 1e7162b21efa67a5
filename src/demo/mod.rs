//! Everything embedded, for newcomers and for tests. Not part of the container image.

pub mod database;
