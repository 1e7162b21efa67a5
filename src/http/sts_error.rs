//! Every fault as STS error XML. The code decides what an SDK does: coming SDKs stop at once on `InvalidIdentityToken`
//! and `AccessDenied` even while their old credentials still work, so neither is ever used for a fault of ours.

use std::borrow::Cow;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::fault::{Fault, Invalid};
use super::problem::{choices, retry_seconds};
use super::sts::Xml;
use crate::audit::AuditError;
use crate::desk::CallerRefusal;
use crate::exchange::{Frozen, Limited, Refusal};
use crate::lease::LeaseError;
use crate::object_server::ObjectServerError;
use crate::policy::DenialReason;
use crate::token::TokenReason;

/// The codes used, with their statuses; `docs/api.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StsCode {
    AccessDenied,
    ExpiredToken,
    ExpiredTokenException,
    IDPCommunicationError,
    IncompleteSignature,
    InternalFailure,
    InvalidAction,
    InvalidClientTokenId,
    InvalidIdentityToken,
    MalformedPolicyDocument,
    MethodNotAllowed,
    MissingAction,
    MissingAuthenticationToken,
    NotFound,
    PackedPolicyTooLarge,
    RequestTimeout,
    RequestEntityTooLarge,
    SignatureDoesNotMatch,
    Throttling,
    UnsupportedMediaType,
    ValidationError,
}

impl StsCode {
    #[cfg(test)]
    pub(super) const ALL: [Self; 21] = [
        Self::AccessDenied,
        Self::ExpiredToken,
        Self::ExpiredTokenException,
        Self::IDPCommunicationError,
        Self::IncompleteSignature,
        Self::InternalFailure,
        Self::InvalidAction,
        Self::InvalidClientTokenId,
        Self::InvalidIdentityToken,
        Self::MalformedPolicyDocument,
        Self::MethodNotAllowed,
        Self::MissingAction,
        Self::MissingAuthenticationToken,
        Self::NotFound,
        Self::PackedPolicyTooLarge,
        Self::RequestTimeout,
        Self::RequestEntityTooLarge,
        Self::SignatureDoesNotMatch,
        Self::Throttling,
        Self::UnsupportedMediaType,
        Self::ValidationError,
    ];

