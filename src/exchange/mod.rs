//! The exchange, on one page: a token in, temporary credentials out. Every step consumes a value that only the step
//! before can make, so no step can be skipped or reordered:
//!
//! verify → rate → decide → freeze → plan → room → commit the intent → mint → try the credential → commit the outcome → answer.

mod gates;
mod trial;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::rngs::StdRng;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::audit::{
    Abandonment, AuditError, AuditLog, AuditReceipt, FingerprintKey, Identity, Intent, Origin, Outcome, Refused,
    Request, Unrecorded,
};
use crate::clock::Clock;
use crate::desk::{FreezeWatch, HeldCredentials, HeldLease, Outstanding, Rates};
use crate::lease::{self, AssumeRole, LeaseError, LeaseRules, LeaseTerms};
use crate::object_server::{
    Admission, LeaseToEnd, ObjectServer, ObjectServerError, RoleClosed, SelfTest, Standings, TemporaryCredentials,
};
use crate::policy::{AccessRequest, Denial, Grant, PolicyHash, PolicySet, RequestedRole};
use crate::telemetry::{Metrics, Step};
use crate::token::{TokenRefusal, Unverified, VerifiedToken, Verifier};

pub use gates::{Frozen, Limited};
pub use trial::Untrusted;

/// The pauses between attempts to say that a lease was abandoned: over the time in which a store usually comes back.
/// Afterwards it is left to the reconciler.
const ABANDON_PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

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
    /// Where the request came from.
    pub origin: Origin,
}

/// A lease whose outcome is on record: the doors may answer it.
#[derive(Debug)]
pub struct IssuedLease {
    /// What was planned and sent.
    pub assume_role: AssumeRole,
    /// The name of the role granted, or `any`.
    pub role: String,
    /// Who holds it.
    pub token: VerifiedToken,
    /// The times.
    pub terms: LeaseTerms,
    /// The credentials; the desk holds them too, to see them refused when the lease is ended.
    pub credentials: Arc<TemporaryCredentials>,
}

/// Why there is no lease. Each door maps it in one exhaustive match to a fixed answer.
#[derive(Debug, thiserror::Error)]
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
    /// Steps 4 and 6.
    pub log: Arc<AuditLog>,
    /// Keys the fingerprints in outcome rows.
    pub fingerprints: FingerprintKey,
    /// Step 5.
    pub object_server: Arc<dyn ObjectServer>,
    /// Keeps what was handed out.
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
struct Inner(ExchangeParts);

