//! The way of a claimed use: the intent on record, the mint, the trial of a drill, the seal, the outcome on record. What was
//! minted and may not leave is ended here. The order is that of every lease; only where it is recorded differs.

use std::sync::Arc;

use super::break_glass_desk::BreakGlassDesk;
use super::refusal::BreakGlassRefusal;
use super::state::MAY_HAVE_MINTED;
use super::submit::{Granted, ReviewDue};
use crate::audit::{
    Abandonment, AuditError, AuditLog, Emergency, EmergencyContext, EmergencyFacts, KeyFingerprint, Origin, Outcome,
    Revoked, Unrecorded,
};
use crate::break_glass::ceremony::{ApprovedRequest, EmergencyCredentials, UseKind};
use crate::desk::HeldLease;
use crate::lease::AssumeRole;
use crate::object_server::{Finding, LeaseToEnd, ObjectServerError, TemporaryCredentials};
use crate::policy::RoleName;

/// A use whose nonce is taken.
pub(super) struct Claim<'a> {
    pub(super) approved: &'a ApprovedRequest,
    pub(super) facts: EmergencyFacts,
    pub(super) assume_role: AssumeRole,
    pub(super) policy_hash: String,
    pub(super) origin: Origin,
    /// Where a drill tries its credential; none for a use.
    pub(super) drill_bucket: Option<&'a str>,
}

impl Claim<'_> {
    fn context<'a>(&'a self, key_fingerprint: Option<&'a KeyFingerprint>) -> EmergencyContext<'a> {
        EmergencyContext {
            origin: Some(self.origin),
            policy_hash: Some(&self.policy_hash),
            assume_role: Some(&self.assume_role),
            key_fingerprint,
        }
    }

    fn role(&self) -> &RoleName {
        self.approved.role().name()
    }
}

impl BreakGlassDesk {
    pub(super) async fn mint_on_record(&self, mut claim: Claim<'_>) -> Result<Granted, BreakGlassRefusal> {
        let parts = self.parts();
        claim.facts.lease = Some(claim.assume_role.lease_id().as_uuid());
        let log = parts.log.open()?;
        let intended = log.intend_emergency(&claim.assume_role, &claim.facts, &claim.policy_hash, claim.origin).await;
        let receipt = match intended {
            Ok(receipt) => receipt,
            Err(error) => {
                self.free(&claim.facts, error.code(), claim.origin).await;
                return Err(error.into());
            }
        };
        let minted = parts.object_server.assume_role(&receipt, &claim.assume_role).await;
        let believed = minted.and_then(|credentials| match claim.assume_role.terms(credentials.expiration) {
            Some(_) => Ok(credentials),
            None => Err(ObjectServerError::ExpirationUnbelievable { expiration: credentials.expiration }),
        });
        let prepared = match believed {
            Ok(credentials) => self.prepare(&claim, credentials).await,
            Err(error) => Err(if error.may_have_minted() {
                BreakGlassRefusal::MayHaveMinted(error)
            } else {
                BreakGlassRefusal::ObjectServer(error)
            }),
        };
        let (credentials, sealed) = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => {
                let concluded = log.conclude(receipt, Outcome::Failed { reason: refusal.code() }).await;
                let ended = self.undo(&claim, &refusal).await;
                if let Err(unrecorded) = concluded {
                    abandon(&log, unrecorded, ended).await;
                }
                return Err(refusal);
            }
        };

