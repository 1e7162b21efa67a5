//! `${jwt:claim}`: the one variable a document may hold, filled with a verified claim when a lease is vended, because
//! servers know different variables or none. A claim is foreign text that lands inside a pattern: one with a character
//! that means something there is refused, never escaped (CVE-2026-42810: `*` in a name reached a session policy).

use serde_json::{Map, Value};

use super::problem::quoted;
use super::resource;
use crate::token::ClaimPath;

const OPENING: &str = "${";
const VARIABLE: &str = "${jwt:";
/// Longest value of a claim, in bytes, that is filled in.
const LONGEST: usize = 256;

/// A claim is missing, is not a string, or holds something with a meaning in policies or paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClaimUnusable;

/// Checks that every variable in `text` is a `${jwt:claim}`.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some((_, found)) = rest.split_once(OPENING) {
        let inside = found.split_once('}').filter(|(inside, _)| path(inside).is_some());
        let Some((_, after)) = inside else {
            return Err(format!(
                "{}: the only variable is ${{jwt:claim}} (letters, digits, `_-:@/`, `.` between members): servers read \
                 others differently",
                quoted(text)
            ));
        };
        rest = after;
    }
    Ok(())
}

/// True if `text` holds a variable.
pub(super) fn any(text: &str) -> bool {
    text.contains(OPENING)
}

/// The text with a star for every variable: what it could become.
pub(super) fn opened(text: &str) -> String {
    let mut opened = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, found)) = rest.split_once(OPENING) {
        opened.push_str(before);
        opened.push('*');
        rest = found.split_once('}').map_or("", |(_, after)| after);
    }
    opened.push_str(rest);
    opened
}

/// Fills a resource. In the bucket's place a claim may not hold a slash: it would choose another bucket.
pub(super) fn fill_resource(text: &str, claims: &Map<String, Value>) -> Result<String, ClaimUnusable> {
    let filled = fill(text, claims, |before| before.strip_prefix(resource::PREFIX).is_some_and(|p| !p.contains('/')))?;
    if filled.len() <= resource::LONGEST { Ok(filled) } else { Err(ClaimUnusable) }
}

/// Fills a condition value.
pub(super) fn fill_value(text: &str, claims: &Map<String, Value>) -> Result<String, ClaimUnusable> {
    fill(text, claims, |_| false)
}

fn fill(text: &str, claims: &Map<String, Value>, in_bucket: impl Fn(&str) -> bool) -> Result<String, ClaimUnusable> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, found)) = rest.split_once(VARIABLE) {
        let (name, after) = found.split_once('}').ok_or(ClaimUnusable)?;
        let path = ClaimPath::parse(name).ok_or(ClaimUnusable)?;
        let value = path.find(claims).and_then(Value::as_str).filter(|value| usable(value)).ok_or(ClaimUnusable)?;
        filled.push_str(before);
        if in_bucket(&filled) && value.contains('/') {
            return Err(ClaimUnusable);
        }
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn path(inside: &str) -> Option<ClaimPath> {
    let name = inside.strip_prefix("jwt:")?;
    let clean = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-:@/.".contains(&b));
    (name.len() <= 128 && clean).then(|| ClaimPath::parse(name)).flatten()
}

/// Printable ASCII without `* ? $ { } \ " %`, no `..` or `.` member, no empty path member at either end or inside, no
/// space at either end. Anything else could match more, climb, or be read in two ways by two programs.
fn usable(value: &str) -> bool {
    let plain = value.bytes().all(|b| (b' '..=b'~').contains(&b) && !b"*?${}\\\"%".contains(&b));
    let members = value.split('/').all(|member| !matches!(member, "" | "." | ".."));
    (1..=LONGEST).contains(&value.len()) && plain && members && !value.contains("..") && value.trim() == value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn claims(value: &Value) -> Map<String, Value> {
        json!({ "sub": value, "realm": { "team": "audio" } }).as_object().unwrap().clone()
    }

    #[test]
    fn a_claim_is_filled_in_by_its_path() {
        let claims = claims(&json!("alice"));
        let filled = fill_resource("arn:aws:s3:::b/${jwt:sub}/${jwt:realm.team}/*", &claims);
        assert_eq!(filled.as_deref(), Ok("arn:aws:s3:::b/alice/audio/*"));
    }

    #[test]
    fn a_claim_with_a_meaning_in_patterns_or_paths_is_refused() {
        let hostile = [
            "*",
            "a*",
            "a?",
            "$x",
            "a{b",
            "a}b",
            "..",
            "a/../b",
            "a..b",
            "./a",
            "a/.",
            "/a",
            "a/",
            "a//b",
            "",
            " a",
            "a ",
            "a\u{0}b",
            "a\nb",
            "a\\b",
            "a\"b",
            "a%2e",
            "ä",
            "a\u{200b}b",
        ];
        for value in hostile {
            assert_eq!(fill_value("x/${jwt:sub}/*", &claims(&json!(value))), Err(ClaimUnusable), "{value:?}");
        }
        for value in ["alice", "a/b", "system:serviceaccount:ns:name", "auth0|12", "a.b@example.com", "a b", "<a&b>"] {
            assert!(fill_value("x/${jwt:sub}/*", &claims(&json!(value))).is_ok(), "{value:?}");
        }
    }

    #[test]
    fn a_claim_that_is_missing_or_not_a_string_is_refused() {
        for value in [json!(7), json!(true), json!(["alice"]), json!({ "x": "y" }), Value::Null] {
            assert_eq!(fill_value("${jwt:sub}", &claims(&value)), Err(ClaimUnusable));
        }
        assert_eq!(fill_value("${jwt:azp}", &claims(&json!("alice"))), Err(ClaimUnusable));
        assert_eq!(fill_value("${jwt:realm}", &claims(&json!("alice"))), Err(ClaimUnusable));
    }

    #[test]
    fn a_claim_with_a_slash_never_chooses_a_bucket() {
        let claims = claims(&json!("other/x"));
        assert_eq!(fill_resource("arn:aws:s3:::${jwt:sub}/*", &claims), Err(ClaimUnusable));
        assert_eq!(fill_resource("arn:aws:s3:::team-${jwt:sub}", &claims), Err(ClaimUnusable));
        assert!(fill_resource("arn:aws:s3:::b/${jwt:sub}/*", &claims).is_ok());
    }

    #[test]
    fn a_long_claim_is_refused() {
        assert!(fill_value("${jwt:sub}", &claims(&json!("x".repeat(LONGEST)))).is_ok());
        assert_eq!(fill_value("${jwt:sub}", &claims(&json!("x".repeat(LONGEST + 1)))), Err(ClaimUnusable));
    }

    #[test]
    fn other_variables_are_refused() {
        for text in
            ["${aws:username}", "${*}", "${jwt:}", "${jwt:a..b}", "${jwt:a", "${jwt:${jwt:a}}", "x${", "${JWT:a}"]
        {
            assert!(check(text).is_err(), "{text}");
        }
        for text in ["${jwt:sub}", "a/${jwt:a.b}/${jwt:https://x/y}", "$x", "{x}"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_filled_claim_holds_no_metacharacter(value in "\\PC{0,12}|[a-c/.*?${} ]{0,6}") {
            if let Ok(filled) = fill_value("${jwt:sub}", &claims(&json!(value))) {
                prop_assert_eq!(&filled, &value);
                let meaning = filled.contains(['*', '?', '$', '{', '}', '\\', '%']);
                prop_assert!(!meaning);
                prop_assert!(!filled.contains("..") && !filled.contains("//"));
            }
        }
    }
}
