//! The exchange itself, put together around a log store double: for faults that a real database cannot be made to show
//! at one exact step. The object server adapter, the verifier and the policies are the real ones.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use rand::SeedableRng;
use rand::rngs::StdRng;
use secrecy::SecretString;
use stint::audit::{
    AuditLog, AuditRow, AuditStore, Batch, Door, FingerprintKey, LogParts, LogSettings, Origin, PolicySetText, Seal,
    SigningKey, StoreError, StreamHead, StreamId, VerifyingKey,
};
use stint::clock::{Clock, SystemClock};
use stint::desk::{AllLeasesOut, FreezeWatch, HeldCredentials, LeasesOut, Outstanding, Rates, SharedState};
use stint::exchange::{Exchange, ExchangeParts, ExchangeRequest, IssuedLease, Refusal};
use stint::lease::{Freezes, LeaseId, LeaseRules, Quotas, SelfTesting};
use stint::object_server::s3::{S3Client, S3Settings};
use stint::object_server::{
    Duty, MinioServer, NewSession, Parent, Parents, SelfTest, SelfTestTraits, ServerSettings, Standings,
};
use stint::policy::{PolicyFiles, PolicySet, RequestedRole};
use stint::telemetry::Metrics;
use stint::token::{
    ClaimPath, IssuerName, IssuerRules, KeyError, KeyId, KeySet, KeySource, Profile, Unverified, VerificationKey,
    Verifier,
};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::tokens::Forge;

/// How many events may wait for the writer.
pub(crate) const QUEUE: usize = 64;

/// What a double does when it meets an event of one kind.
enum Mishap {
    Fail,
    Hang,
    Pause { reached: Arc<Notify>, go: Arc<Notify> },
}

/// A log store double: keeps batches in memory, and goes wrong at one kind of event.
#[derive(Default)]
pub(crate) struct StoreDouble {
    kept: Mutex<Vec<Batch>>,
    mishap: Option<(&'static str, Mishap)>,
}

impl fmt::Debug for StoreDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreDouble")
    }
}

impl StoreDouble {
    pub(crate) fn failing_on(kind: &'static str) -> Self {
        Self { mishap: Some((kind, Mishap::Fail)), ..Self::default() }
    }

    pub(crate) fn hanging() -> Self {
        Self { mishap: Some(("lease.intended", Mishap::Hang)), ..Self::default() }
    }

    /// Says when it has reached the event, and goes on when told.
    pub(crate) fn pausing_on(kind: &'static str, reached: Arc<Notify>, go: Arc<Notify>) -> Self {
        Self { mishap: Some((kind, Mishap::Pause { reached, go })), ..Self::default() }
    }

    /// The kinds of all kept events but those that open and close the stream.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let kinds: Vec<String> = self.kept.lock().unwrap().iter().flat_map(kinds).collect();
        kinds.into_iter().filter(|kind| !kind.starts_with("stream.")).collect()
    }

    /// The same with their reasons.
    pub(crate) fn told(&self) -> Vec<(String, String)> {
        let kept = self.kept.lock().unwrap();
        let rows = kept.iter().flat_map(rows).filter(|row| !row.kind.starts_with("stream."));
        rows.map(|row| (row.kind, row.reason)).collect()
    }
}

fn rows(batch: &Batch) -> Vec<AuditRow> {
    batch.records.iter().map(|record| serde_json::from_str(record).unwrap()).collect()
}

fn kinds(batch: &Batch) -> Vec<String> {
    rows(batch).into_iter().map(|row| row.kind).collect()
}

#[async_trait]
impl AuditStore for StoreDouble {
    async fn open(&self, _stream: StreamId, _key: &VerifyingKey) -> Result<Vec<StreamHead>, StoreError> {
        Ok(Vec::new())
    }

