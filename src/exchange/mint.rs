//! The way of a new lease: the intent on record, the mint, the trial, the outcome on record. What was minted and may not leave is
//! ended here, and what became of it is said.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tracing::Instrument;

use super::flight::Flight;
use super::sharing::landing;
use super::{Claim, Exchange, IssuedLease, Refusal};
use crate::audit::{Abandonment, AuditError, AuditReceipt, Door, Intent, Outcome, Unrecorded};
use crate::desk::{MintedLease, OnShelf};
use crate::lease::{AssumeRole, GoesBy, Holder};
use crate::object_server::{Admission, LeaseToEnd, ObjectServerError};
use crate::telemetry::Step;

/// The pauses between attempts to say that a lease was abandoned: over the time in which a store usually comes back.
/// Afterwards it is left to the reconciler.
const ABANDON_PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

impl Exchange {
    /// Steps 4 to 6, on a task of their own: a caller who hangs up between the mint and the outcome must not leave a
    /// credential without a fate, nor those alone who wait for the same mint.
    pub(super) async fn mint_on_record(&self, claim: Claim, flight: Option<Flight>) -> Result<IssuedLease, Refusal> {
        let inner = Arc::clone(&self.inner);
        let steps = async move {
            let minted = Self { inner }.admit_and_mint(claim).await;
            if let Some(flight) = flight {
                flight.land(landing(&minted));
            }
            minted
        };
        let task = self.parts().tasks.spawn(steps.in_current_span());
        task.await.unwrap_or(Err(Refusal::Audit(AuditError::Unavailable)))
    }

    async fn admit_and_mint(&self, claim: Claim) -> Result<IssuedLease, Refusal> {
        // Kept until the outcome is on record, where others count it.
        let room = self.parts().outstanding.room(&claim.token, claim.grant.roles(), claim.assume_role.lease_id());
        let room = match room.await {
            Ok(room) => room,
            Err(none) => return Err(self.refuse(claim, Refusal::Limited(none.into())).await),
        };
        // Asked again: whoever waited for somebody else's mint, or for a count, may have been frozen meanwhile.
        if let Err(frozen) = self.thawed(&claim.token, &claim.grant).await {
            room.unused();
            return Err(self.refuse(claim, Refusal::Frozen(frozen)).await);
        }
        match self.admit(&claim.grant, &claim.assume_role) {
            Ok(admission) => {
                let concluded = self.intend_mint_conclude(claim, admission).await;
                drop(room);
                concluded
            }
            Err(closed) => {
                room.unused();
                Err(self.refuse(claim, Refusal::Closed(closed)).await)
            }
        }
    }

    /// Drawn anew for the load to come, where there is a cap: only now, for one that is handed out again comes back as it did.
    fn smoothed(&self, assume_role: AssumeRole, door: Door) -> AssumeRole {
        let parts = self.parts();
        let Some(smoothing) = &parts.smoothing else { return assume_role };
        let mut rng = parts.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let (assume_role, fits) = assume_role.smoothed(smoothing, goes_by(door), &mut *rng);
        if !fits {
            parts.metrics.over_cap();
        }
        assume_role
    }

