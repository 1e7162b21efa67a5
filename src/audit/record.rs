//! The record: an event with its place, flat, one member per column of `audit_event`. Serializing it makes its canonical
//! form (RFC 8785): members stand in the order of their names, absent ones have none, integers stay below 2^53. These
//! bytes are what a seal hashes, what an export holds, and what the database turns into a row.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::event::{Event, FreezeFacts, Identity, LeaseFacts, Origin, Orphan, Request};
use super::merkle::Digest;
use super::store::SequencedEvent;
use super::{KeyFingerprint, Position, StreamHead, instant};

/// Integers in canonical JSON are IEEE 754 doubles (RFC 8785 section 3.2.2.3): beyond this they would not be exact.
const LARGEST_INTEGER: i64 = (1 << 53) - 1;

/// One record. `T` is how text is held: `String` where it is kept, `&str` where it is only hashed.
///
/// A member added later must be absent from older records, or their seals no longer hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record<T> {
    /// Who had it done, where that is not the identity that the event is about: `issuer:subject`.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub actor: Option<T>,
    /// The caller's address.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// `azp` or `client_id`.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub client: Option<T>,
    /// How many refusals this one record stands for.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// The rest, for people.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub detail: Option<T>,
    /// The door.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub door: Option<T>,
    /// The decision.
    pub effect: T,
    /// The real end at the object server.
    #[serde(default = "none", skip_serializing_if = "Option::is_none", with = "instant::option")]
    pub ends_at: Option<OffsetDateTime>,
    /// The freeze of the installation that is set or lifted, or that refused.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub freeze_id: Option<Uuid>,
    /// The length asked of the object server, seconds.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub granted_seconds: Option<i64>,
    /// The groups in the token.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<T>,
    /// Heads of the streams before, in `stream.opened`: [`StreamHead`]'s spelling.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<T>,
    /// The event's id.
    pub id: Uuid,
    /// The issuer's configured name.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<T>,
    /// `jti`.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub jti: Option<T>,
    /// The keyed fingerprint of the access key id, hex.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<T>,
    /// The key that seals the stream, in `stream.opened`, hex.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub key_id: Option<T>,
    /// The lease.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub lease_id: Option<Uuid>,
    /// The rules that matched.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub matched_rule: Option<T>,
    /// The network that aggregated refusals came from: `203.0.113.0/24`.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub network: Option<T>,
    /// When it was said, by the clock of the service.
    #[serde(with = "instant")]
    pub occurred_at: OffsetDateTime,
    /// The keyed fingerprint of the parent's access key id, hex.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub parent_fingerprint: Option<T>,
    /// Hash of the policy set, hex.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<T>,
    /// The stable reason code.
    pub reason: T,
    /// From the revocation to the first refusal by the object server, milliseconds.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub refused_after_ms: Option<i64>,
    /// The request id that the answer carried.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// The role asked for.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub requested_role: Option<T>,
    /// The length asked for, seconds.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub requested_seconds: Option<i64>,
    /// The role granted, or `any`.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub role: Option<T>,
    /// The name the object server sees.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub role_session_name: Option<T>,
    /// Every role combined into the grant.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<T>,
    /// Place in the stream.
    pub seq: i64,
    /// The caller's own session name.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub session_name: Option<T>,
    /// SHA-256 of the session policy that was sent, hex.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub session_policy_sha256: Option<T>,
    /// The stream.
    pub stream: Uuid,
    /// `sub`.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub subject: Option<T>,
    /// SHA-256 of the token, hex.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<T>,
    /// What happened: [`super::EventKind::as_str`].
    #[serde(rename = "type")]
    pub kind: T,
}

/// A record as it is read from the database.
pub type AuditRow = Record<String>;

fn none<T>() -> Option<T> {
    None
}

impl<T: Serialize> Record<T> {
    /// Appends the canonical form.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        // Writing to memory a shape without maps or floats cannot fail.
        let _ = serde_json::to_writer(out, self);
    }

    /// The canonical form.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        self.write_canonical(&mut out);
        out
    }

    /// The hash that a seal holds of it.
    #[must_use]
    pub fn leaf(&self) -> Digest {
        Digest::of_leaf(&self.canonical())
    }
}

