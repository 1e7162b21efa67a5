//! `/openapi.json`: the doors described, derived from the wire types. `docs/openapi.json` is the same text.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{HttpMethod, RefOr, Required};

use super::{
    Shared, audit, break_glass, container, freezes, health, lease_desk, leases, metrics, oauth_error, problem,
    problem_code, revocations, sts, token_exchange,
};
use crate::break_glass::desk::{
    Cancelled, Granted, ReviewDue, Reviewed, Status, StatusCondition, StatusCustodian, StatusReview, StatusRole,
};
use crate::desk::{Ended, Summary};
use crate::inquiry::{
    ExpectedMinute, ExpectedWithin, Holder, LeaseForecast, LeaseHistory, LeaseSeen, Leases, TimelineEvent,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "stint", description = "OIDC tokens in, short-lived S3 credentials out, every one of them on record"),
    paths(
        sts::answer,
        leases::create,
        lease_desk::list,
        lease_desk::show,
        lease_desk::forecast,
        revocations::end,
        revocations::revoke,
        freezes::set,
        freezes::list,
        freezes::lift,
        break_glass::status,
        break_glass::submit,
        break_glass::cancel,
        break_glass::review,
        container::credentials,
        token_exchange::exchange,
        audit::events,
        audit::export,
        audit::access,
        audit::access_by_form,
        audit::grants,
        audit::emergencies,
        audit::head,
        audit::verify,
        health::live,
        health::ready,
        metrics::text,
        answer
    ),
    components(schemas(
        sts::StsForm,
        leases::LeaseRequest,
        leases::Lease,
        leases::Credentials,
        revocations::EndRequest,
        revocations::RevocationRequest,
        revocations::LastLine,
        freezes::FreezeRequest,
        freezes::FreezeAnswer,
        freezes::FreezesAnswer,
        break_glass::SignedDocument,
        break_glass::DocumentSignature,
        Status,
        StatusCondition,
        StatusCustodian,
        StatusReview,
        StatusRole,
        Granted,
        ReviewDue,
        Cancelled,
        Reviewed,
        Ended,
        Summary,
        Leases,
        LeaseSeen,
        LeaseHistory,
        TimelineEvent,
        Holder,
        LeaseForecast,
        ExpectedWithin,
        ExpectedMinute,
        container::ContainerCredentials,
        token_exchange::TokenExchangeForm,
        token_exchange::TokenExchangeAnswer,
        oauth_error::OAuthError,
        oauth_error::OAuthCode,
        health::ReadinessAnswer,
        health::Check,
        problem::ProblemDetails,
        problem_code::ProblemCode
    )),
    modifiers(&Token, &OptionalBody)
)]
struct Document;

struct Token;

impl utoipa::Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// A body may be missing, which is not the same as `null`.
struct OptionalBody;

impl utoipa::Modify for OptionalBody {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (path, method) in [
            ("/v1/leases", HttpMethod::Post),
            ("/v1/leases/{id}", HttpMethod::Delete),
            ("/v1/freezes/{id}", HttpMethod::Delete),
        ] {
            let Some(path) = document.paths.paths.get_mut(path) else { continue };
            let operation = if method == HttpMethod::Post { &mut path.post } else { &mut path.delete };
            if let Some(RefOr::T(body)) = operation.as_mut().and_then(|operation| operation.request_body.as_mut()) {
                body.required = Some(Required::False);
            }
        }
    }
}

/// The API document, pretty JSON with a newline at its end; it names `public_url` as its server where there is one.
#[must_use]
pub fn document(public_url: Option<&str>) -> String {
    let mut document = Document::openapi();
    document.servers = public_url.map(|url| vec![utoipa::openapi::Server::new(url)]);
    document.to_pretty_json().map(|json| json + "\n").unwrap_or_default()
}

/// The description of this API.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "machine",
    operation_id = "openapi",
    responses((status = 200, description = "This document"))
)]
pub(super) async fn answer(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], document(shared.doors.public_url.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_document_is_the_served_one() {
        let published = include_str!("../../docs/openapi.json");
        let served = document(None);
        if published != served {
            let fresh = std::env::temp_dir().join(format!("stint-openapi-{}.json", std::process::id()));
            std::fs::write(&fresh, &served).unwrap();
            panic!("docs/openapi.json is stale: cp {} docs/openapi.json", fresh.display());
        }
    }
}