    async fn intend_mint_conclude(&self, claim: Claim, admission: Admission) -> Result<IssuedLease, Refusal> {
        let Claim { asked, token, grant, assume_role } = claim;
        let parts = self.parts();
        let assume_role = self.smoothed(assume_role, asked.origin.door);
        let intent = Intent { request: &asked, token: &token, grant: &grant, assume_role: &assume_role };
        let receipt = self.timed(Step::Intend, parts.log.intend(intent)).await?;

        let minted = self.timed(Step::Mint, parts.object_server.assume_role(&receipt, &assume_role)).await;
        let believed = minted.and_then(|credentials| match assume_role.terms(credentials.expiration) {
            Some(terms) => Ok((credentials, terms)),
            None => Err(ObjectServerError::ExpirationUnbelievable { expiration: credentials.expiration }),
        });
        let trusted = match believed {
            Ok((credentials, terms)) => {
                let trial = self.try_credential(&admission, &grant, &assume_role, &credentials);
                self.timed(Step::SelfTest, trial).await.map(|()| (credentials, terms))
            }
            Err(error) => Err(Refusal::ObjectServer(error)),
        };
        let (credentials, terms) = match trusted {
            Ok(trusted) => trusted,
            Err(refusal) => {
                let outcome = Outcome::Failed { reason: refusal.code() };
                let concluded = self.timed(Step::Conclude, parts.log.conclude(receipt, outcome)).await;
                let ended =
                    if refusal.may_have_minted() { self.revoke(&assume_role).await } else { Abandonment::NotMinted };
                return Err(match concluded {
                    Ok(()) => refusal,
                    Err(unrecorded) => self.abandon(unrecorded, ended),
                });
            }
        };

        let key_fingerprint = parts.fingerprints.fingerprint(credentials.access_key_id.expose());
        let outcome = Outcome::Issued { key_fingerprint: key_fingerprint.clone(), ends_at: credentials.expiration };
        let holder = Holder::of(&token, &grant, &assume_role);
        let minted = MintedLease { holder, assume_role, terms, key_fingerprint, credentials };
        let (OnShelf { assume_role, .. }, credentials) = parts.held.keep(minted, parts.clock.as_ref());
        parts.metrics.leases_held(parts.held.len());
        if let Err(unrecorded) = self.timed(Step::Conclude, parts.log.conclude(receipt, outcome)).await {
            // No row, no credential: it is dropped here and ended at the server, and then the log is told so.
            parts.held.forget(assume_role.lease_id());
            drop(credentials);
            let ended = self.revoke(&assume_role).await;
            return Err(self.abandon(unrecorded, ended));
        }
        // A role that was closed meanwhile took what it had off the shelf, and takes nothing more. What an emergency token had
        // is never handed out again.
        if parts.lease_rules.reuse && token.emergency().is_none() && !parts.standings.is_closed(&grant) {
            parts.held.shelve(assume_role.lease_id(), parts.clock.as_ref());
        }
        Ok(IssuedLease { role: grant.role().to_owned(), assume_role, token, terms, credentials, reused: false })
    }

    /// Ends a credential that exists, or may exist, and must not leave. What fails here is left to the reconciler.
    async fn revoke(&self, assume_role: &AssumeRole) -> Abandonment {
        let lease_id = assume_role.lease_id();
        match self.parts().object_server.revoke(&LeaseToEnd::from(assume_role)).await {
            Ok(()) => {
                tracing::warn!(%lease_id, "a credential that must not leave was revoked at the object server");
                Abandonment::Revoked
            }
            Err(error) => {
                tracing::error!(%lease_id, %error, "a credential that must not leave could not be revoked yet");
                Abandonment::RevokeFailed
            }
        }
    }

    /// An outcome that could not be recorded may still commit late. What is said after it tells the two apart, on a task
    /// of its own: the caller has waited long enough, and is refused whatever becomes of it.
    fn abandon(&self, Unrecorded { error, receipt }: Unrecorded, how: Abandonment) -> Refusal {
        let inner = Arc::clone(&self.inner);
        let saying = async move { Self { inner }.say_abandoned(&receipt, how).await };
        self.parts().tasks.spawn(saying.in_current_span());
        Refusal::Audit(error)
    }

    async fn say_abandoned(&self, receipt: &AuditReceipt, how: Abandonment) {
        let parts = self.parts();
        let lease_id = receipt.lease_id();
        for pause in ABANDON_PAUSES.map(Some).into_iter().chain([None]) {
            match (parts.log.abandon(receipt, how).await, pause) {
                (Ok(()), _) => return parts.metrics.abandoned(how),
                (Err(_later), Some(pause)) => sleep(pause).await,
                (Err(error), None) => {
                    tracing::error!(%lease_id, %error, "an abandoned lease is not on record as such yet");
                }
            }
        }
    }
}

/// What the holders who come through a door go by: SDKs see no `refresh_after`.
fn goes_by(door: Door) -> GoesBy {
    match door {
        Door::Leases => GoesBy::RefreshAfter,
        Door::Sts | Door::Container | Door::TokenExchange | Door::Audit | Door::Desk | Door::BreakGlass | Door::Cli => {
            GoesBy::Expiration
        }
    }
}
