//! Readiness: whether an exchange would succeed now. Asked by anyone, so it answers from a result at most a second old
//! and says names and yes or no; the reasons are in the log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::audit::AuditLog;
use crate::break_glass::watch::OverdueWatch;
use crate::clock::Clock;
use crate::http::{Check, Readiness};
use crate::issuer::IssuerKeys;
use crate::object_server::{ObjectServer, Standings};
use crate::postgres::PostgresStore;

/// How long a yes is answered again: a storm of probes must not become a storm on the servers behind.
const FRESH: Duration = Duration::from_secs(1);
/// How long a no is: short, so that a service that has just become ready is used.
const FRESH_REFUSAL: Duration = Duration::from_millis(50);
/// How long each thing may take to answer. Less than the door waits: a probe that the door gave up would tell neither the
/// caller which thing it was nor the operator why, and be begun anew by the next caller.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Probes {
    /// PostgreSQL, and the log in it; none where the service came up without.
    log: Option<(Arc<PostgresStore>, Arc<AuditLog>)>,
    object_server: Arc<dyn ObjectServer>,
    issuers: Arc<IssuerKeys>,
    standings: Arc<Standings>,
    /// Only where there is break-glass.
    overdue: Option<Arc<OverdueWatch>>,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<(Duration, Vec<Check>)>>,
}

impl Probes {
    pub(super) fn new(
        log: Option<(Arc<PostgresStore>, Arc<AuditLog>)>,
        object_server: Arc<dyn ObjectServer>,
        issuers: Arc<IssuerKeys>,
        standings: Arc<Standings>,
        overdue: Option<Arc<OverdueWatch>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { log, object_server, issuers, standings, overdue, clock, last: Mutex::new(None) }
    }

    /// The checks, and the causes of those that say no.
    async fn probe(&self) -> (Vec<Check>, Vec<String>) {
        let (log, object_server, issuers) =
            tokio::join!(self.log(), answer(self.object_server.ready()), self.issuers.status());
        let parts = [("log", log), ("object_server", object_server)];
        // One issuer of several may be down without taking the others' workloads with it.
        let none_ready = !issuers.iter().any(|issuer| issuer.ready);
        let (mut checks, mut causes) = (Vec::new(), Vec::new());
        for (name, answered) in parts {
            checks.push(Check { name: name.to_owned(), ready: answered.is_ok(), essential: true });
            causes.extend(answered.err().map(|cause| format!("{name}: {cause}")));
        }
        for issuer in issuers {
            let name = format!("issuer:{}", issuer.name);
            if !issuer.ready {
                causes.push(format!("{name}: {}", issuer.detail.unwrap_or_default()));
            }
            checks.push(Check { name, ready: issuer.ready, essential: none_ready });
        }
        let closed = self.standings.closed();
        // The other roles go on: who closed one is told by the log, and nobody outside learns which.
        if !closed.is_empty() {
            causes.push(format!("self_test: closed are {}", closed.join(", ")));
            checks.push(Check { name: "self_test".to_owned(), ready: false, essential: false });
        }
        // What is owed after an emergency, or before the next one, keeps no exchange from succeeding.
        for warning in self.overdue.iter().flat_map(|overdue| overdue.warnings()) {
            causes.push(format!("{warning}: see what `stint break-glass status` says"));
            checks.push(Check { name: warning.to_owned(), ready: false, essential: false });
        }
        (checks, causes)
    }

    async fn log(&self) -> Result<(), String> {
        let Some((store, log)) = &self.log else { return Err("PostgreSQL was not reached since the start".to_owned()) };
        answer(store.ping()).await?;
        // A database that answers may still refuse writes (a standby, a full disk): the last write counts too.
        if log.is_healthy() { Ok(()) } else { Err("the last write was not committed".to_owned()) }
    }
}

/// The names of the checks that say no.
fn failing(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter(|check| !check.ready).map(|check| check.name.as_str()).collect()
}

/// What a thing answered within [`PATIENCE`], in words for the log.
async fn answer<E: std::fmt::Display>(asked: impl Future<Output = Result<(), E>>) -> Result<(), String> {
    match timeout(PATIENCE, asked).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

#[async_trait]
impl Readiness for Probes {
    async fn check(&self) -> Vec<Check> {
        let mut last = self.last.lock().await;
        let now = self.clock.elapsed();
        let fresh = |checks: &[Check]| if failing(checks).is_empty() { FRESH } else { FRESH_REFUSAL };
        match last.as_ref() {
            Some((at, checks)) if now.saturating_sub(*at) < fresh(checks) => checks.clone(),
            _ => {
                let (checks, causes) = self.probe().await;
                // Said once, not at every probe: anyone may ask, as often as they like.
                let before = last.as_ref().map(|(_, checks)| failing(checks)).unwrap_or_default();
                if before != failing(&checks) {
                    match causes.as_slice() {
                        [] => tracing::info!("ready"),
                        causes => tracing::warn!(causes = causes.join("; "), "not ready"),
                    }
                }
                *last = Some((self.clock.elapsed(), checks.clone()));
                checks
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_answers_is_a_no_before_the_door_gives_up() {
        let silent = answer::<std::io::Error>(std::future::pending());
        let told = timeout(Duration::from_secs(3), silent).await.expect("within the door's patience");
        assert_eq!(told, Err("no answer within 2 s".to_owned()));
        assert_eq!(answer::<std::io::Error>(async { Ok(()) }).await, Ok(()));
    }
}
