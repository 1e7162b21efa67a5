//! The doors that freeze: `POST /v1/freezes`, `GET /v1/freezes`, `DELETE /v1/freezes/{id}`. Strict: a misspelt member must not
//! become a wider freeze, nor none at all.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::arrival::Arrival;
use super::fault::{Fault, Invalid};
use super::json::json;
use super::problem::ProblemDetails;
use super::revocations::{checked, order, wish};
use super::{Shared, authorization};
use crate::audit::{Door, instant};
use crate::desk::{DeskRequest, FreezeRefusal};
use crate::lease::{Freeze, FreezeId, Frozen, FrozenParts, GivenFreeze};

/// What is to be frozen: exactly one of `subject` with `issuer`, `group` or `client` (perhaps with `issuer`), `issuer`, `role`,
/// `everything`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FreezeRequest {
    /// A holder's `sub`, exact.
    subject: Option<String>,
    /// The issuer's configured name.
    issuer: Option<String>,
    /// A group in the holder's token, exact.
    group: Option<String>,
    /// `azp` or `client_id`, exact.
    client: Option<String>,
    /// A role.
    role: Option<String>,
    /// Everybody.
    #[serde(default)]
    everything: bool,
    /// At most 512 characters; recorded.
    reason: Option<String>,
}

/// One freeze.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct FreezeAnswer {
    /// What lifts it.
    freeze_id: Uuid,
    /// In words.
    frozen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    /// Everybody.
    everything: bool,
    /// When it was set.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    set_at: OffsetDateTime,
    /// Who set it: `issuer:subject`, or `os:` and a user.
    actor: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The freezes in force.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct FreezesAnswer {
    /// In the order in which they were set.
    freezes: Vec<FreezeAnswer>,
}

impl From<&Freeze> for FreezeAnswer {
    fn from(freeze: &Freeze) -> Self {
        let Freeze { id, frozen, set_at, actor, why } = freeze;
        let FrozenParts { issuer, subject, group, client, role } = frozen.parts();
        Self {
            freeze_id: id.as_uuid(),
            frozen: frozen.to_string(),
            subject: subject.map(str::to_owned),
            issuer: issuer.map(str::to_owned),
            group: group.map(str::to_owned),
            client: client.map(str::to_owned),
            role: role.map(str::to_owned),
            everything: *frozen == Frozen::Everything,
            set_at: *set_at,
            actor: actor.clone(),
            reason: why.clone(),
        }
    }
}

/// Freeze.
#[utoipa::path(
    post,
    path = "/v1/freezes",
    tag = "desk",
    operation_id = "freeze",
    description = "From here on nothing is granted to whom it covers: here at once, at every instance within a second, until it is \
                   lifted. Leases that are out stay; `POST /v1/revocations` ends them. Needs `freeze`.",
    request_body = FreezeRequest,
    responses(
        (status = 201, description = "Frozen", body = FreezeAnswer),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn set(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    let unreadable = |error: &serde_json::Error| Invalid::FreezeJson { line: error.line(), column: error.column() };
    let (token, wire) = order(request, unreadable).await?;
    let FreezeRequest { subject, issuer, group, client, role, everything, reason } = wire;
    let given = GivenFreeze { subject, issuer, group, client, role, everything };
    let frozen = Frozen::one_of(given).map_err(FreezeRefusal::Freeze)?;
    let asked = DeskRequest { token, origin: arrival.at(Door::Desk), why: reason.map(checked).transpose()? };
    let freeze = shared.doors.freezes.set(asked, frozen).await?;
    Ok(json(StatusCode::CREATED, &FreezeAnswer::from(&freeze)))
}

/// What is frozen.
#[utoipa::path(
    get,
    path = "/v1/freezes",
    tag = "desk",
    operation_id = "freezes",
    description = "The freezes in force. Needs `freeze`.",
    responses(
        (status = 200, description = "Those in force", body = FreezesAnswer),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    let token = authorization::bearer(request.headers())?;
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return Err(Invalid::UnknownParameter.into());
    }
    let freezes = shared.doors.freezes.list(DeskRequest { token, origin: arrival.at(Door::Desk), why: None }).await?;
    Ok(json(StatusCode::OK, &FreezesAnswer { freezes: freezes.iter().map(FreezeAnswer::from).collect() }))
}

/// Thaw.
#[utoipa::path(
    delete,
    path = "/v1/freezes/{id}",
    tag = "desk",
    operation_id = "thaw",
    description = "Lifts a freeze. Whoever another freeze covers stays frozen. Needs `freeze`.",
    params(
        ("id" = String, Path, description = "The freeze"),
        ("reason" = Option<String>, Query, description = "Why; recorded. Or in the body"),
    ),
    request_body = super::revocations::EndRequest,
    responses(
        (status = 200, description = "Lifted: what it was", body = FreezeAnswer),
        (status = "4XX", description = "Refused", content_type = "application/problem+json", body = ProblemDetails),
        (status = "5XX", description = "Come back", content_type = "application/problem+json", body = ProblemDetails),
    ),
    security(("token" = []))
)]
pub(super) async fn lift(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Fault> {
    let (token, why) = wish(request).await?;
    let id = Uuid::parse_str(&id).map_err(|_| FreezeRefusal::NoSuchFreeze)?;
    let asked = DeskRequest { token, origin: arrival.at(Door::Desk), why };
    let freeze = shared.doors.freezes.lift(asked, FreezeId::from_uuid(id)).await?;
    Ok(json(StatusCode::OK, &FreezeAnswer::from(&freeze)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_freeze_is_no_wider_one() {
        for body in [
            r#"{"subjet":"ada","everything":true}"#,
            r#"{"everything":"yes"}"#,
            r#"{"everything":true,"everything":true}"#,
            r#"{"all":true}"#,
            "[]",
            "",
            "{}{}",
        ] {
            assert!(serde_json::from_str::<FreezeRequest>(body).is_err(), "{body}");
        }
        assert!(serde_json::from_str::<FreezeRequest>(r#"{"everything":true}"#).is_ok());
    }
}
