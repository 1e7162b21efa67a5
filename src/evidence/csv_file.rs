//! `events.csv`: the bundle's rows as a table.

use std::io;
use std::path::{Path, PathBuf};

use super::EvidenceError;
use super::csv_rows::{ColumnOrder, CsvRows};
use super::file::HashedFile;
use super::manifest::FileFacts;
use crate::audit::AuditRow;

pub(super) const NAME: &str = "events.csv";

pub(super) struct CsvFile {
    path: PathBuf,
    table: CsvRows<HashedFile>,
    rows: u64,
}

impl CsvFile {
    pub(super) fn create(directory: &Path) -> Result<Self, EvidenceError> {
        let path = directory.join(NAME);
        let mut table = CsvRows::new(HashedFile::create(directory, NAME)?, ColumnOrder::Table);
        table.header().map_err(|error| failed(&path, &error))?;
        Ok(Self { path, table, rows: 0 })
    }

    pub(super) fn row(&mut self, row: &AuditRow) -> Result<(), EvidenceError> {
        self.rows = self.rows.saturating_add(1);
        self.table.row(row).map_err(|error| failed(&self.path, &error))
    }

    pub(super) fn finish(self) -> Result<FileFacts, EvidenceError> {
        let Self { path, table, rows } = self;
        table.finish().map_err(|error| failed(&path, &error))?.finish(Some(rows))
    }
}

fn failed(path: &Path, error: &io::Error) -> EvidenceError {
    EvidenceError::Table { path: path.to_owned(), reason: error.to_string() }
}
