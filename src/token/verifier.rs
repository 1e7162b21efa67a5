//! The checklist: signature, times, audience, kind, in this order. The only maker of [`VerifiedToken`].

use std::sync::Arc;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{Group, IssuerName, IssuerRules, KeySource, Subject, TokenDigest, TokenRefusal, Unverified};

/// A token that passed every check of its issuer's rules at one instant.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    issuer: IssuerName,
    issuer_url: String,
    subject: Subject,
    audience: String,
    client: Option<String>,
    groups: Vec<Group>,
    jti: Option<String>,
    expires_at: OffsetDateTime,
    claims: Map<String, Value>,
    digest: TokenDigest,
}

impl VerifiedToken {
    /// The issuer block whose rules held.
    #[must_use]
    pub fn issuer(&self) -> &IssuerName {
        &self.issuer
    }

    /// `iss`, byte for byte.
    #[must_use]
    pub fn issuer_url(&self) -> &str {
        &self.issuer_url
    }

    /// `sub`.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The configured audience that `aud` holds.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// `azp`, or `client_id` where there is no `azp`.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// The groups at the issuer's configured path; empty when the claim is missing.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// `jti`, if present.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.jti.as_deref()
    }

    /// `exp`.
    #[must_use]
    pub fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }

    /// Every claim, for role conditions and `${jwt:…}`.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// SHA-256 of the compact token.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        self.digest
    }
}

/// Verifies tokens of a closed set of issuers.
#[derive(Debug)]
pub struct Verifier {
    issuers: Vec<IssuerRules>,
    keys: Arc<dyn KeySource>,
}

impl Verifier {
    /// A verifier for these issuers, and no others.
    #[must_use]
    pub fn new(issuers: Vec<IssuerRules>, keys: Arc<dyn KeySource>) -> Self {
        Self { issuers, keys }
    }

    /// Runs the whole checklist at the instant `now`.
    pub async fn verify(&self, _token: &Unverified, _now: OffsetDateTime) -> Result<VerifiedToken, TokenRefusal> {
        let _ = (&self.issuers, &self.keys);
        todo!()
    }
}
