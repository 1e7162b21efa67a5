//! One difference between what is there and what is wanted, with everything needed to apply it and to tell it first.

use std::fmt;

use super::lifecycle::{Effect, Effects};

/// A change of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change(pub(super) Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    /// Statements that allow everybody something go; the rest of the policy stays.
    ClosePolicy {
        public: Vec<String>,
        rest: Option<String>,
    },
    CloseAcl,
    Lifecycle {
        from: Effects,
        to: Effects,
    },
    Versioning {
        to: bool,
    },
}

impl Change {
    /// What it does, one line each; `+` is made, `-` goes.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match &self.0 {
            Kind::Create => vec!["+ the bucket, private".to_owned()],
            Kind::ClosePolicy { public, rest: _ } => {
                public.iter().map(|statement| format!("- policy: {statement}")).collect()
            }
            Kind::CloseAcl => vec!["- ACL: everybody is granted something".to_owned()],
            Kind::Lifecycle { from, to } => {
                let line = |sign: char| move |effect: &Effect| format!("{sign} lifecycle: {effect}");
                from.difference(to).map(line('-')).chain(to.difference(from).map(line('+'))).collect()
            }
            Kind::Versioning { to: true } => vec!["+ versioning".to_owned()],
            Kind::Versioning { to: false } => vec!["- versioning (suspended; the versions there are stay)".to_owned()],
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("; "))
    }
}
