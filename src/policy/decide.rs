//! The decision. Default deny is a search: the roles whose rules match are looked up, and none is a refusal.

use std::time::Duration;

use super::rule::{Claimant, Rule};
use super::set::Role;
use super::{Document, EmergencyRole, EmergencyTokens, PolicyHash, PolicySet, RoleName};
use crate::token::{EmergencyFault, VerifiedToken};

/// What a caller asks for.
#[derive(Debug, Clone)]
pub struct AccessRequest {
    /// Which role.
    pub role: RequestedRole,
    /// A policy document the caller wants the lease narrowed by, as sent; it can only ever take away.
    pub session_policy: Option<String>,
}

/// The role a caller names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedRole {
    /// This one.
    Named(RoleName),
    /// The reserved role `any`: the one role that matches, or all that match combined.
    Any,
    /// Not a role name at all; refused like an unknown role, so that a door needs no refusal of its own.
    Unusable,
}

impl RequestedRole {
    /// Reads a bare role name, `any`, or the last part of `arn:…:role/<role>`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let name = match text.strip_prefix("arn:") {
            Some(arn) => arn.split_once(":role/").map_or("", |(_, path)| path.rsplit('/').next().unwrap_or("")),
            None => text,
        };
        match RoleName::parse(name) {
            Some(name) if name.as_str() == "any" => Self::Any,
            Some(name) => Self::Named(name),
            None => Self::Unusable,
        }
    }
}

/// A positive decision: this identity may have this document. Made only by [`super::PolicySet::decide`].
#[derive(Debug, Clone)]
pub struct Grant {
    roles: Vec<RoleName>,
    rule: String,
    document: Document,
    length: GrantedLength,
    narrowed: bool,
    filled: bool,
    emergency: bool,
    policy_hash: PolicyHash,
}

/// What the granted roles say of the length.
#[derive(Debug, Clone, Copy)]
enum GrantedLength {
    /// Nothing: the configuration's.
    Default,
    /// Some of them this, others nothing.
    AtMost(Duration),
    /// All of them, and this is the shortest.
    Set(Duration),
}

impl GrantedLength {
    fn of(found: &[(&RoleName, &Role, &Rule)]) -> Self {
        let shortest = found.iter().filter_map(|(_, role, _)| role.ttl).min();
        match shortest {
            Some(ttl) if found.iter().all(|(_, role, _)| role.ttl.is_some()) => Self::Set(ttl),
            Some(ttl) => Self::AtMost(ttl),
            None => Self::Default,
        }
    }
}

impl Grant {
    /// The roles granted, in name order: one, or several when `any` combined them. Never empty.
    #[must_use]
    pub fn roles(&self) -> &[RoleName] {
        &self.roles
    }

    /// The name for answers and rows: the role's, or `any` when several were combined.
    #[must_use]
    pub fn role(&self) -> &str {
        match self.roles.as_slice() {
            [role] => role.as_str(),
            _ => "any",
        }
    }

    /// Which rules matched, for the row: `roles/studio.toml#allow[0]`, or `documents/x.json` by the naming convention.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The document, claims filled in, narrowed as asked.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Whether the caller had it narrowed: then what it allows is in part the caller's choice.
    #[must_use]
    pub fn is_narrowed(&self) -> bool {
        self.narrowed
    }

    /// Whether claims were filled into it: then it is this caller's, and that of another of the role may be another.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.filled
    }

    /// Whether it is one of the roles of emergencies: as long as it says, never renewed, never handed out again.
    #[must_use]
    pub fn is_emergency(&self) -> bool {
        self.emergency
    }

    /// Any grant, for tests of what is done with one.
    #[cfg(test)]
    pub(crate) fn for_tests(role: &str, narrowed: bool, filled: bool, policy_hash: PolicyHash) -> Self {
        let roles = RoleName::parse(role).into_iter().collect();
        let document = br#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]}]}"#;
        let document = Document::parse(document).unwrap();
        Self {
            roles,
            rule: String::new(),
            document,
            length: GrantedLength::Default,
            narrowed,
            filled,
            emergency: false,
            policy_hash,
        }
    }

    /// The shortest length of the granted roles, where one that sets none counts as `default`.
    #[must_use]
    pub fn ttl_or(&self, default: Duration) -> Duration {
        match self.length {
            GrantedLength::Set(ttl) => ttl,
            GrantedLength::AtMost(ttl) => ttl.min(default),
            GrantedLength::Default => default,
        }
    }

    /// The policy text this was decided under.
    #[must_use]
    pub fn policy_hash(&self) -> PolicyHash {
        self.policy_hash
    }
}

