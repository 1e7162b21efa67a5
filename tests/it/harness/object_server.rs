//! An object server that says what a test tells it to: the truth, a lie, half an answer, or nothing. It speaks plain
//! TCP, so that it can break every rule of HTTP.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// What is answered to one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes, as they are; then the connection is closed.
    Bytes(String),
    /// These bytes, then `x` for ever.
    Endless(String),
    /// These bytes, one every 50 ms.
    Drip(String),
    /// Nothing; the connection stays open.
    Silence,
    /// The connection is closed at once.
    Close,
}

impl Reply {
    /// A whole answer.
    pub(crate) fn http(status: u16, content_type: &str, body: &str) -> Self {
        Self::Bytes(answer(status, content_type, body.len(), body))
    }

    /// MinIO's answer to `AssumeRole`, with credentials that end at `expiration` (RFC 3339, unless a lie is wanted).
    pub(crate) fn credentials(expiration: &str) -> Self {
        Self::http(200, "application/xml", &assume_role_response(expiration))
    }

    /// The same, ending so long after now.
    pub(crate) fn credentials_for(length: Duration) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a double of another machine, which has its own clock")]
        let end = OffsetDateTime::now_utc() + length;
        Self::credentials(&end.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap())
    }

    /// MinIO's refusal.
    pub(crate) fn refusal(status: u16, code: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ErrorResponse \
             xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type></Type><Code>{code}</Code>\
             <Message>no</Message></Error><RequestId>1</RequestId></ErrorResponse>"
        );
        Self::http(status, "application/xml", &body)
    }
}

/// The head and body of an answer that declares `length`.
pub(crate) fn answer(status: u16, content_type: &str, length: usize, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// The XML of RELEASE.2025-04-22, as captured.
pub(crate) fn assume_role_response(expiration: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<AssumeRoleResponse \
         xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser><Arn></Arn>\
         <AssumeRoleId></AssumeRoleId></AssumedRoleUser><Credentials><AccessKeyId>GGCTIHYG44N04A0X14LN</AccessKeyId>\
         <SecretAccessKey>8g8imGgD2gOl91t2Rbr8rEo01fNI0W4euwOHjxz0</SecretAccessKey>\
         <SessionToken>eyJhbGciOiJIUzUxMiJ9.e30.K4QlpL16</SessionToken><Expiration>{expiration}</Expiration>\
         </Credentials></AssumeRoleResult><ResponseMetadata><RequestId>18EA354CE35F0C4B</RequestId></ResponseMetadata>\
         </AssumeRoleResponse>"
    )
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// `POST / HTTP/1.1`.
    pub line: String,
    /// Lower-case name → value.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// A running double; it ends when dropped.
#[derive(Debug)]
pub(crate) struct ScriptedObjectServer {
    endpoint: String,
    received: Arc<Mutex<Vec<Received>>>,
    _ends: DropGuard,
}

impl ScriptedObjectServer {
    /// Answers with `replies` in turn, and with the last one from then on.
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let (end, log) = (CancellationToken::new(), Arc::clone(&received));
        let ends = end.clone().drop_guard();
        let tasks = TaskTracker::new();
        tasks.clone().spawn(end.clone().run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (log, replies) = (Arc::clone(&log), replies.clone());
                tasks.spawn(end.clone().run_until_cancelled_owned(serve(stream, log, replies)));
            }
        }));
        Self { endpoint, received, _ends: ends }
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Every request so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

/// One request a connection; a client that goes away ends it.
async fn serve(stream: TcpStream, log: Arc<Mutex<Vec<Received>>>, replies: Vec<Reply>) {
    let mut stream = BufReader::new(stream);
    let Some(request) = request(&mut stream).await else { return };
    let asked = {
        let mut log = log.lock().unwrap();
        log.push(request);
        log.len()
    };
    let scripted = match replies.get(asked - 1) {
        Some(scripted) => scripted.clone(),
        None => again(&replies[replies.len() - 1], asked),
    };
    // A write fails when the client has had enough, which is what some of these replies provoke.
    let _ = reply(stream.get_mut(), &scripted).await;
}

/// What is repeated has a key of its own each time: only a lying server gives one key twice, and that is written out.
pub(crate) fn again(reply: &Reply, asked: usize) -> Reply {
    match reply {
        Reply::Bytes(bytes) if bytes.contains("</AccessKeyId>") => {
            let (head, body) = bytes.split_once("\r\n\r\n").unwrap();
            let own = body.replace("</AccessKeyId>", &format!("{asked}</AccessKeyId>"));
            let length = |body: &str| format!("content-length: {}", body.len());
            Reply::Bytes(format!("{}\r\n\r\n{own}", head.replace(&length(body), &length(&own))))
        }
        Reply::Bytes(_) | Reply::Endless(_) | Reply::Drip(_) | Reply::Silence | Reply::Close => reply.clone(),
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|&read| read > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Received { line: line.trim_end().to_owned(), headers, body: String::from_utf8_lossy(&body).into_owned() })
}

async fn reply(stream: &mut TcpStream, reply: &Reply) -> std::io::Result<()> {
    match reply {
        Reply::Bytes(bytes) => stream.write_all(bytes.as_bytes()).await,
        Reply::Endless(start) => {
            let mut bytes = start.clone();
            loop {
                stream.write_all(bytes.as_bytes()).await?;
                bytes.clear();
                write!(bytes, "{:x<8192}", "").unwrap();
            }
        }
        Reply::Drip(bytes) => {
            for byte in bytes.bytes() {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        }
        Reply::Silence => std::future::pending().await,
        Reply::Close => Ok(()),
    }
}
