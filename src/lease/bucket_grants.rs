//! Rights on whole buckets: what is left of a session policy at a server that knows nothing finer. A policy maps to them
//! exactly or not at all: what a right would give beyond the policy is never given, and what the policy asks beyond the
//! rights is never forgotten.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::plan::LeaseError;
use crate::policy::is_bucket_name;

const ARN: &str = "arn:aws:s3:::";

/// How a server bounds a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// By the session policy itself.
    SessionPolicy,
    /// By reading and writing of whole buckets, which its dialect makes of the session policy.
    WholeBuckets(BucketRights),
}

impl Rights {
    /// Finds what of `policy` the server could not bound a session by. The policy is in the normal form: every value an
    /// array.
    pub(super) fn check(&self, server: &'static str, policy: &Value) -> Result<(), LeaseError> {
        match self {
            Self::SessionPolicy => Ok(()),
            Self::WholeBuckets(rights) => match rights.grants(policy) {
                Ok(_) => Ok(()),
                Err(what) => Err(LeaseError::NotEnforced { server, what }),
            },
        }
    }
}

/// What a server's two rights on a bucket give, in the words of policy documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketRights {
    /// What reading gives.
    pub read: BucketRight,
    /// What writing gives; nothing that reading gives too.
    pub write: BucketRight,
    /// Actions on the account that no key can be without: a document may name them.
    pub of_every_key: &'static [&'static str],
}

/// The actions that one right on a bucket gives, as `s3:Name`, all of them or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketRight {
    /// On the bucket.
    pub on_bucket: &'static [&'static str],
    /// On every object in it.
    pub on_objects: &'static [&'static str],
}

/// The rights of one lease on one bucket; one of them at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketGrant {
    /// The bucket's name.
    pub bucket: String,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
}

/// What a resource stands for.
enum Reach<'a> {
    Account,
    Bucket(&'a str),
    Objects(&'a str),
}

impl BucketRight {
    fn actions(&self) -> impl Iterator<Item = &'static str> {
        self.on_bucket.iter().chain(self.on_objects).copied()
    }
}

impl BucketRights {
    /// The grants that give exactly what `policy` allows, in the order of the buckets' names. An error says what of the
    /// policy they cannot express, and the cure.
    pub fn grants(&self, policy: &Value) -> Result<Vec<BucketGrant>, String> {
        let mut allowed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for statement in statements(policy)? {
            self.read_statement(statement, &mut allowed)?;
        }
        allowed.into_iter().map(|(bucket, actions)| self.grant(bucket, &actions)).collect()
    }

