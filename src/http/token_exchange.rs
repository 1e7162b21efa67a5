//! The token exchange door: `POST /v1/token`, RFC 8693. The subject token goes in, a credential set comes out as the
//! issued token: the JSON of the leases door, in a string.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::response::Response;
use serde::Serialize;
use time::OffsetDateTime;

use super::answer::Answer;
use super::arrival::Arrival;
use super::fault::{Fault, Invalid};
use super::json::json;
use super::leases::Lease;
use super::oauth_error::OAuthError;
use super::parameters::{self, Parameters};
use super::{Shared, body};
use crate::audit::{Door, Origin};
use crate::exchange::ExchangeRequest;
use crate::policy::RequestedRole;
use crate::token::Unverified;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// What is issued. RFC 8693 section 3 leaves names of other token types to who makes them.
const ISSUED_TOKEN_TYPE: &str = "urn:stint:token-type:s3-credentials";
/// What an OIDC token may be called. Which kind it is, and whether the issuer's block takes that kind, is told by the
/// token itself.
const SUBJECT_TOKEN_TYPES: [&str; 3] = [
    "urn:ietf:params:oauth:token-type:jwt",
    "urn:ietf:params:oauth:token-type:access_token",
    "urn:ietf:params:oauth:token-type:id_token",
];
/// What the door knows. `client_id` says who asks and proves nothing: the token tells the client.
const KNOWN: [&str; 12] = [
    "grant_type",
    "subject_token",
    "subject_token_type",
    "requested_token_type",
    "audience",
    "resource",
    "scope",
    "client_id",
    "duration_seconds",
    "session_policy",
    "session_name",
    "fresh",
];

/// The parameters of a token exchange.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the form in the API document; `read` reads it")]
pub(super) struct TokenExchangeForm {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    grant_type: String,
    /// The OIDC token.
    subject_token: String,
    /// `urn:ietf:params:oauth:token-type:` and `jwt`, `access_token` or `id_token`.
    subject_token_type: String,
    /// `urn:stint:token-type:s3-credentials`, or missing.
    requested_token_type: Option<String>,
    /// A role's name, or an ARN that ends in one; missing here and in `resource`: `any`.
    audience: Option<String>,
    /// The same.
    resource: Option<String>,
    /// Empty or missing.
    scope: Option<String>,
    /// Taken, without effect.
    client_id: Option<String>,
    /// An extension. At least 900; more than the role allows is shortened.
    duration_seconds: Option<i32>,
    /// An extension. An IAM policy that narrows the lease.
    session_policy: Option<String>,
    /// An extension. 2 to 64 characters of `A-Za-z0-9_+=,.@-`; recorded, never relied on.
    session_name: Option<String>,
    /// An extension. Asks for a new lease instead of one handed out before.
    fresh: Option<bool>,
}

/// The answer of RFC 8693 section 2.2.1.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct TokenExchangeAnswer {
    /// The credential set: the JSON that `POST /v1/leases` answers, as a string.
    access_token: String,
    /// `urn:stint:token-type:s3-credentials`.
    issued_token_type: &'static str,
    /// `N_A`: requests are signed with it, it is never sent.
    token_type: &'static str,
    /// The advertised life in seconds.
    expires_in: i64,
}

impl TokenExchangeAnswer {
    fn of(answer: &Answer<'_>, now: OffsetDateTime) -> Self {
        Self {
            access_token: serde_json::to_string(&Lease::from(answer)).unwrap_or_default(),
            issued_token_type: ISSUED_TOKEN_TYPE,
            token_type: "N_A",
            expires_in: (answer.terms.expiration - now).whole_seconds().max(0),
        }
    }
}

/// Token exchange.
#[utoipa::path(
    post,
    path = "/v1/token",
    tag = "doors",
    operation_id = "token_exchange",
    description = "OAuth 2.0 token exchange (RFC 8693). The issued token is a credential set: the JSON of the leases door.",
    request_body(content = TokenExchangeForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Issued", body = TokenExchangeAnswer),
        (status = "4XX", description = "Refused", body = OAuthError),
        (status = "5XX", description = "Come back", body = OAuthError),
    )
)]
pub(super) async fn exchange(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    if body::media_type(&parts.headers) != "application/x-www-form-urlencoded" {
        return Err(Fault::UnsupportedMediaType);
    }
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Invalid::Query.into());
    }
    // Two tokens in one request: whoever is in front might have looked at the other one.
    if parts.headers.contains_key(AUTHORIZATION) {
        return Err(Invalid::ClientCredentials.into());
    }
    let body = body::read(&parts.headers, body).await?;
    let lease = shared.exchange(parse(&body, arrival.at(Door::TokenExchange))?).await?;
    Ok(json(StatusCode::OK, &TokenExchangeAnswer::of(&Answer::from(&lease), shared.doors.clock.now())))
}

