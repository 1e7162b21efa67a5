//! The exchange, on one page: a token in, temporary credentials out. Every step consumes a value that only the step
//! before can make, so no step can be skipped or reordered:
//!
//! verify → rate → decide → freeze → plan → a lease of the same holder, its row committed → answer
//!                        ↘ room for one more → commit the intent → mint → try the credential → commit the outcome → answer.
//!
//! `gates.rs` is what turns a holder away whom policy would serve; `sharing.rs` hands a lease out again and has equal requests
//! wait for one mint; `mint.rs` is the way of a new one.

mod flight;
mod gates;
mod mint;
mod sharing;
mod trial;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::rngs::StdRng;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::audit::{AuditError, AuditLog, FingerprintKey, Identity, Origin, Refused, Request, obligation};
use crate::clock::Clock;
use crate::desk::{FreezeWatch, HeldCredentials, Outstanding, Rates};
use crate::lease::{self, AssumeRole, LeaseError, LeaseRules, LeaseTerms, Smoothing};
use crate::object_server::{ObjectServer, ObjectServerError, RoleClosed, SelfTest, Standings, TemporaryCredentials};
use crate::policy::{AccessRequest, Denial, Grant, PolicyHash, PolicySet, RequestedRole};
use crate::telemetry::{Metrics, Step};
use crate::token::{TokenRefusal, Unverified, VerifiedToken, Verifier};

pub use gates::{Frozen, Limited};
pub use trial::Untrusted;

use flight::Flights;

/// What a door parsed. Nothing in it has been believed yet.
#[derive(Debug)]
pub struct ExchangeRequest {
    /// The bearer token.
    pub token: Unverified,
    /// Which role is asked for.
    pub role: RequestedRole,
    /// How long a lease is asked for.
    pub duration: Option<Duration>,
    /// A policy to narrow the lease by, as sent.
    pub session_policy: Option<String>,
    /// The caller's session name, validated by the door; recorded, never relied on.
    pub session_name: Option<String>,
    /// A new lease is wanted, not one that is out already.
    pub fresh: bool,
    /// Where the request came from.
    pub origin: Origin,
}

/// A lease whose outcome, or whose handing out again, is on record: the doors may answer it.
#[derive(Debug)]
pub struct IssuedLease {
    /// What was planned and sent.
    pub assume_role: Arc<AssumeRole>,
    /// The name of the role granted, or `any`.
    pub role: String,
    /// Who holds it.
    pub token: VerifiedToken,
    /// The times.
    pub terms: LeaseTerms,
    /// The credentials; the desk holds them too, to hand them out again and to see them refused when the lease is ended.
    pub credentials: Arc<TemporaryCredentials>,
    /// They were handed out before.
    pub reused: bool,
}

