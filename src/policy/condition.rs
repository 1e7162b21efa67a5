//! One condition of a statement: an operator, a key, and the values it is compared with.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::claims::{self, ClaimUnusable};
use super::operator::Operator;
use super::problem::quoted;
use super::statement::Effect;

/// Keys that say something about a request made with a temporary key. Keys about the identity say it of the parent user
/// there, and are answered by roles and `${jwt:…}` instead.
const KEYS: &[&str] = &[
    "aws:CurrentTime",
    "aws:EpochTime",
    "aws:Referer",
    "aws:SecureTransport",
    "aws:SourceIp",
    "aws:UserAgent",
    "s3:LocationConstraint",
    "s3:authType",
    "s3:delimiter",
    "s3:max-keys",
    "s3:object-lock-legal-hold",
    "s3:object-lock-mode",
    "s3:object-lock-remaining-retention-days",
    "s3:object-lock-retain-until-date",
    "s3:prefix",
    "s3:signatureAge",
    "s3:signatureversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-customer-algorithm",
    "s3:x-amz-storage-class",
];
/// Keys that end in an object tag's name.
const TAG_KEYS: &[&str] = &["s3:ExistingObjectTag/", "s3:RequestObjectTag/"];
/// Longest condition value in bytes.
const LONGEST: usize = 1_100;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Condition {
    pub(super) operator: Operator,
    /// In the servers' own spelling.
    pub(super) key: String,
    /// Never empty, no repetitions; one where the operator takes one.
    pub(super) values: Vec<String>,
}

impl Condition {
    /// Checks a key and answers it in the servers' own spelling.
    pub(super) fn read_key(key: &str) -> Result<String, String> {
        if let Some(known) = KEYS.iter().find(|known| known.eq_ignore_ascii_case(key)) {
            return Ok((*known).to_owned());
        }
        let tag = |known: &&&str| key.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known));
        if let Some(known) = TAG_KEYS.iter().find(tag) {
            let name = key.get(known.len()..).unwrap_or_default();
            let clean = name.chars().all(|c| !c.is_control() && !"*?${}".contains(c));
            if (1..=128).contains(&name.len()) && clean {
                return Ok(format!("{known}{name}"));
            }
        }
        Err(format!(
            "unknown condition key {}: keys about the identity (aws:username, jwt:…) belong into a role's [[allow]], \
             claims into values as ${{jwt:claim}}",
            quoted(key)
        ))
    }

    /// Checks a value against the operator.
    pub(super) fn read_value(operator: Operator, value: &str) -> Result<(), String> {
        if value.len() > LONGEST || value.chars().any(char::is_control) {
            return Err(format!("{} is longer than {LONGEST} bytes or holds a control character", quoted(value)));
        }
        match (operator, claims::any(value)) {
            (Operator::Text(..), true) => claims::check(value),
            (_, _) => operator
                .check(value)
                .map_err(|wanted| format!("{} takes {wanted}, not {}", operator.name(), quoted(value))),
        }
    }

    /// Whether the condition holds in `context`.
    ///
    /// A key that is absent fails what is wanted and satisfies what is unwanted. A key with several values, or with one
    /// that cannot be read, is judged against the requester: for an Allow every value must satisfy, for a Deny one that
    /// satisfies or cannot be read is enough.
    pub(super) fn holds(&self, effect: Effect, context: &BTreeMap<String, Vec<String>>) -> bool {
        let actual = context.get(&self.key.to_ascii_lowercase()).filter(|actual| !actual.is_empty());
        let Some(actual) = actual else {
            return match self.operator {
                Operator::Null => self.values.iter().any(|value| value == "true"),
                operator => operator.is_negated(),
            };
        };
        match effect {
            Effect::Allow => actual.iter().all(|value| self.operator.test(&self.values, value) == Some(true)),
            Effect::Deny => actual.iter().any(|value| self.operator.test(&self.values, value) != Some(false)),
        }
    }

    /// The condition with claims filled into its values.
    pub(super) fn fill(&self, claims: &Map<String, Value>) -> Result<Self, ClaimUnusable> {
        let values: Result<_, _> = self.values.iter().map(|value| claims::fill_value(value, claims)).collect();
        Ok(Self { operator: self.operator, key: self.key.clone(), values: values? })
    }
}

