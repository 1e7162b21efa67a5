//! What a document allowed, asked afterwards, when neither the claims that would be filled in nor the circumstances of a
//! request are known. Where the answer hangs on them it says so: "perhaps" is never rounded to "no".

use super::statement::{Effect, Statement};
use super::{Document, claims, glob, resource};

/// What a document says of one action on one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindsight {
    /// Whatever the claims and the circumstances.
    Allowed,
    /// It depends.
    Depends {
        /// On claims filled into the document.
        claims: bool,
        /// On conditions on the request: a prefix, an address, a time.
        conditions: bool,
    },
    /// Never.
    NotAllowed,
}

/// How far a statement is known to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Never,
    Perhaps { claims: bool, conditions: bool },
    Always,
}

/// Judges one action (`s3:GetObject`) on one resource (`arn:aws:s3:::bucket/key`, exact).
#[must_use]
pub fn hindsight(document: &Document, action: &str, resource: &str) -> Hindsight {
    let judged = |effect: Effect| {
        let of_effect = document.statements().iter().filter(move |statement| statement.effect == effect);
        of_effect.map(|statement| matching(statement, action, resource)).collect::<Vec<_>>()
    };
    let (denies, allows) = (judged(Effect::Deny), judged(Effect::Allow));
    if denies.contains(&Match::Always) || allows.iter().all(|allow| *allow == Match::Never) {
        return Hindsight::NotAllowed;
    }
    let certain = allows.contains(&Match::Always);
    let open = denies.iter().chain(allows.iter().filter(|_| !certain));
    let (mut on_claims, mut on_conditions) = (false, false);
    for one in open {
        if let Match::Perhaps { claims, conditions } = one {
            on_claims |= claims;
            on_conditions |= conditions;
        }
    }
    if on_claims || on_conditions {
        Hindsight::Depends { claims: on_claims, conditions: on_conditions }
    } else {
        Hindsight::Allowed
    }
}

fn matching(statement: &Statement, action: &str, resource: &str) -> Match {
    if !statement.actions.iter().any(|pattern| glob::matches(pattern, action, glob::Case::Ignored)) {
        return Match::Never;
    }
    let literal = |pattern: &&String| glob::matches(pattern, resource, glob::Case::Exact);
    let surely = statement.resources.is_empty()
        || statement.resources.iter().filter(|pattern| !claims::any(pattern)).any(|pattern| literal(&pattern));
    let perhaps = || statement.resources.iter().filter(|pattern| claims::any(pattern)).any(|p| fits(p, resource));
    if !surely && !perhaps() {
        return Match::Never;
    }
    let conditions = !statement.conditions.is_empty();
    match (surely, conditions) {
        (true, false) => Match::Always,
        (surely, conditions) => {
            let filled = statement.conditions.iter().flat_map(|condition| &condition.values).any(|v| claims::any(v));
            Match::Perhaps { claims: !surely || filled, conditions }
        }
    }
}

