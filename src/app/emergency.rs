//! The start without PostgreSQL: the doors of break-glass, health and metrics alone, on the very listener that the whole
//! service takes over once PostgreSQL answers and the journal is merged. Every other door says that the log is away.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ground::Ground;
use super::readiness::Probes;
use super::{App, MAX_CONCURRENT_EXCHANGES, StartError, longest_exchange, random};
use crate::audit::AuditError;
use crate::desk::{Callers, DeskRefusal, DeskRequest, Ended, FreezeRefusal, HeldCredentials, Selection, Told};
use crate::exchange::{ExchangeRequest, IssuedLease, Refusal};
use crate::http::{Doors, Exchanges, Freezing, Inquiries, Revocations, router, serve};
use crate::inquiry::{Answer, Export, InquiryRefusal, InquiryRequest, LeaseAnswer, LeaseInquiry};
use crate::lease::{Freeze, FreezeId, Freezes, Frozen, LeaseId};
use crate::object_server::Standings;
use crate::telemetry::Metrics;

/// The pause before PostgreSQL is asked again; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest that a PostgreSQL which is back waits to be noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Serves break-glass alone until the whole service is built, which then has the listener; none where `shutdown` came first.
pub(super) async fn until_whole(
    ground: &mut Ground,
    why: &StartError,
    shutdown: &CancellationToken,
) -> Result<Option<App>, StartError> {
    let Some(glass) = ground.glass.clone() else { return Ok(None) };
    let address = ground.address;
    tracing::error!(%address, cause = %why, "stint listens, for break-glass alone: it has no log to write to");
    // The same socket under another number: what knocks while the doors change hands waits in its queue.
    let listener = ground.listener.try_clone().map_err(StartError::Serve)?;
    let (close, ended) = (CancellationToken::new(), CancellationToken::new());
    let patience = longest_exchange(ground.config.audit.deadline);
    let serving = serve(listener, ground.tls.clone(), router(doors(ground, patience)?), close.clone(), patience);
    glass.start(&ground.tasks, shutdown);
    glass.keep_policy_set(&ground.report).await;
    let serving = async {
        let served = serving.await;
        ended.cancel();
        served
    };
    let building = async {
        let built = tokio::select! {
            app = attempts(ground, why.to_string()) => Some(app),
            () = shutdown.cancelled() => None,
            () = ended.cancelled() => None,
        };
        close.cancel();
        built
    };
    let (served, built) = tokio::join!(serving, building);
    served.map_err(StartError::Serve)?;
    if built.is_none() {
        glass.close().await;
        ground.tasks.close();
        if tokio::time::timeout(patience, ground.tasks.wait()).await.is_err() {
            tracing::error!("something was still under way after the drain");
        }
        tracing::info!("stint stopped");
    }
    Ok(built)
}

/// Tries again until the whole service is built.
async fn attempts(ground: &mut Ground, mut told: String) -> App {
    let mut hangup = ground.hangup.take();
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = heard(hangup.as_mut()) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        let before = ground.report.policies.hash();
        ground.reread_policies();
        if let Some(glass) = ground.glass.as_ref().filter(|_| ground.report.policies.hash() != before) {
            glass.keep_policy_set(&ground.report).await;
        }
        match ground.raise().await {
            Ok(app) => {
                tracing::info!("the log is back, and has what the journal had");
                return app;
            }
            // Said when it changes, not at every attempt.
            Err(error) if error.to_string() == told => {}
            Err(error) => {
                told = error.to_string();
                tracing::error!(cause = told, "the service stays for break-glass alone");
            }
        }
    }
}

async fn heard(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

fn doors(ground: &Ground, deadline: Duration) -> Result<Doors, StartError> {
    let (config, clock) = (&ground.config, &ground.clock);
    let away = Arc::new(Away { metrics: Arc::clone(&ground.metrics) });
    let standings = Arc::new(Standings::new(config.lease.self_test, ground.report.policies.hash()));
    let probes = Probes::new(
        None,
        ground.parents.clone(),
        Arc::clone(&ground.issuers),
        standings,
        ground.glass.as_ref().map(|glass| Arc::clone(&glass.overdue)),
        Arc::clone(clock),
    );
    Ok(Doors {
        exchange: away.clone(),
        inquiry: away.clone(),
        callers: Callers::new(Arc::new(HeldCredentials::default()), Arc::clone(clock)),
        desk: away.clone(),
        freezes: away,
        break_glass: ground.glass.as_ref().map(super::break_glass::Glass::door),
        readiness: Arc::new(probes),
        metrics: Arc::clone(&ground.metrics),
        clock: Arc::clone(clock),
        rng: Mutex::new(random()?),
        trusted_proxies: config.http.trusted_proxies.clone(),
        max_concurrent_exchanges: MAX_CONCURRENT_EXCHANGES,
        deadline,
        tasks: ground.tasks.clone(),
        public_url: config.http.public_url.clone(),
    })
}

/// What the other doors lead to: nothing is done that cannot be recorded.
#[derive(Debug)]
struct Away {
    metrics: Arc<Metrics>,
}

const AWAY: AuditError = AuditError::Unavailable;

#[async_trait]
impl Exchanges for Away {
    async fn exchange(&self, request: ExchangeRequest) -> Result<IssuedLease, Refusal> {
        self.metrics.refused(request.origin.door, AWAY.code());
        Err(AWAY.into())
    }
}

#[async_trait]
impl Inquiries for Away {
    async fn inquire(&self, _request: InquiryRequest) -> Result<Answer, InquiryRefusal> {
        Err(AWAY.into())
    }

    async fn leases(&self, _request: LeaseInquiry) -> Result<LeaseAnswer, InquiryRefusal> {
        Err(AWAY.into())
    }

    async fn export(&self, _request: InquiryRequest) -> Result<Export, InquiryRefusal> {
        Err(AWAY.into())
    }
}

#[async_trait]
impl Revocations for Away {
    async fn end_lease(&self, _request: DeskRequest, _lease: LeaseId) -> Result<Ended, DeskRefusal> {
        Err(AWAY.into())
    }

    async fn revoke(&self, _request: DeskRequest, _selection: Selection) -> Result<Receiver<Told>, DeskRefusal> {
        Err(AWAY.into())
    }
}

#[async_trait]
impl Freezing for Away {
    async fn set(&self, _request: DeskRequest, _frozen: Frozen) -> Result<Freeze, FreezeRefusal> {
        Err(AWAY.into())
    }

    async fn lift(&self, _request: DeskRequest, _id: FreezeId) -> Result<Freeze, FreezeRefusal> {
        Err(AWAY.into())
    }

    async fn list(&self, _request: DeskRequest) -> Result<Arc<Freezes>, FreezeRefusal> {
        Err(AWAY.into())
    }
}
