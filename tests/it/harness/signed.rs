//! A client that signs requests by hand, so that a test can sign the wrong thing.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;

/// A key to sign with.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// The access key.
    pub access: String,
    /// The secret key.
    pub secret: String,
    /// The session token.
    pub token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The text of the first element of this name.
    pub(crate) fn element(&self, name: &str) -> Option<&str> {
        let rest = self.body.split_once(&format!("<{name}>"))?.1;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    }

    /// The status and the error code.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.status, self.element("Code").unwrap_or(""))
    }
}

impl Key {
    /// The parent's.
    pub(crate) fn parent() -> Self {
        Self { access: "minter".to_owned(), secret: "mintersecret".to_owned(), token: None }
    }

    /// The credentials of an `AssumeRole` answer.
    pub(crate) fn minted(answer: &Answer) -> Self {
        let element = |name| answer.element(name).unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        Self {
            access: element("AccessKeyId"),
            secret: element("SecretAccessKey"),
            token: Some(element("SessionToken")),
        }
    }

    /// The same key with another token, or none.
    pub(crate) fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    fn params<T>(
        &self,
        service: &str,
        location: SignatureLocation,
        ahead: i64,
        then: impl FnOnce(&aws_sigv4::http_request::SigningParams<'_>) -> T,
    ) -> T {
        let identity = Credentials::new(&self.access, &self.secret, self.token.clone(), None, "test").into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.signature_location = location;
        settings.expires_in = (location == SignatureLocation::QueryParams).then_some(Duration::from_mins(1));
        #[expect(clippy::disallowed_methods, reason = "a signature carries the real time")]
        let now = SystemTime::now();
        let ahead_by = Duration::from_secs(ahead.unsigned_abs());
        let now = if ahead < 0 { now - ahead_by } else { now + ahead_by };
        let params = SigningParams::builder().identity(&identity).region("us-east-1").name(service).time(now);
        then(&params.settings(settings).build().unwrap().into())
    }

    /// The headers of a request signed by a clock that is so many seconds ahead, those that it has included.
    pub(crate) fn headers_at(
        &self,
        ahead: i64,
        service: &str,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Vec<(String, String)> {
        let request = SignableRequest::new(method, url, headers.iter().copied(), SignableBody::Bytes(body.as_bytes()));
        let (signature, _) = self
            .params(service, SignatureLocation::Headers, ahead, |params| sign(request.unwrap(), params).unwrap())
            .into_parts();
        let all = headers.iter().copied().chain(signature.headers());
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// A request signed in its headers.
    pub(crate) async fn send(
        &self,
        service: &str,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.send_at(0, service, method, url, headers, body).await
    }

    /// The same by a clock that is so many seconds ahead.
    pub(crate) async fn send_at(
        &self,
        ahead: i64,
        service: &str,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let signed = self.headers_at(ahead, service, method, url, headers, body);
        let signed: Vec<_> = signed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        unsigned(method, url, &signed, body).await
    }

    /// A call of S3.
    pub(crate) async fn s3(&self, method: &str, url: &str, body: &str) -> Answer {
        self.send("s3", method, url, &[], body).await
    }

    /// A form to the STS.
    pub(crate) async fn sts(&self, endpoint: &str, form: &str) -> Answer {
        self.sts_at(0, endpoint, form).await
    }

    /// The same by a clock that is so many seconds ahead.
    pub(crate) async fn sts_at(&self, ahead: i64, endpoint: &str, form: &str) -> Answer {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send_at(ahead, "sts", "POST", &format!("{endpoint}/"), &headers, form).await
    }

    /// A URL that reads the object for a minute.
    pub(crate) fn presign(&self, url: &str) -> String {
        let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::UnsignedPayload).unwrap();
        let (signature, _) =
            self.params("s3", SignatureLocation::QueryParams, 0, |params| sign(request, params).unwrap()).into_parts();
        let pairs = signature.params().iter().map(|(name, value)| (*name, value.as_ref()));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        format!("{url}?{query}")
    }
}

/// A request as it stands.
pub(crate) async fn unsigned(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    // One for all, for building one reads every root certificate; it keeps no connection, which would outlive its runtime.
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20));
        client.pool_max_idle_per_host(0).build().unwrap()
    });
    let mut request = CLIENT.request(method.parse().unwrap(), url).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    Answer { status: response.status().as_u16(), body: response.text().await.unwrap() }
}
