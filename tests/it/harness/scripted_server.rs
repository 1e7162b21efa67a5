//! An HTTP server that misbehaves on command, one byte stream per connection. It counts what it is asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What to answer on a path.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// 200 with a JSON body.
    Json(String),
    /// These bytes, then the end.
    Raw(Vec<u8>),
    /// [`Reply::Json`], once the semaphore gives a permit.
    Held(Arc<Semaphore>, String),
    /// A promising start and then a byte now and then, for ever.
    Drip,
    /// 200 and a body without end.
    Endless,
    /// The connection is closed without a word.
    HangUp,
}

impl Reply {
    /// Any status with any extra header lines (each with its CRLF) and a body.
    pub(crate) fn status(line: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n", body.len());
        Self::Raw([head.as_bytes(), body].concat())
    }
}

#[derive(Debug, Default)]
struct Script {
    replies: HashMap<String, Reply>,
    requests: Vec<(String, String)>,
}

/// The server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct ScriptedServer {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    _tasks: JoinSet<()>,
}

impl ScriptedServer {
    /// Listens on a free loopback port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&script);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let script = Arc::clone(&shared);
                connections.spawn(async move {
                    // A client that leaves early is the client's affair.
                    let _ = answer(stream, &script).await;
                });
            }
        });
        Self { address, script, _tasks: tasks }
    }

    /// The address of `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on `path` answers this.
    pub(crate) fn reply(&self, path: &str, reply: Reply) {
        self.script.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    /// How often `path` was asked for.
    pub(crate) fn hits(&self, path: &str) -> usize {
        self.script.lock().unwrap().requests.iter().filter(|(asked, _)| asked == path).count()
    }

    /// The whole of the last request, in lower case.
    pub(crate) fn last_request(&self) -> String {
        self.script.lock().unwrap().requests.last().unwrap().1.clone()
    }
}

async fn answer(mut stream: TcpStream, script: &Mutex<Script>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let reply = {
        let mut script = script.lock().unwrap();
        script.requests.push((path.clone(), request.to_lowercase()));
        script.replies.get(&path).cloned()
    };
    let reply = reply.unwrap_or_else(|| Reply::status("404 Not Found", "", b"no"));
    match reply {
        Reply::Json(body) => write(&mut stream, &body).await?,
        Reply::Raw(bytes) => stream.write_all(&bytes).await?,
        Reply::Held(gate, body) => {
            gate.acquire().await.unwrap().forget();
            write(&mut stream, &body).await?;
        }
        Reply::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{").await?;
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                stream.write_all(b" ").await?;
            }
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            loop {
                stream.write_all(&[b' '; 4096]).await?;
            }
        }
        Reply::HangUp => (),
    }
    stream.shutdown().await
}

async fn write(stream: &mut TcpStream, body: &str) -> std::io::Result<()> {
    let Reply::Raw(bytes) = Reply::status("200 OK", "content-type: application/json\r\n", body.as_bytes()) else {
        return Ok(());
    };
    stream.write_all(&bytes).await
}
