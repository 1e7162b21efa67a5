//! One fault of the configuration, with its place. It never repeats a value: a value may be a secret in the wrong line.

use std::fmt;

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    place: Option<Place>,
    path: String,
    message: String,
}

/// Where a key was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Line(usize),
    Variable(String),
}

impl Problem {
    pub(super) fn new(path: &str, place: Option<Place>, message: impl Into<String>) -> Self {
        Self { place, path: path.to_owned(), message: message.into() }
    }

    pub(super) fn of_file(message: String) -> Self {
        Self { place: None, path: String::new(), message }
    }

    /// The key's path, `lease.ttl` or `issuer[0].name`; empty when the fault is the file's.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong and what to write instead.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(Place::Line(line)) => write!(f, "line {line}: ")?,
            Some(Place::Variable(name)) => write!(f, "{name}: ")?,
            None => {}
        }
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}
