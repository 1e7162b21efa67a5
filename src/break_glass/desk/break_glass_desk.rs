//! The desk and what it is made of: whichever way the service started, with PostgreSQL or without, it is this one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::rngs::StdRng;
use time::OffsetDateTime;
use tokio::sync::Mutex as Turn;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use super::burns::Burns;
use super::held::HeldEmergencies;
use super::log::EmergencyLog;
use super::port::{EmergencyJournal, EmergencyRecord};
use super::rate::{DocumentRate, Payer};
use super::refusal::BreakGlassRefusal;
use super::refusals::Refusals;
use super::state::EmergencyState;
use crate::audit::{AuditError, Emergency, EmergencyContext, EmergencyFacts, FingerprintKey, Origin};
use crate::break_glass::ceremony::{Envelope, verified_signers};
use crate::break_glass::watch::{Alert, AlertKind, Alerts, Conditions};
use crate::clock::Clock;
use crate::desk::SessionProbe;
use crate::lease::LeaseId;
use crate::object_server::{ObjectServer, SelfTest};
use crate::policy::{PolicySet, RoleName};

/// How long the shared log may take to say what it knows, or to take the journal: an emergency does not wait for it.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an answer of the status is good for: anybody may ask, as often as they like.
const FRESH: Duration = Duration::from_secs(1);

/// What holders of emergency credentials, and their reviewers, must know of the object server.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// The S3 endpoint.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// How its own log tells what a session did.
    pub accesses: &'static str,
    /// The roles that have a parent key of their own: one that was used in an emergency is to be rotated.
    pub own_parents: BTreeSet<RoleName>,
}

impl ServerFacts {
    /// What to do about the parent key of a role that was used in an emergency, where it has one of its own.
    #[must_use]
    pub fn rotation(&self, role: &str) -> Option<String> {
        let own = self.own_parents.iter().any(|own| own.as_str() == role);
        own.then(|| format!("stint object-server rotate --role {role} --into NEW_DIRECTORY"))
    }
}

/// What the desk is made of. Nothing in it needs PostgreSQL to be there.
#[derive(Debug)]
pub struct BreakGlassParts {
    /// The policies in force.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// This instance's journal.
    pub journal: Arc<dyn EmergencyJournal>,
    /// The log over it.
    pub log: Arc<EmergencyLog>,
    /// What all instances know together.
    pub record: Arc<dyn EmergencyRecord>,
    /// Whether there is an emergency.
    pub conditions: Arc<Conditions>,
    /// Who is told.
    pub alerts: Arc<Alerts>,
    /// What mints.
    pub object_server: Arc<dyn ObjectServer>,
    /// What is told of it.
    pub server: ServerFacts,
    /// Tries the credential of a drill.
    pub self_test: Arc<SelfTest>,
    /// Asks S3 with a credential until it is refused.
    pub probe: Arc<dyn SessionProbe>,
    /// What is out.
    pub held: Arc<HeldEmergencies>,
    /// Makes fingerprints of access keys: the key of the log's.
    pub fingerprints: FingerprintKey,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids of leases.
    pub rng: Mutex<StdRng>,
    /// Where uses run: one goes on when its caller hangs up, and a drain waits for it.
    pub tasks: TaskTracker,
}

/// The use case.
#[derive(Debug, Clone)]
pub struct BreakGlassDesk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: BreakGlassParts,
    /// One document at a time: two could each find the nonce free, or the review closed.
    turn: Turn<()>,
    refusals: Refusals,
    rate: DocumentRate,
    burns: Burns,
    seen: Turn<Option<(Duration, Knowledge)>>,
}

/// Everything that is known now.
#[derive(Debug, Clone)]
pub struct Knowledge {
    /// What the rows come to.
    pub state: Arc<EmergencyState>,
    /// Whether the shared log's rows are among them.
    pub shared: bool,
}

