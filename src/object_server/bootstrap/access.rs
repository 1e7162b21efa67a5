//! Whether a bucket policy or an ACL opens a bucket to people nobody knows.

use serde_json::Value;

use super::super::s3::xml::Element;

/// The groups that mean everybody, or everybody with any account.
const EVERYBODY: [&str; 2] = ["/global/AllUsers", "/global/AuthenticatedUsers"];

/// A bucket policy, divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Divided {
    /// One line for each statement that allows everybody something.
    pub(super) public: Vec<String>,
    /// The policy without them; nothing when they were all there was.
    pub(super) rest: Option<String>,
}

/// Divides a bucket policy. What cannot be read is an error: it may be public.
pub(super) fn divide(policy: &[u8]) -> Result<Divided, &'static str> {
    const UNREADABLE: &str = "the bucket policy cannot be read";
    let mut policy: Value = serde_json::from_slice(policy).map_err(|_| UNREADABLE)?;
    let statements = policy.get_mut("Statement").ok_or(UNREADABLE)?;
    let all = match statements.take() {
        Value::Array(all) => all,
        one @ Value::Object(_) => vec![one],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(UNREADABLE),
    };
    let (public, rest): (Vec<Value>, Vec<Value>) = all.into_iter().partition(is_public);
    let public = public.iter().map(told).collect();
    let any_left = !rest.is_empty();
    *statements = Value::Array(rest);
    let rest = any_left.then(|| policy.to_string());
    Ok(Divided { public, rest })
}

/// Allowed to everybody. A condition on top does not make it private: an address can be forged behind a proxy.
fn is_public(statement: &Value) -> bool {
    let allows = statement.get("Effect").and_then(Value::as_str) != Some("Deny");
    // `NotPrincipal` allows everybody else.
    allows && (statement.get("Principal").is_some_and(is_everybody) || statement.get("NotPrincipal").is_some())
}

fn is_everybody(principal: &Value) -> bool {
    match principal {
        Value::String(name) => name == "*",
        Value::Array(names) => names.iter().any(is_everybody),
        Value::Object(kinds) => kinds.values().any(is_everybody),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn told(statement: &Value) -> String {
    let part = |name: &str| statement.get(name).map_or_else(String::new, |value| shortened(&value.to_string()));
    format!("everybody may {} on {}", part("Action"), part("Resource"))
}

/// A policy is somebody else's text: its beginning is enough to know it by.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Whether an `AccessControlPolicy` grants everybody something.
pub(super) fn acl_is_public(acl: &Element) -> bool {
    let uri = |grant: &Element| grant.child("Grantee").and_then(|grantee| grantee.text_of("URI")).map(str::to_owned);
    let grants = acl.child("AccessControlList").into_iter().flat_map(|list| list.all("Grant"));
    grants.filter_map(uri).any(|uri| EVERYBODY.iter().any(|group| uri.ends_with(group)))
}

#[cfg(test)]
mod tests {
    use super::super::super::s3::xml;
    use super::*;

    fn divided(statements: &str) -> Divided {
        divide(format!(r#"{{"Version":"2012-10-17","Statement":{statements}}}"#).as_bytes()).unwrap()
    }

    const READ: &str = r#""Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]"#;

    #[test]
    fn whatever_allows_everybody_is_public() {
        for principal in [
            r#""Principal":"*""#,
            r#""Principal":{"AWS":"*"}"#,
            r#""Principal":{"AWS":["arn:aws:iam::1:user/a","*"]}"#,
            r#""Principal":{"CanonicalUser":["*"]}"#,
            r#""NotPrincipal":{"AWS":"arn:aws:iam::1:user/a"}"#,
            r#""Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#,
        ] {
            let whole = format!(r#"[{{"Effect":"Allow",{principal},{READ}}}]"#);
            let found = divided(&whole);
            assert_eq!((found.public.len(), found.rest), (1, None), "{whole}");
        }
        assert_eq!(divided(&format!(r#"{{"Effect":"Allow","Principal":"*",{READ}}}"#)).public.len(), 1, "not a list");
    }

    #[test]
    fn what_is_not_public_is_kept() {
        let known = format!(r#"{{"Effect":"Allow","Principal":{{"AWS":["arn:aws:iam::1:user/a"]}},{READ}}}"#);
        let denied = format!(r#"{{"Effect":"Deny","Principal":"*",{READ}}}"#);
        let open = format!(r#"{{"Effect":"Allow","Principal":"*",{READ}}}"#);
        assert_eq!(divided(&format!("[{known},{denied}]")).public, Vec::<String>::new());
        let rest = divided(&format!("[{known},{open},{denied}]")).rest.unwrap();
        let rest: Value = serde_json::from_str(&rest).unwrap();
        assert_eq!(rest["Statement"].as_array().unwrap().len(), 2);
        assert_eq!(rest["Version"], "2012-10-17");
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_not_taken_for_a_private_one() {
        for text in ["", "{}", "[]", "<Error/>", r#"{"Statement":"x"}"#, r#"{"Statement":[{"#] {
            assert!(divide(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_grant_to_everybody_is_seen() {
        let acl = |uri: &str| {
            let text = format!(
                "<AccessControlPolicy><AccessControlList><Grant><Grantee><URI>{uri}</URI></Grantee></Grant>\
                 </AccessControlList></AccessControlPolicy>"
            );
            acl_is_public(&xml::parse(text.as_bytes()).unwrap())
        };
        assert!(acl("http://acs.amazonaws.com/groups/global/AllUsers"));
        assert!(acl("http://acs.amazonaws.com/groups/global/AuthenticatedUsers"));
        assert!(!acl("http://acs.amazonaws.com/groups/s3/LogDelivery"));
    }
}
