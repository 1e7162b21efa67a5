//! Reads `break-glass.toml` as it stands. Documents and the names of other roles are not known here: they are joined where
//! the whole directory is compiled.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;

use super::custodian::{Custodian, CustodianKey, CustodianName};
use super::{EmergencyCondition, EmergencyTokens};
use crate::policy::problem::{Fault, quoted};
use crate::policy::toml_section::{Placed, Section};
use crate::policy::{RoleName, is_bucket_name};
use crate::token::IssuerName;

/// No one person can use it; and whoever used it does not review it, which takes two others.
const FEWEST_SIGNERS: i64 = 2;
const FEWEST_CUSTODIANS: usize = 3;
/// More signatures than a person reads.
const MOST_CUSTODIANS: usize = 32;
/// Longest contact or webhook, in bytes.
const LONGEST_TEXT: usize = 256;

const SECOND: u64 = 1;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The file as read. What is at fault is missing here and named among the faults.
#[derive(Debug)]
pub(in crate::policy) struct BreakGlassFile {
    pub(in crate::policy) quorum: Option<usize>,
    pub(in crate::policy) declared_quorum: Option<usize>,
    pub(in crate::policy) conditions: Vec<EmergencyCondition>,
    pub(in crate::policy) minimum_outage: Option<Duration>,
    pub(in crate::policy) review_within: Option<Duration>,
    pub(in crate::policy) drill_every: Option<Duration>,
    pub(in crate::policy) alert_webhook: Option<String>,
    pub(in crate::policy) custodians: Vec<Custodian>,
    pub(in crate::policy) roles: Vec<Listed>,
    pub(in crate::policy) drill: Option<(Listed, String)>,
    pub(in crate::policy) emergency_tokens: Option<EmergencyTokens>,
}

/// A role of the file: its documents are still names.
#[derive(Debug)]
pub(in crate::policy) struct Listed {
    pub(in crate::policy) name: Placed,
    pub(in crate::policy) role: RoleName,
    pub(in crate::policy) documents: Vec<Placed>,
    pub(in crate::policy) length: Duration,
}

impl BreakGlassFile {
    /// Reads the file.
    pub(in crate::policy) fn read(top: Section<'_, '_>, issuers: &[IssuerName], faults: &mut Vec<Fault>) -> Self {
        top.closed(
            &[
                "quorum",
                "declared_quorum",
                "conditions",
                "minimum_outage",
                "review_within",
                "drill_every",
                "alert_webhook",
                "custodian",
                "role",
                "drill",
                "emergency_tokens",
            ],
            faults,
        );
        let custodians = read_custodians(top, faults);
        let (quorum, declared_quorum) = read_quorums(top, custodians.len(), faults);
        let roles = read_roles(top, faults);
        let drill = read_drill(top, &roles, faults);
        Self {
            quorum,
            declared_quorum,
            conditions: read_conditions(top, faults),
            minimum_outage: period(top, "minimum_outage", 5 * MINUTE, (30 * SECOND, HOUR), faults),
            review_within: period(top, "review_within", 72 * HOUR, (HOUR, 30 * DAY), faults),
            drill_every: period(top, "drill_every", 90 * DAY, (DAY, 366 * DAY), faults),
            alert_webhook: read_webhook(top, faults),
            custodians,
            emergency_tokens: read_tokens(top, issuers, &roles, faults),
            roles,
            drill,
        }
    }

    /// Every role with its documents, the drill's last.
    pub(in crate::policy) fn listed(&self) -> impl Iterator<Item = &Listed> {
        self.roles.iter().chain(self.drill.as_ref().map(|(listed, _)| listed))
    }
}