/// Why there is no lease. Each door maps it in one exhaustive match to a fixed answer. `Clone`: those who wait for one mint
/// share its refusal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// The token does not prove an identity.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// Policy grants nothing.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// What is granted cannot be leased as asked.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The log cannot record it: nothing leaves.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The object server minted nothing believable.
    #[error(transparent)]
    ObjectServer(#[from] ObjectServerError),
    /// What was minted is not handed out.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Nothing is granted under the role until its credentials pass a self-test.
    #[error(transparent)]
    Closed(#[from] RoleClosed),
    /// The holder, the role or everything is frozen.
    #[error(transparent)]
    Frozen(#[from] Frozen),
    /// A quota is used up.
    #[error(transparent)]
    Limited(#[from] Limited),
}

impl Refusal {
    /// The stable reason code: in rows, counters and the log, never in a 401.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(refusal) => refusal.reason.code(),
            Self::Denied(denial) => denial.reason.code(),
            Self::Lease(error) => error.code(),
            Self::Audit(error) => error.code(),
            Self::ObjectServer(error) => error.code(),
            Self::Untrusted(untrusted) => untrusted.code(),
            Self::Closed(_) => "role_closed",
            Self::Frozen(frozen) => frozen.code(),
            Self::Limited(limited) => limited.code(),
        }
    }

    /// The codes of every refusal after the intent upon which a credential may exist at the object server: what the reconciler
    /// has ended again.
    pub const MAY_HAVE_MINTED: [&str; 11] = [
        "object_server_interrupted",
        "object_server_failed",
        "object_server_nonsense",
        "object_server_expiration",
        "object_server_outdated",
        "object_server_left_behind",
        "self_test_inside",
        "self_test_outside",
        "self_test_escape",
        "self_test_unclear",
        "role_closed",
    ];

    /// Of a refusal after the intent: whether a credential may exist at the object server.
    fn may_have_minted(&self) -> bool {
        match self {
            Self::Token(_) | Self::Denied(_) | Self::Lease(_) | Self::Audit(_) | Self::Frozen(_) | Self::Limited(_) => {
                false
            }
            Self::ObjectServer(error) => error.may_have_minted(),
            Self::Untrusted(_) | Self::Closed(_) => true,
        }
    }
}

/// The use case.
#[derive(Debug)]
pub struct Exchange {
    inner: Arc<Inner>,
}

/// Everything one exchange needs.
#[derive(Debug)]
pub struct ExchangeParts {
    /// Step 1.
    pub verifier: Verifier,
    /// Step 2; swapped whole.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// Between steps 1 and 2: how often each asks.
    pub rates: Rates,
    /// Between steps 2 and 3: what is frozen.
    pub freezes: Arc<FreezeWatch>,
    /// Step 3.
    pub lease_rules: LeaseRules,
    /// Between steps 3 and 4: how many leases are out.
    pub outstanding: Outstanding,
    /// Draws lengths under the cap, where there is one.
    pub smoothing: Option<Arc<Smoothing>>,
    /// Steps 4 and 6.
    pub log: Arc<AuditLog>,
    /// Keys the fingerprints in outcome rows.
    pub fingerprints: FingerprintKey,
    /// Step 5.
    pub object_server: Arc<dyn ObjectServer>,
    /// Keeps what was handed out, and hands it out again.
    pub held: Arc<HeldCredentials>,
    /// Between steps 5 and 6: tries credentials.
    pub self_test: Arc<SelfTest>,
    /// Which roles were tried, and which are closed.
    pub standings: Arc<Standings>,
    /// Draws lease lengths and ids.
    pub rng: Mutex<StdRng>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counters and step timings.
    pub metrics: Arc<Metrics>,
    /// Where steps 4 to 6 run, so that a drain waits for them.
    pub tasks: TaskTracker,
}

#[derive(Debug)]
struct Inner {
    parts: ExchangeParts,
    flights: Flights,
}

/// A request that may be leased as it was planned: whose, under which grant, and what will be sent.
#[derive(Debug)]
struct Claim {
    asked: Request,
    token: VerifiedToken,
    grant: Grant,
    assume_role: AssumeRole,
}

impl Exchange {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: ExchangeParts) -> Self {
        Self { inner: Arc::new(Inner { parts, flights: Flights::default() }) }
    }

    /// Runs one exchange.
    pub async fn exchange(&self, request: ExchangeRequest) -> Result<IssuedLease, Refusal> {
        let door = request.origin.door;
        let result = self.run(request).await;
        match &result {
            Ok(lease) if lease.reused => {
                self.parts().metrics.reused(door);
                tracing::info!(lease_id = %lease.assume_role.lease_id(), role = lease.role, "lease handed out again");
            }
            Ok(lease) => {
                self.parts().metrics.issued(door);
                tracing::info!(lease_id = %lease.assume_role.lease_id(), role = lease.role, "lease issued");
            }
            Err(refusal) => {
                self.parts().metrics.refused(door, refusal.code());
                tracing::info!(reason = refusal.code(), cause = %refusal, "exchange refused");
            }
        }
        result
    }

    async fn run(&self, request: ExchangeRequest) -> Result<IssuedLease, Refusal> {
        let (asked, fresh) = (recordable(&request), request.fresh);
        let token = match self.verify(&request.token).await {
            Ok(token) => token,
            Err(refusal) => return Err(self.record_refused_token(asked, refusal).await),
        };
        if let Some(emergency) = token.emergency() {
            let (incident, by) = (emergency.incident(), emergency.authorized_by());
            tracing::error!(issuer = %token.issuer(), incident, authorized_by = by, "an emergency token asks");
        }
        // Also of those whom policy grants nothing: each has a row.
        let _under_way = match self.parts().rates.begin(&token) {
            Ok(under_way) => under_way,
            Err(over) => return Err(self.record_refusal(asked, &token, None, Refusal::Limited(over.into())).await),
        };
        let access = AccessRequest { role: request.role, session_policy: request.session_policy };
        let grant = match self.decide(&token, &access) {
            Ok(grant) => grant,
            Err(denial) => {
                let policy_hash = Some(denial.policy_hash);
                return Err(self.record_refusal(asked, &token, policy_hash, Refusal::Denied(denial)).await);
            }
        };
        if let Err(frozen) = self.thawed(&token, &grant).await {
            return Err(self.record_refusal(asked, &token, Some(grant.policy_hash()), Refusal::Frozen(frozen)).await);
        }
        if let Err(over) = self.parts().rates.of_roles(grant.roles()) {
            return Err(self
                .record_refusal(asked, &token, Some(grant.policy_hash()), Refusal::Limited(over.into()))
                .await);
        }
        let assume_role = match self.plan(&grant, &token, request.duration) {
            Ok(assume_role) => assume_role,
            Err(error) => {
                let policy_hash = Some(grant.policy_hash());
                return Err(self.record_refusal(asked, &token, policy_hash, Refusal::Lease(error)).await);
            }
        };
        // Whatever forbids this holder a lease is asked here: it forbids one that is out already as well as a new one.
        let claim = Claim { asked, token, grant, assume_role };
        if self.parts().lease_rules.reuse && !fresh && claim.token.emergency().is_none() {
            self.share(claim).await
        } else {
            self.mint_on_record(claim, None).await
        }
    }

    /// Step 1.
    async fn verify(&self, token: &Unverified) -> Result<VerifiedToken, TokenRefusal> {
        let now = self.parts().clock.now();
        self.timed(Step::Verify, self.parts().verifier.verify(token, now)).await
    }

    /// Step 2.
    fn decide(&self, token: &VerifiedToken, access: &AccessRequest) -> Result<Grant, Denial> {
        self.timed_now(Step::Decide, || self.parts().policies.load().decide(token, access))
    }

    /// Step 3.
    fn plan(
        &self,
        grant: &Grant,
        token: &VerifiedToken,
        requested: Option<Duration>,
    ) -> Result<AssumeRole, LeaseError> {
        let parts = self.parts();
        self.timed_now(Step::Plan, || {
            let capabilities = parts.object_server.capabilities();
            let parent = parts.object_server.parents().choose(grant.roles())?;
            let mut rng = parts.rng.lock().unwrap_or_else(PoisonError::into_inner);
            lease::plan(grant, token, requested, &parts.lease_rules, capabilities, parts.clock.now(), &mut *rng)
                .map(|planned| planned.under(parent))
        })
    }

    /// A refused token becomes a row only if its signature held, and once: anyone can send junk, and whoever holds an old
    /// token can send it again and again. The rest is counted; neither may fill the log.
    async fn record_refused_token(&self, asked: Request, mut refusal: TokenRefusal) -> Refusal {
        let (log, reason) = (&self.parts().log, refusal.reason.code());
        let Some(signed) = refusal.signed.take() else {
            log.count_refusal(reason, asked.origin.address);
            return Refusal::Token(refusal);
        };
        let refused = Refused {
            request: asked,
            identity: Identity::from(*signed),
            reason,
            policy_hash: None,
            freeze: None,
            obligation: None,
        };
        self.recorded(log.refuse_token(refused), Refusal::Token(refusal)).await
    }

    /// A verified identity that gets nothing is always a row; of whoever a gate turns away, the first time.
    async fn record_refusal(
        &self,
        request: Request,
        token: &VerifiedToken,
        policy_hash: Option<PolicyHash>,
        refusal: Refusal,
    ) -> Refusal {
        let (log, reason) = (&self.parts().log, refusal.code());
        let (gate, freeze) = match &refusal {
            // What cannot be read is in the log: it would not take a row either.
            Refusal::Limited(Limited::Unknown) | Refusal::Frozen(Frozen::Unknown(_)) => {
                log.count_refusal(reason, request.origin.address);
                return refusal;
            }
            Refusal::Limited(Limited::Over(_)) => (true, None),
            Refusal::Frozen(Frozen::Holder(freeze) | Frozen::Everything(freeze)) => (true, Some(*freeze)),
            Refusal::Token(_)
            | Refusal::Denied(_)
            | Refusal::Lease(_)
            | Refusal::Audit(_)
            | Refusal::ObjectServer(_)
            | Refusal::Untrusted(_)
            | Refusal::Closed(_) => (false, None),
        };
        let policy_hash = policy_hash.map(PolicyHash::to_hex);
        let obligation = obligation(token);
        let refused = Refused { request, identity: Identity::from(token), reason, policy_hash, freeze, obligation };
        let record = async { if gate { log.refuse_holder(refused).await } else { log.refuse(refused).await } };
        self.recorded(record, refusal).await
    }

    /// The same, of what was planned for it.
    async fn refuse(&self, claim: Claim, refusal: Refusal) -> Refusal {
        let Claim { asked, token, grant, .. } = claim;
        self.record_refusal(asked, &token, Some(grant.policy_hash()), refusal).await
    }

    /// The refusal, if it could be recorded; otherwise the log's own: no answer without a row.
    async fn recorded(&self, record: impl Future<Output = Result<(), AuditError>>, refusal: Refusal) -> Refusal {
        match self.timed(Step::Conclude, record).await {
            Ok(()) => refusal,
            Err(error) => Refusal::Audit(error),
        }
    }

    /// Runs one step under its span and into its histogram.
    async fn timed<T>(&self, step: Step, work: impl Future<Output = T>) -> T {
        let started = self.parts().clock.elapsed();
        let result = work.instrument(step.span()).await;
        self.parts().metrics.step(step, self.parts().clock.elapsed().saturating_sub(started));
        result
    }

    /// The same for a step that waits for nothing.
    fn timed_now<T>(&self, step: Step, work: impl FnOnce() -> T) -> T {
        let started = self.parts().clock.elapsed();
        let result = step.span().in_scope(work);
        self.parts().metrics.step(step, self.parts().clock.elapsed().saturating_sub(started));
        result
    }

    fn parts(&self) -> &ExchangeParts {
        &self.inner.parts
    }
}

