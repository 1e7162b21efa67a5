//! The stable codes of problem details, each with its status and its one sentence. Programs branch on the code; it never
//! changes its meaning.

use axum::http::StatusCode;
use serde::Serialize;

/// The stable codes; `docs/api.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProblemCode {
    /// The request cannot be read.
    InvalidRequest,
    /// No token was sent.
    MissingToken,
    /// The token was refused.
    InvalidToken,
    /// The token is good, and grants nothing of what was asked.
    AccessDenied,
    /// The token is good, and does not permit to read the log, to end the leases of others, or to freeze.
    NotPermitted,
    /// The session policy is not an IAM policy document.
    SessionPolicyMalformed,
    /// The session policy cannot be combined exactly with the role's.
    SessionPolicyNotCombinable,
    /// The session policy exceeds the object server's limit.
    SessionPolicyTooLarge,
    /// Several roles match and do not fit together: name one.
    RolesDoNotFit,
    /// A lease lasts at least 900 seconds.
    DurationTooShort,
    /// No lease of that id, or somebody else's; to end one, no open one.
    LeaseNotFound,
    /// No freeze of that id is in force.
    FreezeNotFound,
    /// No break-glass here.
    BreakGlassNotConfigured,
    /// The document, its signatures or its quorum do not hold; `reason` says which.
    BreakGlassDocument,
    /// The document holds, and is not honoured now, or not here; `reason` says why.
    BreakGlassRefused,
    /// Nothing is known here of a use of that nonce.
    BreakGlassUseUnknown,
    /// What break-glass needs is away; `reason` says what. Submit the same document again.
    BreakGlassUnavailable,
    /// No such path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body did not arrive in time.
    RequestTimeout,
    /// The body exceeds 64 KiB.
    BodyTooLarge,
    /// The body is of another kind than this door reads.
    UnsupportedMediaType,
    /// The holder, or everybody under the role, asks too often.
    RateLimited,
    /// As many leases as allowed are out.
    QuotaExceeded,
    /// The identity provider's keys cannot be had at the moment.
    IssuerUnavailable,
    /// The log cannot record it, so nothing is issued.
    LogUnavailable,
    /// The object server issued nothing.
    ObjectServerUnavailable,
    /// Nothing is granted under the role until its credentials pass a self-test.
    RoleClosed,
    /// Nothing is granted to anybody until an operator says so.
    Frozen,
    /// There is no key to sign checkpoints with.
    NoSigningKey,
    /// As many exchanges as allowed are running.
    Overloaded,
    /// No answer in time.
    TimedOut,
    /// A fault of ours.
    Internal,
}

impl ProblemCode {
    #[cfg(test)]
    pub(super) const ALL: [Self; 33] = [
        Self::InvalidRequest,
        Self::MissingToken,
        Self::InvalidToken,
        Self::AccessDenied,
        Self::NotPermitted,
        Self::SessionPolicyMalformed,
        Self::SessionPolicyNotCombinable,
        Self::SessionPolicyTooLarge,
        Self::RolesDoNotFit,
        Self::DurationTooShort,
        Self::LeaseNotFound,
        Self::FreezeNotFound,
        Self::BreakGlassNotConfigured,
        Self::BreakGlassDocument,
        Self::BreakGlassRefused,
        Self::BreakGlassUseUnknown,
        Self::BreakGlassUnavailable,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::IssuerUnavailable,
        Self::LogUnavailable,
        Self::ObjectServerUnavailable,
        Self::RoleClosed,
        Self::Frozen,
        Self::NoSigningKey,
        Self::Overloaded,
        Self::TimedOut,
        Self::Internal,
    ];

