//! Why a token is refused: a fixed reason for counters and rows, never a word of the token itself.

use super::{IssuerName, KeyError, Subject, TokenDigest};

/// A refused token. Outsiders learn nothing of it but *that* it was refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("token refused: {reason}")]
pub struct TokenRefusal {
    /// The cause.
    pub reason: TokenReason,
    /// The token's digest, for the operator who asks "was it this one?".
    pub digest: TokenDigest,
    /// Whom the issuer named, if the signature held. Only such refusals become rows: anyone can send junk.
    pub signed: Option<Box<SignedIdentity>>,
}

/// What a validly signed but refused token says of itself.
#[derive(Debug, Clone)]
pub struct SignedIdentity {
    /// The issuer block whose key verified the signature.
    pub issuer: IssuerName,
    /// `sub`, when it is one.
    pub subject: Option<Subject>,
    /// `jti`, when it is a string of at most 256 bytes.
    pub jti: Option<String>,
}

/// Declares the reasons once: variant, stable code and text stay together, and the list of all can never miss one.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $text:literal;)+) => {
        /// The cause of a refusal; [`TokenReason::code`] is stable and goes into rows and counters. Each is explained,
        /// with the attack it stops, in `docs/token-checklist.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum TokenReason {
            $($(#[doc = $doc])+ #[error($text)] $variant,)+
        }

        impl TokenReason {
            /// Every reason, in the order of the checklist.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable code.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }
        }
    };
}

