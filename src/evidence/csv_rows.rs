//! Rows as CSV (RFC 4180), for people with a spreadsheet: the bundle's table and the export over HTTP. A cell that the
//! spreadsheet would run as a formula gets an apostrophe in front: a subject or session name is whatever its owner chose,
//! `=HYPERLINK(…)` included.

use std::borrow::Cow;
use std::io::Write;

use super::columns::{COLUMNS, Column};
use crate::audit::{AuditRow, instant};

/// In which order the columns stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnOrder {
    /// As in `audit_event`.
    Table,
    /// By name, as the members of a record in canonical form.
    Name,
}

/// Writes rows; lists become JSON arrays, what is absent an empty cell.
pub struct CsvRows<W: Write> {
    writer: csv::Writer<W>,
    columns: [(&'static str, Column); 38],
}

impl<W: Write> CsvRows<W> {
    /// Begins; nothing is written yet.
    pub fn new(writer: W, order: ColumnOrder) -> Self {
        let mut columns = COLUMNS;
        if order == ColumnOrder::Name {
            columns.sort_unstable_by_key(|(name, _)| *name);
        }
        Self { writer: csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(writer), columns }
    }

    /// Writes the names of the columns.
    pub fn header(&mut self) -> std::io::Result<()> {
        Ok(self.writer.write_record(self.columns.map(|(name, _)| name))?)
    }

    /// Writes one row.
    pub fn row(&mut self, row: &AuditRow) -> std::io::Result<()> {
        let cells = self.columns.map(|(_, column)| harmless(cell(row, column)));
        Ok(self.writer.write_record(cells.iter().map(|cell| cell.as_bytes()))?)
    }

    /// Ends, with everything handed over to what was written into.
    pub fn finish(self) -> std::io::Result<W> {
        self.writer.into_inner().map_err(csv::IntoInnerError::into_error)
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
