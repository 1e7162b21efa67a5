//! A proxy between the service and PostgreSQL that reads just enough of the wire protocol to stop at one statement: before
//! it, half-way into it, or after the server has done it and nobody was told. It refuses TLS, so that it can read.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::binary::PATIENCE;

/// What happens to a statement that a trap is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not arrive until the trap is let go; then it does, whoever still waits for it.
    HoldStatement,
    /// It is done; the answer does not arrive until the trap is let go.
    HoldAnswer,
    /// Half of it arrives, then both connections are cut.
    CutHalf,
    /// It does not arrive at all: both connections are cut.
    CutBefore,
    /// It is done, and both connections are cut before the answer arrives.
    CutAfter,
}

#[derive(Debug)]
struct Snare {
    /// Bytes of the statement: its text, or a parameter in it.
    needle: &'static str,
    fault: Fault,
    left: Mutex<usize>,
    sprung: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

/// A trap that was set. Dropping it leaves held statements held: the network never delivers them.
#[derive(Debug)]
pub(crate) struct Trap(Arc<Snare>);

impl Trap {
    /// Waits until it has done this often what it is for.
    pub(crate) async fn sprung(&self, times: usize) {
        let mut sprung = self.0.sprung.subscribe();
        let waiting = sprung.wait_for(|sprung| *sprung >= times);
        let told = timeout(PATIENCE, waiting).await;
        assert!(told.is_ok(), "no statement met the trap for {} {times} times", self.0.needle);
    }

    /// Lets go what it holds, and whatever it will meet.
    pub(crate) fn let_go(&self) {
        self.0.open.send_replace(true);
    }
}

/// The proxy; it ends, and cuts everything, when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    snares: Arc<Mutex<Vec<Arc<Snare>>>>,
    _ends: DropGuard,
}

impl Proxy {
    /// In front of the server of this URL.
    pub(crate) async fn before(database: &SecretString) -> Self {
        let (_, server) = database.expose_secret().rsplit_once('@').expect("a user and a host");
        let server: SocketAddr = server.split_once('/').expect("a database").0.parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let snares: Arc<Mutex<Vec<Arc<Snare>>>> = Arc::default();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let ends = stop.clone().drop_guard();
        let set = Arc::clone(&snares);
        tasks.clone().spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let set = Arc::clone(&set);
                tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
                    // Where the server is down or one side goes away, so does the other.
                    if let Ok(server) = TcpStream::connect(server).await {
                        let _ = Relay::between(client, server, set).run().await;
                    }
                }));
            }
        }));
        Self { address, snares, _ends: ends }
    }

    /// The same database through the proxy.
    pub(crate) fn url(&self, database: &SecretString) -> SecretString {
        let (user, server) = database.expose_secret().rsplit_once('@').expect("a user and a host");
        let (_, name) = server.split_once('/').expect("a database");
        SecretString::from(format!("{user}@{}/{name}", self.address))
    }

    /// The next `times` statements with these bytes in them meet the fault.
    pub(crate) fn trap(&self, needle: &'static str, fault: Fault, times: usize) -> Trap {
        let (sprung, open) = (watch::Sender::new(0), watch::Sender::new(false));
        let snare = Arc::new(Snare { needle, fault, left: Mutex::new(times), sprung, open });
        self.snares.lock().unwrap().push(Arc::clone(&snare));
        Trap(snare)
    }
}

/// One connection.
struct Relay {
    requests: Requests,
    to_server: OwnedWriteHalf,
    answers: Answers,
    to_client: OwnedWriteHalf,
    snares: Arc<Mutex<Vec<Arc<Snare>>>>,
}

