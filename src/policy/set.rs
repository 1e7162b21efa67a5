//! The compiled policy directory: immutable, swapped whole.

use std::collections::BTreeMap;
use std::time::Duration;

use super::break_glass::BreakGlass;
use super::compile::compile;
use super::rule::{Asked, Rule};
use super::{Bucket, Document, Operators, PolicyFiles, PolicyHash, Problem, RoleName};
use crate::token::IssuerName;

/// A policy directory that passed every check.
#[derive(Debug, Clone)]
pub struct PolicySet {
    pub(super) roles: BTreeMap<RoleName, Role>,
    pub(super) operators: Operators,
    pub(super) buckets: Vec<Bucket>,
    /// Boxed: a set is moved about by value.
    pub(super) break_glass: Option<Box<BreakGlass>>,
    pub(super) warnings: Vec<String>,
    pub(super) hash: PolicyHash,
}

/// One role: any of its rules gives its document.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub(super) document: Document,
    pub(super) ttl: Option<Duration>,
    pub(super) rules: Vec<Rule>,
}

impl PolicySet {
    /// Compiles all files or names every fault at once. `issuers` are the configured issuer names: a role that asks for
    /// another one could never match. A directory without any role is a fault: no policy set, not ready.
    pub fn compile(files: &PolicyFiles, issuers: &[IssuerName]) -> Result<Self, Vec<Problem>> {
        compile(files, issuers)
    }

    /// The hash of everything that was compiled.
    #[must_use]
    pub fn hash(&self) -> PolicyHash {
        self.hash
    }

    /// Every role with the document it grants (claims not filled in) and its own length, if it has one: what the
    /// lease room proves to fit the server's limit at load.
    pub fn roles(&self) -> impl Iterator<Item = (&RoleName, &Document, Option<Duration>)> {
        self.roles.iter().map(|(name, role)| (name, &role.document, role.ttl))
    }

    /// Who gets a role: any of these.
    #[must_use]
    pub fn rules(&self, role: &RoleName) -> Vec<Asked> {
        self.roles.get(role).map(|role| role.rules.iter().map(Rule::asked).collect()).unwrap_or_default()
    }

    /// Who may do what on stint itself.
    #[must_use]
    pub fn operators(&self) -> &Operators {
        &self.operators
    }

    /// The buckets an installation has, in the order of the file.
    #[must_use]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Who may open the emergency path together, and to what; nothing where there is no `break-glass.toml`.
    #[must_use]
    pub fn break_glass(&self) -> Option<&BreakGlass> {
        self.break_glass.as_deref()
    }

    /// Suspicious but valid: confusable group names and the like, one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
