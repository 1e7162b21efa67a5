//! One custodian stops a use: a nonce that is not used is burnt, a lease that is out is ended. The wish is on record before the
//! object server is asked. With a drill it is its last step: the lease must be seen to end.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::break_glass_desk::BreakGlassDesk;
use super::end::Seen;
use super::refusal::BreakGlassRefusal;
use super::state::{EmergencyUse, GrantedUse, MAY_HAVE_MINTED, PASSED};
use super::submit::names;
use crate::audit::{Emergency, EmergencyContext, EmergencyFacts, Origin, Revoked, instant};
use crate::break_glass::ceremony::{ApprovedCancellation, approve_cancellation};

/// What became of a cancelled use.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Cancelled {
    /// The use: the nonce of its request.
    pub r#use: Uuid,
    /// `burnt`: it was not used, and never can be. `burnt_here`: by this instance; the shared log is away, and the instance that
    /// the request names knows nothing of it. Otherwise what was seen of its lease: `refused_at_server`,
    /// `revoked_unproven`, `ends_by_itself`, `revoke_failed`; `may_have_minted` where it is not known whether there is one: what
    /// there is the reconciler ends.
    pub outcome: &'static str,
    /// Whether it was seen that nothing can be done with it any more.
    pub proven: bool,
    /// When its lease ends by itself.
    #[serde(skip_serializing_if = "Option::is_none", with = "instant::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends_at: Option<OffsetDateTime>,
    /// What became of a drill: `passed` or `failed`; absent while its lease is still to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill: Option<&'static str>,
    /// Where the journal stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

impl BreakGlassDesk {
    /// Burns a nonce, or ends a lease. It goes on when its caller hangs up.
    pub async fn cancel(&self, envelope: &[u8], origin: Origin) -> Result<Cancelled, BreakGlassRefusal> {
        let (desk, envelope) = (self.clone(), envelope.to_vec());
        self.see_through(async move { desk.cancel_approved(&envelope, origin).await }).await
    }

    async fn cancel_approved(&self, envelope: &[u8], origin: Origin) -> Result<Cancelled, BreakGlassRefusal> {
        let envelope = self.admit_bytes(envelope, origin)?;
        let _turn = self.turn().lock().await;
        let policies = self.parts().policies.load_full();
        let policy = policies.break_glass().ok_or(BreakGlassRefusal::NotConfigured)?;
        let cancelled = match approve_cancellation(&envelope, policy, self.now()) {
            Ok(approved) => self.cancel_in_turn(&approved, origin).await,
            Err(error) => Err(error.into()),
        };
        if let Err(refusal) = &cancelled {
            self.turn_away(&envelope, policy, refusal, origin).await;
        }
        cancelled
    }

    async fn cancel_in_turn(
        &self,
        approved: &ApprovedCancellation,
        origin: Origin,
    ) -> Result<Cancelled, BreakGlassRefusal> {
        let nonce = approved.document().nonce().uuid();
        let known = self.know().await?;
        let found = known.state.find(nonce);
        let facts = EmergencyFacts {
            nonce: Some(nonce),
            signers: names(&approved.signers()),
            findings: Some(approved.document().why().to_owned()),
            ..found.map(|found| found.facts().clone()).unwrap_or_default()
        };
        let context = EmergencyContext { origin: Some(origin), ..EmergencyContext::default() };
        match found {
            Some(found) if found.is_cancelled() && found.granted().is_none() => {
                Err(BreakGlassRefusal::AlreadyDone("it is cancelled already"))
            }
            Some(found) if found.is_used() && found.is_over(self.now()) && !found.is_undrilled() => {
                Err(BreakGlassRefusal::AlreadyDone("its lease has ended"))
            }
            Some(found) => {
                let granted = found.granted().cloned();
                let reason = match (&granted, found.is_used()) {
                    (Some(_), _) => "end_requested",
                    (None, true) => MAY_HAVE_MINTED,
                    (None, false) => "burnt",
                };
                self.say(Emergency::Cancelled, reason, &facts, context).await?;
                match granted {
                    Some(granted) => Ok(self.end_on_record(found, &granted, facts, origin).await),
                    None if found.is_used() => Ok(Cancelled {
                        outcome: MAY_HAVE_MINTED,
                        proven: false,
                        ends_at: found.latest_end(),
                        ..self.burnt(nonce)
                    }),
                    None => Ok(self.burnt(nonce)),
                }
            }
            None => {
                self.burns().take(&approved.signers(), self.parts().clock.elapsed())?;
                self.say(Emergency::Cancelled, "burnt", &facts, context).await?;
                // Only a log that all instances write can say that no other used it, and tell them not to.
                let proven = known.shared && self.hand_on().await;
                let outcome = if proven { "burnt" } else { "burnt_here" };
                Ok(Cancelled { outcome, proven, ..self.burnt(nonce) })
            }
        }
    }

    fn burnt(&self, nonce: Uuid) -> Cancelled {
        let receipt = self.receipt();
        Cancelled { r#use: nonce, outcome: "burnt", proven: true, ends_at: None, drill: None, receipt }
    }

    async fn end_on_record(
        &self,
        found: &EmergencyUse,
        granted: &GrantedUse,
        facts: EmergencyFacts,
        origin: Origin,
    ) -> Cancelled {
        let nonce = facts.nonce.unwrap_or_default();
        let Seen { seen, told } = self.end(nonce, granted).await;
        let lease = EmergencyFacts { lease: Some(granted.lease.as_uuid()), ends_at: Some(granted.ends_at), ..facts };
        let ended = EmergencyFacts { findings: told.or_else(|| lease.findings.clone()), ..lease.clone() };
        let context = EmergencyContext { origin: Some(origin), ..EmergencyContext::default() };
        if let Err(error) = self.say(Emergency::Ended, seen.code(), &ended, context).await {
            tracing::error!(%error, outcome = seen.code(), "what became of an emergency lease is not on record");
        }
        let drill = match (found.is_drill(), seen) {
            (false, _) | (true, Revoked::EndsByItself) => None,
            (true, Revoked::RefusedAtServer { .. } | Revoked::GoneFromListing) => Some(PASSED),
            (true, Revoked::Unproven | Revoked::Failed) => Some("failed"),
        };
        if let Some(outcome) = drill.filter(|_| found.is_undrilled()) {
            self.say_drilled(outcome, format!("its end: {}", seen.code()), &lease).await;
        }
        if seen.is_proven() {
            self.parts().held.forget(nonce);
        }
        let receipt = self.receipt();
        let ends_at = Some(granted.ends_at);
        Cancelled { r#use: nonce, outcome: seen.code(), proven: seen.is_proven(), ends_at, drill, receipt }
    }

    pub(super) async fn say_drilled(&self, outcome: &'static str, seen: String, facts: &EmergencyFacts) {
        let facts = EmergencyFacts { findings: Some(seen), ..facts.clone() };
        if let Err(error) = self.say(Emergency::Drilled, outcome, &facts, EmergencyContext::default()).await {
            tracing::error!(%error, outcome, "what became of a drill is not on record");
        }
    }
}
