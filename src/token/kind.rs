//! Is it an access token at all? Identity providers sign ID, logout, refresh and proof tokens with one key; a kind that
//! passes for another is an attack (RFC 8725 sections 2.8 and 3.11).

use serde_json::{Map, Value};

use super::{Profile, TokenReason};

/// Checks that the claims are those of an access token of this profile.
pub(super) fn check(claims: &Map<String, Value>, profile: Profile) -> Result<(), TokenReason> {
    refuse_other_kinds(claims)?;
    refuse_local(claims, profile)?;
    match profile {
        Profile::Authentik => marks(is_name(claims, "azp") && is_name(claims, "uid")),
        Profile::Keycloak => marks(claims.get("typ").and_then(Value::as_str) == Some("Bearer")),
        Profile::Rfc9068 => marks(is_name(claims, "client_id") && is_name(claims, "jti")),
        Profile::IamProfile => {
            // Its issuers are key-cape, which sends no claim `typ`, and Keycloak, whose ID tokens say `ID`.
            marks(claims.get("typ").is_none_or(|typ| typ.as_str() == Some("Bearer")))?;
            iam_profile(claims)
        }
        Profile::Kubernetes => marks(is_service_account(claims)),
        // The same issuers sign tokens of other kinds, GitLab's ID tokens of people among them: none is of a job.
        Profile::GitHub => marks(are_names(claims, ["repository", "run_id", "job_workflow_ref"])),
        Profile::GitLab => marks(are_names(claims, ["project_path", "pipeline_id", "job_id"])),
    }
}

/// Claims that no plain access token carries, whatever its profile.
fn refuse_other_kinds(claims: &Map<String, Value>) -> Result<(), TokenReason> {
    let has = |name: &str| claims.contains_key(name);
    if has("events") {
        return Err(TokenReason::SecurityEvent);
    }
    // Authentik copies `nonce` into access tokens too, but those always name their client.
    if has("nonce") && !has("azp") {
        return Err(TokenReason::IdToken);
    }
    // Taking a bound token without its proof turns it into a bearer token for the thief.
    if has("cnf") {
        return Err(TokenReason::ProofBound);
    }
    if has("act") || has("may_act") {
        return Err(TokenReason::Delegated);
    }
    Ok(())
}

/// A developer's own issuer says so. Of a job the same claim is the name of what it deploys to.
fn refuse_local(claims: &Map<String, Value>, profile: Profile) -> Result<(), TokenReason> {
    let is_local = claims.get("environment").and_then(Value::as_str) == Some("local");
    if is_local && !matches!(profile, Profile::GitHub | Profile::GitLab) {
        return Err(TokenReason::LocalIdentity);
    }
    Ok(())
}

/// `NetKingdom` IAM Profile v0.2, except the claims every profile requires and the times.
fn iam_profile(claims: &Map<String, Value>) -> Result<(), TokenReason> {
    let principal = claims.get("principal_type").and_then(Value::as_str);
    let roles = claims.get("roles").or_else(|| claims.get("realm_access")?.get("roles"));
    let scoped = claims.get("scope").is_some_and(Value::is_string) || is_strings(claims.get("scp"));
    let complete = is_name(claims, "tenant")
        && matches!(principal, Some("human" | "service" | "agent"))
        && claims.get("assurance").and_then(Value::as_object).is_some_and(is_assurance)
        && is_strings(claims.get("groups"))
        && is_strings(roles)
        && scoped;
    if complete { Ok(()) } else { Err(TokenReason::ProfileClaimInvalid) }
}

fn is_assurance(assurance: &Map<String, Value>) -> bool {
    is_name(assurance, "level")
        && is_strings(assurance.get("methods"))
        && assurance.get("mfa").is_some_and(Value::is_boolean)
        && is_name(assurance, "source")
        && assurance.get("at").is_some_and(Value::is_u64)
}

fn is_name(claims: &Map<String, Value>, claim: &str) -> bool {
    claims.get(claim).and_then(Value::as_str).is_some_and(|name| !name.is_empty())
}

fn is_strings(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).is_some_and(|all| all.iter().all(Value::is_string))
}

fn are_names(claims: &Map<String, Value>, names: [&str; 3]) -> bool {
    names.into_iter().all(|name| is_name(claims, name))
}

/// What the API server says of the account, and the subject that follows from it: they are one statement, made twice.
fn is_service_account(claims: &Map<String, Value>) -> bool {
    let text = |path: &str| claims.get("kubernetes.io")?.pointer(path)?.as_str().filter(|text| !text.is_empty());
    let (Some(namespace), Some(name)) = (text("/namespace"), text("/serviceaccount/name")) else { return false };
    let subject = format!("system:serviceaccount:{namespace}:{name}");
    claims.get("sub").and_then(Value::as_str) == Some(&subject)
}

