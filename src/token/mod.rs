//! Who is asking. This room decides whether a bearer token proves an identity, by the ordered checklist of
//! `docs/token-checklist.md`; it never says what that identity may have, and it never fetches anything: keys come
//! through the [`KeySource`] port.
//!
//! [`Unverified`] → [`Verifier::verify`] → [`VerifiedToken`]. Nothing about an unverified token can be read outside
//! this room, and nothing outside `verifier.rs` can make a [`VerifiedToken`].

mod claims;
mod compact;
mod emergency;
mod groups;
mod header;
mod issuer_rules;
mod key;
mod key_set;
mod kind;
mod names;
mod refusal;
mod strict_json;
mod times;
mod unverified;
mod verifier;

use async_trait::async_trait;

pub use emergency::{EmergencyClaim, EmergencyFault};
pub use issuer_rules::{ClaimPath, IssuerRules, Profile};
pub use key::{KeyFault, KeyId, VerificationKey};
pub use key_set::{KeySet, KeySetError};
pub use names::{Group, IssuerName, Subject, TokenDigest};
pub use refusal::{SignedIdentity, TokenReason, TokenRefusal};
pub use unverified::Unverified;
pub use verifier::{VerifiedToken, Verifier};

/// Where verification keys come from.
///
/// An implementor MUST answer only keys published by the very issuer block that is named, never by another block that
/// shares an issuer string or a `kid` (token A with issuer B's key), and MUST bound time, size and number of fetches:
/// the `kid` it is asked for is an attacker's choice.
#[async_trait]
pub trait KeySource: std::fmt::Debug + Send + Sync {
    /// The one eligible key of `issuer` with this `kid`, or the only eligible key when the token names none.
    async fn key(&self, issuer: &IssuerName, kid: Option<&KeyId>) -> Result<VerificationKey, KeyError>;
}

/// Why there is no key to verify with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The issuer publishes no such key (as far as the last allowed fetch knows).
    #[error("the issuer publishes no eligible key with this kid")]
    Unknown,
    /// Several eligible keys answer to the `kid`, or the token names none and there are several.
    #[error("several eligible keys match: the choice would be the attacker's")]
    Ambiguous,
    /// The issuer's keys cannot be had now, and the last good ones are too old or were never fetched.
    #[error("the issuer's keys are not available")]
    Unavailable,
}
