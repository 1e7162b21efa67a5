//! `events.parquet`, for those who ask many rows at once: typed columns, instants in microseconds UTC, lists as lists.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

use super::EvidenceError;
use super::columns::{COLUMNS, Column};
use super::file::HashedFile;
use super::manifest::FileFacts;
use crate::audit::AuditRow;

pub(super) const NAME: &str = "events.parquet";
/// Rows held before they are written: what bounds the memory.
const GROUP: usize = 16 * 1024;

pub(super) struct ParquetFile {
    path: PathBuf,
    writer: SerializedFileWriter<HashedFile>,
    group: Vec<AuditRow>,
    rows: u64,
}

impl ParquetFile {
    pub(super) fn create(directory: &Path) -> Result<Self, EvidenceError> {
        let path = directory.join(NAME);
        let file = HashedFile::create(directory, NAME)?;
        let schema = parse_message_type(&schema()).map_err(EvidenceError::table(&path))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties));
        let writer = writer.map_err(EvidenceError::table(&path))?;
        Ok(Self { path, writer, group: Vec::new(), rows: 0 })
    }

    pub(super) fn row(&mut self, row: AuditRow) -> Result<(), EvidenceError> {
        self.group.push(row);
        if self.group.len() < GROUP { Ok(()) } else { self.write_group() }
    }

    fn write_group(&mut self) -> Result<(), EvidenceError> {
        let rows = std::mem::take(&mut self.group);
        self.rows = self.rows.saturating_add(u64::try_from(rows.len()).unwrap_or(u64::MAX));
        write_group(&mut self.writer, &rows).map_err(EvidenceError::table(&self.path))
    }

    pub(super) fn finish(mut self) -> Result<FileFacts, EvidenceError> {
        if !self.group.is_empty() {
            self.write_group()?;
        }
        let Self { path, writer, rows, .. } = self;
        writer.into_inner().map_err(EvidenceError::table(&path))?.finish(Some(rows))
    }
}

fn schema() -> String {
    let columns = COLUMNS.map(|(name, column)| match column {
        Column::Text(_) | Column::Address(_) => format!("optional binary {name} (STRING);"),
        Column::Integer(_) => format!("optional int64 {name};"),
        Column::Uuid(_) => format!("optional fixed_len_byte_array(16) {name} (UUID);"),
        Column::Instant(_) => format!("optional int64 {name} (TIMESTAMP(MICROS,true));"),
        Column::Texts(_) => {
            format!("required group {name} (LIST) {{ repeated group list {{ required binary element (STRING); }} }}")
        }
    });
    format!("message audit_event {{ {} }}", columns.join(" "))
}

fn write_group(writer: &mut SerializedFileWriter<HashedFile>, rows: &[AuditRow]) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for (_, column) in COLUMNS {
        let Some(mut writer) = group.next_column()? else { break };
        write_column(&mut writer, column, rows)?;
        writer.close()?;
    }
    group.close().map(drop)
}

fn write_column(
    writer: &mut SerializedColumnWriter<'_>,
    column: Column,
    rows: &[AuditRow],
) -> Result<(), ParquetError> {
    match column {
        Column::Text(value) => {
            let (values, levels) = optional(rows, |row| value(row).map(ByteArray::from));
            writer.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
        }
        Column::Address(value) => {
            let (values, levels) = optional(rows, |row| value(row).map(|text| ByteArray::from(text.as_str())));
            writer.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
        }
        Column::Integer(value) => {
            let (values, levels) = optional(rows, value);
            writer.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
        }
        Column::Instant(value) => {
            let micros = |row: &AuditRow| i64::try_from(value(row)?.unix_timestamp_nanos() / 1_000).ok();
            let (values, levels) = optional(rows, micros);
            writer.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
        }
        Column::Uuid(value) => {
            let bytes = |row: &AuditRow| value(row).map(|id| FixedLenByteArray::from(id.as_bytes().to_vec()));
            let (values, levels) = optional(rows, bytes);
            writer.typed::<FixedLenByteArrayType>().write_batch(&values, Some(&levels), None)?;
        }
        Column::Texts(value) => {
            let (mut values, mut levels, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
            for texts in rows.iter().map(value) {
                levels.push(i16::from(!texts.is_empty()));
                repetitions.push(0);
                levels.extend(texts.iter().skip(1).map(|_| 1));
                repetitions.extend(texts.iter().skip(1).map(|_| 1));
                values.extend(texts.iter().map(|text| ByteArray::from(text.as_str())));
            }
            writer.typed::<ByteArrayType>().write_batch(&values, Some(&levels), Some(&repetitions))?;
        }
    }
    Ok(())
}

/// The values that are there, and for every row whether one is.
fn optional<'r, T>(rows: &'r [AuditRow], value: impl Fn(&'r AuditRow) -> Option<T>) -> (Vec<T>, Vec<i16>) {
    let (mut values, mut levels) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        let value = value(row);
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    (values, levels)
}
