//! One statement of a document, read strictly: a member that a server might read and this service does not is refused.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::action::{self, Service};
use super::claims::{self, ClaimUnusable};
use super::condition::{self, Condition};
use super::glob::{Case, matches};
use super::json::{Content, Node};
use super::operator::Operator;
use super::problem::{Fault, quoted};
use super::resource;

/// Most actions, resources or values in one array.
const MOST_ITEMS: usize = 128;

/// What a statement does when it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Grants.
    Allow,
    /// Refuses, whatever else grants.
    Deny,
}

/// One statement. `Sid` is read and dropped: it means nothing and takes room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) effect: Effect,
    /// All of one service, never empty.
    pub(super) actions: Vec<String>,
    /// Empty for `admin:` actions, which no resource restricts; never otherwise.
    pub(super) resources: Vec<String>,
    /// In order of operator and key.
    pub(super) conditions: Vec<Condition>,
}

impl Statement {
    /// Reads a statement; what is wrong with it goes to `faults`.
    pub(super) fn read(node: &Node<'_>, faults: &mut Vec<Fault>) -> Option<Self> {
        let members = object(node, "a statement", faults)?;
        let before = faults.len();
        let (mut effect, mut actions, mut resources, mut conditions) = (None, None, None, Vec::new());
        for (name, value) in &members {
            match name.as_str() {
                "Sid" => drop(text(value, "Sid", faults)),
                "Effect" => effect = read_effect(value, faults),
                "Action" => actions = Some(read_actions(value, faults)),
                "Resource" => resources = Some((value, read_texts(value, "Resource", faults))),
                "Condition" => conditions = read_conditions(value, faults),
                _ => faults.push(value.fault(unknown_member(name))),
            }
        }
        let has = |wanted: &str| members.iter().any(|(name, _)| name == wanted);
        if !has("Effect") {
            faults.push(node.fault("a statement needs \"Effect\": \"Allow\" or \"Deny\""));
        }
        if !has("Action") {
            faults.push(node.fault("a statement needs \"Action\""));
        }
        let (effect, actions) = (effect?, actions?);
        let resources = read_resources(node, &actions, resources, faults)?;
        if let Some(message) = action::widened_by_bucket_match(effect, &actions, &resources) {
            faults.push(node.fault(message));
        }
        (faults.len() == before).then_some(Self { effect, actions, resources, conditions })
    }

    /// Whether the statement matches the request.
    pub(super) fn applies(&self, action: &str, resource: &str, context: &BTreeMap<String, Vec<String>>) -> bool {
        self.actions.iter().any(|pattern| matches(pattern, action, Case::Ignored))
            && (self.resources.is_empty() || self.resources.iter().any(|p| matches(p, resource, Case::Exact)))
            && self.conditions.iter().all(|condition| condition.holds(self.effect, context))
    }

    /// True if a claim is still to be filled in.
    pub(super) fn has_variables(&self) -> bool {
        let values = self.conditions.iter().flat_map(|condition| &condition.values);
        self.resources.iter().chain(values).any(|text| claims::any(text))
    }

    /// The statement with claims filled in.
    pub(super) fn fill(&self, claims: &Map<String, Value>) -> Result<Self, ClaimUnusable> {
        let resources: Result<_, _> = self.resources.iter().map(|r| claims::fill_resource(r, claims)).collect();
        let conditions: Result<_, _> = self.conditions.iter().map(|condition| condition.fill(claims)).collect();
        Ok(Self { effect: self.effect, actions: self.actions.clone(), resources: resources?, conditions: conditions? })
    }

    /// The statement with every value as an array.
    pub(super) fn to_json(&self) -> Value {
        let effect = match self.effect {
            Effect::Allow => "Allow",
            Effect::Deny => "Deny",
        };
        let mut statement =
            Map::from_iter([("Effect".to_owned(), json!(effect)), ("Action".to_owned(), json!(self.actions))]);
        if !self.resources.is_empty() {
            statement.insert("Resource".to_owned(), json!(self.resources));
        }
        if !self.conditions.is_empty() {
            statement.insert("Condition".to_owned(), condition::to_json(&self.conditions));
        }
        Value::Object(statement)
    }
}

