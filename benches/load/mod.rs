//! Load: one kind of request, sent by many clients for a while, and how long each took.

pub(crate) mod exchange;
pub(crate) mod ground;
pub(crate) mod mint;
pub(crate) mod resident;
pub(crate) mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;

/// One kind of request; what is not answered as it should be ends the benchmark.
pub(crate) trait Request: Send + Sync + 'static {
    fn send(&self, http: &reqwest::Client) -> impl Future<Output = ()> + Send;
}

/// What was measured.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) count: usize,
    /// Answers per second.
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Sends `request` from `clients` clients, each of which waits for its answer, for `length`.
pub(crate) async fn load<R: Request>(clients: usize, length: Duration, request: Arc<R>) -> Figures {
    let http = client(clients);
    // Connections are opened before anything is timed: both sides of a comparison keep theirs.
    join_all((0..clients).map(|_| request.send(&http))).await;
    let over = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let workers: Vec<_> = (0..clients)
        .map(|_| {
            let (http, request, over) = (http.clone(), Arc::clone(&request), Arc::clone(&over));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    request.send(&http).await;
                    times.push(begun.elapsed());
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(length).await;
    over.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await.unwrap());
    }
    let took = started.elapsed();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    Figures { count: times.len(), rate: times.len() as f64 / took.as_secs_f64(), p50: at(50), p99: at(99) }
}

/// Keeps a connection per client.
pub(crate) fn client(clients: usize) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(clients)
        .timeout(Duration::from_mins(1))
        .build()
        .unwrap()
}

/// Waits until `url` answers with a success, asking again every two milliseconds.
pub(crate) async fn wait_for(url: &str, most: Duration) {
    let (http, begun) = (client(1), Instant::now());
    while !http.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(begun.elapsed() < most, "{url} is not ready after {most:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A form, a space being `%20`: Ceph takes no plus for one.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

/// Sends a request that must be answered with credentials, and reads all of the answer.
pub(crate) async fn minted(request: reqwest::RequestBuilder) -> String {
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    assert!(status.is_success() && text.contains("<SecretAccessKey>"), "{status}: {text}");
    text
}

/// A number of the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}
