//! The checklist, top to bottom: shape, header, issuer, key, signature, times, audience, kind, groups. The only maker
//! of [`VerifiedToken`].

use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::claims::Claims;
use super::compact::CompactJws;
use super::header::Header;
use super::{EmergencyClaim, Group, IssuerName, IssuerRules, KeySource, SignedIdentity, Subject, TokenDigest};
use super::{TokenReason, TokenRefusal, Unverified, VerificationKey, groups, kind, times};

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
    emergency: Option<EmergencyClaim>,
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

    /// The emergency that it was issued for, if it was: every decision about it is to say so.
    #[must_use]
    pub fn emergency(&self) -> Option<&EmergencyClaim> {
        self.emergency.as_ref()
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
    pub async fn verify(&self, token: &Unverified, now: OffsetDateTime) -> Result<VerifiedToken, TokenRefusal> {
        let digest = token.digest();
        let verified = self.checklist(token.expose(), digest, now).await;
        verified.map_err(|Fault { reason, signed }| TokenRefusal { reason, digest, signed })
    }

    /// The checklist: shape, header and issuer first, which cost nothing; then keys; then the signature; and only then
    /// what the token says.
    async fn checklist(&self, token: &str, digest: TokenDigest, now: OffsetDateTime) -> Result<VerifiedToken, Fault> {
        let jws = CompactJws::split(token)?;
        let header = Header::parse(&jws.header)?;
        let claims = Claims::parse(&jws.payload)?;

        let candidates = self.candidates(&claims)?;
        // Side by side: however many blocks share an issuer string, a request waits for one bounded fetch.
        let keys = join_all(candidates.iter().map(|rules| self.key(rules, &header))).await;

        let mut fault = None;
        for (rules, key) in candidates.into_iter().zip(keys) {
            match key.map_err(Fault::from).and_then(|key| signed_by(&key, &jws, &claims, rules)) {
                Ok(signed) => match judge(&claims, rules, now) {
                    Ok(judged) => return Ok(judged.into_verified(rules, claims, digest)),
                    Err(reason) => fault = Some(Fault { reason, signed: Some(Box::new(signed)) }.or(fault)),
                },
                Err(unsigned) => fault = Some(unsigned.or(fault)),
            }
        }
        Err(fault.unwrap_or(Fault::from(TokenReason::IssuerUnknown)))
    }

    /// The configured blocks whose `issuer` equals the token's, byte for byte, in the order of configuration. The
    /// unverified `iss` selects among them and does nothing else: nothing is ever fetched for an unknown issuer.
    ///
    /// Applications of an Authentik in global mode share one issuer string and differ in `aud`: when the token names
    /// some block's audience only such blocks are tried, so that no token makes another block's keys be fetched.
    fn candidates(&self, claims: &Claims) -> Result<Vec<&IssuerRules>, TokenReason> {
        let issuer = claims.issuer()?;
        let named: Vec<_> = self.issuers.iter().filter(|rules| rules.issuer == issuer).collect();
        let addressed: Vec<_> = named.iter().copied().filter(|rules| claims.mentions_audience(rules)).collect();
        match (named.is_empty(), addressed.is_empty()) {
            (true, _) => Err(TokenReason::IssuerUnknown),
            (false, true) => Ok(named),
            (false, false) => Ok(addressed),
        }
    }

    /// The block's own key for this token: asked for by block, so that no other block's key, however named, can answer.
    async fn key(&self, rules: &IssuerRules, header: &Header) -> Result<VerificationKey, TokenReason> {
        header.type_fits(rules.profile)?;
        let kid = header.kid();
        let key = self.keys.key(&rules.name, kid).await;
        // The one word of an unverified token that is logged: operators need it after a rotation. Escaped.
        Ok(key.inspect_err(|error| tracing::debug!(issuer = %rules.name, ?kid, %error, "no key"))?)
    }
}

/// Checks the signature and answers whom it vouches for.
fn signed_by(
    key: &VerificationKey,
    jws: &CompactJws<'_>,
    claims: &Claims,
    rules: &IssuerRules,
) -> Result<SignedIdentity, Fault> {
    if !key.verifies(jws.signing_input, jws.signature) {
        return Err(Fault::from(TokenReason::SignatureInvalid));
    }
    let jti = claims.token_id().ok().flatten();
    Ok(SignedIdentity { issuer: rules.name.clone(), subject: claims.subject().ok(), jti })
}

/// Judges the claims of a token whose signature holds: times, audience, who, for whom, kind, groups.
fn judge(claims: &Claims, rules: &IssuerRules, now: OffsetDateTime) -> Result<Judged, TokenReason> {
    let expires_at = times::check(claims, rules, now)?;
    let audience = claims.audience(rules)?;
    let subject = claims.subject()?;
    let jti = claims.token_id()?;
    let client = claims.client(rules)?;
    kind::check(claims.members(), rules.profile)?;
    let groups = groups::read(claims.members(), rules)?;
    let emergency = EmergencyClaim::read(claims, rules, &audience, now);
    Ok(Judged { subject, audience, client, groups, jti, expires_at, emergency })
}

/// What the judged claims come to.
struct Judged {
    subject: Subject,
    audience: String,
    client: Option<String>,
    groups: Vec<Group>,
    jti: Option<String>,
    expires_at: OffsetDateTime,
    emergency: Option<EmergencyClaim>,
}

impl Judged {
    fn into_verified(self, rules: &IssuerRules, claims: Claims, digest: TokenDigest) -> VerifiedToken {
        let Self { subject, audience, client, groups, jti, expires_at, emergency } = self;
        VerifiedToken {
            issuer: rules.name.clone(),
            issuer_url: rules.issuer.clone(),
            subject,
            audience,
            client,
            groups,
            jti,
            expires_at,
            emergency,
            claims: claims.into_members(),
            digest,
        }
    }
}

/// A cause on its way to a [`TokenRefusal`].
struct Fault {
    reason: TokenReason,
    signed: Option<Box<SignedIdentity>>,
}

impl Fault {
    /// Of the faults of two blocks the more telling one: a held signature outranks all (it makes a row), keys that
    /// cannot be had outrank the rest (the client should come back), and otherwise the first block's counts.
    fn or(self, earlier: Option<Self>) -> Self {
        let rank = |fault: &Self| match (&fault.signed, fault.reason.is_keys_unavailable()) {
            (Some(_), _) => 2,
            (None, true) => 1,
            (None, false) => 0,
        };
        match earlier {
            Some(earlier) if rank(&earlier) >= rank(&self) => earlier,
            Some(_) | None => self,
        }
    }
}

impl From<TokenReason> for Fault {
    fn from(reason: TokenReason) -> Self {
        Self { reason, signed: None }
    }
}
