//! The groups a token names. They decide what its holder may have, so nothing is guessed: an array of strings or a
//! refusal, exact bytes, never split, trimmed, folded or normalised.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{ClaimPath, Group, IssuerRules, TokenReason};

/// Most groups of one token.
const MAX_GROUPS: usize = 1000;

/// Reads the groups at the issuer's configured path. No claim means no groups, hence no role; duplicates (Authentik
/// appends the lists of two mappings) count once.
pub(super) fn read(claims: &Map<String, Value>, rules: &IssuerRules) -> Result<Vec<Group>, TokenReason> {
    if is_overage(claims, &rules.groups_claim) {
        tracing::warn!(issuer = %rules.name, "the issuer left the groups out for their number: no groups");
        return Ok(Vec::new());
    }
    let Some(value) = rules.groups_claim.find(claims) else { return Ok(Vec::new()) };
    let names = value.as_array().ok_or(TokenReason::GroupsInvalid)?;
    if names.len() > MAX_GROUPS {
        return Err(TokenReason::GroupsTooMany);
    }
    let mut seen = HashSet::new();
    let mut groups = Vec::new();
    for name in names {
        let group = name.as_str().and_then(Group::parse).ok_or(TokenReason::GroupsInvalid)?;
        if seen.insert(group.clone()) {
            groups.push(group);
        }
    }
    Ok(groups)
}

/// Whether the issuer says that the groups are elsewhere (`hasgroups`, distributed claims of OIDC Core section 5.6.2).
/// What stands in the token then is not the whole truth, and nothing is fetched on a token's word.
fn is_overage(claims: &Map<String, Value>, path: &ClaimPath) -> bool {
    let elsewhere = |names: &Value| names.as_object().is_none_or(|names| names.contains_key(path.first()));
    claims.get("hasgroups").is_some_and(|marker| *marker != Value::Bool(false))
        || claims.get("_claim_names").is_some_and(elsewhere)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::{IssuerName, Profile};
    use super::*;

    fn groups(path: &str, claims: &Value) -> Result<Vec<String>, TokenReason> {
        let rules = IssuerRules {
            name: IssuerName::parse("a").unwrap(),
            issuer: "https://a.example/".to_owned(),
            audiences: vec!["stint".to_owned()],
            profile: Profile::Authentik,
            groups_claim: ClaimPath::parse(path).unwrap(),
            not_before: None,
            max_token_lifetime: Duration::from_hours(1),
            clients: Vec::new(),
        };
        let read = read(claims.as_object().unwrap(), &rules)?;
        Ok(read.iter().map(|group| group.as_str().to_owned()).collect())
    }

    #[test]
    fn groups_are_read_at_the_configured_path_byte_for_byte() {
        let claims = json!({"groups": ["authentik Admins", "/team/x", " a ", "é"], "realm_access": {"roles": ["r"]}});
        assert_eq!(groups("groups", &claims).unwrap(), ["authentik Admins", "/team/x", " a ", "é"]);
        assert_eq!(groups("realm_access.roles", &claims).unwrap(), ["r"]);
    }

    #[test]
    fn a_missing_claim_is_no_groups() {
        for claims in [json!({}), json!({"realm_access": "x"}), json!({"realm_access": {"role": ["r"]}})] {
            assert_eq!(groups("realm_access.roles", &claims), Ok(Vec::new()));
        }
    }

    #[test]
    fn anything_but_an_array_of_usable_strings_is_refused() {
        let wrong = [json!("a"), json!("a,b"), json!({"a": 1}), json!(null), json!(1), json!([["a"]]), json!(["a", 1])];
        for value in wrong.into_iter().chain([json!([""]), json!(["a\u{0}"]), json!(["a".repeat(257)])]) {
            assert_eq!(groups("groups", &json!({"groups": value})), Err(TokenReason::GroupsInvalid), "{value}");
        }
        assert_eq!(groups("groups", &json!({"groups": []})), Ok(Vec::new()));
        assert!(groups("groups", &json!({"groups": ["a".repeat(256)]})).is_ok());
    }

    #[test]
    fn duplicates_count_once_and_the_number_is_bounded() {
        assert_eq!(groups("groups", &json!({"groups": ["a", "b", "a"]})).unwrap(), ["a", "b"]);
        assert!(groups("groups", &json!({"groups": vec!["a"; 1000]})).is_ok());
        assert_eq!(groups("groups", &json!({"groups": vec!["a"; 1001]})), Err(TokenReason::GroupsTooMany));
    }

    #[test]
    fn overage_is_no_groups() {
        for (name, value) in [
            ("hasgroups", json!(true)),
            ("hasgroups", json!("true")),
            ("_claim_names", json!({"groups": "src1"})),
            ("_claim_names", json!("groups")),
        ] {
            assert_eq!(groups("groups", &json!({"groups": ["a"], name: value})), Ok(Vec::new()), "{name}");
        }
        for (name, value) in [("hasgroups", json!(false)), ("_claim_names", json!({"address": "src1"}))] {
            assert_eq!(groups("groups", &json!({"groups": ["a"], name: value})).unwrap(), ["a"], "{name}");
        }
    }
}
