//! Every fault as problem details (RFC 9457). Outsiders learn *that* they were refused: every text is fixed, and a 401
//! says nothing of the cause. The one exception is the choice of roles, all of them granted to the caller.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use super::fault::Fault;
use super::problem_code::ProblemCode;
use crate::audit::AuditError;
use crate::break_glass::desk::BreakGlassRefusal;
use crate::desk::{DeskRefusal, FreezeRefusal};
use crate::exchange::{Frozen, Limited, Refusal, Untrusted};
use crate::inquiry::InquiryRefusal;
use crate::lease::LeaseError;
use crate::object_server::ObjectServerError;
use crate::policy::{DenialReason, RoleName};

/// When to come back after a 503: long enough for a log or an object server to recover, short enough that an SDK's two
/// retries fit its patience.
pub(super) const RETRY_SECONDS: u16 = 2;

/// What an operator must know of a revocation that could not be recorded.
const UNSENT: &str = "The revocation cannot be recorded at the moment, so the object server was not asked.";

/// What an operator must know of a freeze, or a thaw, that could not be recorded.
const UNFROZEN: &str = "It cannot be recorded at the moment: look at GET /v1/freezes, and ask again.";

/// Problem details.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ProblemDetails {
    /// `urn:stint:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// A fixed sentence.
    pub(super) title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What to change, where that may be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    /// The stable code.
    pub(super) code: ProblemCode,
    /// Finds the cause in the log.
    request_id: Uuid,
    /// With `roles_do_not_fit`: the roles to choose from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    choices: Vec<String>,
    /// Of break-glass: the stable code of the very cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// The same, with the members that SDKs show for a refused container-credentials request.
#[derive(Debug, Serialize)]
struct ContainerProblem {
    #[serde(flatten)]
    problem: ProblemDetails,
    message: String,
    #[serde(rename = "Code")]
    sdk_code: &'static str,
    #[serde(rename = "Message")]
    sdk_message: String,
}

/// The stable code of a fault.
pub(super) fn code(fault: &Fault) -> ProblemCode {
    match fault {
        Fault::Refused(refusal) => code_of_refusal(refusal),
        Fault::Inquiry(refusal) => code_of_inquiry(refusal),
        Fault::Desk(refusal) => code_of_desk(refusal),
        Fault::Freeze(refusal) => code_of_freeze(refusal),
        Fault::BreakGlass(refusal) => code_of_break_glass(refusal),
        Fault::Invalid(_) => ProblemCode::InvalidRequest,
        Fault::MissingToken => ProblemCode::MissingToken,
        // Only the STS door asks for a signature, and it has codes of its own.
        Fault::MalformedAuthorization | Fault::Caller(_) => ProblemCode::InvalidToken,
        Fault::NotFound => ProblemCode::NotFound,
        Fault::MethodNotAllowed => ProblemCode::MethodNotAllowed,
        Fault::BodyTimeout => ProblemCode::RequestTimeout,
        Fault::BodyTooLarge => ProblemCode::BodyTooLarge,
        Fault::UnsupportedMediaType => ProblemCode::UnsupportedMediaType,
        Fault::Overloaded => ProblemCode::Overloaded,
        Fault::TimedOut => ProblemCode::TimedOut,
        Fault::Panicked => ProblemCode::Internal,
    }
}

