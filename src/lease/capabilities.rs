//! What one kind of object server takes and enforces, stated by its dialect as a value. Planning asks it at load and again
//! at every lease: a condition that a server does not understand makes an Allow useless and a Deny worthless, and the
//! second is how a lease becomes wider than its role.

use std::time::Duration;

use serde_json::Value;

use super::bucket_grants::Rights;
use super::plan::LeaseError;
use crate::policy::stands_for;

/// What one kind of object server takes and enforces.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// The server's name, for messages.
    pub server: &'static str,
    /// What bounds a session.
    pub rights: Rights,
    /// Longest session policy.
    pub session_policy: SizeLimit,
    /// Longest single resource string, in bytes.
    pub resource: usize,
    /// How long a session may last, and what becomes of a request beyond.
    pub durations: Durations,
    /// The smallest thing that can be ended before its time.
    pub revocation: Revocation,
    /// What it makes of a session name.
    pub session_name: SessionName,
    /// The part of the policy language that it enforces.
    pub language: PolicyLanguage,
    /// Statements every session policy must carry: Deny on the server's account-making actions, which some servers
    /// grant to any session of a user unless they are denied (CVE-2025-62506).
    pub deny_statements: Vec<Value>,
    /// The same for a document that itself allows `admin:` actions, which the statements above would take away whole:
    /// the account-making actions one by one. Empty where there are no `admin:` actions.
    pub deny_statements_for_admins: Vec<Value>,
}

/// A size and how it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimit {
    /// The most that is taken.
    pub most: usize,
    /// In what.
    pub unit: SizeUnit,
}

/// How a server counts the size of a session policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeUnit {
    /// Bytes after Go's encoder, which writes `<`, `>`, `&`, U+2028 and U+2029 as six-byte escapes (minio
    /// `cmd/sts-handlers.go`, `encoding/json`).
    GoEncodedBytes,
    /// Characters of the text as it is sent.
    Characters,
    /// Bytes of the text as it is sent.
    Bytes,
}

impl SizeLimit {
    /// The size of `text` as the server counts it.
    #[must_use]
    pub fn measure(self, text: &str) -> usize {
        match self.unit {
            SizeUnit::GoEncodedBytes => text.chars().map(go_encoded).sum(),
            SizeUnit::Characters => text.chars().count(),
            SizeUnit::Bytes => text.len(),
        }
    }
}

fn go_encoded(character: char) -> usize {
    match character {
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => 6,
        character => character.len_utf8(),
    }
}

/// The lengths of session that a server gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durations {
    /// The shortest; whole seconds.
    pub shortest: Duration,
    /// The longest that any configuration of the server allows.
    pub longest: Duration,
    /// What becomes of a request for more than the server, or its role, allows.
    pub beyond: Beyond,
}

/// What becomes of a request for a longer session than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// It is refused.
    Refused,
    /// The session is shorter, and only its expiration says so.
    Shortened,
}

/// The smallest thing that a server can end before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// One lease.
    Lease,
    /// All leases of one parent together.
    Parent,
    /// All leases of one role together, by changing the role at the server.
    Role,
}

/// What a server makes of a session name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionName {
    /// It is part of the session's identity, which conditions and access logs show.
    Identity,
    /// It is not looked at.
    Ignored,
}

/// The part of the policy language that a server enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyLanguage {
    /// Whether `admin:` actions mean something.
    pub admin_actions: bool,
    /// S3 actions, as `s3:Name`, that mean nothing to it.
    pub unknown_actions: &'static [&'static str],
    /// What it makes of a policy that names one of them.
    pub on_unknown_action: OnUnknownAction,
    /// The conditions it enforces.
    pub conditions: Conditions,
}

/// What a server makes of an action that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknownAction {
    /// It refuses the whole policy.
    Refuses,
    /// It passes over it: a Deny of such an action protects nothing.
    Ignores,
}

/// The conditions that a server enforces, both in an Allow and in a Deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// Every operator and key that a document may hold.
    All,
    /// The same, but for some keys, and others beside some actions only: it refuses a policy that puts them elsewhere.
    Bound {
        /// Names of keys that it does not know.
        unknown: &'static [&'static str],
        /// Keys and the actions beside which they may stand; one that is not here may stand beside any. A key that ends
        /// in `/` stands for every key that it begins.
        bound: &'static [(&'static str, &'static [&'static str])],
    },
    /// Any of these operators on any of these keys. A key that ends in `/` stands for every key that it begins.
    Only {
        /// Names of operators.
        operators: &'static [&'static str],
        /// Names of keys.
        keys: &'static [&'static str],
    },
}