fn unknown_member(name: &str) -> String {
    match name {
        "NotAction" => "NotAction is refused: it grants whatever a server adds later; list the actions".to_owned(),
        "NotResource" => "NotResource is refused: list the resources, or Deny the exceptions".to_owned(),
        "Principal" | "NotPrincipal" => format!("{name} is refused: roles/*.toml says who; remove it"),
        _ => format!("unknown member {}: a statement has Sid, Effect, Action, Resource, Condition", quoted(name)),
    }
}

fn read_effect(node: &Node<'_>, faults: &mut Vec<Fault>) -> Option<Effect> {
    match text(node, "Effect", faults)?.as_str() {
        "Allow" => Some(Effect::Allow),
        "Deny" => Some(Effect::Deny),
        other => {
            faults.push(node.fault(format!("Effect is \"Allow\" or \"Deny\", not {}", quoted(other))));
            None
        }
    }
}

fn read_actions(node: &Node<'_>, faults: &mut Vec<Fault>) -> Vec<String> {
    let mut actions = Vec::new();
    for (place, text) in read_texts(node, "Action", faults) {
        match action::read(&text) {
            Ok(action) => push_new(&mut actions, action),
            Err(message) => faults.push(place.fault(message)),
        }
    }
    let admin = actions.iter().filter(|action| action::service(action) == Service::Admin).count();
    if admin > 0 && admin < actions.len() {
        faults.push(node.fault("admin: and s3: actions in one statement are refused by MinIO: write two statements"));
    }
    actions
}

fn read_resources(
    node: &Node<'_>,
    actions: &[String],
    resources: Option<(&Node<'_>, Vec<(Node<'_>, String)>)>,
    faults: &mut Vec<Fault>,
) -> Option<Vec<String>> {
    let admin = actions.first().is_some_and(|action| action::service(action) == Service::Admin);
    match (admin, resources) {
        (_, None) if actions.is_empty() => None,
        (true, None) => Some(Vec::new()),
        (true, Some((place, resources))) => {
            if !resources.iter().all(|(_, r)| matches!(r.as_str(), "*" | "arn:aws:s3:::*")) {
                faults.push(
                    place.fault("a Resource does not restrict admin: actions, and reads as if it did: remove it"),
                );
            }
            Some(Vec::new())
        }
        (false, None) => {
            faults.push(
                node.fault("a statement needs \"Resource\": \"arn:aws:s3:::bucket\" or \"arn:aws:s3:::bucket/key\""),
            );
            None
        }
        (false, Some((_, resources))) => {
            let mut read = Vec::new();
            for (place, text) in resources {
                match resource::read(&text) {
                    Ok(()) => push_new(&mut read, text),
                    Err(message) => faults.push(place.fault(message)),
                }
            }
            Some(read)
        }
    }
}

fn read_conditions(node: &Node<'_>, faults: &mut Vec<Fault>) -> Vec<Condition> {
    let mut conditions: Vec<Condition> = Vec::new();
    let Some(operators) = object(node, "Condition", faults) else { return conditions };
    if operators.is_empty() {
        faults.push(node.fault("an empty Condition restricts nothing: remove it"));
    }
    for (name, keys) in &operators {
        let Some(operator) = Operator::parse(name) else {
            faults.push(keys.fault(format!(
                "unknown condition operator {}: the servers share String…, Numeric…, Date…, Bool, IpAddress, \
                 NotIpAddress, Null",
                quoted(name)
            )));
            continue;
        };
        let Some(keys) = object(keys, name, faults).filter(|keys| !keys.is_empty()) else {
            faults.push(keys.fault(format!("{name} needs a key and values")));
            continue;
        };
        for (key, values) in &keys {
            match read_condition(operator, key, values, faults) {
                Some(new) if conditions.iter().any(|c| c.operator == operator && c.key == new.key) => {
                    faults.push(values.fault(format!("{} appears twice under {name}: keep one", quoted(&new.key))));
                }
                Some(new) => conditions.push(new),
                None => {}
            }
        }
    }
    conditions.sort();
    conditions
}

