//! Tells people: at once in the log and in the metrics, and soon at the webhook. Telling never waits and never fails: an
//! emergency must not hang on a pager, and a pager that is down is itself counted and said.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::alert::{Alert, AlertKind, AlertMessage, plain};
use super::delivery::{AlertSink, Delivery};
use crate::audit::Emergency;
use crate::clock::{Clock, time_ordered_id};
use crate::telemetry::Metrics;

/// What [`Alerts`] is made of.
pub struct AlertParts {
    /// Where messages go, if anywhere.
    pub sink: Option<Arc<dyn AlertSink>>,
    /// This instance, as documents name it.
    pub instance: Option<Uuid>,
    /// Dates alerts.
    pub clock: Arc<dyn Clock>,
    /// Counts them.
    pub metrics: Arc<Metrics>,
    /// Makes ids, and pauses uneven.
    pub rng: StdRng,
}

/// The one way to alert.
pub struct Alerts {
    delivery: Option<Delivery>,
    instance: Option<Uuid>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    rng: Mutex<StdRng>,
}

impl Alerts {
    /// Nothing is sent before [`Alerts::run`] runs; what is raised before waits for it.
    #[must_use]
    pub fn new(parts: AlertParts) -> Self {
        let AlertParts { sink, instance, clock, metrics, rng } = parts;
        let delivery = sink.map(|sink| Delivery::new(sink, Arc::clone(&clock), Arc::clone(&metrics)));
        Self { delivery, instance, clock, metrics, rng: Mutex::new(rng) }
    }

    /// Tells of it. A grant under `declared` is told twice: the second message has a kind and an id of its own, so that a
    /// receiver that folds repetitions together still shows both.
    pub fn raise(&self, alert: Alert) {
        let declared = alert.kind == AlertKind::Recorded(Emergency::Granted)
            && alert.conditions.iter().any(|held| held == "declared");
        self.tell(&alert);
        if declared {
            self.tell(&Alert { kind: AlertKind::Declared, ..alert });
        }
    }

    /// Delivers until `stop`, then each message that waits once more, for a few seconds in all.
    pub async fn run(&self, stop: CancellationToken) {
        match &self.delivery {
            Some(delivery) => delivery.run(stop).await,
            None => stop.cancelled().await,
        }
    }

    fn tell(&self, alert: &Alert) {
        self.metrics.break_glass(alert.kind.label());
        let event = alert.kind.as_str();
        // A span of its own: an exporter sends spans, and takes events along only as parts of one.
        tracing::error_span!("break_glass.alert", event).in_scope(|| say(alert));
        if let Some(delivery) = &self.delivery {
            let now = self.clock.now();
            let id = time_ordered_id(now, &mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner));
            delivery.offer(AlertMessage::new(alert, id, now, self.instance));
        }
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts").field("webhook", &self.delivery.is_some()).finish_non_exhaustive()
    }
}

/// One line, with an empty text for what is not known.
fn say(alert: &Alert) {
    let known = |text: &Option<String>| text.as_deref().map(plain).unwrap_or_default();
    let list = |texts: &[String]| plain(&texts.join(", "));
    tracing::error!(
        event = alert.kind.as_str(),
        incident = known(&alert.incident),
        nonce = alert.nonce.map(|nonce| nonce.to_string()).unwrap_or_default(),
        role = known(&alert.role),
        requester = known(&alert.requester),
        signers = list(&alert.signers),
        lease_id = alert.lease_id.map(|lease| lease.to_string()).unwrap_or_default(),
        conditions = list(&alert.conditions),
        reason = known(&alert.reason),
        journal_head = alert.journal_head.map(|head| head.to_string()).unwrap_or_default(),
        "break-glass",
    );
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use rand::SeedableRng as _;
    use tokio::sync::mpsc;

    use super::super::delivery::Undelivered;
    use super::*;
    use crate::clock::SystemClock;

    #[derive(Debug)]
    struct Kept(mpsc::UnboundedSender<AlertMessage>);

    #[async_trait]
    impl AlertSink for Kept {
        async fn deliver(&self, message: &AlertMessage) -> Result<(), Undelivered> {
            self.0.send(message.clone()).map_err(|_| Undelivered::Unreachable)
        }
    }

    fn alerts(sink: Option<Arc<dyn AlertSink>>, metrics: &Arc<Metrics>) -> Alerts {
        Alerts::new(AlertParts {
            sink,
            instance: Some(Uuid::from_u128(7)),
            clock: Arc::new(SystemClock::start()),
            metrics: Arc::clone(metrics),
            rng: StdRng::seed_from_u64(1),
        })
    }

    fn grant(condition: &str) -> Alert {
        Alert { conditions: vec![condition.to_owned()], ..Alert::of(AlertKind::Recorded(Emergency::Granted)) }
    }

    #[tokio::test]
    async fn a_declared_grant_is_told_twice_and_one_that_the_service_saw_itself_once() {
        let (sender, mut received) = mpsc::unbounded_channel();
        let metrics = Arc::new(Metrics::default());
        let alerts = alerts(Some(Arc::new(Kept(sender))), &metrics);
        alerts.raise(grant("declared"));
        alerts.raise(grant("issuer_down: silent since noon"));
        alerts.raise(Alert::of(AlertKind::Recorded(Emergency::Drilled)));
        let stop = CancellationToken::new();
        let told = async {
            let mut told = Vec::new();
            while told.len() < 4 {
                told.push(received.recv().await.unwrap());
            }
            stop.cancel();
            told
        };
        let ((), told) = tokio::join!(alerts.run(stop.clone()), told);
        let kinds: Vec<AlertKind> = told.iter().map(AlertMessage::kind).collect();
        assert_eq!(
            kinds,
            [
                AlertKind::Recorded(Emergency::Granted),
                AlertKind::Declared,
                AlertKind::Recorded(Emergency::Granted),
                AlertKind::Recorded(Emergency::Drilled)
            ]
        );
        assert_ne!(told[0].id(), told[1].id());
        assert!(told[0].body().contains(&Uuid::from_u128(7).to_string()), "{}", told[0].body());
        let text = metrics.encode();
        for line in [
            r#"stint_break_glass_total{event="granted"} 2"#,
            r#"stint_break_glass_total{event="declared"} 1"#,
            r#"stint_break_glass_total{event="drilled"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn an_alert_is_one_line_at_error_in_a_span_of_its_own() {
        use std::io::{self, Write};

        use tracing_subscriber::fmt::format::FmtSpan;

        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);

        impl Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_span_events(FmtSpan::NONE)
            .with_writer(move || writer.clone())
            .finish();
        let _second = crate::telemetry::second_subscriber();
        tracing::subscriber::with_default(subscriber, || {
            alerts(None, &Arc::new(Metrics::default())).raise(Alert {
                incident: Some("INC-1\nforged".to_owned()),
                requester: Some("alice".to_owned()),
                ..Alert::of(AlertKind::Recorded(Emergency::Requested))
            });
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["event"], "break_glass.requested");
        assert_eq!(line["incident"], "INC-1\u{fffd}forged");
        assert_eq!(line["requester"], "alice");
        assert_eq!(line["spans"][0]["name"], "break_glass.alert");
    }
}