fn read_custodians(top: Section<'_, '_>, faults: &mut Vec<Fault>) -> Vec<Custodian> {
    let blocks = top.sections("custodian", faults);
    if !(FEWEST_CUSTODIANS..=MOST_CUSTODIANS).contains(&blocks.len()) {
        let message = format!(
            "there are {} [[custodian]] blocks: {FEWEST_CUSTODIANS} to {MOST_CUSTODIANS} are needed, because two others \
             than the requester close a review",
            blocks.len()
        );
        faults.push(Fault::new(top.offset, message));
    }
    let mut custodians: Vec<Custodian> = Vec::new();
    for block in blocks {
        block.closed(&["name", "public_key", "contact"], faults);
        let (name, key) = (block.text("name", faults), block.text("public_key", faults));
        let contact = block.text("contact", faults);
        if block.value("name").is_none() || block.value("public_key").is_none() || block.value("contact").is_none() {
            faults.push(Fault::new(block.offset, "a custodian needs name, public_key and contact"));
        }
        let (Some(name), Some(key), Some(contact)) = (name, key, contact) else { continue };
        let parsed = CustodianName::parse(&name.text);
        if parsed.is_none() {
            faults.push(name.fault("a custodian's name has 1 to 64 characters of A-Za-z0-9._-"));
        }
        let public =
            CustodianKey::parse(&key.text).map_err(|error| faults.push(key.fault(format!("public_key {error}"))));
        // It is printed on the terminal of whoever looks for help.
        if !(1..=LONGEST_TEXT).contains(&contact.text.len()) || contact.text.chars().any(char::is_control) {
            faults.push(contact.fault(format!("contact is one line of 1 to {LONGEST_TEXT} bytes")));
        }
        let (Some(parsed), Ok(public)) = (parsed, public) else { continue };
        if custodians.iter().any(|earlier| earlier.name == parsed) {
            faults.push(name.fault(format!("custodian {} is listed twice", quoted(&name.text))));
        }
        if let Some(earlier) = custodians.iter().find(|earlier| earlier.key == public) {
            let message = format!("public_key is the key of {} too: one person would be two custodians", earlier.name);
            faults.push(key.fault(message));
        }
        custodians.push(Custodian { name: parsed, key: public, contact: contact.text });
    }
    custodians
}

fn read_quorums(top: Section<'_, '_>, custodians: usize, faults: &mut Vec<Fault>) -> (Option<usize>, Option<usize>) {
    let Some(quorum) = whole_number(top, "quorum", FEWEST_SIGNERS, faults) else {
        whole_number(top, "declared_quorum", FEWEST_SIGNERS, faults);
        return (None, None);
    };
    let place = |key: &str| top.value(key).map_or(top.offset, |value| value.span().start);
    if quorum > custodians {
        let message = format!("quorum is {quorum}, but only {custodians} sound [[custodian]] blocks are there");
        faults.push(Fault::new(place("quorum"), message));
    }
    let Some(declared) = whole_number(top, "declared_quorum", FEWEST_SIGNERS, faults) else {
        return (Some(quorum), None);
    };
    let higher = declared > quorum || (declared == quorum && quorum == custodians);
    if quorum <= custodians && (!higher || declared > custodians) {
        let message = format!(
            "declared_quorum is {declared}: to declare an emergency that no probe sees takes more than the quorum of \
             {quorum}, and no more than the {custodians} custodians there are"
        );
        faults.push(Fault::new(place("declared_quorum"), message));
    }
    (Some(quorum), Some(declared))
}

fn whole_number(top: Section<'_, '_>, key: &str, fewest: i64, faults: &mut Vec<Fault>) -> Option<usize> {
    let Some(value) = top.value(key) else {
        faults.push(Fault::new(top.offset, format!("{key} is missing: a number from {fewest}")));
        return None;
    };
    let number = value.get_ref().as_integer().filter(|number| number.radix() == 10);
    let number = number.and_then(|number| number.as_str().parse::<i64>().ok()).filter(|number| *number >= fewest);
    let number = number.and_then(|number| usize::try_from(number).ok());
    if number.is_none() {
        faults.push(Fault::new(value.span().start, format!("{key} is a number from {fewest}")));
    }
    number
}

fn read_conditions(top: Section<'_, '_>, faults: &mut Vec<Fault>) -> Vec<EmergencyCondition> {
    let known = EmergencyCondition::ALL.map(EmergencyCondition::as_str).join(", ");
    let words = top.texts("conditions", faults);
    if words.is_empty() {
        faults.push(Fault::new(top.offset, format!("conditions = […] needs at least one of {known}")));
    }
    let mut conditions = Vec::new();
    for word in words {
        match EmergencyCondition::parse(&word.text) {
            Some(condition) if conditions.contains(&condition) => {
                faults.push(word.fault(format!("condition {} is listed twice", quoted(&word.text))));
            }
            Some(condition) => conditions.push(condition),
            None => faults.push(word.fault(format!("unknown condition {}: known are {known}", quoted(&word.text)))),
        }
    }
    conditions
}

