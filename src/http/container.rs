//! The container-credentials door: what `AWS_CONTAINER_CREDENTIALS_FULL_URI` points at. The widest path: SDKs that
//! accept no STS endpoint accept this one.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;

use super::answer::Answer;
use super::arrival::Arrival;
use super::fault::{Fault, Invalid};
use super::json::json;
use super::problem::ProblemDetails;
use super::{Shared, authorization};
use crate::audit::Door;
use crate::exchange::ExchangeRequest;
use crate::policy::RequestedRole;

/// The answer, in the exact case that SDKs read. It names the token `Token`: with `SessionToken` some would sign
/// without one.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ContainerCredentials<'a> {
    /// The access key id.
    access_key_id: &'a str,
    /// The secret access key.
    secret_access_key: &'a str,
    /// The session token.
    token: &'a str,
    /// The advertised end, RFC 3339.
    #[schema(format = DateTime)]
    expiration: String,
    /// The role granted.
    role_arn: String,
}

impl<'a> From<&Answer<'a>> for ContainerCredentials<'a> {
    fn from(answer: &Answer<'a>) -> Self {
        Self {
            access_key_id: answer.access_key_id,
            secret_access_key: answer.secret_access_key,
            token: answer.session_token,
            expiration: answer.expiration(),
            role_arn: answer.role_arn(),
        }
    }
}

/// Container credentials.
#[utoipa::path(
    get,
    path = "/v1/roles/{role}/credentials",
    tag = "doors",
    operation_id = "container_credentials",
    description = "Container credentials as AWS SDKs fetch them. Authorization holds the token, bare or as Bearer.",
    params(("role" = String, Path, description = "A role's name, or `any`")),
    responses(
        (status = 200, description = "Issued", body = ContainerCredentials),
        (status = "4XX", description = "Refused; also with `Code`, `Message` and `message`", body = ProblemDetails),
        (status = "5XX", description = "Come back; also with `Code`, `Message` and `message`", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn credentials(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    role: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    // SDKs send the query of the configured URL along. Whoever wrote one there meant something by it, and a session
    // policy that is not heard would widen the lease.
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Invalid::Query.into());
    }
    let request = ExchangeRequest {
        token: authorization::bare_or_bearer(&headers)?,
        role: role.map_or(RequestedRole::Unusable, |Path(role)| RequestedRole::parse(&role)),
        duration: None,
        session_policy: None,
        session_name: None,
        fresh: false,
        origin: arrival.at(Door::Container),
    };
    let lease = shared.exchange(request).await?;
    Ok(json(StatusCode::OK, &ContainerCredentials::from(&Answer::from(&lease))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer::tests::answer;

    #[test]
    fn the_answer_has_the_exact_case_that_sdks_read() {
        let json = serde_json::to_string_pretty(&ContainerCredentials::from(&answer())).unwrap();
        insta::assert_snapshot!(json, @r#"
        {
          "AccessKeyId": "AKIAPLANTED",
          "SecretAccessKey": "planted/secret+key=",
          "Token": "planted.session.token",
          "Expiration": "2026-11-21T23:00:00Z",
          "RoleArn": "arn:aws:iam::000000000000:role/studio"
        }
        "#);
    }
}
