//! Listening. Every connection is bounded: the size of its header block, the time to send it, and on a drain the time
//! to finish. HTTP/1.1 only: every S3 client speaks it, and it leaves no multiplexing to abuse.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::connections::Bounded;

/// Request line and headers together: a token of 16 KiB in the one and in the other. More is answered with 431.
const HEADER_BLOCK: usize = 64 * 1024;
/// Most header lines.
const HEADERS: usize = 64;
/// How long a header block may take, and a connection may idle: longer than the minute that load balancers hold one,
/// or they would reuse a connection just as it is closed.
const HEADER_DEADLINE: Duration = Duration::from_secs(75);
/// Most connections at once; each may hold a header block and a body.
const CONNECTIONS: usize = 4096;
/// How long a caller may take nothing of an answer: answers fit into a few packets.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);
/// How long a TLS handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// Serves until `shutdown`, then takes no more connections and lets requests finish for at most `drain`.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    shutdown: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    serve_within(BOUNDS, listener, tls, router, shutdown, drain).await
}

/// The bounds that a test would wait too long for.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    header_deadline: Duration,
    write_deadline: Duration,
    connections: usize,
}

const BOUNDS: Bounds =
    Bounds { header_deadline: HEADER_DEADLINE, write_deadline: WRITE_DEADLINE, connections: CONNECTIONS };

async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    shutdown: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let server = axum_server::from_tcp(listener)?.acceptor(NoDelayAcceptor::new());
    let handle = Handle::new();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let mut serving: Pin<Box<dyn Future<Output = io::Result<()>> + Send>> = match tls {
        None => Box::pin(bounded(server, bounds, handle.clone()).serve(service)),
        Some(config) => {
            let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(config))
                .handshake_timeout(HANDSHAKE_DEADLINE)
                .acceptor(NoDelayAcceptor::new());
            Box::pin(bounded(server.acceptor(acceptor), bounds, handle.clone()).serve(service))
        }
    };
    tokio::select! {
        ended = &mut serving => return ended,
        () = shutdown.cancelled() => handle.graceful_shutdown(Some(drain)),
    }
    serving.await
}

/// The server with the bounds of every connection set.
fn bounded<A>(
    server: Server<SocketAddr, A>,
    bounds: Bounds,
    handle: Handle<SocketAddr>,
) -> Server<SocketAddr, Bounded<A>> {
    let server = server.map(|acceptor| Bounded::new(acceptor, bounds.connections, bounds.write_deadline));
    let mut server = server.http1_only().handle(handle);
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_deadline)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BLOCK);
    server
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;

    struct Running {
        address: SocketAddr,
        shutdown: CancellationToken,
        served: tokio::task::JoinHandle<io::Result<()>>,
    }

    impl Running {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// Everything the server answers to these bytes, until it closes.
        async fn answers(&self, bytes: &[u8]) -> String {
            let mut stream = self.connect().await;
            // The server may close before it has read everything.
            let _ = stream.write_all(bytes).await;
            read_to_end(&mut stream).await
        }
    }

    async fn read_to_end(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[expect(clippy::disallowed_methods, reason = "a test waits for the task itself")]
    fn start_with(bounds: Bounds, tls: Option<Arc<ServerConfig>>, drain: Duration, router: Router) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = serve_within(bounds, listener, tls, router, shutdown.clone(), drain);
        Running { address, shutdown, served: tokio::spawn(serving) }
    }

    fn start(drain: Duration, router: Router) -> Running {
        start_with(BOUNDS, None, drain, router)
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" }))
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_megabyte_of_headers_is_answered_431_and_the_next_caller_is_served() {
        let running = start(LONG, hello());
        let head = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let large = format!("{head}authorization: Bearer {}\r\n\r\n", "a".repeat(1024 * 1024));
        let answer = running.answers(large.as_bytes()).await;
        // Closing on unread bytes may reset the connection before the answer is read; served it never is.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        let fits = format!("{head}authorization: Bearer {}\r\n\r\n", "a".repeat(32 * 1024));
        let answer = running.answers(fits.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
    }

    #[tokio::test]
    async fn a_header_block_just_over_the_limit_is_answered_431() {
        let running = start(LONG, hello());
        let mut block = b"GET / HTTP/1.1\r\nx: ".to_vec();
        block.resize(HEADER_BLOCK, b'a');
        let answer = running.answers(&block).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[tokio::test]
    async fn too_many_header_lines_are_answered_431() {
        let running = start(LONG, hello());
        let lines = "x: y\r\n".repeat(HEADERS + 1);
        let answer = running.answers(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[tokio::test]
    async fn a_caller_who_trickles_headers_is_cut_off() {
        let running = start_with(Bounds { header_deadline: Duration::from_millis(100), ..BOUNDS }, None, LONG, hello());
        let mut stream = running.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x").await.unwrap();
        // Ends only because the server closes.
        let answer = read_to_end(&mut stream).await;
        assert!(!answer.contains("200"), "{answer}");
    }

    #[tokio::test]
    async fn a_caller_who_reads_nothing_loses_the_connection() {
        let large = Router::new().route("/", get(|| async { "x".repeat(16 * 1024 * 1024) }));
        let bounds = Bounds { write_deadline: Duration::from_millis(100), connections: 1, ..BOUNDS };
        let running = start_with(bounds, None, LONG, large);
        let mut idle = running.connect().await;
        idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        idle.read_exact(&mut [0; 12]).await.unwrap();
        // The one connection there may be comes free although its caller keeps it open.
        while running.answers(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.is_empty() {
            tokio::task::yield_now().await;
        }
        drop(idle);
    }

    #[tokio::test]
    async fn http_2_is_not_spoken() {
        let running = start(LONG, hello());
        let answer = running.answers(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        assert!(!answer.contains("200"), "{answer}");
    }

    #[tokio::test]
    async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
        let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (arrived, go) = (Arc::clone(&arrived), Arc::clone(&go));
            move || async move {
                arrived.notify_one();
                go.notified().await;
                "finished"
            }
        };
        let running = start(LONG, Router::new().route("/", get(handler)));
        let mut stream = running.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        arrived.notified().await;
        running.shutdown.cancel();
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("finished"), "{answer}");
        running.served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_drain_ends_even_if_a_request_does_not() {
        let arrived = Arc::new(Notify::new());
        let handler = {
            let arrived = Arc::clone(&arrived);
            move || async move {
                arrived.notify_one();
                std::future::pending::<&str>().await
            }
        };
        let running = start(Duration::from_millis(50), Router::new().route("/", get(handler)));
        let mut stream = running.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        arrived.notified().await;
        running.shutdown.cancel();
        running.served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_its_slot_is_not_lost() {
        let running = start_with(Bounds { connections: 1, ..BOUNDS }, None, LONG, hello());
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut first = running.connect().await;
        first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        first.read_exact(&mut [0; 12]).await.unwrap();
        assert_eq!(running.answers(request).await, "");
        drop(first);
        while running.answers(request).await.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn tls_is_spoken_when_configured() {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let tls = crate::http::load_tls(&certificate, &key).unwrap();
        let running = start_with(BOUNDS, Some(tls), LONG, hello());

        let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
        let answer = client.get(format!("https://localhost:{}/", running.address.port())).send().await.unwrap();
        assert_eq!(answer.version(), ::http::Version::HTTP_11);
        assert_eq!(answer.text().await.unwrap(), "hello");
        let plain = running.answers(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(!plain.contains("hello"), "{plain}");
    }
}
