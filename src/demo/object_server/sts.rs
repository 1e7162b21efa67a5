//! MinIO's `AssumeRole` and its revocation, as RELEASE.2025-04-22 answers them. The signature was checked before this is
//! called; what is checked here is whose it is, and every parameter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri};
use quick_xml::escape::escape;
use s3s::route::S3Route;
use s3s::{Body, HttpResponse, S3Request, S3Response, S3Result};
use secrecy::ExposeSecret;
use time::format_description::well_known::Rfc3339;

use super::operation;
use super::sessions::{Session, Sessions, letters};
use crate::policy::Document;

const REVOKE: &str = "/minio/admin/v3/revoke-tokens/builtin";
const LONGEST_FORM: usize = 64 * 1024;
/// On the policy as Go's encoder writes it (`cmd/sts-handlers.go`).
const LONGEST_POLICY: usize = 2048;
const LENGTHS: std::ops::RangeInclusive<u64> = 900..=31_536_000;

/// Marks an answer that needs no translation.
#[derive(Debug, Clone, Copy)]
pub(super) struct InItsOwnWords;

/// The route beside S3.
pub(super) struct StsRoute {
    sessions: Arc<Sessions>,
}

/// Why nothing is minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not the parent's signature.
    AccessDenied,
    /// No, or another, version.
    MissingParameter,
    /// Everything else about a parameter.
    InvalidParameterValue(&'static str),
    /// No randomness.
    Internal,
}

/// What a form asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    length: Duration,
    policy: Option<String>,
    revoke_type: Option<String>,
}

/// MinIO routes a request to `AssumeRole` by exactly these.
pub(super) fn asks_sts(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let is_form = headers
        .get(CONTENT_TYPE)
        .is_some_and(|given| given.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    method == Method::POST && uri.path() == "/" && uri.query().is_none_or(str::is_empty) && is_form
}

fn asks_revocation(method: &Method, uri: &Uri) -> bool {
    method == Method::POST && uri.path() == REVOKE
}

impl StsRoute {
    pub(super) fn new(sessions: Arc<Sessions>) -> Self {
        Self { sessions }
    }

    /// The parent's own Version 4 signature for `service`, over a body that was hashed, and no session token.
    fn is_parent(&self, request: &S3Request<Body>, service: &str) -> bool {
        let credentials = request.credentials.as_ref();
        let hash = request.headers.get("x-amz-content-sha256").map(HeaderValue::as_bytes);
        credentials.is_some_and(|credentials| self.sessions.is_parent(&credentials.access_key))
            && request.service.as_deref() == Some(service)
            && request.headers.contains_key("authorization")
            && hash.is_none_or(|hash| hash.len() == 64)
            && !request.headers.contains_key("x-amz-security-token")
    }

    async fn assume_role(&self, mut request: S3Request<Body>) -> Result<Arc<Session>, Fault> {
        if !self.is_parent(&request, "sts") {
            return Err(Fault::AccessDenied);
        }
        // The body is checked against its signed hash while it is read.
        let body = request.input.store_all_limited(LONGEST_FORM).await.map_err(|_| Fault::AccessDenied)?;
        let Asked { length, policy, revoke_type } = parse(&body)?;
        let policy = policy.as_deref().map(session_policy).transpose()?;
        self.sessions.mint(length, policy, revoke_type).map_err(|_| Fault::Internal)
    }

    fn revoke(&self, request: &S3Request<Body>) -> StatusCode {
        let parameters = operation::parameters(request.uri.query().unwrap_or("")).unwrap_or_default();
        let given = |name: &str| parameters.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if !self.is_parent(request, "s3") || given("user").is_none_or(|user| !self.sessions.is_parent(user)) {
            return StatusCode::FORBIDDEN;
        }
        match (given("tokenRevokeType"), given("fullRevoke") == Some("true")) {
            (Some(_), true) | (None, false) => return StatusCode::BAD_REQUEST,
            (revoke_type, _) => self.sessions.revoke(revoke_type),
        }
        StatusCode::NO_CONTENT
    }
}

#[async_trait::async_trait]
impl S3Route for StsRoute {
    fn is_match(&self, method: &Method, uri: &Uri, headers: &HeaderMap, _: &mut Extensions) -> bool {
        asks_sts(method, uri, headers) || asks_revocation(method, uri)
    }

    async fn check_access(&self, _: &mut S3Request<Body>) -> S3Result<()> {
        // `call` checks, and says no in the words of the API that was asked.
        Ok(())
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        if asks_revocation(&request.method, &request.uri) {
            let status = self.revoke(&request);
            return Ok(S3Response::with_status(Body::empty(), status));
        }
        let (parts, body) = match self.assume_role(request).await {
            Ok(session) => response(StatusCode::OK, &success(&session)),
            Err(fault) => fault.response(),
        }
        .into_parts();
        Ok(S3Response {
            output: body,
            status: Some(parts.status),
            headers: parts.headers,
            extensions: parts.extensions,
        })
    }
}

fn parse(body: &[u8]) -> Result<Asked, Fault> {
    let body = std::str::from_utf8(body).map_err(|_| Fault::InvalidParameterValue("the form is not UTF-8"))?;
    let form: BTreeMap<String, String> =
        operation::parameters(body).ok_or(Fault::InvalidParameterValue("a parameter occurs twice"))?;
    let given = |name: &str| form.get(name).cloned().filter(|value| !value.is_empty());
    if given("Version").as_deref() != Some("2011-06-15") {
        return Err(Fault::MissingParameter);
    }
    if given("Action").as_deref() != Some("AssumeRole") {
        return Err(Fault::InvalidParameterValue("Unsupported action"));
    }
    let seconds = given("DurationSeconds").map_or(Ok(3600), |seconds| seconds.parse());
    let seconds = seconds.ok().filter(|seconds| LENGTHS.contains(seconds));
    let seconds = seconds.ok_or(Fault::InvalidParameterValue("DurationSeconds must be 900 to 31536000"))?;
    Ok(Asked { length: Duration::from_secs(seconds), policy: given("Policy"), revoke_type: given("TokenRevokeType") })
}

fn session_policy(text: &str) -> Result<Document, Fault> {
    let document = Document::parse(text.as_bytes())
        .map_err(|_| Fault::InvalidParameterValue("the session policy is not a policy document"))?;
    if size_in_go(&document.to_json().to_string()) > LONGEST_POLICY {
        return Err(Fault::InvalidParameterValue("Session policy should not exceed 2048 characters"));
    }
    Ok(document)
}

/// Go's encoder writes these as six-byte escapes.
fn size_in_go(json: &str) -> usize {
    let escaped = |c| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
    json.chars().map(|c| if escaped(c) { 6 } else { c.len_utf8() }).sum()
}

fn success(session: &Session) -> String {
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
         <Arn></Arn><AssumeRoleId></AssumeRoleId></AssumedRoleUser><Credentials><AccessKeyId>{}</AccessKeyId>\
         <SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>\
         </AssumeRoleResult><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></AssumeRoleResponse>",
        session.access_key,
        session.secret_key.expose_secret(),
        session.token.expose_secret(),
        session.expiration.format(&Rfc3339).unwrap_or_default(),
        letters(16).unwrap_or_default(),
    )
}

