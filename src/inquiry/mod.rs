//! A question about the log, on one page: verify → permit → read the question → record that it was asked → ask → answer.
//! Fail closed: no row, no answer. A reader who is turned away is on record too. This room decides who may ask and what is
//! shown; it knows no SQL and no wire.

mod access;
mod answer;
mod desk;
mod export;
mod forecast;
mod leases;
mod own_readings;
mod question;
mod reused;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub use answer::{
    Answer, Emergencies, Emergency, Entitled, EntitledRole, Events, GivenTo, Grants, Held, Holder, KeyLeases,
    ObjectAccess, Reused, Right, Rights, UnknownPolicies, Verified,
};
pub use desk::{LeaseAnswer, LeaseInquiry, LeaseKind};
pub use export::{Export, ExportFormat};
pub use forecast::{ExpectedMinute, ExpectedWithin, LeaseForecast};
pub use leases::{LeaseHistory, LeaseSeen, Leases, TimelineEvent};
pub use question::{Kind, Question};

use own_readings::OwnReadings;

use crate::audit::question::{BadQuestion, Cursor, Given, HolderOnly, MOST, Questions};
use crate::audit::{
    AuditError, AuditLog, Checkpoint, FingerprintKey, Identity, Inquiry as Asked, Inspection, Ledger, LedgerError,
    Origin, RecordedEffect, Request, SigningKey, StoreError,
};
use crate::clock::Clock;
use crate::lease::LeaseRules;
use crate::policy::{Permission, PolicySet};
use crate::token::{TokenRefusal, Unverified, Verifier};

/// Questions answered at a time. One fewer than the connections there are for reading, so that readiness finds one.
const AT_ONCE: usize = 3;
/// How long a question waits for its turn, and how long its answer may take, all statements together.
const TURN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(6);
/// How long a verification may take: what is longer is for the command line.
const VERIFYING: Duration = Duration::from_secs(10);

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
    /// `operators.toml` does not give this identity what the question needs.
    #[error("the identity may not ask this")]
    NotPermitted,
    /// There is no lease of that id, or it is somebody else's.
    #[error("no lease of that id, or not the caller's")]
    NoSuchLease,
    /// The holder has read of its own leases too often.
    #[error("too many readings of one's own leases in a minute")]
    TooOften,
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
    /// The log as a whole cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is no key that anybody could know beforehand: a checkpoint signed by another proves nothing.
    #[error("audit.signing_key_file is not set: there are no checkpoints")]
    NoSigningKey,
}

impl InquiryRefusal {
    /// The stable reason code: in rows, counters and the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(refusal) => refusal.reason.code(),
            Self::NotPermitted => "not_permitted",
            Self::NoSuchLease => "no_such_lease",
            Self::TooOften => "read_too_often",
            Self::Question(_) => "invalid_question",
            Self::Audit(error) => error.code(),
            Self::Busy => "too_many_questions",
            Self::TooLong => "answer_too_long",
            Self::Store(_) | Self::Ledger(_) => "log_unreadable",
            Self::NoSigningKey => "no_signing_key",
        }
    }
}

/// Somebody who may read the log. Made only by `Inquiry::admit` and [`Reader::at_the_console`].
#[derive(Debug)]
pub struct Reader {
    identity: Identity,
    request: Request,
    /// Whose leases alone; none: everybody's.
    own: Option<HolderOnly>,
}

impl Reader {
    /// Whoever holds the service's own configuration, and with it the database: nothing is kept from them, but what they
    /// ask through us is on record like everyone's.
    #[must_use]
    pub fn at_the_console(user: Option<String>, request_id: uuid::Uuid) -> Self {
        let request = Request::for_no_lease(Origin::console(request_id), None);
        Self { identity: Identity::at_the_console(user), request, own: None }
    }
}

/// What is asked, as far as admitting somebody goes.
#[derive(Debug, Clone, Copy)]
struct Asks {
    /// The question's word, for rows.
    word: &'static str,
    /// What `operators.toml` must give.
    permission: Permission,
    /// Whether everybody may ask it of their own leases.
    own_too: bool,
}

impl Asks {
    fn of_the_log(kind: Kind) -> Self {
        Self { word: kind.as_str(), permission: Permission::AuditRead, own_too: false }
    }

