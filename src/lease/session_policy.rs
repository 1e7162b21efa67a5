//! The session policy that goes to the object server: the granted document, the server's account-making actions
//! denied, as compact JSON within the server's limit.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::plan::{LeaseError, ServerLimits};
use crate::policy::Document;

/// A session policy ready to be sent. There is no way to mint without one.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionPolicy(String);

impl SessionPolicy {
    /// Joins `document` and the server's deny statements.
    pub(super) fn compose(document: &Document, limits: &ServerLimits) -> Result<Self, LeaseError> {
        let admin = document.allows_admin();
        let deny = if admin { &limits.deny_statements_for_admins } else { &limits.deny_statements };
        let mut policy = document.to_json();
        if let Some(statements) = policy.get_mut("Statement").and_then(Value::as_array_mut) {
            statements.extend(deny.iter().cloned());
        }
        let text = policy.to_string();
        let size = encoded_size(&text);
        if size > limits.session_policy {
            return Err(LeaseError::PolicyTooLarge { size, limit: limits.session_policy });
        }
        match longest_resource(&policy) {
            size if size > limits.resource => Err(LeaseError::ResourceTooLarge { size, limit: limits.resource }),
            _ => Ok(Self(text)),
        }
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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

/// The size as MinIO and RustFS measure it: Go's encoder writes `<`, `>`, `&`, U+2028 and U+2029 as six-byte escapes
/// (minio `cmd/sts-handlers.go`, `encoding/json`). Counting so everywhere errs on the safe side.
fn encoded_size(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => 6,
            c => c.len_utf8(),
        })
        .sum()
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limits() -> ServerLimits {
        ServerLimits {
            session_policy: 2048,
            resource: 1100,
            deny_statements: vec![json!({"Effect": "Deny", "Action": ["admin:*"]})],
            deny_statements_for_admins: vec![json!({"Effect": "Deny", "Action": ["admin:CreateServiceAccount"]})],
        }
    }

    fn denied(statement: &Value) -> Value {
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]});
        let document = Document::parse(policy.to_string().as_bytes()).unwrap();
        let sent = SessionPolicy::compose(&document, &limits()).unwrap();
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
    fn characters_that_go_escapes_count_six() {
        assert_eq!(encoded_size("a<b"), 8);
        assert_eq!(encoded_size("ä"), 2);
    }
}
