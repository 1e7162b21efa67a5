//! Finds a probe for a session policy: buckets and names that the policy itself gives away are tried one after the other,
//! until the evaluator proves one.

use serde_json::Value;

use super::judge::Judge;
use super::{DELIMITER, MAX_KEYS, NAME, PREFIX, Probe};
use crate::policy::is_bucket_name;

/// Longest name of an object at every server.
const LONGEST_KEY: usize = 1024;
/// Every listing of objects asks for one at most.
const ONE: (&str, &str) = (MAX_KEYS, "1");

pub(super) fn inside(session_policy: &str, known: &[&str]) -> Option<Probe> {
    let policy = serde_json::from_str(session_policy).ok()?;
    let places = Places::of(&policy, known);
    list_inside(&policy, &places)
        .or_else(|| location(&policy, &places))
        .or_else(|| uploads(&policy, &places))
        .or_else(|| parts(&policy, &places))
}

pub(super) fn outside(session_policy: &str, known: &[&str], nowhere: &str) -> Option<Probe> {
    let policy = serde_json::from_str(session_policy).ok()?;
    let mut places = Places::of(&policy, known);
    places.buckets.push(nowhere.to_owned());
    let judge = Judge::new(&policy, &[MAX_KEYS, PREFIX])?;
    let prefix = format!("{NAME}/");
    let refused = |bucket: &&String| judge.refuses_bucket("s3:ListBucket", bucket, &[ONE, (PREFIX, &prefix)]);
    places.buckets.iter().find(refused).map(|bucket| Probe::list(bucket, &prefix, None))
}

fn list_inside(policy: &Value, places: &Places) -> Option<Probe> {
    for delimiter in [None, Some("/")] {
        let known: Vec<&str> = [MAX_KEYS, PREFIX].into_iter().chain(delimiter.map(|_| DELIMITER)).collect();
        let judge = Judge::new(policy, &known)?;
        for (bucket, prefix) in pairs(&places.buckets, &places.prefixes) {
            let sent: Vec<_> =
                [ONE, (PREFIX, prefix)].into_iter().chain(delimiter.map(|slash| (DELIMITER, slash))).collect();
            if judge.allows_bucket("s3:ListBucket", bucket, &sent) {
                return Some(Probe::list(bucket, prefix, delimiter));
            }
        }
    }
    None
}

fn location(policy: &Value, places: &Places) -> Option<Probe> {
    let judge = Judge::new(policy, &[])?;
    let allowed = |bucket: &&String| judge.allows_bucket("s3:GetBucketLocation", bucket, &[]);
    places.buckets.iter().find(allowed).map(|bucket| Probe::location(bucket))
}

fn uploads(policy: &Value, places: &Places) -> Option<Probe> {
    let judge = Judge::new(policy, &[PREFIX])?;
    let allowed = |(bucket, prefix): &(&str, &str)| {
        judge.allows_bucket("s3:ListBucketMultipartUploads", bucket, &[(PREFIX, prefix)])
    };
    pairs(&places.buckets, &places.prefixes).find(allowed).map(|(bucket, prefix)| Probe::uploads(bucket, prefix))
}

fn parts(policy: &Value, places: &Places) -> Option<Probe> {
    let judge = Judge::new(policy, &[])?;
    let allowed = |(bucket, key): &(&str, &str)| judge.allows_object("s3:ListMultipartUploadParts", bucket, key);
    pairs(&places.buckets, &places.keys).find(allowed).map(|(bucket, key)| Probe::parts(bucket, key))
}

fn pairs<'a>(buckets: &'a [String], names: &'a [String]) -> impl Iterator<Item = (&'a str, &'a str)> {
    buckets.iter().flat_map(|bucket| names.iter().map(|name| (bucket.as_str(), name.as_str())))
}

/// Where a probe may go: buckets that are there, then those that the policy allows by name; and names that it may allow.
struct Places {
    buckets: Vec<String>,
    prefixes: Vec<String>,
    keys: Vec<String>,
}

impl Places {
    fn of(policy: &Value, known: &[&str]) -> Self {
        let mut places = Self { buckets: Vec::new(), prefixes: Vec::new(), keys: Vec::new() };
        for bucket in known {
            places.add_bucket(bucket);
        }
        places.add_prefix(&format!("{NAME}/"));
        places.add_key(NAME);
        let statements = policy.get("Statement").and_then(Value::as_array).into_iter().flatten();
        for statement in statements.filter(|s| s.get("Effect").and_then(Value::as_str) == Some("Allow")) {
            for resource in texts(statement.get("Resource")) {
                let path = resource.strip_prefix("arn:aws:s3:::").unwrap_or_default();
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                places.add_bucket(bucket);
                for key in filled(key) {
                    places.add_key(&key);
                }
            }
            let conditions = statement.get("Condition").and_then(Value::as_object).into_iter().flatten();
            for value in conditions.flat_map(|(_, keys)| texts(keys.get(PREFIX))) {
                for prefix in filled(value) {
                    places.add_prefix(&prefix);
                }
            }
        }
        places
    }

    fn add_bucket(&mut self, name: &str) {
        if is_bucket_name(name) && !self.buckets.iter().any(|bucket| bucket == name) {
            self.buckets.push(name.to_owned());
        }
    }

    fn add_prefix(&mut self, prefix: &str) {
        if is_plain(prefix) {
            self.prefixes.push(prefix.to_owned());
        }
    }

    fn add_key(&mut self, key: &str) {
        if is_plain(key) && !key.ends_with('/') {
            self.keys.push(key.to_owned());
        }
    }
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Two strings that a pattern stands for.
fn filled(pattern: &str) -> [String; 2] {
    [NAME, ""].map(|star| pattern.replace('*', star).replace('?', "x"))
}

/// A name that every server takes as it is: some clean, or refuse, others. An empty one is left out by some and sent empty
/// by others, so that conditions on it are read in two ways.
fn is_plain(name: &str) -> bool {
    let odd = |c: char| c.is_control() || c == '\\';
    (1..=LONGEST_KEY).contains(&name.len())
        && !name.contains(odd)
        && !name.starts_with('/')
        && !name.contains("//")
        && name.split('/').all(|part| !matches!(part, "." | "..") && part.len() <= 255)
}
