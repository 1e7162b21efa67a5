//! The witnesses of approval: nothing outside this file can make one, and the steps after demand them. They carry what was
//! approved and by whom, so that nothing else can be put in its place.

use std::collections::BTreeSet;
use std::time::Duration;

use time::OffsetDateTime;

use super::quorum::quorum;
use super::{CancellationDocument, CeremonyError, Document, Envelope, RequestDocument, ReviewDocument, UseKind};
use crate::policy::{BreakGlass, CustodianName, EmergencyCondition, EmergencyRole, PolicyHash};

/// How long after it was written a request may be used: what was signed for one emergency is not kept for another.
pub const WINDOW: Duration = Duration::from_mins(30);
/// How far ahead the writer's clock may be. More would lengthen the window.
const AHEAD: Duration = Duration::from_mins(1);
/// How many custodians other than the requester close a review.
pub const REVIEWERS: usize = 2;
/// One custodian is enough to stop something.
const CANCELLERS: usize = 1;

/// A request that the quorum signed, in its window, for the policy in force.
#[derive(Debug, Clone)]
pub struct ApprovedRequest {
    document: RequestDocument,
    role: EmergencyRole,
    signers: BTreeSet<CustodianName>,
}

impl ApprovedRequest {
    /// What was signed.
    #[must_use]
    pub fn document(&self) -> &RequestDocument {
        &self.document
    }

    /// The role it is for, as the policy in force has it.
    #[must_use]
    pub fn role(&self) -> &EmergencyRole {
        &self.role
    }

    /// Who signed, in the order of their names; the requester is one of them.
    #[must_use]
    pub fn signers(&self) -> Vec<CustodianName> {
        self.signers.iter().cloned().collect()
    }
}

/// A review that at least two custodians signed.
#[derive(Debug, Clone)]
pub struct ApprovedReview {
    document: ReviewDocument,
    signers: BTreeSet<CustodianName>,
}

impl ApprovedReview {
    /// What was signed.
    #[must_use]
    pub fn document(&self) -> &ReviewDocument {
        &self.document
    }

    /// Who signed, in the order of their names.
    #[must_use]
    pub fn signers(&self) -> Vec<CustodianName> {
        self.signers.iter().cloned().collect()
    }

    /// Whether it closes a use that `requester` asked for: two others must have signed. Nobody reviews their own use.
    pub fn closes_use_of(&self, requester: &CustodianName) -> Result<(), CeremonyError> {
        let signed = self.signers.iter().filter(|signer| *signer != requester).count();
        if signed < REVIEWERS {
            return Err(CeremonyError::ReviewersMissing { signed, needed: REVIEWERS });
        }
        Ok(())
    }
}

/// A cancellation that at least one custodian signed.
#[derive(Debug, Clone)]
pub struct ApprovedCancellation {
    document: CancellationDocument,
    signers: BTreeSet<CustodianName>,
}

impl ApprovedCancellation {
    /// What was signed.
    #[must_use]
    pub fn document(&self) -> &CancellationDocument {
        &self.document
    }

    /// Who signed, in the order of their names.
    #[must_use]
    pub fn signers(&self) -> Vec<CustodianName> {
        self.signers.iter().cloned().collect()
    }
}

/// Approves a request: signatures first, for nothing in a document that nobody signed is worth an answer.
///
/// Whether this instance may honour it, whether its nonce is used, and whether there is an emergency is not known here.
pub fn approve_request(
    envelope: &Envelope,
    policy: &BreakGlass,
    in_force: PolicyHash,
    now: OffsetDateTime,
) -> Result<ApprovedRequest, CeremonyError> {
    let Document::Request(document) = envelope.document() else {
        return Err(CeremonyError::DocumentOther { expected: "request" });
    };
    let needed = match document.kind() {
        UseKind::Outage | UseKind::Drill => policy.quorum(),
        UseKind::Declared => policy.declared_quorum(),
    };
    let signers = quorum(envelope, policy, needed)?;
    let requester = document.requester();
    if policy.custodian(requester).is_none() {
        return Err(CeremonyError::CustodianUnknown(requester.clone()));
    }
    // Two custodians who name a third as the requester could close the review of their own use.
    if !signers.contains(requester) {
        return Err(CeremonyError::RequesterUnsigned(requester.clone()));
    }
    if document.policy_hash().to_hex() != in_force.to_hex() {
        return Err(CeremonyError::PolicyChanged);
    }
    if document.requested_at() - now > AHEAD {
        return Err(CeremonyError::RequestedInTheFuture);
    }
    if now - document.requested_at() > WINDOW {
        return Err(CeremonyError::WindowExpired);
    }
    let role = policy.role(document.role()).ok_or(CeremonyError::RoleUnknown)?;
    let of_drills = role.name() == policy.drill().role().name();
    let lists = |condition| policy.conditions().contains(&condition);
    match document.kind() {
        UseKind::Drill if !of_drills => return Err(CeremonyError::NotTheDrillRole),
        UseKind::Outage | UseKind::Declared if of_drills => return Err(CeremonyError::OnlyForDrills),
        UseKind::Outage if !lists(EmergencyCondition::IssuerDown) && !lists(EmergencyCondition::LogDown) => {
            return Err(CeremonyError::KindNotAllowed);
        }
        UseKind::Declared if !lists(EmergencyCondition::Declared) => return Err(CeremonyError::KindNotAllowed),
        UseKind::Outage | UseKind::Declared | UseKind::Drill => {}
    }
    if document.length() > role.length() {
        return Err(CeremonyError::LengthTooLong { longest: role.length() });
    }
    Ok(ApprovedRequest { document: document.clone(), role: role.clone(), signers })
}

/// Approves a review. Whether it closes a use depends on who asked for that: [`ApprovedReview::closes_use_of`].
pub fn approve_review(
    envelope: &Envelope,
    policy: &BreakGlass,
    now: OffsetDateTime,
) -> Result<ApprovedReview, CeremonyError> {
    let Document::Review(document) = envelope.document() else {
        return Err(CeremonyError::DocumentOther { expected: "review" });
    };
    let signers = quorum(envelope, policy, REVIEWERS)?;
    written(document.written_at(), now)?;
    Ok(ApprovedReview { document: document.clone(), signers })
}

/// Approves a cancellation.
pub fn approve_cancellation(
    envelope: &Envelope,
    policy: &BreakGlass,
    now: OffsetDateTime,
) -> Result<ApprovedCancellation, CeremonyError> {
    let Document::Cancellation(document) = envelope.document() else {
        return Err(CeremonyError::DocumentOther { expected: "cancellation" });
    };
    let signers = quorum(envelope, policy, CANCELLERS)?;
    written(document.written_at(), now)?;
    Ok(ApprovedCancellation { document: document.clone(), signers })
}

/// They name a use that happens once, so that their age does no harm; a time to come would be a false record.
fn written(at: OffsetDateTime, now: OffsetDateTime) -> Result<(), CeremonyError> {
    if at - now > AHEAD { Err(CeremonyError::WrittenInTheFuture) } else { Ok(()) }
}
