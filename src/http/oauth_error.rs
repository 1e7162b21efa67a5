//! Every fault as an error of RFC 6749 section 5.2, with what RFC 8693 section 2.2.2 says of it. The few codes there are
//! say little, so our own stable code stands beside them. A refused token is `invalid_request`, as RFC 8693 demands; a
//! fault of ours is never blamed on the caller.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use uuid::Uuid;

use super::fault::{Fault, Invalid};
use super::json::json;
use super::problem;
use super::problem_code::ProblemCode;

/// The codes of OAuth 2.0; `docs/api.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OAuthCode {
    /// The request, or the subject token, is refused.
    InvalidRequest,
    /// The role is not granted, or there is no single one to grant.
    InvalidTarget,
    /// A scope was asked for.
    InvalidScope,
    /// Another grant than the token exchange.
    UnsupportedGrantType,
    /// Come back.
    TemporarilyUnavailable,
    /// A fault of ours.
    ServerError,
}

impl OAuthCode {
    #[cfg(test)]
    pub(super) const ALL: [Self; 6] = [
        Self::InvalidRequest,
        Self::InvalidTarget,
        Self::InvalidScope,
        Self::UnsupportedGrantType,
        Self::TemporarilyUnavailable,
        Self::ServerError,
    ];
}

/// An OAuth 2.0 error.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct OAuthError {
    /// What a client may branch on without knowing `stint`.
    error: OAuthCode,
    /// A sentence for people; never the cause of a refused token.
    error_description: String,
    /// The same stable code that the other doors give.
    code: ProblemCode,
    /// Finds the cause in the log.
    request_id: Uuid,
}

fn of_invalid(invalid: Invalid) -> OAuthCode {
    match invalid {
        Invalid::GrantType => OAuthCode::UnsupportedGrantType,
        Invalid::Targets => OAuthCode::InvalidTarget,
        Invalid::Scope => OAuthCode::InvalidScope,
        Invalid::Body
        | Invalid::NotUtf8
        | Invalid::TooManyParameters
        | Invalid::DuplicateParameter
        | Invalid::UnknownParameter
        | Invalid::Query
        | Invalid::ClientCredentials
        | Invalid::MissingSubjectToken
        | Invalid::SubjectTokenType
        | Invalid::RequestedTokenType
        | Invalid::ActorToken
        | Invalid::Fresh
        | Invalid::MissingAction
        | Invalid::UnknownAction
        | Invalid::MissingWebIdentityToken
        | Invalid::RoleArn
        | Invalid::WebIdentityToken
        | Invalid::Policy
        | Invalid::PolicyArns
        | Invalid::ProviderId
        | Invalid::Duration
        | Invalid::SessionName
        | Invalid::Json { .. }
        | Invalid::RevocationJson { .. }
        | Invalid::FreezeJson { .. }
        | Invalid::Reason
        | Invalid::SessionPolicyKind => OAuthCode::InvalidRequest,
    }
}

fn of_problem(code: ProblemCode) -> OAuthCode {
    match code {
        ProblemCode::AccessDenied | ProblemCode::NotPermitted | ProblemCode::RolesDoNotFit => OAuthCode::InvalidTarget,
        ProblemCode::InvalidRequest
        | ProblemCode::MissingToken
        | ProblemCode::InvalidToken
        | ProblemCode::SessionPolicyMalformed
        | ProblemCode::SessionPolicyNotCombinable
        | ProblemCode::SessionPolicyTooLarge
        | ProblemCode::DurationTooShort
        | ProblemCode::LeaseNotFound
        | ProblemCode::FreezeNotFound
        | ProblemCode::BreakGlassNotConfigured
        | ProblemCode::BreakGlassDocument
        | ProblemCode::BreakGlassRefused
        | ProblemCode::BreakGlassUseUnknown
        | ProblemCode::NotFound
        | ProblemCode::MethodNotAllowed
        | ProblemCode::RequestTimeout
        | ProblemCode::BodyTooLarge
        | ProblemCode::UnsupportedMediaType => OAuthCode::InvalidRequest,
        ProblemCode::IssuerUnavailable
        | ProblemCode::LogUnavailable
        | ProblemCode::ObjectServerUnavailable
        | ProblemCode::BreakGlassUnavailable
        | ProblemCode::RoleClosed
        | ProblemCode::Frozen
        | ProblemCode::RateLimited
        | ProblemCode::QuotaExceeded
        | ProblemCode::Overloaded
        | ProblemCode::TimedOut => OAuthCode::TemporarilyUnavailable,
        ProblemCode::NoSigningKey | ProblemCode::Internal => OAuthCode::ServerError,
    }
}

/// RFC 8693 section 2.2.2: a refused token and a refused role are 400, for there is no client to authenticate.
fn status(code: ProblemCode) -> StatusCode {
    match code.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => StatusCode::BAD_REQUEST,
        status => status,
    }
}

/// The whole answer. What says when to come back is what every other door says.
pub(super) fn render(fault: &Fault, request_id: Uuid) -> Response {
    let told = problem::details(fault, request_id);
    let error = if let Fault::Invalid(invalid) = fault { of_invalid(*invalid) } else { of_problem(told.code) };
    let title = if matches!(fault, Fault::UnsupportedMediaType) { "Send a form" } else { told.title };
    let error_description = told.detail.unwrap_or_else(|| title.to_owned());
    let answer = OAuthError { error, error_description, code: told.code, request_id };
    let mut response = json(status(told.code), &answer);
    response.headers_mut().extend(problem::retry_after(told.code, problem::retry_seconds(fault)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_ours_and_quotas_invite_back_and_no_caller_is_asked_to_authenticate() {
        for code in ProblemCode::ALL {
            let (status, error) = (status(code).as_u16(), of_problem(code));
            assert_eq!(error == OAuthCode::TemporarilyUnavailable, matches!(status, 429 | 503 | 504), "{code:?}");
            assert!(status != 401 && status != 403, "{code:?}");
        }
    }

    #[test]
    fn a_refused_token_is_an_invalid_request_and_a_refused_role_an_invalid_target() {
        assert_eq!(of_problem(ProblemCode::InvalidToken), OAuthCode::InvalidRequest);
        assert_eq!(of_problem(ProblemCode::AccessDenied), OAuthCode::InvalidTarget);
        assert_eq!(of_problem(ProblemCode::RolesDoNotFit), OAuthCode::InvalidTarget);
        assert_eq!(of_invalid(Invalid::Targets), OAuthCode::InvalidTarget);
        assert_eq!(of_invalid(Invalid::SessionName), OAuthCode::InvalidRequest);
    }
}