fn code_of_refusal(refusal: &Refusal) -> ProblemCode {
    match refusal {
        Refusal::Token(refusal) if refusal.reason.is_keys_unavailable() => ProblemCode::IssuerUnavailable,
        Refusal::Token(_) => ProblemCode::InvalidToken,
        Refusal::Denied(denial) => code_of_denial(&denial.reason),
        Refusal::Lease(error) => match error {
            LeaseError::TooShort => ProblemCode::DurationTooShort,
            LeaseError::PolicyTooLarge { .. } | LeaseError::ResourceTooLarge { .. } => {
                ProblemCode::SessionPolicyTooLarge
            }
            // Roles are checked at load: what is left is a policy that the caller sent to narrow its lease by.
            LeaseError::NotEnforced { .. } => ProblemCode::SessionPolicyNotCombinable,
            LeaseError::RolesDoNotFit { .. } | LeaseError::RolesOfSeveralParents { .. } => ProblemCode::RolesDoNotFit,
            LeaseError::NoParent { .. } => ProblemCode::ObjectServerUnavailable,
            // The same: a role that the server does not give is no role.
            LeaseError::LengthNotGiven { .. } => ProblemCode::Internal,
        },
        Refusal::Audit(AuditError::Deadline | AuditError::Overloaded | AuditError::Unavailable) => {
            ProblemCode::LogUnavailable
        }
        Refusal::ObjectServer(error) => match error {
            ObjectServerError::ReceiptMismatch | ObjectServerError::Unsendable => ProblemCode::Internal,
            ObjectServerError::Unreachable(_)
            | ObjectServerError::Interrupted(_)
            | ObjectServerError::NotReady
            | ObjectServerError::Refused { .. }
            | ObjectServerError::Nonsense { .. }
            | ObjectServerError::Outdated { .. }
            | ObjectServerError::NotRevocable { .. }
            | ObjectServerError::Undone { .. }
            | ObjectServerError::LeftBehind { .. }
            | ObjectServerError::KeepsNoList
            | ObjectServerError::UnknownParent { .. }
            | ObjectServerError::OfParent { .. }
            | ObjectServerError::ExpirationUnbelievable { .. } => ProblemCode::ObjectServerUnavailable,
        },
        Refusal::Untrusted(Untrusted::Unclear) => ProblemCode::ObjectServerUnavailable,
        Refusal::Untrusted(Untrusted::Failed(_)) | Refusal::Closed(_) => ProblemCode::RoleClosed,
        // As if policy had said so: whoever holds a stolen token does not learn that it was noticed.
        Refusal::Frozen(Frozen::Holder(_)) => ProblemCode::AccessDenied,
        Refusal::Frozen(Frozen::Everything(_)) => ProblemCode::Frozen,
        Refusal::Frozen(Frozen::Unknown(_)) | Refusal::Limited(Limited::Unknown) => ProblemCode::LogUnavailable,
        Refusal::Limited(Limited::Over(over)) if over.quota.is_rate() => ProblemCode::RateLimited,
        Refusal::Limited(Limited::Over(_)) => ProblemCode::QuotaExceeded,
    }
}

fn code_of_inquiry(refusal: &InquiryRefusal) -> ProblemCode {
    match refusal {
        InquiryRefusal::Token(refusal) if refusal.reason.is_keys_unavailable() => ProblemCode::IssuerUnavailable,
        InquiryRefusal::Token(_) => ProblemCode::InvalidToken,
        InquiryRefusal::NotPermitted => ProblemCode::NotPermitted,
        InquiryRefusal::NoSuchLease => ProblemCode::LeaseNotFound,
        InquiryRefusal::Question(_) => ProblemCode::InvalidRequest,
        InquiryRefusal::Audit(AuditError::Deadline | AuditError::Overloaded | AuditError::Unavailable)
        | InquiryRefusal::Store(_)
        | InquiryRefusal::Ledger(_) => ProblemCode::LogUnavailable,
        InquiryRefusal::NoSigningKey => ProblemCode::NoSigningKey,
        InquiryRefusal::Busy | InquiryRefusal::TooOften => ProblemCode::Overloaded,
        InquiryRefusal::TooLong => ProblemCode::TimedOut,
    }
}