reasons! {
    /// Missing, empty, or not three parts of strict base64url (RFC 7515 section 3.1).
    Malformed = "token_malformed", "not a compact JWS";
    /// The token or one of its parts exceeds its size limit.
    TooLarge = "token_too_large", "the token or a part of it is too large";
    /// Five parts: a JWE. The provider encrypts its tokens and must be told not to.
    Encrypted = "token_encrypted", "the token is encrypted: take the encryption key off the provider";
    /// The header is not one strict JSON object.
    HeaderNotJson = "header_not_json", "the header is not a JSON object";
    /// The payload is not one strict JSON object.
    PayloadNotJson = "payload_not_json", "the payload is not a JSON object";
    /// A member appears twice, in the header or the payload, at any depth (RFC 7519 section 4).
    DuplicateMember = "duplicate_member", "a JSON member appears twice";
    /// `alg` is not exactly `RS256`.
    AlgorithmNotAllowed = "algorithm_not_allowed", "the algorithm is not RS256";
    /// The header carries `crit`, `b64`, `zip`, `enc`, `jwk`, `jku`, `x5u`, `x5c` or `cty`.
    HeaderMemberForbidden = "header_member_forbidden", "the header carries a member that is never accepted";
    /// `kid` is not a string of 1 to 256 bytes.
    KeyIdInvalid = "kid_invalid", "the kid is not a string of 1 to 256 bytes";
    /// `iss` is missing or not a string.
    IssuerInvalid = "issuer_invalid", "the iss is missing or not a string";
    /// `iss` is `local-identity`, or `environment` is `local`: a developer's own tokens.
    LocalIdentity = "local_identity", "a token of a local development identity";
    /// `iss` is not, byte for byte, a configured issuer.
    IssuerUnknown = "issuer_unknown", "the issuer is not configured";
    /// `typ` is missing or not one the issuer's profile gives to access tokens.
    TypeNotAllowed = "type_not_allowed", "the typ is not that of an access token";
    /// The issuer publishes no eligible key of this `kid`.
    KeyUnknown = "key_unknown", "the issuer publishes no eligible key with this kid";
    /// Several keys answer, and choosing would be the attacker's.
    KeyAmbiguous = "key_ambiguous", "several keys of the issuer answer to this token";
    /// The issuer's keys cannot be had now.
    KeysUnavailable = "keys_unavailable", "the issuer's keys are not available";
    /// The signature does not hold under the issuer's key.
    SignatureInvalid = "signature_invalid", "the signature does not hold";
    /// `exp` is missing or not a whole number of seconds in `0..2^53`.
    ExpiryInvalid = "exp_invalid", "the exp is missing or not a whole number of seconds";
    /// `iat` is missing or not a whole number of seconds in `0..2^53`.
    IssuedAtInvalid = "iat_invalid", "the iat is missing or not a whole number of seconds";
    /// `nbf` is not a whole number of seconds in `0..2^53`, or missing where the profile requires it.
    NotBeforeInvalid = "nbf_invalid", "the nbf is not a whole number of seconds, or missing where it is required";
    /// `exp` has passed.
    Expired = "token_expired", "the token has expired";
    /// `iat` lies in the future.
    IssuedInFuture = "issued_in_future", "the token was issued in the future";
    /// `nbf` lies in the future.
    NotYetValid = "token_not_yet_valid", "the token is not valid yet";
    /// `exp` does not follow `iat`, or follows it by more than the configured lifetime.
    LifetimeNotAllowed = "lifetime_not_allowed", "the time between iat and exp is not allowed";
    /// Issued before the issuer's configured `not_before`.
    Revoked = "issued_before_revocation", "the token was issued before the issuer's revocation instant";
    /// `aud` is missing, empty, too long, or neither a string nor an array of strings.
    AudienceInvalid = "audience_invalid", "the aud is missing or not a string or an array of strings";
    /// `aud` does not hold a configured audience.
    AudienceNotOurs = "audience_not_ours", "the token is for another audience";
    /// `sub` is missing or not a string of 1 to 255 bytes.
    SubjectInvalid = "subject_invalid", "the sub is missing or not usable";
    /// `jti` is not a string of 1 to 256 bytes.
    TokenIdInvalid = "jti_invalid", "the jti is not a string of 1 to 256 bytes";
    /// `azp` or `client_id` is not a string of 1 to 255 bytes.
    ClientInvalid = "client_invalid", "the azp or client_id is not usable";
    /// The token must name its client (several audiences, or configured clients) and does not.
    ClientMissing = "client_missing", "the token names no client where one is required";
    /// The client is not among the configured ones.
    ClientNotAllowed = "client_not_allowed", "the client is not allowed";
    /// `events` is present: a logout token or another security event (RFC 8417).
    SecurityEvent = "security_event", "a security event, not an access token";
    /// `nonce` without `azp`: an ID token (OIDC Core section 2).
    IdToken = "id_token", "an ID token, not an access token";
    /// `cnf` is present: bound to a proof nobody checks here (RFC 7800, RFC 9449).
    ProofBound = "proof_bound", "the token is bound to a key and no proof is checked here";
    /// `act` or `may_act` is present: delegation (RFC 8693 section 4).
    Delegated = "delegated", "the token speaks for somebody else";
    /// The profile's marks of an access token are missing.
    NotAnAccessToken = "not_an_access_token", "the token lacks its profile's marks of an access token";
    /// A claim that `iam-profile` requires is missing or has another type.
    ProfileClaimInvalid = "profile_claim_invalid", "a claim the profile requires is missing or has another type";
    /// The groups claim is not an array of strings of 1 to 256 bytes each.
    GroupsInvalid = "groups_invalid", "the groups are not an array of usable strings";
    /// More than 1,000 groups.
    GroupsTooMany = "groups_too_many", "the token carries too many groups";
}

impl TokenReason {
    /// The token was good once and is now too old: STS doors answer `ExpiredTokenException`, clients fetch a new one.
    /// A token from before the revocation instant counts: a new one will do.
    #[must_use]
    pub fn is_expired(self) -> bool {
        matches!(self, Self::Expired | Self::Revoked)
    }

    /// The fault is not the token's: the issuer's keys cannot be had. Clients should come back.
    #[must_use]
    pub fn is_keys_unavailable(self) -> bool {
        matches!(self, Self::KeysUnavailable)
    }
}

impl From<KeyError> for TokenReason {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unknown => Self::KeyUnknown,
            KeyError::Ambiguous => Self::KeyAmbiguous,
            KeyError::Unavailable => Self::KeysUnavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_distinct_snake_case_words() {
        let codes: HashSet<&str> = TokenReason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), TokenReason::ALL.len());
        assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn the_checklist_document_has_one_row_for_every_code_and_no_other() {
        let document = include_str!("../../docs/token-checklist.md");
        let rows = document.lines().filter(|line| line.starts_with('|'));
        let documented: Vec<&str> = rows
            .filter_map(|row| row.trim_end_matches('|').rsplit('|').next()?.trim().strip_prefix('`')?.strip_suffix('`'))
            .collect();
        let codes: Vec<&str> = TokenReason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(documented, codes, "the last column of docs/token-checklist.md");
    }
}
