//! The comparison of the object server's list with the log, on a real PostgreSQL: the leases come about in real exchanges,
//! the list is a double's.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use stint::audit::{
    Abandonment, AuditLog, AuditReceipt, AuditRow, AuditStore, Batch, Door, FingerprintKey, LeaseOnRecord, LogParts,
    LogSettings, LoneIntent, Origin, PolicySetText, Revoked, RevokedBy, Seal, SigningKey, StoreError, StreamHead,
    StreamId, VerifyingKey,
};
use stint::clock::{Clock, SystemClock};
use stint::lease::{AssumeRole, Capabilities, LeaseId};
use stint::object_server::{
    Absence, AccessKeyId, LeaseToEnd, ListedCredential, MinioServer, ObjectServer, ObjectServerError, ParentListing,
    ServerSettings, TemporaryCredentials,
};
use stint::postgres::{PostgresLeaseRecords, PostgresStore};
use stint::reconciler::listing::{DOUBT, LeaseRecords, ListingParts, ListingReconciler, Pass, Report};
use stint::telemetry::Metrics;
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;

use crate::harness::clock::MovedClock;
use crate::harness::database::{connect, fresh_database, run};
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::parts::Parts;
use crate::harness::service::now;
use crate::harness::tokens::Forge;

const DEADLINE: Duration = Duration::from_secs(2);
const REAL_LIFE: Duration = Duration::from_secs(3590);
/// What the scripted object server mints.
const MINTED: &str = "GGCTIHYG44N04A0X14LN";
const ALIEN: &str = "QK89Y2ABCJQTKYD80DRD";

/// A server that lists what a test says, and ends what was minted for a lease.
#[derive(Debug)]
struct Listing {
    /// Access key, end, and the lease inside its token.
    credentials: Mutex<Vec<(&'static str, OffsetDateTime, Option<LeaseId>)>>,
    revoked: Mutex<Vec<LeaseId>>,
    keeps_a_list: bool,
    /// As Garage's does.
    names_leases: bool,
    /// Whether it lists nothing more once something was revoked, as one that starts and has loaded nothing yet.
    forgets: bool,
    /// As MinIO's does not, it shows all that is kept.
    absence: Absence,
    capabilities: Capabilities,
}

impl Listing {
    fn of(credentials: Vec<(&'static str, OffsetDateTime, Option<LeaseId>)>) -> Arc<Self> {
        let settings = ServerSettings {
            endpoint: "http://127.0.0.1:1".to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "parent".to_owned(),
            secret_key: SecretString::from("parent-secret"),
            timeout: DEADLINE,
        };
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let minio = MinioServer::new(settings, Arc::new(SystemClock::start())).unwrap();
        Arc::new(Self {
            credentials: Mutex::new(credentials),
            revoked: Mutex::default(),
            keeps_a_list: true,
            names_leases: false,
            forgets: false,
            absence: Absence::Gone,
            capabilities: minio.capabilities().clone(),
        })
    }
}

#[async_trait]
impl ObjectServer for Listing {
    async fn assume_role(&self, _: &AuditReceipt, _: &AssumeRole) -> Result<TemporaryCredentials, ObjectServerError> {
        Err(ObjectServerError::NotReady)
    }

    async fn revoke(&self, lease: &LeaseToEnd) -> Result<(), ObjectServerError> {
        self.revoked.lock().unwrap().push(lease.id);
        self.credentials.lock().unwrap().retain(|(_, _, own)| !self.forgets && *own != Some(lease.id));
        Ok(())
    }

    async fn live_credentials(&self) -> Result<Vec<ParentListing>, ObjectServerError> {
        if !self.keeps_a_list {
            return Err(ObjectServerError::KeepsNoList);
        }
        let credentials = self.credentials.lock().unwrap();
        let credentials = credentials.iter().map(|(key, ends_at, lease)| ListedCredential {
            access_key_id: AccessKeyId::parse(key).unwrap(),
            ends_at: Some(*ends_at),
            lease: lease.filter(|_| self.names_leases),
        });
        let (parent, absence) = (AccessKeyId::parse("parent").unwrap(), self.absence);
        Ok(vec![ParentListing { parent, absence, credentials: credentials.collect() }])
    }

