//! Strict reading of JSON with positions. `serde_json` keeps the last of two members of one name; here the second is a
//! fault, because a reviewer who reads the first and a server that obeys the last is an attack.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::problem::{Fault, quoted};

/// One value of a JSON text that knows where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a> {
    raw: &'a str,
    source: &'a str,
}

/// A value by its kind.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Null,
    Bool(bool),
    /// As written.
    Number(&'a str),
    Text(String),
    Array(Vec<Node<'a>>),
    Object(Vec<(String, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The one value that `text` is.
    pub(super) fn root(text: &'a str) -> Result<Self, Fault> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Ok(Self { raw: raw.get(), source: text }),
            Err(error) => Err(Self::syntax(text, text, &error)),
        }
    }

    /// Where the value begins.
    pub(super) fn offset(&self) -> usize {
        self.raw.as_ptr().addr().saturating_sub(self.source.as_ptr().addr())
    }

    /// A fault of this value.
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.offset(), message)
    }

    /// Reads one level; what is inside stays unread.
    pub(super) fn content(&self) -> Result<Content<'a>, Fault> {
        let content = match self.raw.bytes().next() {
            Some(b'{') => serde_json::from_str(self.raw).map(|Members(members)| Content::Object(members)),
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(self.raw)
                .map(|items| Content::Array(items.into_iter().map(|item| self.child(item)).collect())),
            Some(b'"') => serde_json::from_str(self.raw).map(Content::Text),
            Some(b't' | b'f') => serde_json::from_str(self.raw).map(Content::Bool),
            Some(b'n') => Ok(Content::Null),
            _ => Ok(Content::Number(self.raw)),
        };
        match content.map_err(|error| Self::syntax(self.source, self.raw, &error))? {
            Content::Object(members) => self.placed(members),
            other @ (Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) | Content::Array(_)) => {
                Ok(other)
            }
        }
    }

    /// Members with their place in the whole text; a name that appears twice is a fault.
    fn placed(&self, members: Vec<(String, Node<'a>)>) -> Result<Content<'a>, Fault> {
        let members: Vec<_> =
            members.into_iter().map(|(name, node)| (name, Self { raw: node.raw, source: self.source })).collect();
        let twice = members
            .iter()
            .enumerate()
            .find(|(i, (name, _))| members.iter().take(*i).any(|(earlier, _)| earlier == name));
        match twice {
            Some((_, (name, node))) => Err(node.fault(format!("{} appears twice: keep one", quoted(name)))),
            None => Ok(Content::Object(members)),
        }
    }

    fn child(&self, raw: &'a RawValue) -> Self {
        Self { raw: raw.get(), source: self.source }
    }

    fn syntax(source: &str, part: &str, error: &serde_json::Error) -> Fault {
        let base = part.as_ptr().addr().saturating_sub(source.as_ptr().addr());
        let lines: usize = part.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let text = error.to_string();
        let cause = text.rsplit_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
        Fault::new(base + lines + error.column().saturating_sub(1), format!("not JSON: {cause}"))
    }
}

/// The members of an object in the order written, repetitions included.
struct Members<'a>(Vec<(String, Node<'a>)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, raw)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((name, Node { raw: raw.get(), source: raw.get() }));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::problem::line_and_column;

    fn place(text: &str, fault: &Fault) -> (usize, usize) {
        line_and_column(text.as_bytes(), fault.offset)
    }

    #[test]
    fn a_member_given_twice_is_refused_where_it_stands_even_when_spelled_with_escapes() {
        let text = "{\"a\": 1,\n \"\\u0061\": 2}";
        let fault = Node::root(text).unwrap().content().unwrap_err();
        assert_eq!(place(text, &fault), (2, 12));
        assert!(Node::root("{\"a\": 1, \"b\": 2}").unwrap().content().is_ok());
    }

    #[test]
    fn a_syntax_error_is_placed() {
        let text = "{\n  \"a\": nope\n}";
        assert_eq!(place(text, &Node::root(text).unwrap_err()).0, 2);
    }

    #[test]
    fn text_after_the_value_is_refused() {
        assert!(Node::root("{} {}").is_err());
        assert!(Node::root("{} ").is_ok());
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let deep = "[".repeat(30_000) + &"]".repeat(30_000);
        assert!(Node::root(&deep).unwrap().content().is_ok());
    }
}
