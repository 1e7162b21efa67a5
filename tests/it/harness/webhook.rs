//! A double of a receiver of alerts: a loopback HTTP server that keeps every request whole and answers by a script. It
//! checks signatures with an HMAC of its own making.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How the double takes one request.
#[derive(Debug, Clone)]
pub(crate) enum Take {
    /// Answers this status line, with these header lines.
    Status(&'static str, String),
    /// Closes the connection without a word.
    HangUp,
    /// Keeps the connection open and says nothing.
    Silence,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    head: String,
    pub(crate) body: String,
}

impl Received {
    /// The one value of a header.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.head.lines().filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        let value = values.next().unwrap_or_else(|| panic!("no {name} in {}", self.head));
        assert!(values.next().is_none(), "{name} comes twice");
        value
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether the signature is one of these bytes under this secret (`whsec_…`), as the specification says it.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let signed = format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        self.header("webhook-signature") == format!("v1,{}", STANDARD.encode(hmac_sha256(&key, signed.as_bytes())))
    }
}

/// RFC 2104 by hand: the service's own comes from a library.
fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with).to_vec();
    let inner = digest(&SHA256, &[pad(0x36), text.to_vec()].concat());
    digest(&SHA256, &[pad(0x5c), inner.as_ref().to_vec()].concat()).as_ref().to_vec()
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Take>,
    received: Vec<Received>,
}

/// The double; it ends when dropped.
#[derive(Debug)]
pub(crate) struct WebhookDouble {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    arrived: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl WebhookDouble {
    /// Takes requests as the script says, and then all others with 204.
    pub(crate) async fn start(script: impl IntoIterator<Item = Take>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { script: script.into_iter().collect(), received: Vec::new() }));
        let arrived = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        let (shared, told) = (Arc::clone(&state), Arc::clone(&arrived));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (shared, told) = (Arc::clone(&shared), Arc::clone(&told));
                connections.spawn(async move {
                    // A client that leaves early is the client's affair.
                    let _ = take(stream, &shared, &told).await;
                });
            }
        });
        Self { address, state, arrived, _tasks: tasks }
    }

    /// The address of `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The first `count` requests, once they came.
    pub(crate) async fn received(&self, count: usize) -> Vec<Received> {
        loop {
            let arrived = self.arrived.notified();
            let received = self.state.lock().unwrap().received.clone();
            if received.len() >= count {
                return received;
            }
            arrived.await;
        }
    }
}

async fn take(mut stream: TcpStream, state: &Mutex<State>, arrived: &Notify) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let received = Received { path, head, body: String::from_utf8(body).unwrap() };
    let how = {
        let mut state = state.lock().unwrap();
        state.received.push(received);
        state.script.pop_front().unwrap_or_else(|| Take::Status("204 No Content", String::new()))
    };
    arrived.notify_waiters();
    match how {
        Take::Status(line, headers) => {
            let answer = format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n{headers}connection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await?;
        }
        Take::HangUp => {}
        Take::Silence => std::future::pending().await,
    }
    stream.shutdown().await
}
