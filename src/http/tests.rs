//! The router with a scripted exchange behind it: what every door answers to every fault.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tower::ServiceExt;

use super::oauth_error::OAuthCode;
use super::problem_code::ProblemCode;
use super::sts_error::StsCode;
use super::*;
use crate::audit::AuditError;
use crate::clock::SystemClock;
use crate::lease::LeaseError;
use crate::object_server::ObjectServerError;
use crate::policy::RoleName;
use crate::token::{TokenReason, TokenRefusal, Unverified};

const FORM: &str = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&WebIdentityToken=planted.planted.planted";

const TOKEN_FORM: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=planted.planted.planted\
                          &subject_token_type=urn:ietf:params:oauth:token-type:jwt&audience=studio";

type Script = Box<dyn Fn(&ExchangeRequest) -> Refusal + Send + Sync>;

/// Answers every exchange with what its script says.
struct Scripted(Script);

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

#[async_trait]
impl Exchanges for Scripted {
    async fn exchange(&self, request: ExchangeRequest) -> Result<IssuedLease, Refusal> {
        Err(self.0(&request))
    }
}

/// Never answers.
#[derive(Debug)]
struct Hanging;

#[async_trait]
impl Exchanges for Hanging {
    async fn exchange(&self, _request: ExchangeRequest) -> Result<IssuedLease, Refusal> {
        std::future::pending().await
    }
}

