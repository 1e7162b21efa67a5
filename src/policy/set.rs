//! The compiled policy directory: immutable, swapped whole.

use super::{AccessRequest, Denial, Document, Grant, PolicyFiles, PolicyHash, Problem, RoleName};
use crate::token::{IssuerName, VerifiedToken};

/// A policy directory that passed every check.
#[derive(Debug, Clone)]
pub struct PolicySet {}

impl PolicySet {
    /// Compiles all files or names every fault at once. `issuers` are the configured issuer names: a role that asks for
    /// another one could never match.
    pub fn compile(_files: &PolicyFiles, _issuers: &[IssuerName]) -> Result<Self, Vec<Problem>> {
        todo!()
    }

    /// The hash of everything that was compiled.
    #[must_use]
    pub fn hash(&self) -> PolicyHash {
        todo!()
    }

    /// Every role with the document it grants (claims not filled in) and its own length, if it has one: what the
    /// lease room proves to fit the server's limit at load.
    pub fn roles(&self) -> impl Iterator<Item = (&RoleName, &Document, Option<std::time::Duration>)> {
        std::iter::empty()
    }

    /// Suspicious but valid: confusable group names and the like, one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        todo!()
    }

    /// Decides one request.
    pub fn decide(&self, _token: &VerifiedToken, _request: &AccessRequest) -> Result<Grant, Denial> {
        todo!()
    }
}
