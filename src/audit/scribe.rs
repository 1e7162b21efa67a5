//! The scribe: begins every event with its id and its instant. The log and its writer share one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use time::OffsetDateTime;

use super::tally::Told;
use super::{Door, Event, EventKind, FreezeFacts, RecordedEffect, Refused, StreamId, instant};
use crate::clock::{Clock, time_ordered_id};

#[derive(Debug)]
pub(super) struct Scribe {
    clock: Arc<dyn Clock>,
    rng: Mutex<StdRng>,
}

impl Scribe {
    pub(super) fn new(clock: Arc<dyn Clock>, rng: StdRng) -> Self {
        Self { clock, rng: Mutex::new(rng) }
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        instant::whole_microseconds(self.clock.now())
    }

    /// Time that never steps back.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// A stream that begins now.
    pub(super) fn stream(&self) -> StreamId {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        StreamId(time_ordered_id(self.clock.now(), &mut *rng))
    }

    /// An event said now, of which nothing more is known yet.
    pub(super) fn event(&self, kind: EventKind, effect: RecordedEffect, reason: &'static str) -> Event {
        let occurred_at = self.now();
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Event {
            id: time_ordered_id(occurred_at, &mut *rng),
            occurred_at,
            kind,
            effect,
            reason,
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

    /// Somebody with a valid signature was turned away.
    pub(super) fn refusal(&self, refused: Refused) -> Event {
        let Refused { request, identity, reason, policy_hash, freeze, obligation } = refused;
        let kind = match request.origin.door {
            Door::Sts | Door::Leases | Door::Container | Door::TokenExchange | Door::BreakGlass => {
                EventKind::ExchangeRefused
            }
            Door::Audit | Door::Desk | Door::Cli => EventKind::AuditRead,
        };
        Event {
            request: Some(request),
            identity: Some(identity),
            policy_hash,
            freeze: freeze.map(|id| FreezeFacts { id, frozen: None }),
            detail: obligation,
            ..self.event(kind, RecordedEffect::Deny, reason)
        }
    }

    /// Many refusals in one event.
    pub(super) fn told(&self, told: &Told) -> Event {
        let Told { reason, refusals, token } = told;
        let mut event = match token.as_deref().cloned() {
            Some(refused) => self.refusal(refused),
            None => self.event(EventKind::ExchangeRefused, RecordedEffect::Deny, reason),
        };
        // They came from more than one address: the network tells what they have in common.
        if let Some(request) = event.request.as_mut() {
            request.origin.address = None;
        }
        event.refusals = Some(*refusals);
        event
    }
}