fn parse(body: &[u8], origin: Origin) -> Result<ExchangeRequest, Invalid> {
    if several(body, "audience") || several(body, "resource") {
        return Err(Invalid::Targets);
    }
    let parameters = Parameters::parse("", body)?;
    if parameters.get("grant_type") != Some(GRANT_TYPE) {
        return Err(Invalid::GrantType);
    }
    // An ignored `session_policy` that is misspelt would widen the lease: stricter than RFC 6749 section 3.2.
    parameters.names().try_for_each(|name| match name {
        name if KNOWN.contains(&name) => Ok(()),
        "actor_token" | "actor_token_type" => Err(Invalid::ActorToken),
        "client_secret" | "client_assertion" | "client_assertion_type" => Err(Invalid::ClientCredentials),
        _ => Err(Invalid::UnknownParameter),
    })?;
    let token = parameters.get("subject_token").ok_or(Invalid::MissingSubjectToken)?;
    if !parameters.get("subject_token_type").is_some_and(|kind| SUBJECT_TOKEN_TYPES.contains(&kind)) {
        return Err(Invalid::SubjectTokenType);
    }
    if parameters.get("requested_token_type").is_some_and(|kind| kind != ISSUED_TOKEN_TYPE) {
        return Err(Invalid::RequestedTokenType);
    }
    if parameters.get("scope").is_some_and(|scope| !scope.is_empty()) {
        return Err(Invalid::Scope);
    }
    Ok(ExchangeRequest {
        token: Unverified::new(token),
        role: role(parameters.get("audience"), parameters.get("resource"))?,
        duration: parameters.get("duration_seconds").map(parameters::duration).transpose()?,
        session_policy: parameters.get("session_policy").map(str::to_owned),
        session_name: parameters.get("session_name").map(parameters::session_name).transpose()?,
        fresh: parameters.get("fresh").map(truth).transpose()?.unwrap_or(false),
        origin,
    })
}

fn truth(text: &str) -> Result<bool, Invalid> {
    text.parse().map_err(|_| Invalid::Fresh)
}

/// RFC 8693 lets a client name several targets; a lease has one.
fn several(body: &[u8], name: &str) -> bool {
    form_urlencoded::parse(body).filter(|(given, _)| given == name).count() > 1
}

fn role(audience: Option<&str>, resource: Option<&str>) -> Result<RequestedRole, Invalid> {
    match (audience.map(RequestedRole::parse), resource.map(RequestedRole::parse)) {
        (None, None) => Ok(RequestedRole::Any),
        (Some(role), None) | (None, Some(role)) => Ok(role),
        (Some(audience), Some(resource)) if audience == resource => Ok(audience),
        (Some(_), Some(_)) => Err(Invalid::Targets),
    }
}

