//! The demo's three custodians: keys of this run alone, the documents they write and sign, and what the service answers.

use std::io::Write;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::{Client, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use tokio::time::sleep;
use uuid::Uuid;

use super::super::walk::{LeaseCredentials, expect};
use super::{LOOK, PATIENCE};
use crate::audit::Digest;
use crate::break_glass::ceremony::{
    CancellationDocument, CustodianSecret, Document, Envelope, Nonce, RecipientSecret, RequestDocument, RequestDraft,
    ReviewDocument, UseKind,
};
use crate::clock::{Clock, SystemClock};
use crate::command::Failure;
use crate::policy::{CustodianName, RoleName};

/// The role of the emergency.
pub(super) const ROLE: &str = "emergency-recordings";
/// The role of drills.
pub(super) const DRILL: &str = "emergency-drill";
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// What they do, and for whom.
pub(super) struct Custodians {
    keys: Vec<(CustodianName, CustodianSecret)>,
    http: Client,
    stint: String,
    rng: StdRng,
    clock: SystemClock,
}

/// A signed request, and the key that opens its answer.
pub(super) struct Request {
    envelope: Envelope,
    nonce: Nonce,
    recipient: RecipientSecret,
}

impl Request {
    /// As a person reads it before signing.
    pub(super) fn shown(&self) -> String {
        self.envelope.document().shown()
    }

    /// What only alice can open.
    pub(super) fn open(&self, answer: &Value) -> Result<LeaseCredentials, Failure> {
        let sealed = answer.get("sealed").and_then(Value::as_str).unwrap_or_default();
        let opened = self.recipient.open(sealed)?;
        Ok(LeaseCredentials {
            access_key_id: opened.access_key_id.expose_secret().to_owned(),
            secret_access_key: opened.secret_access_key,
            session_token: opened.session_token,
            expiration: opened.expiration.format(&Rfc3339).unwrap_or_default(),
        })
    }
}

impl Custodians {
    pub(super) fn new(mut rng: StdRng) -> Result<Self, Failure> {
        let mut keys = Vec::new();
        for name in NAMES {
            keys.push((named(name)?, CustodianSecret::generate(&mut rng)?));
        }
        let http = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build();
        let http = http.map_err(|_| Failure("no HTTP client can be built".to_owned()))?;
        Ok(Self { keys, http, stint: String::new(), rng, clock: SystemClock::start() })
    }

    /// `break-glass.toml`: two of three, and the shortest outage there may be.
    pub(super) fn policy(&self) -> String {
        let block = |(name, key): &(CustodianName, CustodianSecret)| {
            let public = key.public().to_base64();
            format!("[[custodian]]\nname = \"{name}\"\npublic_key = \"{public}\"\ncontact = \"in this process\"\n")
        };
        let custodians: String = self.keys.iter().map(block).collect();
        format!(
            "quorum = 2\ndeclared_quorum = 3\nconditions = [\"issuer_down\", \"log_down\"]\nminimum_outage = \"30s\"\n\
             review_within = \"72h\"\ndrill_every = \"90d\"\n{custodians}[[role]]\nname = \"{ROLE}\"\ndocuments = \
             [\"{ROLE}\"]\nlength = \"15m\"\n[drill]\nrole = \"{DRILL}\"\ndocuments = [\"{DRILL}\"]\nlength = \"15m\"\n\
             bucket = \"assets\"\n"
        )
    }

    /// The service they submit to.
    pub(super) fn ask(&mut self, stint: &str) {
        stint.clone_into(&mut self.stint);
    }

    /// What anybody may know.
    async fn status(&self) -> Result<Value, Failure> {
        let answer = self.http.get(format!("{}/v1/break-glass", self.stint)).send().await.map_err(failure)?;
        read(answer).await.map(|(_, status)| status)
    }

    /// A request by alice that she and bob signed.
    pub(super) async fn request(&mut self, kind: &str, role: &str) -> Result<Request, Failure> {
        let status = self.status().await?;
        let text = |name: &str| status.get(name).and_then(Value::as_str).unwrap_or_default();
        let malformed = || Failure("the status names no instance, or no policies".to_owned());
        let recipient = RecipientSecret::generate(&mut self.rng)?;
        let nonce = Nonce::from_random(self.rng.random());
        let draft = RequestDraft {
            kind: UseKind::parse(kind).ok_or_else(malformed)?,
            role: RoleName::parse(role).ok_or_else(malformed)?,
            reason: "the identity provider and PostgreSQL are down".to_owned(),
            incident: "DEMO-1".to_owned(),
            length: Duration::from_mins(15),
            recipient: recipient.public(),
            nonce,
            requested_at: self.clock.now(),
            requester: named("alice")?,
            policy_hash: Digest::parse(text("policy_hash")).ok_or_else(malformed)?,
            instance: Some(Uuid::parse_str(text("instance")).map_err(|_| malformed())?),
        };
        let document = Document::Request(RequestDocument::write(draft)?);
        Ok(Request { envelope: self.signed(document, &["alice", "bob"]), nonce, recipient })
    }

    pub(super) async fn submit(&self, request: &Request) -> Result<(StatusCode, Value), Failure> {
        self.send("requests", &request.envelope).await
    }

    /// Carol alone may.
    pub(super) async fn cancel(&self, request: &Request) -> Result<(StatusCode, Value), Failure> {
        let why = "the recording is safe".to_owned();
        let document = Document::Cancellation(CancellationDocument::write(request.nonce, why, self.clock.now())?);
        self.send("cancellations", &self.signed(document, &["carol"])).await
    }

    /// Bob and carol, who did not ask for it.
    pub(super) async fn review(&self, request: &Request) -> Result<(StatusCode, Value), Failure> {
        let findings = "one recording was written, and nothing else was touched".to_owned();
        let document = Document::Review(ReviewDocument::write(request.nonce, findings, self.clock.now())?);
        self.send("reviews", &self.signed(document, &["bob", "carol"])).await
    }

    /// Waits until the service has seen both outages for long enough, and shows what it says meanwhile.
    pub(super) async fn until_down(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (began, mut shown) = (self.clock.elapsed(), Vec::new());
        loop {
            let status = self.status().await?;
            let conditions = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
            let standing = |condition: &Value| {
                let text = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                format!("{} {}", text("name"), text("standing"))
            };
            let now: Vec<String> = conditions.iter().map(standing).collect();
            if now != shown {
                writeln!(out, "     {}", now.join(", "))?;
                out.flush()?;
                shown = now;
            }
            if !shown.is_empty() && shown.iter().all(|standing| standing.ends_with(" holds")) {
                return Ok(());
            }
            expect(self.clock.elapsed().saturating_sub(began) < PATIENCE, "the outage was not noticed")?;
            sleep(LOOK).await;
        }
    }

    /// Waits until PostgreSQL has everything that the journal has.
    pub(super) async fn until_merged(&self) -> Result<(), Failure> {
        let began = self.clock.elapsed();
        loop {
            let status = self.status().await?;
            let is = |name: &str| status.get(name).and_then(Value::as_bool) == Some(true);
            if is("shared_log") && !is("journal_waits") {
                return Ok(());
            }
            expect(self.clock.elapsed().saturating_sub(began) < PATIENCE, "the journal was not merged")?;
            sleep(LOOK).await;
        }
    }

    fn signed(&self, document: Document, names: &[&str]) -> Envelope {
        let mut envelope = Envelope::unsigned(document);
        for (name, key) in self.keys.iter().filter(|(name, _)| names.contains(&name.as_str())) {
            key.sign(&mut envelope, name.clone());
        }
        envelope
    }

    async fn send(&self, door: &str, envelope: &Envelope) -> Result<(StatusCode, Value), Failure> {
        let request = self.http.post(format!("{}/v1/break-glass/{door}", self.stint));
        let request = request.header("content-type", "application/json").body(envelope.to_json());
        read(request.send().await.map_err(failure)?).await
    }
}

/// What the two roles may do; `s3:GetBucketLocation` is what shows that an ended lease is refused.
pub(super) fn documents() -> [(&'static str, String); 2] {
    let document = |bucket: &str, prefix: &str| {
        json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
             "Resource": [format!("arn:aws:s3:::{bucket}/{prefix}*")]},
            {"Effect": "Allow", "Action": ["s3:GetBucketLocation"], "Resource": [format!("arn:aws:s3:::{bucket}")]},
        ]})
        .to_string()
    };
    [(ROLE, document("recordings", "")), (DRILL, document("assets", "drill/"))]
}

async fn read(answer: reqwest::Response) -> Result<(StatusCode, Value), Failure> {
    let status = answer.status();
    let body = answer.bytes().await.map_err(failure)?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

fn named(name: &str) -> Result<CustodianName, Failure> {
    CustodianName::parse(name).ok_or_else(|| Failure(format!("{name} is no custodian's name")))
}

fn failure(error: reqwest::Error) -> Failure {
    Failure(error.without_url().to_string())
}