impl PolicySet {
    /// Decides one request. Nothing is granted but by a rule that was found; the grant names it.
    pub fn decide(&self, token: &VerifiedToken, request: &AccessRequest) -> Result<Grant, Denial> {
        let emergency = match &request.role {
            RequestedRole::Named(name) => self.break_glass().and_then(|glass| Some((glass, glass.role(name)?))),
            // `any` never means an emergency: that has to be asked for by name.
            RequestedRole::Any | RequestedRole::Unusable => None,
        };
        match emergency {
            Some((glass, role)) => self
                .decide_emergency(glass.emergency_tokens(), role, token, request)
                .map_err(|reason| Denial { reason, policy_hash: self.hash }),
            None => self.decide_for(&Claimant::from(token), request),
        }
    }

    /// A role of emergencies: for a token whose issuer is listed for it, and that says whose emergency it is.
    fn decide_emergency(
        &self,
        honoured: Option<&EmergencyTokens>,
        role: &EmergencyRole,
        token: &VerifiedToken,
        request: &AccessRequest,
    ) -> Result<Grant, DenialReason> {
        let listed = |tokens: &&EmergencyTokens| {
            tokens.issuers().contains(token.issuer()) && tokens.roles().contains(role.name())
        };
        // The same answer as for a role that does not exist, so that roles cannot be listed.
        honoured.filter(listed).ok_or(DenialReason::RoleNotGranted)?;
        let claim = token.emergency().ok_or(DenialReason::RoleNotGranted)?;
        if let Some(fault) = claim.fault() {
            return Err(DenialReason::EmergencyRefused(fault));
        }
        let document = match &request.session_policy {
            None => role.document().clone(),
            Some(text) => role.document().clone().narrowed_by(text)?,
        };
        Ok(Grant {
            roles: vec![role.name().clone()],
            rule: "break-glass.toml#emergency_tokens".to_owned(),
            document,
            length: GrantedLength::Set(role.length()),
            narrowed: request.session_policy.is_some(),
            filled: false,
            emergency: true,
            policy_hash: self.hash,
        })
    }

    fn decide_for(&self, claimant: &Claimant<'_>, request: &AccessRequest) -> Result<Grant, Denial> {
        self.search(claimant, request).map_err(|reason| Denial { reason, policy_hash: self.hash })
    }

    fn search(&self, claimant: &Claimant<'_>, request: &AccessRequest) -> Result<Grant, DenialReason> {
        let matching = |(name, role)| first_match(role, claimant).map(|rule| (name, role, rule));
        let found: Vec<(&RoleName, &Role, &Rule)> = match &request.role {
            RequestedRole::Any => self.roles.iter().filter_map(matching).collect(),
            RequestedRole::Named(name) => self.roles.get_key_value(name).and_then(matching).into_iter().collect(),
            RequestedRole::Unusable => Vec::new(),
        };
        if found.is_empty() {
            return Err(match request.role {
                RequestedRole::Any => DenialReason::NoRole,
                RequestedRole::Named(_) | RequestedRole::Unusable => DenialReason::RoleNotGranted,
            });
        }
        let document = combined(&found, claimant)?;
        let document = match &request.session_policy {
            None => document,
            Some(text) => document.narrowed_by(text)?,
        };
        Ok(Grant {
            roles: found.iter().map(|(name, _, _)| (*name).clone()).collect(),
            rule: found.iter().map(|(_, _, rule)| rule.label.as_str()).collect::<Vec<_>>().join(", "),
            document,
            length: GrantedLength::of(&found),
            narrowed: request.session_policy.is_some(),
            filled: found.iter().any(|(_, role, _)| role.document.has_variables()),
            emergency: false,
            policy_hash: self.hash,
        })
    }
}

fn first_match<'a>(role: &'a Role, claimant: &Claimant<'_>) -> Option<&'a Rule> {
    role.rules.iter().find(|rule| rule.matches(claimant))
}

/// The documents of roles that are all this caller's own, claims filled in, as one: as `MinIO` merges the policies of a
/// claim. A role whose claims cannot be filled is never left out silently: it may be the one with the Deny.
fn combined(found: &[(&RoleName, &Role, &Rule)], claimant: &Claimant<'_>) -> Result<Document, DenialReason> {
    let mut statements = Vec::new();
    for (_, role, _) in found {
        let filled = role.document.fill(claimant.claims).map_err(|_| DenialReason::ClaimUnusable)?;
        statements.extend_from_slice(filled.statements());
    }
    Document::of(statements).ok_or(DenialReason::NoRole)
}

/// A refusal by policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused by policy: {reason}")]
pub struct Denial {
    /// The cause.
    pub reason: DenialReason,
    /// The policy text this was decided under.
    pub policy_hash: PolicyHash,
}

