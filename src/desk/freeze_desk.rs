//! Who may freeze and thaw: whom `operators.toml` gives `freeze`, unless frozen themselves. A holder whose token was stolen and
//! who was frozen for it must not be thawed with that token. A freeze of everything or of a role means no operator.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;

use super::{DeskRequest, FreezeWatch, FreezesUnknown, Operators};
use crate::audit::{AuditError, AuditLog, Identity, Inquiry, Origin, RecordedEffect, Request, RevokedBy};
use crate::clock::{Clock, time_ordered_id};
use crate::lease::{BadFreeze, Freeze, FreezeId, Freezes, Frozen};
use crate::policy::Permission;
use crate::token::{TokenRefusal, VerifiedToken};

/// The most freezes in force: every exchange is held against each of them.
pub const MOST_FREEZES: usize = 1000;

/// Why nothing was frozen or thawed.
#[derive(Debug, thiserror::Error)]
pub enum FreezeRefusal {
    /// The token does not prove an identity.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// `operators.toml` does not give this identity `freeze`, or it is frozen itself.
    #[error("the identity may not freeze, or is frozen")]
    NotPermitted,
    /// Nothing that can be frozen.
    #[error(transparent)]
    Freeze(#[from] BadFreeze),
    /// No role of the policies has this name: a misspelt one would stop nobody.
    #[error("no role of the policies has this name")]
    NoSuchRole,
    /// No freeze of that id is in force.
    #[error("no freeze of that id is in force")]
    NoSuchFreeze,
    /// As many as there may be.
    #[error("{MOST_FREEZES} freezes are in force: lift some, or freeze a group, an issuer or everything")]
    TooMany,
    /// The log cannot record it: nothing is frozen or thawed.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// What is frozen cannot be read.
    #[error(transparent)]
    Unknown(#[from] FreezesUnknown),
}

impl FreezeRefusal {
    /// The stable reason code: in rows, counters and the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(refusal) => refusal.reason.code(),
            Self::NotPermitted => "not_permitted",
            Self::Freeze(_) | Self::NoSuchRole => "invalid_freeze",
            Self::NoSuchFreeze => "no_such_freeze",
            Self::TooMany => "too_many_freezes",
            Self::Audit(error) => error.code(),
            Self::Unknown(_) => "freezes_unknown",
        }
    }
}

/// What the use case is made of.
#[derive(Debug)]
pub struct FreezeDeskParts {
    /// Who may ask.
    pub operators: Operators,
    /// What is frozen.
    pub freezes: Arc<FreezeWatch>,
    /// Where it is said.
    pub log: Arc<AuditLog>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids.
    pub rng: Mutex<StdRng>,
}

/// The use case of the doors that freeze.
#[derive(Debug)]
pub struct FreezeDesk {
    parts: FreezeDeskParts,
}

