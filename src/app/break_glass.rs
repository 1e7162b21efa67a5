//! Break-glass, put together from the configuration: the journal before anything else is said, and the desk that both ways of
//! running share, the whole service and the one that came up without PostgreSQL.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::policies::PolicyReport;
use super::watching::Watching;
use super::{LOG_QUEUE, StartError, lease_desk, random, sealing_key};
use crate::audit::{
    AuditLog, AuditRow, AuditStore, Emergency, EmergencyContext, EmergencyFacts, FingerprintKey, LogParts, LogSettings,
    SigningKey, StoreError, StreamHead,
};
use crate::break_glass::desk::{
    BreakGlassDesk, BreakGlassParts, EmergencyJournal, EmergencyLog, EmergencyRecord, HeldEmergencies, NotMerged,
    ServerFacts,
};
use crate::break_glass::journal::{Journal, JournalError, JournalFirst, JournalParts, JournalStanding};
use crate::break_glass::watch::{Alert, AlertKind, OverdueWatch};
use crate::clock::Clock;
use crate::config::{Config, ObjectServerKind, ObjectServerSettings};
use crate::desk::SessionProber;
use crate::http::Emergencies;
use crate::object_server::probe::Prober;
use crate::object_server::s3::S3Client;
use crate::object_server::{ObjectServer, SelfTest};
use crate::policy::PolicySet;
use crate::postgres::PostgresStore;
use crate::telemetry::Metrics;

/// How often it is asked whether the log takes what waits.
const HAND_ON: Duration = Duration::from_secs(5);

/// The journal as the desk has it: with the shared log, as soon as that is there.
#[derive(Debug)]
pub(super) struct KeptJournal {
    journal: Arc<Journal>,
    shared: ArcSwapOption<SharedLog>,
}

/// The log that all instances share.
#[derive(Debug)]
struct SharedLog {
    store: Arc<dyn AuditStore>,
    record: Arc<dyn EmergencyRecord>,
}

impl KeptJournal {
    /// Opens the configured journal; none where there is none.
    pub(super) fn open(config: &Config) -> Result<Option<Arc<Self>>, StartError> {
        let Some(directory) = config.break_glass.journal.clone() else { return Ok(None) };
        let keys = vec![*sealing_key(&config.audit)?.public()];
        let journal = Journal::open(JournalParts { directory, keys, room: Journal::ROOM, rng: random()? })?;
        if let JournalStanding::Refused(why) = journal.standing() {
            tracing::error!("{why}");
        }
        Ok(Some(Arc::new(Self { journal: Arc::new(journal), shared: ArcSwapOption::empty() })))
    }

    /// The shared log is there: from here on what waits is merged into it, and what instances know together is known. Answers
    /// the store that takes nothing before that.
    pub(super) fn before(&self, store: &Arc<PostgresStore>) -> Arc<dyn AuditStore> {
        let (log, record): (Arc<dyn AuditStore>, Arc<dyn EmergencyRecord>) = (store.clone(), store.clone());
        self.shared.store(Some(Arc::new(SharedLog { store: Arc::clone(&log), record })));
        Arc::new(JournalFirst::new(Arc::clone(&self.journal), log))
    }

    /// Why it is not believed, if it is not.
    fn refusal(&self) -> Option<String> {
        match self.journal.standing() {
            JournalStanding::Refused(why) => Some(why),
            JournalStanding::Merged | JournalStanding::Waiting(_) => None,
        }
    }

    /// The instance, as documents name it.
    pub(super) fn id(&self) -> Uuid {
        self.journal.instance().as_uuid()
    }

    fn shared(&self) -> Result<Arc<SharedLog>, StoreError> {
        self.shared.load_full().ok_or_else(|| StoreError::Unavailable("PostgreSQL was not reached yet".into()))
    }
}

#[async_trait]
impl EmergencyJournal for KeptJournal {
    fn instance(&self) -> Uuid {
        self.id()
    }

    async fn rows(&self) -> Result<Vec<AuditRow>, StoreError> {
        let journal = Arc::clone(&self.journal);
        let rows = tokio::task::spawn_blocking(move || journal.records()).await;
        Ok(rows.map_err(|_ended| StoreError::from(JournalError::GivenUp))??)
    }

    async fn merge(&self) -> Result<(), NotMerged> {
        let shared = self.shared().map_err(|_| NotMerged::Away)?;
        match self.journal.merge_into(shared.store.as_ref()).await {
            Ok(_merged) => Ok(()),
            Err(JournalError::Unverified { .. }) => Err(NotMerged::Refused),
            Err(error) => {
                tracing::debug!(%error, "the break-glass journal is not merged yet");
                Err(NotMerged::Away)
            }
        }
    }

    fn waits(&self) -> bool {
        !self.journal.is_merged()
    }

    fn head(&self) -> Option<StreamHead> {
        self.journal.head_now()
    }
}

#[async_trait]
impl EmergencyRecord for KeptJournal {
    async fn owner(&self, nonce: Uuid) -> Result<Option<Uuid>, StoreError> {
        self.shared()?.record.owner(nonce).await
    }

