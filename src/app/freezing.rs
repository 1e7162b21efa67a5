//! Freezing and thawing at the command line: beside the service, which heeds it within a second, and while it is down, which
//! heeds it when it starts.

use std::sync::Arc;

use super::console::Console;
use super::{StartError, compile_directory, random};
use crate::audit::{AuditError, Identity, Inquiry, RecordedEffect, Request, StoreError};
use crate::clock::{Clock, time_ordered_id};
use crate::config::Config;
use crate::desk::{MOST_FREEZES, SharedState};
use crate::lease::{Freeze, FreezeId, Freezes, Frozen};
use crate::postgres::PostgresSharedState;

/// Who wishes it, and why.
#[derive(Debug)]
pub struct FreezeWish {
    /// Why; recorded.
    pub why: Option<String>,
    /// Whom the system runs the command as.
    pub user: Option<String>,
}

/// Why nothing was frozen or thawed, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// Everything that stops the service too.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The configuration has no such issuer: a misspelt one would stop nobody.
    #[error("no [[issuer]] has the name {0}")]
    NoSuchIssuer(String),
    /// No such role in the policy directory: likewise.
    #[error("the policy directory has no role {0}")]
    NoSuchRole(String),
    /// No freeze of that id.
    #[error("no freeze of the id {0} is in force")]
    NoSuchFreeze(FreezeId),
    /// As many as there may be.
    #[error("{MOST_FREEZES} freezes are in force: lift some, or freeze a group, an issuer or everything")]
    TooMany,
    /// The log does not take it.
    #[error("it could not be recorded, so nothing has changed: {0}")]
    Audit(#[from] AuditError),
    /// What is frozen cannot be read.
    #[error("what is frozen cannot be read: {0}")]
    Store(#[from] StoreError),
}

/// Freezes.
pub async fn set_freeze(
    config: Config,
    wish: &FreezeWish,
    frozen: Frozen,
    clock: Arc<dyn Clock>,
) -> Result<Freeze, FreezeError> {
    if let Some(issuer) = frozen.parts().issuer
        && !config.issuers.iter().any(|block| block.rules.name.as_str() == issuer)
    {
        return Err(FreezeError::NoSuchIssuer(issuer.to_owned()));
    }
    if let Some(role) = frozen.parts().role {
        let issuers: Vec<_> = config.issuers.iter().map(|block| block.rules.name.clone()).collect();
        match compile_directory(&config.policies, &issuers) {
            Ok(policies) if policies.roles().all(|(name, _, _)| name.as_str() != role) => {
                return Err(FreezeError::NoSuchRole(role.to_owned()));
            }
            Ok(_) => {}
            // In an emergency a directory that somebody is changing stops nobody.
            Err(_) => {
                tracing::warn!(role, "the policy directory does not compile: whether it has the role is not known");
            }
        }
    }
    let (console, shared) = open(&config, wish, Arc::clone(&clock)).await?;
    let id = FreezeId::from_uuid(time_ordered_id(clock.now(), &mut random()?));
    let set = async {
        if shared.freezes().await?.len() >= MOST_FREEZES {
            return Err(FreezeError::TooMany);
        }
        Ok(console.log.set_freeze(id, frozen, &console.by).await?)
    };
    let set = set.await;
    console.close().await;
    set
}

/// Thaws, and answers what was frozen.
pub async fn thaw(
    config: Config,
    wish: &FreezeWish,
    id: FreezeId,
    clock: Arc<dyn Clock>,
) -> Result<Freeze, FreezeError> {
    let (console, shared) = open(&config, wish, clock).await?;
    let lift = async {
        let freezes = shared.freezes().await?;
        let freeze = freezes.get(id).ok_or(FreezeError::NoSuchFreeze(id))?;
        console.log.lift_freeze(freeze, &console.by).await?;
        Ok(freeze.clone())
    };
    let lifted = lift.await;
    console.close().await;
    lifted
}

/// The freezes in force; that somebody was shown them is on record first.
pub async fn list_freezes(config: Config, wish: &FreezeWish, clock: Arc<dyn Clock>) -> Result<Freezes, FreezeError> {
    let (console, shared) = open(&config, wish, clock).await?;
    let read = async {
        let request = Request::for_no_lease(console.by.origin, None);
        let identity = Identity::at_the_console(wish.user.clone());
        let (effect, reason) = (RecordedEffect::Allow, "read");
        let detail = "list freezes".to_owned();
        console.log.read(Inquiry { request, identity, effect, reason, detail }).await?;
        Ok(shared.freezes().await?)
    };
    let read = read.await;
    console.close().await;
    read
}

async fn open(
    config: &Config,
    wish: &FreezeWish,
    clock: Arc<dyn Clock>,
) -> Result<(Console, PostgresSharedState), StartError> {
    let console = Console::open(config, (wish.user.as_deref(), wish.why.as_deref()), clock).await?;
    let shared = PostgresSharedState::new(Arc::clone(&console.store), config.audit.deadline);
    Ok((console, shared))
}
