//! Adapter: keys of the configured issuers, by discovery, an explicit JWKS address or a file. It decides when to fetch
//! and how long to believe; it never judges a token.
//!
//! A request is answered from memory whenever its key is known and young. Otherwise it waits for at most one fetch, of
//! at most five seconds, that all requests for that issuer share; between two fetches lie thirty seconds, failed ones
//! included. While a provider is down its last keys are believed for an hour.

mod cache;
mod discovery;
mod fault;
mod fetch;
mod file;
mod reach;
mod source;
mod standing;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use tokio_util::task::TaskTracker;

use self::cache::{KeyCache, Means};
use self::fetch::Fetcher;
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
pub struct IssuerKeys {
    caches: Vec<(IssuerName, Arc<KeyCache>)>,
}

impl IssuerKeys {
    /// Prepares the caches; fetches nothing.
    #[must_use]
    pub fn new(issuers: Vec<IssuerSettings>, clock: Arc<dyn Clock>) -> Self {
        let means = Arc::new(Means { fetcher: Fetcher::new(), clock, tasks: TaskTracker::new() });
        let cache =
            |settings: IssuerSettings| (settings.name.clone(), Arc::new(KeyCache::new(settings, Arc::clone(&means))));
        Self { caches: issuers.into_iter().map(cache).collect() }
    }

    /// Fetches every issuer's keys once, side by side, and logs what is wrong; never fails: the service starts while
    /// an issuer is down.
    pub async fn warm(&self) {
        join_all(self.caches.iter().map(|(_, cache)| cache.warm())).await;
    }

    /// Whether any issuer answers now, asked anew within five seconds, past what is cached. An issuer whose keys are in a file
    /// cannot be asked and is left out; where none can be asked, none is known to be silent.
    pub async fn any_answers(&self) -> bool {
        let asked = self.caches.iter().map(|(_, cache)| cache.probe());
        let answers: Vec<bool> = join_all(asked).await.into_iter().flatten().collect();
        answers.is_empty() || answers.contains(&true)
    }

    /// How each issuer stands. Never waits; fetches keys that are due beside.
    #[expect(clippy::unused_async, reason = "readiness asks every dependency alike")]
    pub async fn status(&self) -> Vec<IssuerStatus> {
        self.caches.iter().map(|(_, cache)| cache.status()).collect()
    }
}

#[async_trait]
impl KeySource for IssuerKeys {
    async fn key(&self, issuer: &IssuerName, kid: Option<&KeyId>) -> Result<VerificationKey, KeyError> {
        match self.caches.iter().find(|(name, _)| name == issuer) {
            Some((_, cache)) => cache.key(kid).await,
            None => Err(KeyError::Unavailable),
        }
    }
}
