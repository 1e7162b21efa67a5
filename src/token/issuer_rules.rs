//! What an operator demands of one issuer's tokens: a finished value, made by `config`, read by the verifier.

use std::time::Duration;

use time::OffsetDateTime;

use super::IssuerName;

/// One `[[issuer]]` block, as far as verification is concerned.
#[derive(Debug, Clone)]
pub struct IssuerRules {
    /// The block's name.
    pub name: IssuerName,
    /// The exact bytes of `iss`. Authentik's ends in a slash, Keycloak's does not: never trimmed.
    pub issuer: String,
    /// Audiences of which the token's `aud` must hold one exactly. Never empty.
    pub audiences: Vec<String>,
    /// How this provider marks an access token.
    pub profile: Profile,
    /// Where the groups are.
    pub groups_claim: ClaimPath,
    /// Tokens issued before this instant are refused: the operator's manual revocation.
    pub not_before: Option<OffsetDateTime>,
    /// Upper bound of `exp − iat`.
    pub max_token_lifetime: Duration,
    /// Allowed `azp` / `client_id`; an empty list allows every client of the issuer.
    pub clients: Vec<String>,
}

/// How a provider marks an access token (RFC 8725 section 3.11: kinds must not be confusable).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `typ` `JWT` or `at+jwt`; both `azp` and `uid` present.
    Authentik,
    /// `typ` `JWT` or `at+jwt`; the claim `typ` is `Bearer`.
    Keycloak,
    /// `typ` `at+jwt`; `client_id` and `jti` present (RFC 9068 section 2).
    Rfc9068,
    /// `NetKingdom` IAM Profile v0.2: `nbf`, `tenant`, `principal_type`, `assurance` required.
    IamProfile,
    /// `typ` missing or `JWT`; a projected service-account token of Kubernetes: `kubernetes.io` and `sub` name one account.
    Kubernetes,
    /// `typ` `JWT`; a job of GitHub Actions: `repository`, `run_id` and `job_workflow_ref` present.
    GitHub,
    /// `typ` `JWT`; a job of GitLab CI: `project_path`, `pipeline_id` and `job_id` present.
    GitLab,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 7] = [
        Self::Authentik,
        Self::Keycloak,
        Self::Rfc9068,
        Self::IamProfile,
        Self::Kubernetes,
        Self::GitHub,
        Self::GitLab,
    ];

    /// The name used in configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authentik => "authentik",
            Self::Keycloak => "keycloak",
            Self::Rfc9068 => "rfc9068",
            Self::IamProfile => "iam-profile",
            Self::Kubernetes => "kubernetes",
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
        }
    }

    /// Parses a name used in configuration.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == name)
    }
}

/// A dotted path to a claim (`groups`, `realm_access.roles`). A claim whose own name holds a dot cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

impl ClaimPath {
    /// Accepts 1 to 8 non-empty segments.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let segments: Vec<String> = path.split('.').map(str::to_owned).collect();
        ((1..=8).contains(&segments.len()) && segments.iter().all(|s| !s.is_empty())).then_some(Self(segments))
    }

    /// The name of the outermost claim.
    pub(super) fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// Finds the value at this path among the claims.
    #[must_use]
    pub fn find<'a>(&self, claims: &'a serde_json::Map<String, serde_json::Value>) -> Option<&'a serde_json::Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(claims.get(first)?, |value, segment| value.as_object()?.get(segment))
    }
}
