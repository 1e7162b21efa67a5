//! The object server's STS. This room speaks each server's dialect and proves nothing about identity or policy: it
//! sends the request that is on record, and believes only a complete answer. It never mints without a receipt.

mod aws;
pub mod bootstrap;
mod ceph;
pub mod conformance;
mod credentials;
mod endpoint;
mod escape;
mod garage;
mod garage_admin;
mod keys_in_use;
mod listing;
mod minio;
mod minio_admin;
mod minio_keys;
mod minting;
mod parents;
pub mod probe;
mod role_deny;
pub mod rotation;
mod rustfs;
pub mod s3;
mod seaweedfs;
mod self_test;
mod settings;
mod signing;
mod standing;
mod sts_call;
mod wire;

#[cfg(test)]
#[path = "../../tests/it/harness/object_server.rs"]
mod scripted;

use std::iter::successors;
use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;

pub use aws::{AwsRole, AwsServer};
pub use ceph::CephServer;
pub use credentials::{AccessKeyId, TemporaryCredentials};
pub use endpoint::ConfigError;
pub use garage::{GarageServer, GarageSettings};
pub use listing::{Absence, ListedCredential, ParentListing};
pub use minio::MinioServer;
pub use parents::{Duty, Parent, Parents};
pub use role_deny::{RoleDeny, RoleDenySettings, WithRoleDeny};
pub use rustfs::RustfsServer;
pub use seaweedfs::SeaweedfsServer;
pub use self_test::{Finding, NewSession, SelfTest, SelfTestCheck, SelfTestTraits};
pub use settings::ServerSettings;
pub use standing::{Admission, Change, RoleClosed, Standings};

use crate::audit::{AuditReceipt, KeyFingerprint};
use crate::lease::{AssumeRole, Capabilities, LeaseId, MintingParents, Revocation};

/// A lease to be ended, as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseToEnd {
    /// Its id.
    pub id: LeaseId,
    /// The parent that minted it, where the log says.
    pub parent: Option<KeyFingerprint>,
}

impl From<&AssumeRole> for LeaseToEnd {
    fn from(planned: &AssumeRole) -> Self {
        Self { id: planned.lease_id(), parent: planned.parent().map(KeyFingerprint::from) }
    }
}

impl From<LeaseId> for LeaseToEnd {
    fn from(id: LeaseId) -> Self {
        Self { id, parent: None }
    }
}

/// A server that mints temporary credentials.
///
/// An implementor MUST refuse a receipt for another lease than the request's, MUST send the request's session policy
/// unchanged, MUST NOT send the request twice once any byte of it may have arrived (a second credential would be an
/// orphan), and MUST bound time and size of the answer.
#[async_trait]
pub trait ObjectServer: std::fmt::Debug + Send + Sync {
    /// Mints the credentials of one lease whose intent is on record.
    async fn assume_role(
        &self,
        receipt: &AuditReceipt,
        request: &AssumeRole,
    ) -> Result<TemporaryCredentials, ObjectServerError>;

    /// Ends one lease at the server, as far as it can: for a credential that exists and must not leave. A server that
    /// cannot end one alone answers [`ObjectServerError::NotRevocable`], and is asked nothing.
    async fn revoke(&self, lease: &LeaseToEnd) -> Result<(), ObjectServerError>;

    /// Ends every lease of a parent at once, `None` being the only one there is: a wide means, for when all of them are meant.
    /// A server that cannot, or not with the keys at hand, answers [`ObjectServerError::NotRevocable`], and is asked nothing.
    async fn revoke_all(&self, _parent: Option<&KeyFingerprint>) -> Result<(), ObjectServerError> {
        Err(ObjectServerError::NotRevocable { smallest: self.capabilities().revocation })
    }

    /// The temporary credentials that the server keeps for our parents, one listing for each parent; expired ones may be
    /// among them. A server that keeps none, because its tokens need no memory, answers [`ObjectServerError::KeepsNoList`]
    /// and is asked nothing. An implementor MUST bound size and time of the listing, and MUST NOT answer a part for the whole:
    /// whatever is missing from it is taken for revoked.
    async fn live_credentials(&self) -> Result<Vec<ParentListing>, ObjectServerError> {
        Err(ObjectServerError::KeepsNoList)
    }

