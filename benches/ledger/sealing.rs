//! What sealing costs, measured by itself on records of the shape that exchanges make: the canonical form and the leaf hash
//! of each event, the Merkle root and the signature of each commit. The share of a run follows from how many of both it
//! made and how much processor time it took: the sealing cannot be switched off, so it is not measured by its absence.

use std::hint::black_box;
use std::time::{Duration, Instant};

use stint::audit::{
    Chain, Digest, Door, Event, EventKind, FingerprintKey, Identity, LeaseFacts, Origin, Position, Record,
    RecordedEffect, Request, Seal, SequencedEvent, SigningKey, StreamId,
};
use stint::lease::LeaseId;
use time::macros::datetime;
use uuid::Uuid;

const ROUNDS: u32 = 20_000;

/// Time on one core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SealingCost {
    /// Writing one record in its canonical form: the store needs these bytes also without seals.
    pub(crate) canonical: Duration,
    /// Hashing one record, and its part of the Merkle tree.
    pub(crate) hash: Duration,
    /// Making and signing the statement of one commit.
    pub(crate) sign: Duration,
}

impl SealingCost {
    /// Measures it, on one thread, in the best of five rounds: others share the machine.
    pub(crate) fn measure() -> Self {
        let event =
            SequencedEvent { position: Position { stream: StreamId(Uuid::from_u128(7)), seq: 1 }, event: issued() };
        let bytes = Record::from(&event).canonical();
        let leaves = vec![Digest::of_leaf(&bytes); 64];
        let (key, chain) = (SigningKey::generate().expect("a key"), Chain::start(StreamId(Uuid::from_u128(7))));
        let at = event.event.occurred_at;
        let node = best(|| {
            for _ in 0..ROUNDS / 64 {
                black_box(stint::audit::merkle::root(black_box(&leaves)));
            }
        });
        let leaf = vec![leaves[0]];
        Self {
            canonical: best(|| {
                for _ in 0..ROUNDS {
                    black_box(Record::from(black_box(&event)).canonical());
                }
            }),
            hash: node
                + best(|| {
                    for _ in 0..ROUNDS {
                        black_box(Digest::of_leaf(black_box(&bytes)));
                    }
                }),
            sign: best(|| {
                for _ in 0..ROUNDS {
                    black_box(Seal::make(black_box(&chain), leaf.clone(), at, &key).hash());
                }
            }),
        }
    }

    /// What so many events in so many commits cost without the canonical form.
    pub(crate) fn seals(&self, events: u64, commits: u64) -> Duration {
        times(self.hash, events) + times(self.sign, commits)
    }

    /// The same with it.
    pub(crate) fn whole(&self, events: u64, commits: u64) -> Duration {
        self.seals(events, commits) + times(self.canonical, events)
    }
}

/// The shortest of five goes, divided by [`ROUNDS`].
fn best(mut work: impl FnMut()) -> Duration {
    let go = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    (0..5).map(go).min().unwrap_or_default() / ROUNDS
}

fn times(cost: Duration, count: u64) -> Duration {
    cost.mul_f64(count as f64)
}

/// The longest kind of event.
fn issued() -> Event {
    let occurred_at = datetime!(2026-11-22 03:00:00.123456 UTC);
    Event {
        id: Uuid::from_u128(1),
        occurred_at,
        kind: EventKind::LeaseIssued,
        effect: RecordedEffect::Allow,
        reason: "granted",
        request: Some(Request {
            origin: Origin { door: Door::Sts, address: "10.0.8.1".parse().ok(), request_id: Uuid::from_u128(2) },
            requested_role: Some("any".to_owned()),
            requested_seconds: Some(3_600),
            session_name: Some("botocore-session-1790000000".to_owned()),
            token_sha256: Some("ef".repeat(32)),
        }),
        identity: Some(Identity {
            issuer: "authentik".to_owned(),
            subject: Some("ab".repeat(32)),
            client: Some("livekit-egress".to_owned()),
            groups: vec!["egress-write".to_owned()],
            jti: Some("cd".repeat(16)),
        }),
        role: Some("livekit-egress".to_owned()),
        roles: vec!["livekit-egress".to_owned()],
        matched_rule: Some("roles/livekit-egress.toml#allow[0]".to_owned()),
        policy_hash: Some("ab".repeat(32)),
        lease: Some(LeaseFacts {
            id: LeaseId::from_uuid(Uuid::from_u128(3)),
            role_session_name: "a".repeat(64),
            session_policy_sha256: "cd".repeat(32),
            session_policy: None,
            granted_seconds: 3_541,
            parent: None,
            key_fingerprint: Some(FingerprintKey::derive(b"bench").fingerprint("AKIABENCH")),
            ends_at: Some(occurred_at),
        }),
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