fn read_roles(top: Section<'_, '_>, faults: &mut Vec<Fault>) -> Vec<Listed> {
    let blocks = top.sections("role", faults);
    if blocks.is_empty() {
        faults.push(Fault::new(top.offset, "break-glass needs at least one [[role]] block"));
    }
    let mut roles: Vec<Listed> = Vec::new();
    for block in blocks {
        block.closed(&["name", "description", "documents", "length"], faults);
        let Some(listed) = read_role(block, "name", faults) else { continue };
        if roles.iter().any(|earlier| earlier.role == listed.role) {
            faults.push(listed.name.fault(format!("role {} is listed twice", quoted(&listed.name.text))));
        }
        roles.push(listed);
    }
    roles
}

fn read_drill(top: Section<'_, '_>, roles: &[Listed], faults: &mut Vec<Fault>) -> Option<(Listed, String)> {
    let Some(value) = top.value("drill") else {
        faults.push(Fault::new(
            top.offset,
            "[drill] is missing: a way that was never tried fails when it is needed. It names role, documents and bucket",
        ));
        return None;
    };
    let Some(block) = Section::of(value) else {
        faults.push(Fault::new(value.span().start, "drill is written as a [drill] table"));
        return None;
    };
    block.closed(&["role", "description", "documents", "length", "bucket"], faults);
    let listed = read_role(block, "role", faults);
    if let Some(listed) = listed.as_ref().filter(|drill| roles.iter().any(|role| role.role == drill.role)) {
        faults
            .push(listed.name.fault("the drill's role must be one of its own, and harmless: a [[role]] has this name"));
    }
    let of_a_role = |text: &str| roles.iter().flat_map(|role| &role.documents).any(|document| document.text == text);
    for document in listed.iter().flat_map(|drill| &drill.documents).filter(|document| of_a_role(&document.text)) {
        faults.push(
            document.fault("a [[role]] grants this document too: whoever drills would have it without an emergency"),
        );
    }
    let bucket = block.text("bucket", faults);
    match &bucket {
        None => faults.push(Fault::new(block.offset, "a drill needs bucket = \"…\", where it tries its credential")),
        Some(bucket) if !is_bucket_name(&bucket.text) => {
            faults.push(bucket.fault("a bucket's name has 3 to 63 characters of a-z0-9.-"));
        }
        Some(_) => {}
    }
    listed.zip(bucket.map(|bucket| bucket.text))
}

fn read_role(block: Section<'_, '_>, key: &str, faults: &mut Vec<Fault>) -> Option<Listed> {
    block.text("description", faults);
    let length = period(block, "length", 15 * MINUTE, (MINUTE, 15 * MINUTE), faults);
    let documents = block.texts("documents", faults);
    if documents.is_empty() {
        faults.push(Fault::new(block.offset, "an emergency role needs documents = [\"…\"]"));
    }
    for (i, document) in documents.iter().enumerate() {
        if documents.iter().take(i).any(|earlier| earlier.text == document.text) {
            faults.push(document.fault(format!("document {} is listed twice", quoted(&document.text))));
        }
    }
    let name = block.text(key, faults);
    if block.value(key).is_none() {
        faults.push(Fault::new(block.offset, format!("an emergency role needs {key} = \"…\"")));
    }
    let name = name?;
    let role = RoleName::parse(&name.text);
    if role.is_none() {
        faults.push(name.fault("a role's name has 1 to 64 characters of A-Za-z0-9+=,.@_-"));
    }
    Some(Listed { name, role: role?, documents, length: length? })
}

