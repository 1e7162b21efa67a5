//! Who may have leases ended: whom `operators.toml` gives `lease.revoke`, and everybody their own, with a token of the same
//! holder. Whoever is turned away is on record, and learns of no lease whether it exists.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::run::RunError;
use super::{BadSelection, Desk, Ended, OpenLease, Pace, Selection, Summary, Whose};
use crate::audit::{
    AuditError, AuditLog, Identity, Inquiry, LeaseOnRecord, Origin, RecordedEffect, Request, RevokedBy, StoreError,
};
use crate::lease::LeaseId;
use crate::policy::{Permission, PolicySet};
use crate::token::{TokenRefusal, Unverified, VerifiedToken, Verifier};

/// What a run tells may wait: a reader who does not read stops no run.
const UNREAD: usize = 65_536;
/// Single leases being ended at once.
const AT_ONCE: usize = 64;

/// What a door parsed. Nothing in it has been believed yet.
#[derive(Debug)]
pub struct DeskRequest {
    /// The bearer token.
    pub token: Unverified,
    /// Where the request came from.
    pub origin: Origin,
    /// Why, in the caller's words.
    pub why: Option<String>,
}

/// Why nothing was ended.
#[derive(Debug, thiserror::Error)]
pub enum DeskRefusal {
    /// The token does not prove an identity.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// `operators.toml` does not give this identity `lease.revoke`.
    #[error("the identity may not end the leases of others")]
    NotPermitted,
    /// There is no open lease of that id, or it is somebody else's.
    #[error("no open lease of that id, or not the caller's")]
    NoSuchLease,
    /// Not one selection.
    #[error(transparent)]
    Selection(#[from] BadSelection),
    /// The log cannot record it: nothing was sent.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The open leases cannot be read.
    #[error("the open leases cannot be read: {0}")]
    Store(#[from] StoreError),
    /// Another run is under way, or too many at once.
    #[error("leases are being ended already")]
    Busy,
}

impl DeskRefusal {
    /// The stable reason code: in rows, counters and the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(refusal) => refusal.reason.code(),
            Self::NotPermitted => "not_permitted",
            Self::NoSuchLease => "no_such_lease",
            Self::Selection(_) => "invalid_selection",
            Self::Audit(error) => error.code(),
            Self::Store(_) => "log_unreadable",
            Self::Busy => "desk_busy",
        }
    }
}

