//! An export: every event that a filter finds, page by page, so that neither memory nor a connection is held for longer
//! than a page. It ends at the instant it was asked, or a log that grows faster than it is read would never end.

use std::sync::Arc;

use serde_json::Value;

use super::answer::mask_row;
use super::question::{Kind, Question};
use super::{Archive, InquiryRefusal, Reader};
use crate::audit::AuditRow;
use crate::audit::question::{EventsQuestion, Given, MOST};

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One row in canonical form a line: what a seal hashes, unless fingerprints are masked.
    JsonLines,
    /// RFC 4180 with a header; lists as JSON arrays.
    Csv,
}

/// The columns of a CSV export: the members of a record, by name.
const COLUMNS: [&str; 34] = [
    "address",
    "client",
    "count",
    "detail",
    "door",
    "effect",
    "ends_at",
    "granted_seconds",
    "groups",
    "heads",
    "id",
    "issuer",
    "jti",
    "key_fingerprint",
    "key_id",
    "lease_id",
    "matched_rule",
    "network",
    "occurred_at",
    "policy_hash",
    "reason",
    "request_id",
    "requested_role",
    "requested_seconds",
    "role",
    "role_session_name",
    "roles",
    "seq",
    "session_name",
    "session_policy_sha256",
    "stream",
    "subject",
    "token_sha256",
    "type",
];

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
        if !self.begun && self.format == ExportFormat::Csv {
            part.push_str(&(COLUMNS.join(",") + "\r\n"));
        }
        self.begun = true;
        while let Some(mut question) = self.question.take() {
            let page = {
                let _turn = self.archive.turn().await?;
                self.archive.parts.questions.events(&question).await?
            };
            for mut row in page.rows {
                if !self.reveal {
                    mask_row(&mut row);
                }
                self.write(&row, &mut part);
            }
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

    fn write(&self, row: &AuditRow, out: &mut String) {
        match self.format {
            ExportFormat::JsonLines => {
                out.push_str(&serde_json::to_string(row).unwrap_or_default());
                out.push('\n');
            }
            ExportFormat::Csv => write_csv(row, out),
        }
    }
}

fn write_csv(row: &AuditRow, out: &mut String) {
    let record = serde_json::to_value(row).unwrap_or_default();
    for (i, column) in COLUMNS.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match record.get(*column) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => quote(text, out),
            Some(other) => quote(&other.to_string(), out),
        }
    }
    out.push_str("\r\n");
}

/// RFC 4180: a field with a comma, a quote or a line break stands in quotes. A spreadsheet would also run a field that begins
/// with `=`, `+`, `-` or `@`, and a caller chooses some of them: those are quoted with an apostrophe in front.
fn quote(text: &str, out: &mut String) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula || text.contains([',', '"', '\n', '\r']) {
        out.push('"');
        if formula {
            out.push('\'');
        }
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
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
        assert!(members.iter().all(|member| COLUMNS.contains(&member.as_str())), "{members:?}");
        assert!(COLUMNS.is_sorted());
        // Each column is a member: a record with it is read, and one with another name is not.
        for column in COLUMNS {
            let mut one = whole.clone();
            one[column] = one.get(column).cloned().unwrap_or(Value::Null);
            assert!(serde_json::from_value::<AuditRow>(one).is_ok() || ["groups", "heads", "roles"].contains(&column));
        }
        whole["other"] = Value::Null;
        assert!(serde_json::from_value::<AuditRow>(whole).is_err());
    }

    #[test]
    fn a_field_that_a_spreadsheet_would_run_or_split_is_quoted() {
        let mut out = String::new();
        write_csv(&row(), &mut out);
        assert!(out.contains("\"'=cmd()|a,\"\"b\"\"\""), "{out}");
        assert!(out.contains("\"[\"\"a\"\",\"\"b\"\"]\""), "{out}");
        assert!(out.ends_with("lease.issued\r\n"), "{out}");
        assert_eq!(out.matches("\r\n").count(), 1);
    }
}
