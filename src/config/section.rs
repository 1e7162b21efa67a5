//! Reading one table: each key is taken out, judged, and missed if it is required; what is left over is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::Environment;
use super::problem::{Place, Problem};
use super::tree::{Entry, Tree, Value};

/// Collects problems and the keys that were asked for, over all sections.
pub(super) struct Reader<'e> {
    base: PathBuf,
    environment: &'e dyn Environment,
    problems: Vec<Problem>,
    known: BTreeSet<String>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(base: &Path, environment: &'e dyn Environment) -> Self {
        Self { base: base.to_owned(), environment, problems: Vec::new(), known: BTreeSet::new() }
    }

    pub(super) fn root(&mut self, tree: Tree) -> Section<'_> {
        Section {
            path: String::new(),
            entries: tree.0,
            environment: self.environment,
            base: &self.base,
            problems: &mut self.problems,
            known: &mut self.known,
        }
    }

    pub(super) fn finish(self) -> Vec<Problem> {
        self.problems
    }

    pub(super) fn known_keys(self) -> Vec<String> {
        self.known.into_iter().collect()
    }
}

/// One table being read.
pub(super) struct Section<'r> {
    path: String,
    entries: BTreeMap<String, Entry>,
    environment: &'r dyn Environment,
    base: &'r Path,
    problems: &'r mut Vec<Problem>,
    known: &'r mut BTreeSet<String>,
}

