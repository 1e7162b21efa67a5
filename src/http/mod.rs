//! The doors. This room turns wire forms into an [`ExchangeRequest`] or an [`InquiryRequest`], and what comes of it
//! into the exact answer that unmodified clients understand. It never decides anything: it knows no policy, no key and no SQL.
//!
//! A refusal has two faces, and they meet here: the cause is in the log, the answer is one of a fixed set
//! (`problem.rs`, `sts_error.rs`).

mod answer;
mod arrival;
mod audit;
mod authorization;
mod body;
mod break_glass;
mod caller_identity;
mod connections;
mod container;
mod fault;
mod freezes;
mod health;
mod json;
mod layers;
mod lease_desk;
mod leases;
mod metrics;
mod oauth_error;
mod observation;
mod openapi;
mod parameters;
mod problem;
mod problem_code;
mod revocations;
mod serve;
mod sts;
mod sts_error;
mod tls;
mod token_exchange;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use ipnet::IpNet;
use rand::rngs::StdRng;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Receiver;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use health::{Check, Readiness};
pub use openapi::document;
pub use parameters::read as read_sts_parameters;
pub use serve::serve;
pub use tls::{TlsError, load as load_tls};
pub use token_exchange::read as read_token_exchange;

use crate::audit::Origin;
use crate::break_glass::desk::{BreakGlassDesk, BreakGlassRefusal, Cancelled, Granted, Reviewed, Status};
use crate::clock::Clock;
use crate::desk::{Callers, DeskRefusal, DeskRequest, Ended, FreezeDesk, FreezeRefusal, LeaseDesk, Selection, Told};
use crate::exchange::{Exchange, ExchangeRequest, IssuedLease, Refusal};
use crate::inquiry::{Answer, Export, Inquiry, InquiryRefusal, InquiryRequest, LeaseAnswer, LeaseInquiry};
use crate::lease::{Freeze, FreezeId, Freezes, Frozen, LeaseId};
use crate::telemetry::Metrics;
use fault::Fault;

/// What the doors lead to.
///
/// An implementor MUST have the outcome on record before it answers a lease.
#[async_trait]
pub trait Exchanges: std::fmt::Debug + Send + Sync {
    /// Runs one exchange.
    async fn exchange(&self, request: ExchangeRequest) -> Result<IssuedLease, Refusal>;
}

#[async_trait]
impl Exchanges for Exchange {
    async fn exchange(&self, request: ExchangeRequest) -> Result<IssuedLease, Refusal> {
        Self::exchange(self, request).await
    }
}

/// What the auditors' doors lead to.
///
/// An implementor MUST have the question on record before it answers.
#[async_trait]
pub trait Inquiries: std::fmt::Debug + Send + Sync {
    /// Answers one question.
    async fn inquire(&self, request: InquiryRequest) -> Result<Answer, InquiryRefusal>;

    /// Answers one question about leases, to a holder only of its own.
    async fn leases(&self, request: LeaseInquiry) -> Result<LeaseAnswer, InquiryRefusal>;

    /// Begins an export.
    async fn export(&self, request: InquiryRequest) -> Result<Export, InquiryRefusal>;
}

#[async_trait]
impl Inquiries for Inquiry {
    async fn inquire(&self, request: InquiryRequest) -> Result<Answer, InquiryRefusal> {
        Self::inquire(self, request).await
    }

    async fn leases(&self, request: LeaseInquiry) -> Result<LeaseAnswer, InquiryRefusal> {
        Self::leases(self, request).await
    }

    async fn export(&self, request: InquiryRequest) -> Result<Export, InquiryRefusal> {
        Self::export(self, request).await
    }
}

/// What the desk's doors lead to.
///
/// An implementor MUST have the wish on record before the object server is asked, and MUST end nothing of others for a caller
/// without the permission.
#[async_trait]
pub trait Revocations: std::fmt::Debug + Send + Sync {
    /// Ends one lease.
    async fn end_lease(&self, request: DeskRequest, lease: LeaseId) -> Result<Ended, DeskRefusal>;

