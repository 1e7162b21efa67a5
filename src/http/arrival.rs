//! Where a request came from and the id it goes by. A proxy's word counts only when the proxy is trusted, and only as
//! far to the left as the chain of trusted proxies reaches: everything further left is the caller's own invention.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;
use uuid::Uuid;

use crate::audit::{Door, Origin};

/// One request's id and caller; the layer puts it into the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// A version 7 UUID, ours: an id that came in is ignored, or a caller could make two requests look like one.
    pub(super) request_id: Uuid,
    /// The caller's address.
    pub(super) address: Option<IpAddr>,
}

impl Arrival {
    /// The origin to put on record.
    pub(super) fn at(self, door: Door) -> Origin {
        Origin { door, address: self.address, request_id: self.request_id }
    }
}

/// The address of the caller: the socket's peer, or behind trusted proxies the rightmost untrusted address.
pub(super) fn address(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(peel(peer.ip().to_canonical(), headers, trusted))
}

fn peel(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let lines: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().map(|line| line.to_str().unwrap_or("unreadable")).collect();
    let mut nearest = peer;
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(nearest) {
            break;
        }
        match parse(hop.trim()) {
            Some(address) => nearest = address,
            None => break,
        }
    }
    nearest
}

fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.parse::<IpAddr>().ok();
    bare.or_else(|| hop.parse::<SocketAddr>().ok().map(|hop| hop.ip())).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        peel(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_cannot_choose_an_address() {
        assert_eq!(seen("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
    }

    #[test]
    fn behind_trusted_proxies_the_rightmost_untrusted_address_counts() {
        assert_eq!(seen("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9", "198.51.100.7", "10.0.0.2"]), "198.51.100.7");
        assert_eq!(seen("fd00::1", &["[2001:db8::5]:443"]), "2001:db8::5");
        assert_eq!(seen("10.0.0.1", &["::ffff:198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn what_is_left_of_something_unreadable_is_not_believed() {
        assert_eq!(seen("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9", "\u{fc}", "10.0.0.2"]), "10.0.0.2");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
    }
}
