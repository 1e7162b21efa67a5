//! `roles/<role>.toml`: which documents a role grants, for how long, and to whom.

use std::time::Duration;

use super::problem::{Fault, quoted};
use super::rule::{self, Rule};
use super::toml_section::{Placed, Section};
use crate::token::IssuerName;

/// The bounds no role leaves (DESIGN 3.6): stock SDKs come back too often below, a leaked key lives too long above.
const SHORTEST_MINUTES: u64 = 15;
const LONGEST_MINUTES: u64 = 60;

/// A role file that was read.
#[derive(Debug)]
pub(super) struct RoleFile {
    pub(super) documents: Vec<Placed>,
    pub(super) ttl: Option<Duration>,
    pub(super) rules: Vec<Rule>,
}

impl RoleFile {
    /// Reads the file `file`.
    pub(super) fn read(top: Section<'_, '_>, file: &str, issuers: &[IssuerName], faults: &mut Vec<Fault>) -> Self {
        top.closed(&["description", "documents", "ttl", "allow"], faults);
        top.text("description", faults);
        let ttl = top.text("ttl", faults).and_then(|ttl| read_ttl(&ttl, faults));
        let documents = top.texts("documents", faults);
        if documents.is_empty() {
            faults.push(Fault::new(top.offset, "a role needs documents = [\"…\"]"));
        }
        for (i, document) in documents.iter().enumerate() {
            if documents.iter().take(i).any(|earlier| earlier.text == document.text) {
                faults.push(document.fault(format!("document {} is listed twice", quoted(&document.text))));
            }
        }
        let blocks = top.sections("allow", faults);
        if blocks.is_empty() {
            faults.push(Fault::new(top.offset, "a role needs at least one [[allow]] block, or nobody can have it"));
        }
        let mut rules = Vec::new();
        for (i, block) in blocks.into_iter().enumerate() {
            block.closed(&rule::KEYS, faults);
            rules.push(Rule::read(block, format!("{file}#allow[{i}]"), issuers, faults));
        }
        Self { documents, ttl, rules }
    }
}

fn read_ttl(ttl: &Placed, faults: &mut Vec<Fault>) -> Option<Duration> {
    let digits = ttl.text.strip_suffix('m').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let minutes = digits.and_then(|digits| digits.parse().ok());
    let minutes = minutes.filter(|minutes| (SHORTEST_MINUTES..=LONGEST_MINUTES).contains(minutes));
    if minutes.is_none() {
        let shown = quoted(&ttl.text);
        faults.push(
            ttl.fault(format!("ttl is minutes from \"{SHORTEST_MINUTES}m\" to \"{LONGEST_MINUTES}m\", not {shown}")),
        );
    }
    minutes.map(Duration::from_mins)
}
