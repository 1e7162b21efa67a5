//! An auditor's question, on one page: verify → permit → read the question → record that it was asked → ask → answer.
//! Fail closed: no row, no answer. A reader who is turned away is on record too. This room decides who may ask and what is
//! shown; it knows no SQL and no wire.

mod access;
mod answer;
mod export;
mod question;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub use answer::{
    Answer, Emergencies, Emergency, Entitled, EntitledRole, Events, GivenTo, Grants, Held, Holder, KeyLeases,
    ObjectAccess, Right, Rights, UnknownPolicies,
};
pub use export::{Export, ExportFormat};
pub use question::{Kind, Question};

use crate::audit::question::{BadQuestion, Cursor, Given, MOST, Questions};
use crate::audit::{
    AuditError, AuditLog, Door, FingerprintKey, Identity, Inquiry as Asked, Origin, RecordedEffect, Request, StoreError,
};
use crate::clock::Clock;
use crate::policy::{Permission, PolicySet};
use crate::token::{TokenRefusal, Unverified, VerifiedToken, Verifier};

/// Questions answered at a time. One fewer than the connections there are for reading, so that readiness finds one.
const AT_ONCE: usize = 3;
/// How long a question waits for its turn, and how long its answer may take, all statements together.
const TURN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(6);

/// What a door parsed. Nothing in it has been believed yet.
#[derive(Debug)]
pub struct InquiryRequest {
    /// The bearer token.
    pub token: Unverified,
    /// Which question.
    pub kind: Kind,
    /// Its parameters.
    pub given: Given,
    /// Where the request came from.
    pub origin: Origin,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum InquiryRefusal {
    /// The token does not prove an identity.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// `operators.toml` does not give this identity `audit.read`.
    #[error("the identity may not read the log")]
    NotPermitted,
    /// The question cannot be read.
    #[error(transparent)]
    Question(#[from] BadQuestion),
    /// The log cannot record the question: it is not answered.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Too many questions at once.
    #[error("too many questions at once")]
    Busy,
    /// The answer took too long.
    #[error("the answer took too long")]
    TooLong,
    /// The store failed.
    #[error("the log cannot be read: {0}")]
    Store(#[from] StoreError),
}

impl InquiryRefusal {
    /// The stable reason code: in rows, counters and the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(refusal) => refusal.reason.code(),
            Self::NotPermitted => "not_permitted",
            Self::Question(_) => "invalid_question",
            Self::Audit(error) => error.code(),
            Self::Busy => "too_many_questions",
            Self::TooLong => "answer_too_long",
            Self::Store(_) => "log_unreadable",
        }
    }
}

/// Somebody who may read the log. Made only by [`Readers::admit`] and [`Reader::at_the_console`].
#[derive(Debug)]
pub struct Reader {
    identity: Identity,
    request: Request,
}

impl Reader {
    /// Whoever holds the service's own configuration, and with it the database: nothing is kept from them, but what they
    /// ask through us is on record like everyone's.
    #[must_use]
    pub fn at_the_console(user: Option<String>, request_id: uuid::Uuid) -> Self {
        let identity = Identity { issuer: "os".to_owned(), subject: user, client: None, groups: Vec::new(), jti: None };
        Self { identity, request: request(Origin { door: Door::Cli, address: None, request_id }, None) }
    }
}

/// Who may ask.
#[derive(Debug)]
pub struct Readers {
    /// Step 1.
    pub verifier: Verifier,
    /// Step 2; swapped whole.
    pub policies: Arc<ArcSwap<PolicySet>>,
}

/// What answers.
#[derive(Debug)]
pub struct ArchiveParts {
    /// Where questions become events.
    pub log: Arc<AuditLog>,
    /// Where they are answered.
    pub questions: Arc<dyn Questions>,
    /// Turns an access key id into what rows hold of it.
    pub fingerprints: FingerprintKey,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The log as readers see it: every question is on record before it is answered.
#[derive(Debug)]
pub struct Archive {
    parts: ArchiveParts,
    turns: Arc<Semaphore>,
}

/// The use case: readers who prove themselves with a token.
#[derive(Debug)]
pub struct Inquiry {
    readers: Readers,
    archive: Arc<Archive>,
}

impl Inquiry {
    /// Puts the parts together.
    #[must_use]
    pub fn new(readers: Readers, archive: ArchiveParts) -> Self {
        Self { readers, archive: Arc::new(Archive::new(archive)) }
    }

    /// Answers one question.
    pub async fn inquire(&self, asked: InquiryRequest) -> Result<Answer, InquiryRefusal> {
        let InquiryRequest { token, kind, given, origin } = asked;
        let reader = self.admit(&token, kind, origin).await?;
        self.archive.answer(&reader, kind, given).await
    }

    /// Begins an export of the events that a filter finds.
    pub async fn export(&self, asked: InquiryRequest) -> Result<Export, InquiryRefusal> {
        let InquiryRequest { token, kind, given, origin } = asked;
        let reader = self.admit(&token, kind, origin).await?;
        Archive::export(&self.archive, &reader, given).await
    }

