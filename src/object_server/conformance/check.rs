//! What one check found. Its name is stable; what was seen is for people.

use serde::Serialize;

/// Every check, in the order they are made.
pub(super) const ALL: [&str; 21] = [
    "ready",
    "clock",
    "parent-is-not-root",
    "parent-reads-no-secrets",
    "parent-makes-no-keys",
    "own-sign-on",
    "mint",
    "round-trip",
    "multipart",
    "presigned",
    "list",
    "outside-is-refused",
    "token-is-needed",
    "no-permanent-key",
    "no-new-session",
    "expiry",
    "revocation",
    "latency",
    "new-bucket-is-private",
    "lifecycle",
    "cleanup",
];

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it must be.
    Passed,
    /// Not as it must be, or not known to be.
    Failed,
    /// Neither: a fact to know, or a thing that cannot be tried here.
    Noted,
    /// The server, or the configuration, has no such thing.
    NotApplicable,
}

impl Outcome {
    /// The name in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Noted => "noted",
            Self::NotApplicable => "n/a",
        }
    }
}

/// One check and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its stable name.
    pub name: &'static str,
    /// Of which parent, by its duty, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

/// A check without its name.
#[derive(Debug)]
pub(super) struct Verdict {
    outcome: Outcome,
    seen: String,
    advice: Option<&'static str>,
}

impl Verdict {
    pub(super) fn passed(seen: impl Into<String>) -> Self {
        Self { outcome: Outcome::Passed, seen: seen.into(), advice: None }
    }

    pub(super) fn failed(seen: impl Into<String>, advice: &'static str) -> Self {
        Self { outcome: Outcome::Failed, seen: seen.into(), advice: Some(advice) }
    }

    pub(super) fn noted(seen: impl Into<String>, advice: &'static str) -> Self {
        Self { outcome: Outcome::Noted, seen: seen.into(), advice: Some(advice) }
    }

    pub(super) fn not_applicable(seen: impl Into<String>) -> Self {
        Self { outcome: Outcome::NotApplicable, seen: seen.into(), advice: None }
    }

    pub(super) fn is_passed(&self) -> bool {
        self.outcome == Outcome::Passed
    }

    pub(super) fn of(self, name: &'static str) -> Check {
        Check { name, parent: None, outcome: self.outcome, seen: self.seen, advice: self.advice }
    }
}

/// Ends a check early, in words.
pub(super) type Tried<T> = Result<T, String>;

/// A check that succeeds step by step, or fails at one of them.
pub(super) fn judged(result: Tried<String>, advice: &'static str) -> Verdict {
    match result {
        Ok(seen) => Verdict::passed(seen),
        Err(seen) => Verdict::failed(seen, advice),
    }
}