impl FreezeDesk {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: FreezeDeskParts) -> Self {
        Self { parts }
    }

    /// Freezes. It is in force here when this answers, and everywhere within a second.
    pub async fn set(&self, asked: DeskRequest, frozen: Frozen) -> Result<Freeze, FreezeRefusal> {
        let (by, freezes) = self.permitted(asked, format!("freeze {frozen}")).await?;
        if let Frozen::Role(role) = &frozen
            && !self.parts.operators.policies.load().roles().any(|(name, _, _)| name.as_str() == role)
        {
            return Err(FreezeRefusal::NoSuchRole);
        }
        if freezes.len() >= MOST_FREEZES {
            return Err(FreezeRefusal::TooMany);
        }
        let id = {
            let mut rng = self.parts.rng.lock().unwrap_or_else(PoisonError::into_inner);
            FreezeId::from_uuid(time_ordered_id(self.parts.clock.now(), &mut *rng))
        };
        let freeze = self.parts.log.set_freeze(id, frozen, &by).await?;
        tracing::warn!(freeze_id = %id, frozen = %freeze.frozen, "FROZEN: nothing is granted to it until it is thawed");
        self.seen().await;
        Ok(freeze)
    }

    /// Thaws.
    pub async fn lift(&self, asked: DeskRequest, id: FreezeId) -> Result<Freeze, FreezeRefusal> {
        let (by, freezes) = self.permitted(asked, format!("thaw {id}")).await?;
        let freeze = freezes.get(id).ok_or(FreezeRefusal::NoSuchFreeze)?.clone();
        self.parts.log.lift_freeze(&freeze, &by).await?;
        tracing::warn!(freeze_id = %id, frozen = %freeze.frozen, "thawed");
        self.seen().await;
        Ok(freeze)
    }

    /// The freezes in force; that somebody was shown them is on record first.
    pub async fn list(&self, asked: DeskRequest) -> Result<Arc<Freezes>, FreezeRefusal> {
        let (caller, freezes) = self.know(asked, "list freezes".to_owned()).await?;
        let Caller { identity, by } = caller;
        let request = Request::for_no_lease(by.origin, by.token_sha256);
        let (effect, reason) = (RecordedEffect::Allow, "read");
        let detail = "list freezes".to_owned();
        self.parts.log.read(Inquiry { request, identity, effect, reason, detail }).await?;
        Ok(freezes)
    }

    /// What was just said is read, so that it holds here at once. It is on record: should this fail, it is read with the next.
    async fn seen(&self) {
        let _ = self.parts.freezes.read().await;
    }

    async fn permitted(&self, asked: DeskRequest, what: String) -> Result<(RevokedBy, Arc<Freezes>), FreezeRefusal> {
        let (Caller { by, .. }, freezes) = self.know(asked, what).await?;
        Ok((by, freezes))
    }

    /// Who asks, if they may.
    async fn know(&self, asked: DeskRequest, what: String) -> Result<(Caller, Arc<Freezes>), FreezeRefusal> {
        let DeskRequest { token, origin, why } = asked;
        let token_sha256 = Some(token.digest().to_hex());
        let known = self.parts.operators.verifier.verify(&token, self.parts.clock.now()).await;
        let token = match known {
            Ok(token) => token,
            Err(mut refusal) => {
                let Some(signed) = refusal.signed.take() else {
                    self.parts.log.count_refusal(refusal.reason.code(), origin.address);
                    return Err(refusal.into());
                };
                return Err(self.turn_away(origin, token_sha256, Identity::from(*signed), what, refusal.into()).await);
            }
        };
        let freezes = self.parts.freezes.read().await?;
        let identity = Identity::from(&token);
        if !self.permits(&token) || freezes.of_holder(&token).is_some() {
            return Err(self.turn_away(origin, token_sha256, identity, what, FreezeRefusal::NotPermitted).await);
        }
        let actor = format!("{}:{}", token.issuer().as_str(), token.subject().as_str());
        Ok((Caller { identity, by: RevokedBy { origin, token_sha256, actor, why } }, freezes))
    }

    fn permits(&self, token: &VerifiedToken) -> bool {
        self.parts.operators.policies.load().operators().permits(token, Permission::Freeze).is_some()
    }

    /// On record once, then counted: whoever may not freeze must not fill the log by asking again and again.
    async fn turn_away(
        &self,
        origin: Origin,
        token_sha256: Option<String>,
        identity: Identity,
        detail: String,
        refusal: FreezeRefusal,
    ) -> FreezeRefusal {
        let request = Request::for_no_lease(origin, token_sha256);
        let (effect, reason) = (RecordedEffect::Deny, refusal.code());
        match self.parts.log.refuse_reader(Inquiry { request, identity, effect, reason, detail }).await {
            Ok(()) => refusal,
            Err(error) => error.into(),
        }
    }
}

/// Somebody who may freeze.
struct Caller {
    identity: Identity,
    by: RevokedBy,
}
