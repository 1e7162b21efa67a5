//! Alerts on their way to a webhook, against a double of the receiver (`harness/webhook.rs`): what arrives, what is tried
//! again, and what must never happen meanwhile.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::SecretString;
use stint::app::{compile_policies, server_capabilities};
use stint::audit::Emergency;
use stint::break_glass::watch::{Alert, AlertKind, AlertParts, Alerts};
use stint::clock::{Clock, SystemClock};
use stint::config::{Config, Environment};
use stint::policy::CustodianKey;
use stint::telemetry::Metrics;
use stint::webhook::{Webhook, WebhookSecret};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::webhook::{Received, Take, WebhookDouble};

const SECRET: &str = "whsec_cGxhbnRlZC1zZWNyZXQtb2YtdGhlLXdlYmhvb2s=";
const OTHER: &str = "whsec_YW5vdGhlci1zZWNyZXQtb2YtdGhlLXdlYmhvb2s=";
/// The path of many a webhook is its password.
const PATH: &str = "/hooks/planted-path";
const PATIENCE: Duration = Duration::from_millis(300);

fn secret() -> WebhookSecret {
    WebhookSecret::parse(&SecretString::from(SECRET)).unwrap()
}

fn alerts_to(destination: Option<String>, secret: Option<WebhookSecret>, metrics: &Arc<Metrics>) -> Alerts {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let webhook = Webhook::new(Arc::new(move || destination.clone()), secret, PATIENCE, Arc::clone(&clock)).unwrap();
    Alerts::new(AlertParts {
        sink: Some(Arc::new(webhook)),
        instance: Some(Uuid::from_u128(9)),
        clock,
        metrics: Arc::clone(metrics),
        rng: StdRng::seed_from_u64(1),
    })
}

/// Raises these while delivery runs, and answers what the double received, `count` requests at least.
async fn delivered(double: &WebhookDouble, raised: Vec<Alert>, count: usize) -> (Vec<Received>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let alerts = alerts_to(Some(double.url(PATH)), Some(secret()), &metrics);
    let stop = CancellationToken::new();
    let raising = async {
        for alert in raised {
            alerts.raise(alert);
        }
        let received = timeout(Duration::from_secs(30), double.received(count)).await.expect("enough requests came");
        stop.cancel();
        received
    };
    let ((), received) = tokio::join!(alerts.run(stop.clone()), raising);
    (received, metrics)
}

fn grant() -> Alert {
    Alert {
        incident: Some("INC-7".to_owned()),
        role: Some("emergency-read".to_owned()),
        requester: Some("alice".to_owned()),
        signers: vec!["alice".to_owned(), "bob".to_owned()],
        conditions: vec!["issuer_down: silent since noon".to_owned()],
        ..Alert::of(AlertKind::Recorded(Emergency::Granted))
    }
}

#[tokio::test]
async fn an_alert_arrives_whole_and_signed() {
    let double = WebhookDouble::start([]).await;
    let (received, _) = delivered(&double, vec![grant()], 1).await;
    let [alert] = received.as_slice() else { panic!("one request: {received:?}") };
    assert_eq!(alert.path, PATH);
    assert_eq!(alert.header("content-type"), "application/json");
    let body = alert.json();
    assert_eq!(body["type"], "break_glass.granted");
    assert_eq!(body["data"]["signers"], serde_json::json!(["alice", "bob"]));
    assert_eq!(body["data"]["instance"], Uuid::from_u128(9).to_string());
    assert!(alert.header("webhook-id").starts_with("msg_"));
    assert!(alert.is_signed_with(SECRET));
    assert!(!alert.is_signed_with(OTHER));
    let mut edited = alert.clone();
    edited.body = alert.body.replace("alice", "mallory");
    assert!(!edited.is_signed_with(SECRET));
}

