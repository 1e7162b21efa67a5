//! Why a token is refused: a fixed reason for counters and rows, never a word of the token itself.

use super::{IssuerName, Subject, TokenDigest};

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

/// The cause of a refusal; [`TokenReason::code`] is stable and goes into rows and counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenReason {
    /// Missing, empty, too large, or not three base64url parts.
    #[error("not a compact JWS")]
    Malformed,
}

impl TokenReason {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "token_malformed",
        }
    }

    /// The token was good once and is now too old: STS doors answer `ExpiredTokenException`, clients fetch a new one.
    #[must_use]
    pub fn is_expired(self) -> bool {
        match self {
            Self::Malformed => false,
        }
    }

    /// The fault is not the token's: the issuer's keys cannot be had. Clients should come back.
    #[must_use]
    pub fn is_keys_unavailable(self) -> bool {
        match self {
            Self::Malformed => false,
        }
    }
}
