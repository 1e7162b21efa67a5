//! A small S3 client for the two commands that work on buckets, `bootstrap` and `verify`: signed calls with a session token
//! where there is one, answers bounded in time and size, nothing followed and nothing sent twice. It is no general SDK: a
//! command asks for exactly what it means, and reads every answer as one from a server that may lie.

mod answer;
mod client;
mod key;
mod presign;
mod request;
pub(super) mod xml;

pub use answer::S3Answer;
pub use client::{S3Client, S3Error, S3Settings};
pub use key::S3Key;
pub use request::S3Request;
