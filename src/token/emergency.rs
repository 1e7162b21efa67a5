//! The emergency claim of an `iam-profile` token: who was let into an emergency, by whom, and why. It is honoured only where
//! the role and the assurance say so both, and only for ten minutes: an emergency token is better authenticated and shorter
//! than others, never a way round them.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::claims::Claims;
use super::{IssuerRules, Profile};

/// The role that an emergency token has.
const ROLE: &str = "emergency";
/// The assurance that it has.
const LEVEL: &str = "break_glass";
/// How old it may be: the life that the profile's emergency token has.
const OLDEST_SECONDS: i64 = 600;
/// Longest member of the claim, in characters: it is copied into rows.
const LONGEST: usize = 256;

/// What a token says of the emergency it was issued for. Every decision about such a token says so too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmergencyClaim {
    incident: Option<String>,
    authorized_by: Option<String>,
    reason: Option<String>,
    fault: Option<EmergencyFault>,
}

/// Why an emergency token opens no emergency role; [`EmergencyFault::code`] is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmergencyFault {
    /// Older than ten minutes.
    TooOld,
    /// The incident, who authorized it, or the reason is missing, or unfit for a row.
    Incomplete,
}

impl EmergencyFault {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::TooOld => "emergency_token_too_old",
            Self::Incomplete => "emergency_claim_incomplete",
        }
    }
}

impl EmergencyClaim {
    /// `incident_id`.
    #[must_use]
    pub fn incident(&self) -> Option<&str> {
        self.incident.as_deref()
    }

    /// `authorized_by`.
    #[must_use]
    pub fn authorized_by(&self) -> Option<&str> {
        self.authorized_by.as_deref()
    }

    /// `reason`.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Why it opens no emergency role, if so.
    #[must_use]
    pub fn fault(&self) -> Option<EmergencyFault> {
        self.fault
    }

    /// Reads it from claims whose signature and times hold.
    pub(super) fn read(claims: &Claims, rules: &IssuerRules, audience: &str, now: OffsetDateTime) -> Option<Self> {
        let members = claims.members();
        let level = members.get("assurance").and_then(|assurance| assurance.get("level")).and_then(Value::as_str);
        if rules.profile != Profile::IamProfile || level != Some(LEVEL) || !has_role(members, audience) {
            return None;
        }
        let emergency = members.get("emergency");
        let text = |name| emergency.and_then(|emergency| emergency.get(name)).and_then(Value::as_str).and_then(fit);
        let (incident, authorized_by, reason) = (text("incident_id"), text("authorized_by"), text("reason"));
        let issued = claims.instant("iat").ok().flatten().unwrap_or(i64::MIN);
        let fault = if now.unix_timestamp().saturating_sub(issued) > OLDEST_SECONDS {
            Some(EmergencyFault::TooOld)
        } else if incident.is_none() || authorized_by.is_none() || reason.is_none() {
            Some(EmergencyFault::Incomplete)
        } else {
            None
        };
        Some(Self { incident, authorized_by, reason, fault })
    }
}

/// The profile's roles are the union of `roles`, the realm's and the client's. Of the clients only the one that the token is
/// for counts: whoever manages the roles of some other application must not be able to make an emergency here.
fn has_role(claims: &Map<String, Value>, audience: &str) -> bool {
    let of = |value: Option<&Value>| {
        value.and_then(Value::as_array).is_some_and(|roles| roles.iter().any(|role| role.as_str() == Some(ROLE)))
    };
    let of_client = claims.get("resource_access").and_then(|clients| clients.get(audience));
    of(claims.get("roles"))
        || of(claims.get("realm_access").and_then(|realm| realm.get("roles")))
        || of(of_client.and_then(|client| client.get("roles")))
}