    /// Whether the server would mint now, as far as it can be asked without minting.
    async fn ready(&self) -> Result<(), ObjectServerError>;

    /// What the server takes and enforces.
    fn capabilities(&self) -> &Capabilities;

    /// Which parent mints which roles, for planning. A server that is spoken to as one parent needs no name for it.
    fn parents(&self) -> Arc<MintingParents> {
        Arc::default()
    }
}

/// Why no believable credentials came back; [`ObjectServerError::code`] is stable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ObjectServerError {
    /// The receipt is for another lease: a fault of ours, nothing was sent.
    #[error("the receipt is for another lease")]
    ReceiptMismatch,
    /// The request cannot be put into a signed form: a fault of ours, nothing was sent.
    #[error("the request cannot be signed")]
    Unsendable,
    /// No connection, or it broke before anything was sent.
    #[error("the object server cannot be reached{}", causes(Some(.0.as_ref())))]
    Unreachable(#[source] Arc<reqwest::Error>),
    /// The server, or the network, took too long or broke off; whether it minted is unknown.
    #[error("the object server did not answer in time or broke off{}", causes(.0.as_deref()))]
    Interrupted(#[source] Option<Arc<reqwest::Error>>),
    /// The server is starting (its users are not loaded), or says it is busy.
    #[error("the object server is not ready")]
    NotReady,
    /// The server refused: our parent key, the session policy or a parameter is not to its liking.
    #[error("the object server refused with {code} (HTTP {status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The server's error code, 1 to 64 of `A-Za-z0-9`; `Unreadable` if it sent none such.
        code: String,
    },
    /// The answer is not what its status promises, or larger than the bound.
    #[error("the object server's answer makes no sense: {what}")]
    Nonsense {
        /// What is missing or wrong.
        what: &'static str,
    },
    /// The credentials end in the past, or later than was asked.
    #[error("the object server's expiration {expiration} does not fit the lease")]
    ExpirationUnbelievable {
        /// What it said.
        expiration: OffsetDateTime,
    },
    /// The server's release is known to be unsafe, or cannot be told.
    #[error("the object server is refused: it must be {oldest}; found {found}")]
    Outdated {
        /// The release it names.
        found: String,
        /// The oldest release that is taken, and why.
        oldest: &'static str,
    },
    /// The server cannot end one lease alone; nothing was sent.
    #[error("the object server cannot end one lease alone, only {}: the lease ends at its expiration", whole(*.smallest))]
    NotRevocable {
        /// The smallest thing that it can end.
        smallest: Revocation,
    },
    /// A credential that takes several steps was begun, one of them failed, and it was removed again.
    #[error("{cause}; the key that was made for it is deleted")]
    Undone {
        /// The step that failed.
        cause: Box<Self>,
    },
    /// The same, but it could not be removed.
    #[error("{cause}; the key that was made for it could not be deleted")]
    LeftBehind {
        /// The step that failed.
        cause: Box<Self>,
    },
    /// The lease is of a parent whose key is not configured: nothing was sent, least of all under another parent, whose yes
    /// would be about other leases.
    #[error(
        "the lease is of the parent with the fingerprint {}…, which is not configured: add its key as \
         [[object_server.retired_parent]] (or audit.fingerprint_key is not what it was)",
        .fingerprint.as_str().get(..8).unwrap_or_default()
    )]
    UnknownParent {
        /// The parent's, as in the row.
        fingerprint: KeyFingerprint,
    },
    /// One of several parents.
    #[error("{parent}: {source}")]
    OfParent {
        /// Which one, by its duty; never its key.
        parent: String,
        /// What happened.
        source: Box<Self>,
    },
    /// The server keeps no list of temporary credentials, or none that is spoken here; nothing was sent.
    #[error("the object server keeps no list of temporary credentials: there is nothing to compare with the log")]
    KeepsNoList,
}

fn whole(smallest: Revocation) -> &'static str {
    match smallest {
        Revocation::Lease => "by its id",
        Revocation::Parent => "all leases of the parent",
        Revocation::Role => "all leases of the role, by changing the role",
    }
}

