//! The keys of one JWKS document (RFC 7517 section 5). One bad key never spoils the set, and no document, however
//! large or twisted, costs more than its cap.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::key::eligible;
use super::strict_json;
use super::{KeyError, KeyFault, KeyId, VerificationKey};

/// The eligible keys of one JWKS document.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<(Option<KeyId>, VerificationKey)>,
    faults: Vec<KeyFault>,
}

/// Why a JWKS document as a whole is unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Larger than [`KeySet::MAX_BYTES`].
    #[error("the key set is larger than 256 KiB")]
    TooLarge,
    /// Not a JSON object, or its `keys` is not an array.
    #[error("not a JSON object with an array of keys")]
    Malformed,
    /// More than [`KeySet::MAX_KEYS`] keys.
    #[error("the key set holds more than 64 keys")]
    TooManyKeys,
}

/// Keys stay raw text until each is judged on its own.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// Largest document.
    pub const MAX_BYTES: usize = 256 * 1024;
    /// Most keys in one document, eligible or not.
    pub const MAX_KEYS: usize = 64;

    /// Reads a JWKS document. A missing `keys` is an empty set: Authentik answers `{}` while a provider has no signing
    /// key.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        if document.len() > Self::MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        // serde reads a struct from a JSON array too, by position.
        if document.trim_ascii_start().first() != Some(&b'{') {
            return Err(KeySetError::Malformed);
        }
        let document: Document<'_> = serde_json::from_slice(document).map_err(|_| KeySetError::Malformed)?;
        if document.keys.len() > Self::MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut set = Self::default();
        for raw in document.keys {
            match strict_json::object(raw.get().as_bytes())
                .map_err(|_| KeyFault::Malformed)
                .and_then(|jwk| eligible(&jwk))
            {
                Ok(key) => set.keys.push(key),
                Err(fault) => set.faults.push(fault),
            }
        }
        Ok(set)
    }

    /// The one eligible key with this `kid`, or the only eligible key when the token names none. Two keys of one `kid`
    /// are never chosen between: the first of them might be the attacker's.
    pub fn find(&self, kid: Option<&KeyId>) -> Result<VerificationKey, KeyError> {
        let mut matching = self.keys.iter().filter(|(id, _)| kid.is_none() || id.as_ref() == kid);
        match (matching.next(), matching.next()) {
            (None, _) => Err(KeyError::Unknown),
            (Some((_, key)), None) => Ok(key.clone()),
            (Some(_), Some(_)) => Err(KeyError::Ambiguous),
        }
    }

    /// The number of eligible keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing can be verified with this set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Why the other keys of the document are not used, one fault per key.
    #[must_use]
    pub fn faults(&self) -> &[KeyFault] {
        &self.faults
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    fn key(kid: &str, extra: &str) -> String {
        let n = URL_SAFE_NO_PAD.encode([0xc1; 256]);
        format!(r#"{{"kty":"RSA","kid":{kid},"n":"{n}","e":"AQAB"{extra}}}"#)
    }

    fn set(keys: &[String]) -> KeySet {
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
    }

    fn kid(text: &str) -> Option<KeyId> {
        KeyId::parse(text)
    }

    #[test]
    fn a_key_is_found_by_its_exact_kid() {
        let set = set(&[key(r#""a""#, ""), key(r#""b""#, "")]);
        assert!(set.find(kid("a").as_ref()).is_ok());
        for other in ["A", "a ", "c", "../a", "__proto__"] {
            assert_eq!(set.find(kid(other).as_ref()).err(), Some(KeyError::Unknown), "{other}");
        }
    }

    #[test]
    fn a_token_without_kid_gets_a_key_only_if_there_is_one() {
        assert!(set(&[key(r#""a""#, "")]).find(None).is_ok());
        assert_eq!(set(&[key(r#""a""#, ""), key(r#""b""#, "")]).find(None).err(), Some(KeyError::Ambiguous));
        assert_eq!(set(&[]).find(None).err(), Some(KeyError::Unknown));
    }

    #[test]
    fn two_eligible_keys_of_one_kid_refuse_that_kid_only() {
        let set = set(&[key(r#""a""#, ""), key(r#""a""#, ""), key(r#""b""#, "")]);
        assert_eq!(set.find(kid("a").as_ref()).err(), Some(KeyError::Ambiguous));
        assert!(set.find(kid("b").as_ref()).is_ok());
    }

    #[test]
    fn an_encryption_key_of_the_same_kid_does_not_count() {
        let set = set(&[key(r#""a""#, r#","use":"enc""#), key(r#""a""#, "")]);
        assert!(set.find(kid("a").as_ref()).is_ok());
    }

    #[test]
    fn one_bad_key_never_spoils_the_set() {
        let bad = ["1", "null", r#""x""#, "[]", "{}", r#"{"kty":"PQC","pub":"x"}"#, r#"{"kty":"EC","crv":"P-1"}"#];
        let mut keys: Vec<String> = bad.into_iter().map(str::to_owned).collect();
        keys.extend([key("7", ""), key(r#""x""#, r#","use":5"#), key(r#""y""#, r#","kid":"y""#), key(r#""ok""#, "")]);
        let set = set(&keys);
        assert_eq!((set.len(), set.faults().len()), (1, 10));
        assert!(set.find(kid("ok").as_ref()).is_ok());
    }

    #[test]
    fn an_object_without_keys_is_an_empty_set() {
        for text in ["{}", r#"{"keys":[]}"#, r#" {"other":1} "#] {
            assert!(KeySet::parse(text.as_bytes()).unwrap().is_empty(), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        let texts =
            ["", "[]", "[[]]", "null", "<html>", r#"{"keys":{}}"#, r#"{"keys":null}"#, r#"{"keys":[]}x"#, "\u{feff}{}"];
        for text in texts.into_iter().chain([r#"{"keys":[],"keys":[]}"#, r#"{"keys":["#]) {
            assert_eq!(KeySet::parse(text.as_bytes()).err(), Some(KeySetError::Malformed), "{text}");
        }
    }

    #[test]
    fn the_number_of_keys_and_the_size_are_bounded() {
        let of = |count: usize| format!(r#"{{"keys":[{}]}}"#, vec!["1"; count].join(","));
        assert_eq!(KeySet::parse(of(64).as_bytes()).unwrap().faults().len(), 64);
        assert_eq!(KeySet::parse(of(65).as_bytes()).err(), Some(KeySetError::TooManyKeys));
        assert_eq!(KeySet::parse(of(100_000).as_bytes()).err(), Some(KeySetError::TooManyKeys));
        let padded = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
        assert!(KeySet::parse(padded(KeySet::MAX_BYTES).as_bytes()).is_ok());
        assert_eq!(KeySet::parse(padded(KeySet::MAX_BYTES + 1).as_bytes()).err(), Some(KeySetError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_document_ends_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = KeySet::parse(&bytes);
        }
    }
}