impl PolicyLanguage {
    /// Finds what of `policy` the server would not enforce. The policy is in the normal form: every value an array.
    pub(super) fn check(&self, server: &'static str, policy: &Value) -> Result<(), LeaseError> {
        let unenforced = |what: String| LeaseError::NotEnforced { server, what };
        for statement in policy.get("Statement").and_then(Value::as_array).into_iter().flatten() {
            let actions = || statement.get("Action").and_then(Value::as_array).into_iter().flatten();
            let denies = statement.get("Effect").and_then(Value::as_str) == Some("Deny");
            for action in actions() {
                let action = action.as_str().unwrap_or_default();
                if let Some(what) = self.unknown(action, denies) {
                    return Err(unenforced(what));
                }
            }
            for (operator, keys) in statement.get("Condition").and_then(Value::as_object).into_iter().flatten() {
                for key in keys.as_object().into_iter().flatten().map(|(key, _)| key) {
                    let misplaced = || {
                        actions().filter_map(Value::as_str).find_map(|action| self.conditions.misplaced(key, action))
                    };
                    if let Some(what) = self.conditions.unknown(operator, key).or_else(misplaced) {
                        return Err(unenforced(what));
                    }
                }
            }
        }
        Ok(())
    }

    fn unknown(&self, action: &str, denies: bool) -> Option<String> {
        if action.starts_with("admin:") {
            // A Deny of what cannot be done anyway is only in the way, but where it is a fault it is fatal.
            return (!self.admin_actions).then(|| format!("{action}: it has no admin: actions; leave them out"));
        }
        if !self.unknown_actions.contains(&action) {
            return None;
        }
        match self.on_unknown_action {
            OnUnknownAction::Refuses => Some(format!("{action}: it refuses a policy that names it; leave it out")),
            OnUnknownAction::Ignores if denies => Some(format!(
                "a Deny of {action}: it does not know the action, so the Deny would protect nothing; deny a wildcard, \
                 or allow less"
            )),
            // An Allow that gives nothing is narrower than its author meant, never wider.
            OnUnknownAction::Ignores => None,
        }
    }
}

impl Conditions {
    fn unknown(&self, operator: &str, key: &str) -> Option<String> {
        let (operators, keys) = match self {
            Self::All => return None,
            Self::Bound { unknown, .. } => {
                return unknown
                    .contains(&key)
                    .then(|| format!("the condition key {key}: it does not know it; leave it out"));
            }
            Self::Only { operators, keys } => (operators, keys),
        };
        if !keys.iter().any(|known| covers(known, key)) {
            return Some(format!("the condition key {key}: it enforces only {}; leave it out", keys.join(", ")));
        }
        (!operators.contains(&operator)).then(|| {
            format!("the condition operator {operator}: it enforces only {}; use one of them", operators.join(", "))
        })
    }

    /// Whether the server refuses this key beside this action, which may be a pattern: then one action that it stands for
    /// and that knows the key is enough.
    fn misplaced(&self, key: &str, action: &str) -> Option<String> {
        let Self::Bound { bound, .. } = self else { return None };
        let known = if action.starts_with("admin:") {
            // What an admin action knows of, is who asks and when; and a pattern of them other than all of them, nothing.
            key.starts_with("aws:") && (action == "admin:*" || !action.contains(['*', '?']))
        } else {
            let of_key = bound.iter().find(|(known, _)| covers(known, key));
            of_key.is_none_or(|(_, actions)| actions.iter().any(|known| stands_for(action, known)))
        };
        (!known).then(|| {
            format!(
                "the condition key {key} beside {action}: it refuses a policy that puts them into one statement; give \
                 {action} a statement of its own"
            )
        })
    }
}

