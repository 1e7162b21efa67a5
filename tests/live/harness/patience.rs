//! Waiting without luck: for a condition, with a bound, never for a time.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
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

/// Below what systems give to outgoing connections, which would take the port of a server while it is started again.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// The next to try, in this process: no two tests are given the same.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A loopback port that was free a moment ago, and that nobody else here is given.
pub(crate) fn free_port() -> u16 {
    let length = u32::from(PORTS.end - PORTS.start);
    let found = PORTS.into_iter().find_map(|_| {
        let number = std::process::id().wrapping_mul(21).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % length;
        let port = PORTS.start + u16::try_from(number).expect("within the range");
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    });
    found.expect("loopback has a free port")
}

/// As many of them.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| free_port())
}

/// The time, to compare with what a real server makes of it.
#[expect(clippy::disallowed_methods, reason = "real servers go by the real clock")]
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
