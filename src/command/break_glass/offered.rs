//! Whether an instance would honour what is asked for, by what it says of itself: better told before anybody signs than after
//! the others were called. Nothing is believed for it: the service judges again what is submitted.

use std::time::Duration;

use serde_json::Value;

use super::instance::text;
use crate::break_glass::ceremony::UseKind;
use crate::command::Failure;

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) kind: UseKind,
    pub(super) role: &'a str,
    pub(super) requester: &'a str,
    /// If somebody said how long.
    pub(super) length: Option<Duration>,
}

/// Whether role, requester and kind are of its policies; answers with the longest that the role is given for.
pub(super) fn offered(wanted: &Wanted<'_>, status: &Value) -> Result<Option<Duration>, Failure> {
    let list = |name: &str| status.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let names = |name: &str| list(name).iter().map(|one| text(one, "name")).collect::<Vec<_>>();
    let refused = |why: String| Err(Failure(format!("{why}; nothing was written")));
    let Wanted { kind, role, requester, length } = *wanted;
    let Some(found) = list("roles").iter().find(|found| text(found, "name") == role) else {
        return refused(format!("there is no emergency role {role} there, but {}", names("roles").join(", ")));
    };
    match (found.get("drill") == Some(&Value::Bool(true)), kind) {
        (true, UseKind::Outage | UseKind::Declared) => {
            return refused(format!("the role {role} is for drills alone: --kind drill"));
        }
        (false, UseKind::Drill) => return refused(format!("{role} is not the role of drills")),
        (true, UseKind::Drill) | (false, UseKind::Outage | UseKind::Declared) => {}
    }
    let custodians = names("custodians");
    if !custodians.iter().any(|name| name == requester) {
        return refused(format!("{requester} is no custodian there; they are {}", custodians.join(", ")));
    }
    let (conditions, is_declared) = (names("conditions"), |name: &String| name == "declared");
    match kind {
        UseKind::Declared if !conditions.iter().any(is_declared) => {
            return refused("the policies there let nobody declare an emergency".to_owned());
        }
        UseKind::Outage if conditions.iter().all(is_declared) => {
            return refused("the policies there have emergencies declared alone: --kind declared".to_owned());
        }
        UseKind::Declared | UseKind::Outage | UseKind::Drill => {}
    }
    let longest = found.get("length_seconds").and_then(Value::as_u64).map(Duration::from_secs);
    match (length, longest) {
        (Some(length), Some(longest)) if length > longest => {
            refused(format!("the role {role} is given for at most {} there", humantime::format_duration(longest)))
        }
        (_, longest) => Ok(longest),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const WHOLE: Wanted<'static> = Wanted { kind: UseKind::Outage, role: "read", requester: "alice", length: None };

    fn status(conditions: &[&str]) -> Value {
        let conditions: Vec<_> = conditions.iter().map(|name| json!({"name": name})).collect();
        json!({
            "roles": [{"name": "read", "length_seconds": 600, "drill": false}, {"name": "drill", "drill": true}],
            "custodians": [{"name": "alice"}, {"name": "bob"}],
            "conditions": conditions,
        })
    }

    #[test]
    fn what_an_instance_would_refuse_is_told_before_anybody_signs() {
        let all = ["issuer_down", "declared"];
        let length = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(offered(&WHOLE, &status(&all)).unwrap(), length(600));
        assert_eq!(offered(&Wanted { length: length(600), ..WHOLE }, &status(&all)).unwrap(), length(600));
        assert!(offered(&Wanted { kind: UseKind::Declared, ..WHOLE }, &status(&all)).is_ok());
        assert!(offered(&Wanted { kind: UseKind::Drill, role: "drill", ..WHOLE }, &status(&all)).is_ok());
        for (wanted, conditions, told) in [
            (Wanted { role: "write", ..WHOLE }, &all[..], "no emergency role write there, but read, drill"),
            (Wanted { role: "drill", ..WHOLE }, &all, "--kind drill"),
            (Wanted { kind: UseKind::Drill, ..WHOLE }, &all, "not the role of drills"),
            (Wanted { requester: "dave", ..WHOLE }, &all, "they are alice, bob"),
            (Wanted { length: length(601), ..WHOLE }, &all, "at most 10m"),
            (Wanted { kind: UseKind::Declared, ..WHOLE }, &["log_down"], "let nobody declare"),
            (WHOLE, &["declared"], "--kind declared"),
        ] {
            let Err(Failure(why)) = offered(&wanted, &status(conditions)) else { panic!("{told}") };
            assert!(why.contains(told), "{why}");
        }
        assert!(offered(&WHOLE, &json!({})).is_err(), "an answer without roles has none");
    }
}