/// Why policy refuses; [`DenialReason::code`] is stable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DenialReason {
    /// No role's rules match this identity.
    #[error("no role matches")]
    NoRole,
    /// The named role does not exist, or its rules do not match: the same answer, so that roles cannot be listed.
    #[error("the named role is not granted")]
    RoleNotGranted,
    /// The caller's session policy is not a policy document.
    #[error("the session policy is malformed")]
    SessionPolicyMalformed,
    /// The caller's session policy can neither be proven a subset of the role's nor combined with it exactly.
    #[error("the session policy cannot be combined with the role's")]
    SessionPolicyNotCombinable,
    /// A claim that the document names is missing, is not a string, or holds a character with a meaning in policies.
    #[error("a claim cannot be filled into the role's document")]
    ClaimUnusable,
    /// The token is an emergency's, and opens no emergency role.
    #[error("the emergency token is not honoured: {}", .0.code())]
    EmergencyRefused(EmergencyFault),
}

impl DenialReason {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRole => "no_role",
            Self::RoleNotGranted => "role_not_granted",
            Self::SessionPolicyMalformed => "session_policy_malformed",
            Self::SessionPolicyNotCombinable => "session_policy_not_combinable",
            Self::ClaimUnusable => "claim_unusable",
            Self::EmergencyRefused(fault) => fault.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::policy::PolicyFiles;
    use crate::token::{Group, IssuerName};

    const STUDIO: &str = r#"
documents = ["files", "shared"]
ttl = "30m"
[[allow]]
issuer = "authentik"
groups = ["studio", "editors"]
claims = { environment = "prod" }
[[allow]]
subjects = ["svc-1"]
clients = ["tool"]
"#;

    fn document(action: &str, path: &str) -> Vec<u8> {
        let resource = format!("arn:aws:s3:::{path}");
        let statement = json!({ "Effect": "Allow", "Action": action, "Resource": resource });
        json!({ "Version": "2012-10-17", "Statement": statement }).to_string().into_bytes()
    }

    fn set() -> PolicySet {
        let files = [
            ("roles/studio.toml", STUDIO.as_bytes().to_vec()),
            ("documents/files.json", document("s3:GetObject", "files/*")),
            ("documents/shared.json", document("s3:GetObject", "shared/*")),
            ("documents/home of.json", document("s3:PutObject", "home/${jwt:sub}/*")),
            ("documents/viewers.json", document("s3:GetObject", "files/*")),
        ];
        let files = PolicyFiles(files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect());
        PolicySet::compile(&files, &[IssuerName::parse("authentik").unwrap(), IssuerName::parse("keycloak").unwrap()])
            .unwrap()
    }

    /// One caller who has the role `studio` by its first block.
    struct Caller {
        issuer: &'static str,
        subject: &'static str,
        client: Option<&'static str>,
        groups: Vec<&'static str>,
        claims: Value,
    }

    fn editor() -> Caller {
        let claims = json!({ "environment": "prod", "sub": "alice" });
        Caller { issuer: "authentik", subject: "alice", client: None, groups: vec!["editors"], claims }
    }

    impl Caller {
        fn asks(&self, role: &str, session_policy: Option<&str>) -> Result<Grant, DenialReason> {
            let groups: Vec<Group> = self.groups.iter().filter_map(|group| Group::parse(group)).collect();
            let claims: Map<String, Value> = self.claims.as_object().cloned().unwrap_or_default();
            let claimant = Claimant {
                issuer: &IssuerName::parse(self.issuer).unwrap(),
                subject: self.subject,
                client: self.client,
                groups: &groups,
                claims: &claims,
            };
            let session_policy = session_policy.map(str::to_owned);
            let request = AccessRequest { role: RequestedRole::parse(role), session_policy };
            let set = set();
            set.decide_for(&claimant, &request).map_err(|denial| {
                assert_eq!(denial.policy_hash, set.hash());
                denial.reason
            })
        }
    }