impl Exchange {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: ExchangeParts) -> Self {
        Self { inner: Arc::new(Inner(parts)) }
    }

    /// Runs one exchange.
    pub async fn exchange(&self, request: ExchangeRequest) -> Result<IssuedLease, Refusal> {
        let door = request.origin.door;
        let result = self.run(request).await;
        match &result {
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
        let asked = recordable(&request);
        let token = match self.verify(&request.token).await {
            Ok(token) => token,
            Err(refusal) => return Err(self.record_refused_token(asked, refusal).await),
        };
        // Also of those whom policy grants nothing: each has a row.
        let _under_way = match self.parts().rates.begin(&token) {
            Ok(under_way) => under_way,
            Err(over) => return Err(self.record_limited(asked, &token, None, over.into()).await),
        };
        let access = AccessRequest { role: request.role, session_policy: request.session_policy };
        let grant = match self.decide(&token, &access) {
            Ok(grant) => grant,
            Err(denial) => {
                let policy_hash = denial.policy_hash;
                return Err(self.record_refusal(asked, &token, policy_hash, Refusal::Denied(denial)).await);
            }
        };
        if let Err(frozen) = self.thawed(&token, &grant).await {
            return Err(self.record_frozen(asked, &token, &grant, frozen).await);
        }
        if let Err(over) = self.parts().rates.of_roles(grant.roles()) {
            return Err(self.record_limited(asked, &token, Some(&grant), over.into()).await);
        }
        let assume_role = match self.plan(&grant, &token, request.duration) {
            Ok(assume_role) => assume_role,
            Err(error) => {
                let policy_hash = grant.policy_hash();
                return Err(self.record_refusal(asked, &token, policy_hash, Refusal::Lease(error)).await);
            }
        };
        // Kept until the outcome is on record, where others count it.
        let _room = match self.parts().outstanding.room(&token, grant.roles(), assume_role.lease_id()).await {
            Ok(room) => room,
            Err(none) => return Err(self.record_limited(asked, &token, Some(&grant), none.into()).await),
        };
        match self.admit(&grant, &assume_role) {
            Ok(admission) => self.mint_on_record(asked, token, grant, assume_role, admission).await,
            Err(closed) => {
                let policy_hash = grant.policy_hash();
                Err(self.record_refusal(asked, &token, policy_hash, Refusal::Closed(closed)).await)
            }
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
        let Inner(parts) = self.inner.as_ref();
        self.timed_now(Step::Plan, || {
            let capabilities = parts.object_server.capabilities();
            let parent = parts.object_server.parents().choose(grant.roles())?;
            let mut rng = parts.rng.lock().unwrap_or_else(PoisonError::into_inner);
            lease::plan(grant, token, requested, &parts.lease_rules, capabilities, parts.clock.now(), &mut *rng)
                .map(|planned| planned.under(parent))
        })
    }

    /// Steps 4 to 6, on a task of their own: a caller who hangs up between the mint and the outcome must not leave a
    /// credential without a fate.
    async fn mint_on_record(
        &self,
        asked: Request,
        token: VerifiedToken,
        grant: Grant,
        assume_role: AssumeRole,
        admission: Admission,
    ) -> Result<IssuedLease, Refusal> {
        let inner = Arc::clone(&self.inner);
        let steps =
            async move { Self { inner }.intend_mint_conclude(asked, token, grant, assume_role, admission).await };
        let task = self.parts().tasks.spawn(steps.in_current_span());
        task.await.unwrap_or(Err(Refusal::Audit(AuditError::Unavailable)))
    }

    async fn intend_mint_conclude(
        &self,
        asked: Request,
        token: VerifiedToken,
        grant: Grant,
        assume_role: AssumeRole,
        admission: Admission,
    ) -> Result<IssuedLease, Refusal> {
        let Inner(parts) = self.inner.as_ref();
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
        let outcome = Outcome::Issued { key_fingerprint, ends_at: credentials.expiration };
        if let Err(unrecorded) = self.timed(Step::Conclude, parts.log.conclude(receipt, outcome)).await {
            // No row, no credential: it is dropped here and ended at the server, and then the log is told so.
            drop(credentials);
            let ended = self.revoke(&assume_role).await;
            return Err(self.abandon(unrecorded, ended));
        }
        let credentials = Arc::new(credentials);
        let session_policy = assume_role.session_policy().clone();
        let held = HeldLease { credentials: Arc::clone(&credentials), session_policy };
        parts.held.keep(assume_role.lease_id(), held, parts.clock.now());
        Ok(IssuedLease { role: grant.role().to_owned(), assume_role, token, terms, credentials })
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
        let Inner(parts) = self.inner.as_ref();
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

    /// A refused token becomes a row only if its signature held, and once: anyone can send junk, and whoever holds an old
    /// token can send it again and again. The rest is counted; neither may fill the log.
    async fn record_refused_token(&self, asked: Request, mut refusal: TokenRefusal) -> Refusal {
        let (log, reason) = (&self.parts().log, refusal.reason.code());
        let Some(signed) = refusal.signed.take() else {
            log.count_refusal(reason, asked.origin.address);
            return Refusal::Token(refusal);
        };
        let refused =
            Refused { request: asked, identity: Identity::from(*signed), reason, policy_hash: None, freeze: None };
        self.recorded(log.refuse_token(refused), Refusal::Token(refusal)).await
    }

    /// A verified identity that gets nothing is always a row.
    async fn record_refusal(
        &self,
        asked: Request,
        token: &VerifiedToken,
        policy_hash: PolicyHash,
        refusal: Refusal,
    ) -> Refusal {
        let identity = Identity::from(token);
        let policy_hash = Some(policy_hash.to_hex());
        let refused = Refused { request: asked, identity, reason: refusal.code(), policy_hash, freeze: None };
        self.recorded(self.parts().log.refuse(refused), refusal).await
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
        &self.inner.0
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
