//! The loopback door: a listener that only this machine reaches, few connections, each bounded in time and size.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use axum_server::Handle;
use axum_server::accept::{Accept, NoDelayAcceptor};
use futures::future::BoxFuture;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Most connections at once, kept-alive ones among them: the SDKs of one machine's workload.
const CONNECTIONS: usize = 256;
/// How long a connection may idle, or take to send its header block.
const HEADER_DEADLINE: Duration = Duration::from_secs(20);
/// Largest header block, and most lines of it.
const HEADER_BLOCK: usize = 16 * 1024;
const HEADERS: usize = 64;
/// How long answers under way may take at the end.
const DRAIN: Duration = Duration::from_secs(1);

/// An open listener on loopback.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
}

impl Door {
    /// Listens on a loopback address; port 0 takes a free one.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Err(io::Error::other("the agent listens on loopback only: other machines must not reach it"));
        }
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves until `shutdown`.
pub async fn serve(door: Door, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    let handle = Handle::new();
    let few = Few { inner: NoDelayAcceptor::new(), slots: Arc::new(Semaphore::new(CONNECTIONS)) };
    let mut server = axum_server::from_tcp(door.listener)?.acceptor(few).http1_only().handle(handle.clone());
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BLOCK);
    let mut serving = std::pin::pin!(server.serve(router.into_make_service()));
    tokio::select! {
        ended = &mut serving => return ended,
        () = shutdown.cancelled() => handle.graceful_shutdown(Some(DRAIN)),
    }
    serving.await
}

/// Takes connections while there are slots; the connection's own copy of the router gives the slot back.
#[derive(Debug, Clone)]
struct Few {
    inner: NoDelayAcceptor,
    slots: Arc<Semaphore>,
}

/// Held by the routes of one connection.
#[derive(Debug, Clone)]
struct Slot {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Accept<TcpStream, Router> for Few {
    type Stream = TcpStream;
    type Service = Router;
    type Future = BoxFuture<'static, io::Result<(TcpStream, Router)>>;

    fn accept(&self, stream: TcpStream, router: Router) -> Self::Future {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        let inner = self.inner;
        Box::pin(async move {
            let permit = slot.map_err(|_| io::Error::other("too many connections"))?;
            let (stream, router) = inner.accept(stream, router).await?;
            Ok((stream, router.layer(Extension(Slot { _permit: Arc::new(permit) }))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_listened_on() {
        for address in ["0.0.0.0:0", "[::]:0", "10.0.0.1:0", "169.254.170.2:0"] {
            assert!(Door::open(address.parse().unwrap()).is_err(), "{address}");
        }
        let door = Door::open("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(door.address().port(), 0);
    }
}
