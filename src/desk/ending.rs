//! Ending one lease: the wish on record, then the object server, then the proof, then what was seen on record. If the log
//! cannot take the wish, nothing is sent: an end that nobody could explain later is not brought about.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::absence::Before;
use super::proof::Proof;
use super::{HeldCredentials, OpenLease, OpenLeases, SessionProbe, Whose};
use crate::audit::{AuditError, AuditLog, FingerprintKey, LeaseOnRecord, Revoked, RevokedBy, instant};
use crate::clock::Clock;
use crate::lease::Revocation;
use crate::object_server::{LeaseToEnd, ObjectServer, ObjectServerError};

/// How long a holder that wishes again for the end of a lease is told what was said last: each wish is two rows, and at MinIO a
/// scan of all sessions.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What the desk works with.
#[derive(Debug)]
pub struct DeskParts {
    /// Which leases are open.
    pub open_leases: Arc<dyn OpenLeases>,
    /// What ends them.
    pub object_server: Arc<dyn ObjectServer>,
    /// Where it is said.
    pub log: Arc<AuditLog>,
    /// The credentials of those that this process handed out.
    pub held: Arc<HeldCredentials>,
    /// Asks S3 with them; none where there is no way to S3.
    pub probe: Option<Arc<dyn SessionProbe>>,
    /// Makes fingerprints of what the object server lists: the key of the log's.
    pub fingerprints: FingerprintKey,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    pub(super) parts: DeskParts,
}

/// What became of one lease: for answers and for people, without any key.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Ended {
    /// The lease.
    pub lease_id: Uuid,
    /// Its holder's issuer.
    pub issuer: String,
    /// Its holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its role, or `any`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// When it ends by itself, if it has not ended.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: OffsetDateTime,
    /// `refused_at_server`, `gone_from_listing`, `revoked_unproven`, `ends_by_itself`, `revoke_failed`.
    pub outcome: &'static str,
    /// The same.
    #[serde(skip)]
    pub seen: Revoked,
    /// Whether it was seen that the credential is worth nothing any more.
    pub proven: bool,
    /// From asking the object server to its first refusal, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_after_ms: Option<u64>,
    /// The object server's code, or why it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
    /// What an operator can do, where the lease is not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
    /// False: the log could not take what was seen. The wish is on record; what is said here is all there is.
    pub recorded: bool,
}

/// What was seen, and what the object server said.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) seen: Revoked,
    pub(super) told: Option<String>,
    pub(super) advice: Option<&'static str>,
    /// The object server is away: the next lease would fare the same.
    pub(super) away: bool,
}

/// What the object server said to one wish.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was not asked: what it would say is on record.
    OnRecord(Finding),
    /// It is done, asked at this time on the monotonic clock. The proof, if there can be one, is under way.
    Done(Option<Proof>, Duration),
    /// It could not, or would not.
    Not(Finding),
}

/// How far one wish got.
#[derive(Debug)]
pub(super) enum Asked {
    /// What was seen is told.
    Told(Box<Ended>),
    /// The object server says it is done, and nobody holds the credential: its list may show it.
    Unseen,
}

impl Finding {
    pub(super) fn of(seen: Revoked, told: Option<String>) -> Self {
        Self { seen, told, advice: advice(seen), away: false }
    }

    /// The object server could not, or would not.
    pub(super) fn of_error(error: &ObjectServerError) -> Self {
        match error {
            ObjectServerError::NotRevocable { .. } => Self::of(Revoked::EndsByItself, Some(error.code().to_owned())),
            ObjectServerError::ReceiptMismatch
            | ObjectServerError::Unsendable
            | ObjectServerError::Unreachable(_)
            | ObjectServerError::Interrupted(_)
            | ObjectServerError::NotReady
            | ObjectServerError::Refused { .. }
            | ObjectServerError::Nonsense { .. }
            | ObjectServerError::ExpirationUnbelievable { .. }
            | ObjectServerError::Outdated { .. }
            | ObjectServerError::UnknownParent { .. }
            | ObjectServerError::KeepsNoList
            | ObjectServerError::Undone { .. }
            | ObjectServerError::LeftBehind { .. }
            | ObjectServerError::OfParent { .. } => {
                Self { away: error.is_away(), ..Self::of(Revoked::Failed, Some(error.code().to_owned())) }
            }
        }
    }
}

fn advice(seen: Revoked) -> Option<&'static str> {
    match seen {
        Revoked::RefusedAtServer { .. } | Revoked::GoneFromListing => None,
        Revoked::Unproven => Some(
            "the object server says it is done, and nobody saw it refused: it stays open on record until its end, or until the object server's list shows it gone",
        ),
        Revoked::EndsByItself => {
            Some("this object server ends no lease alone: see docs/operations.md, \"A key has leaked\"")
        }
        Revoked::Failed => Some("ask again: the lease is still good"),
    }
}

