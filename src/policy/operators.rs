//! `operators.toml`: who may look at and act on stint itself. Absent means nobody.

use super::problem::{Fault, quoted};
use super::rule::{Claimant, Rule};
use super::toml_section::Section;
use crate::token::{IssuerName, VerifiedToken};

/// One right on stint itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// Read the issuance log.
    AuditRead,
    /// List and show leases.
    LeaseRead,
    /// End leases before their time.
    LeaseRevoke,
    /// Set and lift freezes.
    Freeze,
    /// Ask why somebody gets, or does not get, a role.
    PolicyExplain,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 5] = [Self::AuditRead, Self::LeaseRead, Self::LeaseRevoke, Self::Freeze, Self::PolicyExplain];

    /// The word used in `operators.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuditRead => "audit.read",
            Self::LeaseRead => "lease.read",
            Self::LeaseRevoke => "lease.revoke",
            Self::Freeze => "freeze",
            Self::PolicyExplain => "policy.explain",
        }
    }

    /// Reads the word used in `operators.toml`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == word)
    }
}

/// Who may do what on stint itself; nobody anything by default.
#[derive(Debug, Clone)]
pub struct Operators(Vec<(Rule, Vec<Permission>)>);

impl Operators {
    /// The rule that gives this identity the permission (`operators.toml#operator[0]`), or `None`: refused.
    #[must_use]
    pub fn permits(&self, token: &VerifiedToken, permission: Permission) -> Option<&str> {
        self.rule_for(&Claimant::from(token), permission)
    }

    pub(super) fn rule_for(&self, claimant: &Claimant<'_>, permission: Permission) -> Option<&str> {
        let matching = |(rule, permissions): &&(Rule, Vec<Permission>)| {
            permissions.contains(&permission) && rule.matches(claimant)
        };
        self.0.iter().find(matching).map(|(rule, _)| rule.label.as_str())
    }

    /// Nobody may do anything.
    pub(super) fn nobody() -> Self {
        Self(Vec::new())
    }

    /// The groups the rules name.
    pub(super) fn groups(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(|(rule, _)| rule.groups())
    }

    /// Reads the file.
    pub(super) fn read(top: Section<'_, '_>, file: &str, issuers: &[IssuerName], faults: &mut Vec<Fault>) -> Self {
        top.closed(&["operator"], faults);
        let mut operators = Vec::new();
        for (i, block) in top.sections("operator", faults).into_iter().enumerate() {
            block.closed(&["description", "permissions", "issuer", "groups", "subjects", "clients", "claims"], faults);
            block.text("description", faults);
            let rule = Rule::read(block, format!("{file}#operator[{i}]"), issuers, faults);
            let mut permissions = Vec::new();
            for word in block.texts("permissions", faults) {
                match Permission::parse(&word.text) {
                    Some(permission) => permissions.push(permission),
                    None => {
                        let known = Permission::ALL.map(Permission::as_str).join(", ");
                        faults
                            .push(word.fault(format!("unknown permission {}: known are {known}", quoted(&word.text))));
                    }
                }
            }
            if block
                .value("permissions")
                .and_then(|value| value.get_ref().as_array())
                .is_none_or(|list| list.is_empty())
            {
                faults.push(Fault::new(block.offset, "an operator needs permissions = [\"audit.read\", …]"));
            }
            operators.push((rule, permissions));
        }
        Self(operators)
    }
}
