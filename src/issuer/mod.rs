//! Adapter: keys of the configured issuers, by discovery, an explicit JWKS address or a file. It decides when to fetch
//! and how long to believe; it never judges a token.

mod cache;
mod discovery;
mod fetch;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::token::{IssuerName, KeyError, KeyId, KeySource, VerificationKey};

/// Where one issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyLocation {
    /// Below the issuer: `.well-known/openid-configuration`.
    Discovery,
    /// A JWKS address.
    JwksUri(String),
    /// A JWKS file, read again when it changes.
    JwksFile(PathBuf),
}

/// One issuer as the adapter sees it.
#[derive(Debug, Clone)]
pub struct IssuerSettings {
    /// The block's name.
    pub name: IssuerName,
    /// The exact issuer string, which the discovery document must repeat.
    pub issuer: String,
    /// Where its keys are.
    pub keys: KeyLocation,
}

/// How one issuer's keys stand, for readiness and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerStatus {
    /// The block's name.
    pub name: IssuerName,
    /// Whether tokens of this issuer could be verified now.
    pub ready: bool,
    /// What an operator should know: the last fault and its cure. Never shown to outsiders.
    pub detail: Option<String>,
}

/// The keys of all configured issuers, one cache each: two blocks never share keys, even if they share an issuer
/// string or a JWKS address.
#[derive(Debug)]
pub struct IssuerKeys {}

impl IssuerKeys {
    /// Prepares the caches; fetches nothing.
    #[must_use]
    pub fn new(_issuers: Vec<IssuerSettings>, _clock: Arc<dyn Clock>) -> Self {
        todo!()
    }

    /// Fetches every issuer's keys once, side by side, and logs what is wrong; never fails: the service starts while
    /// an issuer is down.
    pub async fn warm(&self) {
        todo!()
    }

    /// How each issuer stands.
    pub async fn status(&self) -> Vec<IssuerStatus> {
        todo!()
    }
}

#[async_trait]
impl KeySource for IssuerKeys {
    async fn key(&self, _issuer: &IssuerName, _kid: Option<&KeyId>) -> Result<VerificationKey, KeyError> {
        todo!()
    }
}
