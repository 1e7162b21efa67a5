//! PostgreSQL, the only database: keeps the log's events and answers questions about them. It decides nothing: what an
//! event says is the audit room's, and what may be done with a row is the schema's (`migrations/`).

mod audit_store;
mod connection;
mod error;
mod ledger;
mod ledger_extract;
mod ledger_row;
mod queries;
mod seal_row;

pub use connection::PostgresStore;
pub use error::PostgresError;