    async fn rows(&self) -> Result<Vec<AuditRow>, StoreError> {
        self.shared()?.record.rows().await
    }
}

/// What the desk shares with the rest of the service.
pub(super) struct Shared {
    pub(super) journal: Arc<KeptJournal>,
    pub(super) policies: Arc<ArcSwap<PolicySet>>,
    pub(super) watching: Watching,
    pub(super) object_server: Arc<dyn ObjectServer>,
    pub(super) self_test: Arc<SelfTest>,
    pub(super) fingerprints: FingerprintKey,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: TaskTracker,
}

/// What of the configuration the desk is made of: the rest of it is consumed elsewhere.
pub(super) struct GlassSettings {
    server: ServerFacts,
    probing: S3Client,
    key: SigningKey,
    witness: SigningKey,
    log: LogSettings,
}

impl GlassSettings {
    pub(super) fn of(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, StartError> {
        Ok(Self {
            server: server_facts(&config.object_server),
            probing: lease_desk::probe_client(&config.object_server, clock)?,
            key: sealing_key(&config.audit)?,
            witness: sealing_key(&config.audit)?,
            log: LogSettings { deadline: config.audit.deadline, queue: LOG_QUEUE },
        })
    }
}

/// The desk and what runs beside it.
#[derive(Debug, Clone)]
pub(super) struct Glass {
    pub(super) desk: Arc<BreakGlassDesk>,
    pub(super) overdue: Arc<OverdueWatch>,
    journal: Arc<KeptJournal>,
    watching: Watching,
    /// What a journal that does not verify is told to the log with.
    witness: Arc<Witness>,
    running: Arc<AtomicBool>,
}

/// How far the telling got.
#[derive(Debug)]
enum Voice {
    /// Nothing to tell yet; the key is gone once a log is opened with it.
    Silent(Option<SigningKey>),
    /// To be told as soon as the log takes it.
    Open(AuditLog),
    /// Told, or too late.
    Done,
}

/// What tells the log of a journal that cannot be merged into it.
#[derive(Debug)]
struct Witness {
    voice: tokio::sync::Mutex<Voice>,
    settings: LogSettings,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    alerted: AtomicBool,
}

impl Glass {
    /// Puts it together; says nothing yet.
    pub(super) fn new(settings: GlassSettings, shared: Shared) -> Result<Self, StartError> {
        let GlassSettings { server, probing, key, witness, log } = settings;
        let witness = Witness {
            voice: tokio::sync::Mutex::new(Voice::Silent(Some(witness))),
            settings: log,
            clock: Arc::clone(&shared.clock),
            tasks: shared.tasks.clone(),
            alerted: AtomicBool::new(false),
        };
        let Shared { journal, policies, watching, object_server, self_test, fingerprints, clock, metrics, tasks } =
            shared;
        let store: Arc<dyn AuditStore> = journal.journal.clone();
        let parts = LogParts { store, clock: Arc::clone(&clock), rng: random()?, key, settings: log };
        let log = Arc::new(EmergencyLog::new(parts, tasks.clone()));
        let desk = Arc::new(BreakGlassDesk::new(BreakGlassParts {
            policies,
            journal: journal.clone(),
            log,
            record: journal.clone(),
            conditions: Arc::clone(&watching.conditions),
            alerts: Arc::clone(&watching.alerts),
            object_server,
            server,
            self_test,
            probe: Arc::new(SessionProber::new(Prober::new(probing))),
            held: Arc::new(HeldEmergencies::default()),
            fingerprints,
            clock: Arc::clone(&clock),
            rng: Mutex::new(random()?),
            tasks,
        }));
        let overdue = Arc::new(OverdueWatch::new(desk.clone(), clock, metrics));
        let (witness, running) = (Arc::new(witness), Arc::default());
        Ok(Self { desk, overdue, journal, watching, witness, running })
    }

    /// What the doors lead to.
    pub(super) fn door(&self) -> Arc<dyn Emergencies> {
        self.desk.clone()
    }

    /// The store that takes nothing before the journal is merged, which it is now.
    pub(super) async fn before(&self, store: &Arc<PostgresStore>) -> Result<Arc<dyn AuditStore>, StartError> {
        let gated = self.journal.before(store);
        let merged = self.journal.journal.merge_into(store.as_ref()).await;
        if matches!(merged, Err(JournalError::Unverified { .. })) {
            self.tell_refused().await;
        }
        merged?;
        Ok(gated)
    }

    /// Keeps the text of the policies in force beside the events that name them.
    pub(super) async fn keep_policy_set(&self, report: &PolicyReport) {
        if let Err(error) = self.journal.journal.keep_policy_set(&report.kept).await {
            tracing::warn!(%error, "the text of the policies is not kept in the break-glass journal");
        }
    }

