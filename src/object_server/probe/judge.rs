//! What a policy says to a request of which only a part is known: the address it will seem to come from, the transport and
//! the time are the server's to see. Two documents bound the one that was sent: one allows what is allowed in any case, the
//! other whatever may be allowed in some.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::policy::{AccessCheck, Document, Verdict, evaluate};

/// Answers about one policy for requests whose known condition keys are the same.
#[derive(Debug)]
pub(super) struct Judge {
    /// Allows no more than the policy in any context. None: nothing.
    least: Option<Document>,
    /// Allows no less than the policy in some context.
    most: Option<Document>,
}

impl Judge {
    /// `policy` is a session policy as it was sent; `known` are the condition keys that every request will have.
    pub(super) fn new(policy: &Value, known: &[&str]) -> Option<Self> {
        let statements: Vec<&Value> = policy.get("Statement")?.as_array()?.iter().filter(|s| speaks_of_s3(s)).collect();
        // A document holds at least one statement.
        let document = |kept: Vec<Value>| {
            if kept.is_empty() {
                return Some(None);
            }
            let text = json!({"Version": "2012-10-17", "Statement": kept}).to_string();
            Document::parse(text.as_bytes()).ok().map(Some)
        };
        // A statement that rests on what is not known counts on one side, with the rest of its conditions, and not at all on
        // the other.
        let bound = |effect: &str| {
            let bounded = statements.iter().filter_map(|statement| {
                let sure = without_unknown(statement, known);
                let rests_on_unknown = sure != **statement;
                let counts = !rests_on_unknown || statement.get("Effect").and_then(Value::as_str) == Some(effect);
                counts.then_some(sure)
            });
            document(bounded.collect())
        };
        Some(Self { least: bound("Deny")?, most: bound("Allow")? })
    }

    /// Whether the policy allows this on the bucket itself in any case. MinIO takes a bucket for `bucket/`, so a Deny of
    /// `bucket/*` reaches it.
    pub(super) fn allows_bucket(&self, action: &str, bucket: &str, context: &[(&str, &str)]) -> bool {
        let verdict = |path: &str| judge(self.least.as_ref(), action, path, context);
        verdict(bucket) == Verdict::Allowed && verdict(&format!("{bucket}/")) != Verdict::Denied
    }

    /// Whether the policy allows this on the object in any case.
    pub(super) fn allows_object(&self, action: &str, bucket: &str, key: &str) -> bool {
        judge(self.least.as_ref(), action, &format!("{bucket}/{key}"), &[]) == Verdict::Allowed
    }

    /// Whether the policy allows this on the bucket in no case; for MinIO, neither as `bucket/`.
    pub(super) fn refuses_bucket(&self, action: &str, bucket: &str, context: &[(&str, &str)]) -> bool {
        let verdict = |path: &str| judge(self.most.as_ref(), action, path, context);
        verdict(bucket) != Verdict::Allowed && verdict(&format!("{bucket}/")) != Verdict::Allowed
    }
}

fn judge(document: Option<&Document>, action: &str, path: &str, context: &[(&str, &str)]) -> Verdict {
    let owned = |(key, value): &(&str, &str)| (key.to_ascii_lowercase(), vec![(*value).to_owned()]);
    let context: BTreeMap<_, _> = context.iter().map(owned).collect();
    let check = AccessCheck { action, resource: &format!("arn:aws:s3:::{path}"), context: &context };
    document.map_or(Verdict::NotAllowed, |document| evaluate(document, &check))
}

/// The Deny of `iam:`, `sts:` and `admin:` that planning adds is none of S3's, and no document can hold all of it.
fn speaks_of_s3(statement: &Value) -> bool {
    let actions = statement.get("Action").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    actions.into_iter().any(|action| action.starts_with("s3:"))
}

/// The statement without its conditions on keys other than the known ones.
fn without_unknown(statement: &Value, known: &[&str]) -> Value {
    let mut statement = statement.clone();
    let Some(members) = statement.as_object_mut() else { return statement };
    if let Some(conditions) = members.get_mut("Condition").and_then(Value::as_object_mut) {
        for keys in conditions.values_mut().filter_map(Value::as_object_mut) {
            keys.retain(|key, _| known.contains(&key.as_str()));
        }
        conditions.retain(|_, keys| keys.as_object().is_some_and(|keys| !keys.is_empty()));
        if conditions.is_empty() {
            members.remove("Condition");
        }
    }
    statement
}
