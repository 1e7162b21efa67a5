//! Faults of policy text. A reader sees where each one is (`file:line:column`) and what to write instead; all faults of
//! a directory come together, so that one round of editing is enough.

use std::fmt;

/// One fault of the policy directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Relative path of the file.
    pub file: String,
    /// One-based line and column, where known.
    pub position: Option<(usize, usize)>,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Problem {
    /// A fault of a file as a whole.
    pub(super) fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), position: None, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// One fault of a text whose file is not known here: a byte offset and a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into() }
    }

    /// The fault with its line and column in `text`.
    pub(super) fn in_file(self, file: &str, text: &[u8]) -> Problem {
        Problem { file: file.to_owned(), position: Some(line_and_column(text, self.offset)), message: self.message }
    }
}

/// One-based line and column, columns counted in bytes as `serde_json` does.
pub(super) fn line_and_column(text: &[u8], offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.split(|&b| b == b'\n').count();
    let column = before.rsplit(|&b| b == b'\n').next().map_or(0, <[u8]>::len) + 1;
    (line, column)
}

/// Text from a file as it may appear in a message: control characters escaped, cut to 80 characters.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        assert_eq!(line_and_column(b"ab\ncd", 0), (1, 1));
        assert_eq!(line_and_column(b"ab\ncd", 4), (2, 2));
        assert_eq!(line_and_column(b"ab\n", 99), (2, 1));
    }

    #[test]
    fn quoted_text_cannot_move_the_terminal_or_fill_the_screen() {
        assert_eq!(quoted("a\u{1b}[2J"), "\"a\\u{1b}[2J\"");
        assert!(quoted(&"x".repeat(500)).chars().count() < 90);
    }
}