/// What lies below a failed call, for the operator: an untrusted certificate and a closed port have different cures. The
/// address was taken out where the error was made.
fn causes(error: Option<&reqwest::Error>) -> String {
    let direct = error.and_then(std::error::Error::source);
    successors(direct, |cause| (*cause).source()).fold(String::new(), |text, cause| format!("{text}: {cause}"))
}

impl ObjectServerError {
    /// Whether it is of the server, not of what was asked: the next request would fare the same.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Interrupted(_) | Self::NotReady | Self::Nonsense { .. } => true,
            Self::Refused { .. }
            | Self::ReceiptMismatch
            | Self::Unsendable
            | Self::ExpirationUnbelievable { .. }
            | Self::Outdated { .. }
            | Self::Undone { .. }
            | Self::LeftBehind { .. }
            | Self::UnknownParent { .. }
            | Self::NotRevocable { .. }
            | Self::KeepsNoList => false,
            Self::OfParent { source, .. } => source.is_away(),
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ReceiptMismatch => "receipt_mismatch",
            Self::Unsendable => "object_server_unsendable",
            Self::Unreachable(_) => "object_server_unreachable",
            Self::Interrupted(_) => "object_server_interrupted",
            Self::NotReady => "object_server_not_ready",
            // A fault of the server's own, half-way or not: it is told from a refusal, after which nothing exists.
            Self::Refused { status, .. } if *status >= 500 => "object_server_failed",
            Self::Refused { .. } => "object_server_refused",
            Self::Nonsense { .. } => "object_server_nonsense",
            Self::ExpirationUnbelievable { .. } => "object_server_expiration",
            Self::Outdated { .. } => "object_server_outdated",
            Self::NotRevocable { .. } => "object_server_not_revocable",
            Self::Undone { .. } => "object_server_undone",
            Self::LeftBehind { .. } => "object_server_left_behind",
            Self::UnknownParent { .. } => "parent_unknown",
            Self::OfParent { source, .. } => source.code(),
            Self::KeepsNoList => "object_server_keeps_no_list",
        }
    }

    /// The codes of every error after which credentials may exist at the server.
    pub const MAY_HAVE_MINTED: [&str; 6] = [
        "object_server_interrupted",
        "object_server_failed",
        "object_server_nonsense",
        "object_server_expiration",
        "object_server_outdated",
        "object_server_left_behind",
    ];

    /// Whether credentials may exist at the server although none were handed back.
    #[must_use]
    pub fn may_have_minted(&self) -> bool {
        match self {
            Self::Interrupted(_)
            | Self::Nonsense { .. }
            | Self::ExpirationUnbelievable { .. }
            | Self::Outdated { .. }
            | Self::LeftBehind { .. } => true,
            // A server that fails half-way, or a gateway that lost it, may have stored them before.
            Self::Refused { status, .. } => *status >= 500,
            Self::ReceiptMismatch
            | Self::Unsendable
            | Self::Unreachable(_)
            | Self::NotReady
            | Self::NotRevocable { .. }
            | Self::Undone { .. }
            | Self::UnknownParent { .. }
            | Self::KeepsNoList => false,
            Self::OfParent { source, .. } => source.may_have_minted(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_minted_is_told_by_the_code_alone() {
        let refused = |status| ObjectServerError::Refused { status, code: "x".to_owned() };
        for error in [
            ObjectServerError::ReceiptMismatch,
            ObjectServerError::Unsendable,
            ObjectServerError::Interrupted(None),
            ObjectServerError::NotReady,
            refused(403),
            refused(499),
            refused(500),
            refused(504),
            ObjectServerError::Nonsense { what: "x" },
            ObjectServerError::ExpirationUnbelievable { expiration: OffsetDateTime::UNIX_EPOCH },
            ObjectServerError::Outdated { found: "x".to_owned(), oldest: "y" },
            ObjectServerError::NotRevocable { smallest: Revocation::Role },
            ObjectServerError::Undone { cause: Box::new(refused(500)) },
            ObjectServerError::LeftBehind { cause: Box::new(ObjectServerError::NotReady) },
        ] {
            let by_code = ObjectServerError::MAY_HAVE_MINTED.contains(&error.code());
            assert_eq!(by_code, error.may_have_minted(), "{error:?}");
        }
    }
}
