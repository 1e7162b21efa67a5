//! `break-glass.toml`: who may open the emergency path together, which roles it gives, and when. Absent means that there is
//! no such path. This room says what is allowed; whether there is an emergency is judged elsewhere.

mod custodian;
mod file;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{Document, RoleName};
use crate::token::IssuerName;

pub use custodian::{Custodian, CustodianKey, CustodianKeyError, CustodianName};

pub(super) use file::{BreakGlassFile, Listed};

/// What must hold for emergency credentials to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EmergencyCondition {
    /// No configured issuer answers.
    IssuerDown,
    /// PostgreSQL does not answer.
    LogDown,
    /// The higher quorum says so itself.
    Declared,
}

impl EmergencyCondition {
    /// Every condition.
    pub const ALL: [Self; 3] = [Self::IssuerDown, Self::LogDown, Self::Declared];

    /// The word used in `break-glass.toml`, in answers and in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IssuerDown => "issuer_down",
            Self::LogDown => "log_down",
            Self::Declared => "declared",
        }
    }

    /// Reads that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|condition| condition.as_str() == word)
    }
}

/// A role that is had by the quorum alone.
#[derive(Debug, Clone)]
pub struct EmergencyRole {
    name: RoleName,
    document: Document,
    length: Duration,
}

impl EmergencyRole {
    pub(super) fn new(name: RoleName, document: Document, length: Duration) -> Self {
        Self { name, document, length }
    }

    /// Its name: no role of `roles/` or by convention has it.
    #[must_use]
    pub fn name(&self) -> &RoleName {
        &self.name
    }

    /// What it grants; there is no token to fill claims in from.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The longest it is given for: 1 to 15 minutes.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }
}

/// The harmless role that drills use, and where they try it.
#[derive(Debug, Clone)]
pub struct Drill {
    pub(super) role: EmergencyRole,
    pub(super) bucket: String,
}

impl Drill {
    /// The role: only drills have it, and they have no other.
    #[must_use]
    pub fn role(&self) -> &EmergencyRole {
        &self.role
    }

    /// The bucket in which a drill tries its credential.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }
}

/// Which emergency roles a token with assurance `break_glass` may have, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmergencyTokens {
    pub(super) issuers: Vec<IssuerName>,
    pub(super) roles: Vec<RoleName>,
}

impl EmergencyTokens {
    /// The issuers whose word is taken; all of them are configured.
    #[must_use]
    pub fn issuers(&self) -> &[IssuerName] {
        &self.issuers
    }

    /// The roles they may give; all of them are emergency roles, none is the drill's.
    #[must_use]
    pub fn roles(&self) -> &[RoleName] {
        &self.roles
    }
}

/// A `break-glass.toml` that passed every check.
#[derive(Debug, Clone)]
pub struct BreakGlass {
    pub(super) quorum: usize,
    pub(super) declared_quorum: usize,
    pub(super) conditions: Vec<EmergencyCondition>,
    pub(super) minimum_outage: Duration,
    pub(super) review_within: Duration,
    pub(super) drill_every: Duration,
    pub(super) alert_webhook: Option<String>,
    pub(super) custodians: Vec<Custodian>,
    pub(super) roles: Vec<EmergencyRole>,
    pub(super) drill: Drill,
    pub(super) emergency_tokens: Option<EmergencyTokens>,
}

impl BreakGlass {
    /// How many custodians sign a use or a drill: at least two.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.quorum
    }

    /// How many custodians declare an emergency that no probe sees: more than the quorum, or all.
    #[must_use]
    pub fn declared_quorum(&self) -> usize {
        self.declared_quorum
    }

    /// Everybody who may sign, in the order of the file: at least three, no two with one key.
    #[must_use]
    pub fn custodians(&self) -> &[Custodian] {
        &self.custodians
    }

    /// The custodian of this name.
    #[must_use]
    pub fn custodian(&self, name: &CustodianName) -> Option<&Custodian> {
        self.custodians.iter().find(|custodian| custodian.name() == name)
    }

    /// Any of these suffices; never empty.
    #[must_use]
    pub fn conditions(&self) -> &[EmergencyCondition] {
        &self.conditions
    }

    /// How long a condition must have held before it counts: 30 seconds to an hour.
    #[must_use]
    pub fn minimum_outage(&self) -> Duration {
        self.minimum_outage
    }

    /// How long a use may stay without a closed review before that is overdue.
    #[must_use]
    pub fn review_within(&self) -> Duration {
        self.review_within
    }

    /// How long after a drill the next one is overdue.
    #[must_use]
    pub fn drill_every(&self) -> Duration {
        self.drill_every
    }

    /// Where alerts are posted besides log and metrics: an https URL, or http on loopback.
    #[must_use]
    pub fn alert_webhook(&self) -> Option<&str> {
        self.alert_webhook.as_deref()
    }

    /// Every emergency role, and the drill's last: what the lease room proves to fit the server's limit at load.
    pub fn roles(&self) -> impl Iterator<Item = &EmergencyRole> {
        self.roles.iter().chain([self.drill.role()])
    }

    /// The emergency role of this name; the drill's too.
    #[must_use]
    pub fn role(&self, name: &RoleName) -> Option<&EmergencyRole> {
        self.roles().find(|role| role.name() == name)
    }

    /// The harmless role of drills.
    #[must_use]
    pub fn drill(&self) -> &Drill {
        &self.drill
    }

    /// Whose tokens with assurance `break_glass` are honoured, and for what; nothing where the file has no such table.
    #[must_use]
    pub fn emergency_tokens(&self) -> Option<&EmergencyTokens> {
        self.emergency_tokens.as_ref()
    }
}