fn read_condition(operator: Operator, key: &str, node: &Node<'_>, faults: &mut Vec<Fault>) -> Option<Condition> {
    let key = Condition::read_key(key).map_err(|message| faults.push(node.fault(message))).ok();
    let mut values = Vec::new();
    for (place, value) in read_scalars(node, faults) {
        match Condition::read_value(operator, &value) {
            Ok(()) => push_new(&mut values, value),
            Err(message) => faults.push(place.fault(message)),
        }
    }
    if values.len() > 1 && !operator.takes_several() {
        faults.push(node.fault(format!("{} takes one value: MinIO refuses more", operator.name())));
    }
    (!values.is_empty()).then_some(Condition { operator, key: key?, values })
}

/// The members of an object.
pub(super) fn object<'a>(node: &Node<'a>, what: &str, faults: &mut Vec<Fault>) -> Option<Vec<(String, Node<'a>)>> {
    match node.content() {
        Ok(Content::Object(members)) if members.len() <= MOST_ITEMS => return Some(members),
        Ok(Content::Object(_)) => faults.push(node.fault(format!("{what} has more than {MOST_ITEMS} members"))),
        Ok(Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) | Content::Array(_)) => {
            faults.push(node.fault(format!("{what} must be an object")));
        }
        Err(fault) => faults.push(fault),
    }
    None
}

/// A string.
pub(super) fn text(node: &Node<'_>, what: &str, faults: &mut Vec<Fault>) -> Option<String> {
    match node.content() {
        Ok(Content::Text(text)) => return Some(text),
        Ok(Content::Null | Content::Bool(_) | Content::Number(_) | Content::Object(_) | Content::Array(_)) => {
            faults.push(node.fault(format!("{what} must be a string")));
        }
        Err(fault) => faults.push(fault),
    }
    None
}

/// The items of an array, or the one value that stands for an array of one. Never empty without a fault.
pub(super) fn items<'a>(node: &Node<'a>, what: &str, faults: &mut Vec<Fault>) -> Vec<Node<'a>> {
    match node.content() {
        Ok(Content::Array(items)) if items.is_empty() => faults.push(node.fault(format!("{what} must not be empty"))),
        Ok(Content::Array(items)) if items.len() > MOST_ITEMS => {
            faults.push(node.fault(format!("{what} has more than {MOST_ITEMS} entries")));
        }
        Ok(Content::Array(items)) => return items,
        Ok(Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) | Content::Object(_)) => {
            return vec![*node];
        }
        Err(fault) => faults.push(fault),
    }
    Vec::new()
}

fn read_texts<'a>(node: &Node<'a>, what: &str, faults: &mut Vec<Fault>) -> Vec<(Node<'a>, String)> {
    items(node, what, faults)
        .into_iter()
        .filter_map(|item| text(&item, what, faults).map(|text| (item, text)))
        .collect()
}

/// Condition values: strings, or numbers and booleans as written.
fn read_scalars<'a>(node: &Node<'a>, faults: &mut Vec<Fault>) -> Vec<(Node<'a>, String)> {
    let mut scalars = Vec::new();
    for item in items(node, "a condition's values", faults) {
        match item.content() {
            Ok(Content::Text(text)) => scalars.push((item, text)),
            Ok(Content::Number(number)) => scalars.push((item, number.to_owned())),
            Ok(Content::Bool(value)) => scalars.push((item, value.to_string())),
            Ok(Content::Null | Content::Array(_) | Content::Object(_)) => {
                faults.push(item.fault("a condition's value is a string, a number or a boolean"));
            }
            Err(fault) => faults.push(fault),
        }
    }
    scalars
}

fn push_new(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}
