//! The evaluator of the IAM subset that the servers share: explicit deny wins, then allow, else deny. Used by the
//! demo's object server and to prove narrowing.

use std::collections::BTreeMap;

use super::Document;
use super::statement::Effect;

/// One question: may this action be done to this resource in this context?
#[derive(Debug, Clone, Copy)]
pub struct AccessCheck<'a> {
    /// `s3:GetObject`; compared without regard to case.
    pub action: &'a str,
    /// `arn:aws:s3:::bucket/key`, exact.
    pub resource: &'a str,
    /// Condition keys (lower case, `s3:prefix`) with their values; a key that is absent has no entry.
    pub context: &'a BTreeMap<String, Vec<String>>,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Some statement allows it and none denies it.
    Allowed,
    /// A Deny statement matches.
    Denied,
    /// Nothing matches.
    NotAllowed,
}

/// Evaluates one document. A session's rights are the AND over its parent's and its session policy's verdicts.
#[must_use]
pub fn evaluate(document: &Document, check: &AccessCheck<'_>) -> Verdict {
    let matching = |effect| {
        let of_effect = document.statements().iter().filter(move |statement| statement.effect == effect);
        of_effect.into_iter().any(|statement| statement.applies(check.action, check.resource, check.context))
    };
    if matching(Effect::Deny) {
        Verdict::Denied
    } else if matching(Effect::Allow) {
        Verdict::Allowed
    } else {
        Verdict::NotAllowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(action: &str, resource: &str, prefix: Option<&str>) -> Verdict {
        let document = br#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::b/*"},
            {"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b",
             "Condition":{"StringLike":{"s3:prefix":["a/*","c"]}}},
            {"Effect":"Deny","Action":"s3:Put*","Resource":"arn:aws:s3:::b/locked/*"},
            {"Effect":"Allow","Action":"admin:ServerInfo"}]}"#;
        let context = prefix.map(|prefix| ("s3:prefix".to_owned(), vec![prefix.to_owned()])).into_iter().collect();
        evaluate(&Document::parse(document).unwrap(), &AccessCheck { action, resource, context: &context })
    }

    #[test]
    fn nothing_is_allowed_that_no_statement_allows() {
        assert_eq!(verdict("s3:DeleteObject", "arn:aws:s3:::b/x", None), Verdict::NotAllowed);
        assert_eq!(verdict("s3:GetObject", "arn:aws:s3:::c/x", None), Verdict::NotAllowed);
        assert_eq!(verdict("s3:GetObject", "arn:aws:s3:::B/x", None), Verdict::NotAllowed);
        assert_eq!(verdict("s3:getobject", "arn:aws:s3:::b/x/y", None), Verdict::Allowed);
    }

    #[test]
    fn an_explicit_deny_wins() {
        assert_eq!(verdict("s3:PutObject", "arn:aws:s3:::b/locked/x", None), Verdict::Denied);
        assert_eq!(verdict("s3:GetObject", "arn:aws:s3:::b/locked/x", None), Verdict::Allowed);
    }

    #[test]
    fn a_condition_must_hold() {
        assert_eq!(verdict("s3:ListBucket", "arn:aws:s3:::b", Some("a/x")), Verdict::Allowed);
        assert_eq!(verdict("s3:ListBucket", "arn:aws:s3:::b", Some("d")), Verdict::NotAllowed);
        assert_eq!(verdict("s3:ListBucket", "arn:aws:s3:::b", None), Verdict::NotAllowed);
    }

    #[test]
    fn an_admin_action_has_no_resource() {
        assert_eq!(verdict("admin:ServerInfo", "", None), Verdict::Allowed);
        assert_eq!(verdict("admin:CreateUser", "", None), Verdict::NotAllowed);
    }
}
