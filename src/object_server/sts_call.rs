//! One call to an object server: signed, sent at most once, bounded in time and size. Every dialect goes through here;
//! what differs between them is the fields they send and the answers they give names to.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, HeaderMap, SERVER};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::keys_in_use::KeysInUse;
use super::minting::Minting;
use super::signing::{Scope, Signer};
use super::{ConfigError, ObjectServerError, ServerSettings, TemporaryCredentials, wire};
use crate::clock::Clock;

/// More than ten times the largest answer seen (a MinIO token with a full session policy).
pub(super) const ANSWER_LIMIT: usize = 64 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// MinIO closes an idle connection after 30 s; a request written into one that is just being closed counts as interrupted.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
/// What stands for a refusal whose code cannot be read.
pub(super) const UNREADABLE: &str = "Unreadable";
/// What AWS says, with status 400, to who asks too often.
const THROTTLED: [&str; 3] = ["Throttling", "ThrottlingException", "RequestLimitExceeded"];

/// Makes calls as the parent identity.
pub(super) struct StsCaller {
    http: Client,
    endpoint: Endpoint,
    signer: Signer,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    keys: KeysInUse,
}

impl fmt::Debug for StsCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StsCaller")
            .field("endpoint", &self.endpoint)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A whole answer within the bounds; wiped when dropped, for it may hold credentials.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// What the server calls itself.
    pub(super) server: Option<String>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl StsCaller {
    /// Checks the settings; connects to nothing.
    pub(super) fn new(settings: ServerSettings, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        if settings.timeout.is_zero() {
            return Err(ConfigError::Timeout);
        }
        let http = client()?;
        let signer = Signer {
            access_key: word("access key", settings.access_key)?,
            secret_key: settings.secret_key,
            region: word("region", settings.region)?,
        };
        let keys = KeysInUse::of_parent(&signer.access_key);
        let endpoint = Endpoint::parse(&settings.endpoint)?;
        Ok(Self { http, endpoint, signer, timeout: settings.timeout, clock, keys })
    }

    /// Asks for the credentials of one lease, `beside` being the dialect's own fields.
    pub(super) async fn mint(
        &self,
        minting: &Minting<'_>,
        beside: &[(&str, &str)],
    ) -> Result<TemporaryCredentials, ObjectServerError> {
        self.believe(&self.ask(minting, beside).await?)
    }

    /// The same, for a dialect that looks at the answer before it is believed.
    pub(super) async fn ask(
        &self,
        minting: &Minting<'_>,
        beside: &[(&str, &str)],
    ) -> Result<Answer, ObjectServerError> {
        let seconds = minting.duration.as_secs().to_string();
        let mut fields = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("DurationSeconds", seconds.as_str()),
            ("RoleSessionName", minting.role_session_name),
            ("Policy", minting.session_policy),
        ];
        fields.extend(beside);
        self.form(&fields).await
    }

    /// Who the parent is, in the server's eyes: needs no right.
    pub(super) async fn get_caller_identity(&self) -> Result<Answer, ObjectServerError> {
        self.form(&[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]).await
    }

    /// A form to `/` with an empty query, the one form that every server's STS understands.
    pub(super) async fn form(&self, fields: &[(&str, &str)]) -> Result<Answer, ObjectServerError> {
        self.post(Scope::Sts, "/", Some(wire::form(fields))).await
    }

    /// Takes the credentials out of an answer, if it is whole, their end is to come and their key is nobody else's.
    pub(super) fn believe(&self, answer: &Answer) -> Result<TemporaryCredentials, ObjectServerError> {
        if answer.status != StatusCode::OK {
            return Err(refusal(answer.status, wire::error_code(&answer.body)));
        }
        let credentials = wire::credentials(&answer.body).map_err(|what| ObjectServerError::Nonsense { what })?;
        let now = self.clock.now();
        if credentials.expiration <= now {
            return Err(ObjectServerError::ExpirationUnbelievable { expiration: credentials.expiration });
        }
        let taken = self.keys.take(&credentials.access_key_id, credentials.expiration, now);
        taken.map_err(|what| ObjectServerError::Nonsense { what })?;
        Ok(credentials)
    }

    /// A signed POST: `form`, or an empty body.
    pub(super) async fn post(
        &self,
        scope: Scope,
        path_and_query: &str,
        form: Option<String>,
    ) -> Result<Answer, ObjectServerError> {
        let url = self.endpoint.at(path_and_query);
        let content_type = if form.is_some() { &[FORM][..] } else { &[] };
        let body = form.unwrap_or_default();
        let headers = self
            .signer
            .sign(scope, "POST", &url, content_type, body.as_bytes(), self.clock.now())
            .map_err(|_| ObjectServerError::Unsendable)?;
        self.within(self.send(Method::POST, &url, headers, body)).await
    }

    /// An unsigned GET.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, ObjectServerError> {
        self.within(self.send(Method::GET, &self.endpoint.at(path), HeaderMap::new(), String::new())).await
    }

    /// One bound over everything: connecting, both attempts and a body that comes drop by drop.
    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, ObjectServerError>>,
    ) -> Result<T, ObjectServerError> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or(Err(ObjectServerError::Interrupted(None)))
    }

    /// Sends once more only if there was no connection: then no byte arrived, and nothing can have been minted.
    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: String,
    ) -> Result<Answer, ObjectServerError> {
        let attempt = || self.http.request(method.clone(), url).headers(headers.clone()).body(body.clone()).send();
        let response = match attempt().await {
            Err(error) if error.is_connect() => attempt().await,
            response => response,
        };
        read(response.map_err(broken)?, ANSWER_LIMIT).await
    }
}