#[derive(Debug)]
struct Ready(Vec<(&'static str, bool)>);

#[async_trait]
impl Readiness for Ready {
    async fn check(&self) -> Vec<Check> {
        self.0.iter().map(|(name, ready)| Check { name: (*name).to_owned(), ready: *ready, essential: true }).collect()
    }
}

/// Answers no question.
#[derive(Debug)]
struct Unasked;

#[async_trait]
impl Inquiries for Unasked {
    async fn inquire(&self, _request: InquiryRequest) -> Result<Answer, InquiryRefusal> {
        Err(InquiryRefusal::Busy)
    }

    async fn leases(&self, _request: LeaseInquiry) -> Result<LeaseAnswer, InquiryRefusal> {
        Err(InquiryRefusal::Busy)
    }

    async fn export(&self, _request: InquiryRequest) -> Result<Export, InquiryRefusal> {
        Err(InquiryRefusal::Busy)
    }
}

#[async_trait]
impl Revocations for Unasked {
    async fn end_lease(&self, _request: DeskRequest, _lease: LeaseId) -> Result<Ended, DeskRefusal> {
        Err(DeskRefusal::NotPermitted)
    }

    async fn revoke(&self, _request: DeskRequest, _selection: Selection) -> Result<Receiver<Told>, DeskRefusal> {
        Err(DeskRefusal::NotPermitted)
    }
}

#[async_trait]
impl Freezing for Unasked {
    async fn set(&self, _request: DeskRequest, _frozen: Frozen) -> Result<Freeze, FreezeRefusal> {
        Err(FreezeRefusal::NotPermitted)
    }

    async fn lift(&self, _request: DeskRequest, _id: FreezeId) -> Result<Freeze, FreezeRefusal> {
        Err(FreezeRefusal::NotPermitted)
    }

    async fn list(&self, _request: DeskRequest) -> Result<Arc<Freezes>, FreezeRefusal> {
        Err(FreezeRefusal::NotPermitted)
    }
}

fn doors(exchange: Arc<dyn Exchanges>) -> Doors {
    Doors {
        exchange,
        inquiry: Arc::new(Unasked),
        callers: Callers::new(Arc::default(), Arc::new(SystemClock::start())),
        desk: Arc::new(Unasked),
        freezes: Arc::new(Unasked),
        break_glass: None,
        readiness: Arc::new(Ready(vec![("log", true), ("object_server", true)])),
        metrics: Arc::new(Metrics::default()),
        clock: Arc::new(SystemClock::start()),
        rng: Mutex::new(StdRng::seed_from_u64(1)),
        trusted_proxies: Vec::new(),
        max_concurrent_exchanges: 4,
        deadline: Duration::from_secs(10),
        tasks: TaskTracker::new(),
        public_url: None,
    }
}

fn refusing(script: impl Fn(&ExchangeRequest) -> Refusal + Send + Sync + 'static) -> Router {
    router(doors(Arc::new(Scripted(Box::new(script)))))
}

fn log_down(_: &ExchangeRequest) -> Refusal {
    Refusal::Audit(AuditError::Unavailable)
}

fn bad_token(request: &ExchangeRequest) -> Refusal {
    TokenRefusal { reason: TokenReason::Malformed, digest: request.token.digest(), signed: None }.into()
}

struct Seen {
    status: u16,
    headers: axum::http::HeaderMap,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    /// The problem's code, once everything that must hold of a problem was checked.
    fn problem(&self) -> String {
        let json = self.json();
        assert_eq!(json["status"], self.status);
        assert_eq!(json["request_id"], self.header("x-request-id"));
        let code = json["code"].as_str().unwrap().to_owned();
        assert_eq!(json["type"], format!("urn:stint:problem:{code}"));
        code
    }

    /// The STS code, once everything that must hold of an STS error was checked.
    fn sts_code(&self) -> String {
        assert_eq!(self.header("content-type"), "text/xml");
        assert_eq!(self.header("x-amzn-requestid"), self.header("x-request-id"));
        let start = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>";
        assert!(self.body.starts_with(start), "{}", self.body);
        let id = format!("<RequestId>{}</RequestId></ErrorResponse>", self.header("x-request-id"));
        assert!(self.body.ends_with(&id), "{}", self.body);
        let (_, rest) = self.body.split_once("<Code>").unwrap();
        rest.split_once("</Code>").unwrap().0.to_owned()
    }
}

async fn seen(response: Response) -> Seen {
    let (parts, body) = response.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let seen = Seen { status: parts.status.as_u16(), headers: parts.headers, body };
    // Of every answer, whatever it is.
    assert_eq!(seen.header("cache-control"), "no-store");
    assert_eq!(seen.header("x-request-id").parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
    assert!(!seen.body.contains("planted"), "{}", seen.body);
    seen
}

async fn ask(router: &Router, method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Seen {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    seen(router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()).await
}

const BEARER: (&str, &str) = ("authorization", "Bearer planted.planted.planted");
const URLENCODED: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn each_transport_of_each_door_reaches_the_exchange() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&asked);
    let router = refusing(move |request| {
        assert_eq!(request.token.digest(), Unverified::new("planted.planted.planted").digest());
        record.lock().unwrap().push(request.origin.door.as_str());
        log_down(request)
    });
    let query = format!("/?{FORM}");
    for (method, uri, headers, body) in [
        ("POST", "/", &[URLENCODED][..], FORM),
        ("POST", &query, &[], ""),
        ("GET", &query, &[], ""),
        ("POST", "/v1/leases", &[BEARER], ""),
        ("POST", "/v1/leases", &[BEARER, JSON], r#"{"role":"studio"}"#),
        ("GET", "/v1/roles/studio/credentials", &[BEARER], ""),
        ("GET", "/v1/roles/any/credentials", &[("authorization", "planted.planted.planted")], ""),
        ("POST", "/v1/token", &[URLENCODED], TOKEN_FORM),
    ] {
        let seen = ask(&router, method, uri, headers, body.to_owned()).await;
        assert_eq!(seen.status, 503, "{method} {uri}: {}", seen.body);
        assert_eq!(seen.header("retry-after"), "2");
    }
    let asked = asked.lock().unwrap();
    assert_eq!(*asked, ["sts", "sts", "sts", "leases", "leases", "container", "container", "token_exchange"]);
}

#[tokio::test]
async fn a_refused_token_is_told_in_each_doors_own_form_and_without_a_cause() {
    let router = refusing(bad_token);
    let sts = ask(&router, "POST", "/", &[URLENCODED], FORM).await;
    assert_eq!((sts.status, sts.sts_code().as_str()), (400, "InvalidIdentityToken"));
    assert!(sts.body.contains("<Type>Sender</Type>") && sts.body.contains("<Message>The token was refused.</Message>"));

    let leases = ask(&router, "POST", "/v1/leases", &[BEARER], "").await;
    assert_eq!((leases.status, leases.problem().as_str()), (401, "invalid_token"));
    assert_eq!(leases.header("content-type"), "application/problem+json");
    assert_eq!(leases.header("www-authenticate"), r#"Bearer error="invalid_token""#);
    assert!(leases.json().get("detail").is_none());

    let container = ask(&router, "GET", "/v1/roles/studio/credentials", &[BEARER], "").await;
    assert_eq!((container.status, container.problem().as_str()), (401, "invalid_token"));
    assert_eq!(container.header("content-type"), "application/json");
    assert_eq!(container.json()["Code"], "invalid_token");
    assert_eq!(container.json()["Message"], "The token was refused");
    assert_eq!(container.json()["message"], "The token was refused");
}

#[tokio::test]
async fn a_missing_token_is_no_invalid_one() {
    let router = refusing(bad_token);
    let seen = ask(&router, "POST", "/v1/leases", &[], "").await;
    assert_eq!((seen.status, seen.problem().as_str()), (401, "missing_token"));
    assert_eq!(seen.header("www-authenticate"), "Bearer");
    let seen = ask(&router, "POST", "/v1/leases", &[BEARER, BEARER], "").await;
    assert_eq!((seen.status, seen.problem().as_str()), (401, "invalid_token"));
}

#[tokio::test]
async fn what_is_not_there_is_told_in_the_form_of_who_asks() {
    let router = refusing(log_down);
    let seen = ask(&router, "GET", "/nowhere", &[], "").await;
    assert_eq!((seen.status, seen.problem().as_str()), (404, "not_found"));
    let seen = ask(&router, "POST", "/sts/v1", &[URLENCODED], FORM).await;
    assert_eq!((seen.status, seen.sts_code().as_str()), (404, "NotFound"));
    let seen = ask(&router, "GET", &format!("/sts/v1?{FORM}"), &[], "").await;
    assert_eq!((seen.status, seen.sts_code().as_str()), (404, "NotFound"));
    let seen = ask(&router, "DELETE", "/", &[], "").await;
    assert_eq!((seen.status, seen.sts_code().as_str()), (405, "MethodNotAllowed"));
    assert!(seen.header("allow").contains("POST"), "{:?}", seen.headers);
    let seen = ask(&router, "PUT", "/v1/leases", &[BEARER], "").await;
    assert_eq!((seen.status, seen.problem().as_str()), (405, "method_not_allowed"));
    assert!(seen.header("allow").contains("POST") && seen.header("allow").contains("GET"), "{:?}", seen.headers);
}

#[tokio::test]
async fn head_mints_nothing() {
    let router = refusing(|_| panic!("an exchange ran"));
    for uri in [&format!("/?{FORM}"), "/v1/roles/any/credentials"] {
        assert_eq!(ask(&router, "HEAD", uri, &[BEARER], "").await.status, 405);
    }
}

#[tokio::test]
async fn bad_requests_never_reach_the_exchange() {
    let router = refusing(|_| panic!("an exchange ran"));
    let json = [("content-type", "application/x-amz-json-1.1")];
    let twice = format!("{FORM}&WebIdentityToken=other");
    for (headers, body, status, code) in [
        (&[URLENCODED][..], "", 400, "MissingAction"),
        (&[URLENCODED], "Action=GetSessionToken&Version=2011-06-15", 400, "InvalidAction"),
        (&[URLENCODED], &twice, 400, "ValidationError"),
        (&[URLENCODED], "Action=AssumeRoleWithWebIdentity&Version=2011-06-15", 400, "ValidationError"),
        (&[JSON], "{}", 415, "UnsupportedMediaType"),
        (&json, "{}", 415, "UnsupportedMediaType"),
    ] {
        let seen = ask(&router, "POST", "/", headers, body.to_owned()).await;
        assert_eq!((seen.status, seen.sts_code().as_str()), (status, code), "{body}");
    }
    let seen = ask(&router, "POST", "/v1/leases", &[BEARER, JSON], r#"{"Role":"a"}"#).await;
    assert_eq!((seen.status, seen.problem().as_str()), (400, "invalid_request"));
    assert!(seen.json()["detail"].as_str().unwrap().contains("line 1, column"), "{}", seen.body);
    let seen = ask(&router, "POST", "/v1/leases", &[BEARER, URLENCODED], "{}").await;
    assert_eq!((seen.status, seen.problem().as_str()), (415, "unsupported_media_type"));
}

#[tokio::test]
async fn who_signs_with_an_unknown_key_is_told_so_in_awss_codes_and_counted() {
    let doors = doors(Arc::new(Scripted(Box::new(|_| panic!("an exchange ran")))));
    let metrics = Arc::clone(&doors.metrics);
    let router = router(doors);
    let form = "Action=GetCallerIdentity&Version=2011-06-15";
    let signed = "AWS4-HMAC-SHA256 Credential=planted/20261122/us-east-1/sts/aws4_request, SignedHeaders=host;x-amz-date, \
                  Signature=0123";
    let date = ("x-amz-date", "20261122T100000Z");
    let host = ("host", "stint.example");
    let more = format!("{form}&RoleArn=x");
    for (headers, body, status, code) in [
        (&[URLENCODED, host][..], form, 403, "MissingAuthenticationToken"),
        (&[URLENCODED, host, BEARER], form, 400, "IncompleteSignature"),
        (&[URLENCODED, host, ("authorization", signed)], form, 400, "IncompleteSignature"),
        (&[URLENCODED, host, ("authorization", signed), date], form, 403, "InvalidClientTokenId"),
        (&[URLENCODED, host, ("authorization", signed), date], &more, 400, "ValidationError"),
    ] {
        let seen = ask(&router, "POST", "/", headers, body.to_owned()).await;
        assert_eq!((seen.status, seen.sts_code().as_str()), (status, code), "{headers:?}");
    }
    let text = metrics.encode();
    assert!(text.contains(r#"door="sts",outcome="refused",reason="caller_unknown_key"} 1"#), "{text}");
}

#[tokio::test]
async fn a_token_exchange_is_refused_in_the_words_of_oauth() {
    let told = |seen: &Seen| {
        let json = seen.json();
        assert_eq!(seen.header("content-type"), "application/json");
        assert_eq!((seen.header("pragma"), seen.header("cache-control")), ("no-cache", "no-store"));
        assert_eq!(json["request_id"], seen.header("x-request-id"));
        assert!(json["error_description"].as_str().is_some_and(|said| !said.is_empty()));
        (seen.status, json["error"].as_str().unwrap().to_owned(), json["code"].as_str().unwrap().to_owned())
    };
    let expected = |status, error: &str, code: &str| (status, error.to_owned(), code.to_owned());

    let router = refusing(bad_token);
    let seen = ask(&router, "POST", "/v1/token", &[URLENCODED], TOKEN_FORM).await;
    assert_eq!(told(&seen), expected(400, "invalid_request", "invalid_token"));
    assert_eq!(seen.json()["error_description"], "The token was refused");

    let router = refusing(log_down);
    let seen = ask(&router, "POST", "/v1/token", &[URLENCODED], TOKEN_FORM).await;
    assert_eq!(told(&seen), expected(503, "temporarily_unavailable", "log_unavailable"));
    assert_eq!(seen.header("retry-after"), "2");

    let router = refusing(|_| {
        let choices = ["audit", "studio"].map(|role| RoleName::parse(role).unwrap()).to_vec();
        LeaseError::RolesDoNotFit { choices }.into()
    });
    let seen = ask(&router, "POST", "/v1/token", &[URLENCODED], TOKEN_FORM).await;
    assert_eq!(told(&seen), expected(400, "invalid_target", "roles_do_not_fit"));
    assert!(seen.json()["error_description"].as_str().unwrap().ends_with("audit, studio."));

    let router = refusing(|_| panic!("an exchange ran"));
    let two = format!("{TOKEN_FORM}&resource=admin");
    let scope = format!("{TOKEN_FORM}&scope=all");
    let query = format!("/v1/token?{TOKEN_FORM}");
    let large = "a".repeat(64 * 1024 + 1);
    for (method, uri, headers, body, outcome) in [
        ("POST", "/v1/token", &[URLENCODED][..], "", (400, "unsupported_grant_type", "invalid_request")),
        ("POST", "/v1/token", &[URLENCODED], &two, (400, "invalid_target", "invalid_request")),
        ("POST", "/v1/token", &[URLENCODED], &scope, (400, "invalid_scope", "invalid_request")),
        ("POST", &query, &[URLENCODED], "", (400, "invalid_request", "invalid_request")),
        ("POST", "/v1/token", &[URLENCODED, BEARER], TOKEN_FORM, (400, "invalid_request", "invalid_request")),
        ("POST", "/v1/token", &[JSON], "{}", (415, "invalid_request", "unsupported_media_type")),
        ("POST", "/v1/token", &[], TOKEN_FORM, (415, "invalid_request", "unsupported_media_type")),
        ("POST", "/v1/token", &[URLENCODED], &large, (413, "invalid_request", "body_too_large")),
        ("GET", "/v1/token", &[], "", (405, "invalid_request", "method_not_allowed")),
    ] {
        let seen = ask(&router, method, uri, headers, body.to_owned()).await;
        assert_eq!(told(&seen), expected(outcome.0, outcome.1, outcome.2), "{method} {uri} {headers:?}");
    }
}

#[tokio::test]
async fn the_container_door_tells_sdks_of_every_fault_in_the_members_they_print() {
    let told = |seen: &Seen| {
        let json = seen.json();
        assert_eq!(seen.header("content-type"), "application/json");
        assert_eq!(json["Code"], json["code"]);
        assert!(json["Message"].as_str().is_some_and(|said| !said.is_empty()) && json["Message"] == json["message"]);
        (seen.status, seen.problem())
    };
    let expected = |status, code: &str| (status, code.to_owned());
    let router = refusing(|_| panic!("an exchange ran"));
    let place = "/v1/roles/studio/credentials";
    for (method, uri, headers, outcome) in [
        ("GET", place, &[][..], (401, "missing_token")),
        ("GET", place, &[BEARER, BEARER], (401, "invalid_token")),
        ("GET", place, &[("authorization", "Basic planted")], (401, "invalid_token")),
        ("GET", "/v1/roles/studio/credentials?session_policy=planted", &[BEARER], (400, "invalid_request")),
        ("POST", place, &[BEARER], (405, "method_not_allowed")),
        ("PUT", place, &[BEARER], (405, "method_not_allowed")),
        ("DELETE", "/v1/roles/studio/credentials/", &[BEARER], (405, "method_not_allowed")),
        ("GET", "/v1/roles/studio", &[BEARER], (404, "not_found")),
        ("GET", "/v1/roles/arn:aws:iam::000000000000:role/studio/credentials", &[BEARER], (404, "not_found")),
    ] {
        let seen = ask(&router, method, uri, headers, "").await;
        assert_eq!(told(&seen), expected(outcome.0, outcome.1), "{method} {uri}");
    }
    for uri in [place, "/v1/roles/studio/credentials/"] {
        let seen = ask(&router, "HEAD", uri, &[BEARER], "").await;
        assert_eq!((seen.status, seen.header("content-type")), (405, "application/json"));
    }
}

#[tokio::test]
async fn the_container_door_reads_the_role_of_a_path_however_it_is_written() {
    let router = refusing(|request| {
        assert_eq!(request.role, crate::policy::RequestedRole::parse("studio"));
        log_down(request)
    });
    let token = ("authorization", "planted.planted.planted");
    for uri in [
        "/v1/roles/studio/credentials",
        "/v1/roles/studio/credentials/",
        "/v1/roles/studio/credentials?",
        "/v1/roles/%73tudio/credentials",
        "/v1/roles/arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fstudio/credentials",
    ] {
        assert_eq!(ask(&router, "GET", uri, &[token], "").await.status, 503, "{uri}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let router = refusing(log_down);
    let large = "a".repeat(64 * 1024 + 1);
    let announced = large.len().to_string();
    for headers in [&[URLENCODED][..], &[URLENCODED, ("content-length", &announced)]] {
        let seen = ask(&router, "POST", "/", headers, large.clone()).await;
        assert_eq!((seen.status, seen.sts_code().as_str()), (413, "RequestEntityTooLarge"));
    }
    let seen = ask(&router, "POST", "/v1/leases", &[BEARER, JSON], large).await;
    assert_eq!((seen.status, seen.problem().as_str()), (413, "body_too_large"));
    let fits = format!("{FORM}&Policy={}", "a".repeat(64 * 1024 - FORM.len() - 8));
    let seen = ask(&router, "POST", "/", &[URLENCODED], fits).await;
    assert_eq!((seen.status, seen.sts_code().as_str()), (400, "ValidationError"));
    let json = |policy: &str| format!(r#"{{"session_policy": "{policy}"}}"#);
    let fits = json(&"a".repeat(64 * 1024 - json("").len()));
    assert_eq!(ask(&router, "POST", "/v1/leases", &[BEARER, JSON], fits).await.status, 503);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_not_waited_for() {
    let router = refusing(log_down);
    let endless = || Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let seen = ask(&router, "POST", "/", &[URLENCODED], endless()).await;
    assert_eq!((seen.status, seen.sts_code().as_str()), (408, "RequestTimeout"));
    let seen = ask(&router, "POST", "/v1/leases", &[BEARER], endless()).await;
    assert_eq!((seen.status, seen.problem().as_str()), (408, "request_timeout"));
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_hangs_is_a_fault_of_ours() {
    let router = router(doors(Arc::new(Hanging)));
    let seen = ask(&router, "POST", "/", &[URLENCODED], FORM).await;
    assert_eq!((seen.status, seen.sts_code().as_str()), (503, "Throttling"));
    assert_eq!((seen.header("retry-after"), seen.header("x-amz-retry-after")), ("2", "2000"));
    let seen = ask(&router, "POST", "/v1/leases", &[BEARER], "").await;
    assert_eq!((seen.status, seen.problem().as_str()), (504, "timed_out"));
    assert_eq!(seen.header("retry-after"), "2");
}

#[tokio::test(start_paused = true)]
async fn one_exchange_too_many_is_turned_away_at_once() {
    let doors = doors(Arc::new(Hanging));
    let metrics = Arc::clone(&doors.metrics);
    let router = router(doors);
    let hang = || ask(&router, "POST", "/v1/leases", &[BEARER], "");
    let too_many = async {
        tokio::task::yield_now().await;
        let clock = SystemClock::start();
        let seen = ask(&router, "POST", "/", &[URLENCODED], FORM).await;
        assert_eq!((seen.status, seen.sts_code().as_str()), (503, "Throttling"));
        assert!(clock.elapsed() < std::time::Duration::from_secs(1));
    };
    tokio::join!(hang(), hang(), hang(), hang(), too_many);
    let text = metrics.encode();
    assert!(text.contains(r#"stint_exchanges_total{door="sts",outcome="refused",reason="overloaded"} 1"#), "{text}");
    assert!(text.contains("stint_http_requests_in_flight 0\n"), "{text}");
}

#[tokio::test]
async fn a_caller_who_hangs_up_is_on_record() {
    let doors = doors(Arc::new(Hanging));
    let metrics = Arc::clone(&doors.metrics);
    let router = router(doors);
    let mut asking = Box::pin(ask(&router, "POST", "/v1/leases", &[BEARER], ""));
    assert!(futures::poll!(&mut asking).is_pending());
    assert!(metrics.encode().contains("stint_http_requests_in_flight 1\n"));
    drop(asking);
    let text = metrics.encode();
    assert!(text.contains(r#"stint_http_request_duration_seconds_count{route="/v1/leases",status="499"} 1"#), "{text}");
    assert!(text.contains("stint_http_requests_in_flight 0\n"), "{text}");
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_make_room_for_another_exchange() {
    let router = router(doors(Arc::new(Hanging)));
    for _ in 0..4 {
        let mut asking = Box::pin(ask(&router, "POST", "/v1/leases", &[BEARER], ""));
        assert!(futures::poll!(&mut asking).is_pending());
    }
    let seen = ask(&router, "POST", "/v1/leases", &[BEARER], "").await;
    assert_eq!((seen.status, seen.problem().as_str()), (503, "overloaded"));
}

#[tokio::test]
async fn a_panic_is_told_in_the_doors_own_form() {
    let router = refusing(|_| panic!("planted"));
    let seen = ask(&router, "POST", "/", &[URLENCODED], FORM).await;
    assert_eq!((seen.status, seen.sts_code().as_str()), (500, "InternalFailure"));
    let seen = ask(&router, "POST", "/v1/leases", &[BEARER], "").await;
    assert_eq!((seen.status, seen.problem().as_str()), (500, "internal"));
}

#[tokio::test]
async fn roles_that_do_not_fit_are_named() {
    let router = refusing(|_| {
        let choices = ["audit", "studio"].map(|role| RoleName::parse(role).unwrap()).to_vec();
        LeaseError::RolesDoNotFit { choices }.into()
    });
    let seen = ask(&router, "POST", "/v1/leases", &[BEARER], "").await;
    assert_eq!((seen.status, seen.problem().as_str()), (400, "roles_do_not_fit"));
    assert_eq!(seen.json()["choices"], serde_json::json!(["audit", "studio"]));
    let seen = ask(&router, "POST", "/", &[URLENCODED], FORM).await;
    assert_eq!((seen.status, seen.sts_code().as_str()), (400, "PackedPolicyTooLarge"));
    assert!(seen.body.contains("name one of: audit, studio."), "{}", seen.body);
}

#[tokio::test]
async fn faults_of_the_log_and_the_object_server_are_never_blamed_on_the_caller() {
    type Make = fn() -> Refusal;
    let faults: [(Make, &str, u16, &str); 8] = [
        (|| AuditError::Deadline.into(), "Throttling", 503, "log_unavailable"),
        (|| AuditError::Overloaded.into(), "Throttling", 503, "log_unavailable"),
        (|| AuditError::Unavailable.into(), "Throttling", 503, "log_unavailable"),
        (|| ObjectServerError::NotReady.into(), "Throttling", 503, "object_server_unavailable"),
        (|| ObjectServerError::Interrupted(None).into(), "Throttling", 503, "object_server_unavailable"),
        (
            || ObjectServerError::Refused { status: 403, code: "planted".to_owned() }.into(),
            "Throttling",
            503,
            "object_server_unavailable",
        ),
        (|| ObjectServerError::Nonsense { what: "planted" }.into(), "Throttling", 503, "object_server_unavailable"),
        (|| ObjectServerError::ReceiptMismatch.into(), "InternalFailure", 500, "internal"),
    ];
    for (make, sts_code, status, code) in faults {
        let router = refusing(move |_| make());
        let sts = ask(&router, "POST", "/", &[URLENCODED], FORM).await;
        assert_eq!((sts.status, sts.sts_code().as_str()), (status, sts_code));
        assert!(sts.body.contains("<Type>Receiver</Type>"));
        let leases = ask(&router, "POST", "/v1/leases", &[BEARER], "").await;
        assert_eq!((leases.status, leases.problem().as_str()), (status, code));
        let container = ask(&router, "GET", "/v1/roles/team/credentials", &[BEARER], "").await;
        assert_eq!(container.status, status);
        for seen in [sts, leases, container] {
            assert_eq!(!seen.header("retry-after").is_empty(), status == 503, "{}", seen.body);
        }
    }
}

#[tokio::test]
async fn readiness_shows_names_and_booleans() {
    let mut not_ready = doors(Arc::new(Hanging));
    not_ready.readiness = Arc::new(Ready(vec![("log", true), ("issuer.authentik", false)]));
    let seen = ask(&router(not_ready), "GET", "/health/ready", &[], "").await;
    assert_eq!(seen.status, 503);
    assert_eq!(
        seen.body,
        r#"{"ready":false,"checks":[{"name":"log","ready":true},{"name":"issuer.authentik","ready":false}]}"#
    );
    let ready = router(doors(Arc::new(Hanging)));
    assert_eq!(ask(&ready, "GET", "/health/ready", &[], "").await.status, 200);
    assert_eq!(ask(&ready, "GET", "/health/live", &[], "").await.status, 200);
}

#[tokio::test]
async fn metrics_and_the_api_document_are_served() {
    let router = refusing(bad_token);
    ask(&router, "POST", "/", &[URLENCODED], FORM).await;
    let seen = ask(&router, "GET", "/metrics", &[], "").await;
    assert!(seen.header("content-type").starts_with("application/openmetrics-text"));
    let line = r#"stint_http_request_duration_seconds_count{route="/",status="400"} 1"#;
    assert!(seen.body.contains(line), "{}", seen.body);
    let seen = ask(&router, "GET", "/openapi.json", &[], "").await;
    assert_eq!(seen.body, document(None));
}

#[tokio::test]
async fn an_address_behind_a_trusted_proxy_is_put_on_record() {
    let addresses = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&addresses);
    let mut doors = doors(Arc::new(Scripted(Box::new(move |request| {
        record.lock().unwrap().push(request.origin.address.map(|address| address.to_string()));
        log_down(request)
    }))));
    doors.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let router = router(doors);
    for peer in ["10.0.0.1:1", "192.0.2.1:1"] {
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        let request = Request::post("/v1/leases")
            .header("authorization", BEARER.1)
            .header("x-forwarded-for", "198.51.100.7")
            .extension(axum::extract::ConnectInfo(peer));
        seen(router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await;
    }
    let expected = ["198.51.100.7", "192.0.2.1"].map(|address| Some(address.to_owned()));
    assert_eq!(*addresses.lock().unwrap(), expected);
}

/// Collects log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything at every level, from the libraries too: more than any setting of `log` lets through.
#[tokio::test]
async fn no_secret_is_logged_at_any_level_whatever_door_it_is_brought_to() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let _second = crate::telemetry::second_subscriber();
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .finish();
    let _capturing = tracing::subscriber::set_default(subscriber);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let router = refusing(bad_token);
    let serving = serve(listener, None, router, shutdown.clone(), std::time::Duration::from_secs(5));
    let form = format!("{FORM}&Policy=planted&RoleSessionName=planted");
    let knocking = async {
        for (line, header, body) in [
            ("POST /", "accept: */*", form.as_str()),
            (&format!("GET /?{form}"), "accept: */*", ""),
            (&format!("POST /?{form}"), "accept: */*", form.as_str()),
            (&format!("GET /planted?{form}"), "authorization: Bearer planted", ""),
            ("PLANTED /", "x-request-id: planted", ""),
            ("POST /v1/leases", "authorization: Bearer planted", r#"{"planted": 1}"#),
            ("POST /v1/leases", "authorization: Planted planted", ""),
            ("POST /v1/token", "content-type: application/x-www-form-urlencoded", TOKEN_FORM),
            (&format!("POST /v1/token?{TOKEN_FORM}"), "content-type: application/x-www-form-urlencoded", TOKEN_FORM),
            ("GET /v1/roles/planted/credentials", "authorization: planted", ""),
            ("GET /v1/roles/%ff/credentials?planted", "authorization: planted\r\nauthorization: planted", ""),
        ] {
            let length = body.len();
            let head = format!("{line} HTTP/1.1\r\n{header}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
            assert!(!answer.to_lowercase().contains("planted"), "{answer}");
        }
        shutdown.cancel();
    };
    let (served, ()) = tokio::join!(serving, knocking);
    served.unwrap();

    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(lines.contains("request answered") && lines.contains("request refused"), "{lines}");
    let leaks: Vec<&str> = lines.lines().filter(|line| line.to_lowercase().contains("planted")).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[test]
fn the_api_page_lists_exactly_the_codes_there_are() {
    let page = include_str!("../../docs/api.md");
    let table = |heading: &str| -> Vec<(String, String)> {
        let (_, section) = page.split_once(heading).unwrap_or_else(|| panic!("{heading} is missing"));
        let rows =
            section.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with("| `"));
        let mut rows: Vec<_> = rows
            .map(|row| {
                let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).skip(1);
                (cells.next().unwrap(), cells.next().unwrap())
            })
            .collect();
        rows.sort();
        rows
    };
    let mut problems: Vec<_> =
        ProblemCode::ALL.iter().map(|c| (c.as_str().to_owned(), c.status().as_u16().to_string())).collect();
    problems.sort();
    assert_eq!(table("## Problem codes"), problems);
    let mut sts: Vec<_> =
        StsCode::ALL.iter().map(|c| (c.as_str().to_owned(), c.status().as_u16().to_string())).collect();
    sts.sort();
    assert_eq!(table("## STS codes"), sts);
    for code in ProblemCode::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
    let mut oauth: Vec<_> = OAuthCode::ALL.iter().map(|c| serde_json::to_value(c).unwrap()).collect();
    oauth.sort_by_key(ToString::to_string);
    let listed: Vec<_> = table("## Token exchange codes").into_iter().map(|(code, _)| code).collect();
    assert_eq!(listed, oauth);
}
