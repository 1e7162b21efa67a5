//! Narrowing: the caller's session policy and the role's document, joined into one document that allows exactly what
//! both allow. It is never a union (the MinIO Operator merged the two once), and what cannot be written down exactly is
//! refused rather than guessed at.

use super::Document;
use super::action;
use super::conjunction::{Inexpressible, all_of};
use super::document::MOST_STATEMENTS;
use super::glob::{Budget, Case, covers, intersect};
use super::resource;
use super::statement::{Effect, Statement};

/// Longest session policy a caller may send, in characters: what every server takes.
const LONGEST: usize = 2_048;
/// Steps one narrowing may spend: the caller chooses the text, so the work is bounded.
const STEPS: usize = 200_000;

/// Why a session policy is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NarrowError {
    /// It is not a document, too long, or holds a variable.
    Malformed,
    /// It has nothing in common with the role's document, or what they have in common cannot be written down.
    NotCombinable,
}

impl From<Inexpressible> for NarrowError {
    fn from(Inexpressible: Inexpressible) -> Self {
        Self::NotCombinable
    }
}

/// Reads a caller's session policy and narrows `role` (claims filled in) by it.
pub(super) fn by_text(role: &Document, session_policy: &str) -> Result<Document, NarrowError> {
    if session_policy.chars().nth(LONGEST).is_some() {
        return Err(NarrowError::Malformed);
    }
    let wanted = Document::parse(session_policy.as_bytes()).map_err(|_| NarrowError::Malformed)?;
    if wanted.has_variables() {
        return Err(NarrowError::Malformed);
    }
    narrow(role, &wanted)
}

/// The document that allows what both allow: Allow statements pairwise intersected (or those of `wanted` as they are,
/// if each is proven a subset), then every Deny of both.
pub(super) fn narrow(role: &Document, wanted: &Document) -> Result<Document, NarrowError> {
    let budget = &mut Budget::new(STEPS);
    let allows = if is_subset(role, wanted, budget) {
        of_effect(wanted, Effect::Allow).cloned().collect()
    } else {
        merged(intersections(role, wanted, budget)?)
    };
    if allows.is_empty() {
        return Err(NarrowError::NotCombinable);
    }
    let denies = of_effect(role, Effect::Deny).chain(of_effect(wanted, Effect::Deny)).cloned();
    let narrowed = Document::of(allows.into_iter().chain(denies)).ok_or(NarrowError::NotCombinable)?;
    if narrowed.statements().len() > MOST_STATEMENTS { Err(NarrowError::NotCombinable) } else { Ok(narrowed) }
}

fn of_effect(document: &Document, effect: Effect) -> impl Iterator<Item = &Statement> {
    document.statements().iter().filter(move |statement| statement.effect == effect)
}

/// True if every Allow of `wanted` is proven to lie within those of `role`, Denies aside: each action on each resource
/// within one statement of the role whose conditions it repeats or tightens.
fn is_subset(role: &Document, wanted: &Document, budget: &mut Budget) -> bool {
    of_effect(wanted, Effect::Allow).all(|wanted| {
        let candidates: Vec<_> = of_effect(role, Effect::Allow).filter(|role| implies(wanted, role, budget)).collect();
        wanted.actions.iter().all(|action| {
            let covering: Vec<_> = candidates
                .iter()
                .filter(|role| role.actions.iter().any(|a| covers(a, action, Case::Ignored)))
                .collect();
            match wanted.resources.as_slice() {
                [] => covering.iter().any(|role| role.resources.is_empty()),
                resources => resources.iter().all(|resource| {
                    covering.iter().any(|role| role.resources.iter().any(|r| covers(r, resource, Case::Exact)))
                }),
            }
        })
    })
}

/// True if the conditions of `wanted` are proven to imply those of `role`: joining them changes nothing.
fn implies(wanted: &Statement, role: &Statement, budget: &mut Budget) -> bool {
    all_of(&wanted.conditions, &role.conditions, budget) == Ok(Some(wanted.conditions.clone()))
}

/// What each pair of Allow statements has in common; exact, since actions, resources and conditions are independent.
fn intersections(role: &Document, wanted: &Document, budget: &mut Budget) -> Result<Vec<Statement>, NarrowError> {
    let mut found = Vec::new();
    for role in of_effect(role, Effect::Allow) {
        for wanted in of_effect(wanted, Effect::Allow) {
            found.extend(common(role, wanted, budget)?);
            if found.len() > MOST_STATEMENTS * 4 {
                return Err(NarrowError::NotCombinable);
            }
        }
    }
    Ok(found)
}