impl Desk {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: DeskParts) -> Self {
        Self { parts }
    }

    /// Ends one open lease, as far as the object server can. On an error the log did not take the wish: nothing was sent.
    pub async fn end(&self, open: &OpenLease, by: &RevokedBy, whose: Whose) -> Result<Ended, AuditError> {
        let before = Before::default();
        let answer = self.ask(open, &before, by, whose).await?;
        match self.finish(&open.lease, by, answer).await {
            Asked::Told(ended) => Ok(*ended),
            Asked::Unseen => {
                // One lease in, one out.
                let seen = self.look_for(vec![open.lease.clone()], &before, by).await;
                let unseen = || told(&open.lease, Finding::of(Revoked::Unproven, None), false);
                Ok(seen.into_iter().next().unwrap_or_else(unseen))
            }
        }
    }

    /// Asks for the end of one lease.
    pub(super) async fn ask(
        &self,
        open: &OpenLease,
        before: &Before,
        by: &RevokedBy,
        whose: Whose,
    ) -> Result<Answer, AuditError> {
        let lease = &open.lease;
        // Before the wish, and whatever becomes of it: whoever is handed the lease later has a row after it.
        self.parts.held.withdraw(lease.id());
        // The same answer to the same wish: whoever asks again and again must not fill the log.
        let ends_alone = self.parts.object_server.capabilities().revocation == Revocation::Lease;
        if open.is_left_to_itself() && !ends_alone {
            return Ok(Answer::OnRecord(Finding::of(Revoked::EndsByItself, None)));
        }
        let said = open.said_within(AGAIN_AFTER, self.parts.clock.now());
        if let Some(said) = said.filter(|_| whose == Whose::Holders) {
            return Ok(Answer::OnRecord(Finding::of(said, Some("said_before".to_owned()))));
        }
        self.parts.log.request_revocation(lease, by).await?;
        let proof = if ends_alone { self.begin_proof(lease).await } else { None };
        if ends_alone && proof.is_none() {
            self.look_before(before).await;
        }
        let began = self.parts.clock.elapsed();
        let asked = self.parts.object_server.revoke(&to_end(lease)).await;
        Ok(match asked {
            Ok(()) => Answer::Done(proof, began),
            Err(error) => {
                if error.is_away() {
                    before.outdate();
                }
                tracing::warn!(lease_id = %lease.id(), %error, "a lease could not be ended at the object server");
                Answer::Not(Finding::of_error(&error))
            }
        })
    }

    /// Looks by the lease's own credential where that is held, and says what was seen.
    pub(super) async fn finish(&self, lease: &LeaseOnRecord, by: &RevokedBy, answer: Answer) -> Asked {
        let finding = match answer {
            Answer::OnRecord(finding) => return Asked::Told(Box::new(told(lease, finding, true))),
            Answer::Done(proof, began) => self.see(proof, began).await,
            Answer::Not(finding) => Some(finding),
        };
        match finding {
            Some(finding) => Asked::Told(Box::new(self.say(lease, by, finding).await)),
            None => Asked::Unseen,
        }
    }

    /// Asks with the lease's own credentials, if they are held. None: what they may do does not tell an end from a denial.
    pub(super) async fn begin_proof(&self, lease: &LeaseOnRecord) -> Option<Proof> {
        let probe = self.parts.probe.as_ref()?;
        let held = self.parts.held.get(lease.id(), self.parts.clock.now())?;
        let proof = Proof::begin(Arc::clone(probe), held, self.parts.held.was_allowed(lease.id())).await?;
        self.parts.held.note_allowed(lease.id());
        Some(proof)
    }

    /// What is seen by its own credential once the object server says that the lease has ended; nothing, where that is not
    /// held.
    async fn see(&self, proof: Option<Proof>, began: Duration) -> Option<Finding> {
        let proof = proof?;
        let finding = match proof.first_refusal(self.parts.clock.as_ref(), began).await {
            Some(refusal) => Finding::of(Revoked::RefusedAtServer { after: refusal.after }, Some(refusal.code)),
            None => Finding::of(Revoked::Unproven, Some("still_allowed".to_owned())),
        };
        Some(finding)
    }

    /// Puts it on record, and tells it.
    pub(super) async fn say(&self, lease: &LeaseOnRecord, by: &RevokedBy, finding: Finding) -> Ended {
        let seen = finding.seen;
        let recorded = self.parts.log.tell_revocation(lease, by, seen, finding.told.as_deref()).await;
        if let Err(error) = &recorded {
            tracing::error!(lease_id = %lease.id(), %error, outcome = seen.code(), "what became of a lease is not on record");
        }
        if seen.is_proven() {
            self.parts.held.forget(lease.id());
        }
        tracing::info!(lease_id = %lease.id(), outcome = seen.code(), "a lease was to be ended");
        told(lease, finding, recorded.is_ok())
    }
}

fn told(lease: &LeaseOnRecord, finding: Finding, recorded: bool) -> Ended {
    let Finding { seen, told, advice, away: _ } = finding;
    let holder = lease.holder();
    let refused_after_ms = match seen {
        Revoked::RefusedAtServer { after } => Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        Revoked::GoneFromListing | Revoked::Unproven | Revoked::EndsByItself | Revoked::Failed => None,
    };
    Ended {
        lease_id: lease.id().as_uuid(),
        issuer: holder.issuer.clone(),
        subject: holder.subject.clone(),
        role: lease.role().map(str::to_owned),
        ends_at: lease.ends_at(),
        outcome: seen.code(),
        seen,
        proven: seen.is_proven(),
        refused_after_ms,
        told,
        advice,
        recorded,
    }
}

pub(super) fn to_end(lease: &LeaseOnRecord) -> LeaseToEnd {
    LeaseToEnd { id: lease.id(), parent: lease.parent().cloned() }
}
