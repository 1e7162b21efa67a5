//! The decision. Default deny is a search: the roles whose rules match are looked up, and none is a refusal.

use std::time::Duration;

use super::{Document, PolicyHash, RoleName};

/// What a caller asks for.
#[derive(Debug, Clone)]
pub struct AccessRequest {
    /// Which role.
    pub role: RequestedRole,
    /// A policy document the caller wants the lease narrowed by, as sent; it can only ever take away.
    pub session_policy: Option<String>,
}

/// The role a caller names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedRole {
    /// This one.
    Named(RoleName),
    /// The reserved role `any`: the one role that matches, or all that match combined.
    Any,
    /// Not a role name at all; refused like an unknown role, so that a door needs no refusal of its own.
    Unusable,
}

impl RequestedRole {
    /// Reads a bare role name, `any`, or the last part of `arn:…:role/<role>`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let name = match text.strip_prefix("arn:") {
            Some(arn) => arn.split_once(":role/").map_or("", |(_, path)| path.rsplit('/').next().unwrap_or("")),
            None => text,
        };
        match RoleName::parse(name) {
            Some(name) if name.as_str() == "any" => Self::Any,
            Some(name) => Self::Named(name),
            None => Self::Unusable,
        }
    }
}

/// A positive decision: this identity may have this document. Made only by [`super::PolicySet::decide`].
#[derive(Debug, Clone)]
pub struct Grant {
    roles: Vec<RoleName>,
    rule: String,
    document: Document,
    ttl: Option<Duration>,
    policy_hash: PolicyHash,
}

impl Grant {
    /// The roles granted, in name order: one, or several when `any` combined them. Never empty.
    #[must_use]
    pub fn roles(&self) -> &[RoleName] {
        &self.roles
    }

    /// The name for answers and rows: the role's, or `any` when several were combined.
    #[must_use]
    pub fn role(&self) -> &str {
        match self.roles.as_slice() {
            [role] => role.as_str(),
            _ => "any",
        }
    }

    /// Which rules matched, for the row: `roles/studio.toml#allow[0]`, or `documents/x.json` by the naming convention.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The document, claims filled in, narrowed as asked.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The shortest `ttl` that a granted role sets, if any does.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// The policy text this was decided under.
    #[must_use]
    pub fn policy_hash(&self) -> PolicyHash {
        self.policy_hash
    }
}

/// A refusal by policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused by policy: {reason}")]
pub struct Denial {
    /// The cause.
    pub reason: DenialReason,
    /// The policy text this was decided under.
    pub policy_hash: PolicyHash,
}

/// Why policy refuses; [`DenialReason::code`] is stable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DenialReason {
    /// No role's rules match this identity.
    #[error("no role matches")]
    NoRole,
    /// The named role does not exist, or its rules do not match: the same answer, so that roles cannot be listed.
    #[error("the named role is not granted")]
    RoleNotGranted,
    /// The caller's session policy is not a policy document.
    #[error("the session policy is malformed")]
    SessionPolicyMalformed,
    /// The caller's session policy can neither be proven a subset of the role's nor combined with it exactly.
    #[error("the session policy cannot be combined with the role's")]
    SessionPolicyNotCombinable,
    /// A claim that the document names is missing, is not a string, or holds a character with a meaning in policies.
    #[error("a claim cannot be filled into the role's document")]
    ClaimUnusable,
}

impl DenialReason {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRole => "no_role",
            Self::RoleNotGranted => "role_not_granted",
            Self::SessionPolicyMalformed => "session_policy_malformed",
            Self::SessionPolicyNotCombinable => "session_policy_not_combinable",
            Self::ClaimUnusable => "claim_unusable",
        }
    }
}