fn code_of_desk(refusal: &DeskRefusal) -> ProblemCode {
    match refusal {
        DeskRefusal::Token(refusal) if refusal.reason.is_keys_unavailable() => ProblemCode::IssuerUnavailable,
        DeskRefusal::Token(_) => ProblemCode::InvalidToken,
        DeskRefusal::NotPermitted => ProblemCode::NotPermitted,
        DeskRefusal::NoSuchLease => ProblemCode::LeaseNotFound,
        DeskRefusal::Selection(_) => ProblemCode::InvalidRequest,
        DeskRefusal::Audit(AuditError::Deadline | AuditError::Overloaded | AuditError::Unavailable)
        | DeskRefusal::Store(_) => ProblemCode::LogUnavailable,
        DeskRefusal::Busy => ProblemCode::Overloaded,
    }
}

fn code_of_freeze(refusal: &FreezeRefusal) -> ProblemCode {
    match refusal {
        FreezeRefusal::Token(refusal) if refusal.reason.is_keys_unavailable() => ProblemCode::IssuerUnavailable,
        FreezeRefusal::Token(_) => ProblemCode::InvalidToken,
        FreezeRefusal::NotPermitted => ProblemCode::NotPermitted,
        FreezeRefusal::Freeze(_) | FreezeRefusal::NoSuchRole | FreezeRefusal::TooMany => ProblemCode::InvalidRequest,
        FreezeRefusal::NoSuchFreeze => ProblemCode::FreezeNotFound,
        FreezeRefusal::Audit(AuditError::Deadline | AuditError::Overloaded | AuditError::Unavailable)
        | FreezeRefusal::Unknown(_) => ProblemCode::LogUnavailable,
    }
}

fn code_of_break_glass(refusal: &BreakGlassRefusal) -> ProblemCode {
    match refusal {
        BreakGlassRefusal::NotConfigured => ProblemCode::BreakGlassNotConfigured,
        BreakGlassRefusal::TooMany(_) => ProblemCode::RateLimited,
        BreakGlassRefusal::Ceremony(_) => ProblemCode::BreakGlassDocument,
        BreakGlassRefusal::NoSuchUse => ProblemCode::BreakGlassUseUnknown,
        BreakGlassRefusal::ClockMovedBack
        | BreakGlassRefusal::OtherInstance(_)
        | BreakGlassRefusal::NonceUsed
        | BreakGlassRefusal::NonceOwnedElsewhere
        | BreakGlassRefusal::ReviewOpen(_)
        | BreakGlassRefusal::ReviewOverridden(_)
        | BreakGlassRefusal::NoEmergency
        | BreakGlassRefusal::NeedsSharedLog
        | BreakGlassRefusal::Lease(_)
        | BreakGlassRefusal::MayHaveMinted(_)
        | BreakGlassRefusal::NotRecorded(_)
        | BreakGlassRefusal::NotSealed
        | BreakGlassRefusal::DrillFailed(_)
        | BreakGlassRefusal::AlreadyDone(_)
        | BreakGlassRefusal::LeaseOpen
        | BreakGlassRefusal::ReviewTooEarly => ProblemCode::BreakGlassRefused,
        BreakGlassRefusal::StateUnknown | BreakGlassRefusal::ObjectServer(_) | BreakGlassRefusal::Audit(_) => {
            ProblemCode::BreakGlassUnavailable
        }
    }
}

fn code_of_denial(reason: &DenialReason) -> ProblemCode {
    match reason {
        DenialReason::NoRole
        | DenialReason::RoleNotGranted
        | DenialReason::ClaimUnusable
        | DenialReason::EmergencyRefused(_) => ProblemCode::AccessDenied,
        DenialReason::SessionPolicyMalformed => ProblemCode::SessionPolicyMalformed,
        DenialReason::SessionPolicyNotCombinable => ProblemCode::SessionPolicyNotCombinable,
    }
}

/// The sentence that names the roles to choose from.
pub(super) fn choices(roles: &[RoleName]) -> String {
    let names: Vec<&str> = roles.iter().map(RoleName::as_str).collect();
    format!("Several roles match and do not fit together; name one of: {}.", names.join(", "))
}

