//! One lease for equal holders: what is out already is handed out again, with a row of its own for each, and of equal requests
//! that find nothing one mints and the others wait. What was withdrawn meanwhile is nobody's: that is asked after the row is
//! committed, and the credentials are had for that row alone.

use super::flight::{Landing, Turn};
use super::{Claim, Exchange, IssuedLease, Refusal};
use crate::audit::{AuditError, Reuse};
use crate::desk::OnShelf;
use crate::lease::Holder;
use crate::telemetry::Step;

/// So often a lease may be withdrawn, or not come to the shelf, under the hands of one request; then it mints its own.
const ATTEMPTS: u32 = 3;

impl Exchange {
    /// Hands out the lease of this holder, or has it minted.
    pub(super) async fn share(&self, claim: Claim) -> Result<IssuedLease, Refusal> {
        let holder = Holder::of(&claim.token, &claim.grant, &claim.assume_role);
        for _ in 0..ATTEMPTS {
            if let Some(lease) = self.on_shelf(&holder, &claim)
                && let Some(issued) = self.hand_out_again(lease, &claim).await?
            {
                return Ok(issued);
            }
            match self.inner.flights.join(&holder) {
                // One that ended between the look at the shelf and this left its lease there.
                Turn::Mint(flight) if self.on_shelf(&holder, &claim).is_some() => flight.land(Ok(())),
                Turn::Mint(flight) => return self.mint_on_record(claim, Some(flight)).await,
                Turn::Wait(waiting) => {
                    let broken_off = || Err(Refusal::Audit(AuditError::Unavailable));
                    if let Err(refusal) = waiting.landing().await.unwrap_or_else(broken_off) {
                        return Err(self.refuse(claim, refusal).await);
                    }
                    // It may have been frozen while it waited.
                    if let Err(frozen) = self.thawed(&claim.token, &claim.grant).await {
                        return Err(self.refuse(claim, Refusal::Frozen(frozen)).await);
                    }
                }
            }
        }
        self.mint_on_record(claim, None).await
    }

    /// What may be handed out again. Nothing is under a role that a self-test closed: the next one is minted, and tried.
    fn on_shelf(&self, holder: &Holder, claim: &Claim) -> Option<OnShelf> {
        let parts = self.parts();
        let lease = parts.held.on_shelf(holder, parts.clock.as_ref())?;
        (!parts.standings.is_closed(&claim.grant)).then_some(lease)
    }

    /// The row first, and then the credentials for it. None: the lease was withdrawn before the row was committed. The row stays,
    /// of a handing out that did not come to be, beside the one that says why.
    async fn hand_out_again(&self, lease: OnShelf, claim: &Claim) -> Result<Option<IssuedLease>, Refusal> {
        let OnShelf { assume_role, terms, key_fingerprint, ends_at } = lease;
        let reuse = Reuse {
            request: &claim.asked,
            token: &claim.token,
            grant: &claim.grant,
            assume_role: &assume_role,
            key_fingerprint: &key_fingerprint,
            ends_at,
        };
        let receipt = self.timed(Step::Reuse, self.parts().log.reuse(reuse)).await?;
        let Some(credentials) = self.parts().held.hand_out(&receipt) else { return Ok(None) };
        let (requested, lengths) = (claim.assume_role.requested(), (assume_role.longest(), assume_role.duration()));
        Ok(Some(IssuedLease {
            role: claim.grant.role().to_owned(),
            terms: terms.handed_out_again(requested, lengths, self.parts().clock.now()),
            assume_role,
            token: claim.token.clone(),
            credentials,
            reused: true,
        }))
    }
}

/// What those who wait are told of a mint: the credentials are not theirs to get by this way.
pub(super) fn landing(minted: &Result<IssuedLease, Refusal>) -> Landing {
    minted.as_ref().map(|_| ()).map_err(Clone::clone)
}
