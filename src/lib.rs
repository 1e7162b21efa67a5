//! `stint`: OIDC tokens in, short-lived S3 credentials out, every one of them on record.
//!
//! Read [`exchange`] first: one exchange on one page. The rooms stand in one line, and each imports only rooms to its
//! left: `clock → token → policy → lease → audit → telemetry → object_server → desk → exchange → break_glass →
//! reconciler → inquiry → http → app`. The adapters [`issuer`], [`postgres`] and [`webhook`] import the room whose port they implement; [`config`] makes the rooms' finished
//! types; [`client`] stands apart and runs beside a workload. `docs/architecture.md` has the map, and a test holds it.

pub mod app;
pub mod audit;
pub mod break_glass;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod desk;
pub mod evidence;
pub mod exchange;
pub mod http;
pub mod inquiry;
pub mod issuer;
pub mod lease;
pub mod object_server;
mod own_side;
pub mod policy;
pub mod postgres;
pub mod reconciler;
pub mod telemetry;
pub mod token;
pub mod webhook;