fn recordable(request: &ExchangeRequest) -> Request {
    Request {
        origin: request.origin,
        requested_role: match &request.role {
            RequestedRole::Named(role) => Some(role.as_str().to_owned()),
            RequestedRole::Any => Some("any".to_owned()),
            RequestedRole::Unusable => None,
        },
        requested_seconds: request.duration.map(|duration| duration.as_secs()),
        session_name: request.session_name.clone(),
        token_sha256: Some(request.token.digest().to_hex()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object_server::SelfTestCheck;

    #[test]
    fn every_refusal_that_may_leave_a_credential_behind_is_known_by_its_code() {
        let of_the_server = ObjectServerError::MAY_HAVE_MINTED;
        assert!(of_the_server.iter().all(|code| Refusal::MAY_HAVE_MINTED.contains(code)));
        let checks = [SelfTestCheck::Inside, SelfTestCheck::Outside, SelfTestCheck::Escape];
        let untrusted = checks.map(Untrusted::Failed).into_iter().chain([Untrusted::Unclear]);
        let tried: Vec<Refusal> = untrusted
            .map(Refusal::Untrusted)
            .chain([Refusal::Closed(RoleClosed { check: SelfTestCheck::Inside })])
            .collect();
        for refusal in &tried {
            assert!(refusal.may_have_minted() && Refusal::MAY_HAVE_MINTED.contains(&refusal.code()), "{refusal:?}");
        }
        assert_eq!(of_the_server.len() + tried.len(), Refusal::MAY_HAVE_MINTED.len());
        let refused = Refusal::ObjectServer(ObjectServerError::NotReady);
        assert!(!refused.may_have_minted() && !Refusal::MAY_HAVE_MINTED.contains(&refused.code()));
    }
}