/// What a fault is told with, before a form is given to it.
pub(super) fn details(fault: &Fault, request_id: Uuid) -> ProblemDetails {
    let code = code(fault);
    let (detail, offered) = match fault {
        Fault::Invalid(invalid) => (Some(invalid.to_string()), Vec::new()),
        Fault::Inquiry(InquiryRefusal::Question(question)) => (Some(question.to_string()), Vec::new()),
        Fault::Refused(Refusal::Lease(
            LeaseError::RolesDoNotFit { choices: roles } | LeaseError::RolesOfSeveralParents { choices: roles },
        )) => (Some(choices(roles)), roles.iter().map(ToString::to_string).collect()),
        Fault::Desk(DeskRefusal::Selection(selection)) => (Some(selection.to_string()), Vec::new()),
        Fault::Freeze(refusal @ (FreezeRefusal::Freeze(_) | FreezeRefusal::NoSuchRole | FreezeRefusal::TooMany)) => {
            (Some(refusal.to_string()), Vec::new())
        }
        Fault::BreakGlass(refusal) => (Some(refusal.to_string()), Vec::new()),
        Fault::Freeze(FreezeRefusal::Audit(_)) => (Some(UNFROZEN.to_owned()), Vec::new()),
        Fault::Desk(DeskRefusal::Audit(_)) => (Some(UNSENT.to_owned()), Vec::new()),
        Fault::Refused(_)
        | Fault::Inquiry(_)
        | Fault::Caller(_)
        | Fault::Desk(_)
        | Fault::Freeze(_)
        | Fault::MissingToken
        | Fault::MalformedAuthorization
        | Fault::NotFound
        | Fault::MethodNotAllowed
        | Fault::BodyTimeout
        | Fault::BodyTooLarge
        | Fault::UnsupportedMediaType
        | Fault::Overloaded
        | Fault::TimedOut
        | Fault::Panicked => (None, Vec::new()),
    };
    ProblemDetails {
        kind: format!("urn:stint:problem:{}", code.as_str()),
        title: code.title(),
        status: code.status().as_u16(),
        detail,
        code,
        request_id,
        choices: offered,
        reason: if let Fault::BreakGlass(refusal) = fault { Some(refusal.code()) } else { None },
    }
}

/// The whole answer as `application/problem+json`.
pub(super) fn render(fault: &Fault, request_id: Uuid) -> Response {
    let problem = details(fault, request_id);
    answer(problem.code, "application/problem+json", retry_seconds(fault), &problem)
}

/// The whole answer for SDKs: sent as `application/json`, or the SDK for Go prints the raw body instead of the code.
pub(super) fn render_for_sdk(fault: &Fault, request_id: Uuid) -> Response {
    let problem = details(fault, request_id);
    let (code, message) = (problem.code, problem.detail.clone().unwrap_or_else(|| problem.title.to_owned()));
    let problem = ContainerProblem { problem, message: message.clone(), sdk_code: code.as_str(), sdk_message: message };
    answer(code, "application/json", retry_seconds(fault), &problem)
}

/// When to come back, seconds: what a quota says, or so soon that it fits an SDK's patience.
pub(super) fn retry_seconds(fault: &Fault) -> u16 {
    let seconds = |wait: Duration| u16::try_from(wait.as_secs().max(1)).unwrap_or(u16::MAX);
    if let Fault::Refused(Refusal::Limited(Limited::Over(over))) = fault {
        u16::try_from(over.retry_after.as_secs()).unwrap_or(u16::MAX)
    } else if let Fault::BreakGlass(BreakGlassRefusal::TooMany(wait)) = fault {
        seconds(*wait)
    } else {
        RETRY_SECONDS
    }
}

/// The header that says so, where the status does.
pub(super) fn retry_after(code: ProblemCode, seconds: u16) -> Option<(HeaderName, HeaderValue)> {
    let come_back = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    come_back.contains(&code.status()).then(|| (RETRY_AFTER, HeaderValue::from(seconds)))
}

