//! The review of a use: closed by custodians who did not ask for it, once its lease has ended. Until then the next use is
//! blocked.

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::break_glass_desk::BreakGlassDesk;
use super::refusal::BreakGlassRefusal;
use super::submit::names;
use crate::audit::{Emergency, EmergencyContext, EmergencyFacts, Origin};
use crate::break_glass::ceremony::{ApprovedReview, approve_review};
use crate::policy::CustodianName;

/// What the clocks of a reviewer and of this instance may differ by.
const CLOCKS: Duration = Duration::from_mins(1);

/// A review that is closed.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Reviewed {
    /// The use: the nonce of its request.
    pub r#use: Uuid,
    /// Reviews that are still open.
    pub still_open: Vec<Uuid>,
    /// The parent key that is to be rotated now, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate: Option<String>,
    /// Where the journal stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

impl BreakGlassDesk {
    /// Closes a review.
    pub async fn review(&self, envelope: &[u8], origin: Origin) -> Result<Reviewed, BreakGlassRefusal> {
        let (desk, envelope) = (self.clone(), envelope.to_vec());
        self.see_through(async move { desk.review_approved(&envelope, origin).await }).await
    }

    async fn review_approved(&self, envelope: &[u8], origin: Origin) -> Result<Reviewed, BreakGlassRefusal> {
        let envelope = self.admit_bytes(envelope, origin)?;
        let _turn = self.turn().lock().await;
        let policies = self.parts().policies.load_full();
        let policy = policies.break_glass().ok_or(BreakGlassRefusal::NotConfigured)?;
        let reviewed = match approve_review(&envelope, policy, self.now()) {
            Ok(approved) => self.review_in_turn(&approved, origin).await,
            Err(error) => Err(error.into()),
        };
        if let Err(refusal) = &reviewed {
            self.turn_away(&envelope, policy, refusal, origin).await;
        }
        reviewed
    }

    async fn review_in_turn(&self, approved: &ApprovedReview, origin: Origin) -> Result<Reviewed, BreakGlassRefusal> {
        let nonce = approved.document().nonce().uuid();
        let known = self.know().await?;
        let found = known.state.find(nonce).filter(|found| found.is_used());
        let found = found.ok_or(BreakGlassRefusal::NoSuchUse)?;
        if !found.is_unreviewed() {
            return Err(BreakGlassRefusal::AlreadyDone("no review of this use is open"));
        }
        if !found.is_over(self.now()) {
            return Err(BreakGlassRefusal::LeaseOpen);
        }
        let written_at = approved.document().written_at();
        if found.over_at().is_some_and(|over_at| written_at + CLOCKS < over_at) {
            return Err(BreakGlassRefusal::ReviewTooEarly);
        }
        // Whoever asked is on record; where nobody is, nobody is left out.
        for requester in found.requesters().filter_map(CustodianName::parse) {
            approved.closes_use_of(&requester)?;
        }
        let facts = EmergencyFacts {
            signers: names(&approved.signers()),
            findings: Some(approved.document().findings().to_owned()),
            lease: found.granted().map(|granted| granted.lease.as_uuid()),
            ..found.facts().clone()
        };
        let context = EmergencyContext { origin: Some(origin), ..EmergencyContext::default() };
        self.say(Emergency::ReviewClosed, "reviewed", &facts, context).await?;
        self.parts().held.forget(nonce);
        self.hand_on().await;
        let open = known.state.unreviewed().map(|(open, _)| open).filter(|open| *open != nonce);
        Ok(Reviewed {
            r#use: nonce,
            still_open: open.collect(),
            rotate: facts.role.as_deref().and_then(|role| self.parts().server.rotation(role)),
            receipt: self.receipt(),
        })
    }
}