fn response(status: StatusCode, xml: &str) -> HttpResponse {
    let mut response = HttpResponse::new(Body::from(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{xml}")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response.extensions_mut().insert(InItsOwnWords);
    response
}

impl Fault {
    /// The error of the STS.
    pub(super) fn response(&self) -> HttpResponse {
        let (status, code, message) = match self {
            Self::AccessDenied => (StatusCode::FORBIDDEN, "AccessDenied", "Access Denied."),
            Self::MissingParameter => {
                (StatusCode::BAD_REQUEST, "MissingParameter", "Invalid STS API version, expecting 2011-06-15")
            }
            Self::InvalidParameterValue(message) => (StatusCode::BAD_REQUEST, "InvalidParameterValue", *message),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "No randomness."),
        };
        let xml = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type></Type><Code>{code}</Code>\
             <Message>{}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
            escape(message),
            letters(16).unwrap_or_default(),
        );
        response(status, &xml)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "Action=AssumeRole&Version=2011-06-15&DurationSeconds=900&RoleSessionName=a&Policy=%7B%7D&TokenRevokeType=l";

    fn asked(from: &str, to: &str) -> Result<Asked, Fault> {
        assert!(GOOD.contains(from));
        parse(GOOD.replace(from, to).as_bytes())
    }

    #[test]
    fn a_whole_form_is_understood() {
        let asked = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(asked.length, Duration::from_mins(15));
        assert_eq!((asked.policy.as_deref(), asked.revoke_type.as_deref()), (Some("{}"), Some("l")));
    }

    #[test]
    fn each_parameter_is_checked_as_minio_checks_it() {
        let invalid = |from, to| matches!(asked(from, to), Err(Fault::InvalidParameterValue(_)));
        assert_eq!(asked("&Version=2011-06-15", ""), Err(Fault::MissingParameter));
        assert_eq!(asked("2011-06-15", "2012-06-15"), Err(Fault::MissingParameter));
        assert!(invalid("AssumeRole", "AssumeRoleWithWebIdentity"));
        assert!(
            invalid("=900", "=899")
                && invalid("=900", "=31536001")
                && invalid("=900", "=-900")
                && invalid("=900", "=1h")
        );
        assert_eq!(asked("=900", "=31536000").unwrap().length, Duration::from_hours(8760));
        assert_eq!(asked("&DurationSeconds=900", "").unwrap().length, Duration::from_hours(1));
        assert!(invalid("&RoleSessionName=a", "&Action=AssumeRole"));
        assert!(parse(b"\xff").is_err());
    }

    #[test]
    fn only_the_one_form_is_routed_to_assume_role() {
        let mut form = HeaderMap::new();
        form.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"));
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        assert!(asks_sts(&Method::POST, &uri("/"), &form));
        assert!(!asks_sts(&Method::POST, &uri("/?Action=AssumeRole"), &form));
        assert!(!asks_sts(&Method::POST, &uri("/bucket"), &form));
        assert!(!asks_sts(&Method::GET, &uri("/"), &form));
        assert!(!asks_sts(&Method::POST, &uri("/"), &HeaderMap::new()));
    }

    #[test]
    fn the_size_is_counted_as_go_writes_it() {
        assert_eq!(size_in_go("a<b>&"), 2 + 18);
    }
}
