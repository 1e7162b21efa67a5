//! Faults that the log survives, made to happen to the real program in front of a real PostgreSQL. After each, every
//! credential that a client saw has its intent and its outcome on record, and every seal holds.

mod checker;
mod clock_steps;
mod cut_connections;
mod full_disk;
mod killed_database;
mod killed_service;
mod lying_object_server;
mod server;
mod slow_commits;
mod two_instances;

/// Stands in the statement that commits an event of this kind, and in no other.
const INTENDED: &str = r#""type":"lease.intended""#;
const ISSUED: &str = r#""type":"lease.issued""#;
const OPENED: &str = r#""type":"stream.opened""#;
const CLOSED: &str = r#""type":"stream.closed""#;