    fn of_leases(kind: LeaseKind) -> Self {
        Self { word: kind.as_str(), permission: Permission::LeaseRead, own_too: kind.is_own_too() }
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
    /// Where it is read as a whole.
    pub ledger: Arc<dyn Ledger>,
    /// Signs checkpoints: the configured key, if one is.
    pub signing_key: Option<SigningKey>,
    /// Turns an access key id into what rows hold of it.
    pub fingerprints: FingerprintKey,
    /// What leases are made by: a forecast needs the grace and the jitter.
    pub lease_rules: LeaseRules,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The log as readers see it: every question is on record before it is answered.
#[derive(Debug)]
pub struct Archive {
    parts: ArchiveParts,
    turns: Arc<Semaphore>,
    verifications: Arc<Semaphore>,
    /// Holders take one turn at a time between them: they must not keep an auditor waiting.
    holders: Arc<Semaphore>,
    own_readings: OwnReadings,
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
        let reader = self.admit(&token, Asks::of_the_log(kind), origin).await?;
        self.archive.answer(&reader, kind, given).await
    }

    /// Begins an export of the events that a filter finds.
    pub async fn export(&self, asked: InquiryRequest) -> Result<Export, InquiryRefusal> {
        let InquiryRequest { token, kind, given, origin } = asked;
        let reader = self.admit(&token, Asks::of_the_log(kind), origin).await?;
        Archive::export(&self.archive, &reader, given).await
    }

    /// Answers one question about leases.
    pub async fn leases(&self, asked: LeaseInquiry) -> Result<LeaseAnswer, InquiryRefusal> {
        let LeaseInquiry { token, kind, given, origin } = asked;
        let reader = self.admit(&token, Asks::of_leases(kind), origin).await?;
        self.archive.leases(&reader, kind, given).await
    }

    /// Steps 1 and 2. What a stranger asked in vain is not kept, only which question it was.
    async fn admit(&self, token: &Unverified, asks: Asks, origin: Origin) -> Result<Reader, InquiryRefusal> {
        let Readers { verifier, policies } = &self.readers;
        let request = Request::for_no_lease(origin, Some(token.digest().to_hex()));
        let verified = match verifier.verify(token, self.archive.parts.clock.now()).await {
            Ok(verified) => verified,
            Err(refusal) => return Err(self.refuse_token(request, asks, refusal).await),
        };
        let identity = Identity::from(&verified);
        if policies.load().operators().permits(&verified, asks.permission).is_some() {
            return Ok(Reader { identity, request, own: None });
        }
        if asks.own_too {
            let (issuer, subject) = (verified.issuer().as_str().to_owned(), verified.subject().as_str().to_owned());
            return Ok(Reader { identity, request, own: Some(HolderOnly { issuer, subject }) });
        }
        Err(self.turn_away(request, identity, asks, InquiryRefusal::NotPermitted).await)
    }

    /// A refused token becomes a row only if its signature held: anyone can send junk. The rest is counted.
    async fn refuse_token(&self, request: Request, asks: Asks, mut refusal: TokenRefusal) -> InquiryRefusal {
        let Some(signed) = refusal.signed.take() else {
            self.archive.parts.log.count_refusal(refusal.reason.code(), request.origin.address);
            return refusal.into();
        };
        self.turn_away(request, Identity::from(*signed), asks, refusal.into()).await
    }

    async fn turn_away(
        &self,
        request: Request,
        identity: Identity,
        asks: Asks,
        refusal: InquiryRefusal,
    ) -> InquiryRefusal {
        let reader = Reader { identity, request, own: None };
        self.archive.turn_away(&reader, asks.word.to_owned(), refusal).await
    }
}

impl Archive {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: ArchiveParts) -> Self {
        let (turns, one) = (Arc::new(Semaphore::new(AT_ONCE)), || Arc::new(Semaphore::new(1)));
        Self { parts, turns, verifications: one(), holders: one(), own_readings: OwnReadings::default() }
    }

    /// Steps 3 to 6.
    pub async fn answer(&self, reader: &Reader, kind: Kind, given: Given) -> Result<Answer, InquiryRefusal> {
        let now = self.parts.clock.now();
        let (question, reveal) = Question::read(kind, given, &self.parts.fingerprints, now)?;
        // A verification reads on a connection of its own: it takes nobody's turn, and there is one at a time.
        let (turns, patience) = match question {
            Question::Verify(_) => (&self.verifications, VERIFYING),
            Question::Events(_)
            | Question::Key { .. }
            | Question::Object { .. }
            | Question::Grants(_)
            | Question::Emergencies(_)
            | Question::Head => (&self.turns, PATIENCE),
        };
        let _turn = turn(turns).await?;
        self.record_reading(reader, &question, reveal).await?;
        match timeout(patience, self.ask(question, now)).await {
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
                let mut truncated = records.len() >= usize::from(MOST);
                let mut leases: Vec<Held> = records.into_iter().map(|record| Held::of(record, at, now)).collect();
                // One, unless the log has keys that begin alike.
                for lease in leases.iter_mut().filter(|lease| lease.held) {
                    lease.reused = reused::until(questions, lease.lease_id, at).await?;
                    truncated |= lease.reused.len() >= usize::from(MOST);
                }
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
            Question::Head => {
                let key = self.parts.signing_key.as_ref().ok_or(InquiryRefusal::NoSigningKey)?;
                let checkpoint = Checkpoint::take(self.parts.ledger.heads().await?, now, key);
                Answer::Head(serde_json::from_str(&checkpoint.to_json()).unwrap_or_default())
            }
            Question::Verify(since) => {
                let inspection = Inspection { since: Some(*since), ..Inspection::default() };
                let report = self.parts.ledger.verify(inspection, Arc::new(|_tally| ())).await?;
                Answer::Verified(Verified { whole: report.is_whole(), report })
            }
        })
    }

    /// Step 4.
    async fn record_reading(&self, reader: &Reader, question: &Question, reveal: bool) -> Result<(), AuditError> {
        self.record(reader, if reveal { "reveal" } else { "read" }, question.told()).await
    }

    async fn record(&self, reader: &Reader, reason: &'static str, detail: String) -> Result<(), AuditError> {
        let (identity, request, effect) = (reader.identity.clone(), reader.request.clone(), RecordedEffect::Allow);
        self.parts.log.read(Asked { request, identity, effect, reason, detail }).await
    }

    /// On record once, then counted: whoever may not read something must not fill the log by asking again and again.
    async fn turn_away(&self, reader: &Reader, detail: String, refusal: InquiryRefusal) -> InquiryRefusal {
        let (identity, request) = (reader.identity.clone(), reader.request.clone());
        let (effect, reason) = (RecordedEffect::Deny, refusal.code());
        match self.parts.log.refuse_reader(Asked { request, identity, effect, reason, detail }).await {
            Ok(()) => refusal,
            Err(error) => error.into(),
        }
    }
}

async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, InquiryRefusal> {
    match timeout(TURN, Arc::clone(turns).acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) | Err(_) => Err(InquiryRefusal::Busy),
    }
}