    /// Begins to end many.
    async fn revoke(&self, request: DeskRequest, selection: Selection) -> Result<Receiver<Told>, DeskRefusal>;
}

#[async_trait]
impl Revocations for LeaseDesk {
    async fn end_lease(&self, request: DeskRequest, lease: LeaseId) -> Result<Ended, DeskRefusal> {
        Self::end_lease(self, request, lease).await
    }

    async fn revoke(&self, request: DeskRequest, selection: Selection) -> Result<Receiver<Told>, DeskRefusal> {
        Self::revoke(self, request, selection).await
    }
}

/// What the doors that freeze lead to.
///
/// An implementor MUST have a freeze on record before it answers, and MUST NOT freeze or thaw for a caller without the
/// permission.
#[async_trait]
pub trait Freezing: std::fmt::Debug + Send + Sync {
    /// Freezes.
    async fn set(&self, request: DeskRequest, frozen: Frozen) -> Result<Freeze, FreezeRefusal>;

    /// Thaws.
    async fn lift(&self, request: DeskRequest, id: FreezeId) -> Result<Freeze, FreezeRefusal>;

    /// What is frozen.
    async fn list(&self, request: DeskRequest) -> Result<Arc<Freezes>, FreezeRefusal>;
}

#[async_trait]
impl Freezing for FreezeDesk {
    async fn set(&self, request: DeskRequest, frozen: Frozen) -> Result<Freeze, FreezeRefusal> {
        Self::set(self, request, frozen).await
    }

    async fn lift(&self, request: DeskRequest, id: FreezeId) -> Result<Freeze, FreezeRefusal> {
        Self::lift(self, request, id).await
    }

    async fn list(&self, request: DeskRequest) -> Result<Arc<Freezes>, FreezeRefusal> {
        Self::list(self, request).await
    }
}

/// What the doors of break-glass lead to.
///
/// An implementor MUST have the use on its journal before it answers a credential, and MUST seal that for the recipient that a
/// quorum signed.
#[async_trait]
pub trait Emergencies: std::fmt::Debug + Send + Sync {
    /// What anybody may know.
    async fn status(&self) -> Result<Status, BreakGlassRefusal>;

    /// Honours a request.
    async fn submit(&self, envelope: &[u8], origin: Origin) -> Result<Granted, BreakGlassRefusal>;

    /// Burns a nonce, or ends a lease.
    async fn cancel(&self, envelope: &[u8], origin: Origin) -> Result<Cancelled, BreakGlassRefusal>;

    /// Closes a review.
    async fn review(&self, envelope: &[u8], origin: Origin) -> Result<Reviewed, BreakGlassRefusal>;
}

#[async_trait]
impl Emergencies for BreakGlassDesk {
    async fn status(&self) -> Result<Status, BreakGlassRefusal> {
        Self::status(self).await
    }

    async fn submit(&self, envelope: &[u8], origin: Origin) -> Result<Granted, BreakGlassRefusal> {
        Self::submit(self, envelope, origin).await
    }

    async fn cancel(&self, envelope: &[u8], origin: Origin) -> Result<Cancelled, BreakGlassRefusal> {
        Self::cancel(self, envelope, origin).await
    }

    async fn review(&self, envelope: &[u8], origin: Origin) -> Result<Reviewed, BreakGlassRefusal> {
        Self::review(self, envelope, origin).await
    }
}

