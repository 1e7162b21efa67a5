//! An event as the JSON object that `jsonb_to_recordset` turns into one row. Keys are column names; what an event does
//! not speak of has no key, and becomes null.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::{Event, Identity, KeyFingerprint, LeaseFacts, Origin, Position, Request, SequencedEvent};

/// One row on its way in.
#[derive(Debug, Serialize)]
pub(super) struct NewRow<'a> {
    stream: Uuid,
    seq: i64,
    id: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    occurred_at: OffsetDateTime,
    r#type: &'static str,
    effect: &'static str,
    reason: &'static str,
    #[serde(flatten)]
    request: Option<RequestColumns<'a>>,
    #[serde(flatten)]
    identity: Option<IdentityColumns<'a>>,
    role: Option<Text<'a>>,
    roles: Vec<Text<'a>>,
    matched_rule: Option<Text<'a>>,
    policy_hash: Option<Text<'a>>,
    #[serde(flatten)]
    lease: Option<LeaseColumns<'a>>,
    detail: Option<Text<'a>>,
}

#[derive(Debug, Serialize)]
struct RequestColumns<'a> {
    door: &'static str,
    address: Option<IpAddr>,
    request_id: Uuid,
    requested_role: Option<Text<'a>>,
    requested_seconds: Option<i64>,
    session_name: Option<Text<'a>>,
    token_sha256: Text<'a>,
}

#[derive(Debug, Serialize)]
struct IdentityColumns<'a> {
    issuer: Text<'a>,
    subject: Option<Text<'a>>,
    client: Option<Text<'a>>,
    groups: Vec<Text<'a>>,
    jti: Option<Text<'a>>,
}

#[derive(Debug, Serialize)]
struct LeaseColumns<'a> {
    lease_id: Uuid,
    role_session_name: Text<'a>,
    session_policy_sha256: Text<'a>,
    granted_seconds: i64,
    key_fingerprint: Option<Text<'a>>,
    #[serde(with = "time::serde::rfc3339::option")]
    ends_at: Option<OffsetDateTime>,
}

// Every event is taken apart without `..`: a new field does not compile until it has its column.

impl<'a> From<&'a SequencedEvent> for NewRow<'a> {
    fn from(SequencedEvent { position: Position { stream, seq }, event }: &'a SequencedEvent) -> Self {
        let Event {
            id,
            occurred_at,
            kind,
            effect,
            reason,
            request,
            identity,
            role,
            roles,
            matched_rule,
            policy_hash,
            lease,
            detail,
        } = event;
        Self {
            stream: stream.0,
            seq: bigint(*seq),
            id: *id,
            occurred_at: *occurred_at,
            r#type: kind.as_str(),
            effect: effect.as_str(),
            reason,
            request: request.as_ref().map(RequestColumns::from),
            identity: identity.as_ref().map(IdentityColumns::from),
            role: text(role.as_ref()),
            roles: texts(roles),
            matched_rule: text(matched_rule.as_ref()),
            policy_hash: text(policy_hash.as_ref()),
            lease: lease.as_ref().map(LeaseColumns::from),
            detail: text(detail.as_ref()),
        }
    }
}

impl<'a> From<&'a Request> for RequestColumns<'a> {
    fn from(request: &'a Request) -> Self {
        let Request { origin, requested_role, requested_seconds, session_name, token_sha256 } = request;
        let Origin { door, address, request_id } = origin;
        Self {
            door: door.as_str(),
            address: *address,
            request_id: *request_id,
            requested_role: text(requested_role.as_ref()),
            requested_seconds: requested_seconds.map(bigint),
            session_name: text(session_name.as_ref()),
            token_sha256: Text::from(token_sha256.as_str()),
        }
    }
}

impl<'a> From<&'a Identity> for IdentityColumns<'a> {
    fn from(Identity { issuer, subject, client, groups, jti }: &'a Identity) -> Self {
        Self {
            issuer: Text::from(issuer.as_str()),
            subject: text(subject.as_ref()),
            client: text(client.as_ref()),
            groups: texts(groups),
            jti: text(jti.as_ref()),
        }
    }
}

impl<'a> From<&'a LeaseFacts> for LeaseColumns<'a> {
    fn from(lease: &'a LeaseFacts) -> Self {
        let LeaseFacts { id, role_session_name, session_policy_sha256, granted_seconds, key_fingerprint, ends_at } =
            lease;
        Self {
            lease_id: id.as_uuid(),
            role_session_name: Text::from(role_session_name.as_str()),
            session_policy_sha256: Text::from(session_policy_sha256.as_str()),
            granted_seconds: bigint(*granted_seconds),
            key_fingerprint: key_fingerprint.as_ref().map(KeyFingerprint::as_str).map(Text::from),
            ends_at: *ends_at,
        }
    }
}

/// A text as PostgreSQL can hold it. It has no NUL, and one in a caller's claim would otherwise refuse the whole batch:
/// U+FFFD stands for it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct Text<'a>(Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        if text.contains('\0') {
            return Self(Cow::Owned(text.replace('\0', "\u{fffd}")));
        }
        Self(Cow::Borrowed(text))
    }
}

fn text(text: Option<&String>) -> Option<Text<'_>> {
    text.map(String::as_str).map(Text::from)
}

fn texts(texts: &[String]) -> Vec<Text<'_>> {
    texts.iter().map(String::as_str).map(Text::from).collect()
}

/// A number as `bigint` can hold it. Only a caller's own wish can be larger, and nobody gets it.
fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_in_a_claim_does_not_reach_the_database() {
        assert_eq!(Text::from("a\0b").0, "a\u{fffd}b");
        assert_eq!(Text::from("a\u{1}b").0, "a\u{1}b");
    }

    #[test]
    fn a_number_beyond_bigint_is_the_largest_bigint() {
        assert_eq!(bigint(u64::MAX), i64::MAX);
        assert_eq!(bigint(3600), 3600);
    }
}
