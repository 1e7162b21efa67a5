//! Spans to an OTLP collector over HTTP, in batches.

use std::pin::Pin;
use std::time::Duration;

use futures::future::poll_fn;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

/// One export, and the last one.
pub(super) const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// The path of traces in the OTLP specification, below the configured base.
const TRACES: &str = "/v1/traces";

/// A provider that sends to `endpoint`, a base URL or one that ends in `/v1/traces`.
pub(super) fn provider(endpoint: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(traces_url(endpoint))
        .with_timeout(FLUSH_DEADLINE)
        .build()?;
    let resource = Resource::builder()
        .with_service_name("stint")
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let exporter = OnRuntime { exporter, runtime: Handle::current() };
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

/// The layer that turns spans of `tracing` into spans to export.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    tracing_opentelemetry::layer().with_tracer(provider.tracer("stint"))
}

fn traces_url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with(TRACES) { base.to_owned() } else { format!("{base}{TRACES}") }
}

/// The batch processor exports from a thread of its own, outside the runtime that the HTTP client needs; each poll
/// enters it.
#[derive(Debug)]
struct OnRuntime<E> {
    exporter: E,
    runtime: Handle,
}

impl<E: SpanExporter> SpanExporter for OnRuntime<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut export = Box::pin(self.exporter.export(batch));
        poll_fn(|context| {
            let _entered = self.runtime.enter();
            Pin::new(&mut export).poll(context)
        })
        .await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_gets_the_path_of_traces() {
        assert_eq!(traces_url("http://c:4318"), "http://c:4318/v1/traces");
        assert_eq!(traces_url("http://c:4318/"), "http://c:4318/v1/traces");
        assert_eq!(traces_url("http://c:4318/v1/traces"), "http://c:4318/v1/traces");
    }

    /// One span, exported through the batch thread to a collector that answers 200; the collector's view of the request.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_span_reaches_the_collector_before_a_shutdown_ends() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        use tracing_subscriber::layer::SubscriberExt;

        let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = provider(&format!("http://{}", collector.local_addr().unwrap())).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer(&provider));
        let _second = crate::telemetry::second_subscriber();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("token.verify").in_scope(|| ());
        });
        let collected = async {
            let (mut stream, _) = collector.accept().await.unwrap();
            let mut seen = Vec::new();
            while !String::from_utf8_lossy(&seen).contains("token.verify") {
                assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "closed too early");
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&seen).into_owned()
        };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_DEADLINE));
        let (seen, flushed) = tokio::join!(collected, flushed);
        assert!(seen.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains("stint"), "{seen}");
        flushed.unwrap().unwrap();
    }
}