fn answer(code: ProblemCode, content_type: &'static str, retry: u16, problem: &impl Serialize) -> Response {
    let json = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = (code.status(), [(CONTENT_TYPE, content_type)], json).into_response();
    let headers = response.headers_mut();
    if let Some(challenge) = challenge(code) {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    headers.extend(retry_after(code, retry));
    response
}

/// RFC 6750 section 3: no error code where no token was sent.
fn challenge(code: ProblemCode) -> Option<&'static str> {
    let challenges = [
        (ProblemCode::MissingToken, "Bearer"),
        (ProblemCode::InvalidToken, "Bearer error=\"invalid_token\""),
        (ProblemCode::AccessDenied, "Bearer error=\"insufficient_scope\""),
        (ProblemCode::NotPermitted, "Bearer error=\"insufficient_scope\""),
    ];
    challenges.into_iter().find(|(challenged, _)| *challenged == code).map(|(_, challenge)| challenge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{TokenReason, TokenRefusal, Unverified};

    #[test]
    fn a_denied_role_and_an_unknown_role_are_the_same_answer() {
        for reason in [DenialReason::NoRole, DenialReason::RoleNotGranted, DenialReason::ClaimUnusable] {
            assert_eq!(code_of_denial(&reason), ProblemCode::AccessDenied);
        }
        assert_eq!(code_of_denial(&DenialReason::SessionPolicyMalformed), ProblemCode::SessionPolicyMalformed);
        let not_combinable = code_of_denial(&DenialReason::SessionPolicyNotCombinable);
        assert_eq!(not_combinable, ProblemCode::SessionPolicyNotCombinable);
    }

    #[test]
    fn a_401_never_says_which_check_a_token_failed() {
        for reason in TokenReason::ALL {
            let digest = Unverified::new("a.b.c").digest();
            let fault = Fault::Refused(TokenRefusal { reason: *reason, digest, signed: None }.into());
            let problem = details(&fault, Uuid::nil());
            let unavailable = reason.is_keys_unavailable();
            let expected = if unavailable { ProblemCode::IssuerUnavailable } else { ProblemCode::InvalidToken };
            assert_eq!((problem.code, problem.detail), (expected, None), "{reason:?}");
        }
    }

    #[test]
    fn a_403_names_the_missing_scope_and_only_429_503_and_504_invite_back() {
        for code in ProblemCode::ALL {
            let response = answer(code, "application/json", 7, &());
            let status = code.status().as_u16();
            assert_eq!(response.headers().contains_key(RETRY_AFTER), matches!(status, 429 | 503 | 504), "{code:?}");
            assert_eq!(response.headers().contains_key(WWW_AUTHENTICATE), status == 401 || status == 403, "{code:?}");
        }
        assert_eq!(challenge(ProblemCode::AccessDenied), Some("Bearer error=\"insufficient_scope\""));
    }

    #[test]
    fn what_is_wrong_with_leases_has_a_code_of_its_own() {
        let code = |error| code_of_refusal(&Refusal::Lease(error));
        assert_eq!(code(LeaseError::TooShort), ProblemCode::DurationTooShort);
        let too_large = LeaseError::PolicyTooLarge { size: 3000, limit: 2048 };
        assert_eq!(code(too_large), ProblemCode::SessionPolicyTooLarge);
        let too_large = LeaseError::ResourceTooLarge { size: 2000, limit: 1500 };
        assert_eq!(code(too_large), ProblemCode::SessionPolicyTooLarge);
        let unenforced = LeaseError::NotEnforced { server: "Twig", what: "x".to_owned() };
        assert_eq!(code(unenforced), ProblemCode::SessionPolicyNotCombinable);
        assert_eq!(code(LeaseError::RolesDoNotFit { choices: Vec::new() }), ProblemCode::RolesDoNotFit);
    }
}