    async fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let meets = |kind: &str| kinds(batch).iter().any(|met| met == kind);
        match &self.mishap {
            Some((kind, mishap)) if meets(kind) => match mishap {
                Mishap::Fail => return Err(StoreError::Unavailable("the double fails here".into())),
                Mishap::Hang => std::future::pending().await,
                Mishap::Pause { reached, go } => {
                    reached.notify_one();
                    go.notified().await;
                }
            },
            Some(_) | None => {}
        }
        self.kept.lock().unwrap().push(batch.clone());
        Ok(())
    }

    async fn head(&self, _stream: StreamId) -> Result<Option<Seal>, StoreError> {
        Ok(self.kept.lock().unwrap().last().map(|last| last.seal.clone()))
    }

    async fn keep_policy_set(&self, _set: &PolicySetText) -> Result<(), StoreError> {
        Ok(())
    }
}

#[derive(Debug)]
struct OneKeySet(KeySet);

#[async_trait]
impl KeySource for OneKeySet {
    async fn key(&self, _issuer: &IssuerName, kid: Option<&KeyId>) -> Result<VerificationKey, KeyError> {
        self.0.find(kid)
    }
}

/// Nothing is frozen, and nothing was revoked.
#[derive(Debug)]
pub(crate) struct Thawed;

#[async_trait]
impl SharedState for Thawed {
    async fn freezes(&self) -> Result<Freezes, StoreError> {
        Ok(Freezes::default())
    }

    async fn revoked_since(&self, _since: OffsetDateTime) -> Result<Vec<LeaseId>, StoreError> {
        Ok(Vec::new())
    }

    async fn out_of(
        &self,
        _issuer: &str,
        _subject: &str,
        _at: OffsetDateTime,
        _but: &[LeaseId],
    ) -> Result<LeasesOut, StoreError> {
        Ok(LeasesOut::default())
    }

    async fn out(&self, _at: OffsetDateTime, _but: &[LeaseId]) -> Result<AllLeasesOut, StoreError> {
        Ok(AllLeasesOut::default())
    }
}

/// An exchange with its tracker.
pub(crate) struct Parts {
    pub(crate) held: Arc<HeldCredentials>,
    exchange: Arc<Exchange>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

impl Parts {
    pub(crate) fn with(store: Arc<impl AuditStore + 'static>, endpoint: &str) -> Self {
        Self::put_together(store, endpoint, false)
    }

    /// One that hands leases out again.
    pub(crate) fn sharing(store: Arc<impl AuditStore + 'static>, endpoint: &str) -> Self {
        Self::put_together(store, endpoint, true)
    }

