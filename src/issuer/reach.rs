//! Whether an issuer answers at all, asked anew and past the cache: what an emergency is judged by. In doubt it does: what
//! it answers may be wrong, and what is wrong on this side of the wire is no outage of the other.

use super::fault::IssuerFault;
use super::fetch::Fetcher;
use super::{IssuerSettings, KeyLocation, source};
use crate::own_side;

/// One probe; nothing for an issuer whose keys are in a file, because there is nobody to ask.
pub(super) async fn probe(settings: &IssuerSettings, fetcher: &Fetcher) -> Option<bool> {
    match settings.keys {
        KeyLocation::Discovery | KeyLocation::JwksUri(_) => {}
        KeyLocation::JwksFile(_) => return None,
    }
    let fault = source::load(settings, fetcher).await.err();
    if let Some(fault) = &fault {
        tracing::debug!(issuer = %settings.name, detail = fault.detail(), "probed");
    }
    Some(!fault.is_some_and(|fault| is_silence(&fault)) || !own_side::has_descriptors())
}

/// Nobody at the other end, or nobody behind who stands there: a proxy in front of a dead provider answers 502 to 504.
/// Whoever can answer with anything else is there, however wrongly.
fn is_silence(fault: &IssuerFault) -> bool {
    match fault {
        IssuerFault::Transport(error) => !own_side::is_ours(error),
        IssuerFault::Deadline => true,
        IssuerFault::Status(status) | IssuerFault::DiscoveryStatus(status) => *status >= 500,
        IssuerFault::Address(_)
        | IssuerFault::Client
        | IssuerFault::Encoded
        | IssuerFault::TooLarge
        | IssuerFault::Discovery
        | IssuerFault::OtherIssuer
        | IssuerFault::OtherOrigin
        | IssuerFault::KeySet(_)
        | IssuerFault::File(_)
        | IssuerFault::NotAFile => false,
    }
}
