//! Conformance: whether a server keeps what `stint` rests on, asked of the server itself with credentials minted as any
//! lease is: through the port, on record first. Every check says what was seen. What was made is removed again, also when
//! the run is interrupted.

mod account;
mod bucket;
mod check;
mod cleanup;
mod data;
mod end;
mod escape;
mod mint;
mod minter;
mod scope;
mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use check::{Check, Outcome};

use super::s3::{S3Client, S3Key, S3Request};
use super::{LeaseToEnd, ObjectServer, bootstrap};
use crate::audit::{AuditLog, FingerprintKey, KeyFingerprint};
use crate::clock::Clock;
use crate::lease::{LeaseId, ParentId};
use check::Verdict;
use mint::Minted;

/// How long cleaning up may take.
const CLEANUP: Duration = Duration::from_mins(1);

/// Where a server tells of its users, and makes keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounts {
    /// MinIO's admin API.
    MinioAdmin,
    /// IAM, at the same endpoint.
    Iam,
    /// Nowhere that is asked here.
    Elsewhere,
}

/// What a server makes of a key without its own session token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionTokens {
    /// It knows no session tokens: the key alone is enough.
    Unknown,
    /// The key is refused.
    Refused,
    /// The key is not taken, and a wrong token is answered with a fault (HTTP 500).
    Faulted,
}

/// What differs between servers, here.
#[derive(Debug, Clone)]
pub struct Traits {
    /// Where it tells of its users.
    pub accounts: Accounts,
    /// Whether what a session writes belongs to the parent, so that the parent may have to own buckets.
    pub sessions_write_as_parent: bool,
    /// Whether one lease can be ended alone.
    pub revokes_leases: bool,
    /// What a key is worth without its session token.
    pub session_tokens: SessionTokens,
    /// The role that is assumed, on servers that have roles.
    pub role_arn: Option<String>,
    /// For the lifecycle that is tried.
    pub bootstrap: bootstrap::Traits,
}

/// Everything one run needs.
#[derive(Debug)]
pub struct Subject {
    /// The adapter, as the service uses it.
    pub server: Arc<dyn ObjectServer>,
    /// Another bucket that is there: what must not be reached where leases hold whole buckets.
    pub other_bucket: Option<String>,
    /// For calls on buckets.
    pub client: S3Client,
    /// The parent whose leases are tried, as the adapter knows it.
    pub parent_id: Option<ParentId>,
    /// How checks name it, where there are several.
    pub parent_name: Option<String>,
    /// Its key for S3, where it has one.
    pub parent: Option<S3Key>,
    /// An administrator's key, if there is one: only then a lifecycle can be tried.
    pub administrator: Option<S3Key>,
    /// A bucket that is there, and that the parent may use. Only names below `stint-verify/` are touched.
    pub bucket: String,
    /// Where mints go on record.
    pub log: Arc<AuditLog>,
    /// Keys the fingerprints in outcome rows.
    pub fingerprints: FingerprintKey,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Draws lease ids.
    pub rng: Mutex<StdRng>,
    /// What is known of this kind of server.
    pub traits: Traits,
    /// The id of this run: everything it makes is named by it.
    pub run: Uuid,
}

/// One run under way.
struct Run<'a> {
    subject: &'a Subject,
    /// Below here everything is made.
    prefix: String,
    /// Every lease that was intended: ended at the end, whatever became of it.
    leases: Vec<LeaseId>,
    /// The keys that were minted.
    keys: Vec<S3Key>,
    /// The bucket made to try a lifecycle, once it may exist.
    scratch: Option<String>,
    checks: Vec<Check>,
    told: &'a mut (dyn FnMut(&Check) + Send),
}

/// Runs every check, tells each as it is done, and cleans up.
pub async fn verify(
    subject: &Subject,
    interrupted: &CancellationToken,
    told: &mut (dyn FnMut(&Check) + Send),
) -> Vec<Check> {
    let mut run = Run::begin(subject, told);
    let finished = tokio::select! {
        biased;
        () = interrupted.cancelled() => false,
        () = run.checks() => true,
    };
    run.tell_if_cut(finished);
    // Whatever the server does: whoever interrupted is waiting.
    let cleaned = tokio::time::timeout(CLEANUP, run.clean_up()).await;
    let cleaned = cleaned.unwrap_or_else(|_| {
        Verdict::failed(
            format!("not finished in {} s", CLEANUP.as_secs()),
            "look for stint-verify/ and stint-verify-… and remove them by hand",
        )
    });
    run.tell("cleanup", cleaned);
    run.checks
}

/// The checks that are a parent's own, for every parent but the one that [`verify`] tried: that it is a user, that it reads
/// no secrets and makes no keys, and that it mints a lease, which is ended.
pub async fn verify_parent(
    subject: &Subject,
    interrupted: &CancellationToken,
    told: &mut (dyn FnMut(&Check) + Send),
) -> Vec<Check> {
    let mut run = Run::begin(subject, told);
    let finished = tokio::select! {
        biased;
        () = interrupted.cancelled() => false,
        () = run.parent_checks() => true,
    };
    run.tell_if_cut(finished);
    let ended = tokio::time::timeout(CLEANUP, run.end_leases()).await;
    let left = ended.unwrap_or_else(|_| vec![format!("not finished in {} s", CLEANUP.as_secs())]);
    let cleaned = if left.is_empty() {
        Verdict::passed("nothing was left behind")
    } else {
        Verdict::failed(format!("left behind: {}", left.join("; ")), "it ends by itself within 15 minutes")
    };
    run.tell("cleanup", cleaned);
    run.checks
}