/// What a run tells, line by line.
#[derive(Debug)]
pub enum Told {
    /// One lease is done.
    Ended(Box<Ended>),
    /// The run is over; without a summary it broke off, with this code.
    Over(Result<Summary, &'static str>),
}

/// Who may ask.
#[derive(Debug)]
pub struct Operators {
    /// Who somebody is.
    pub verifier: Verifier,
    /// What they may; swapped whole.
    pub policies: Arc<ArcSwap<PolicySet>>,
}

/// What the desk behind a door is made of.
#[derive(Debug)]
pub struct LeaseDeskParts {
    /// Who may ask.
    pub operators: Operators,
    /// What ends leases.
    pub desk: Desk,
    /// Where work goes on when its caller hangs up.
    pub tasks: TaskTracker,
    /// Ends a run between two leases.
    pub stop: CancellationToken,
}

/// The use case of the desk's doors.
#[derive(Debug)]
pub struct LeaseDesk {
    operators: Operators,
    desk: Arc<Desk>,
    tasks: TaskTracker,
    stop: CancellationToken,
    operators_turns: Turns,
    holders_turns: Turns,
}

/// What is under way at once, of operators and of holders each: holders must not keep an operator waiting.
#[derive(Debug)]
struct Turns {
    runs: Arc<Semaphore>,
    single: Arc<Semaphore>,
}

impl Turns {
    fn new() -> Self {
        Self { runs: Arc::new(Semaphore::new(1)), single: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl LeaseDesk {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: LeaseDeskParts) -> Self {
        let LeaseDeskParts { operators, desk, tasks, stop } = parts;
        let (operators_turns, holders_turns) = (Turns::new(), Turns::new());
        Self { operators, desk: Arc::new(desk), tasks, stop, operators_turns, holders_turns }
    }

    /// Ends one lease.
    pub async fn end_lease(&self, asked: DeskRequest, lease: LeaseId) -> Result<Ended, DeskRefusal> {
        let what = format!("revoke {}", Selection::Lease(lease).kind());
        let (caller, by) = self.know(asked, &what).await?;
        let open = self.find(lease).await?;
        let Some(open) = open.filter(|open| caller.may_end(&open.lease)) else {
            return Err(self.turn_away(&by, caller.identity, what, DeskRefusal::NoSuchLease).await);
        };
        let whose = caller.whose();
        let turn = Arc::clone(&self.turns(whose).single).try_acquire_owned().map_err(|_| DeskRefusal::Busy)?;
        let desk = Arc::clone(&self.desk);
        // On a task of its own: once the wish is on record, what was seen must follow, also when the caller hangs up.
        let ending = async move {
            let _turn = turn;
            desk.end(&open, &by, whose).await
        };
        let ended = self.tasks.spawn(ending.in_current_span()).await;
        Ok(ended.unwrap_or(Err(AuditError::Unavailable))?)
    }

    /// Begins to end every open lease that is meant. It goes on when nobody listens any more.
    pub async fn revoke(&self, asked: DeskRequest, selection: Selection) -> Result<mpsc::Receiver<Told>, DeskRefusal> {
        let what = format!("revoke {}", selection.kind());
        let (caller, by) = self.know(asked, &what).await?;
        let may = match &selection {
            Selection::Lease(lease) => self.find(*lease).await?.is_some_and(|open| caller.may_end(&open.lease)),
            Selection::Holder { .. }
            | Selection::Role(_)
            | Selection::Group { .. }
            | Selection::Issuer(_)
            | Selection::All => caller.is_operator || selection.is_own(&caller.token),
        };
        if !may {
            let refusal = match &selection {
                Selection::Lease(_) => DeskRefusal::NoSuchLease,
                Selection::Holder { .. }
                | Selection::Role(_)
                | Selection::Group { .. }
                | Selection::Issuer(_)
                | Selection::All => DeskRefusal::NotPermitted,
            };
            return Err(self.turn_away(&by, caller.identity, what, refusal).await);
        }
        let whose = caller.whose();
        let turn = Arc::clone(&self.turns(whose).runs).try_acquire_owned().map_err(|_| DeskRefusal::Busy)?;
        let (tell, told) = mpsc::channel(UNREAD);
        let (desk, stop) = (Arc::clone(&self.desk), self.stop.clone());
        let running = async move {
            let _turn = turn;
            // A full or closed channel is a reader's loss: the log has every row.
            let mut say = |ended| drop(tell.try_send(Told::Ended(Box::new(ended))));
            let ran = desk.run((&selection, whose), &by, Pace::USUAL, &stop, &mut say).await;
            let over = ran.map_err(|error| {
                tracing::error!(%error, "a run of revocations broke off");
                match error {
                    RunError::Audit(error) => error.code(),
                    RunError::Store(_) => "log_unreadable",
                }
            });
            let _ = tell.try_send(Told::Over(over));
        };
        self.tasks.spawn(running.in_current_span());
        Ok(told)
    }

    fn turns(&self, whose: Whose) -> &Turns {
        match whose {
            Whose::Operators => &self.operators_turns,
            Whose::Holders => &self.holders_turns,
        }
    }

    async fn find(&self, lease: LeaseId) -> Result<Option<OpenLease>, StoreError> {
        let parts = &self.desk.parts;
        let page = parts.open_leases.open(&Selection::Lease(lease), parts.clock.now(), None).await?;
        Ok(page.leases.into_iter().next())
    }

    /// Who asks.
    async fn know(&self, asked: DeskRequest, what: &str) -> Result<(Caller, RevokedBy), DeskRefusal> {
        let DeskRequest { token, origin, why } = asked;
        let token_sha256 = Some(token.digest().to_hex());
        let by = |actor| RevokedBy { origin, token_sha256, actor, why };
        match self.operators.verifier.verify(&token, self.desk.parts.clock.now()).await {
            Ok(token) => {
                let permitted =
                    self.operators.policies.load().operators().permits(&token, Permission::LeaseRevoke).is_some();
                let by = by(format!("{}:{}", token.issuer().as_str(), token.subject().as_str()));
                Ok((Caller { identity: Identity::from(&token), token, is_operator: permitted }, by))
            }
            Err(refusal) => Err(self.refuse_token(&by(String::new()), what, refusal).await),
        }
    }

    /// A refused token becomes a row only if its signature held: anyone can send junk. The rest is counted.
    async fn refuse_token(&self, by: &RevokedBy, what: &str, mut refusal: TokenRefusal) -> DeskRefusal {
        let Some(signed) = refusal.signed.take() else {
            self.log().count_refusal(refusal.reason.code(), by.origin.address);
            return refusal.into();
        };
        self.turn_away(by, Identity::from(*signed), what.to_owned(), refusal.into()).await
    }

    /// On record once, then counted: whoever may not end leases must not fill the log by asking again and again.
    async fn turn_away(&self, by: &RevokedBy, identity: Identity, what: String, refusal: DeskRefusal) -> DeskRefusal {
        let request = Request::for_no_lease(by.origin, by.token_sha256.clone());
        let (effect, reason) = (RecordedEffect::Deny, refusal.code());
        match self.log().refuse_reader(Inquiry { request, identity, effect, reason, detail: what }).await {
            Ok(()) => refusal,
            Err(error) => error.into(),
        }
    }

    fn log(&self) -> &AuditLog {
        &self.desk.parts.log
    }
}

/// Somebody with a good token.
struct Caller {
    token: VerifiedToken,
    identity: Identity,
    is_operator: bool,
}

impl Caller {
    fn whose(&self) -> Whose {
        if self.is_operator { Whose::Operators } else { Whose::Holders }
    }

    /// An operator any, everybody their own. A lease is a holder's by issuer and subject: the same subject at another issuer
    /// is somebody else.
    fn may_end(&self, lease: &LeaseOnRecord) -> bool {
        let holder = lease.holder();
        let own = holder.issuer == self.token.issuer().as_str()
            && holder.subject.as_deref() == Some(self.token.subject().as_str());
        self.is_operator || own
    }
}
