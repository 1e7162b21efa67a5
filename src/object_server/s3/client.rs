//! One call: signed or not, sent once, bounded in time and size, to the configured endpoint and nowhere else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};

use super::super::ConfigError;
use super::super::endpoint::Endpoint;
use super::{S3Answer, S3Key, S3Request};
use crate::clock::Clock;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the server is and how long one call may take.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// `http(s)://host[:port]`, no path.
    pub endpoint: String,
    /// The region in signatures.
    pub region: String,
    /// Bound on one call, connection and body included.
    pub timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// No connection: nothing was sent.
    #[error("the object server cannot be reached{}", super::super::causes(Some(.0)))]
    Unreachable(#[source] reqwest::Error),
    /// It took too long, or broke off; whether it did as asked is unknown.
    #[error("the object server did not answer in time or broke off{}", super::super::causes(.0.as_ref()))]
    Interrupted(#[source] Option<reqwest::Error>),
    /// The answer is longer than any honest one.
    #[error("the object server's answer is longer than {limit} bytes")]
    TooLarge {
        /// The most that was taken of it.
        limit: usize,
    },
    /// The request cannot be put into a signed form.
    #[error("the request cannot be signed")]
    Unsendable,
}

impl S3Error {
    pub(super) fn broken(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_connect() || error.is_builder() { Self::Unreachable(error) } else { Self::Interrupted(Some(error)) }
    }
}

/// The client. It holds no key: each call names the one it is made with.
#[derive(Clone)]
pub struct S3Client {
    http: Client,
    pub(super) endpoint: Endpoint,
    pub(super) region: String,
    timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

impl fmt::Debug for S3Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl S3Client {
    /// Checks the settings; connects to nothing.
    pub fn new(settings: S3Settings, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let S3Settings { endpoint, region, timeout } = settings;
        let http = Client::builder()
            // A redirect would carry a signed request to somewhere nobody configured, or turn a refusal into a page.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            // A server that refuses an upload unread closes its connection, perhaps under the next request: MinIO does.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|_| ConfigError::Client)?;
        Ok(Self { http, endpoint: Endpoint::parse(&endpoint)?, region, timeout, clock })
    }

    /// The region in signatures.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Sends one request as the holder of `key`.
    pub async fn send(&self, key: &S3Key, request: &S3Request) -> Result<S3Answer, S3Error> {
        let url = self.endpoint.at(&request.path_and_query());
        let headers = self.sign(key, request, &url).ok_or(S3Error::Unsendable)?;
        self.bounded(request.method.clone(), &url, headers, request.body.clone(), request.answer_limit).await
    }

    /// Sends one request as nobody.
    pub async fn send_unsigned(&self, request: &S3Request) -> Result<S3Answer, S3Error> {
        let url = self.endpoint.at(&request.path_and_query());
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let value = HeaderValue::from_str(value).map_err(|_| S3Error::Unsendable)?;
            headers.insert(HeaderName::from_static(name), value);
        }
        self.bounded(request.method.clone(), &url, headers, request.body.clone(), request.answer_limit).await
    }

    pub(super) async fn bounded(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        answer_limit: usize,
    ) -> Result<S3Answer, S3Error> {
        let (begun, head_only) = (self.clock.elapsed(), method == Method::HEAD);
        let call = async {
            let response = self.http.request(method, url).headers(headers).body(body).send().await;
            S3Answer::read(response.map_err(S3Error::broken)?, head_only, answer_limit).await
        };
        // One bound over everything: also over a body that comes drop by drop.
        let answer = tokio::time::timeout(self.timeout, call).await.unwrap_or(Err(S3Error::Interrupted(None)))?;
        Ok(answer.after(self.clock.elapsed().saturating_sub(begun)))
    }

    fn sign(&self, key: &S3Key, request: &S3Request, url: &str) -> Option<HeaderMap> {
        let headers = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let signable = SignableRequest::new(
            request.method.as_str(),
            url,
            headers.clone(),
            SignableBody::Precomputed(request.payload_hash()),
        );
        let identity = key.credentials().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(request.scope.as_str())
            .time(self.clock.now().into())
            .settings(settings(SignatureLocation::Headers))
            .build()
            .ok()?;
        let (instructions, _) = sign(signable.ok()?, &params.into()).ok()?.into_parts();
        let header = |(name, value): (&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(name == AUTHORIZATION || name.as_str() == "x-amz-security-token");
            Some((name, value))
        };
        headers.chain(instructions.headers()).map(header).collect()
    }
}

/// What every server agrees on: the hash of the body in a header, names encoded once, paths left alone.
pub(super) fn settings(location: SignatureLocation) -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.signature_location = location;
    settings
}
