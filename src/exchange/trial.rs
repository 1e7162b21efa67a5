//! The self-test within the exchange: whether a role is open before anything is minted, and after the mint whether the
//! credential may leave. A failure closes the role, is on record and alerts; a server that does not say closes nothing.

use std::sync::PoisonError;
use std::time::Duration;

use rand::RngExt;
use tokio::time::timeout;

use super::{Exchange, Refusal};
use crate::audit::{AuditError, ClosedRole};
use crate::lease::AssumeRole;
use crate::object_server::{Admission, Change, Finding, RoleClosed, SelfTestCheck, TemporaryCredentials};
use crate::policy::{Bucket, Grant, RoleName};

/// How long a credential waits for the verdict on the first of its like.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a credential that was minted is not handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It failed its self-test.
    #[error("the credential failed its self-test ({})", .0.code())]
    Failed(SelfTestCheck),
    /// The object server did not say, or not in time.
    #[error("the object server did not answer the self-test")]
    Unclear,
}

impl Untrusted {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Failed(check) => check.code(),
            Self::Unclear => "self_test_unclear",
        }
    }
}

impl Exchange {
    /// Whether anything may be minted under this grant.
    pub(super) fn admit(&self, grant: &Grant, request: &AssumeRole) -> Result<Admission, RoleClosed> {
        let parts = self.parts();
        let draw = parts.rng.lock().unwrap_or_else(PoisonError::into_inner).random();
        parts.standings.admit(grant, request.session_policy(), parts.clock.elapsed(), draw)
    }

    /// Tries the credential, if it is to be tried. Of equal ones that come together the first is, and the others wait.
    pub(super) async fn try_credential(
        &self,
        admission: &Admission,
        grant: &Grant,
        request: &AssumeRole,
        credentials: &TemporaryCredentials,
    ) -> Result<(), Refusal> {
        let standings = &self.parts().standings;
        match admission {
            Admission::Known => Ok(()),
            Admission::Tried => self.self_test(grant, request, credentials).await,
            Admission::First => {
                let gate = standings.gate(grant, request.session_policy());
                let Ok(_first) = timeout(PATIENCE, gate.lock()).await else {
                    return Err(Refusal::Untrusted(Untrusted::Unclear));
                };
                match standings.verdict(grant, request.session_policy()) {
                    Some(verdict) => verdict.map_err(Refusal::Closed),
                    None => self.self_test(grant, request, credentials).await,
                }
            }
        }
    }

    async fn self_test(
        &self,
        grant: &Grant,
        request: &AssumeRole,
        credentials: &TemporaryCredentials,
    ) -> Result<(), Refusal> {
        let parts = self.parts();
        let policies = parts.policies.load_full();
        let buckets: Vec<&str> = policies.buckets().iter().map(Bucket::name).collect();
        // Boxed: calls at once are a large future, and most leases are not tried.
        let finding = Box::pin(parts.self_test.run(request, credentials, &buckets)).await;
        let change = parts.standings.settle(grant, request.session_policy(), &finding, parts.clock.elapsed());
        if change == Some(Change::Closed) {
            // Those that are out under it passed before; by what was seen now none of them is handed out again.
            parts.held.withdraw_of(|holder| holder.roles() == grant.roles());
        }
        let (role, lease_id) = (grant.role(), request.lease_id());
        match finding {
            Finding::Passed => {
                tracing::info!(role, %lease_id, "the credential passed its self-test");
                self.record(change, grant, "the self-test passed".to_owned()).await;
                Ok(())
            }
            Finding::Failed { check, seen } => {
                tracing::error!(role, %lease_id, check = check.code(), seen, "SELF-TEST FAILED: the credential is not handed out");
                parts.metrics.self_test_failed(role, check.code());
                self.record(change, grant, format!("{}: {seen}", check.code())).await;
                Err(Refusal::Untrusted(Untrusted::Failed(check)))
            }
            Finding::Unclear { seen } => {
                tracing::warn!(role, %lease_id, seen, "the object server did not answer the self-test");
                Err(Refusal::Untrusted(Untrusted::Unclear))
            }
        }
    }

    /// Says that the role was closed, or opened. It is so in memory already: a log that is down opens no role.
    async fn record(&self, change: Option<Change>, grant: &Grant, detail: String) {
        let parts = self.parts();
        let Some(change) = change else { return };
        let closed = ClosedRole {
            role: grant.role().to_owned(),
            roles: grant.roles().iter().map(RoleName::to_string).collect(),
            policy_hash: grant.policy_hash().to_hex(),
            detail,
        };
        let (role, is_closed) = (grant.role(), change == Change::Closed);
        parts.metrics.role_closed(role, is_closed);
        let recorded: Result<(), AuditError> = match change {
            Change::Closed => {
                tracing::error!(role, "THE ROLE IS CLOSED: nothing is granted under it until a self-test passes");
                parts.log.role_closed(closed).await
            }
            Change::Opened => {
                tracing::warn!(role, "the role is open again");
                parts.log.role_opened(closed, "self_test_passed").await
            }
        };
        if let Err(error) = recorded {
            tracing::error!(role, is_closed, %error, "the standing of the role is not on record");
        }
    }
}