fn read_tokens(
    top: Section<'_, '_>,
    issuers: &[IssuerName],
    roles: &[Listed],
    faults: &mut Vec<Fault>,
) -> Option<EmergencyTokens> {
    let value = top.value("emergency_tokens")?;
    let Some(block) = Section::of(value) else {
        faults.push(Fault::new(value.span().start, "emergency_tokens is written as an [emergency_tokens] table"));
        return None;
    };
    block.closed(&["issuers", "roles"], faults);
    let mut tokens = EmergencyTokens { issuers: Vec::new(), roles: Vec::new() };
    for named in block.texts("issuers", faults) {
        match IssuerName::parse(&named.text).filter(|name| issuers.contains(name)) {
            Some(name) if tokens.issuers.contains(&name) => {
                faults.push(named.fault(format!("issuer {} is listed twice", quoted(&named.text))));
            }
            Some(name) => tokens.issuers.push(name),
            None => {
                faults.push(named.fault(format!("issuer {} is not in the configuration", quoted(&named.text))));
            }
        }
    }
    for named in block.texts("roles", faults) {
        match RoleName::parse(&named.text).filter(|name| roles.iter().any(|role| role.role == *name)) {
            Some(name) if tokens.roles.contains(&name) => {
                faults.push(named.fault(format!("role {} is listed twice", quoted(&named.text))));
            }
            Some(name) => tokens.roles.push(name),
            None => {
                faults.push(named.fault(format!("there is no [[role]] {} in this file", quoted(&named.text))));
            }
        }
    }
    for key in ["issuers", "roles"] {
        let list = block.value(key).map(|value| value.get_ref().as_array());
        if list.is_none_or(|list| list.is_some_and(|list| list.is_empty())) {
            faults.push(Fault::new(block.offset, format!("[emergency_tokens] needs {key} = [\"…\"]")));
        }
    }
    Some(tokens)
}

fn read_webhook(top: Section<'_, '_>, faults: &mut Vec<Fault>) -> Option<String> {
    let webhook = top.text("alert_webhook", faults)?;
    if is_webhook(&webhook.text) {
        return Some(webhook.text);
    }
    // What is in it is a secret at some receivers: it is not repeated.
    faults.push(
        webhook.fault("alert_webhook is an https URL without user and fragment (http is taken on loopback only)"),
    );
    None
}

/// Alerts name the incident and who signed: nobody on the way may read, hold back or change them.
fn is_webhook(text: &str) -> bool {
    let visible = text.len() <= LONGEST_TEXT && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let Some(uri) = visible.then(|| text.parse::<Uri>().ok()).flatten() else { return false };
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else { return false };
    let bare = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let loopback = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    bare && match uri.scheme_str() {
        Some("https") => true,
        Some("http") => loopback,
        Some(_) | None => false,
    }
}

/// A length like `30s`, `5m`, `72h` or `90d`, between two bounds.
fn period(
    section: Section<'_, '_>,
    key: &str,
    otherwise: u64,
    (shortest, longest): (u64, u64),
    faults: &mut Vec<Fault>,
) -> Option<Duration> {
    if section.value(key).is_none() {
        return Some(Duration::from_secs(otherwise));
    }
    let text = section.text(key, faults)?;
    let unit = text.text.chars().next_back().and_then(|unit| match unit {
        's' => Some(SECOND),
        'm' => Some(MINUTE),
        'h' => Some(HOUR),
        'd' => Some(DAY),
        _ => None,
    });
    let digits = text.text.get(..text.text.len().saturating_sub(1)).unwrap_or_default();
    let digits = Some(digits).filter(|digits| (1..=6).contains(&digits.len()));
    let number = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|digits| digits.parse::<u64>().ok());
    let seconds = number.zip(unit).map(|(number, unit)| number.saturating_mul(unit));
    let seconds = seconds.filter(|seconds| (shortest..=longest).contains(seconds));
    if seconds.is_none() {
        let message = format!(
            "{key} is a length from {} to {}, as in \"{}\", not {}",
            spelled(shortest),
            spelled(longest),
            spelled(otherwise),
            quoted(&text.text)
        );
        faults.push(text.fault(message));
    }
    seconds.map(Duration::from_secs)
}

fn spelled(seconds: u64) -> String {
    let units = [(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm')];
    let whole = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{seconds}s"), |(unit, letter)| format!("{}{letter}", seconds / unit))
}