fn marks(present: bool) -> Result<(), TokenReason> {
    if present { Ok(()) } else { Err(TokenReason::NotAnAccessToken) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PROFILES: [Profile; 7] = Profile::ALL;

    /// One whole set of claims that every profile accepts.
    fn whole() -> Map<String, Value> {
        let assurance = json!({"level": "aal1", "methods": ["pwd"], "mfa": false, "source": "key-cape", "at": 1});
        let claims = json!({
            "azp": "c", "uid": "u", "typ": "Bearer", "client_id": "c", "jti": "j", "tenant": "tenant:platform",
            "principal_type": "human", "assurance": assurance, "groups": ["/a/b"], "roles": [], "scope": "openid",
            "sub": "system:serviceaccount:team:backup", "repository": "o/r", "run_id": "1", "job_workflow_ref": "o/r/w@r",
            "kubernetes.io": {"namespace": "team", "serviceaccount": {"name": "backup", "uid": "u"}},
            "project_path": "o/r", "pipeline_id": "1", "job_id": "2",
        });
        claims.as_object().unwrap().clone()
    }

    fn with(name: &str, value: Value) -> Map<String, Value> {
        let mut claims = whole();
        claims.insert(name.to_owned(), value);
        claims
    }

    fn without(name: &str) -> Map<String, Value> {
        let mut claims = whole();
        claims.remove(name);
        claims
    }

    #[test]
    fn the_whole_set_passes_under_every_profile() {
        assert!(PROFILES.iter().all(|profile| check(&whole(), *profile).is_ok()));
    }

    #[test]
    fn other_kinds_are_refused_under_every_profile() {
        for profile in PROFILES {
            let refused = |claims: Map<String, Value>| check(&claims, profile).err();
            assert_eq!(refused(with("events", json!({}))), Some(TokenReason::SecurityEvent));
            assert_eq!(refused(with("cnf", json!({"jkt": "x"}))), Some(TokenReason::ProofBound));
            assert_eq!(refused(with("cnf", json!(null))), Some(TokenReason::ProofBound));
            assert_eq!(refused(with("act", json!({"sub": "x"}))), Some(TokenReason::Delegated));
            assert_eq!(refused(with("may_act", json!({}))), Some(TokenReason::Delegated));
            // Of a job it is the name of what it deploys to.
            let of_a_job = matches!(profile, Profile::GitHub | Profile::GitLab);
            let local = (!of_a_job).then_some(TokenReason::LocalIdentity);
            assert_eq!(refused(with("environment", json!("local"))), local);
            assert_eq!(refused(with("environment", json!("prod"))), None);
            assert_eq!(refused(with("nonce", json!("n"))), None);
            let mut id_token = with("nonce", json!("n"));
            id_token.remove("azp");
            assert_eq!(refused(id_token), Some(TokenReason::IdToken));
        }
    }

    #[test]
    fn each_profile_needs_its_marks() {
        for (profile, names) in [
            (Profile::Authentik, &["azp", "uid"][..]),
            (Profile::Keycloak, &["typ"]),
            (Profile::Rfc9068, &["client_id", "jti"]),
            (Profile::Kubernetes, &["kubernetes.io", "sub"]),
            (Profile::GitHub, &["repository", "run_id", "job_workflow_ref"]),
            (Profile::GitLab, &["project_path", "pipeline_id", "job_id"]),
        ] {
            for name in names {
                assert_eq!(check(&without(name), profile), Err(TokenReason::NotAnAccessToken), "{name}");
                for value in [json!(1), json!(""), json!(null)] {
                    assert_eq!(check(&with(name, value), profile), Err(TokenReason::NotAnAccessToken), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_service_account_is_the_one_that_its_subject_names() {
        let account = |namespace: &str, name: &str| json!({"namespace": namespace, "serviceaccount": {"name": name}});
        assert!(check(&with("kubernetes.io", account("team", "backup")), Profile::Kubernetes).is_ok());
        for other in
            [account("team", "admin"), account("prod", "backup"), account("", "backup"), account("team:backup", "")]
        {
            let refused = check(&with("kubernetes.io", other.clone()), Profile::Kubernetes);
            assert_eq!(refused, Err(TokenReason::NotAnAccessToken), "{other}");
        }
        let node = json!({"namespace": "team", "node": {"name": "backup"}});
        assert!(check(&with("kubernetes.io", node), Profile::Kubernetes).is_err());
    }

    #[test]
    fn keycloaks_other_types_are_refused() {
        for typ in ["ID", "Refresh", "Offline", "Logout", "DPoP", "Serialized-ID", "bearer", "Bearer "] {
            for profile in [Profile::Keycloak, Profile::IamProfile] {
                assert_eq!(check(&with("typ", json!(typ)), profile), Err(TokenReason::NotAnAccessToken), "{typ}");
            }
        }
        assert!(check(&without("typ"), Profile::IamProfile).is_ok());
    }

    #[test]
    fn the_iam_profile_needs_all_its_claims_in_their_types() {
        for name in ["tenant", "principal_type", "assurance", "groups", "roles", "scope"] {
            let refused = Err(TokenReason::ProfileClaimInvalid);
            assert_eq!(check(&without(name), Profile::IamProfile), refused, "{name}");
            assert_eq!(check(&with(name, json!(1)), Profile::IamProfile), refused, "{name}");
        }
        let refused = |claims: Map<String, Value>| check(&claims, Profile::IamProfile).is_err();
        assert!(refused(with("principal_type", json!("robot"))));
        assert!(refused(with("assurance", json!({"level": "aal1"}))));
        let mut other_places = with("realm_access", json!({"roles": ["a"]}));
        other_places.remove("roles");
        other_places.remove("scope");
        assert!(refused(other_places.clone()));
        other_places.insert("scp".to_owned(), json!(["openid"]));
        assert!(!refused(other_places));
    }
}