/// Everything the doors need.
#[derive(Debug)]
pub struct Doors {
    /// The use case.
    pub exchange: Arc<dyn Exchanges>,
    /// The auditors' use case.
    pub inquiry: Arc<dyn Inquiries>,
    /// Says whose a leased key is.
    pub callers: Callers,
    /// The desk's use case.
    pub desk: Arc<dyn Revocations>,
    /// The use case of freezes.
    pub freezes: Arc<dyn Freezing>,
    /// The use case of break-glass; none where there is no journal.
    pub break_glass: Option<Arc<dyn Emergencies>>,
    /// Asked by `/health/ready`.
    pub readiness: Arc<dyn Readiness>,
    /// Shown by `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For latencies and request ids.
    pub clock: Arc<dyn Clock>,
    /// Draws request ids.
    pub rng: Mutex<StdRng>,
    /// Networks whose `X-Forwarded-For` is believed; empty: nobody's.
    pub trusted_proxies: Vec<IpNet>,
    /// Exchanges that may run at once; one more is turned away at once with 503, so that none waits without bound.
    pub max_concurrent_exchanges: usize,
    /// How long a whole request may take: longer than an exchange's own bounds together, or callers would be told "too
    /// late" while credentials are minted that nobody gets.
    pub deadline: Duration,
    /// Where exchanges run, so that a drain waits for those whose caller hung up.
    pub tasks: TaskTracker,
    /// The URL that clients use, named in the API document.
    pub public_url: Option<String>,
}

/// The state behind every handler.
#[derive(Debug)]
struct Shared {
    doors: Doors,
    slots: Arc<Semaphore>,
}

impl Shared {
    /// Runs one exchange, if there is room for one more. It runs on a task of its own that keeps the slot: an exchange
    /// goes on when its caller hangs up, and if the slot came free then, callers who ask and hang up could have any
    /// number of them under way.
    async fn exchange(&self, request: ExchangeRequest) -> Result<IssuedLease, Fault> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Fault::Overloaded)?;
        let exchange = Arc::clone(&self.doors.exchange);
        let running = async move {
            let _slot = slot;
            exchange.exchange(request).await
        };
        let ended = self.doors.tasks.spawn(running.in_current_span()).await;
        Ok(ended.map_err(|_panicked| Fault::Panicked)??)
    }
}

/// Every route.
pub fn router(doors: Doors) -> Router {
    let slots = Arc::new(Semaphore::new(doors.max_concurrent_exchanges));
    let shared = Arc::new(Shared { doors, slots });
    // Without its own handler HEAD would run the GET handler: a lease minted for an answer that has no body.
    let no_head = || async { Fault::MethodNotAllowed };
    Router::new()
        .route("/", post(sts::answer).get(sts::answer).head(no_head))
        .route("/v1/leases", post(leases::create).get(lease_desk::list).head(no_head))
        .route("/v1/leases/forecast", get(lease_desk::forecast).head(no_head))
        .route("/v1/leases/{id}", delete(revocations::end).get(lease_desk::show).head(no_head))
        .route("/v1/revocations", post(revocations::revoke))
        .route("/v1/freezes", post(freezes::set).get(freezes::list).head(no_head))
        .route("/v1/freezes/{id}", delete(freezes::lift))
        .route("/v1/break-glass", get(break_glass::status).head(no_head))
        .route("/v1/break-glass/requests", post(break_glass::submit))
        .route("/v1/break-glass/cancellations", post(break_glass::cancel))
        .route("/v1/break-glass/reviews", post(break_glass::review))
        .route("/v1/roles/{role}/credentials", get(container::credentials).head(no_head))
        .route("/v1/roles/{role}/credentials/", get(container::credentials).head(no_head))
        .route("/v1/token", post(token_exchange::exchange))
        .route("/v1/audit/events", get(audit::events).head(no_head))
        .route("/v1/audit/export", get(audit::export).head(no_head))
        .route("/v1/audit/access", get(audit::access).post(audit::access_by_form).head(no_head))
        .route("/v1/audit/grants", get(audit::grants).head(no_head))
        .route("/v1/audit/emergencies", get(audit::emergencies).head(no_head))
        .route("/v1/audit/head", get(audit::head).head(no_head))
        .route("/v1/audit/verify", post(audit::verify))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::text))
        .route("/openapi.json", get(openapi::answer))
        .fallback(|| async { Fault::NotFound })
        .method_not_allowed_fallback(|| async { Fault::MethodNotAllowed })
        .layer(from_fn_with_state(Arc::clone(&shared), layers::edge))
        .with_state(shared)
}

#[cfg(test)]
mod tests;