impl Relay {
    fn between(client: TcpStream, server: TcpStream, snares: Arc<Mutex<Vec<Arc<Snare>>>>) -> Self {
        // A write is a whole request or answer: nothing to wait for.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let requests = Requests { from: from_client, read: Vec::new(), started: false };
        Self { requests, to_server, answers: Answers { from: from_server, read: Vec::new() }, to_client, snares }
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            tokio::select! {
                request = self.requests.next() => {
                    let request = request?;
                    if request.is_tls_wish() {
                        self.to_client.write_all(b"N").await?;
                    } else if let Some(snare) = self.meets(&request.0) {
                        self.spring(&snare, &request.0).await?;
                    } else {
                        self.to_server.write_all(&request.0).await?;
                    }
                }
                answer = self.answers.next() => self.to_client.write_all(&answer?).await?,
            }
        }
    }

    fn meets(&self, request: &[u8]) -> Option<Arc<Snare>> {
        let snares = self.snares.lock().unwrap();
        let met = snares.iter().find(|snare| {
            let needle = snare.needle.as_bytes();
            *snare.left.lock().unwrap() > 0 && request.windows(needle.len()).any(|window| window == needle)
        })?;
        *met.left.lock().unwrap() -= 1;
        Some(Arc::clone(met))
    }

    async fn spring(&mut self, snare: &Snare, request: &[u8]) -> io::Result<()> {
        let sprung = || snare.sprung.send_modify(|sprung| *sprung += 1);
        match snare.fault {
            Fault::HoldStatement => {
                sprung();
                snare.let_go().await;
                self.deliver(request).await
            }
            Fault::HoldAnswer => {
                self.to_server.write_all(request).await?;
                let answer = self.answers.until_ready().await?;
                sprung();
                snare.let_go().await;
                self.to_client.write_all(&answer).await
            }
            Fault::CutHalf => {
                self.to_server.write_all(&request[..request.len() / 2]).await?;
                sprung();
                Err(cut())
            }
            Fault::CutBefore => {
                sprung();
                Err(cut())
            }
            Fault::CutAfter => {
                self.to_server.write_all(request).await?;
                self.answers.until_ready().await?;
                sprung();
                Err(cut())
            }
        }
    }

    /// Late, but whole: the server does it although the client may be gone.
    async fn deliver(&mut self, request: &[u8]) -> io::Result<()> {
        self.to_server.write_all(request).await?;
        let answer = self.answers.until_ready().await?;
        self.to_client.write_all(&answer).await
    }
}

impl Snare {
    async fn let_go(&self) {
        // The sender lives in the snare itself.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

fn cut() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// What the client sends at once: all messages up to one that asks for an answer.
struct Request(Vec<u8>);

impl Request {
    fn is_tls_wish(&self) -> bool {
        self.0 == [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]
    }
}

struct Requests {
    from: OwnedReadHalf,
    read: Vec<u8>,
    started: bool,
}

impl Requests {
    /// Can be dropped half-way: what was read stays.
    async fn next(&mut self) -> io::Result<Request> {
        loop {
            if let Some(length) = self.whole() {
                let request = Request(self.read.drain(..length).collect());
                self.started |= !request.is_tls_wish();
                return Ok(request);
            }
            if self.from.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn whole(&self) -> Option<usize> {
        if !self.started {
            return message(&self.read, 0);
        }
        let mut end = 0;
        loop {
            let kind = *self.read.get(end)?;
            end += 1 + message(&self.read[end..], 1)?;
            // Sync, Query, Password, Terminate, Flush.
            if matches!(kind, b'S' | b'Q' | b'p' | b'X' | b'H') {
                return Some(end);
            }
        }
    }
}

struct Answers {
    from: OwnedReadHalf,
    read: Vec<u8>,
}

impl Answers {
    /// Can be dropped half-way: what was read stays.
    async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = message(&self.read, 1) {
                return Ok(self.read.drain(..=length).collect());
            }
            if self.from.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Everything up to `ReadyForQuery`: the statement, and its transaction, have ended.
    async fn until_ready(&mut self) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        loop {
            let next = timeout(PATIENCE, self.next()).await.map_err(|_| cut())??;
            let ready = next[0] == b'Z';
            answer.extend(next);
            if ready {
                return Ok(answer);
            }
        }
    }
}

/// The length of the first message, its length word included and its `kind` bytes of kind not, if all of it is there.
fn message(bytes: &[u8], kind: usize) -> Option<usize> {
    let length = bytes.get(kind..kind + 4)?.try_into().map(u32::from_be_bytes).ok()?;
    let length = usize::try_from(length).ok()?;
    (bytes.len() >= kind + length).then_some(length)
}