    #[test]
    fn the_whole_caller_is_granted_and_the_rule_is_named() {
        let grant = editor().asks("studio", None).unwrap();
        assert_eq!(grant.role(), "studio");
        assert_eq!(grant.rule(), "roles/studio.toml#allow[0]");
        assert_eq!(grant.ttl_or(Duration::from_mins(20)), Duration::from_mins(30), "the role's own ttl counts");
        assert_eq!(grant.document().to_json()["Statement"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn each_condition_of_a_block_is_needed() {
        let broken = [
            Caller { issuer: "keycloak", ..editor() },
            Caller { groups: vec!["Editors"], ..editor() },
            Caller { groups: vec![], ..editor() },
            Caller { claims: json!({ "environment": "test" }), ..editor() },
            Caller { claims: json!({ "environment": true }), ..editor() },
            Caller { claims: json!({}), ..editor() },
        ];
        for caller in broken {
            assert_eq!(caller.asks("studio", None).unwrap_err(), DenialReason::RoleNotGranted);
        }
        let listed = Caller { claims: json!({ "environment": ["test", "prod"] }), ..editor() };
        assert!(listed.asks("studio", None).is_ok());
    }

    #[test]
    fn another_block_is_enough_but_only_as_a_whole() {
        let service = || Caller { subject: "svc-1", client: Some("tool"), groups: vec![], ..editor() };
        assert_eq!(service().asks("studio", None).unwrap().rule(), "roles/studio.toml#allow[1]");
        assert!(Caller { client: None, ..service() }.asks("studio", None).is_err());
        assert!(Caller { subject: "svc-2", ..service() }.asks("studio", None).is_err());
    }

    #[test]
    fn an_unknown_role_and_one_that_does_not_match_are_refused_alike() {
        for role in ["nothing", "viewers", "files", "", "no/role", "arn:aws:iam::1:role/viewers"] {
            assert_eq!(editor().asks(role, None).unwrap_err(), DenialReason::RoleNotGranted, "{role}");
        }
    }

    #[test]
    fn a_document_is_a_role_for_the_group_of_its_name() {
        let viewer = Caller { groups: vec!["viewers"], issuer: "keycloak", ..editor() };
        let grant = viewer.asks("arn:minio:iam:::role/viewers", None).unwrap();
        assert_eq!(
            (grant.role(), grant.rule(), grant.ttl_or(Duration::from_secs(7))),
            ("viewers", "documents/viewers.json", Duration::from_secs(7))
        );
        assert!(!grant.is_filled());
        let home = Caller { groups: vec!["home of"], ..editor() };
        let grant = home.asks("home-of", None).unwrap();
        assert!(grant.is_filled());
        assert_eq!(grant.document().to_json()["Statement"][0]["Resource"][0], "arn:aws:s3:::home/alice/*");
    }

    #[test]
    fn a_document_in_a_role_file_is_no_role_of_its_own() {
        let caller = Caller { groups: vec!["files"], ..editor() };
        assert_eq!(caller.asks("files", None).unwrap_err(), DenialReason::RoleNotGranted);
        assert_eq!(caller.asks("any", None).unwrap_err(), DenialReason::NoRole);
    }

    #[test]
    fn any_is_all_that_match_in_name_order_without_duplicates() {
        let both = Caller { groups: vec!["viewers", "editors"], ..editor() };
        let grant = both.asks("any", None).unwrap();
        assert_eq!(grant.role(), "any");
        assert_eq!(grant.roles().iter().map(RoleName::as_str).collect::<Vec<_>>(), ["studio", "viewers"]);
        assert_eq!(grant.rule(), "roles/studio.toml#allow[0], documents/viewers.json");
        assert_eq!(grant.ttl_or(Duration::from_hours(1)), Duration::from_mins(30));
        assert_eq!(
            grant.ttl_or(Duration::from_mins(20)),
            Duration::from_mins(20),
            "the other role has no ttl of its own"
        );
        assert_eq!(grant.document().to_json()["Statement"].as_array().unwrap().len(), 2);
        assert_eq!(editor().asks("any", None).unwrap().role(), "studio");
    }

    #[test]
    fn a_claim_that_cannot_be_filled_refuses_alone_and_within_any() {
        let hostile = Caller {
            groups: vec!["home of", "editors"],
            claims: json!({ "environment": "prod", "sub": "*" }),
            ..editor()
        };
        for role in ["home-of", "any"] {
            assert_eq!(hostile.asks(role, None).unwrap_err(), DenialReason::ClaimUnusable);
        }
        assert!(hostile.asks("studio", None).is_ok());
    }

    #[test]
    fn a_session_policy_only_takes_away() {
        let text = |path| String::from_utf8(document("s3:GetObject", path)).unwrap();
        let grant = editor().asks("studio", Some(&text("files/a/*"))).unwrap();
        assert_eq!(grant.document().to_json()["Statement"][0]["Resource"][0], "arn:aws:s3:::files/a/*");
        let refused = editor().asks("studio", Some(&text("other/*"))).unwrap_err();
        assert_eq!(refused, DenialReason::SessionPolicyNotCombinable);
        assert_eq!(editor().asks("studio", Some("{")).unwrap_err(), DenialReason::SessionPolicyMalformed);
        assert_eq!(editor().asks("studio", Some("")).unwrap_err(), DenialReason::SessionPolicyMalformed);
    }
}