fn common(a: &Statement, b: &Statement, budget: &mut Budget) -> Result<Option<Statement>, NarrowError> {
    let mut actions = common_patterns(&a.actions, &b.actions, Case::Ignored, budget)?;
    // `s3:*Object` and `s3:GetObject*` meet in `s3:GetObject*Object` too, which is no action: MinIO would refuse it.
    actions.retain(|action| action::read(action).is_ok());
    if actions.is_empty() {
        return Ok(None);
    }
    // Actions of one service in common: either both statements have resources or neither has.
    let resources = common_patterns(&a.resources, &b.resources, Case::Exact, budget)?;
    if resources.is_empty() && !(a.resources.is_empty() && b.resources.is_empty()) {
        return Ok(None);
    }
    let Some(conditions) = all_of(&a.conditions, &b.conditions, budget)? else { return Ok(None) };
    let too_long = resources.iter().any(|resource| resource.len() > resource::LONGEST);
    if too_long || action::widened_by_bucket_match(Effect::Allow, &actions, &resources).is_some() {
        return Err(NarrowError::NotCombinable);
    }
    Ok(Some(Statement { effect: Effect::Allow, actions, resources, conditions }))
}

/// The pairwise intersections, without those that another one covers.
fn common_patterns(a: &[String], b: &[String], case: Case, budget: &mut Budget) -> Result<Vec<String>, Inexpressible> {
    let mut found: Vec<String> = Vec::new();
    for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (a, b))) {
        for pattern in intersect(a, b, case, budget)? {
            if !found.iter().any(|other| covers(other, &pattern, case)) {
                found.retain(|other| !covers(&pattern, other, case));
                found.push(pattern);
            }
        }
    }
    Ok(found)
}

/// Fewer statements that allow the same: those that another one covers are dropped, those that differ in resources only
/// or in actions only become one. A session policy has 2,048 characters.
fn merged(statements: Vec<Statement>) -> Vec<Statement> {
    let mut kept: Vec<Statement> = Vec::new();
    for statement in statements {
        if kept.iter().any(|other| contains(other, &statement)) {
            continue;
        }
        kept.retain(|other| !contains(&statement, other));
        let twin = kept.iter_mut().find(|other| {
            let one_differs = other.actions == statement.actions || other.resources == statement.resources;
            one_differs && other.conditions == statement.conditions
        });
        match twin {
            Some(twin) => {
                add(&mut twin.actions, statement.actions);
                add(&mut twin.resources, statement.resources);
            }
            None => kept.push(statement),
        }
    }
    kept
}

fn contains(outer: &Statement, inner: &Statement) -> bool {
    let all = |outer: &[String], inner: &[String], case| inner.iter().all(|i| outer.iter().any(|o| covers(o, i, case)));
    all(&outer.actions, &inner.actions, Case::Ignored)
        && outer.resources.is_empty() == inner.resources.is_empty()
        && all(&outer.resources, &inner.resources, Case::Exact)
        && outer.conditions == inner.conditions
}

