//! Where logs and spans go: to stderr as text or JSON lines, and to an OTLP collector when one is configured.

use std::io;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, FilterFn, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::otlp;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `[telemetry]` of the configuration.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    /// Levels by target: `info,stint=debug`.
    pub log: String,
    /// The form of a line.
    pub format: LogFormat,
    /// A collector's base URL (`http://collector:4318`); spans go nowhere without it.
    pub otlp_endpoint: Option<String>,
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The `log` setting is not a list of levels.
    #[error("telemetry.log: {0}")]
    Levels(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter refuses its settings.
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A subscriber is installed already.
    #[error("telemetry is started already")]
    StartedAlready(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the exporter; hand it to [`TelemetryGuard::shutdown`] last.
#[derive(Debug)]
#[must_use = "the last spans are lost without a shutdown"]
pub struct TelemetryGuard(Option<SdkTracerProvider>);

impl TelemetryGuard {
    /// Sends what has gathered, for five seconds at most: a collector that is down must not keep a process alive.
    pub async fn shutdown(self) {
        let Some(provider) = self.0 else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(otlp::FLUSH_DEADLINE)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be sent");
        }
    }
}

/// Starts logging and tracing for the process. Must run inside the tokio runtime: spans are sent on it.
pub fn init(settings: &TelemetrySettings) -> Result<TelemetryGuard, TelemetryError> {
    let provider = settings.otlp_endpoint.as_deref().map(otlp::provider).transpose()?;
    let lines = lines(settings, io::stderr)?;
    let spans = provider.as_ref().map(otlp::layer).map(|layer| layer.with_filter(ours()));
    tracing_subscriber::registry().with(lines).with(spans).try_init()?;
    std::panic::set_hook(Box::new(note_panic));
    Ok(TelemetryGuard(provider))
}

/// A panic's message may quote what it failed on (slicing a string quotes the string, and that may be a token), so only
/// the place is told.
fn note_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "panic");
}

/// The layer that writes lines.
fn lines<S, W>(settings: &TelemetrySettings, writer: W) -> Result<Box<dyn Layer<S> + Send + Sync>, TelemetryError>
where
    S: Subscriber + for<'lookup> tracing_subscriber::registry::LookupSpan<'lookup> + Send + Sync,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let levels = EnvFilter::try_new(&settings.log)?.and(quiet());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    Ok(match settings.format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).with_filter(levels).boxed(),
        LogFormat::Text => layer.with_filter(levels).boxed(),
    })
}

/// Below `info`, HTTP and signing libraries show request lines, headers and canonical requests, and a token stands in
/// each of these; so whatever `log` says, only this program's own events go below it.
fn quiet() -> FilterFn {
    filter_fn(|metadata| is_ours(metadata) || *metadata.level() <= Level::INFO)
}

/// Spans of this program only: the exporter's own requests must not become spans to export.
fn ours() -> FilterFn {
    filter_fn(is_ours)
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "stint" || metadata.target().starts_with("stint::")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::Registry;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(log: &str, format: LogFormat, work: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let settings = TelemetrySettings { log: log.to_owned(), format, otlp_endpoint: None };
        let layer = lines::<Registry, _>(&settings, move || writer.clone()).unwrap();
        let _second = crate::telemetry::second_subscriber();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_carries_the_event_and_its_spans() {
        let line = written("info", LogFormat::Json, || {
            let span = tracing::info_span!(target: "stint::http", "http.request", request_id = "r1");
            span.in_scope(|| tracing::info!(target: "stint::exchange", reason = "no_role", "exchange refused"));
        });
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["reason"], "no_role");
        assert_eq!(json["message"], "exchange refused");
        assert_eq!(json["spans"][0]["request_id"], "r1");
    }

    #[test]
    fn libraries_stay_quiet_below_info_whatever_is_asked() {
        let text = written("trace", LogFormat::Text, || {
            tracing::debug!(target: "hyper", "planted");
            tracing::trace!(target: "aws_sigv4", "planted");
            tracing::debug!(target: "stint::issuer", "fetched");
            tracing::info!(target: "sqlx", "connected");
        });
        assert!(!text.contains("planted"), "{text}");
        assert!(text.contains("fetched") && text.contains("connected"), "{text}");
    }

    #[test]
    fn a_bad_level_is_told_with_its_key() {
        let settings = TelemetrySettings { log: "stint=loud".to_owned(), format: LogFormat::Text, otlp_endpoint: None };
        let error = lines::<Registry, _>(&settings, io::sink).err().unwrap();
        assert!(error.to_string().starts_with("telemetry.log: "), "{error}");
    }
}