    async fn ready(&self) -> Result<(), ObjectServerError> {
        Ok(())
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

/// The real store, which refuses what becomes of a lease.
#[derive(Debug)]
struct Forgetful(PostgresStore);

#[async_trait]
impl AuditStore for Forgetful {
    async fn open(&self, stream: StreamId, key: &VerifyingKey) -> Result<Vec<StreamHead>, StoreError> {
        self.0.open(stream, key).await
    }

    async fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let forgets = |record: &String| {
            ["issued", "failed", "abandoned"].iter().any(|fate| record.contains(&format!("lease.{fate}")))
        };
        if batch.records.iter().any(forgets) {
            return Err(StoreError::Unavailable("it fails here".into()));
        }
        self.0.append(batch).await
    }

    async fn head(&self, stream: StreamId) -> Result<Option<Seal>, StoreError> {
        self.0.head(stream).await
    }

    async fn keep_policy_set(&self, set: &PolicySetText) -> Result<(), StoreError> {
        self.0.keep_policy_set(set).await
    }
}

async fn store(database: &SecretString) -> PostgresStore {
    PostgresStore::connect(database, DEADLINE).await.unwrap()
}

fn log(store: Arc<PostgresStore>, clock: Arc<dyn Clock>) -> AuditLog {
    let settings = LogSettings { deadline: DEADLINE, queue: 64 };
    let key = SigningKey::generate().unwrap();
    AuditLog::open(LogParts { store, clock, rng: rand::make_rng(), key, settings }, &TaskTracker::new())
}

/// A reconciler with clocks of its own.
struct Instance {
    reconciler: ListingReconciler,
    clock: Arc<MovedClock>,
}

impl Instance {
    async fn start(database: &SecretString, server: &Arc<Listing>, revoke_orphans: bool) -> Self {
        let moved = Arc::new(MovedClock::start());
        let clock: Arc<dyn Clock> = moved.clone();
        let store = Arc::new(store(database).await);
        let reconciler = ListingReconciler::new(ListingParts {
            records: Arc::new(PostgresLeaseRecords::new(store.clone())),
            object_server: server.clone(),
            log: Arc::new(log(store, clock.clone())),
            fingerprints: FingerprintKey::derive(b"test"),
            clock,
            metrics: Arc::new(Metrics::default()),
            revoke_orphans,
        });
        Self { reconciler, clock: moved }
    }

    async fn compare(&mut self) -> Report {
        match self.reconciler.pass().await.unwrap() {
            Pass::Compared(report) => report,
            other @ (Pass::Elsewhere | Pass::NoList) => panic!("{other:?}"),
        }
    }

