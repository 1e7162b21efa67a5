//! `stint`: OIDC tokens in, short-lived S3 credentials out, every one of them on record.
pub mod audit;
pub mod clock;
#[cfg(feature = "demo")]
pub mod demo;
pub mod exchange;
pub mod issuer;
pub mod lease;
pub mod object_server;
pub mod policy;
pub mod postgres;
pub mod telemetry;
pub mod token;
