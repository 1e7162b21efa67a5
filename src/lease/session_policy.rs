//! The session policy that goes to the object server: the granted document, the server's account-making actions
//! denied, as compact JSON within the server's limit.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::Capabilities;
use super::plan::LeaseError;
use crate::policy::Document;

/// A session policy ready to be sent. There is no way to mint without one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionPolicy(Arc<str>);

impl SessionPolicy {
    /// Joins `document` and the server's deny statements, if the server enforces all of it.
    pub(super) fn compose(document: &Document, capabilities: &Capabilities) -> Result<Self, LeaseError> {
        let mut policy = document.to_json();
        capabilities.rights.check(capabilities.server, &policy)?;
        capabilities.language.check(capabilities.server, &policy)?;
        let admin = document.allows_admin();
        let deny = if admin { &capabilities.deny_statements_for_admins } else { &capabilities.deny_statements };
        if let Some(statements) = policy.get_mut("Statement").and_then(Value::as_array_mut) {
            statements.extend(deny.iter().cloned());
        }
        let text = policy.to_string();
        let (size, limit) = (capabilities.session_policy.measure(&text), capabilities.session_policy.most);
        if size > limit {
            return Err(LeaseError::PolicyTooLarge { size, limit });
        }
        match longest_resource(&policy) {
            size if size > capabilities.resource => {
                Err(LeaseError::ResourceTooLarge { size, limit: capabilities.resource })
            }
            _ => Ok(Self(text.into())),
        }
    }

    /// Any text, for tests of what is done with one.
    #[cfg(test)]
    pub(crate) fn for_tests(text: &str) -> Self {
        Self(text.into())
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same policy, in the memory of `same` if that has this very text: leases of one role hold one text.
    #[must_use]
    pub fn sharing(self, same: &Self) -> Self {
        if self == *same { same.clone() } else { self }
    }

    /// SHA-256 of the text, lower-case hex: the row's proof of what was sent.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(digest(&SHA256, self.0.as_bytes()))
    }
}

impl fmt::Debug for SessionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionPolicy({})", self.0)
    }
}

/// One resource string of about 1,565 characters ends a Ceph 16 radosgw process silently, so each is bounded alone.
fn longest_resource(policy: &Value) -> usize {
    let statements = policy.get("Statement").and_then(Value::as_array).into_iter().flatten();
    statements
        .filter_map(|s| s.get("Resource").and_then(Value::as_array))
        .flatten()
        .filter_map(Value::as_str)
        .map(str::len)
        .max()
        .unwrap_or(0)
}

/// A server as the tests of this room imagine one.
#[cfg(test)]
pub(super) fn example() -> Capabilities {
    use super::{Beyond, Conditions, Durations, OnUnknownAction, PolicyLanguage, Revocation, SessionName};
    use super::{SizeLimit, SizeUnit};
    use serde_json::json;
    use std::time::Duration;
    Capabilities {
        server: "Twig",
        rights: super::Rights::SessionPolicy,
        session_policy: SizeLimit { most: 2048, unit: SizeUnit::GoEncodedBytes },
        resource: 1100,
        durations: Durations {
            shortest: Duration::from_mins(15),
            longest: Duration::from_hours(12),
            beyond: Beyond::Refused,
        },
        revocation: Revocation::Lease,
        session_name: SessionName::Ignored,
        language: PolicyLanguage {
            admin_actions: true,
            unknown_actions: &[],
            on_unknown_action: OnUnknownAction::Refuses,
            conditions: Conditions::Only { operators: &["StringLike"], keys: &["s3:prefix"] },
        },
        deny_statements: vec![json!({"Effect": "Deny", "Action": ["admin:*"]})],
        deny_statements_for_admins: vec![json!({"Effect": "Deny", "Action": ["admin:CreateServiceAccount"]})],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{SizeLimit, SizeUnit};
    use serde_json::json;

    fn compose(statement: &Value, capabilities: &Capabilities) -> Result<SessionPolicy, LeaseError> {
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]});
        SessionPolicy::compose(&Document::parse(policy.to_string().as_bytes()).unwrap(), capabilities)
    }

    fn denied(statement: &Value) -> Value {
        let sent = compose(statement, &example()).unwrap();
        let sent: Value = serde_json::from_str(sent.as_str()).unwrap();
        assert_eq!(sent["Statement"].as_array().unwrap().len(), 2);
        assert_eq!(sent["Statement"][1]["Effect"], "Deny");
        sent["Statement"][1]["Action"].clone()
    }

    #[test]
    fn a_document_without_admin_rights_is_denied_all_of_them() {
        let read = json!({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/*"]});
        assert_eq!(denied(&read), json!(["admin:*"]));
        assert_eq!(denied(&json!({"Effect": "Deny", "Action": ["admin:ServerInfo"]})), json!(["admin:*"]));
    }

    #[test]
    fn a_document_with_admin_rights_keeps_them_but_makes_no_accounts() {
        let admin = json!({"Effect": "Allow", "Action": ["admin:ServerInfo"]});
        assert_eq!(denied(&admin), json!(["admin:CreateServiceAccount"]));
    }

    #[test]
    fn what_the_server_would_not_enforce_is_never_sent() {
        let listing = |key: &str| {
            json!({"Effect": "Deny", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::b"],
                   "Condition": {"StringLike": {key: ["secret/*"]}}})
        };
        assert!(compose(&listing("s3:prefix"), &example()).is_ok());
        let refused = compose(&listing("s3:delimiter"), &example());
        assert!(matches!(refused, Err(LeaseError::NotEnforced { server: "Twig", .. })), "{refused:?}");
    }

    #[test]
    fn a_policy_is_as_long_as_the_server_counts_it() {
        let read = json!({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/ä&"]});
        let length = compose(&read, &example()).unwrap().as_str().chars().count();
        let limited = |unit, most| {
            compose(&read, &Capabilities { session_policy: SizeLimit { most, unit }, ..example() }).is_ok()
        };
        for (unit, size) in
            [(SizeUnit::Characters, length), (SizeUnit::Bytes, length + 1), (SizeUnit::GoEncodedBytes, length + 6)]
        {
            assert!(limited(unit, size) && !limited(unit, size - 1), "{unit:?}");
        }
    }
}
