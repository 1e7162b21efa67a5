//! `events.csv` (RFC 4180), for people with a spreadsheet. A cell that the spreadsheet would run as a formula gets an
//! apostrophe in front: a subject or session name is whatever its owner chose, `=HYPERLINK(…)` included.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::EvidenceError;
use super::columns::{COLUMNS, Column};
use super::file::HashedFile;
use super::manifest::FileFacts;
use crate::audit::{AuditRow, instant};

pub(super) const NAME: &str = "events.csv";

pub(super) struct CsvFile {
    path: PathBuf,
    writer: csv::Writer<HashedFile>,
    rows: u64,
}

impl CsvFile {
    pub(super) fn create(directory: &Path) -> Result<Self, EvidenceError> {
        let file = HashedFile::create(directory, NAME)?;
        let writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(file);
        let mut made = Self { path: directory.join(NAME), writer, rows: 0 };
        made.record(&COLUMNS.map(|(name, _)| Cow::Borrowed(name)))?;
        Ok(made)
    }

    pub(super) fn row(&mut self, row: &AuditRow) -> Result<(), EvidenceError> {
        self.rows = self.rows.saturating_add(1);
        self.record(&COLUMNS.map(|(_, column)| harmless(cell(row, column))))
    }

    fn record(&mut self, cells: &[Cow<'_, str>]) -> Result<(), EvidenceError> {
        let written = self.writer.write_record(cells.iter().map(|cell| cell.as_bytes()));
        written.map_err(|error| EvidenceError::Table { path: self.path.clone(), reason: error.to_string() })
    }

    pub(super) fn finish(self) -> Result<FileFacts, EvidenceError> {
        let Self { path, writer, rows } = self;
        let flushed = writer.into_inner();
        flushed.map_err(|error| EvidenceError::Table { path, reason: error.to_string() })?.finish(Some(rows))
    }
}

fn cell(row: &AuditRow, column: Column) -> Cow<'_, str> {
    match column {
        Column::Text(value) => value(row).unwrap_or("").into(),
        Column::Integer(value) => value(row).map(|value| value.to_string()).unwrap_or_default().into(),
        Column::Uuid(value) => value(row).map(|value| value.to_string()).unwrap_or_default().into(),
        Column::Instant(value) => value(row).map(instant::format).unwrap_or_default().into(),
        Column::Address(value) => value(row).unwrap_or_default().into(),
        Column::Texts(value) => match value(row) {
            [] => "".into(),
            texts => serde_json::to_string(texts).unwrap_or_default().into(),
        },
    }
}

/// What a spreadsheet runs begins with one of these; the line breaks and the tab are skipped before it looks.
fn harmless(cell: Cow<'_, str>) -> Cow<'_, str> {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{cell}").into() } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_a_spreadsheet_would_run_is_only_text() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"] {
            assert_eq!(harmless(formula.into()), format!("'{formula}"));
        }
        for plain in ["", "studio", "a=b", "'=1"] {
            assert_eq!(harmless(plain.into()), plain);
        }
    }
}
