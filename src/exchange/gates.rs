//! The gates of the exchange: whether the holder asks too often, whether the holder, a role of the grant or everything is frozen,
//! and whether there is room for one more lease. A holder who is turned away here has a row once, and is counted from then on.

use super::{Exchange, Refusal};
use crate::audit::{Identity, Refused, Request};
use crate::desk::{FreezesUnknown, NoRoom};
use crate::lease::{self, FreezeId, OverQuota};
use crate::policy::Grant;
use crate::token::VerifiedToken;

/// Why nothing is handed out at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Frozen {
    /// A freeze means the holder, or a role of the grant.
    #[error("frozen by {0}")]
    Holder(FreezeId),
    /// A freeze means everything.
    #[error("everything is frozen by {0}")]
    Everything(FreezeId),
    /// What is frozen cannot be read.
    #[error(transparent)]
    Unknown(#[from] FreezesUnknown),
}

impl Frozen {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Holder(_) => "frozen",
            Self::Everything(_) => "everything_frozen",
            Self::Unknown(_) => "freezes_unknown",
        }
    }
}

/// Why there is nothing more for the holder at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limited {
    /// A quota is used up.
    #[error(transparent)]
    Over(#[from] OverQuota),
    /// It cannot be counted what is out.
    #[error("the leases that are out cannot be counted")]
    Unknown,
}

impl From<NoRoom> for Limited {
    fn from(none: NoRoom) -> Self {
        match none {
            NoRoom::Over(over) => Self::Over(over),
            NoRoom::Unknown => Self::Unknown,
        }
    }
}

impl Limited {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Over(over) => over.quota.code(),
            Self::Unknown => "outstanding_unknown",
        }
    }
}

impl Exchange {
    /// Whoever is over a quota goes on asking: that must not fill the log.
    pub(super) async fn record_limited(
        &self,
        request: Request,
        token: &VerifiedToken,
        grant: Option<&Grant>,
        limited: Limited,
    ) -> Refusal {
        let (log, reason) = (&self.parts().log, limited.code());
        if limited == Limited::Unknown {
            // The log is what is counted: it would not take a row either.
            log.count_refusal(reason, request.origin.address);
            return Refusal::Limited(limited);
        }
        let policy_hash = grant.map(|grant| grant.policy_hash().to_hex());
        let refused = Refused { request, identity: Identity::from(token), reason, policy_hash, freeze: None };
        self.recorded(log.refuse_holder(refused), Refusal::Limited(limited)).await
    }

    /// Whether no freeze covers this grant to this holder.
    pub(super) async fn thawed(&self, token: &VerifiedToken, grant: &Grant) -> Result<(), Frozen> {
        let freezes = self.parts().freezes.known().await?;
        match freezes.covering(token, grant.roles()) {
            None => Ok(()),
            Some(freeze) if freeze.frozen == lease::Frozen::Everything => Err(Frozen::Everything(freeze.id)),
            Some(freeze) => Err(Frozen::Holder(freeze.id)),
        }
    }

    /// Whoever is frozen goes on asking, with as many tokens as its issuer makes it: that must not fill the log.
    pub(super) async fn record_frozen(
        &self,
        request: Request,
        token: &VerifiedToken,
        grant: &Grant,
        frozen: Frozen,
    ) -> Refusal {
        let (log, reason) = (&self.parts().log, frozen.code());
        let freeze = match frozen {
            Frozen::Holder(freeze) | Frozen::Everything(freeze) => Some(freeze),
            Frozen::Unknown(_) => {
                // The log is where freezes are: it would not take a row either.
                log.count_refusal(reason, request.origin.address);
                return Refusal::Frozen(frozen);
            }
        };
        let policy_hash = Some(grant.policy_hash().to_hex());
        let refused = Refused { request, identity: Identity::from(token), reason, policy_hash, freeze };
        self.recorded(log.refuse_holder(refused), Refusal::Frozen(frozen)).await
    }
}