    pub(super) fn as_str(self) -> &'static str {
        self.entry().0
    }

    pub(super) fn status(self) -> StatusCode {
        self.entry().1
    }

    fn entry(self) -> (&'static str, StatusCode) {
        match self {
            Self::AccessDenied => ("AccessDenied", StatusCode::FORBIDDEN),
            Self::ExpiredToken => ("ExpiredToken", StatusCode::FORBIDDEN),
            Self::ExpiredTokenException => ("ExpiredTokenException", StatusCode::BAD_REQUEST),
            Self::IDPCommunicationError => ("IDPCommunicationError", StatusCode::BAD_REQUEST),
            Self::IncompleteSignature => ("IncompleteSignature", StatusCode::BAD_REQUEST),
            Self::InternalFailure => ("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR),
            Self::InvalidAction => ("InvalidAction", StatusCode::BAD_REQUEST),
            Self::InvalidClientTokenId => ("InvalidClientTokenId", StatusCode::FORBIDDEN),
            Self::InvalidIdentityToken => ("InvalidIdentityToken", StatusCode::BAD_REQUEST),
            Self::MalformedPolicyDocument => ("MalformedPolicyDocument", StatusCode::BAD_REQUEST),
            Self::MethodNotAllowed => ("MethodNotAllowed", StatusCode::METHOD_NOT_ALLOWED),
            Self::MissingAction => ("MissingAction", StatusCode::BAD_REQUEST),
            Self::MissingAuthenticationToken => ("MissingAuthenticationToken", StatusCode::FORBIDDEN),
            Self::NotFound => ("NotFound", StatusCode::NOT_FOUND),
            Self::PackedPolicyTooLarge => ("PackedPolicyTooLarge", StatusCode::BAD_REQUEST),
            Self::RequestTimeout => ("RequestTimeout", StatusCode::REQUEST_TIMEOUT),
            Self::RequestEntityTooLarge => ("RequestEntityTooLarge", StatusCode::PAYLOAD_TOO_LARGE),
            Self::SignatureDoesNotMatch => ("SignatureDoesNotMatch", StatusCode::FORBIDDEN),
            Self::Throttling => ("Throttling", StatusCode::SERVICE_UNAVAILABLE),
            Self::UnsupportedMediaType => ("UnsupportedMediaType", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::ValidationError => ("ValidationError", StatusCode::BAD_REQUEST),
        }
    }

    /// Clients should come back, and are told when.
    pub(super) fn is_temporary(self) -> bool {
        matches!(self, Self::Throttling | Self::IDPCommunicationError)
    }
}

/// What the caller is told.
pub(super) fn told(fault: &Fault) -> (StsCode, Cow<'static, str>) {
    let (code, message) = match fault {
        Fault::Refused(refusal) => return told_of_refusal(refusal),
        Fault::Caller(refusal) => told_of_caller(*refusal),
        Fault::Invalid(invalid) => return (invalid_code(*invalid), Cow::Owned(invalid.to_string())),
        Fault::MissingToken | Fault::MalformedAuthorization => (StsCode::ValidationError, "No token was sent."),
        Fault::NotFound => (StsCode::NotFound, "No such path; the STS door is at /."),
        Fault::MethodNotAllowed => (StsCode::MethodNotAllowed, "Use POST or GET."),
        Fault::BodyTimeout => (StsCode::RequestTimeout, "The body did not arrive in time."),
        Fault::BodyTooLarge => (StsCode::RequestEntityTooLarge, "The body exceeds 64 KiB."),
        Fault::UnsupportedMediaType => (StsCode::UnsupportedMediaType, "Send a form."),
        Fault::Overloaded | Fault::TimedOut => (StsCode::Throttling, BUSY),
        // No question comes through this door: the log has its own.
        Fault::Panicked | Fault::Inquiry(_) | Fault::Desk(_) | Fault::Freeze(_) | Fault::BreakGlass(_) => {
            (StsCode::InternalFailure, FAULT)
        }
    };
    (code, Cow::Borrowed(message))
}

const BUSY: &str = "Credentials cannot be issued at the moment; come back.";
const TOO_OFTEN: &str = "Rate exceeded; come back.";
const TOO_MANY: &str = "As many credentials as allowed are out; come back.";
const FAULT: &str = "An internal fault; the request id finds it in the log.";
const DENIED: &str = "Not authorized to assume the role.";
const UNENFORCED: &str = "The object server would not enforce all of the session policy.";
const TOO_LARGE: &str = "The session policy exceeds the object server's limit.";

fn told_of_refusal(refusal: &Refusal) -> (StsCode, Cow<'static, str>) {
    let (code, message) = match refusal {
        Refusal::Token(refusal) => told_of_token(refusal.reason),
        Refusal::Denied(denial) => told_of_denial(&denial.reason),
        Refusal::Lease(error) => match error {
            LeaseError::TooShort => (StsCode::ValidationError, "DurationSeconds must be at least 900."),
            LeaseError::PolicyTooLarge { .. } | LeaseError::ResourceTooLarge { .. } => {
                (StsCode::PackedPolicyTooLarge, TOO_LARGE)
            }
            LeaseError::NotEnforced { .. } => (StsCode::MalformedPolicyDocument, UNENFORCED),
            LeaseError::LengthNotGiven { .. } => (StsCode::InternalFailure, FAULT),
            LeaseError::NoParent { .. } => (StsCode::Throttling, BUSY),
            LeaseError::RolesDoNotFit { choices: roles } | LeaseError::RolesOfSeveralParents { choices: roles } => {
                return (StsCode::PackedPolicyTooLarge, Cow::Owned(choices(roles)));
            }
        },
        // Frozen as everybody is: its leases are good, and it shall come back.
        Refusal::Audit(AuditError::Deadline | AuditError::Overloaded | AuditError::Unavailable)
        | Refusal::Frozen(Frozen::Everything(_) | Frozen::Unknown(_))
        | Refusal::Limited(Limited::Unknown)
        | Refusal::Untrusted(_)
        | Refusal::Closed(_) => (StsCode::Throttling, BUSY),
        Refusal::ObjectServer(error) => match error {
            ObjectServerError::ReceiptMismatch | ObjectServerError::Unsendable => (StsCode::InternalFailure, FAULT),
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
            | ObjectServerError::ExpirationUnbelievable { .. } => (StsCode::Throttling, BUSY),
        },
        // As if policy had said so: whoever holds a stolen token does not learn that it was noticed.
        Refusal::Frozen(Frozen::Holder(_)) => (StsCode::AccessDenied, DENIED),
        Refusal::Limited(Limited::Over(over)) if over.quota.is_rate() => (StsCode::Throttling, TOO_OFTEN),
        Refusal::Limited(Limited::Over(_)) => (StsCode::Throttling, TOO_MANY),
    };
    (code, Cow::Borrowed(message))
}

fn told_of_token(reason: TokenReason) -> (StsCode, &'static str) {
    if reason.is_keys_unavailable() {
        (StsCode::IDPCommunicationError, "The identity provider's keys cannot be had at the moment; come back.")
    } else if reason.is_expired() {
        (StsCode::ExpiredTokenException, "The token has expired.")
    } else {
        (StsCode::InvalidIdentityToken, "The token was refused.")
    }
}

/// AWS's own codes and nearly its words. What is known of a key is told only to who has its secret.
fn told_of_caller(refusal: CallerRefusal) -> (StsCode, &'static str) {
    match refusal {
        CallerRefusal::Unsigned => (StsCode::MissingAuthenticationToken, "The request is not signed."),
        CallerRefusal::Malformed => (
            StsCode::IncompleteSignature,
            "Sign with Signature Version 4 for sts, once, the host and every x-amz- header covered.",
        ),
        CallerRefusal::UnknownKey => {
            (StsCode::InvalidClientTokenId, "The security token included in the request is invalid.")
        }
        CallerRefusal::OutOfTime => {
            (StsCode::SignatureDoesNotMatch, "Signature expired, or not yet current; look at the clock.")
        }
        CallerRefusal::WrongSignature => (
            StsCode::SignatureDoesNotMatch,
            "The request signature we calculated does not match the signature you provided.",
        ),
        CallerRefusal::Ended => (StsCode::ExpiredToken, "The security token included in the request is expired."),
    }
}

fn told_of_denial(reason: &DenialReason) -> (StsCode, &'static str) {
    match reason {
        DenialReason::NoRole
        | DenialReason::RoleNotGranted
        | DenialReason::ClaimUnusable
        | DenialReason::EmergencyRefused(_) => (StsCode::AccessDenied, DENIED),
        DenialReason::SessionPolicyMalformed => {
            (StsCode::MalformedPolicyDocument, "The session policy is not an IAM policy document.")
        }
        DenialReason::SessionPolicyNotCombinable => (
            StsCode::MalformedPolicyDocument,
            "The session policy cannot be combined exactly with the role's; it must be a subset of it.",
        ),
    }
}

fn invalid_code(invalid: Invalid) -> StsCode {
    match invalid {
        Invalid::MissingAction => StsCode::MissingAction,
        Invalid::UnknownAction => StsCode::InvalidAction,
        Invalid::Body
        | Invalid::NotUtf8
        | Invalid::TooManyParameters
        | Invalid::DuplicateParameter
        | Invalid::UnknownParameter
        | Invalid::Query
        | Invalid::ClientCredentials
        | Invalid::GrantType
        | Invalid::MissingSubjectToken
        | Invalid::SubjectTokenType
        | Invalid::RequestedTokenType
        | Invalid::ActorToken
        | Invalid::Fresh
        | Invalid::Targets
        | Invalid::Scope
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
        | Invalid::SessionPolicyKind => StsCode::ValidationError,
    }
}

/// The whole answer.
pub(super) fn render(fault: &Fault, request_id: Uuid) -> Response {
    let (code, message) = told(fault);
    let mut xml = Xml::new();
    xml.open_root("ErrorResponse");
    xml.open("Error");
    xml.leaf("Type", if code.status().is_server_error() { "Receiver" } else { "Sender" });
    xml.leaf("Code", code.as_str());
    xml.leaf("Message", &message);
    xml.close("Error");
    xml.leaf("RequestId", &request_id.to_string());
    xml.close("ErrorResponse");
    let mut response = (code.status(), [(CONTENT_TYPE, "text/xml")], xml.finish()).into_response();
    if code.is_temporary() {
        let retry = retry_seconds(fault);
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(retry));
        // What the newer SDKs read, in milliseconds.
        headers.insert("x-amz-retry-after", HeaderValue::from(u32::from(retry) * 1000));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_is_told_in_one_of_three_fixed_ways_and_only_our_own_faults_invite_back() {
        for reason in TokenReason::ALL {
            let (code, message) = told_of_token(*reason);
            let expected = match (reason.is_keys_unavailable(), reason.is_expired()) {
                (true, _) => StsCode::IDPCommunicationError,
                (false, true) => StsCode::ExpiredTokenException,
                (false, false) => StsCode::InvalidIdentityToken,
            };
            assert_eq!((code, code.status().as_u16()), (expected, 400), "{reason:?}");
            if code == StsCode::InvalidIdentityToken {
                assert_eq!(message, "The token was refused.", "{reason:?}");
            }
        }
    }

    #[test]
    fn a_refusal_by_policy_says_nothing_of_which_roles_exist() {
        let told = told_of_denial(&DenialReason::NoRole);
        assert_eq!(told.0, StsCode::AccessDenied);
        assert_eq!(told, told_of_denial(&DenialReason::RoleNotGranted));
        assert_eq!(told, told_of_denial(&DenialReason::ClaimUnusable));
    }

    #[test]
    fn a_session_policy_that_cannot_be_used_is_blamed_on_the_session_policy() {
        for reason in [DenialReason::SessionPolicyMalformed, DenialReason::SessionPolicyNotCombinable] {
            assert_eq!(told_of_denial(&reason).0, StsCode::MalformedPolicyDocument);
        }
        for error in [
            LeaseError::PolicyTooLarge { size: 3000, limit: 2048 },
            LeaseError::ResourceTooLarge { size: 2000, limit: 1500 },
        ] {
            let (code, message) = told_of_refusal(&Refusal::Lease(error));
            assert_eq!((code, message.as_ref()), (StsCode::PackedPolicyTooLarge, TOO_LARGE));
        }
        let unenforced = LeaseError::NotEnforced { server: "Twig", what: "x".to_owned() };
        let (code, message) = told_of_refusal(&Refusal::Lease(unenforced));
        assert_eq!((code, message.as_ref()), (StsCode::MalformedPolicyDocument, UNENFORCED));
        assert_eq!(told_of_refusal(&Refusal::Lease(LeaseError::TooShort)).0, StsCode::ValidationError);
    }

    #[test]
    fn codes_that_stop_a_client_at_once_are_never_temporary() {
        for code in StsCode::ALL {
            assert_eq!(code.is_temporary(), matches!(code.as_str(), "Throttling" | "IDPCommunicationError"));
            assert!(code.status().is_client_error() || code.status().is_server_error());
        }
    }
}
