//! One rule that says who: an `[[allow]]` block of a role, an `[[operator]]` block, or the group of a document's name.
//! Inside a rule everything must match; a rule without any condition on the person or program is refused.

use serde_json::{Map, Value};

use super::problem::{Fault, quoted};
use super::toml_section::{self, Placed, Section};
use crate::token::{ClaimPath, Group, IssuerName, Subject, VerifiedToken};

/// The keys of a rule.
pub(super) const KEYS: [&str; 5] = ["issuer", "groups", "subjects", "clients", "claims"];

/// What a rule looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimant<'a> {
    pub(super) issuer: &'a IssuerName,
    pub(super) subject: &'a str,
    pub(super) client: Option<&'a str>,
    pub(super) groups: &'a [Group],
    pub(super) claims: &'a Map<String, Value>,
}

impl<'a> From<&'a VerifiedToken> for Claimant<'a> {
    fn from(token: &'a VerifiedToken) -> Self {
        Self {
            issuer: token.issuer(),
            subject: token.subject().as_str(),
            client: token.client(),
            groups: token.groups(),
            claims: token.claims(),
        }
    }
}

/// What a rule asks for, for people and answers. An empty list asks nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `roles/studio.toml#allow[0]`.
    pub rule: String,
    /// The issuer; `None`: any.
    pub issuer: Option<String>,
    /// Any of these groups.
    pub groups: Vec<String>,
    /// Any of these subjects.
    pub subjects: Vec<String>,
    /// Any of these clients.
    pub clients: Vec<String>,
    /// Whether claims are asked for too.
    pub claims: bool,
}

impl Asked {
    /// What an emergency role asks for: nothing of a token, but a quorum of custodians.
    #[must_use]
    pub fn by_quorum() -> Self {
        let rule = "break-glass.toml: a quorum of custodians".to_owned();
        let (groups, subjects, clients) = (Vec::new(), Vec::new(), Vec::new());
        Self { rule, issuer: None, groups, subjects, clients, claims: false }
    }
}

/// A compiled rule.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// `roles/studio.toml#allow[0]`: what rows and answers call it.
    pub(super) label: String,
    /// `None`: any configured issuer.
    issuer: Option<IssuerName>,
    /// An empty list asks nothing; one of the four lists asks something.
    groups: Vec<String>,
    subjects: Vec<String>,
    clients: Vec<String>,
    claims: Vec<(ClaimPath, Vec<String>)>,
}

impl Rule {
    /// The rule that asks for one group of any configured issuer.
    pub(super) fn of_group(label: String, group: &str) -> Self {
        let groups = vec![group.to_owned()];
        Self { label, issuer: None, groups, subjects: Vec::new(), clients: Vec::new(), claims: Vec::new() }
    }

    /// Reads the keys of a rule from a block.
    pub(super) fn read(block: Section<'_, '_>, label: String, issuers: &[IssuerName], faults: &mut Vec<Fault>) -> Self {
        let before = faults.len();
        let rule = Self {
            label,
            issuer: read_issuer(block, issuers, faults),
            groups: names(block.texts("groups", faults), "a group", |n| Group::parse(n).is_some(), faults),
            subjects: names(block.texts("subjects", faults), "a subject", |n| Subject::parse(n).is_some(), faults),
            clients: names(block.texts("clients", faults), "a client", |n| Subject::parse(n).is_some(), faults),
            claims: read_claims(block, faults),
        };
        let asks = [rule.groups.len(), rule.subjects.len(), rule.clients.len(), rule.claims.len()];
        if faults.len() == before && asks.iter().all(|&n| n == 0) {
            let message = "this block would match everyone: name groups, subjects, clients or claims";
            faults.push(Fault::new(block.offset, message));
        }
        rule
    }

    /// What it asks for.
    pub(super) fn asked(&self) -> Asked {
        Asked {
            rule: self.label.clone(),
            issuer: self.issuer.as_ref().map(|issuer| issuer.as_str().to_owned()),
            groups: self.groups.clone(),
            subjects: self.subjects.clone(),
            clients: self.clients.clone(),
            claims: !self.claims.is_empty(),
        }
    }

    /// The groups the rule names.
    pub(super) fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Whether everything the rule asks for is there. Bytes are compared as they are, never trimmed or folded: two
    /// groups that look alike are two groups.
    pub(super) fn matches(&self, claimant: &Claimant<'_>) -> bool {
        let one_of = |list: &[String], value: &str| list.iter().any(|listed| listed == value);
        self.issuer.as_ref().is_none_or(|issuer| issuer == claimant.issuer)
            && (self.groups.is_empty() || claimant.groups.iter().any(|group| one_of(&self.groups, group.as_str())))
            && (self.subjects.is_empty() || one_of(&self.subjects, claimant.subject))
            && (self.clients.is_empty() || claimant.client.is_some_and(|client| one_of(&self.clients, client)))
            && self.claims.iter().all(|(path, wanted)| match path.find(claimant.claims) {
                Some(Value::String(value)) => one_of(wanted, value),
                Some(Value::Array(values)) => {
                    values.iter().filter_map(Value::as_str).any(|value| one_of(wanted, value))
                }
                Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
            })
    }
}

fn read_issuer(block: Section<'_, '_>, issuers: &[IssuerName], faults: &mut Vec<Fault>) -> Option<IssuerName> {
    let named = block.text("issuer", faults)?;
    let known = issuers.iter().find(|issuer| issuer.as_str() == named.text);
    if known.is_none() {
        let configured: Vec<&str> = issuers.iter().map(IssuerName::as_str).collect();
        faults.push(named.fault(format!(
            "no issuer is named {}: configured are {}",
            quoted(&named.text),
            configured.join(", ")
        )));
    }
    known.cloned()
}

fn names(list: Vec<Placed>, what: &str, good: impl Fn(&str) -> bool, faults: &mut Vec<Fault>) -> Vec<String> {
    for name in list.iter().filter(|name| !good(&name.text)) {
        faults.push(
            name.fault(format!("{} cannot be {what}: empty, too long, or a control character", quoted(&name.text))),
        );
    }
    list.into_iter().map(|name| name.text).collect()
}

fn read_claims(block: Section<'_, '_>, faults: &mut Vec<Fault>) -> Vec<(ClaimPath, Vec<String>)> {
    let Some(value) = block.value("claims") else { return Vec::new() };
    let Some(claims) = Section::of(value) else {
        faults.push(Fault::new(value.span().start, "claims is a table: claims = { environment = \"prod\" }"));
        return Vec::new();
    };
    let mut read = Vec::new();
    for (name, value) in claims.entries() {
        let wanted = match (toml_section::text(value), value.get_ref().as_array()) {
            (Some(one), _) => vec![one.text],
            (None, Some(_)) => {
                toml_section::texts(value, "a claim's values", faults).into_iter().map(|placed| placed.text).collect()
            }
            (None, None) => {
                faults
                    .push(name.fault("a claim is compared with a string or a list of strings; quote a path: \"a.b\""));
                continue;
            }
        };
        match ClaimPath::parse(&name.text) {
            Some(path) if !wanted.is_empty() => read.push((path, wanted)),
            Some(_) => faults.push(name.fault("no value: an empty list never matches")),
            None => faults.push(name.fault(format!("{} is no claim path", quoted(&name.text)))),
        }
    }
    read
}
