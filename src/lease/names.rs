//! Names a lease is known by.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

use crate::token::Subject;

/// The lease's id: a version 7 UUID, so that ids sort by time of issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct LeaseId(Uuid);

impl LeaseId {
    /// Takes an id made by the plan, or read back from a row.
    #[must_use]
    pub fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The id.
    #[must_use]
    pub fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The session name the object server sees: the subject and the lease id, at most 64 characters of
/// `A-Za-z0-9_=,.@-` (Ceph refuses `+`, which AWS would allow). Chosen here, never by the caller: it is what joins an
/// access log of the server to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSessionName(String);

impl RoleSessionName {
    /// `<subject, cut to 31 characters>-<32 hex digits of the lease id>`. A character outside the set becomes `_`.
    #[must_use]
    pub fn new(subject: &Subject, lease: LeaseId) -> Self {
        let subject: String = subject
            .as_str()
            .chars()
            .take(31)
            .map(|c| if c.is_ascii_alphanumeric() || "_=,.@-".contains(c) { c } else { '_' })
            .collect();
        Self(format!("{subject}-{}", lease.as_uuid().simple()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The role that is assumed at a server that has roles: `arn:aws:iam::<account>:role/<name>`, the account empty at Ceph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleArn(String);

impl RoleArn {
    /// Accepts `arn:<partition>:iam::<account or nothing>:role/<path and name>`, at most 2,048 characters of visible
    /// ASCII.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let arn = parts.next() == Some("arn");
        let partition = parts.next().is_some_and(|partition| !partition.is_empty());
        let iam = parts.next() == Some("iam");
        let region = parts.next() == Some("");
        let account =
            parts.next().is_some_and(|account| account.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        let name = parts.next().and_then(|resource| resource.strip_prefix("role/"));
        let named = name.is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@/-".contains(&b))
        });
        (arn && partition && iam && region && account && named && text.len() <= 2048).then(|| Self(text.to_owned()))
    }

    /// The ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_role_session_name_always_fits_the_strictest_server(subject in "\\PC{1,255}", id: u128) {
            prop_assume!(subject.len() <= 255);
            let subject = Subject::parse(&subject).unwrap();
            let lease = LeaseId::from_uuid(Uuid::from_u128(id));
            let name = RoleSessionName::new(&subject, lease);
            prop_assert!((2..=64).contains(&name.as_str().len()));
            prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"_=,.@-".contains(&b)));
            prop_assert!(name.as_str().ends_with(&lease.as_uuid().simple().to_string()));
        }
    }

    #[test]
    fn a_role_is_named_in_full() {
        for good in [
            "arn:aws:iam::123456789012:role/vend",
            "arn:aws:iam:::role/broker",
            "arn:aws:iam::tenant_1:role/team/broker",
            "arn:aws-cn:iam::123456789012:role/a+b=c,d.e@f-g_h",
        ] {
            assert_eq!(RoleArn::parse(good).map(|arn| arn.as_str().to_owned()).as_deref(), Some(good));
        }
        for bad in [
            "",
            "broker",
            "role/broker",
            "arn:aws:iam:::role/",
            "arn:aws:iam:::user/minter",
            "arn:aws:iam::123456789012:vend",
            "arn:aws:iam:eu:1:role/vend",
            "arn:aws:sts::1:assumed-role/vend/x",
            "arn:aws:iam:::role/a b",
            "arn:aws:iam:::role/a\n",
            "arn:aws:iam:::role/*",
        ] {
            assert_eq!(RoleArn::parse(bad), None, "{bad}");
        }
        assert_eq!(RoleArn::parse(&format!("arn:aws:iam:::role/{}", "x".repeat(2048))), None);
    }
}
