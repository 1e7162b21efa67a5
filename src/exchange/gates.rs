//! The gates of the exchange: whether the holder asks too often, whether the holder, a role of the grant or everything is frozen,
//! and whether there is room for one more lease. A holder who is turned away here goes on asking, with as many tokens
//! as its issuer makes it, so it has a row once, and is counted from then on.

use super::Exchange;
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
    /// Whether no freeze covers this grant to this holder.
    pub(super) async fn thawed(&self, token: &VerifiedToken, grant: &Grant) -> Result<(), Frozen> {
        let freezes = self.parts().freezes.known().await?;
        match freezes.covering(token, grant.roles()) {
            None => Ok(()),
            Some(freeze) if freeze.frozen == lease::Frozen::Everything => Err(Frozen::Everything(freeze.id)),
            Some(freeze) => Err(Frozen::Holder(freeze.id)),
        }
    }
}
