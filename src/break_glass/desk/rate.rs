//! How often documents are taken. Signatures are the authentication: what no custodian signed is charged to the network it came
//! from and never waits for a turn; what one did is charged to the document itself, so that neither a stranger in the same
//! network nor one who sends a captured document again and again shuts the custodians out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::refusal::BreakGlassRefusal;
use crate::clock::Clock;
use crate::desk::Limiter;
use crate::lease::Rate;

/// A ceremony is a handful of submissions, also one that goes wrong again and again.
const RATE: &str = "30/m";

/// Who pays for a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Payer {
    /// Nobody signed it: the network it came from, where that is known.
    Network(Option<IpNet>),
    /// It is truly signed: the document, by its digest.
    Document(String),
}

impl Payer {
    /// The network of an address.
    pub(super) fn stranger(address: Option<IpAddr>) -> Self {
        Self::Network(address.and_then(network))
    }
}

/// What each has left.
#[derive(Debug)]
pub(super) struct DocumentRate(Option<Limiter<Payer>>);

impl DocumentRate {
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Self {
        Self(Rate::parse(RATE).and_then(|rate| Limiter::new(rate, clock)))
    }

    /// One more document.
    pub(super) fn take(&self, payer: &Payer) -> Result<(), BreakGlassRefusal> {
        let too_many = |wait: Duration| Err(BreakGlassRefusal::TooMany(wait));
        match &self.0 {
            Some(limiter) => limiter.take(payer).or_else(too_many),
            // Never so, by the constant above.
            None => too_many(Duration::from_mins(1)),
        }
    }
}

/// What one owner has many addresses of.
fn network(address: IpAddr) -> Option<IpNet> {
    match address.to_canonical() {
        IpAddr::V4(address) => Ipv4Net::new(address, 24).ok().map(|network| IpNet::V4(network.trunc())),
        IpAddr::V6(address) => Ipv6Net::new(address, 48).ok().map(|network| IpNet::V6(network.trunc())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_network_has_its_rate_and_no_other_notices() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let rate = DocumentRate::new(&clock);
        let take = |address: &str| rate.take(&Payer::stranger(Some(address.parse().unwrap())));
        let taken = (0..40).filter(|n| take(&format!("192.0.2.{n}")).is_ok()).count();
        assert!((30..=31).contains(&taken), "{taken}");
        assert!(matches!(take("192.0.2.200"), Err(BreakGlassRefusal::TooMany(_))));
        assert!(take("198.51.100.1").is_ok() && take("2001:db8::1").is_ok());
        assert!(rate.take(&Payer::Document("a".to_owned())).is_ok(), "a custodian's, from wherever");
    }
}