/// Whether some claim would make the pattern match: a variable stands for any text, which in the bucket's place has no
/// slash.
fn fits(pattern: &str, resource: &str) -> bool {
    let bucket = |text: &str| {
        let path = text.strip_prefix(resource::PREFIX)?;
        Some(path.split_once('/').map_or((path.to_owned(), None), |(b, rest)| (b.to_owned(), Some(rest.to_owned()))))
    };
    let opened = claims::opened(pattern);
    match (bucket(&opened), bucket(resource)) {
        (Some((of_pattern, Some(key_pattern))), Some((of_resource, Some(key)))) => {
            // A star of the pattern's own may cross the slash, a claim may not.
            glob::matches(&of_pattern, &of_resource, glob::Case::Exact)
                && glob::matches(&key_pattern, &key, glob::Case::Exact)
                || pattern.split('/').next().is_some_and(|first| first.contains('*'))
                    && glob::matches(&opened, resource, glob::Case::Exact)
        }
        (_, _) => glob::matches(&opened, resource, glob::Case::Exact),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::policy::{AccessCheck, Verdict, evaluate};

    fn document(statements: &Value) -> Document {
        let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        Document::parse(text.as_bytes()).unwrap()
    }

    fn of(statements: &Value, action: &str, resource: &str) -> Hindsight {
        hindsight(&document(statements), action, resource)
    }

    fn allow(resource: &str) -> Value {
        json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": resource})
    }

    const OBJECT: &str = "arn:aws:s3:::b/ada/x";

    #[test]
    fn what_nothing_allows_or_something_denies_is_not_allowed() {
        assert_eq!(of(&json!([allow("arn:aws:s3:::c/*")]), "s3:GetObject", OBJECT), Hindsight::NotAllowed);
        assert_eq!(of(&json!([allow("arn:aws:s3:::b/*")]), "s3:PutObject", OBJECT), Hindsight::NotAllowed);
        let deny = json!({"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::b/ada/*"});
        let both = json!([allow("arn:aws:s3:::b/*"), deny]);
        assert_eq!(of(&both, "s3:GetObject", OBJECT), Hindsight::NotAllowed);
        assert_eq!(of(&both, "s3:GetObject", "arn:aws:s3:::b/eve"), Hindsight::Allowed);
    }

    #[test]
    fn a_claim_in_the_resource_makes_it_depend_on_claims_where_some_claim_would_fit() {
        let claims = Hindsight::Depends { claims: true, conditions: false };
        let mine = |pattern: &str| of(&json!([allow(pattern)]), "s3:GetObject", OBJECT);
        assert_eq!(mine("arn:aws:s3:::b/${jwt:sub}/*"), claims);
        assert_eq!(mine("arn:aws:s3:::${jwt:bucket}/ada/*"), claims);
        assert_eq!(mine("arn:aws:s3:::b/home/${jwt:sub}/*"), Hindsight::NotAllowed);
        assert_eq!(mine("arn:aws:s3:::c/${jwt:sub}/*"), Hindsight::NotAllowed);
        // A claim in the bucket's place holds no slash.
        assert_eq!(mine("arn:aws:s3:::${jwt:bucket}/x"), Hindsight::NotAllowed);
    }

    #[test]
    fn a_condition_makes_it_depend_on_conditions() {
        let conditional = json!([{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b",
            "Condition": {"StringLike": {"s3:prefix": "${jwt:sub}/*"}}}]);
        let expected = Hindsight::Depends { claims: true, conditions: true };
        assert_eq!(of(&conditional, "s3:ListBucket", "arn:aws:s3:::b"), expected);
        let deny = json!({"Effect": "Deny", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*",
            "Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}});
        let expected = Hindsight::Depends { claims: false, conditions: true };
        assert_eq!(of(&json!([allow("arn:aws:s3:::b/*"), deny]), "s3:GetObject", OBJECT), expected);
    }

    #[test]
    fn a_certain_allow_beside_a_perhaps_is_certain() {
        let both = json!([allow("arn:aws:s3:::b/${jwt:sub}/*"), allow("arn:aws:s3:::b/*")]);
        assert_eq!(of(&both, "s3:GetObject", OBJECT), Hindsight::Allowed);
    }

    proptest! {
        /// Whatever the claim: what hindsight calls certain is so, and what it calls impossible is not.
        #[test]
        fn hindsight_agrees_with_the_decision_of_the_day(
            resources in proptest::collection::vec("[ab*]{0,3}(\\$\\{jwt:sub\\})?[/ab*]{0,3}", 1..4),
            denies in proptest::collection::vec(any::<bool>(), 4),
            claim in "[ab]{1,3}(/[ab]{1,2})?",
            key in "[ab/]{0,6}",
        ) {
            let statements: Vec<Value> = resources.iter().zip(denies).map(|(path, deny)| json!({
                "Effect": if deny { "Deny" } else { "Allow" }, "Action": "s3:GetObject",
                "Resource": format!("arn:aws:s3:::b/{path}"),
            })).collect();
            let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
            let Ok(document) = Document::parse(text.as_bytes()) else { return Ok(()) };
            let claims = Map::from_iter([("sub".to_owned(), json!(claim))]);
            let Ok(filled) = document.fill(&claims) else { return Ok(()) };
            let (resource, context) = (format!("arn:aws:s3:::b/{key}"), std::collections::BTreeMap::new());
            let check = AccessCheck { action: "s3:GetObject", resource: &resource, context: &context };
            let then = evaluate(&filled, &check);
            match hindsight(&document, "s3:GetObject", &resource) {
                Hindsight::Allowed => prop_assert_eq!(then, Verdict::Allowed),
                Hindsight::NotAllowed => prop_assert_ne!(then, Verdict::Allowed),
                Hindsight::Depends { .. } => {}
            }
        }
    }
}