// Every event is taken apart without `..`: a new field does not compile until it has its column.
impl<'a> From<&'a SequencedEvent> for Record<Cow<'a, str>> {
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
            refusals,
            heads,
            key_id,
            detail,
            actor,
            orphan,
            refused_after,
            freeze,
        } = event;
        let mut record = Self {
            actor: text(actor.as_ref()),
            address: None,
            client: None,
            count: None,
            detail: text(detail.as_ref()),
            door: None,
            effect: effect.as_str().into(),
            ends_at: None,
            freeze_id: freeze.as_ref().map(|freeze| freeze.id.as_uuid()),
            granted_seconds: None,
            groups: Vec::new(),
            heads: heads.iter().map(StreamHead::to_string).map(Cow::Owned).collect(),
            id: *id,
            issuer: None,
            jti: None,
            key_fingerprint: None,
            key_id: key_id.map(|key| key.to_hex().into()),
            lease_id: None,
            matched_rule: text(matched_rule.as_ref()),
            network: None,
            occurred_at: instant::whole_microseconds(*occurred_at),
            parent_fingerprint: None,
            policy_hash: text(policy_hash.as_ref()),
            reason: (*reason).into(),
            refused_after_ms: refused_after.map(|after| integer(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))),
            request_id: None,
            requested_role: None,
            requested_seconds: None,
            role: text(role.as_ref()),
            role_session_name: None,
            roles: texts(roles),
            seq: integer(*seq),
            session_name: None,
            session_policy_sha256: None,
            stream: stream.0,
            subject: None,
            token_sha256: None,
            kind: kind.as_str().into(),
        };
        if let Some(Request { origin, requested_role, requested_seconds, session_name, token_sha256 }) = request {
            let Origin { door, address, request_id } = origin;
            record.door = Some(door.as_str().into());
            record.address = *address;
            record.request_id = Some(*request_id);
            record.requested_role = text(requested_role.as_ref());
            record.requested_seconds = requested_seconds.map(integer);
            record.session_name = text(session_name.as_ref());
            record.token_sha256 = token_sha256.as_deref().map(storable);
        }
        if let Some(Identity { issuer, subject, client, groups, jti }) = identity {
            record.issuer = Some(storable(issuer));
            record.subject = text(subject.as_ref());
            record.client = text(client.as_ref());
            record.groups = texts(groups);
            record.jti = text(jti.as_ref());
        }
        if let Some(lease) = lease {
            let LeaseFacts {
                id,
                role_session_name,
                session_policy_sha256,
                session_policy: _kept_beside,
                granted_seconds,
                parent,
                key_fingerprint,
                ends_at,
            } = lease;
            record.lease_id = Some(id.as_uuid());
            record.role_session_name = Some(storable(role_session_name));
            record.session_policy_sha256 = Some(storable(session_policy_sha256));
            record.granted_seconds = Some(integer(*granted_seconds));
            record.parent_fingerprint = parent.as_ref().map(KeyFingerprint::as_str).map(storable);
            record.key_fingerprint = key_fingerprint.as_ref().map(KeyFingerprint::as_str).map(storable);
            record.ends_at = ends_at.map(instant::whole_microseconds);
        }
        if let Some(Orphan { key_fingerprint, parent, ends_at, lease, why: _the_reason }) = orphan {
            record.key_fingerprint = Some(storable(key_fingerprint.as_str()));
            record.parent_fingerprint = Some(storable(parent.as_str()));
            record.ends_at = ends_at.map(instant::whole_microseconds);
            record.lease_id = lease.map(|lease| lease.as_uuid());
        }
        if let Some(FreezeFacts { id: _set_above, frozen: Some(frozen) }) = freeze {
            let parts = frozen.parts();
            record.issuer = parts.issuer.map(storable);
            record.subject = parts.subject.map(storable);
            record.client = parts.client.map(storable);
            record.groups = parts.group.map(storable).into_iter().collect();
            record.role = parts.role.map(storable);
        }
        if let Some(refusals) = refusals {
            record.count = Some(integer(refusals.count));
            record.network = refusals.network.map(|network| network.to_string().into());
        }
        record
    }
}

fn text(text: Option<&String>) -> Option<Cow<'_, str>> {
    text.map(String::as_str).map(storable)
}

fn texts(texts: &[String]) -> Vec<Cow<'_, str>> {
    texts.iter().map(String::as_str).map(storable).collect()
}

/// A text as PostgreSQL can hold it. It has no NUL, and one in a caller's claim would otherwise refuse the whole batch:
/// U+FFFD stands for it.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// A number as canonical JSON can hold it. Only a caller's own wish can be larger, and nobody gets it.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(LARGEST_INTEGER).min(LARGEST_INTEGER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_in_a_claim_does_not_reach_the_database() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert_eq!(storable("a\u{1}b"), "a\u{1}b");
    }

    #[test]
    fn a_number_beyond_what_json_holds_exactly_is_the_largest_it_does() {
        assert_eq!(integer(u64::MAX), LARGEST_INTEGER);
        assert_eq!(integer(3600), 3600);
    }
}
