//! What watches for emergencies and tells of them, put together: the same for the whole service and for one that came up
//! without PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::probes::OutageProbes;
use super::{StartError, random};
use crate::break_glass::watch::{AlertParts, Alerts, Conditions};
use crate::clock::Clock;
use crate::issuer::IssuerKeys;
use crate::policy::{BreakGlass, PolicySet};
use crate::postgres::PostgresReach;
use crate::telemetry::Metrics;
use crate::webhook::{Webhook, WebhookSecret};

/// How long PostgreSQL may take to answer a probe: as long as an issuer may.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a receiver of alerts may take to answer.
const WEBHOOK: Duration = Duration::from_secs(10);

/// What it is made of.
pub(super) struct WatchingParts<'a> {
    /// Where PostgreSQL is, or should be.
    pub(super) postgres_url: &'a SecretString,
    /// `[break_glass] webhook_secret`
    pub(super) webhook_secret: Option<WebhookSecret>,
    /// The policies in force: the webhook's address is read from them at each delivery.
    pub(super) policies: Arc<ArcSwap<PolicySet>>,
    pub(super) issuers: Arc<IssuerKeys>,
    /// This instance, as its journal names it.
    pub(super) instance: Option<Uuid>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

/// Whether there is an emergency, and who is told.
#[derive(Debug, Clone)]
pub(super) struct Watching {
    pub(super) conditions: Arc<Conditions>,
    pub(super) alerts: Arc<Alerts>,
}

impl Watching {
    /// Connects to nothing yet.
    pub(super) fn new(parts: WatchingParts<'_>) -> Result<Self, StartError> {
        let WatchingParts { postgres_url, webhook_secret, policies, issuers, instance, clock, metrics } = parts;
        let destination = move || policies.load().break_glass().and_then(BreakGlass::alert_webhook).map(str::to_owned);
        let webhook = Webhook::new(Arc::new(destination), webhook_secret, WEBHOOK, Arc::clone(&clock))?;
        let alerts = AlertParts {
            sink: Some(Arc::new(webhook)),
            instance,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            rng: random()?,
        };
        let probes = OutageProbes { issuers, log: PostgresReach::new(postgres_url, PATIENCE)? };
        let conditions = Conditions::new(Arc::new(probes), clock, metrics, random()?);
        Ok(Self { conditions: Arc::new(conditions), alerts: Arc::new(Alerts::new(alerts)) })
    }

    /// Probes and delivers until `shutdown`.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(self.conditions.run(shutdown.clone()), self.alerts.run(shutdown));
    }
}