#[tokio::test]
async fn after_an_error_a_hang_up_or_silence_the_very_same_alert_comes_again() {
    for trouble in [Take::Status("500 Oops", String::new()), Take::HangUp, Take::Silence] {
        let double = WebhookDouble::start([trouble.clone()]).await;
        let (received, metrics) = delivered(&double, vec![grant()], 2).await;
        let [first, again] = received.as_slice() else { panic!("{trouble:?}: {received:?}") };
        assert_eq!(first.header("webhook-id"), again.header("webhook-id"), "{trouble:?}");
        assert_eq!(first.body, again.body, "{trouble:?}");
        assert!(again.is_signed_with(SECRET), "{trouble:?}");
        let text = metrics.encode();
        assert!(text.contains(r#"stint_break_glass_alerts_total{outcome="retried"} 1"#), "{trouble:?}: {text}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = WebhookDouble::start([]).await;
    let to = format!("location: {}\r\n", elsewhere.url("/elsewhere"));
    let double = WebhookDouble::start([Take::Status("307 Temporary Redirect", to)]).await;
    let (received, _) = delivered(&double, vec![grant()], 2).await;
    assert_eq!(received.len(), 2, "the same address is asked again");
    assert!(timeout(Duration::from_millis(100), elsewhere.received(1)).await.is_err());
}

#[tokio::test]
async fn raising_never_waits_for_a_receiver_that_says_nothing() {
    let double = WebhookDouble::start(std::iter::repeat_n(Take::Silence, 1000)).await;
    let metrics = Arc::new(Metrics::default());
    let alerts = alerts_to(Some(double.url(PATH)), Some(secret()), &metrics);
    let stop = CancellationToken::new();
    let raising = async {
        alerts.raise(grant());
        timeout(Duration::from_secs(10), double.received(1)).await.expect("it is being delivered");
        // No await between them: whatever waited inside would never end.
        for _ in 0..1000 {
            alerts.raise(Alert::of(AlertKind::Recorded(Emergency::Refused)));
        }
        stop.cancel();
    };
    let both = async { tokio::join!(alerts.run(stop.clone()), raising) };
    timeout(Duration::from_secs(20), both).await.expect("the end comes, whatever waits");
    let text = metrics.encode();
    assert!(text.contains(r#"stint_break_glass_total{event="refused"} 1000"#), "{text}");
    assert!(text.contains(r#"stint_break_glass_alerts_total{outcome="dropped"}"#), "{text}");
}

#[tokio::test]
async fn nothing_is_sent_unsigned_or_where_the_policy_names_no_webhook() {
    let double = WebhookDouble::start([]).await;
    for (destination, secret) in [(Some(double.url(PATH)), None), (None, Some(secret()))] {
        let alerts = alerts_to(destination, secret, &Arc::new(Metrics::default()));
        alerts.raise(grant());
        let stop = CancellationToken::new();
        stop.cancel();
        alerts.run(stop).await;
    }
    let (received, _) = delivered(&double, vec![grant()], 1).await;
    assert_eq!(received.len(), 1, "the signed twin alone");
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_the_secret_nor_the_address_is_printed() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("trace,hyper=info,hyper_util=info,reqwest=info")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // With only one subscriber in the process, a thread that has none could switch call sites off for this one too.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let double = WebhookDouble::start([Take::HangUp, Take::Status("404 Not Found", String::new())]).await;
    delivered(&double, vec![grant()], 3).await;
    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("did not reach the webhook"), "{log}");
    assert!(log.contains("INC-7"), "{log}");
    for planted in ["planted", "whsec_", "cGxhbnRlZC1z", "webhook-signature"] {
        assert!(!log.contains(planted), "{planted} in {log}");
    }
    let debug = format!("{:?} {:?}", secret(), alerts_to(Some(double.url(PATH)), Some(secret()), &Arc::default()));
    assert!(!debug.contains("planted") && !debug.contains("cGxhbnRlZC1z"), "{debug}");
}

/// A configuration and a policy directory with break-glass, whole.
struct Installation {
    directory: tempfile::TempDir,
}

#[derive(Debug)]
struct Nothing;

impl Environment for Nothing {
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn read_file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

impl Installation {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let documents = directory.path().join("policies/documents");
        std::fs::create_dir_all(&documents).unwrap();
        let document = |action: &str, resource: &str| {
            format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":["{action}"],"Resource":["arn:aws:s3:::{resource}"]}}]}}"#
            )
        };
        for (name, action, resource) in
            [("emergency-read", "s3:GetObject", "data/*"), ("everyday", "s3:GetObject", "data/*")]
        {
            std::fs::write(documents.join(format!("{name}.json")), document(action, resource)).unwrap();
        }
        let drill = document("s3:PutObject", "data/drill/*");
        let tried = drill.replace(
            "]}]}",
            r#"]},{"Effect":"Allow","Action":["s3:GetBucketLocation"],"Resource":["arn:aws:s3:::data"]}]}"#,
        );
        std::fs::write(documents.join("break-glass-drill.json"), tried).unwrap();
        let custodian = |(name, seed): (&str, u8)| {
            let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
            let key = CustodianKey::from_bytes(key.as_bytes()).unwrap().to_base64();
            format!("[[custodian]]\nname = \"{name}\"\npublic_key = \"{key}\"\ncontact = \"+49 30 1\"\n")
        };
        let custodians: String = [("alice", 1), ("bob", 2), ("carol", 3)].into_iter().map(custodian).collect();
        let break_glass = format!(
            "quorum = 2\ndeclared_quorum = 3\nconditions = [\"issuer_down\"]\nminimum_outage = \"30s\"\n\
             review_within = \"72h\"\ndrill_every = \"90d\"\nalert_webhook = \"http://127.0.0.1:9/hook\"\n{custodians}\
             [[role]]\nname = \"emergency-read\"\ndocuments = [\"emergency-read\"]\nlength = \"15m\"\n\
             [drill]\nrole = \"drill\"\ndocuments = [\"break-glass-drill\"]\nlength = \"15m\"\nbucket = \"data\"\n"
        );
        std::fs::write(directory.path().join("policies/break-glass.toml"), break_glass).unwrap();
        Self { directory }
    }

    /// What `stint check` says with this `[break_glass]`.
    fn problems(&self, section: &str) -> Vec<String> {
        let config = format!(
            "[postgres]\nurl = \"postgres://u:p@127.0.0.1/d\"\n[[issuer]]\nname = \"a\"\nissuer = \"https://a.example/\"\n\
             audiences = [\"stint\"]\nprofile = \"authentik\"\nkeys = {{ discovery = true }}\n[object_server]\n\
             kind = \"minio\"\nendpoint = \"https://s.example\"\naccess_key = \"parent\"\nsecret_key = \"parent-secret\"\n\
             [audit]\nsigning_key_file = \"signing.pem\"\n{section}"
        );
        let config = match Config::read(&config, self.directory.path(), &Nothing) {
            Ok(config) => config,
            Err(problems) => return problems.iter().map(ToString::to_string).collect(),
        };
        let capabilities = server_capabilities(&config).unwrap();
        compile_policies(&config, &capabilities).err().unwrap_or_default()
    }
}

#[test]
fn break_glass_needs_a_journal_and_a_webhook_needs_a_secret_and_check_says_so() {
    let installation = Installation::new();
    let journal = "[break_glass]\njournal = \"journal\"\n";
    assert_eq!(installation.problems(&format!("{journal}webhook_secret = \"{SECRET}\"\n")), [""; 0]);

    let unsigned = installation.problems(journal);
    assert!(matches!(unsigned.as_slice(), [only] if only.contains("break_glass.webhook_secret")), "{unsigned:?}");
    let unwritten = installation.problems(&format!("[break_glass]\nwebhook_secret = \"{SECRET}\"\n"));
    assert!(matches!(unwritten.as_slice(), [only] if only.contains("break_glass.journal")), "{unwritten:?}");
    assert_eq!(installation.problems("").len(), 2);

    let guessable = installation.problems(&format!("{journal}webhook_secret = \"planted-secret\"\n"));
    let [only] = guessable.as_slice() else { panic!("{guessable:?}") };
    assert!(only.contains("whsec_") && !only.contains("planted"), "{only}");
}