    /// Twice: what is in doubt at first is decided.
    async fn compare_beyond_doubt(&mut self) -> Report {
        self.compare().await;
        self.clock.advance(DOUBT);
        self.compare().await
    }
}

/// A lease of the service's own, whose key is [`MINTED`].
async fn issue(database: &SecretString) {
    let minting = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let parts = Parts::with(Arc::new(store(database).await), minting.endpoint());
    parts.exchange(&Forge::shared().authentik.token(now())).await.unwrap();
    parts.drained().await;
}

async fn rows(database: &SecretString, kind: &str) -> Vec<AuditRow> {
    let mut rows = store(database).await.recent(1000).await.unwrap();
    rows.retain(|row| row.kind == kind);
    rows.reverse();
    rows
}

fn in_an_hour() -> OffsetDateTime {
    SystemClock::start().now() + REAL_LIFE
}

#[tokio::test]
async fn a_lease_and_its_credential_are_fine() {
    let database = fresh_database().await;
    issue(&database).await;
    let server = Listing::of(vec![(MINTED, in_an_hour(), None)]);
    let mut instance = Instance::start(&database, &server, true).await;
    let report = instance.compare_beyond_doubt().await;
    assert_eq!((report.live, report.with_lease, report.open_leases, report.in_doubt), (1, 1, 1, 0));
    assert!(report.is_in_order());
    assert_eq!(rows(&database, "orphan.found").await.len(), 0);
    assert!(server.revoked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_credential_without_a_lease_is_told_once_after_the_doubt() {
    let database = fresh_database().await;
    issue(&database).await;
    let server = Listing::of(vec![(MINTED, in_an_hour(), None), (ALIEN, in_an_hour(), None)]);
    let mut instance = Instance::start(&database, &server, true).await;
    let report = instance.compare().await;
    assert_eq!((report.live, report.with_lease, report.in_doubt, report.orphans.len()), (2, 1, 1, 0));
    instance.clock.advance(DOUBT * 9 / 10);
    assert_eq!(instance.compare().await.orphans.len(), 0);
    assert_eq!(rows(&database, "orphan.found").await.len(), 0);

    instance.clock.advance(DOUBT / 5);
    let report = instance.compare().await;
    assert_eq!((report.in_doubt, report.orphans.len(), report.is_in_order()), (0, 1, false));
    instance.clock.advance(DOUBT);
    instance.compare().await;
    Instance::start(&database, &server, false).await.compare_beyond_doubt().await;

    let told = rows(&database, "orphan.found").await;
    let [row] = told.as_slice() else { panic!("{told:?}") };
    let fingerprints = FingerprintKey::derive(b"test");
    let fingerprint = |key: &str| Some(fingerprints.fingerprint(key).as_str().to_owned());
    assert_eq!((row.reason.as_str(), row.detail.as_deref()), ("no_lease", Some("reported")));
    assert_eq!(row.effect, "not_applicable");
    assert_eq!((&row.key_fingerprint, &row.parent_fingerprint), (&fingerprint(ALIEN), &fingerprint("parent")));
    assert!(row.ends_at.is_some() && row.lease_id.is_none());
    assert!(!format!("{told:?}").contains(ALIEN), "an access key is in no row");
    assert!(server.revoked.lock().unwrap().is_empty(), "nothing names a lease of which it could be");
}

#[tokio::test]
async fn a_credential_that_ends_with_the_last_instant_is_an_orphan_like_any_other() {
    let database = fresh_database().await;
    let last = time::macros::datetime!(9999-12-31 23:59:59 UTC);
    let server = Listing::of(vec![(ALIEN, last, None)]);
    let report = Instance::start(&database, &server, true).await.compare_beyond_doubt().await;
    assert_eq!((report.live, report.orphans.len(), report.is_in_order()), (1, 1, false));
    assert_eq!(rows(&database, "orphan.found").await[0].ends_at, Some(last));
}

#[tokio::test]
async fn an_open_lease_without_a_credential_is_missing_until_somebody_closes_it() {
    let database = fresh_database().await;
    issue(&database).await;
    let mut instance = Instance::start(&database, &Listing::of(Vec::new()), false).await;
    let first = instance.compare().await;
    assert_eq!((first.in_doubt, first.missing.len()), (1, 0));
    instance.clock.advance(DOUBT);
    let report = instance.compare().await;
    let intended = rows(&database, "lease.intended").await;
    assert_eq!(report.missing.iter().map(|lease| Some(lease.id.as_uuid())).collect::<Vec<_>>(), [intended[0].lease_id]);
    assert!(!report.is_in_order());

    close(&database, &intended[0]).await;
    assert!(instance.compare().await.is_in_order());
}

/// As the exchange does when it cannot say that it issued.
async fn close(database: &SecretString, intended: &AuditRow) {
    let lone = LoneIntent::try_from(intended.clone()).unwrap();
    let log = log(Arc::new(store(database).await), Arc::new(SystemClock::start()));
    log.abandon_lone(&lone, Abandonment::Revoked).await.unwrap();
}

/// As the desk does: somebody wants it ended, and this was seen of it.
async fn want_ended(database: &SecretString, seen: Option<Revoked>) -> LeaseOnRecord {
    let [issued] = rows(database, "lease.issued").await.try_into().unwrap();
    let lease = LeaseOnRecord::try_from(issued).unwrap();
    let origin = Origin { door: Door::Cli, address: None, request_id: uuid::Uuid::nil() };
    let by = RevokedBy { origin, token_sha256: None, actor: "os:uid 0".to_owned(), why: None };
    let log = log(Arc::new(store(database).await), Arc::new(SystemClock::start()));
    log.request_revocation(&lease, &by).await.unwrap();
    if let Some(seen) = seen {
        log.tell_revocation(&lease, &by, seen, None).await.unwrap();
    }
    lease
}

#[tokio::test]
async fn a_live_key_whose_lease_was_only_to_be_ended_is_no_orphan_and_the_wish_stands() {
    for seen in [None, Some(Revoked::Unproven), Some(Revoked::Failed), Some(Revoked::EndsByItself)] {
        let database = fresh_database().await;
        issue(&database).await;
        let lease = want_ended(&database, seen).await;
        let server = Listing::of(vec![(MINTED, in_an_hour(), Some(lease.id()))]);
        let mut instance = Instance::start(&database, &server, false).await;
        let first = instance.compare().await;
        assert_eq!((first.in_doubt, first.with_lease, first.orphans.len()), (1, 1, 0), "{seen:?}");
        assert!(server.revoked.lock().unwrap().is_empty(), "whoever wished it may be at it: {seen:?}");
        instance.clock.advance(DOUBT);
        let report = instance.compare().await;
        assert_eq!((report.open_leases, report.orphans.len(), report.missing.len()), (1, 0, 0), "{seen:?}");
        assert_eq!(report.closed.iter().map(|closed| closed.id).collect::<Vec<_>>(), [lease.id()], "{seen:?}");
        assert_eq!(*server.revoked.lock().unwrap(), [lease.id()], "{seen:?}");
    }
    // One that was seen refused, and is good again, is.
    for seen in [Revoked::RefusedAtServer { after: Duration::from_millis(5) }, Revoked::GoneFromListing] {
        let database = fresh_database().await;
        issue(&database).await;
        want_ended(&database, Some(seen)).await;
        let server = Listing::of(vec![(MINTED, in_an_hour(), None)]);
        let report = Instance::start(&database, &server, false).await.compare_beyond_doubt().await;
        assert_eq!((report.with_lease, report.open_leases, report.orphans.len()), (0, 0, 1), "{seen:?}");
    }
}

/// MinIO says yes to the end of a session that it has yet to read from its disk, and does not list it.
#[tokio::test]
async fn what_a_server_has_never_listed_is_not_gone_and_is_ended_when_it_shows() {
    let database = fresh_database().await;
    issue(&database).await;
    let lease = want_ended(&database, Some(Revoked::Unproven)).await;
    let empty = Listing::of(Vec::new());
    let server =
        Arc::new(Listing { absence: Absence::GoneIfListedBefore, ..Arc::into_inner(empty).expect("held once") });
    let mut instance = Instance::start(&database, &server, false).await;
    let report = instance.compare_beyond_doubt().await;
    assert_eq!((report.closed.len(), report.missing.len()), (0, 1), "nobody has seen it");
    // Somebody uses it.
    *server.credentials.lock().unwrap() = vec![(MINTED, in_an_hour(), Some(lease.id()))];
    let report = instance.compare_beyond_doubt().await;
    assert_eq!((report.closed.len(), report.missing.len()), (1, 0));
    assert_eq!(*server.revoked.lock().unwrap(), [lease.id()]);
    let revoked = rows(&database, "lease.revoked").await;
    assert_eq!(revoked.last().map(|row| row.reason.as_str()), Some("gone_from_listing"));
}

/// Between two passes a server may have started anew: its list of the first says nothing of the second.
#[tokio::test]
async fn what_a_server_listed_in_an_earlier_pass_is_not_gone() {
    let database = fresh_database().await;
    issue(&database).await;
    let listing = Listing::of(vec![(MINTED, in_an_hour(), None)]);
    let server =
        Arc::new(Listing { absence: Absence::GoneIfListedBefore, ..Arc::into_inner(listing).expect("held once") });
    let mut instance = Instance::start(&database, &server, false).await;
    assert!(instance.compare().await.is_in_order());
    want_ended(&database, Some(Revoked::Unproven)).await;
    server.credentials.lock().unwrap().clear();
    let report = instance.compare_beyond_doubt().await;
    assert_eq!((report.closed.len(), report.missing.len()), (0, 1));
}

#[tokio::test]
async fn a_lease_that_was_to_be_ended_and_is_gone_is_closed_once() {
    let database = fresh_database().await;
    issue(&database).await;
    let lease = want_ended(&database, Some(Revoked::Unproven)).await;
    let mut instance = Instance::start(&database, &Listing::of(Vec::new()), false).await;
    let first = instance.compare().await;
    assert_eq!((first.in_doubt, first.closed.len()), (1, 0), "it is in doubt first");
    instance.clock.advance(DOUBT);
    let report = instance.compare().await;
    assert_eq!(report.closed.iter().map(|closed| closed.id).collect::<Vec<_>>(), [lease.id()]);
    assert!(report.missing.is_empty() && report.is_in_order());
    let again = instance.compare().await;
    assert_eq!((again.open_leases, again.closed.len(), again.in_doubt), (0, 0, 0));

    let revoked = rows(&database, "lease.revoked").await;
    let reasons: Vec<_> = revoked.iter().map(|row| row.reason.as_str()).collect();
    assert_eq!(reasons, ["requested", "revoked_unproven", "gone_from_listing"]);
    let [_, _, row] = revoked.as_slice() else { panic!("{revoked:?}") };
    assert_eq!((&row.actor, &row.door, row.effect.as_str()), (&None, &None, "deny"));
    assert_eq!(row.detail.as_deref(), Some("the object server lists it no more"));
    assert_eq!((row.lease_id, &row.subject), (Some(lease.id().as_uuid()), &lease.holder().subject));
    assert!(!format!("{revoked:?}").contains(MINTED), "an access key is in no row");
}

#[tokio::test]
async fn a_key_that_outlives_its_closed_lease_is_an_orphan_and_ended_by_its_lease() {
    let database = fresh_database().await;
    issue(&database).await;
    let intended = rows(&database, "lease.intended").await;
    close(&database, &intended[0]).await;
    let lease = LeaseId::from_uuid(intended[0].lease_id.unwrap());
    let server = Listing::of(vec![(MINTED, in_an_hour(), Some(lease))]);
    let mut instance = Instance::start(&database, &server, false).await;
    let report = instance.compare_beyond_doubt().await;
    assert_eq!((report.orphans.len(), report.is_in_order()), (1, false));
    assert!(server.revoked.lock().unwrap().is_empty(), "unless configured, it is told and left");

    let mut instance = Instance::start(&database, &server, true).await;
    let report = instance.compare_beyond_doubt().await;
    assert_eq!((report.orphans.len(), report.is_in_order()), (1, true));
    assert_eq!(*server.revoked.lock().unwrap(), [lease]);
    let told = rows(&database, "orphan.found").await;
    let said: Vec<_> = told.iter().map(|row| (row.reason.as_str(), row.detail.as_deref(), row.lease_id)).collect();
    let id = intended[0].lease_id;
    assert_eq!(said, [("lease_closed", Some("reported"), id), ("lease_closed", Some("revoked"), id)]);
    assert_eq!(instance.compare().await.live, 0);
}

/// An exchange whose mint got no answer: its lease, and when what was minted for it would end.
async fn failed_lease(database: &SecretString) -> (LeaseId, OffsetDateTime) {
    let silent = ScriptedObjectServer::start(vec![Reply::Close]).await;
    let parts = Parts::with(Arc::new(store(database).await), silent.endpoint());
    parts.exchange(&Forge::shared().authentik.token(now())).await.unwrap_err();
    parts.drained().await;
    let [failed] = rows(database, "lease.failed").await.try_into().unwrap();
    let length = Duration::from_secs(failed.granted_seconds.unwrap().try_into().unwrap());
    (LeaseId::from_uuid(failed.lease_id.unwrap()), failed.occurred_at + length)
}

/// The answer to the mint was lost, and the revocation too: the log says `lease.failed`, the server holds the credential.
#[tokio::test]
async fn what_a_failed_lease_left_behind_is_ended_by_its_lease() {
    let database = fresh_database().await;
    let (lease, left) = failed_lease(&database).await;
    // Minted behind our back, with an end that no lease implies.
    let alien = left - Duration::from_mins(20);
    let server = Listing::of(vec![(MINTED, left, Some(lease)), (ALIEN, alien, None)]);

    let report = Instance::start(&database, &server, true).await.compare_beyond_doubt().await;
    assert_eq!(report.orphans.len(), 2);
    assert_eq!(*server.revoked.lock().unwrap(), [lease], "once, and nothing else");
    let told = rows(&database, "orphan.found").await;
    let said: Vec<_> = told.iter().map(|row| (row.detail.as_deref(), row.lease_id)).collect();
    assert_eq!(said, [(Some("reported"), None), (Some("reported"), None), (Some("revoked"), Some(lease.as_uuid()))]);
}

#[tokio::test]
async fn however_many_intents_stand_without_an_issue_each_is_known() {
    let database = fresh_database().await;
    let (failed, _) = failed_lease(&database).await;
    // Two whole pages, most of them of one instant, before the one that the exchange wrote.
    let more = "insert into audit_event select (jsonb_populate_record(intent, jsonb_build_object(
            'seq', 1000 + n, 'lease_id', gen_random_uuid(),
            'occurred_at', intent.occurred_at - make_interval(secs => 2 + n / 1500)))).*
        from audit_event intent, generate_series(1, 1999) n where intent.type = 'lease.intended'";
    run(&mut connect(&database).await, more).await.unwrap();
    let records = PostgresLeaseRecords::new(Arc::new(store(&database).await));
    let mut turn = records.turn().await.unwrap().unwrap();
    let now = SystemClock::start().now();
    let (from, to) = (now - Duration::from_hours(1), now + Duration::from_hours(2));
    let known: BTreeSet<LeaseId> = turn.unissued(from, to).await.unwrap().iter().map(|lease| lease.id).collect();
    assert_eq!(known.len(), 2000);
    assert!(known.contains(&failed));
}

#[tokio::test]
async fn an_orphan_that_a_partial_list_lacks_is_not_said_to_be_revoked() {
    for forgets in [true, false] {
        let database = fresh_database().await;
        issue(&database).await;
        let (lease, left) = failed_lease(&database).await;
        let mut server = Listing::of(vec![(MINTED, in_an_hour(), None), (ALIEN, left, Some(lease))]);
        Arc::get_mut(&mut server).unwrap().forgets = forgets;

        let report = Instance::start(&database, &server, true).await.compare_beyond_doubt().await;
        assert_eq!(*server.revoked.lock().unwrap(), [lease]);
        assert_eq!((report.with_lease, report.orphans.len(), report.is_in_order()), (1, 1, !forgets));
        let told = rows(&database, "orphan.found").await;
        let said: Vec<_> = told.iter().filter_map(|row| row.detail.as_deref()).collect();
        assert_eq!(said, if forgets { vec!["reported"] } else { vec!["reported", "revoked"] });
    }
}

/// Where the server names the leases itself, it names those of every service that uses it.
#[tokio::test]
async fn another_installations_lease_is_told_and_never_ended() {
    let database = fresh_database().await;
    let (ours, _) = failed_lease(&database).await;
    let theirs = LeaseId::from_uuid(uuid::Uuid::from_u128(7));
    let mut server = Listing::of(vec![(MINTED, in_an_hour(), Some(ours)), (ALIEN, in_an_hour(), Some(theirs))]);
    Arc::get_mut(&mut server).unwrap().names_leases = true;

    let report = Instance::start(&database, &server, true).await.compare_beyond_doubt().await;
    assert_eq!((report.orphans.len(), report.is_in_order()), (2, false));
    assert_eq!(*server.revoked.lock().unwrap(), [ours]);
    assert_eq!(server.credentials.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_credential_that_may_be_a_lone_intents_is_left_to_whoever_closes_that() {
    let database = fresh_database().await;
    let minting = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE), Reply::Close]).await;
    let parts = Parts::with(Arc::new(Forgetful(store(&database).await)), minting.endpoint());
    parts.exchange(&Forge::shared().authentik.token(now())).await.unwrap_err();
    let [intended] = rows(&database, "lease.intended").await.try_into().unwrap();
    let lease = LeaseId::from_uuid(intended.lease_id.unwrap());
    let server = Listing::of(vec![(MINTED, in_an_hour(), Some(lease))]);
    let mut instance = Instance::start(&database, &server, true).await;
    for _ in 0..3 {
        let report = instance.compare_beyond_doubt().await;
        assert_eq!((report.in_doubt, report.orphans.len()), (1, 0));
    }
    assert!(server.revoked.lock().unwrap().is_empty());

    close(&database, &intended).await;
    assert!(instance.compare().await.is_in_order());
    assert_eq!(*server.revoked.lock().unwrap(), [lease]);
    assert_eq!(rows(&database, "orphan.found").await.len(), 2);
}

#[tokio::test]
async fn one_instance_compares_at_a_time() {
    let database = fresh_database().await;
    let records = PostgresLeaseRecords::new(Arc::new(store(&database).await));
    let turn = records.turn().await.unwrap().unwrap();
    let server = Listing::of(Vec::new());
    let mut instance = Instance::start(&database, &server, false).await;
    assert!(matches!(instance.reconciler.pass().await.unwrap(), Pass::Elsewhere));
    drop(turn);
    // The server notices the closed connection, and frees the lock, a moment later.
    while matches!(instance.reconciler.pass().await.unwrap(), Pass::Elsewhere) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_server_without_a_list_is_told_so_and_nothing_is_missing() {
    let database = fresh_database().await;
    issue(&database).await;
    let mut server = Listing::of(Vec::new());
    Arc::get_mut(&mut server).unwrap().keeps_a_list = false;
    let mut instance = Instance::start(&database, &server, false).await;
    assert!(matches!(instance.reconciler.pass().await.unwrap(), Pass::NoList));
}
