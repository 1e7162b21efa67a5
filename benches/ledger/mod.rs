//! A year of the issuance log, made from a seed: the same seed and size give the same rows, byte for byte. Records, leaves
//! and seals are the library's own, so that what is measured on them is what the service writes. `world.rs` says who
//! lives in the year, `stream.rs` what they do in one stream of it, `year.rs` how streams follow each other, `copy.rs` how
//! rows travel, and `load.rs` brings them into PostgreSQL.

pub(crate) mod append;
mod copy;
pub(crate) mod cpu;
mod load;
pub(crate) mod questions;
pub(crate) mod sealing;
mod stream;
mod world;
mod year;

pub(crate) use load::{Ledger, load};
