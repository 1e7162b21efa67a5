//! The use of the glass, on one page: signed documents in, sealed credentials out.
//!
//! approve → admit (instance, nonce, review, emergency) → the object server is there → plan → claim the nonce on the journal →
//! the intent → mint → seal → the outcome, the grant and the review on the journal → handed on where the shared log answers →
//! answer. Whatever stops it before the claim uses nothing up.

use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

use super::admit::{Admitted, Known, admit};
use super::break_glass_desk::BreakGlassDesk;
use super::mint::Claim;
use super::refusal::BreakGlassRefusal;
use super::state::OWNED_ELSEWHERE;
use crate::audit::{Emergency, EmergencyContext, EmergencyFacts, Origin, StreamHead, instant};
use crate::break_glass::ceremony::{ApprovedRequest, Document, Envelope, UseKind, approve_request, verified_signers};
use crate::lease::{AssumeRole, LeaseError, plan_emergency};
use crate::object_server::ObjectServerError;
use crate::policy::{BreakGlass, CustodianName, PolicySet};
use crate::token::Subject;

/// How long the object server may take to say that it is there.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// What a quorum is answered. What it sealed opens for the recipient alone.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Granted {
    /// The credentials, as a JWE (RFC 7516, compact) for the recipient that the custodians signed.
    pub sealed: String,
    /// The lease.
    pub lease_id: Uuid,
    /// Its end. It is never renewed.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub expiration: OffsetDateTime,
    /// What this instance saw of the emergency: `declared`, `drill`, or each condition that holds, with its since.
    pub conditions: Vec<String>,
    /// What the reviewers need, and what they will be asked for.
    pub review: ReviewDue,
    /// Where the journal stands: keep it, it is a witness.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Whether the shared log has it already.
    pub merged: bool,
}

/// What a review of this use goes by.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ReviewDue {
    /// The use: the nonce of its request.
    pub r#use: Uuid,
    /// False for a drill.
    pub required: bool,
    /// The name the object server's own log has for the session.
    pub session_name: String,
    /// The keyed fingerprint of its access key id.
    pub key_fingerprint: String,
    /// How to find there what was done.
    pub accesses: String,
    /// The parent key that is to be rotated after this use, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate: Option<String>,
    /// The use whose open review was overridden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Uuid>,
}

impl BreakGlassDesk {
    /// Honours a request, or refuses it. It goes on when its caller hangs up.
    pub async fn submit(&self, envelope: &[u8], origin: Origin) -> Result<Granted, BreakGlassRefusal> {
        let (desk, envelope) = (self.clone(), envelope.to_vec());
        self.see_through(async move { desk.honour(&envelope, origin).await }).await
    }

    async fn honour(&self, envelope: &[u8], origin: Origin) -> Result<Granted, BreakGlassRefusal> {
        let envelope = self.admit_bytes(envelope, origin)?;
        let _turn = self.turn().lock().await;
        // Read after the wait: a custodian who was taken out meanwhile counts no more.
        let policies = self.parts().policies.load_full();
        let policy = policies.break_glass().ok_or(BreakGlassRefusal::NotConfigured)?;
        let granted = self.honour_in_turn(&envelope, &policies, policy, origin).await;
        if let Err(refusal) = &granted {
            self.turn_away(&envelope, policy, refusal, origin).await;
        }
        granted
    }

    async fn honour_in_turn(
        &self,
        envelope: &Envelope,
        policies: &PolicySet,
        policy: &BreakGlass,
        origin: Origin,
    ) -> Result<Granted, BreakGlassRefusal> {
        let now = self.now();
        let approved = approve_request(envelope, policy, policies.hash(), now)?;
        let known = self.know().await?;
        let admitted = admit(
            approved.document(),
            Known {
                conditions: policy.conditions(),
                state: &known.state,
                shared: known.shared,
                instance: self.parts().journal.instance(),
                judged: self.parts().conditions.judged(policy.minimum_outage()),
                now,
            },
        )?;
        self.object_server_is_there().await?;
        let assume_role = self.plan(&approved)?;
        let policy_hash = policies.hash().to_hex();
        let facts = facts(&approved, &admitted);
        self.claim(&approved, &facts, &policy_hash, origin).await?;
        let drill_bucket = (approved.document().kind() == UseKind::Drill).then(|| policy.drill().bucket());
        self.mint_on_record(Claim { approved: &approved, facts, assume_role, policy_hash, origin, drill_bucket }).await
    }

    /// Asked before anything is claimed: an object server that is down as well must not use up what custodians signed.
    async fn object_server_is_there(&self) -> Result<(), BreakGlassRefusal> {
        match timeout(PATIENCE, self.parts().object_server.ready()).await {
            Ok(ready) => ready.map_err(BreakGlassRefusal::ObjectServer),
            Err(_elapsed) => Err(BreakGlassRefusal::ObjectServer(ObjectServerError::Interrupted(None))),
        }
    }

