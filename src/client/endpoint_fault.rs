//! Every refusal of the endpoint as SDKs read it: JSON with the code and the message in both spellings, as
//! `application/json` (the SDK for Go prints the raw body of anything else).

use std::sync::Arc;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::fault::Fault;

/// When to come back after a 503: the agent asks by itself meanwhile.
const RETRY_SECONDS: u16 = 2;

/// Why a caller gets no credentials.
#[derive(Debug, Clone)]
pub(super) enum EndpointFault {
    /// No token in the request.
    MissingToken,
    /// Another token than this endpoint's.
    WrongToken,
    /// Addressed by a name that is not this machine's.
    WrongHost,
    /// Sent by a browser for a page, or forwarded for somebody else.
    NotLocal,
    /// No such path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// A metadata token's life that is none.
    InvalidLife,
    /// The lease is too short for metadata clients.
    TooShort,
    /// There is no lease.
    NoLease(Arc<Fault>),
}

impl EndpointFault {
    fn told(&self) -> (StatusCode, &'static str, String) {
        let fixed = |status, code, message: &str| (status, code, message.to_owned());
        match self {
            Self::MissingToken => fixed(
                StatusCode::UNAUTHORIZED,
                "missing_token",
                "Send the content of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE in Authorization",
            ),
            Self::WrongToken => fixed(StatusCode::FORBIDDEN, "wrong_token", "Not the token of this endpoint"),
            Self::WrongHost => fixed(StatusCode::FORBIDDEN, "wrong_host", "Not addressed to this endpoint"),
            Self::NotLocal => fixed(StatusCode::FORBIDDEN, "not_local", "Only for programs of this machine"),
            Self::NotFound => fixed(StatusCode::NOT_FOUND, "not_found", "No such path"),
            Self::MethodNotAllowed => fixed(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed"),
            Self::InvalidLife => {
                fixed(StatusCode::BAD_REQUEST, "invalid_ttl", "x-aws-ec2-metadata-token-ttl-seconds must be 1 to 21600")
            }
            Self::TooShort => fixed(
                StatusCode::NOT_FOUND,
                "lease_too_short",
                "The role's leases are shorter than 30 minutes, and metadata clients would use them after their end",
            ),
            Self::NoLease(fault) => (status(fault), fault.code(), fault.to_string()),
        }
    }
}

/// A 4xx stops SDKs at once and for good; only what nobody but an administrator can end is one.
fn status(fault: &Fault) -> StatusCode {
    match fault {
        Fault::Refused(answered) if answered.status == 403 => StatusCode::FORBIDDEN,
        Fault::Refused(_) | Fault::Nonsense(_) | Fault::ProviderRefused(_) => StatusCode::BAD_GATEWAY,
        Fault::File { .. }
        | Fault::ProviderUnavailable(_)
        | Fault::Unreachable(_)
        | Fault::Unavailable(_)
        | Fault::TokenRefused(_)
        | Fault::NotYet => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl IntoResponse for EndpointFault {
    fn into_response(self) -> Response {
        let (status, code, message) = self.told();
        let body = json!({"code": code, "message": message, "Code": code, "Message": message}).to_string();
        let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
        let mut response = (status, headers, body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fault::Answered;

    #[test]
    fn only_a_refusal_by_policy_is_a_403() {
        let of = |status, code| Answered::of(status, code);
        assert_eq!(status(&Fault::Refused(of(403, "access_denied"))), StatusCode::FORBIDDEN);
        assert_eq!(status(&Fault::Refused(of(400, "duration_too_short"))), StatusCode::BAD_GATEWAY);
        for fault in [
            Fault::NotYet,
            Fault::Unreachable("refused".to_owned()),
            Fault::TokenRefused(of(401, "invalid_token")),
            Fault::Unavailable(of(429, "quota")),
        ] {
            assert_eq!(status(&fault), StatusCode::SERVICE_UNAVAILABLE, "{fault}");
        }
    }
}