    fn put_together(store: Arc<impl AuditStore + 'static>, endpoint: &str, reuse: bool) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let tasks = TaskTracker::new();
        let settings = LogSettings { deadline: Duration::from_secs(2), queue: QUEUE };
        let parts = LogParts {
            store,
            clock: Arc::clone(&clock),
            rng: StdRng::seed_from_u64(2),
            key: SigningKey::generate().unwrap(),
            settings,
        };
        let log = AuditLog::open(parts, &TaskTracker::new());
        let provider = &Forge::shared().authentik;
        let rules = IssuerRules {
            name: IssuerName::parse(provider.name).unwrap(),
            issuer: provider.issuer.clone(),
            audiences: vec![provider.audience.to_owned()],
            profile: Profile::Authentik,
            groups_claim: ClaimPath::parse("groups").unwrap(),
            not_before: None,
            max_token_lifetime: Duration::from_hours(1),
            clients: Vec::new(),
        };
        let keys = KeySet::parse(provider.jwks().as_bytes()).unwrap();
        let server = ServerSettings {
            endpoint: endpoint.to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "parent".to_owned(),
            secret_key: SecretString::from("parent-secret"),
            timeout: Duration::from_secs(2),
        };
        let fingerprints = FingerprintKey::derive(b"test");
        // As the service has it, so that rows name the parent.
        let parent = Parent {
            id: fingerprints.parent("parent"),
            duty: Duty::Default,
            server: Arc::new(MinioServer::new(server, Arc::clone(&clock)).unwrap()),
        };
        let settings = S3Settings {
            endpoint: endpoint.to_owned(),
            region: "us-east-1".to_owned(),
            timeout: Duration::from_secs(2),
        };
        let traits =
            SelfTestTraits { has_minio_admin: true, new_session: NewSession::OfItself, asks_rights_first: true };
        let self_test = SelfTest::new(S3Client::new(settings, Arc::clone(&clock)).unwrap(), Vec::new(), traits);
        let policies = policies(&rules.name);
        let standings = Arc::new(Standings::new(SelfTesting::Off, policies.hash()));
        let metrics = Arc::new(Metrics::default());
        let held = Arc::new(HeldCredentials::default());
        let exchange = Exchange::new(ExchangeParts {
            verifier: Verifier::new(vec![rules.clone()], Arc::new(OneKeySet(keys))),
            policies: Arc::new(ArcSwap::from_pointee(policies)),
            lease_rules: LeaseRules {
                ttl: Duration::from_hours(1),
                jitter: 0.0,
                grace: Duration::from_mins(5),
                self_test: SelfTesting::Off,
                reuse,
                mints_per_second: None,
            },
            smoothing: None,
            freezes: Arc::new(FreezeWatch::new(Arc::new(Thawed), Arc::clone(&clock))),
            rates: Rates::new(&Quotas::default(), 1024, &clock),
            outstanding: Outstanding::new(Quotas::default(), Arc::new(Thawed), Arc::clone(&clock)),
            log: Arc::new(log),
            fingerprints,
            object_server: Arc::new(Parents::new(vec![parent]).unwrap()),
            held: Arc::clone(&held),
            self_test: Arc::new(self_test),
            standings,
            rng: Mutex::new(StdRng::seed_from_u64(1)),
            clock,
            metrics: Arc::clone(&metrics),
            tasks: tasks.clone(),
        });
        Self { held, exchange: Arc::new(exchange), metrics, tasks }
    }

    pub(crate) async fn exchange(&self, token: &str) -> Result<IssuedLease, Refusal> {
        self.exchange_of(token).await
    }

    /// The exchange as a future of its own, to be dropped half-way.
    pub(crate) fn exchange_of(&self, token: &str) -> impl Future<Output = Result<IssuedLease, Refusal>> + use<> {
        self.exchange_at(Door::Leases, token)
    }

    /// The same through another door.
    pub(crate) fn exchange_at(
        &self,
        door: Door,
        token: &str,
    ) -> impl Future<Output = Result<IssuedLease, Refusal>> + use<> {
        let request = ExchangeRequest {
            token: Unverified::new(token),
            role: RequestedRole::Any,
            duration: None,
            session_policy: None,
            session_name: None,
            fresh: false,
            origin: Origin { door, address: None, request_id: Uuid::now_v7() },
        };
        let exchange = Arc::clone(&self.exchange);
        async move { exchange.exchange(request).await }
    }

    /// How many exchanges were refused for this reason, as counted.
    pub(crate) fn refusals(&self, reason: &str) -> u64 {
        let label = format!("reason=\"{reason}\"}} ");
        let text = self.metrics.encode();
        let counts = text.lines().filter(|line| line.starts_with("stint_exchanges_total"));
        counts.filter_map(|line| line.split_once(&label)).map(|(_, count)| count.parse::<u64>().unwrap()).sum()
    }

    /// Waits until everything under way has ended.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn policies(issuer: &IssuerName) -> PolicySet {
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],
        "Resource":["arn:aws:s3:::recordings/*"]}]}"#;
    let files = [("documents/team-a.json".to_owned(), document.as_bytes().to_vec())].into_iter().collect();
    PolicySet::compile(&PolicyFiles(files), std::slice::from_ref(issuer)).unwrap()
}
