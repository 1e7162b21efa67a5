//! The JSON door: `POST /v1/leases`. Strict: an unknown or repeated member is refused, for a misspelt `session_policy`
//! that is ignored would widen the lease.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use uuid::Uuid;

use super::answer::{Answer, timestamp};
use super::arrival::Arrival;
use super::fault::{Fault, Invalid};
use super::json::json;
use super::problem::ProblemDetails;
use super::{Shared, authorization, body, parameters};
use crate::audit::{Door, Origin};
use crate::exchange::ExchangeRequest;
use crate::policy::RequestedRole;
use crate::token::Unverified;

/// What is asked for. Every member may be missing, and so may the whole body.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseRequest {
    /// A role's name, or an ARN that ends in one; missing: `any`, which stands for all roles that match.
    role: Option<String>,
    /// At least 900; more than the role allows is shortened.
    duration_seconds: Option<u64>,
    /// An IAM policy that narrows the lease: an object, or a string that holds one.
    #[schema(schema_with = object_or_string)]
    session_policy: Option<Box<RawValue>>,
    /// 2 to 64 characters of `A-Za-z0-9_+=,.@-`; recorded, never relied on.
    session_name: Option<String>,
    /// Asks for a new lease instead of one handed out before to the same holder.
    fresh: Option<bool>,
}

fn object_or_string() -> Schema {
    let kinds = [Type::Object, Type::String, Type::Null];
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter(kinds))
        .description(Some("An IAM policy that narrows the lease: an object, or a string that holds one."))
        .into()
}

/// An issued lease.
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Lease<'a> {
    /// Finds the lease in the log; part of the session name that the object server logs.
    lease_id: Uuid,
    /// The role granted, or `any` where several were combined.
    role: &'a str,
    /// What S3 requests are signed with.
    credentials: Credentials<'a>,
    /// When the lease was made, RFC 3339.
    #[schema(format = DateTime)]
    issued_at: String,
    /// When to ask again, RFC 3339.
    #[schema(format = DateTime)]
    refresh_after: String,
    /// The advertised life in seconds.
    ttl_seconds: i64,
    /// Why the lease is shorter than asked: `role_ttl`, `jitter`, `object_server` or `reuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    shortened_by: Option<&'static str>,
}

/// Temporary S3 credentials.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Credentials<'a> {
    /// The access key id.
    access_key_id: &'a str,
    /// The secret access key.
    secret_access_key: &'a str,
    /// The session token.
    session_token: &'a str,
    /// The advertised end, RFC 3339.
    #[schema(format = DateTime)]
    expiration: String,
}

impl<'a> From<&Answer<'a>> for Lease<'a> {
    fn from(answer: &Answer<'a>) -> Self {
        Self {
            lease_id: answer.lease_id.as_uuid(),
            role: answer.role,
            credentials: Credentials {
                access_key_id: answer.access_key_id,
                secret_access_key: answer.secret_access_key,
                session_token: answer.session_token,
                expiration: answer.expiration(),
            },
            issued_at: timestamp(answer.terms.issued_at),
            refresh_after: timestamp(answer.terms.refresh_after),
            ttl_seconds: answer.terms.ttl_seconds(),
            shortened_by: answer.terms.shortened_by.map(crate::lease::Shortening::as_str),
        }
    }
}

/// Lease.
#[utoipa::path(
    post,
    path = "/v1/leases",
    tag = "doors",
    operation_id = "create_lease",
    description = "Exchanges the bearer token for a lease. The body may be missing.",
    request_body = LeaseRequest,
    responses(
        (status = 201, description = "Issued", body = Lease),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let token = authorization::bearer(&parts.headers)?;
    let body = body::read(&parts.headers, body).await?;
    if !body.is_empty() && !is_json(&body::media_type(&parts.headers)) {
        return Err(Fault::UnsupportedMediaType);
    }
    let lease = shared.exchange(read(&body, token, arrival.at(Door::Leases))?).await?;
    Ok(json(StatusCode::CREATED, &Lease::from(&Answer::from(&lease))))
}

fn is_json(media_type: &str) -> bool {
    media_type.is_empty() || media_type == "application/json" || media_type.ends_with("+json")
}