    /// Steps 1 and 2. What a stranger asked in vain is not kept, only which question it was.
    async fn admit(&self, token: &Unverified, kind: Kind, origin: Origin) -> Result<Reader, InquiryRefusal> {
        let Readers { verifier, policies } = &self.readers;
        let request = request(origin, Some(token.digest().to_hex()));
        let verified = match verifier.verify(token, self.archive.parts.clock.now()).await {
            Ok(verified) => verified,
            Err(refusal) => return Err(self.turned_away(request, kind, refusal).await),
        };
        let identity = Identity::from(&verified);
        if permitted(&policies.load(), &verified) {
            return Ok(Reader { identity, request });
        }
        self.archive.record(request, identity, RecordedEffect::Deny, "not_permitted", kind.as_str().to_owned()).await?;
        Err(InquiryRefusal::NotPermitted)
    }

    /// A refused token becomes a row only if its signature held: anyone can send junk.
    async fn turned_away(&self, request: Request, kind: Kind, mut refusal: TokenRefusal) -> InquiryRefusal {
        let Some(signed) = refusal.signed.take() else { return refusal.into() };
        let identity = Identity {
            issuer: signed.issuer.as_str().to_owned(),
            subject: signed.subject.map(|subject| subject.as_str().to_owned()),
            client: None,
            groups: Vec::new(),
            jti: signed.jti,
        };
        let reason = refusal.reason.code();
        let detail = kind.as_str().to_owned();
        match self.archive.record(request, identity, RecordedEffect::Deny, reason, detail).await {
            Ok(()) => refusal.into(),
            Err(error) => error.into(),
        }
    }
}

impl Archive {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: ArchiveParts) -> Self {
        Self { parts, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Steps 3 to 6.
    pub async fn answer(&self, reader: &Reader, kind: Kind, given: Given) -> Result<Answer, InquiryRefusal> {
        let now = self.parts.clock.now();
        let (question, reveal) = Question::read(kind, given, &self.parts.fingerprints, now)?;
        let _turn = self.turn().await?;
        self.record_reading(reader, &question, reveal).await?;
        match timeout(PATIENCE, self.ask(question, now)).await {
            Ok(answered) => Ok(answered?.masked_unless(reveal)),
            Err(_elapsed) => Err(InquiryRefusal::TooLong),
        }
    }

    /// Step 5.
    async fn ask(&self, question: Question, now: OffsetDateTime) -> Result<Answer, InquiryRefusal> {
        let questions = self.parts.questions.as_ref();
        Ok(match question {
            Question::Events(question) => {
                let page = questions.events(&question).await?;
                let next = page.next.map(|place| Cursor::of_events(&question).at(&place));
                Answer::Events(Events { events: page.rows, next })
            }
            Question::Key { range, at } => {
                let records = questions.key_leases(&range).await?;
                let truncated = records.len() >= usize::from(MOST);
                let leases = records.into_iter().map(|record| Held::of(record, at, now)).collect();
                let key_fingerprint = range.first().to_owned();
                Answer::Key(KeyLeases { at, key_fingerprint, leases, truncated })
            }
            Question::Object { bucket, object, at, limit } => {
                Answer::Object(access::object(questions, bucket, object, at, now, limit).await?)
            }
            Question::Grants(question) => {
                let page = questions.grants(&question).await?;
                let next = page.next.map(|place| Cursor::of_grants(&question).at(&place));
                let leases = page.rows.into_iter().map(|record| Held::of(record, now, now)).collect();
                Answer::Grants(Grants { period: question.period, leases, next })
            }
            Question::Emergencies(period) => {
                let rows = questions.emergencies(&period).await?;
                Answer::Emergencies(Emergencies::of(period, rows))
            }
        })
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, InquiryRefusal> {
        match timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(InquiryRefusal::Busy),
        }
    }

    /// Step 4.
    async fn record_reading(&self, reader: &Reader, question: &Question, reveal: bool) -> Result<(), AuditError> {
        let reason = if reveal { "reveal" } else { "read" };
        let Reader { identity, request } = reader;
        self.record(request.clone(), identity.clone(), RecordedEffect::Allow, reason, question.told()).await
    }

    async fn record(
        &self,
        request: Request,
        identity: Identity,
        effect: RecordedEffect,
        reason: &'static str,
        detail: String,
    ) -> Result<(), AuditError> {
        self.parts.log.read(Asked { request, identity, effect, reason, detail }).await
    }
}

fn permitted(policies: &PolicySet, token: &VerifiedToken) -> bool {
    policies.operators().permits(token, Permission::AuditRead).is_some()
}

fn request(origin: Origin, token_sha256: Option<String>) -> Request {
    Request { origin, requested_role: None, requested_seconds: None, session_name: None, token_sha256 }
}