    fn plan(&self, approved: &ApprovedRequest) -> Result<AssumeRole, BreakGlassRefusal> {
        let (document, role) = (approved.document(), approved.role());
        let parts = self.parts();
        let parent = parts.object_server.parents().choose(std::slice::from_ref(role.name()))?;
        let subject = subject(document.requester())?;
        let mut rng = parts.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let capabilities = parts.object_server.capabilities();
        let planned =
            plan_emergency(role.document(), &subject, document.length(), capabilities, self.now(), &mut *rng)?;
        Ok(planned.under(parent))
    }

    /// Takes the nonce: on the journal, and where the request names no instance also in the shared log, where the first to come
    /// owns it.
    async fn claim(
        &self,
        approved: &ApprovedRequest,
        facts: &EmergencyFacts,
        policy_hash: &str,
        origin: Origin,
    ) -> Result<(), BreakGlassRefusal> {
        let document = approved.document();
        let context =
            EmergencyContext { origin: Some(origin), policy_hash: Some(policy_hash), ..EmergencyContext::default() };
        let reason = document.kind().as_str();
        if document.instance().is_some() {
            self.say(Emergency::Requested, reason, facts, context).await?;
            return Ok(());
        }
        // What waits in the journal goes first: nothing of this use may be claimed that cannot be handed on.
        if !self.hand_on().await {
            return Err(BreakGlassRefusal::NeedsSharedLog);
        }
        let event = self.say(Emergency::Requested, reason, facts, context).await?;
        let owner = if self.hand_on().await {
            self.parts().record.owner(document.nonce().uuid()).await.ok().flatten()
        } else {
            None
        };
        match owner {
            Some(owner) if owner == event => Ok(()),
            Some(_) => Err(BreakGlassRefusal::NonceOwnedElsewhere),
            // The claim is on the journal, and nothing was minted.
            None => {
                self.free(facts, "shared_log_away", origin).await;
                Err(BreakGlassRefusal::NeedsSharedLog)
            }
        }
    }

    /// Says that nothing was minted under a claim, so that the same request may be submitted again. Where that cannot be said
    /// the nonce stays used.
    pub(super) async fn free(&self, facts: &EmergencyFacts, reason: &'static str, origin: Origin) {
        let context = EmergencyContext { origin: Some(origin), ..EmergencyContext::default() };
        if let Err(error) = self.say(Emergency::Failed, reason, facts, context).await {
            tracing::error!(nonce = ?facts.nonce, %error, "that a use came to nothing is not on record: its request is used up");
        }
    }

    /// A refusal is on record if one custodian's signature held: anybody can send junk.
    pub(super) async fn turn_away(
        &self,
        envelope: &Envelope,
        policy: &BreakGlass,
        refusal: &BreakGlassRefusal,
        origin: Origin,
    ) {
        let reason = refusal.code();
        let signers = verified_signers(envelope, policy);
        let digest = envelope.document().digest().to_hex();
        tracing::warn!(reason, cause = %refusal, signers = signers.len(), "break-glass refused");
        // That it came second is always said: it takes its claim back.
        let always = reason == OWNED_ELSEWHERE;
        if signers.is_empty() || (!always && !self.refusals().is_news(&digest, reason, self.parts().clock.elapsed())) {
            return;
        }
        let facts = EmergencyFacts { signers: names(&signers), ..facts_of(envelope.document()) };
        let context = EmergencyContext { origin: Some(origin), ..EmergencyContext::default() };
        if let Err(error) = self.say(Emergency::Refused, reason, &facts, context).await {
            tracing::error!(%error, "a refusal is not on record");
        }
    }

    /// Where the journal stands, in its spelling.
    pub(super) fn receipt(&self) -> Option<String> {
        self.parts().journal.head().as_ref().map(StreamHead::to_string)
    }
}

fn facts(approved: &ApprovedRequest, admitted: &Admitted) -> EmergencyFacts {
    let document = approved.document();
    EmergencyFacts {
        conditions: Some(admitted.conditions.join("; ")),
        overrides: admitted.overrides,
        signers: names(&approved.signers()),
        ..facts_of(&Document::Request(document.clone()))
    }
}

/// What a document says of itself.
fn facts_of(document: &Document) -> EmergencyFacts {
    match document {
        Document::Request(request) => EmergencyFacts {
            incident: Some(request.incident().to_owned()),
            instance: request.instance(),
            kind: Some(request.kind().as_str().to_owned()),
            nonce: Some(request.nonce().uuid()),
            reason: Some(request.reason().to_owned()),
            requester: Some(request.requester().as_str().to_owned()),
            role: Some(request.role().as_str().to_owned()),
            ..EmergencyFacts::default()
        },
        Document::Review(review) => EmergencyFacts { nonce: Some(review.nonce().uuid()), ..EmergencyFacts::default() },
        Document::Cancellation(cancellation) => {
            EmergencyFacts { nonce: Some(cancellation.nonce().uuid()), ..EmergencyFacts::default() }
        }
    }
}

pub(super) fn names(signers: &[CustodianName]) -> Vec<String> {
    signers.iter().map(|signer| signer.as_str().to_owned()).collect()
}

/// Whom the object server's log names: the custodian who asked.
fn subject(requester: &CustodianName) -> Result<Subject, BreakGlassRefusal> {
    // A custodian's name is within what a subject may be.
    Subject::parse(requester.as_str()).ok_or(BreakGlassRefusal::Lease(LeaseError::TooShort))
}