impl Section<'_> {
    /// A table within this one; an absent table is an empty one.
    pub(super) fn section(&mut self, key: &str) -> Section<'_> {
        let path = self.join(key);
        let entries = match self.entries.remove(key) {
            None => BTreeMap::new(),
            Some(Entry { value: Value::Table(entries), .. }) => entries,
            Some(Entry { place, .. }) => {
                self.problems.push(Problem::new(&path, place, "must be a table"));
                BTreeMap::new()
            }
        };
        self.child(path, entries)
    }

    /// The tables of an array of tables, each handed to `read`.
    pub(super) fn sections<T>(&mut self, key: &str, mut read: impl FnMut(&mut Section<'_>) -> Option<T>) -> Vec<T> {
        let items = match self.entries.remove(key) {
            None => Vec::new(),
            Some(Entry { value: Value::Array(items), .. }) => items,
            Some(Entry { place, .. }) => {
                let path = self.join(key);
                self.problems.push(Problem::new(&path, place, format!("must be an array of tables: [[{path}]]")));
                Vec::new()
            }
        };
        let mut done = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{}[{index}]", self.join(key));
            match item.value {
                Value::Table(entries) => {
                    let mut section = self.child(path, entries);
                    done.extend(read(&mut section));
                    section.finish();
                }
                Value::Array(_)
                | Value::Text(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Variable(_) => {
                    self.problems.push(Problem::new(&path, item.place, "must be a table"));
                }
            }
        }
        done
    }

    /// Whether a key is set, in whatever form.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether no key is set.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.read(key, "must be a string", |value| match value {
            Value::Text(text) | Value::Variable(text) => Some(text),
            Value::Table(_) | Value::Array(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => None,
        })
    }

    /// Text that `parse` turns into its finished type, or says what it must look like.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        expectation: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.read(key, expectation, |value| match value {
            Value::Text(text) | Value::Variable(text) => parse(&text),
            Value::Table(_) | Value::Array(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => None,
        })
    }

    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let base = self.base.to_owned();
        self.parsed(key, "must be a path", |text| (!text.is_empty()).then(|| base.join(text)))
    }

    pub(super) fn duration(
        &mut self,
        key: &str,
        expectation: &str,
        fits: impl FnOnce(Duration) -> bool,
    ) -> Option<Duration> {
        self.parsed(key, expectation, |text| humantime::parse_duration(text).ok().filter(|duration| fits(*duration)))
    }

    pub(super) fn number(&mut self, key: &str, expectation: &str, fits: impl FnOnce(f64) -> bool) -> Option<f64> {
        let number = self.read(key, expectation, |value| match value {
            Value::Float(number) => Some(number),
            Value::Integer(number) => i32::try_from(number).ok().map(f64::from),
            Value::Variable(text) => text.parse().ok(),
            Value::Table(_) | Value::Array(_) | Value::Text(_) | Value::Boolean(_) => None,
        })?;
        if fits(number) { Some(number) } else { self.reject(key, None, expectation) }
    }

    /// A whole number.
    pub(super) fn integer(&mut self, key: &str, expectation: &str, fits: impl FnOnce(u32) -> bool) -> Option<u32> {
        self.read(key, expectation, |value| {
            let number = match value {
                Value::Integer(number) => u32::try_from(number).ok(),
                Value::Variable(text) => text.parse().ok(),
                Value::Table(_) | Value::Array(_) | Value::Text(_) | Value::Float(_) | Value::Boolean(_) => None,
            };
            number.filter(|number| fits(*number))
        })
    }

    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        self.read(key, "must be true or false", |value| match value {
            Value::Boolean(boolean) => Some(boolean),
            Value::Variable(text) => text.parse().ok(),
            Value::Table(_) | Value::Array(_) | Value::Text(_) | Value::Integer(_) | Value::Float(_) => None,
        })
    }

    /// A list of strings; a variable separates them by commas.
    pub(super) fn list(&mut self, key: &str) -> Option<Vec<String>> {
        self.read(key, "must be an array of strings", |value| match value {
            Value::Array(items) => items
                .into_iter()
                .map(|item| match item.value {
                    Value::Text(text) => Some(text),
                    Value::Table(_)
                    | Value::Array(_)
                    | Value::Integer(_)
                    | Value::Float(_)
                    | Value::Boolean(_)
                    | Value::Variable(_) => None,
                })
                .collect(),
            Value::Variable(text) => {
                Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
            }
            Value::Table(_) | Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => None,
        })
    }

    /// A secret: `key`, or the content of the file that `key_file` names, less the line break at its end.
    pub(super) fn secret(&mut self, key: &str) -> Option<SecretString> {
        let file_key = format!("{key}_file");
        let inline = self.text(key);
        let file = self.path(&file_key);
        match (inline, file) {
            (Some(_), Some(_)) => self.reject(key, None, &format!("give either {key} or {file_key}, not both")),
            (Some(text), None) if text.is_empty() => self.reject(key, None, "must not be empty"),
            (Some(text), None) => Some(SecretString::from(text)),
            (None, Some(path)) => match self.environment.read_file(&path) {
                Ok(text) if text.trim_end_matches(['\r', '\n']).is_empty() => {
                    self.reject(&file_key, None, &format!("{} is empty", path.display()))
                }
                Ok(text) => Some(SecretString::from(text.trim_end_matches(['\r', '\n']))),
                Err(error) => self.reject(&file_key, None, &format!("cannot read {}: {error}", path.display())),
            },
            (None, None) => None,
        }
    }

    /// `value`, or the problem that it is missing. Silent when the key was there but wrong: that is already said.
    pub(super) fn required<T>(&mut self, key: &str, value: Option<T>) -> Option<T> {
        let path = self.join(key);
        let said = self.problems.iter().any(|p| p.path() == path || p.path() == format!("{path}_file"));
        if value.is_none() && !said {
            self.problems.push(Problem::new(&path, None, "is required"));
        }
        value
    }

    /// A relative path, resolved like those that are read.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// Reports a fault of a key that was already taken out.
    pub(super) fn reject<T>(&mut self, key: &str, place: Option<Place>, message: &str) -> Option<T> {
        let path = self.join(key);
        self.problems.push(Problem::new(&path, place, message));
        None
    }

    /// Reports what is left over.
    pub(super) fn finish(self) {
        for (key, entry) in self.entries {
            let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
            self.problems.push(Problem::new(&path, entry.place, "unknown key"));
        }
    }

    fn read<T>(&mut self, key: &str, expectation: &str, convert: impl FnOnce(Value) -> Option<T>) -> Option<T> {
        let path = self.join(key);
        self.known.insert(path.replace("[0]", "[]"));
        let entry = self.entries.remove(key)?;
        let value = convert(entry.value);
        if value.is_none() {
            self.problems.push(Problem::new(&path, entry.place, expectation));
        }
        value
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn child(&mut self, path: String, entries: BTreeMap<String, Entry>) -> Section<'_> {
        Section {
            path,
            entries,
            environment: self.environment,
            base: self.base,
            problems: self.problems,
            known: self.known,
        }
    }
}