fn add(list: &mut Vec<String>, more: Vec<String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::policy::{AccessCheck, Verdict, evaluate};

    fn document(statements: &serde_json::Value) -> Document {
        let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        Document::parse(text.as_bytes()).unwrap()
    }

    fn allow(actions: &[&str], resources: &[&str]) -> serde_json::Value {
        let resources: Vec<String> = resources.iter().map(|r| format!("arn:aws:s3:::{r}")).collect();
        json!({ "Effect": "Allow", "Action": actions, "Resource": resources })
    }

    #[test]
    fn a_subset_is_taken_as_it_is() {
        let role = document(&json!([allow(&["s3:GetObject", "s3:PutObject"], &["b/*"])]));
        let wanted = document(&json!([allow(&["s3:GetObject"], &["b/a/*", "b/c"])]));
        assert_eq!(narrow(&role, &wanted), Ok(wanted));
    }

    #[test]
    fn a_wider_session_policy_gives_the_role_and_no_more() {
        let role = document(&json!([allow(&["s3:GetObject"], &["b/a/*"])]));
        let wanted = document(&json!([allow(&["s3:*"], &["*"])]));
        assert_eq!(narrow(&role, &wanted), Ok(role));
    }

    #[test]
    fn overlapping_documents_give_what_they_have_in_common() {
        let role = document(&json!([allow(&["s3:GetObject", "s3:PutObject"], &["b/a/*", "c/*"])]));
        let wanted = document(&json!([allow(&["s3:PutObject", "s3:DeleteObject"], &["b/*"])]));
        assert_eq!(narrow(&role, &wanted), Ok(document(&json!([allow(&["s3:PutObject"], &["b/a/*"])]))));
    }

    #[test]
    fn documents_with_nothing_in_common_are_refused() {
        let role = document(&json!([allow(&["s3:GetObject"], &["b/*"])]));
        for wanted in [allow(&["s3:PutObject"], &["b/*"]), allow(&["s3:GetObject"], &["c/*"])] {
            assert_eq!(narrow(&role, &document(&json!([wanted]))), Err(NarrowError::NotCombinable));
        }
        let only_deny = json!([{ "Effect": "Deny", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*" }]);
        assert_eq!(narrow(&role, &document(&only_deny)), Err(NarrowError::NotCombinable));
    }

    #[test]
    fn every_deny_of_both_is_kept_even_for_a_subset() {
        let deny = |resource: &str| json!({ "Effect": "Deny", "Action": "s3:*", "Resource": resource });
        let role = document(&json!([allow(&["s3:GetObject"], &["b/*"]), deny("arn:aws:s3:::b/secret/*")]));
        let wanted = document(&json!([allow(&["s3:GetObject"], &["b/*"]), deny("arn:aws:s3:::b/mine/*")]));
        let narrowed = narrow(&role, &wanted).unwrap();
        assert_eq!(of_effect(&narrowed, Effect::Deny).count(), 2);
    }

    #[test]
    fn conditions_of_both_must_hold() {
        let list = |like: &str| {
            json!([{ "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b",
                     "Condition": { "StringLike": { "s3:prefix": like } } }])
        };
        let (role, tighter) = (document(&list("a/*")), document(&list("a/b/*")));
        assert_eq!(narrow(&role, &tighter), Ok(tighter.clone()));
        assert_eq!(narrow(&tighter, &role), Ok(tighter));
        assert_eq!(narrow(&role, &document(&list("c/*"))), Err(NarrowError::NotCombinable));
        let unconditional = document(&json!([allow(&["s3:ListBucket"], &["b"])]));
        assert_eq!(narrow(&role, &unconditional), Ok(role));
    }

    #[test]
    fn admin_actions_are_intersected_without_resources() {
        let admin = |action: &str| document(&json!([{ "Effect": "Allow", "Action": action }]));
        assert_eq!(narrow(&admin("admin:*"), &admin("admin:ServerInfo")), Ok(admin("admin:ServerInfo")));
        assert_eq!(narrow(&admin("admin:ServerInfo"), &admin("admin:*")), Ok(admin("admin:ServerInfo")));
        let s3 = document(&json!([allow(&["s3:*"], &["*"])]));
        assert_eq!(narrow(&s3, &admin("admin:*")), Err(NarrowError::NotCombinable));
    }

    #[test]
    fn a_session_policy_is_bounded_and_holds_no_variable() {
        let role = document(&json!([allow(&["s3:GetObject"], &["b/*"])]));
        let text = |resource: &str| {
            json!({ "Version": "2012-10-17", "Statement": [allow(&["s3:GetObject"], &[resource])] }).to_string()
        };
        assert!(by_text(&role, &text("b/x")).is_ok());
        assert_eq!(by_text(&role, &text("b/${jwt:sub}")), Err(NarrowError::Malformed));
        assert_eq!(by_text(&role, &text("b/${jwt:sub}").replace('$', "\\u0024")), Err(NarrowError::Malformed));
        assert_eq!(by_text(&role, "{}"), Err(NarrowError::Malformed));
        let padded = |n: usize| text("b/x") + &" ".repeat(n - text("b/x").len());
        assert!(by_text(&role, &padded(LONGEST)).is_ok());
        assert_eq!(by_text(&role, &padded(LONGEST + 1)), Err(NarrowError::Malformed));
    }

    #[test]
    fn a_hostile_session_policy_is_refused_in_bounded_work() {
        let role = document(&json!([allow(&["s3:GetObject"], &[&("b/".to_owned() + &"*a".repeat(300) + "*c")])]));
        let wanted = document(&json!([allow(&["s3:GetObject"], &[&("b/".to_owned() + &"*a*b".repeat(200))])]));
        assert_eq!(narrow(&role, &wanted), Err(NarrowError::NotCombinable));
    }

    /// Small documents over a small world, so that random requests hit.
    fn statements() -> impl Strategy<Value = serde_json::Value> {
        let action =
            prop::sample::select(vec!["s3:GetObject", "s3:PutObject", "s3:GetObject*", "s3:*Object", "s3:Put*"]);
        let resource = "b(/[ac*?]{1,3})?|\\*|[bc]\\*";
        let prefix = "[ac*]{1,2}";
        let condition = prop::option::of(
            (prop::sample::select(vec!["StringLike", "StringNotLike", "StringEquals", "StringNotEquals"]), prefix)
                .prop_map(|(operator, value)| json!({ operator: { "s3:prefix": value } }))
                .boxed()
                .prop_union(
                    (prop::sample::select(vec!["NumericLessThan", "NumericGreaterThan", "NumericNotEquals"]), 0..4_i64)
                        .prop_map(|(operator, value)| json!({ operator: { "s3:max-keys": value } }))
                        .boxed(),
                ),
        );
        let statement = (
            prop::bool::weighted(0.8),
            prop::collection::vec(action, 1..3),
            prop::collection::vec(resource, 1..3),
            condition,
        )
            .prop_map(|(allowed, actions, resources, condition)| {
                let actions: Vec<&str> = actions.into_iter().collect();
                let resources: Vec<&str> = resources.iter().map(String::as_str).collect();
                let mut statement = allow(&actions, &resources);
                statement["Effect"] = json!(if allowed { "Allow" } else { "Deny" });
                if let Some(condition) = condition {
                    statement["Condition"] = condition;
                }
                statement
            });
        prop::collection::vec(statement, 1..4).prop_map(|statements| json!(statements))
    }

    fn parsed() -> impl Strategy<Value = Document> {
        statements().prop_filter_map("a document", |statements| {
            let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
            Document::parse(text.as_bytes()).ok()
        })
    }

    type Context = BTreeMap<String, Vec<String>>;

    fn context() -> impl Strategy<Value = Context> {
        let prefix = prop::collection::vec("[ac]{0,2}", 0..3);
        let keys = prop::option::of(prop_oneof![(0..4_i64).prop_map(|n| n.to_string()), Just("x".to_owned())]);
        (prefix, keys).prop_map(|(prefix, keys)| {
            let keys: Vec<String> = keys.into_iter().collect();
            Context::from([("s3:prefix".to_owned(), prefix), ("s3:max-keys".to_owned(), keys)])
        })
    }

    fn allowed(document: &Document, action: &str, path: &str, context: &Context) -> bool {
        let resource = format!("arn:aws:s3:::{path}");
        evaluate(document, &AccessCheck { action, resource: &resource, context }) == Verdict::Allowed
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_narrowed_allows_exactly_what_both_allow(
            role in parsed(),
            wanted in parsed(),
            action in prop::sample::select(vec!["s3:GetObject", "s3:PutObject", "s3:GetObjectAcl", "s3:PutBucketPolicy"]),
            paths in prop::collection::vec("[bc](/[ac]{0,3})?", 8),
            context in context(),
        ) {
            match narrow(&role, &wanted) {
                Ok(narrowed) => for path in paths {
                    let both = allowed(&role, action, &path, &context) && allowed(&wanted, action, &path, &context);
                    prop_assert_eq!(allowed(&narrowed, action, &path, &context), both, "{} {}", action, path);
                },
                Err(error) => prop_assert_eq!(error, NarrowError::NotCombinable),
            }
        }

        #[test]
        fn a_document_narrowed_by_itself_is_itself(role in parsed()) {
            if of_effect(&role, Effect::Allow).next().is_some() {
                let narrowed = narrow(&role, &role).unwrap();
                let allows: Vec<_> = of_effect(&narrowed, Effect::Allow).collect();
                let own: Vec<_> = of_effect(&role, Effect::Allow).collect();
                prop_assert!(allows.iter().all(|statement| own.contains(statement)));
            }
        }

        #[test]
        fn a_narrowed_document_is_a_document(role in parsed(), wanted in parsed()) {
            if let Ok(narrowed) = narrow(&role, &wanted) {
                prop_assert_eq!(Document::parse(narrowed.to_json().to_string().as_bytes()), Ok(narrowed));
            }
        }

        #[test]
        fn a_condition_added_to_an_allow_never_widens(
            statements in statements(),
            value in "[ac*]{1,2}",
            path in "[bc](/[ac]{0,3})?",
            context in context(),
        ) {
            let mut conditioned = statements.clone();
            for statement in conditioned.as_array_mut().unwrap() {
                if statement["Effect"] == "Allow" {
                    statement["Condition"]["StringEqualsIgnoreCase"] = json!({ "s3:prefix": value });
                }
            }
            let parse = |statements: &serde_json::Value| {
                Document::parse(json!({ "Version": "2012-10-17", "Statement": statements }).to_string().as_bytes())
            };
            prop_assume!(parse(&statements).is_ok());
            let (plain, conditioned) = (parse(&statements).unwrap(), parse(&conditioned).unwrap());
            if allowed(&conditioned, "s3:GetObject", &path, &context) {
                prop_assert!(allowed(&plain, "s3:GetObject", &path, &context));
            }
        }
    }
}
