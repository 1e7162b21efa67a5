//! JSON objects read strictly: a member that appears twice is an error at every level, as is anything around the
//! object. `serde_json::Value` keeps the last of two equal members while other readers keep the first, and a token that
//! two readers understand differently is an attack (RFC 7519 section 4, RFC 8725 section 2.6, RFC 8259 section 4).

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Deepest nesting accepted. No provider goes beyond five; deep input costs stack and hides members from reviewers.
const MAX_DEPTH: u8 = 32;

/// Why a text is not a strict JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StrictJsonError {
    /// Not one JSON object in UTF-8, or nested too deeply, or something follows it.
    NotAnObject,
    /// An object, here or deeper, has two members of one name (after unescaping: `"gro\u0075ps"` is `"groups"`).
    DuplicateMember,
}

/// Reads one JSON object and nothing else.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Value>, StrictJsonError> {
    let duplicate = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Strict { depth: 0, duplicate: &duplicate }.deserialize(&mut reader);
    match read.and_then(|value| reader.end().map(|()| value)) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(StrictJsonError::NotAnObject)
        }
        Err(_) if duplicate.get() => Err(StrictJsonError::DuplicateMember),
        Err(_) => Err(StrictJsonError::NotAnObject),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: u8,
    duplicate: &'a Cell<bool>,
}

impl Strict<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self { depth: self.depth.saturating_add(1), ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(inner)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                self.duplicate.set(true);
                return Err(de::Error::custom("duplicate member"));
            }
            let value = members.next_value_seed(inner)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_object_reads_as_serde_json_reads_it() {
        let text = br#" {"a":[1,-2,3.5,null,true,{"b":"c\u00e9"}],"d":{}} "#;
        assert_eq!(Value::Object(object(text).unwrap()), serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn a_member_that_appears_twice_is_refused_at_every_level_and_however_it_is_escaped() {
        for text in [
            r#"{"groups":["a"],"groups":["b"]}"#,
            r#"{"groups":["a"],"gro\u0075ps":["b"]}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"b":1}]}"#,
            r#"{"":1,"":2}"#,
        ] {
            assert_eq!(object(text.as_bytes()), Err(StrictJsonError::DuplicateMember), "{text}");
        }
        assert!(object(br#"{"a":{"b":1},"b":{"b":1},"c":[{"b":1},{"b":1}]}"#).is_ok());
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        let texts: [&[u8]; 17] = [
            b"",
            b" ",
            b"null",
            b"1",
            b"\"a\"",
            b"[]",
            b"[{}]",
            b"{} {}",
            b"{}x",
            b"{",
            b"{\"a\":1,}",
            b"{'a':1}",
            b"{\"a\":NaN}",
            b"{\"a\":1e400}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xff\"}",
            br#"{"a":"\ud800"}"#,
        ];
        for text in texts {
            assert_eq!(object(text), Err(StrictJsonError::NotAnObject), "{}", text.escape_ascii());
        }
        assert!(object(b"{}").is_ok());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(object(nested(31).as_bytes()).is_ok());
        assert_eq!(object(nested(32).as_bytes()), Err(StrictJsonError::NotAnObject));
        assert_eq!(object(nested(100_000).as_bytes()), Err(StrictJsonError::NotAnObject));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(read) = object(&bytes) {
                prop_assert_eq!(Value::Object(read), serde_json::from_slice::<Value>(&bytes).unwrap());
            }
        }
    }
}