impl BreakGlassDesk {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: BreakGlassParts) -> Self {
        let rate = DocumentRate::new(&parts.clock);
        let (turn, refusals, seen) = (Turn::default(), Refusals::default(), Turn::default());
        let inner = Inner { parts, turn, refusals, rate, burns: Burns::default(), seen };
        Self { inner: Arc::new(inner) }
    }

    /// What it is made of.
    pub(super) fn parts(&self) -> &BreakGlassParts {
        &self.inner.parts
    }

    pub(super) fn turn(&self) -> &Turn<()> {
        &self.inner.turn
    }

    /// Reads what was submitted, and charges it, before it waits for its turn.
    pub(super) fn admit_bytes(&self, bytes: &[u8], origin: Origin) -> Result<Envelope, BreakGlassRefusal> {
        let policies = self.parts().policies.load_full();
        let policy = policies.break_glass().ok_or(BreakGlassRefusal::NotConfigured)?;
        let stranger = || self.inner.rate.take(&Payer::stranger(origin.address));
        let envelope = match Envelope::parse(bytes) {
            Ok(envelope) => envelope,
            Err(error) => return Err(stranger().err().unwrap_or(error.into())),
        };
        if verified_signers(&envelope, policy).is_empty() {
            stranger()?;
        } else {
            self.inner.rate.take(&Payer::Document(envelope.document().digest().to_hex()))?;
        }
        Ok(envelope)
    }

    /// Runs on a task of its own: what was begun goes on when its caller hangs up, and a drain waits for it.
    pub(super) async fn see_through<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, BreakGlassRefusal>> + Send + 'static,
    ) -> Result<T, BreakGlassRefusal> {
        let ended = self.parts().tasks.spawn(work.in_current_span()).await;
        ended.unwrap_or(Err(BreakGlassRefusal::Audit(AuditError::Unavailable)))
    }

    pub(super) fn burns(&self) -> &Burns {
        &self.inner.burns
    }

    pub(super) fn refusals(&self) -> &Refusals {
        &self.inner.refusals
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.parts().clock.now()
    }

    /// Everything that is known, read now: what a decision goes by.
    pub(super) async fn know(&self) -> Result<Knowledge, BreakGlassRefusal> {
        let journal = self.parts().journal.rows().await.map_err(|error| {
            tracing::error!(%error, "the journal cannot be read: no nonce can be told to be free");
            BreakGlassRefusal::StateUnknown
        })?;
        let shared = timeout(PATIENCE, self.parts().record.rows()).await.ok().and_then(Result::ok);
        let state = EmergencyState::of(&journal, shared.as_deref().unwrap_or_default());
        Ok(Knowledge { state: Arc::new(state), shared: shared.is_some() })
    }

    /// The same, at most a second old: what is shown and watched.
    pub async fn look(&self) -> Result<Knowledge, BreakGlassRefusal> {
        let mut seen = self.inner.seen.lock().await;
        let now = self.parts().clock.elapsed();
        match seen.as_ref() {
            Some((at, knowledge)) if now.saturating_sub(*at) < FRESH => Ok(knowledge.clone()),
            Some(_) | None => {
                let knowledge = self.know().await?;
                *seen = Some((self.parts().clock.elapsed(), knowledge.clone()));
                Ok(knowledge)
            }
        }
    }

    /// Puts it on record in the journal, and tells the alert's receivers. The shared log has it as soon as it answers.
    pub(super) async fn say(
        &self,
        what: Emergency,
        reason: &'static str,
        facts: &EmergencyFacts,
        context: EmergencyContext<'_>,
    ) -> Result<Uuid, AuditError> {
        let event = self.parts().log.open()?.emergency(what, reason, facts, context).await?;
        self.alert(what, reason, facts);
        self.recorded().await;
        Ok(event)
    }

    /// What was said is known from here on, and handed on as soon as the shared log takes it.
    async fn recorded(&self) {
        *self.inner.seen.lock().await = None;
        let desk = self.clone();
        self.parts().tasks.spawn(async move { desk.hand_on().await }.in_current_span());
    }

    /// Hands the journal on, if the shared log takes it in time. Whether it did.
    pub(super) async fn hand_on(&self) -> bool {
        matches!(timeout(PATIENCE, self.parts().journal.merge()).await, Ok(Ok(())))
    }

    /// Ends the journal's stream in good order, once what is under way has said everything.
    pub async fn close(&self) {
        let _turn = self.inner.turn.lock().await;
        self.parts().log.close();
    }

    fn alert(&self, what: Emergency, reason: &'static str, facts: &EmergencyFacts) {
        self.parts().alerts.raise(Alert {
            incident: facts.incident.clone(),
            nonce: facts.nonce,
            role: facts.role.clone(),
            requester: facts.requester.clone(),
            signers: facts.signers.clone(),
            lease_id: facts.lease.map(LeaseId::from_uuid),
            conditions: facts.conditions.iter().cloned().collect(),
            reason: Some(reason.to_owned()),
            journal_head: self.parts().journal.head(),
            ..Alert::of(AlertKind::Recorded(what))
        });
        if what == Emergency::Granted && facts.overrides.is_some() {
            self.parts().alerts.raise(Alert {
                incident: facts.incident.clone(),
                nonce: facts.overrides,
                requester: facts.requester.clone(),
                signers: facts.signers.clone(),
                reason: Some("a use was granted although the review of this one is open".to_owned()),
                ..Alert::of(AlertKind::Overridden)
            });
        }
    }
}
