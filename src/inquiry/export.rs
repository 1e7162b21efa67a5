//! An export: every event that a filter finds, page by page, so that neither memory nor a connection is held for longer
//! than a page. It ends at the instant it was asked, or a log that grows faster than it is read would never end.

use std::sync::Arc;

use super::answer::mask_row;
use super::question::{Kind, Question};
use super::{Archive, InquiryRefusal, Reader, turn};
use crate::audit::AuditRow;
use crate::audit::question::{EventsQuestion, Given, MOST};
use crate::evidence::{ColumnOrder, CsvRows};

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One row in canonical form a line: what a seal hashes, unless fingerprints are masked.
    JsonLines,
    /// RFC 4180 with a header; lists as JSON arrays.
    Csv,
}

/// An export under way.
#[derive(Debug)]
pub struct Export {
    archive: Arc<Archive>,
    question: Option<Box<EventsQuestion>>,
    format: ExportFormat,
    reveal: bool,
    begun: bool,
}

impl Archive {
    pub(super) async fn export(
        archive: &Arc<Self>,
        reader: &Reader,
        mut given: Given,
    ) -> Result<Export, InquiryRefusal> {
        let form = given.word("format", "jsonl or csv", |word| matches!(word, "jsonl" | "csv"))?;
        let format = if form.as_deref() == Some("csv") { ExportFormat::Csv } else { ExportFormat::JsonLines };
        let now = archive.parts.clock.now();
        let (question, reveal) = Question::read(Kind::Export, given, &archive.parts.fingerprints, now)?;
        archive.record_reading(reader, &question, reveal).await?;
        let Question::Events(mut question) = question else {
            return Err(InquiryRefusal::Question(crate::audit::question::BadQuestion::Unknown));
        };
        question.limit = MOST;
        question.filter.to.get_or_insert(now);
        Ok(Export { archive: Arc::clone(archive), question: Some(question), format, reveal, begun: false })
    }
}

impl Export {
    /// The form.
    #[must_use]
    pub fn format(&self) -> ExportFormat {
        self.format
    }

    /// The next part; `None` when all is told. After an error there is no more: what was sent is incomplete.
    pub async fn next(&mut self) -> Result<Option<String>, InquiryRefusal> {
        let mut part = String::new();
        let mut header = !self.begun && self.format == ExportFormat::Csv;
        self.begun = true;
        while let Some(mut question) = self.question.take() {
            let mut page = {
                let _turn = turn(&self.archive.turns).await?;
                self.archive.parts.questions.events(&question).await?
            };
            if !self.reveal {
                page.rows.iter_mut().for_each(mask_row);
            }
            part.push_str(&self.lines(&page.rows, std::mem::take(&mut header)));
            if let Some(place) = page.next {
                question.after = Some(place);
                self.question = Some(question);
            }
            if !part.is_empty() {
                break;
            }
        }
        Ok(Some(part).filter(|part| !part.is_empty()))
    }

    fn lines(&self, rows: &[AuditRow], header: bool) -> String {
        match self.format {
            ExportFormat::JsonLines => {
                rows.iter().map(|row| serde_json::to_string(row).unwrap_or_default() + "\n").collect()
            }
            // Writing to memory cannot fail.
            ExportFormat::Csv => csv_lines(rows, header).unwrap_or_default(),
        }
    }
}

fn csv_lines(rows: &[AuditRow], header: bool) -> std::io::Result<String> {
    let mut lines = CsvRows::new(Vec::new(), ColumnOrder::Name);
    if header {
        lines.header()?;
    }
    for row in rows {
        lines.row(row)?;
    }
    String::from_utf8(lines.finish()?).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn row() -> AuditRow {
        let json = r#"{"effect":"allow","groups":["a","b"],"id":"00000000-0000-0000-0000-000000000001","issuer":"x",
            "occurred_at":"2026-11-22T03:00:00.000000Z","reason":"granted","seq":7,"session_name":"=cmd()|a,\"b\"",
            "stream":"00000000-0000-0000-0000-000000000002","type":"lease.issued"}"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_member_of_a_record_has_its_column() {
        let mut whole = serde_json::to_value(row()).unwrap();
        let members: Vec<String> = whole.as_object_mut().unwrap().keys().cloned().collect();
        let header = csv_lines(&[], true).unwrap();
        let columns: Vec<&str> = header.trim_end().split(',').collect();
        assert!(members.iter().all(|member| columns.contains(&member.as_str())), "{members:?}");
        assert!(columns.is_sorted() && columns.len() == 38);
        // Each column is a member: a record with it is read, and one with another name is not.
        for column in columns {
            let mut one = whole.clone();
            one[column] = one.get(column).cloned().unwrap_or(Value::Null);
            assert!(serde_json::from_value::<AuditRow>(one).is_ok() || ["groups", "heads", "roles"].contains(&column));
        }
        whole["other"] = Value::Null;
        assert!(serde_json::from_value::<AuditRow>(whole).is_err());
    }

    #[test]
    fn a_field_that_a_spreadsheet_would_run_or_split_is_quoted() {
        let out = csv_lines(&[row()], false).unwrap();
        assert!(out.contains("\"'=cmd()|a,\"\"b\"\"\""), "{out}");
        assert!(out.contains("\"[\"\"a\"\",\"\"b\"\"]\""), "{out}");
        assert!(out.ends_with("lease.issued\r\n"), "{out}");
        assert_eq!(out.matches("\r\n").count(), 1);
    }
}
