//! Freezing and thawing at the command line: beside the service, which heeds it within a second, and while it is down, which
//! heeds it when it starts.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::{StartError, compile_directory, open_log, random};
use crate::audit::{AuditError, AuditLog, Identity, Inquiry, Origin, RecordedEffect, Request, RevokedBy, StoreError};
use crate::clock::{Clock, time_ordered_id};
use crate::config::Config;
use crate::desk::{MOST_FREEZES, SharedState};
use crate::lease::{Freeze, FreezeId, Freezes, Frozen};
use crate::postgres::{PostgresSharedState, PostgresStore};

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
    let console = Console::open(&config, wish, Arc::clone(&clock)).await?;
    let id = FreezeId::from_uuid(time_ordered_id(clock.now(), &mut random()?));
    let set = async {
        if console.shared.freezes().await?.len() >= MOST_FREEZES {
            return Err(FreezeError::TooMany);
        }
        Ok(console.log.set_freeze(id, frozen, &console.by).await?)
    };
    let set = set.await;
    console.close(&config).await;
    set
}

/// Thaws, and answers what was frozen.
pub async fn thaw(
    config: Config,
    wish: &FreezeWish,
    id: FreezeId,
    clock: Arc<dyn Clock>,
) -> Result<Freeze, FreezeError> {
    let console = Console::open(&config, wish, clock).await?;
    let lift = async {
        let freezes = console.shared.freezes().await?;
        let freeze = freezes.get(id).ok_or(FreezeError::NoSuchFreeze(id))?;
        console.log.lift_freeze(freeze, &console.by).await?;
        Ok(freeze.clone())
    };
    let lifted = lift.await;
    console.close(&config).await;
    lifted
}

/// The freezes in force; that somebody was shown them is on record first.
pub async fn list_freezes(config: Config, wish: &FreezeWish, clock: Arc<dyn Clock>) -> Result<Freezes, FreezeError> {
    let console = Console::open(&config, wish, clock).await?;
    let read = async {
        let request = Request::for_no_lease(console.by.origin, None);
        let identity = Identity::at_the_console(wish.user.clone());
        let (effect, reason) = (RecordedEffect::Allow, "read");
        let detail = "list freezes".to_owned();
        console.log.read(Inquiry { request, identity, effect, reason, detail }).await?;
        Ok(console.shared.freezes().await?)
    };
    let read = read.await;
    console.close(&config).await;
    read
}

/// The log in a stream of this command's own, and what all instances share.
struct Console {
    log: AuditLog,
    shared: PostgresSharedState,
    by: RevokedBy,
    tasks: TaskTracker,
}

impl Console {
    async fn open(config: &Config, wish: &FreezeWish, clock: Arc<dyn Clock>) -> Result<Self, FreezeError> {
        let deadline = config.audit.deadline;
        let store = PostgresStore::connect(&config.postgres_url, deadline).await.map_err(StartError::from)?;
        let (store, tasks) = (Arc::new(store), TaskTracker::new());
        let log = open_log(&config.audit, store.clone(), Arc::clone(&clock), &tasks)?;
        let request_id = time_ordered_id(clock.now(), &mut random()?);
        let user = wish.user.as_deref().unwrap_or("unknown");
        let by = RevokedBy {
            origin: Origin::console(request_id),
            token_sha256: None,
            actor: format!("os:{user}"),
            why: wish.why.clone(),
        };
        Ok(Self { log, shared: PostgresSharedState::new(store, deadline), by, tasks })
    }

    /// The stream is closed when the log is dropped.
    async fn close(self, config: &Config) {
        let Self { log, tasks, .. } = self;
        drop(log);
        tasks.close();
        if tokio::time::timeout(config.audit.deadline * 2, tasks.wait()).await.is_err() {
            tracing::warn!("the log's stream could not be closed in time; what was committed stands");
        }
    }
}