        let key_fingerprint = parts.fingerprints.fingerprint(credentials.access_key_id.expose());
        let ends_at = credentials.expiration;
        claim.facts.ends_at = Some(ends_at);
        let outcome = Outcome::Issued { key_fingerprint: key_fingerprint.clone(), ends_at };
        let recorded = match log.conclude(receipt, outcome).await {
            Ok(()) => self
                .say(Emergency::Granted, kind(&claim), &claim.facts, claim.context(Some(&key_fingerprint)))
                .await
                .map(|_event| ()),
            Err(unrecorded) => {
                let error = unrecorded.error;
                abandon(&log, unrecorded, self.revoke(&claim.assume_role).await).await;
                return Err(BreakGlassRefusal::NotRecorded(error));
            }
        };
        if let Err(error) = recorded {
            // No row, no credential. The claim stands, and with it the review.
            let reason = match self.revoke(&claim.assume_role).await {
                Abandonment::Revoked => Revoked::Unproven.code(),
                Abandonment::NotMinted | Abandonment::RevokeFailed | Abandonment::Expired => Revoked::Failed.code(),
            };
            let ended = self.say(Emergency::Ended, reason, &claim.facts, claim.context(Some(&key_fingerprint))).await;
            if let Err(error) = ended {
                tracing::error!(%error, reason, "what became of a lease that was not handed out is not on record");
            }
            return Err(BreakGlassRefusal::NotRecorded(error));
        }
        let held = HeldLease {
            credentials: Arc::new(credentials),
            session_policy: claim.assume_role.session_policy().clone(),
        };
        parts.held.keep(claim.approved.document().nonce().uuid(), held);
        let is_drill = claim.approved.document().kind() == UseKind::Drill;
        if !is_drill {
            self.open_review(&claim, kind(&claim), Some(&key_fingerprint)).await;
        }
        let merged = self.hand_on().await;
        Ok(Granted {
            sealed,
            lease_id: claim.assume_role.lease_id().as_uuid(),
            expiration: ends_at,
            conditions: claim.facts.conditions.iter().flat_map(|held| held.split("; ")).map(str::to_owned).collect(),
            review: self.review_due(&claim, &key_fingerprint, !is_drill),
            receipt: self.receipt(),
            merged,
        })
    }

    /// A drill's credential is tried first: what does not keep to its policy goes to nobody.
    async fn prepare(
        &self,
        claim: &Claim<'_>,
        credentials: TemporaryCredentials,
    ) -> Result<(TemporaryCredentials, String), BreakGlassRefusal> {
        if let Some(bucket) = claim.drill_bucket {
            match self.parts().self_test.run(&claim.assume_role, &credentials, &[bucket]).await {
                Finding::Passed => {}
                Finding::Failed { seen, .. } | Finding::Unclear { seen } => {
                    return Err(BreakGlassRefusal::DrillFailed(seen));
                }
            }
        }
        let document = claim.approved.document();
        let (server, role) = (&self.parts().server, claim.role().clone());
        let unsealed = EmergencyCredentials {
            access_key_id: credentials.access_key_id.expose().to_owned().into(),
            secret_access_key: credentials.secret_access_key.clone(),
            session_token: credentials.session_token.clone(),
            expiration: credentials.expiration,
            region: server.region.clone(),
            endpoint: server.endpoint.clone(),
            role,
            lease_id: claim.assume_role.lease_id().as_uuid(),
            nonce: document.nonce(),
            incident: document.incident().to_owned(),
        };
        match document.recipient().seal(&unsealed) {
            Ok(sealed) => Ok((credentials, sealed)),
            Err(error) => {
                tracing::error!(%error, "emergency credentials could not be sealed");
                Err(BreakGlassRefusal::NotSealed)
            }
        }
    }

    /// What becomes of a use that handed nothing out: its nonce is free again if surely nothing was minted; otherwise what may
    /// exist is ended, and the use is reviewed like any other.
    async fn undo(&self, claim: &Claim<'_>, refusal: &BreakGlassRefusal) -> Abandonment {
        if let BreakGlassRefusal::ObjectServer(error) = refusal {
            self.free(&claim.facts, error.code(), claim.origin).await;
            return Abandonment::NotMinted;
        }
        let ended = self.revoke(&claim.assume_role).await;
        if claim.approved.document().kind() == UseKind::Drill {
            let facts = EmergencyFacts { findings: Some(refusal.to_string()), ..claim.facts.clone() };
            if let Err(error) = self.say(Emergency::Drilled, "failed", &facts, claim.context(None)).await {
                tracing::error!(%error, "that a drill failed is not on record");
            }
        } else {
            self.open_review(claim, MAY_HAVE_MINTED, None).await;
        }
        ended
    }

    /// The claim alone opens it already: what fails here is said again by whoever looks.
    async fn open_review(&self, claim: &Claim<'_>, reason: &'static str, key_fingerprint: Option<&KeyFingerprint>) {
        let said = self.say(Emergency::ReviewOpened, reason, &claim.facts, claim.context(key_fingerprint)).await;
        if let Err(error) = said {
            tracing::error!(%error, "that a review is open is not on record; the use itself is, and blocks the next");
        }
    }

    async fn revoke(&self, assume_role: &AssumeRole) -> Abandonment {
        let lease_id = assume_role.lease_id();
        match self.parts().object_server.revoke(&LeaseToEnd::from(assume_role)).await {
            Ok(()) => Abandonment::Revoked,
            Err(error) => {
                tracing::error!(%lease_id, %error, "an emergency credential that must not leave could not be revoked yet");
                Abandonment::RevokeFailed
            }
        }
    }

    fn review_due(&self, claim: &Claim<'_>, key_fingerprint: &KeyFingerprint, required: bool) -> ReviewDue {
        ReviewDue {
            r#use: claim.approved.document().nonce().uuid(),
            required,
            session_name: claim.assume_role.role_session_name().as_str().to_owned(),
            key_fingerprint: key_fingerprint.as_str().to_owned(),
            accesses: self.parts().server.accesses.to_owned(),
            rotate: self.parts().server.rotation(claim.role().as_str()),
            overrides: claim.facts.overrides,
        }
    }
}

fn kind(claim: &Claim<'_>) -> &'static str {
    claim.approved.document().kind().as_str()
}

/// Said once: the journal is a disk, not a network, and what it does not take now the reconciler finds by the lone intent.
async fn abandon(log: &AuditLog, Unrecorded { error, receipt }: Unrecorded, how: Abandonment) {
    let lease_id = receipt.lease_id();
    tracing::error!(%lease_id, %error, "the outcome of an emergency lease is not on record");
    if let Err::<(), AuditError>(error) = log.abandon(&receipt, how).await {
        tracing::error!(%lease_id, %error, "an abandoned emergency lease is not on record as such yet");
    }
}