impl<'a> Run<'a> {
    fn begin(subject: &'a Subject, told: &'a mut (dyn FnMut(&Check) + Send)) -> Self {
        let prefix = format!("stint-verify/{}/", subject.run.simple());
        Self { subject, prefix, leases: Vec::new(), keys: Vec::new(), scratch: None, checks: Vec::new(), told }
    }

    fn tell_if_cut(&mut self, finished: bool) {
        if !finished {
            let verdict = Verdict::failed("interrupted: the checks that are missing were not made", "run it again");
            self.tell("whole-run", verdict);
        }
    }

    async fn parent_checks(&mut self) {
        let verdict = self.parent_is_a_user().await;
        self.tell("parent-is-not-root", verdict);
        let verdict = self.parent_reads_no_secrets().await;
        self.tell("parent-reads-no-secrets", verdict);
        let verdict = self.parent_makes_no_keys().await;
        self.tell("parent-makes-no-keys", verdict);
        match self.mint_two().await {
            Ok((one, _, verdict)) => {
                self.tell("mint", verdict);
                let verdict = self.no_permanent_key(&one).await;
                self.tell("no-permanent-key", verdict);
                let verdict = self.no_new_session(&one).await;
                self.tell("no-new-session", verdict);
            }
            Err(verdict) => self.tell("mint", verdict),
        }
    }

    /// A lease of this run, as it is to be ended: under the parent that minted it.
    fn to_end(&self, lease: LeaseId) -> LeaseToEnd {
        LeaseToEnd { id: lease, parent: self.subject.parent_id.map(KeyFingerprint::from) }
    }

    async fn checks(&mut self) {
        let ready = self.ready().await;
        let is_there = ready.is_passed();
        self.tell("ready", ready);
        if !is_there {
            return self.tell_all_missing();
        }
        let verdict = self.clock_skew().await;
        self.tell("clock", verdict);
        let verdict = self.parent_is_a_user().await;
        self.tell("parent-is-not-root", verdict);
        let verdict = self.parent_reads_no_secrets().await;
        self.tell("parent-reads-no-secrets", verdict);
        let verdict = self.parent_makes_no_keys().await;
        self.tell("parent-makes-no-keys", verdict);
        let verdict = self.web_identity().await;
        self.tell("own-sign-on", verdict);

        let (one, other) = match self.mint_two().await {
            Ok((one, other, verdict)) => {
                self.tell("mint", verdict);
                (one, other)
            }
            Err(verdict) => {
                self.tell("mint", verdict);
                return self.tell_all_missing();
            }
        };
        self.with_leases(&one, &other).await;
        let verdict = self.new_bucket_is_private().await;
        self.tell("new-bucket-is-private", verdict);
        let verdict = self.lifecycle().await;
        self.tell("lifecycle", verdict);
    }

    async fn with_leases(&mut self, one: &Minted, other: &Minted) {
        let verdict = self.round_trip(&one.key).await;
        self.tell("round-trip", verdict);
        let verdict = self.multipart(&one.key).await;
        self.tell("multipart", verdict);
        let verdict = self.presigned(&one.key).await;
        self.tell("presigned", verdict);
        let verdict = self.list(&one.key).await;
        self.tell("list", verdict);
        let verdict = self.outside(&one.key).await;
        self.tell("outside-is-refused", verdict);
        let verdict = self.token_is_needed(one, other).await;
        self.tell("token-is-needed", verdict);
        let verdict = self.no_permanent_key(one).await;
        self.tell("no-permanent-key", verdict);
        let verdict = self.no_new_session(one).await;
        self.tell("no-new-session", verdict);
        let verdict = one.expiry();
        self.tell("expiry", verdict);
        let verdict = self.revocation(one, other).await;
        self.tell("revocation", verdict);
        let verdict = self.latency(&one.key, one.took).await;
        self.tell("latency", verdict);
    }

    fn tell(&mut self, name: &'static str, verdict: Verdict) {
        let check = Check { parent: self.subject.parent_name.clone(), ..verdict.of(name) };
        (self.told)(&check);
        self.checks.push(check);
    }

    /// A check that was not made must not look like one that passed by being absent.
    fn tell_all_missing(&mut self) {
        for name in check::ALL {
            if name != "cleanup" && !self.checks.iter().any(|check| check.name == name) {
                self.tell(name, Verdict::not_applicable("not made: an earlier check failed that it rests on"));
            }
        }
    }

    fn inside(&self, name: &str) -> String {
        format!("{}inside/{name}", self.prefix)
    }

    /// A name of this run's own for what is made to be removed.
    fn scratch_name(&self) -> String {
        let run = self.subject.run.simple().to_string();
        format!("stint-verify-{}", run.chars().rev().take(12).collect::<String>())
    }

    fn outside_name(&self) -> String {
        format!("{}outside/secret", self.prefix)
    }

    fn on(&self, method: reqwest::Method, name: &str) -> S3Request {
        S3Request::object(method, &self.subject.bucket, name)
    }
}