/// Reads a token exchange as the door does, and says whether it makes an exchange. For fuzzing and checks.
#[must_use]
pub fn read(body: &[u8], origin: Origin) -> Option<ExchangeRequest> {
    parse(body, origin).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer::tests::answer;
    use crate::policy::RoleName;
    use proptest::prelude::*;
    use std::time::Duration;
    use time::macros::datetime;
    use uuid::Uuid;

    const WHOLE: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&audience=studio\
                         &subject_token=a.b.c&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt";

    fn origin() -> Origin {
        Origin { door: Door::TokenExchange, address: None, request_id: Uuid::nil() }
    }

    fn parsed(body: &str) -> Result<ExchangeRequest, Invalid> {
        parse(body.as_bytes(), origin())
    }

    fn added(more: &str) -> Result<ExchangeRequest, Invalid> {
        parsed(&format!("{WHOLE}&{more}"))
    }

    fn studio() -> RequestedRole {
        RequestedRole::Named(RoleName::parse("studio").unwrap())
    }

    #[test]
    fn a_whole_request_asks_for_the_role_of_its_audience() {
        let request = parsed(WHOLE).unwrap();
        assert_eq!(request.role, studio());
        assert_eq!(request.token.digest(), Unverified::new("a.b.c").digest());
        assert_eq!((request.duration, request.session_policy, request.session_name), (None, None, None));
    }

    #[test]
    fn each_kind_of_oidc_token_may_be_named() {
        for kind in ["jwt", "access_token", "id_token"] {
            assert!(parsed(&WHOLE.replace("token-type%3Ajwt", &format!("token-type%3A{kind}"))).is_ok(), "{kind}");
        }
        for kind in ["refresh_token", "saml1", "saml2", "JWT", "jwt ", ""] {
            let body = WHOLE.replace("token-type%3Ajwt", &format!("token-type%3A{kind}"));
            assert_eq!(parsed(&body).unwrap_err(), Invalid::SubjectTokenType, "{kind}");
        }
    }

    #[test]
    fn audience_and_resource_name_one_role_between_them() {
        let arn = "arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fstudio";
        let without = WHOLE.replace("&audience=studio", "");
        assert_eq!(parsed(&without).unwrap().role, RequestedRole::Any);
        assert_eq!(parsed(&format!("{without}&resource={arn}")).unwrap().role, studio());
        assert_eq!(added(&format!("resource={arn}")).unwrap().role, studio());
        assert_eq!(added("resource=studio").unwrap().role, studio());
        for more in ["resource=admin", "resource=", "resource=any", "audience=studio", "audience=admin"] {
            assert_eq!(added(more).unwrap_err(), Invalid::Targets, "{more}");
        }
        assert_eq!(parsed(&format!("{without}&resource=a&resource=a")).unwrap_err(), Invalid::Targets);
        assert_eq!(parsed(&WHOLE.replace("studio", "")).unwrap().role, RequestedRole::Unusable);
    }

    #[test]
    fn everything_optional_is_read() {
        let request = added(
            "duration_seconds=3600&session_policy=%7B%22a+b%22%3A1%7D&session_name=me&fresh=true&scope=&client_id=x\
             &requested_token_type=urn:stint:token-type:s3-credentials",
        )
        .unwrap();
        assert_eq!(request.duration, Some(Duration::from_hours(1)));
        assert_eq!(request.session_policy.as_deref(), Some(r#"{"a b":1}"#));
        assert_eq!((request.session_name.as_deref(), request.fresh), (Some("me"), true));
        assert!(!added("fresh=false").unwrap().fresh);
    }

    #[test]
    fn one_wrong_thing_is_one_refusal() {
        let swap = |from: &str, to: &str| parsed(&WHOLE.replace(from, to)).unwrap_err();
        assert_eq!(parsed("").unwrap_err(), Invalid::GrantType);
        assert_eq!(swap("grant-type%3Atoken-exchange", "client_credentials"), Invalid::GrantType);
        assert_eq!(swap("&subject_token=a.b.c", ""), Invalid::MissingSubjectToken);
        assert_eq!(
            swap("&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt", ""),
            Invalid::SubjectTokenType
        );
        for (more, expected) in [
            ("actor_token=a.b.c&actor_token_type=urn:ietf:params:oauth:token-type:jwt", Invalid::ActorToken),
            ("actor_token=", Invalid::ActorToken),
            ("client_secret=x", Invalid::ClientCredentials),
            ("client_assertion=x", Invalid::ClientCredentials),
            ("scope=s3%3AGetObject", Invalid::Scope),
            ("requested_token_type=urn:ietf:params:oauth:token-type:jwt", Invalid::RequestedTokenType),
            ("requested_token_type=", Invalid::RequestedTokenType),
            ("policy=%7B%7D", Invalid::UnknownParameter),
            ("Session_policy=%7B%7D", Invalid::UnknownParameter),
            ("subject_token=a.b.c", Invalid::DuplicateParameter),
            ("subject%5ftoken=other", Invalid::DuplicateParameter),
            ("duration_seconds=-1", Invalid::Duration),
            ("duration_seconds=", Invalid::Duration),
            ("session_name=a+b", Invalid::SessionName),
            ("fresh=yes", Invalid::Fresh),
            ("fresh=", Invalid::Fresh),
            ("session_policy=%ff", Invalid::NotUtf8),
        ] {
            assert_eq!(added(more).unwrap_err(), expected, "{more}");
        }
    }

    #[test]
    fn the_answer_carries_the_lease_as_a_string() {
        let answer = answer();
        let told = TokenExchangeAnswer::of(&answer, datetime!(2026-11-21 22:10:00 UTC));
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!(json["issued_token_type"], "urn:stint:token-type:s3-credentials");
        assert_eq!((json["token_type"].as_str(), json["expires_in"].as_i64()), (Some("N_A"), Some(3000)));
        let inner: serde_json::Value = serde_json::from_str(json["access_token"].as_str().unwrap()).unwrap();
        assert_eq!(inner, serde_json::to_value(Lease::from(&answer)).unwrap());
        let late = TokenExchangeAnswer::of(&answer, datetime!(2026-11-21 23:10:00 UTC));
        assert_eq!(late.expires_in, 0);
    }

    proptest! {
        #[test]
        fn a_whole_request_with_any_bytes_added_never_changes_what_is_asked(more: Vec<u8>) {
            let body = [WHOLE.as_bytes(), b"&", &more].concat();
            if let Some(request) = read(&body, origin()) {
                prop_assert_eq!(request.role, studio());
                prop_assert_eq!(request.token.digest(), Unverified::new("a.b.c").digest());
            }
        }
    }
}
