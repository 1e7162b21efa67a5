//! What one `AssumeRole` says in every dialect. It is made from a receipt and the request that the receipt is for, so
//! that no dialect can send what is not on record.

use std::time::Duration;

use super::ObjectServerError;
use crate::audit::AuditReceipt;
use crate::lease::{AssumeRole, LeaseId};

/// One `AssumeRole`, before a dialect adds its own fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Minting<'a> {
    pub(super) lease: LeaseId,
    pub(super) subject: &'a str,
    pub(super) duration: Duration,
    pub(super) role_session_name: &'a str,
    pub(super) session_policy: &'a str,
}

impl<'a> Minting<'a> {
    /// Takes the request as it is on record.
    pub(super) fn on_record(receipt: &AuditReceipt, request: &'a AssumeRole) -> Result<Self, ObjectServerError> {
        if receipt.lease_id() != request.lease_id() {
            return Err(ObjectServerError::ReceiptMismatch);
        }
        Ok(Self {
            lease: request.lease_id(),
            subject: request.subject().as_str(),
            duration: request.duration(),
            role_session_name: request.role_session_name().as_str(),
            session_policy: request.session_policy().as_str(),
        })
    }
}

/// One lease as the dialects' tests mint it.
#[cfg(test)]
pub(super) fn example() -> Minting<'static> {
    Minting {
        lease: LeaseId::from_uuid(uuid::Uuid::from_u128(7)),
        subject: "alice",
        duration: Duration::from_mins(15),
        role_session_name: "alice-7",
        session_policy: r#"{"Statement":[{"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::a b+c/*"]}]}"#,
    }
}