/// The HTTP client of every dialect.
pub(super) fn client() -> Result<Client, ConfigError> {
    Client::builder()
        // A redirect would carry a signed request, or its credentials, to somewhere nobody configured.
        .redirect(reqwest::redirect::Policy::none())
        // A proxy named in the environment would read the minted credentials.
        .no_proxy()
        // Only the dialect decides what may be sent twice.
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build()
        .map_err(|_| ConfigError::Client)
}

/// Collects an answer whose declared and real sizes are both at most `limit` bytes.
pub(super) async fn read(mut response: Response, limit: usize) -> Result<Answer, ObjectServerError> {
    const TOO_LARGE: ObjectServerError =
        ObjectServerError::Nonsense { what: "larger than any honest answer, or than it says" };
    let status = response.status();
    let server = response.headers().get(SERVER).and_then(|server| server.to_str().ok()).map(str::to_owned);
    let declared = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // All of the room is wiped in the end, so it is no more than the answer says it needs.
    let room = declared.map_or(limit, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if room > limit {
        return Err(TOO_LARGE);
    }
    // Never grown, so that no copy of a secret is left behind by a reallocation.
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > room {
            return Err(TOO_LARGE);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, server, body })
}

/// What every session policy carries at a server that has roles: a session reaches neither the STS nor IAM.
pub(super) fn deny_statements() -> Vec<Value> {
    vec![json!({"Effect": "Deny", "Action": ["iam:*", "sts:*"], "Resource": ["*"]})]
}

/// Names what any answer but success means. `code` is the server's own, if it could be read.
pub(super) fn refusal(status: StatusCode, code: Option<String>) -> ObjectServerError {
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => ObjectServerError::NotReady,
        _ if code.as_deref().is_some_and(|code| THROTTLED.contains(&code)) => ObjectServerError::NotReady,
        status if status.is_client_error() || status.is_server_error() => {
            ObjectServerError::Refused { status: status.as_u16(), code: code.unwrap_or_else(|| UNREADABLE.to_owned()) }
        }
        status if status.is_redirection() => ObjectServerError::Nonsense { what: "a redirect" },
        _ => ObjectServerError::Nonsense { what: "an unexpected status" },
    }
}

pub(super) fn broken(error: reqwest::Error) -> ObjectServerError {
    let error = error.without_url();
    if error.is_connect() || error.is_builder() {
        ObjectServerError::Unreachable(Arc::new(error))
    } else {
        ObjectServerError::Interrupted(Some(Arc::new(error)))
    }
}

pub(super) fn word(what: &'static str, text: String) -> Result<String, ConfigError> {
    let clean = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    clean.then_some(text).ok_or(ConfigError::Word { what })
}