    fn read_statement<'p>(
        &self,
        statement: &'p Value,
        allowed: &mut BTreeMap<&'p str, BTreeSet<&'p str>>,
    ) -> Result<(), String> {
        let statement = statement.as_object().ok_or("a statement that is no object")?;
        // Passing over a Deny, a condition or a member that is not known here would vend more than is on record.
        if let Some(other) = statement.keys().find(|name| !["Effect", "Action", "Resource"].contains(&name.as_str())) {
            return Err(format!("a {other}: its keys hold whole buckets under no condition; leave it out"));
        }
        if statement.get("Effect").and_then(Value::as_str) != Some("Allow") {
            return Err("a Deny: its keys can only be given rights; leave it out, and allow less".to_owned());
        }
        let reaches: Vec<Reach<'_>> = texts(statement, "Resource")?.into_iter().map(reach).collect::<Result<_, _>>()?;
        for action in texts(statement, "Action")? {
            if self.of_every_key.contains(&action) {
                continue;
            }
            let (on_bucket, on_objects) = self.place(action)?;
            for reach in &reaches {
                match reach {
                    Reach::Account => {
                        return Err(format!("{action} on every bucket at once: name each bucket"));
                    }
                    Reach::Bucket(bucket) if on_bucket => _ = allowed.entry(bucket).or_default().insert(action),
                    Reach::Objects(bucket) if on_objects => _ = allowed.entry(bucket).or_default().insert(action),
                    // An action on a bucket names no object, and the other way round: the pair means nothing.
                    Reach::Bucket(_) | Reach::Objects(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Whether the action is one on buckets, and whether it is one on objects.
    fn place(&self, action: &str) -> Result<(bool, bool), String> {
        let on_bucket = [self.read, self.write].iter().any(|right| right.on_bucket.contains(&action));
        let on_objects = [self.read, self.write].iter().any(|right| right.on_objects.contains(&action));
        if on_bucket || on_objects {
            return Ok((on_bucket, on_objects));
        }
        Err(match action {
            wild if wild.contains(['*', '?']) => {
                format!("{wild}: its keys hold no wildcards; name the actions of reading or of writing one by one")
            }
            action => format!("{action}: neither reading nor writing a bucket gives it; leave it out"),
        })
    }

    fn grant(&self, bucket: &str, allowed: &BTreeSet<&str>) -> Result<BucketGrant, String> {
        let whole = |name: &str, right: BucketRight| {
            let missing: Vec<&str> = right.actions().filter(|action| !allowed.contains(action)).collect();
            match right.actions().find(|action| allowed.contains(action)) {
                None => Ok(false),
                Some(_) if missing.is_empty() => Ok(true),
                Some(some) => Err(format!(
                    "{some} on {bucket} alone: its right to {name} a bucket gives {} too; allow that as well, on the \
                     bucket or on all its objects, or nothing of it",
                    missing.join(", ")
                )),
            }
        };
        Ok(BucketGrant {
            bucket: bucket.to_owned(),
            read: whole("read", self.read)?,
            write: whole("write", self.write)?,
        })
    }
}

fn statements(policy: &Value) -> Result<&[Value], String> {
    let members = policy.as_object().ok_or("a policy that is no object")?;
    if let Some(other) = members.keys().find(|name| !["Version", "Statement"].contains(&name.as_str())) {
        return Err(format!("a policy's {other}; leave it out"));
    }
    match members.get("Statement").and_then(Value::as_array) {
        Some(statements) => Ok(statements),
        None => Err("a policy without statements".to_owned()),
    }
}

fn texts<'p>(statement: &'p Map<String, Value>, name: &str) -> Result<Vec<&'p str>, String> {
    let list = statement.get(name).and_then(Value::as_array).filter(|list| !list.is_empty());
    let texts = list.and_then(|list| list.iter().map(Value::as_str).collect());
    texts.ok_or_else(|| format!("a statement without {name}"))
}

fn reach(resource: &str) -> Result<Reach<'_>, String> {
    let reach = match resource.strip_prefix(ARN) {
        Some("*") => return Ok(Reach::Account),
        Some(path) => match path.split_once('/') {
            None => Some((path, Reach::Bucket(path))),
            Some((bucket, "*")) => Some((bucket, Reach::Objects(bucket))),
            Some(_) => None,
        },
        None => None,
    };
    match reach {
        Some((bucket, reach)) if is_bucket_name(bucket) => Ok(reach),
        _ => Err(format!(
            "{resource}: its keys hold whole buckets; write \"{ARN}<bucket>\" and \"{ARN}<bucket>/*\", each bucket by its name"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const RIGHTS: BucketRights = BucketRights {
        read: BucketRight { on_bucket: &["s3:ListBucket", "s3:GetBucketLocation"], on_objects: &["s3:GetObject"] },
        write: BucketRight { on_bucket: &[], on_objects: &["s3:PutObject", "s3:DeleteObject"] },
        of_every_key: &["s3:ListAllMyBuckets"],
    };

    fn allow(actions: &[&str], resources: &[&str]) -> Value {
        let resources: Vec<String> = resources.iter().map(|path| format!("{ARN}{path}")).collect();
        json!({"Effect": "Allow", "Action": actions, "Resource": resources})
    }

    fn grants(statements: &[Value]) -> Result<Vec<BucketGrant>, String> {
        RIGHTS.grants(&json!({"Version": "2012-10-17", "Statement": statements}))
    }

    fn grant(bucket: &str, read: bool, write: bool) -> BucketGrant {
        BucketGrant { bucket: bucket.to_owned(), read, write }
    }

    fn reading(bucket: &str) -> Value {
        let objects = format!("{bucket}/*");
        allow(&["s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"], &[bucket, &objects])
    }

    fn writing(bucket: &str) -> Value {
        allow(&["s3:PutObject", "s3:DeleteObject"], &[&format!("{bucket}/*")])
    }

    /// One valid statement, and the same with one thing changed.
    fn changed(change: impl FnOnce(&mut Value)) -> String {
        assert!(grants(&[reading("recordings")]).is_ok());
        let mut statement = reading("recordings");
        change(&mut statement);
        grants(&[statement]).unwrap_err()
    }

    #[test]
    fn a_deny_is_refused() {
        assert!(changed(|statement| statement["Effect"] = json!("Deny")).starts_with("a Deny"));
        let beside = allow(&["s3:DeleteObject"], &["recordings/*"]);
        let mut denied = beside.clone();
        denied["Effect"] = json!("Deny");
        assert!(grants(&[reading("recordings"), writing("recordings"), beside]).is_ok());
        assert!(grants(&[reading("recordings"), writing("recordings"), denied]).unwrap_err().contains("allow less"));
    }

    #[test]
    fn a_condition_is_refused_and_so_is_any_member_that_is_not_known() {
        let condition = json!({"StringLike": {"s3:prefix": ["*"]}});
        assert!(changed(|statement| statement["Condition"] = condition).starts_with("a Condition"));
        for member in ["NotAction", "NotResource", "Principal", "effect"] {
            assert!(changed(|statement| statement[member] = json!(["x"])).contains(member));
        }
        assert!(RIGHTS.grants(&json!({"Statement": [reading("recordings")], "Id": "x"})).is_err());
        assert!(RIGHTS.grants(&json!({"Statement": [reading("recordings")]})).is_ok());
    }

    #[test]
    fn a_part_of_a_bucket_is_refused_and_so_is_more_than_named_buckets() {
        for resource in [
            "recordings/inside/*",
            "recordings/object",
            "recordings/",
            "recordings/**",
            "recordings/?",
            "recordings*",
            "rec?rdings",
            "*/*",
            "recordings-${jwt:team}",
            "Recordings",
            "",
        ] {
            let why = changed(|statement| statement["Resource"] = json!([format!("{ARN}{resource}")]));
            assert!(why.contains("whole buckets"), "{resource}: {why}");
        }
        assert!(changed(|statement| statement["Resource"] = json!([format!("{ARN}*")])).contains("name each bucket"));
        assert!(changed(|statement| statement["Resource"] = json!(["*"])).contains("whole buckets"));
    }

    #[test]
    fn what_neither_right_gives_is_refused() {
        for action in
            ["s3:PutBucketPolicy", "s3:GetObjectTagging", "admin:ServerInfo", "s3:getobject", "s3:DeleteBucket"]
        {
            let why = changed(|statement| statement["Action"] = json!([action]));
            assert!(why.contains("leave it out"), "{why}");
        }
        for action in ["s3:*", "s3:GetObject*", "*"] {
            assert!(changed(|statement| statement["Action"] = json!([action])).contains("no wildcards"), "{action}");
        }
    }

    #[test]
    fn a_part_of_a_right_is_refused_with_what_is_missing() {
        let why = grants(&[allow(&["s3:GetObject"], &["recordings/*"])]).unwrap_err();
        assert!(
            why.contains("s3:GetObject on recordings") && why.contains("s3:ListBucket, s3:GetBucketLocation"),
            "{why}"
        );
        // All the actions, but only on the objects: a listing was never allowed.
        let mut objects = reading("recordings");
        objects["Resource"] = json!([format!("{ARN}recordings/*")]);
        assert!(grants(&[objects]).unwrap_err().contains("s3:ListBucket"));
        // Each half of reading on another bucket.
        let halves = [
            allow(&["s3:ListBucket", "s3:GetBucketLocation"], &["recordings"]),
            allow(&["s3:GetObject"], &["textures/*"]),
        ];
        assert!(grants(&halves).is_err());
        assert!(grants(&[reading("recordings"), allow(&["s3:PutObject"], &["recordings/*"])]).is_err());
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for policy in [json!(null), json!([]), json!({}), json!({"Statement": {}}), json!({"Statement": ["x"]})] {
            assert!(RIGHTS.grants(&policy).is_err(), "{policy}");
        }
        for name in ["Action", "Resource"] {
            for value in [json!([]), json!("s3:GetObject"), json!([1]), json!(null)] {
                assert!(changed(|statement| statement[name] = value.clone()).contains(name), "{name} {value}");
            }
        }
    }

    #[test]
    fn whole_rights_become_grants_bucket_by_bucket() {
        assert_eq!(grants(&[reading("recordings")]), Ok(vec![grant("recordings", true, false)]));
        assert_eq!(grants(&[writing("recordings")]), Ok(vec![grant("recordings", false, true)]));
        let statements = [writing("textures"), reading("recordings"), reading("textures"), reading("recordings")];
        assert_eq!(grants(&statements), Ok(vec![grant("recordings", true, false), grant("textures", true, true)]));
        // Each half of a right in a statement of its own.
        let halves = [allow(&["s3:PutObject"], &["textures/*"]), allow(&["s3:DeleteObject"], &["textures/*"])];
        assert_eq!(grants(&halves), Ok(vec![grant("textures", false, true)]));
    }

    #[test]
    fn what_every_key_may_do_becomes_no_grant() {
        let all = allow(&["s3:ListAllMyBuckets"], &["*"]);
        assert_eq!(grants(&[all.clone(), reading("recordings")]), Ok(vec![grant("recordings", true, false)]));
        assert_eq!(grants(&[all]), Ok(vec![]));
        let among_others = allow(&["s3:ListAllMyBuckets", "s3:GetObject"], &["*"]);
        assert!(grants(&[among_others]).is_err());
    }

    fn some_of(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
        proptest::sample::subsequence(texts, 1..=texts.len())
    }

    proptest! {
        /// Told by hand from the statements alone: every action of a granted right is allowed where it reaches, and every
        /// action allowed there is one of a granted right.
        #[test]
        fn a_grant_gives_exactly_what_the_policy_allows(
            statements in proptest::collection::vec(
                (
                    some_of(&["s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"]),
                    some_of(&["one", "one/*", "two", "two/*"]),
                ),
                1..6,
            )
        ) {
            let policy: Vec<Value> = statements.iter().map(|(actions, resources)| allow(actions, resources)).collect();
            let allowed = |action: &str, resource: &str| {
                statements.iter().any(|(actions, resources)| actions.contains(&action) && resources.contains(&resource))
            };
            let Ok(grants) = grants(&policy) else { return Ok(()) };
            for bucket in ["one", "two"] {
                let grant = grants.iter().find(|grant| grant.bucket == bucket);
                let objects = format!("{bucket}/*");
                for (right, granted) in
                    [(RIGHTS.read, grant.is_some_and(|g| g.read)), (RIGHTS.write, grant.is_some_and(|g| g.write))]
                {
                    for action in right.on_bucket {
                        prop_assert_eq!(allowed(action, bucket), granted);
                    }
                    for action in right.on_objects {
                        prop_assert_eq!(allowed(action, &objects), granted);
                    }
                }
            }
        }

        #[test]
        fn no_text_is_too_strange(text in ".*", resource in "arn:aws:s3:::.*") {
            let _ = grants(&[allow(&[&text], &[&resource])]);
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let _ = RIGHTS.grants(&value);
            }
        }
    }
}