/// Conditions as JSON: operator → key → values.
pub(super) fn to_json(conditions: &[Condition]) -> Value {
    let mut operators = Map::new();
    for condition in conditions {
        let keys = operators.entry(condition.operator.name()).or_insert_with(|| Value::Object(Map::new()));
        if let Some(keys) = keys.as_object_mut() {
            keys.insert(condition.key.clone(), Value::from(condition.values.clone()));
        }
    }
    Value::Object(operators)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(effect: Effect, operator: &str, values: &[&str], actual: &[&str]) -> bool {
        let condition = Condition {
            operator: Operator::parse(operator).unwrap(),
            key: "s3:prefix".to_owned(),
            values: values.iter().map(|&v| v.to_owned()).collect(),
        };
        let actual: Vec<String> = actual.iter().map(|&v| v.to_owned()).collect();
        condition.holds(effect, &BTreeMap::from([("s3:prefix".to_owned(), actual)]))
    }

    #[test]
    fn an_absent_key_fails_what_is_wanted_and_satisfies_what_is_unwanted() {
        for effect in [Effect::Allow, Effect::Deny] {
            for operator in ["StringEquals", "StringLike", "IpAddress", "NumericEquals", "DateLessThan", "Bool"] {
                assert!(!holds(effect, operator, &["1"], &[]), "{operator}");
            }
            for operator in ["StringNotEquals", "StringNotLike", "NotIpAddress", "NumericNotEquals", "DateNotEquals"] {
                assert!(holds(effect, operator, &["1"], &[]), "{operator}");
            }
            assert!(holds(effect, "Null", &["true"], &[]));
            assert!(!holds(effect, "Null", &["false"], &[]));
            assert!(holds(effect, "Null", &["false"], &["x"]));
        }
    }

    #[test]
    fn several_values_are_alternatives_when_wanted_and_all_excluded_when_unwanted() {
        assert!(holds(Effect::Allow, "StringEquals", &["a", "b"], &["b"]));
        assert!(!holds(Effect::Allow, "StringNotEquals", &["a", "b"], &["b"]));
        assert!(holds(Effect::Allow, "StringNotEquals", &["a", "b"], &["c"]));
    }

    #[test]
    fn an_unreadable_value_never_helps_the_requester() {
        assert!(!holds(Effect::Allow, "NumericLessThan", &["10"], &["many"]));
        assert!(holds(Effect::Deny, "NumericLessThan", &["10"], &["many"]));
        assert!(!holds(Effect::Allow, "NotIpAddress", &["10.0.0.0/8"], &["x"]));
        assert!(holds(Effect::Deny, "NotIpAddress", &["10.0.0.0/8"], &["x"]));
    }

    #[test]
    fn a_key_sent_twice_never_helps_the_requester() {
        assert!(!holds(Effect::Allow, "StringEquals", &["a"], &["a", "b"]));
        assert!(holds(Effect::Deny, "StringEquals", &["a"], &["a", "b"]));
    }

    #[test]
    fn keys_are_known_and_spelled_as_the_servers_do() {
        assert_eq!(Condition::read_key("AWS:sourceip").as_deref(), Ok("aws:SourceIp"));
        assert_eq!(Condition::read_key("s3:existingobjecttag/Team").as_deref(), Ok("s3:ExistingObjectTag/Team"));
        for key in ["aws:username", "jwt:sub", "s3:Prefx", "s3:ExistingObjectTag/", "s3:ExistingObjectTag/*"] {
            assert!(Condition::read_key(key).is_err(), "{key}");
        }
    }
}
