//! Why a door answers no credentials: a refusal of the exchange, or something that never became an exchange. Handlers
//! return it as it is; `layers.rs` renders it once, in the form of the door that was knocked on.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};

use crate::break_glass::desk::BreakGlassRefusal;
use crate::desk::{CallerRefusal, DeskRefusal, FreezeRefusal};
use crate::exchange::Refusal;
use crate::inquiry::InquiryRefusal;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The exchange refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log is not shown.
    #[error(transparent)]
    Inquiry(#[from] InquiryRefusal),
    /// Nobody is named.
    #[error(transparent)]
    Caller(#[from] CallerRefusal),
    /// No lease is ended.
    #[error(transparent)]
    Desk(#[from] DeskRefusal),
    /// Nothing is frozen or thawed.
    #[error(transparent)]
    Freeze(#[from] FreezeRefusal),
    /// A document of break-glass is refused.
    #[error(transparent)]
    BreakGlass(#[from] BreakGlassRefusal),
    /// The request cannot be read.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// No `Authorization` header.
    #[error("no token was sent")]
    MissingToken,
    /// Several `Authorization` headers, another scheme, or more than one space.
    #[error("the Authorization header is malformed")]
    MalformedAuthorization,
    /// No such path.
    #[error("no such path")]
    NotFound,
    /// The path exists, the method does not.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// The body exceeds the limit.
    #[error("the body is too large")]
    BodyTooLarge,
    /// The body is of a kind this door does not read.
    #[error("unsupported media type")]
    UnsupportedMediaType,
    /// As many exchanges as allowed are running.
    #[error("too many exchanges at once")]
    Overloaded,
    /// No answer in time; what was begun is finished and recorded, and its credentials are dropped.
    #[error("the exchange did not finish in time")]
    TimedOut,
    /// A bug: a handler panicked.
    #[error("a handler panicked")]
    Panicked,
}

/// Why a request cannot be read. The texts are fixed: nothing a caller sent is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    /// The body broke off.
    #[error("the body could not be read")]
    Body,
    /// A parameter is not UTF-8 once decoded.
    #[error("parameters must be UTF-8")]
    NotUtf8,
    /// More parameters than any client sends.
    #[error("too many parameters")]
    TooManyParameters,
    /// One parameter twice: proxies and servers disagree on which one counts, so neither does.
    #[error("a parameter was sent more than once")]
    DuplicateParameter,
    /// Not a parameter of the action: ignoring a misspelt `Policy` would widen the lease.
    #[error("an unknown parameter was sent")]
    UnknownParameter,
    /// A query string where none belongs: what it says would be ignored, and its token would be in the logs of proxies.
    #[error("this door takes no query string")]
    Query,
    /// An `Authorization` header, or a client's secret, beside the token: nobody here could check it.
    #[error("send no client credentials: the subject token is all that is asked for")]
    ClientCredentials,
    /// Another grant than RFC 8693's.
    #[error("grant_type must be urn:ietf:params:oauth:grant-type:token-exchange")]
    GrantType,
    /// No `subject_token`.
    #[error("subject_token is missing")]
    MissingSubjectToken,
    /// No `subject_token_type`, or one that stands for no OIDC token.
    #[error(
        "subject_token_type must be urn:ietf:params:oauth:token-type:jwt, urn:ietf:params:oauth:token-type:access_token \
         or urn:ietf:params:oauth:token-type:id_token"
    )]
    SubjectTokenType,
    /// `requested_token_type` is something else than what is issued.
    #[error("requested_token_type must be urn:stint:token-type:s3-credentials, or missing")]
    RequestedTokenType,
    /// Delegation: a lease has one holder.
    #[error("actor_token is not offered")]
    ActorToken,
    /// `audience` and `resource` name two roles, or there are several of either.
    #[error("audience and resource must name one role between them")]
    Targets,
    /// `fresh` is no truth value.
    #[error("fresh must be true or false")]
    Fresh,
    /// A scope: ignoring it would grant more than was asked for.
    #[error("scope is not offered; name a role by audience, and narrow it by session_policy")]
    Scope,
    /// No `Action`.
    #[error("Action is missing")]
    MissingAction,
    /// Another action, or another version of it.
    #[error("only AssumeRoleWithWebIdentity and GetCallerIdentity of version 2011-06-15 are offered")]
    UnknownAction,
    /// No `WebIdentityToken`.
    #[error("WebIdentityToken is missing")]
    MissingWebIdentityToken,
    /// `RoleArn` is empty or longer than AWS's.
    #[error("RoleArn must be 1 to 2048 characters")]
    RoleArn,
    /// `WebIdentityToken` is shorter or longer than AWS's.
    #[error("WebIdentityToken must be 4 to 20000 characters")]
    WebIdentityToken,
    /// `Policy` is empty or longer than AWS's.
    #[error("Policy must be 1 to 2048 characters")]
    Policy,
    /// `PolicyArns`: they would narrow the lease, and there are no managed policies here to narrow it by.
    #[error("PolicyArns are not offered; send Policy")]
    PolicyArns,
    /// `ProviderId`: only OAuth 2.0 access tokens of AWS's own providers need it.
    #[error("ProviderId is not offered")]
    ProviderId,
    /// `DurationSeconds` is not a number of seconds.
    #[error("the duration must be a whole number of seconds, at most 2147483647")]
    Duration,
    /// The session name is not one.
    #[error("the session name must be 2 to 64 characters of A-Z, a-z, 0-9 and _+=,.@-")]
    SessionName,
    /// The body is not the JSON that is expected.
    #[error(
        "not a lease request at line {line}, column {column}: a JSON object with some of role, duration_seconds, \
         session_policy, session_name, fresh, each at most once"
    )]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 0, in bytes.
        column: usize,
    },
    /// The body of a revocation is not the JSON that is expected.
    #[error(
        "not a revocation at line {line}, column {column}: a JSON object with the members of docs/api.md, each at most once"
    )]
    RevocationJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 0, in bytes.
        column: usize,
    },
    /// The body of a freeze is not the JSON that is expected.
    #[error(
        "not a freeze at line {line}, column {column}: a JSON object with the members of docs/api.md, each at most once"
    )]
    FreezeJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 0, in bytes.
        column: usize,
    },
    /// The reason of a revocation is none that can be kept.
    #[error("the reason must be 1 to 512 characters without control characters")]
    Reason,
    /// `session_policy` is neither a string nor an object.
    #[error("session_policy must be a JSON object, or a string that holds one")]
    SessionPolicyKind,
}

impl Fault {
    /// The stable reason code for counters.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Inquiry(refusal) => refusal.code(),
            Self::Caller(refusal) => refusal.code(),
            Self::Desk(refusal) => refusal.code(),
            Self::Freeze(refusal) => refusal.code(),
            Self::BreakGlass(refusal) => refusal.code(),
            Self::Invalid(_) => "invalid_request",
            Self::MissingToken => "missing_token",
            Self::MalformedAuthorization => "malformed_authorization",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
        }
    }
}

/// A fault on its way to the layer that renders it.
#[derive(Debug, Clone)]
pub(super) struct Unrendered(pub(super) Arc<Fault>);

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(Unrendered(Arc::new(self)));
        response
    }
}
