//! One HTTP client for the service and the identity provider, bounded in every direction: no redirects (a redirect would
//! carry a token elsewhere), no proxy, few bytes, little time.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, RequestBuilder, StatusCode, Url, redirect};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::fault::{Answered, Fault, one_line};

/// Longest time to connect, and for one request with its answer.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer: a lease or a token fits several times.
const MOST_BYTES: usize = 256 * 1024;

/// The client.
#[derive(Debug, Clone)]
pub struct Transport(Client);

/// An answer, whole; wiped when dropped, for credentials may stand in it.
pub(super) struct Received {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Transport {
    /// Trusts the system's roots, and those in `ca_file` (PEM) besides.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, Fault> {
        let mut builder = Client::builder()
            .user_agent(concat!("stint-agent/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(15))
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(DEADLINE);
        if let Some(path) = ca_file {
            let pem = std::fs::read(path).map_err(|error| Fault::unread(path, &error))?;
            let unreadable = || Fault::File { path: path.to_owned(), why: "holds no PEM certificate".to_owned() };
            let roots = Certificate::from_pem_bundle(&pem).map_err(|_| unreadable())?;
            if roots.is_empty() {
                return Err(unreadable());
            }
            builder = builder.tls_certs_merge(roots);
        }
        builder.build().map(Self).map_err(|error| Fault::Unreachable(one_line(&error.to_string())))
    }

    pub(super) fn post(&self, url: Url) -> RequestBuilder {
        self.0.post(url)
    }

    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.0.get(url)
    }
}

/// Sends and reads everything; the failure as a line without the address's query.
pub(super) async fn receive(request: RequestBuilder) -> Result<Received, String> {
    let mut response = request.send().await.map_err(told)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Zeroizing::new(Vec::with_capacity(4096));
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        if body.len().saturating_add(chunk.len()) > MOST_BYTES {
            return Err("the answer is too large".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Received { status, headers, body })
}

fn told(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let error = error.without_url();
    let mut innermost: &dyn Error = &error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    one_line(&innermost.to_string())
}

/// Problem details, or an OAuth error (RFC 6749 section 5.2): whichever it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: Option<String>,
    /// The very cause, where `code` names a whole kind of refusals; whatever a provider says by that name is no fault.
    reason: Value,
    error: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    error_description: Option<String>,
    request_id: Option<String>,
}

impl Received {
    /// The answer as a refusal.
    pub(super) fn refusal(&self) -> Answered {
        let problem: Problem = serde_json::from_slice(&self.body).unwrap_or_default();
        // A provider's own `reason` stands for nothing of ours.
        let cause = problem.code.map(|code| problem.reason.as_str().map_or(code, str::to_owned));
        let said = problem.detail.or(problem.error_description).or(problem.title);
        Answered {
            status: self.status.as_u16(),
            code: one_line(&cause.or(problem.error).unwrap_or_default()),
            said: one_line(&said.unwrap_or_default()),
            request_id: problem.request_id.map(|id| one_line(&id)),
            retry_after: retry_after(&self.headers),
        }
    }
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3); a date is not read: it would need clocks that agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