fn covers(known: &str, key: &str) -> bool {
    known == key || (known.ends_with('/') && key.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SOME: PolicyLanguage = PolicyLanguage {
        admin_actions: false,
        unknown_actions: &["s3:PutObjectFanOut"],
        on_unknown_action: OnUnknownAction::Ignores,
        conditions: Conditions::Only {
            operators: &["StringLike", "IpAddress"],
            keys: &["s3:prefix", "s3:RequestObjectTag/"],
        },
    };
    const ALL: PolicyLanguage = PolicyLanguage {
        admin_actions: true,
        unknown_actions: &[],
        on_unknown_action: OnUnknownAction::Refuses,
        conditions: Conditions::All,
    };

    fn statement(effect: &str, action: &str, operator: &str, key: &str) -> Value {
        json!({"Statement": [{"Effect": effect, "Action": ["s3:GetObject", action], "Condition": {operator: {key: ["x"]}}}]})
    }

    fn objection(language: PolicyLanguage, policy: &Value) -> Option<String> {
        match language.check("Twig", policy) {
            Ok(()) => None,
            Err(LeaseError::NotEnforced { server: "Twig", what }) => Some(what),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_condition_that_the_server_does_not_know_is_refused_in_an_allow_and_in_a_deny() {
        for effect in ["Allow", "Deny"] {
            let with = |operator, key| objection(SOME, &statement(effect, "s3:PutObject", operator, key));
            assert_eq!(with("StringLike", "s3:prefix"), None);
            assert_eq!(with("IpAddress", "s3:RequestObjectTag/a"), None);
            assert!(with("StringLike", "s3:delimiter").unwrap().contains("s3:prefix, s3:RequestObjectTag/"));
            assert!(with("StringLike", "s3:prefix/x").is_some());
            assert!(with("StringNotLike", "s3:prefix").unwrap().contains("StringLike, IpAddress"));
        }
        assert_eq!(objection(ALL, &statement("Deny", "s3:PutObject", "StringNotLike", "s3:delimiter")), None);
        let conditions = Conditions::Bound { unknown: &["s3:delimiter"], bound: &[] };
        let but_one = PolicyLanguage { conditions, ..ALL };
        assert!(objection(but_one, &statement("Deny", "s3:PutObject", "StringNotLike", "s3:delimiter")).is_some());
        assert_eq!(objection(but_one, &statement("Deny", "s3:PutObject", "StringNotLike", "s3:prefix")), None);
    }

    #[test]
    fn a_key_beside_an_action_that_does_not_know_it_is_refused() {
        let conditions = Conditions::Bound {
            unknown: &[],
            bound: &[("s3:prefix", &["s3:ListBucket"]), ("s3:RequestObjectTag/", &["s3:PutObject"])],
        };
        let bound = PolicyLanguage { conditions, ..ALL };
        let with = |actions: &[&str], key: &str| {
            let policy = json!({"Statement": [{"Effect": "Allow", "Action": actions,
                                               "Condition": {"StringLike": {key: ["x"]}}}]});
            objection(bound, &policy)
        };
        assert!(with(&["s3:ListBucket", "s3:GetObject"], "s3:prefix").unwrap().contains("beside s3:GetObject"));
        assert!(with(&["s3:GetObject"], "s3:RequestObjectTag/team").is_some());
        assert!(with(&["s3:Get*"], "s3:prefix").is_some());
        assert!(with(&["admin:ServerInfo"], "s3:prefix").is_some());
        assert!(with(&["admin:Server*"], "aws:SourceIp").is_some());
        for (actions, key) in [
            (&["s3:ListBucket"][..], "s3:prefix"),
            (&["s3:List*", "s3:*"], "s3:prefix"),
            (&["s3:PutObject"], "s3:RequestObjectTag/team"),
            (&["s3:GetObject", "s3:PutObject"], "aws:SourceIp"),
            (&["admin:ServerInfo", "admin:*"], "aws:SourceIp"),
        ] {
            assert_eq!(with(actions, key), None, "{actions:?} {key}");
        }
    }

    #[test]
    fn admin_actions_are_refused_where_there_are_none() {
        for effect in ["Allow", "Deny"] {
            let policy = statement(effect, "admin:ServerInfo", "StringLike", "s3:prefix");
            assert!(objection(SOME, &policy).unwrap().contains("admin:ServerInfo"));
            assert_eq!(objection(ALL, &policy), None);
        }
    }

    #[test]
    fn an_unknown_action_is_refused_where_it_matters() {
        let refusing = PolicyLanguage { on_unknown_action: OnUnknownAction::Refuses, ..SOME };
        let policy = |effect, action| statement(effect, action, "StringLike", "s3:prefix");
        assert!(objection(SOME, &policy("Deny", "s3:PutObjectFanOut")).unwrap().contains("protect nothing"));
        assert_eq!(objection(SOME, &policy("Allow", "s3:PutObjectFanOut")), None);
        assert!(objection(refusing, &policy("Allow", "s3:PutObjectFanOut")).unwrap().contains("leave it out"));
        assert_eq!(objection(refusing, &policy("Deny", "s3:PutObject*")), None);
    }

    #[test]
    fn a_size_is_counted_as_the_server_counts() {
        let measure = |unit| SizeLimit { most: 0, unit }.measure("a<ä");
        assert_eq!(measure(SizeUnit::GoEncodedBytes), 9);
        assert_eq!(measure(SizeUnit::Characters), 3);
        assert_eq!(measure(SizeUnit::Bytes), 4);
    }
}
