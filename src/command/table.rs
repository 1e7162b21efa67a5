//! Rows of JSON as aligned columns for a terminal. A caller chose some of the text: whatever could move the cursor or turn
//! the direction of writing is shown escaped.

use std::io::{self, Write};

use serde_json::Value;

/// Writes a heading and one line a row; `-` stands for what is absent. A column is a member, or `member.member`.
pub(super) fn write(rows: &Value, columns: &[&str], out: &mut dyn Write) -> io::Result<()> {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(_first) = rows.first() else { return writeln!(out, "(none)") };
    let heading = columns.iter().map(|column| column.rsplit('.').next().unwrap_or(column).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(heading)
        .chain(rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()))
        .collect();
    let width = |i: usize| lines.iter().filter_map(|line| line.get(i)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|i| width(i).unwrap_or(0)).collect();
    for line in &lines {
        let padded: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}

fn cell(row: &Value, column: &str) -> String {
    let value = column.split('.').try_fold(row, |value, member| value.get(member));
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(Value::String(text)) => plain(text),
        Some(other @ (Value::Number(_) | Value::Array(_) | Value::Object(_))) => plain(&other.to_string()),
    }
}

fn plain(text: &str) -> String {
    let moves = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if moves(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_aligned_and_what_moves_the_cursor_is_escaped() {
        let rows = json!([
            {"a": "x", "b": {"c": true}},
            {"a": "\u{1b}[2J\u{202e}", "b": {}},
        ]);
        let mut out = Vec::new();
        write(&rows, &["a", "b.c"], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        insta::assert_snapshot!(text, @r"
        a                  c
        x                  yes
        \u{1b}[2J\u{202e}  -
        ");
    }

    #[test]
    fn no_rows_are_said_to_be_none() {
        let mut out = Vec::new();
        write(&json!([]), &["a"], &mut out).unwrap();
        assert_eq!(out, b"(none)\n");
    }
}
