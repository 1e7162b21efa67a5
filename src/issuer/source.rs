//! One refresh of one issuer's keys, from wherever the operator said they are.

use tokio::time::timeout;

use super::fault::IssuerFault;
use super::fetch::{DEADLINE, Fetcher, address};
use super::{IssuerSettings, KeyLocation, discovery, file};
use crate::token::KeySet;

/// What one refresh brought.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The keys.
    pub(super) set: KeySet,
    /// Discovery offers HS256 alone.
    pub(super) symmetric_only: bool,
}

/// Loads the keys once, within one deadline for everything.
pub(super) async fn load(settings: &IssuerSettings, fetcher: &Fetcher) -> Result<Loaded, IssuerFault> {
    timeout(DEADLINE, load_unbounded(settings, fetcher)).await.unwrap_or(Err(IssuerFault::Deadline))
}

async fn load_unbounded(settings: &IssuerSettings, fetcher: &Fetcher) -> Result<Loaded, IssuerFault> {
    let (body, symmetric_only) = match &settings.keys {
        KeyLocation::Discovery => {
            let document = fetcher.get(discovery::document_url(&settings.issuer)?).await.map_err(undiscovered)?;
            let discovered = discovery::read(&document, &settings.issuer)?;
            (fetcher.get(discovered.jwks_uri).await?, discovered.symmetric_only)
        }
        KeyLocation::JwksUri(uri) => (fetcher.get(address(uri, "jwks_uri")?).await?, false),
        KeyLocation::JwksFile(path) => (file::read(path).await?, false),
    };
    Ok(Loaded { set: KeySet::parse(&body)?, symmetric_only })
}

fn undiscovered(fault: IssuerFault) -> IssuerFault {
    if let IssuerFault::Status(status) = fault { IssuerFault::DiscoveryStatus(status) } else { fault }
}
