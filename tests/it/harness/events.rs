//! Events for the log: one with every field set, one with none.

use std::time::Duration;

use stint::audit::{
    Digest, Door, Event, EventKind, FingerprintKey, FreezeFacts, Identity, LeaseFacts, Origin, RecordedEffect,
    Refusals, Request, StreamHead, StreamId,
};
use stint::lease::{FreezeId, LeaseId};
use time::OffsetDateTime;
use uuid::Uuid;

fn instant(nanos: i128) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap()
}

/// An event with every field set.
pub(crate) fn whole_event() -> Event {
    Event {
        id: Uuid::now_v7(),
        occurred_at: instant(1_790_000_000_123_456_000),
        kind: EventKind::LeaseIssued,
        effect: RecordedEffect::Allow,
        reason: "granted",
        request: Some(request()),
        identity: Some(Identity {
            issuer: "authentik".to_owned(),
            subject: Some("ünïcode \"quoted\" \\ 'sub'".to_owned()),
            client: Some("studio-rclone".to_owned()),
            groups: vec!["authentik Admins".to_owned(), "a,b{c}\"".to_owned()],
            jti: Some("j-1".to_owned()),
        }),
        role: Some("any".to_owned()),
        roles: vec!["studio".to_owned(), "viewer".to_owned()],
        matched_rule: Some("roles/studio.toml#allow[0]".to_owned()),
        policy_hash: Some("ab".repeat(32)),
        lease: Some(LeaseFacts {
            id: LeaseId::from_uuid(Uuid::now_v7()),
            role_session_name: "studio-0123".to_owned(),
            session_policy_sha256: "cd".repeat(32),
            session_policy: None,
            granted_seconds: 3_541,
            parent: Some(FingerprintKey::derive(b"test").fingerprint("PARENT")),
            key_fingerprint: Some(FingerprintKey::derive(b"test").fingerprint("AKIATEST")),
            ends_at: Some(instant(1_790_003_541_000_001_000)),
        }),
        refusals: Some(Refusals { count: 3, network: Some("2001:db8::/48".parse().unwrap()) }),
        heads: vec![head()],
        key_id: Some(Digest::of(b"key")),
        detail: Some("for people".to_owned()),
        actor: Some("authentik:ada".to_owned()),
        orphan: None,
        refused_after: Some(Duration::from_millis(1_250)),
        freeze: Some(FreezeFacts { id: FreezeId::from_uuid(Uuid::from_u128(7)), frozen: None }),
    }
}

fn head() -> StreamHead {
    StreamHead { stream: StreamId(Uuid::now_v7()), number: 3, last_seq: 41, hash: Digest::of(b"seal") }
}

pub(crate) fn request() -> Request {
    Request {
        origin: Origin {
            door: Door::Leases,
            address: Some("2001:db8::7".parse().unwrap()),
            request_id: Uuid::now_v7(),
        },
        requested_role: Some("studio".to_owned()),
        requested_seconds: Some(7_200),
        session_name: Some("botocore-session-1".to_owned()),
        token_sha256: Some("ef".repeat(32)),
    }
}

pub(crate) fn bare_event() -> Event {
    Event {
        id: Uuid::now_v7(),
        occurred_at: instant(1_790_000_000_000_000_000),
        kind: EventKind::PolicyLoaded,
        effect: RecordedEffect::NotApplicable,
        reason: "loaded",
        request: None,
        identity: None,
        role: None,
        roles: Vec::new(),
        matched_rule: None,
        policy_hash: None,
        lease: None,
        refusals: None,
        heads: Vec::new(),
        key_id: None,
        detail: None,
        actor: None,
        orphan: None,
        refused_after: None,
        freeze: None,
    }
}

/// A whole event of another kind.
pub(crate) fn event_of(kind: EventKind, reason: &'static str) -> Event {
    Event { kind, reason, ..whole_event() }
}
