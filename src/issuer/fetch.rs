//! One GET to an identity provider, bounded in every direction: no redirects, no proxy, no compression, few bytes. The
//! deadline is the caller's, because it spans discovery and keys together.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_ENCODING};
use reqwest::{StatusCode, Url, redirect};

use super::fault::IssuerFault;
use crate::token::KeySet;

/// Longest time for everything one refresh does.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// Largest body, declared or streamed.
pub(super) const MAX_BYTES: usize = KeySet::MAX_BYTES;

/// An HTTP client that can do nothing but bounded GETs.
#[derive(Debug)]
pub(super) struct Fetcher(Option<reqwest::Client>);

impl Fetcher {
    /// Builds the client; a failure shows in every fetch, so that the service can still start and say so.
    pub(super) fn new() -> Self {
        let client = reqwest::Client::builder()
            .user_agent(concat!("stint/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(DEADLINE)
            .timeout(DEADLINE)
            .build();
        Self(client.inspect_err(|error| tracing::error!(%error, "no HTTP client for the issuers' keys")).ok())
    }

    /// The body of a 200 answer.
    pub(super) async fn get(&self, url: Url) -> Result<Vec<u8>, IssuerFault> {
        let client = self.0.as_ref().ok_or(IssuerFault::Client)?;
        let request = client.get(url).header(ACCEPT, "application/json, application/jwk-set+json");
        let mut response = request.send().await.map_err(transport)?;
        if response.status() != StatusCode::OK {
            return Err(IssuerFault::Status(response.status().as_u16()));
        }
        if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(IssuerFault::Encoded);
        }
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        if response.content_length().is_some_and(|declared| declared > limit) {
            return Err(IssuerFault::TooLarge);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if body.len().saturating_add(chunk.len()) > MAX_BYTES {
                return Err(IssuerFault::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn transport(error: reqwest::Error) -> IssuerFault {
    if error.is_timeout() { IssuerFault::Deadline } else { IssuerFault::Transport(error.without_url()) }
}

/// Parses an address that may be fetched: https, or http on loopback; `what` names it in the fault.
pub(super) fn address(text: &str, what: &'static str) -> Result<Url, IssuerFault> {
    let url = Url::parse(text).map_err(|_| IssuerFault::Address(what))?;
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let loopback = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    let secure = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    let bare = url.username().is_empty() && url.password().is_none();
    if secure && bare && !host.is_empty() { Ok(url) } else { Err(IssuerFault::Address(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_addresses_are_fetched() {
        let good = ["https://auth.example/a", "http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost/"];
        for text in good {
            assert!(address(text, "issuer").is_ok(), "{text}");
        }
        for text in [
            "http://auth.example/",
            "http://169.254.169.254/latest",
            "http://127.0.0.1.example/",
            "http://localhost.example/",
            "http://127.0.0.1@auth.example/",
            "https://user@auth.example/",
            "https://user:pass@auth.example/",
            "file:///etc/passwd",
            "ftp://auth.example/",
            "data:application/json,{}",
            "auth.example",
            "",
        ] {
            assert!(address(text, "issuer").is_err(), "{text}");
        }
    }
}
