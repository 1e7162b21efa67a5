//! The raw configuration: TOML with the line of every key, overlaid with environment variables.

use std::collections::BTreeMap;

use toml::de::{DeArray, DeTable, DeValue};

use super::Environment;
use super::problem::{Place, Problem};

/// Variables of this prefix that hold `__` are configuration; others (`STINT_URL`, written by the demo) are not.
const PREFIX: &str = "STINT_";

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) place: Option<Place>,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Table(BTreeMap<String, Entry>),
    Array(Vec<Entry>),
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// From the environment: whoever asks for the key says what it should be.
    Variable(String),
}

#[derive(Debug)]
pub(super) struct Tree(pub(super) BTreeMap<String, Entry>);

impl Tree {
    pub(super) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self(entries(table.get_ref(), text)));
        }
        let problem = |error: &toml::de::Error| {
            let place = error.span().map(|span| Place::Line(line_of(text, span.start)));
            Problem::new("", place, format!("not valid TOML: {}", error.message().lines().next().unwrap_or_default()))
        };
        Err(errors.iter().map(problem).collect())
    }

    /// One empty table in every array of tables.
    pub(super) fn with_one_of_each() -> Self {
        let entry = |value| Entry { value, place: None };
        let one = |name: &str| {
            let table = entry(Value::Table(BTreeMap::new()));
            (name.to_owned(), entry(Value::Array(vec![table])))
        };
        let parents = BTreeMap::from([one("parent"), one("retired_parent")]);
        Self(BTreeMap::from([one("issuer"), ("object_server".to_owned(), entry(Value::Table(parents)))]))
    }

    /// Lays `STINT_SECTION__KEY` over `section.key` (`STINT_ISSUER__0__NAME` over `issuer[0].name`).
    pub(super) fn overlay(&mut self, environment: &dyn Environment) -> Vec<Problem> {
        let mut variables: Vec<_> = environment
            .variables()
            .into_iter()
            .filter(|(name, _)| name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__")))
            .collect();
        variables.sort();
        let overlaid = variables.into_iter().filter_map(|(name, value)| {
            let path = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
            let segments: Vec<&str> = path.split("__").collect();
            let entry = Entry { value: Value::Variable(value), place: Some(Place::Variable(name.clone())) };
            let misfit = set(&mut self.0, &segments, entry).err()?;
            Some(Problem::new(&segments.join("."), Some(Place::Variable(name)), misfit))
        });
        overlaid.collect()
    }
}

fn set(table: &mut BTreeMap<String, Entry>, path: &[&str], entry: Entry) -> Result<(), &'static str> {
    match path {
        [] => Ok(()),
        [key] => {
            // A secret given by the environment in one form replaces the file's other form.
            let twin = key.strip_suffix("_file").map_or_else(|| format!("{key}_file"), str::to_owned);
            table.remove(&twin);
            table.insert((*key).to_owned(), entry);
            Ok(())
        }
        [key, rest @ ..] => {
            let indexed = rest.first().is_some_and(|segment| segment.parse::<usize>().is_ok());
            let empty = if indexed { Value::Array(Vec::new()) } else { Value::Table(BTreeMap::new()) };
            let place = entry.place.clone();
            let child = table.entry((*key).to_owned()).or_insert(Entry { value: empty, place });
            descend(&mut child.value, rest, entry)
        }
    }
}

fn descend(value: &mut Value, path: &[&str], entry: Entry) -> Result<(), &'static str> {
    match (value, path) {
        (Value::Table(table), path) => set(table, path, entry),
        (Value::Array(items), [index, rest @ ..]) => {
            let index: usize = index.parse().map_err(|_| "a number must follow here, as in STINT_ISSUER__0__NAME")?;
            if index == items.len() && index < 64 {
                items.push(Entry { value: Value::Table(BTreeMap::new()), place: entry.place.clone() });
            }
            let item = items.get_mut(index).ok_or("numbers must follow each other from 0, at most 63")?;
            descend(&mut item.value, rest, entry)
        }
        _ => Err("this key does not hold a table"),
    }
}

fn entries(table: &DeTable<'_>, text: &str) -> BTreeMap<String, Entry> {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        (key.clone().into_owned(), spanned(value, text))
    };
    table.iter().map(entry).collect()
}

fn spanned(value: &toml::Spanned<DeValue<'_>>, text: &str) -> Entry {
    let place = Some(Place::Line(line_of(text, value.span().start)));
    let value = match value.get_ref() {
        DeValue::String(string) => Value::Text(string.clone().into_owned()),
        DeValue::Integer(integer) => {
            let digits = i64::from_str_radix(integer.as_str(), integer.radix());
            digits.map_or_else(|_| Value::Text(integer.as_str().to_owned()), Value::Integer)
        }
        DeValue::Float(float) => {
            float.as_str().parse().map_or_else(|_| Value::Text(float.as_str().to_owned()), Value::Float)
        }
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(datetime) => Value::Text(datetime.to_string()),
        DeValue::Array(items) => Value::Array(array(items, text)),
        DeValue::Table(table) => Value::Table(entries(table, text)),
    };
    Entry { value, place }
}

fn array(items: &DeArray<'_>, text: &str) -> Vec<Entry> {
    items.iter().map(|item| spanned(item, text)).collect()
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
