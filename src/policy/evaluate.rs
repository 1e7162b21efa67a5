//! The evaluator of the IAM subset that the servers share: explicit deny wins, then allow, else deny. Used by the
//! demo's object server and to prove narrowing.

use std::collections::BTreeMap;

use super::Document;

/// One question: may this action be done to this resource in this context?
#[derive(Debug, Clone, Copy)]
pub struct AccessCheck<'a> {
    /// `s3:GetObject`; compared without regard to case.
    pub action: &'a str,
    /// `arn:aws:s3:::bucket/key`, exact.
    pub resource: &'a str,
    /// Condition keys (lower case, `s3:prefix`) with their values; a key that is absent has no entry.
    pub context: &'a BTreeMap<String, Vec<String>>,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Some statement allows it and none denies it.
    Allowed,
    /// A Deny statement matches.
    Denied,
    /// Nothing matches.
    NotAllowed,
}

/// Evaluates one document. A session's rights are the AND over its parent's and its session policy's verdicts.
#[must_use]
pub fn evaluate(_document: &Document, _check: &AccessCheck<'_>) -> Verdict {
    todo!()
}