fn read(body: &[u8], token: Unverified, origin: Origin) -> Result<ExchangeRequest, Invalid> {
    let wire = if body.is_empty() {
        LeaseRequest::default()
    } else {
        serde_json::from_slice(body).map_err(|error| Invalid::Json { line: error.line(), column: error.column() })?
    };
    let LeaseRequest { role, duration_seconds, session_policy, session_name, fresh } = wire;
    Ok(ExchangeRequest {
        token,
        role: role.as_deref().map_or(RequestedRole::Any, RequestedRole::parse),
        duration: duration_seconds.map(parameters::whole_seconds).transpose()?,
        session_policy: session_policy.as_deref().map(policy_text).transpose()?,
        session_name: session_name.as_deref().map(parameters::session_name).transpose()?,
        fresh: fresh.unwrap_or(false),
        origin,
    })
}

/// The policy as it was written: re-writing it here could hide a repeated member from the room that judges it.
fn policy_text(policy: &RawValue) -> Result<String, Invalid> {
    match policy.get().as_bytes().first() {
        Some(b'{') => Ok(policy.get().to_owned()),
        Some(b'"') => serde_json::from_str(policy.get()).map_err(|_| Invalid::SessionPolicyKind),
        Some(_) | None => Err(Invalid::SessionPolicyKind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer::tests::answer;
    use crate::lease::{LeaseTerms, Shortening};
    use std::time::Duration;

    fn parsed(body: &str) -> Result<ExchangeRequest, Invalid> {
        let origin = Origin { door: Door::Leases, address: None, request_id: Uuid::nil() };
        read(body.as_bytes(), Unverified::new("a.b.c"), origin)
    }

    #[test]
    fn an_empty_body_asks_for_any_role() {
        for body in ["", "{}", r#"{"role":null}"#] {
            let request = parsed(body).unwrap();
            assert_eq!(request.role, RequestedRole::Any);
            assert_eq!((request.duration, request.session_policy, request.session_name), (None, None, None));
            assert!(!request.fresh);
        }
    }

    #[test]
    fn every_member_is_read() {
        let request = parsed(
            r#"{"role":"any","duration_seconds":3600,"session_policy":{"Version": "2012-10-17"},"session_name":"me","fresh":true}"#,
        )
        .unwrap();
        assert_eq!(request.duration, Some(Duration::from_hours(1)));
        assert_eq!(request.session_policy.as_deref(), Some(r#"{"Version": "2012-10-17"}"#));
        assert_eq!((request.session_name.as_deref(), request.fresh), (Some("me"), true));
        let request = parsed(r#"{"session_policy":"{\"a\":1}"}"#).unwrap();
        assert_eq!(request.session_policy.as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn what_is_no_lease_request_is_refused() {
        for body in [
            "[]",
            "null",
            "x",
            "{}{}",
            r#"{"role":"a""#,
            r#"{"Role":"a"}"#,
            r#"{"policy":{}}"#,
            r#"{"role":"a","role":"b"}"#,
            r#"{"duration_seconds":-1}"#,
            r#"{"duration_seconds":"900"}"#,
            r#"{"duration_seconds":900.5}"#,
            r#"{"fresh":"yes"}"#,
        ] {
            assert!(matches!(parsed(body).unwrap_err(), Invalid::Json { .. }), "{body}");
        }
        assert_eq!(parsed(r#"{"duration_seconds":2147483648}"#).unwrap_err(), Invalid::Duration);
        assert_eq!(parsed(r#"{"session_name":"a b"}"#).unwrap_err(), Invalid::SessionName);
        for policy in ["[]", "1", "true", r#""\ud800""#] {
            let refused = parsed(&format!(r#"{{"session_policy":{policy}}}"#)).unwrap_err();
            assert!(matches!(refused, Invalid::SessionPolicyKind | Invalid::Json { .. }), "{policy}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_a_crash() {
        let deep = format!(r#"{{"session_policy":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        assert!(parsed(&deep).is_err());
    }

    #[test]
    fn the_answer_has_exactly_these_members() {
        let answer = answer();
        let json = serde_json::to_string_pretty(&Lease::from(&answer)).unwrap();
        insta::assert_snapshot!(json, @r#"
        {
          "lease_id": "01935a00-0000-7000-8000-000000000001",
          "role": "studio",
          "credentials": {
            "access_key_id": "AKIAPLANTED",
            "secret_access_key": "planted/secret+key=",
            "session_token": "planted.session.token",
            "expiration": "2026-11-21T23:00:00Z"
          },
          "issued_at": "2026-11-21T22:05:00Z",
          "refresh_after": "2026-11-21T22:38:00Z",
          "ttl_seconds": 3299
        }
        "#);
        let terms = LeaseTerms { shortened_by: Some(Shortening::RoleTtl), ..answer.terms };
        let json = serde_json::to_value(Lease::from(&Answer { terms, ..answer })).unwrap();
        assert_eq!(json["shortened_by"], "role_ttl");
    }
}
