//! Evidence bundles: a part of the log, or all of it, as a directory that can be verified on another machine, offline, by
//! somebody who trusts nobody. This room writes them and reads them; it knows no database and no key but those handed in.

mod columns;
mod csv_file;
mod csv_rows;
mod error;
mod file;
mod manifest;
mod parquet_file;
mod readme;
mod seal_line;
mod verify;
mod write;

pub use csv_rows::{ColumnOrder, CsvRows};
pub use error::EvidenceError;
pub use manifest::Manifest;
pub use seal_line::SealLine;
pub use verify::verify;
pub use write::{Formats, Order, Written, write};
