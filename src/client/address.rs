//! Addresses that a token, a client secret or a lease may be sent to: https, or http where nobody can listen.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// An address that may be sent a secret; the path has no slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

/// Why an address is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// Not a URL of a host.
    #[error("must be a URL, as in https://stint.example")]
    NotAUrl,
    /// Plain http to another machine.
    #[error("must be https: over http everybody on the way reads the token (http is taken on loopback)")]
    NotSecure,
    /// A user or a password stands in it; they would be shown in logs.
    #[error("must not hold a user, a password, a query or a fragment")]
    NotBare,
}

impl Address {
    /// Reads an address: https, http on loopback, or with `insecure_http` http to anywhere.
    pub fn parse(text: &str, insecure_http: bool) -> Result<Self, AddressFault> {
        let url = Url::parse(text).map_err(|_| AddressFault::NotAUrl)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(AddressFault::NotAUrl)?;
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let loopback = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if loopback || insecure_http => {}
            _ => return Err(AddressFault::NotSecure),
        }
        let bare = url.username().is_empty() && url.password().is_none();
        if bare && url.query().is_none() && url.fragment().is_none() {
            Ok(Self(url))
        } else {
            Err(AddressFault::NotBare)
        }
    }

    /// The address as it was given.
    #[must_use]
    pub fn url(&self) -> Url {
        self.0.clone()
    }

    /// The address with `path` (which begins with a slash) behind its own path.
    #[must_use]
    pub fn below(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path().trim_end_matches('/')));
        url
    }

    /// Host and port are the same.
    #[must_use]
    pub fn same_origin(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_and_loopback_are_taken() {
        for text in [
            "https://stint.example",
            "https://stint.example/base/",
            "http://127.0.0.1:8080",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert!(Address::parse(text, false).is_ok(), "{text}");
        }
    }

    #[test]
    fn plain_http_to_another_machine_needs_a_word() {
        for text in ["http://stint.example", "http://10.0.0.1", "http://127.0.0.1.example", "http://localhost.example"]
        {
            assert_eq!(Address::parse(text, false), Err(AddressFault::NotSecure), "{text}");
            assert!(Address::parse(text, true).is_ok(), "{text}");
        }
        for text in ["ftp://stint.example", "file:///etc/passwd", "unix:/run/stint"] {
            assert!(Address::parse(text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_that_hides_something_is_refused() {
        for text in [
            "https://user@stint.example",
            "https://user:secret@stint.example",
            "https://stint.example/?token=1",
            "https://stint.example/#x",
        ] {
            assert_eq!(Address::parse(text, false), Err(AddressFault::NotBare), "{text}");
        }
        for text in ["", "stint.example", "https://", "//stint.example"] {
            assert!(Address::parse(text, false).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_goes_below_the_base() {
        for (base, url) in [
            ("https://stint.example", "https://stint.example/v1/leases"),
            ("https://stint.example/", "https://stint.example/v1/leases"),
            ("https://stint.example/base/", "https://stint.example/base/v1/leases"),
        ] {
            assert_eq!(Address::parse(base, false).unwrap().below("/v1/leases").as_str(), url);
        }
    }
}