fn fit(text: &str) -> Option<String> {
    let fits = !text.trim().is_empty() && text.chars().count() <= LONGEST && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::{ClaimPath, IssuerName};
    use super::*;

    const NOW: i64 = 1_795_300_000;

    fn rules(profile: Profile) -> IssuerRules {
        IssuerRules {
            name: IssuerName::parse("netkingdom").unwrap(),
            issuer: "https://id.example/".to_owned(),
            audiences: vec!["stint".to_owned()],
            profile,
            groups_claim: ClaimPath::parse("groups").unwrap(),
            not_before: None,
            max_token_lifetime: Duration::from_hours(1),
            clients: Vec::new(),
        }
    }

    fn whole() -> Value {
        json!({
            "iat": NOW - 600, "roles": ["platform-admin", "emergency"], "assurance": {"level": "break_glass"},
            "emergency": {"incident_id": "INC-7", "authorized_by": "steward-2", "reason": "the object server is full"},
        })
    }

    fn read_as(claims: &Value, profile: Profile) -> Option<EmergencyClaim> {
        let claims = Claims::parse(claims.to_string().as_bytes()).unwrap();
        let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
        EmergencyClaim::read(&claims, &rules(profile), "stint", now)
    }

    fn read(claims: &Value) -> Option<EmergencyClaim> {
        read_as(claims, Profile::IamProfile)
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = whole();
        claims[name] = value;
        claims
    }

    #[test]
    fn role_and_assurance_together_make_an_emergency_and_neither_alone() {
        let claim = read(&whole()).unwrap();
        assert_eq!((claim.incident(), claim.authorized_by()), (Some("INC-7"), Some("steward-2")));
        assert_eq!((claim.reason(), claim.fault()), (Some("the object server is full"), None));
        for (name, value) in [
            ("roles", json!(["Emergency"])),
            ("roles", json!("emergency")),
            ("roles", json!([["emergency"]])),
            ("assurance", json!({"level": "aal3"})),
            ("assurance", json!("break_glass")),
            ("assurance", json!({"level": ["break_glass"]})),
        ] {
            assert_eq!(read(&with(name, value.clone())), None, "{name}: {value}");
        }
    }

    #[test]
    fn the_role_is_the_profiles_the_realms_or_this_services_and_not_another_clients() {
        let without = |extra: Value| {
            let mut claims = with("roles", json!([]));
            claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            read(&claims).is_some()
        };
        assert!(without(json!({"realm_access": {"roles": ["emergency"]}})));
        assert!(without(json!({"resource_access": {"stint": {"roles": ["emergency"]}}})));
        assert!(!without(json!({"resource_access": {"wiki": {"roles": ["emergency"]}}})));
        assert!(!without(json!({})));
    }

    #[test]
    fn only_the_iam_profile_has_emergencies() {
        for profile in [Profile::Authentik, Profile::Keycloak, Profile::Rfc9068] {
            assert_eq!(read_as(&whole(), profile), None, "{profile:?}");
        }
    }

    #[test]
    fn a_token_of_ten_minutes_counts_and_one_second_more_does_not() {
        assert_eq!(read(&with("iat", json!(NOW - 600))).unwrap().fault(), None);
        assert_eq!(read(&with("iat", json!(NOW - 601))).unwrap().fault(), Some(EmergencyFault::TooOld));
    }

    #[test]
    fn an_incident_without_a_name_an_authority_or_a_reason_is_still_told_and_opens_nothing() {
        for missing in ["incident_id", "authorized_by", "reason"] {
            for value in [json!(null), json!(""), json!(" "), json!(7), json!("a\nb"), json!("a".repeat(257))] {
                let mut claims = whole();
                claims["emergency"][missing] = value.clone();
                assert_eq!(read(&claims).unwrap().fault(), Some(EmergencyFault::Incomplete), "{missing}: {value}");
            }
        }
        assert_eq!(read(&with("emergency", json!("INC-7"))).unwrap().fault(), Some(EmergencyFault::Incomplete));
        let mut longest = whole();
        longest["emergency"]["reason"] = json!("a".repeat(256));
        assert_eq!(read(&longest).unwrap().fault(), None);
    }
}
