//! Strict reading of TOML tables: every key is known, every fault knows its place, all faults come together.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Fault, quoted};

/// Most entries of one list.
const MOST_ITEMS: usize = 256;

/// One table and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'t, 'i> {
    table: &'t DeTable<'i>,
    pub(super) offset: usize,
}

/// A string and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) offset: usize,
    pub(super) text: String,
}

impl Placed {
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.offset, message)
    }
}

/// Parses `text` and hands its top table to `read`.
pub(super) fn read_file<T>(
    text: &[u8],
    read: impl FnOnce(Section<'_, '_>, &mut Vec<Fault>) -> T,
) -> Result<T, Vec<Fault>> {
    let text = std::str::from_utf8(text).map_err(|error| vec![Fault::new(error.valid_up_to(), "not UTF-8")])?;
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let place = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let faults = errors.iter().map(|error| Fault::new(place(error), format!("not TOML: {}", error.message())));
        return Err(faults.collect());
    }
    let mut faults = Vec::new();
    let value = read(Section { table: root.get_ref(), offset: 0 }, &mut faults);
    if faults.is_empty() { Ok(value) } else { Err(faults) }
}

impl<'t, 'i> Section<'t, 'i> {
    /// Refuses keys that are not in `known`: a misspelt restriction must not vanish.
    pub(super) fn closed(&self, known: &[&str], faults: &mut Vec<Fault>) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let message = format!("unknown key {}: known here are {}", quoted(name), known.join(", "));
                faults.push(Fault::new(key.span().start, message));
            }
        }
    }

    /// The value of `key`.
    pub(super) fn value(&self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    /// Keys and values, in order of the keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Placed, &'t Spanned<DeValue<'i>>)> {
        self.table
            .iter()
            .map(|(key, value)| (Placed { offset: key.span().start, text: key.get_ref().clone().into_owned() }, value))
    }

    /// A string; `None` if it is missing.
    pub(super) fn text(&self, key: &str, faults: &mut Vec<Fault>) -> Option<Placed> {
        let value = self.value(key)?;
        let text = text(value);
        if text.is_none() {
            faults.push(Fault::new(value.span().start, format!("{key} must be a string")));
        }
        text
    }

    /// A list of strings; empty if it is missing.
    pub(super) fn texts(&self, key: &str, faults: &mut Vec<Fault>) -> Vec<Placed> {
        self.value(key).map_or_else(Vec::new, |value| texts(value, key, faults))
    }

    /// The tables of `[[key]]`; empty if there is none.
    pub(super) fn sections(&self, key: &str, faults: &mut Vec<Fault>) -> Vec<Section<'t, 'i>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let items = value.get_ref().as_array().filter(|items| items.len() <= MOST_ITEMS);
        let sections: Option<Vec<_>> = items.and_then(|items| items.iter().map(Section::of).collect());
        sections.unwrap_or_else(|| {
            let message = format!("{key} is written as [[{key}]] blocks, at most {MOST_ITEMS}");
            faults.push(Fault::new(value.span().start, message));
            Vec::new()
        })
    }

    /// The table that `value` is.
    pub(super) fn of(value: &'t Spanned<DeValue<'i>>) -> Option<Self> {
        value.get_ref().as_table().map(|table| Self { table, offset: value.span().start })
    }
}

/// The string that `value` is.
pub(super) fn text(value: &Spanned<DeValue<'_>>) -> Option<Placed> {
    value.get_ref().as_str().map(|text| Placed { offset: value.span().start, text: text.to_owned() })
}

/// The list of strings that `value` is.
pub(super) fn texts(value: &Spanned<DeValue<'_>>, key: &str, faults: &mut Vec<Fault>) -> Vec<Placed> {
    let items = value.get_ref().as_array().filter(|items| items.len() <= MOST_ITEMS);
    let texts: Option<Vec<_>> = items.and_then(|items| items.iter().map(text).collect());
    texts.unwrap_or_else(|| {
        let message = format!("{key} must be a list of strings, at most {MOST_ITEMS}");
        faults.push(Fault::new(value.span().start, message));
        Vec::new()
    })
}