    pub(super) fn as_str(self) -> &'static str {
        self.entry().0
    }

    pub(super) fn status(self) -> StatusCode {
        self.entry().1
    }

    pub(super) fn title(self) -> &'static str {
        self.entry().2
    }

    fn entry(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::InvalidRequest => ("invalid_request", StatusCode::BAD_REQUEST, "The request cannot be read"),
            Self::MissingToken => ("missing_token", StatusCode::UNAUTHORIZED, "No token was sent"),
            Self::InvalidToken => ("invalid_token", StatusCode::UNAUTHORIZED, "The token was refused"),
            Self::AccessDenied => ("access_denied", StatusCode::FORBIDDEN, "The role is not granted"),
            Self::NotPermitted => ("not_permitted", StatusCode::FORBIDDEN, "The token does not permit this"),
            Self::SessionPolicyMalformed => (
                "session_policy_malformed",
                StatusCode::BAD_REQUEST,
                "The session policy is not an IAM policy document",
            ),
            Self::SessionPolicyNotCombinable => (
                "session_policy_not_combinable",
                StatusCode::BAD_REQUEST,
                "The session policy cannot be combined exactly with the role's",
            ),
            Self::SessionPolicyTooLarge => (
                "session_policy_too_large",
                StatusCode::BAD_REQUEST,
                "The session policy exceeds the object server's limit",
            ),
            Self::RolesDoNotFit => (
                "roles_do_not_fit",
                StatusCode::BAD_REQUEST,
                "Several roles match and do not fit into one session policy",
            ),
            Self::DurationTooShort => {
                ("duration_too_short", StatusCode::BAD_REQUEST, "A lease lasts at least 900 seconds")
            }
            Self::LeaseNotFound => ("lease_not_found", StatusCode::NOT_FOUND, "No such lease, or not the caller's"),
            Self::FreezeNotFound => ("freeze_not_found", StatusCode::NOT_FOUND, "No freeze of that id is in force"),
            Self::BreakGlassNotConfigured => {
                ("break_glass_not_configured", StatusCode::NOT_FOUND, "Break-glass is not configured here")
            }
            Self::BreakGlassDocument => {
                ("break_glass_document", StatusCode::BAD_REQUEST, "The document or its signatures do not hold")
            }
            Self::BreakGlassRefused => {
                ("break_glass_refused", StatusCode::CONFLICT, "The document is not honoured now, or not here")
            }
            Self::BreakGlassUseUnknown => {
                ("break_glass_use_unknown", StatusCode::NOT_FOUND, "Nothing is known here of such a use")
            }
            Self::BreakGlassUnavailable => (
                "break_glass_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "What break-glass needs is away: submit the same document again",
            ),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND, "No such path"),
            Self::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::RequestTimeout => ("request_timeout", StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time"),
            Self::BodyTooLarge => ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body exceeds 64 KiB"),
            Self::UnsupportedMediaType => {
                ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send application/json")
            }
            Self::RateLimited => ("rate_limited", StatusCode::TOO_MANY_REQUESTS, "Too many exchanges in this time"),
            Self::QuotaExceeded => {
                ("quota_exceeded", StatusCode::TOO_MANY_REQUESTS, "As many leases as allowed are out")
            }
            Self::IssuerUnavailable => (
                "issuer_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The identity provider's keys cannot be had at the moment",
            ),
            Self::LogUnavailable => (
                "log_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The exchange cannot be recorded at the moment, so nothing was issued",
            ),
            Self::ObjectServerUnavailable => (
                "object_server_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The object server issues no credentials at the moment",
            ),
            Self::RoleClosed => (
                "role_closed",
                StatusCode::SERVICE_UNAVAILABLE,
                "Nothing is granted under the role at the moment: its credentials failed a self-test",
            ),
            Self::Frozen => {
                ("frozen", StatusCode::SERVICE_UNAVAILABLE, "Nothing is granted to anybody at the moment: it is frozen")
            }
            Self::NoSigningKey => (
                "no_signing_key",
                StatusCode::NOT_IMPLEMENTED,
                "The service has no signing key, so it signs no checkpoints",
            ),
            Self::Overloaded => ("overloaded", StatusCode::SERVICE_UNAVAILABLE, "Too many exchanges at once"),
            Self::TimedOut => ("timed_out", StatusCode::GATEWAY_TIMEOUT, "The exchange did not finish in time"),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "An internal fault"),
        }
    }
}