    /// Probes, tells, hands on, and says what time brings, on `tasks` until `shutdown`. Begun once.
    pub(super) fn start(&self, tasks: &TaskTracker, shutdown: &CancellationToken) {
        if !self.running.swap(true, Ordering::SeqCst) {
            let (glass, shutdown) = (self.clone(), shutdown.clone());
            tasks.spawn(async move { glass.run(shutdown).await });
        }
    }

    async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(
            self.watching.run(shutdown.clone()),
            self.overdue.run(shutdown.clone()),
            self.desk.run(shutdown.clone()),
            self.keep_handing_on(shutdown.clone()),
        );
    }

    /// What waits is handed on soon after the log is back, also where nobody asks for anything.
    async fn keep_handing_on(&self, shutdown: CancellationToken) {
        let handing_on = async {
            loop {
                if self.journal.waits() {
                    // Away: it is asked again. Refused: told below.
                    let _ = self.journal.merge().await;
                }
                if self.journal.refusal().is_some() {
                    self.tell_refused().await;
                }
                sleep(HAND_ON).await;
            }
        };
        shutdown.run_until_cancelled(handing_on).await;
        // Its writer is waited for, and ends with it.
        *self.witness.voice.lock().await = Voice::Done;
    }

    /// Alerts once of a journal that does not verify, and puts it on record as soon as the log answers: past the gate, which
    /// stays shut.
    async fn tell_refused(&self) {
        let Some(why) = self.journal.refusal() else { return };
        if !self.witness.alerted.swap(true, Ordering::SeqCst) {
            let reason = Some("unverified".to_owned());
            let journal_head = self.journal.head();
            self.watching.alerts.raise(Alert {
                reason,
                journal_head,
                ..Alert::of(AlertKind::Recorded(Emergency::JournalRefused))
            });
        }
        let Ok(shared) = self.journal.shared() else { return };
        let mut voice = self.witness.voice.lock().await;
        if let Voice::Silent(key) = &mut *voice {
            let Ok(rng) = random() else { return };
            let Some(key) = key.take() else { return };
            let Witness { settings, clock, tasks, .. } = self.witness.as_ref();
            let store = Arc::clone(&shared.store);
            let parts = LogParts { store, clock: Arc::clone(clock), rng, key, settings: *settings };
            *voice = Voice::Open(AuditLog::open(parts, tasks));
        }
        // Kept until it is on record: the log may be away just now, as it is when most goes wrong.
        let Voice::Open(log) = &*voice else { return };
        let facts =
            EmergencyFacts { conditions: Some(why), instance: Some(self.journal.id()), ..EmergencyFacts::default() };
        let context = EmergencyContext::default();
        match log.emergency(Emergency::JournalRefused, "unverified", &facts, context).await {
            Ok(_event) => *voice = Voice::Done,
            Err(error) => tracing::warn!(%error, "that the break-glass journal is refused is not on record yet"),
        }
    }

    /// The end of the journal's stream too, where the log takes it: the process ends, and waits no longer than for a commit.
    pub(super) async fn hand_on_last(&self) {
        let Ok(shared) = self.journal.shared() else { return };
        let last = timeout(self.witness.settings.deadline, self.journal.journal.put_away(shared.store.as_ref()));
        if !matches!(last.await, Ok(Ok(()))) {
            tracing::warn!("the end of the break-glass journal's stream waits for the next start");
        }
    }

    /// Ends the journal's stream in good order, once nothing is said any more.
    pub(super) async fn close(&self) {
        self.desk.close().await;
    }
}

fn server_facts(settings: &ObjectServerSettings) -> ServerFacts {
    let own_parents: BTreeSet<_> = settings.role_parents.iter().flat_map(|block| block.roles.iter().cloned()).collect();
    let (endpoint, region) = (settings.endpoint.clone(), settings.region.clone());
    ServerFacts { endpoint, region, accesses: accesses(&settings.kind), own_parents }
}

/// How each server's own log tells what was done under a lease.
fn accesses(kind: &ObjectServerKind) -> &'static str {
    match kind {
        ObjectServerKind::Minio => {
            "MinIO: its audit log (audit_webhook or audit_kafka; `mc admin trace` only while it happens) names the access key \
             of each request. The recipient has it, and `stint audit query key` says of any key whether it was this lease's."
        }
        ObjectServerKind::Rustfs => {
            "RustFS: look for the access key of each request in its audit log, if it keeps one. The recipient has the key, and \
             `stint audit query key` says of any key whether it was this lease's."
        }
        ObjectServerKind::Seaweedfs(_) => {
            "SeaweedFS: look for the session name, or the access key, in the audit log of its S3 gateway, if it keeps one."
        }
        ObjectServerKind::Ceph(_) => {
            "Ceph: look for the session name in the gateway's ops log, if it keeps one (rgw_enable_ops_log)."
        }
        ObjectServerKind::Aws(_) => "AWS: CloudTrail's data events of S3: userIdentity.arn ends with the session name.",
        ObjectServerKind::Garage { .. } => {
            "Garage: the log of its S3 API names the key of each request: the recipient has its id."
        }
    }
}
