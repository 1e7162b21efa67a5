//! PostgreSQL, the only database: keeps the log's events and answers questions about them. It decides nothing: what an
//! event says is the audit room's, and what may be done with a row is the schema's (`migrations/`).

mod audit_store;
mod connection;
mod emergencies;
mod error;
mod event_row;
mod kept_policies;
mod lease_records;
mod leases;
mod ledger;
mod ledger_extract;
mod ledger_row;
mod lone_intents;
mod notices;
mod open_leases;
mod parent_use;
mod queries;
mod questions;
mod reach;
mod schema;
mod seal_row;
mod shared_state;
mod turn;
mod unnamed;

pub use connection::PostgresStore;
pub use error::PostgresError;
pub use lease_records::PostgresLeaseRecords;
pub use lone_intents::PostgresLoneIntents;
pub use parent_use::ParentUse;
pub use reach::PostgresReach;
pub use schema::{Migrated, migrate};
pub use shared_state::PostgresSharedState;
