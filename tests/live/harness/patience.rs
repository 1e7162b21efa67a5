//! Waiting without luck: for a condition, with a bound, never for a time.

use std::net::TcpListener;
use std::time::Duration;

use time::OffsetDateTime;

const PAUSE: Duration = Duration::from_millis(50);

/// Asks `condition` until it holds; panics after `bound` with what was awaited.
pub(crate) async fn until<F>(what: &str, bound: Duration, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let asking = async {
        while !condition().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    assert!(tokio::time::timeout(bound, asking).await.is_ok(), "not within {bound:?}: {what}");
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// As many loopback ports that were free a moment ago, no two the same.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports"));
    listeners.map(|listener| listener.local_addr().expect("a bound listener has an address").port())
}

/// The time, to compare with what a real server makes of it.
#[expect(clippy::disallowed_methods, reason = "real servers go by the real clock")]
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
