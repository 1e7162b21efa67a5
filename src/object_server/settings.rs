//! What every dialect needs to know of its server.

use std::time::Duration;

use secrecy::SecretString;

/// How to reach a server, as whom, and how long a call may take.
#[derive(Debug)]
pub struct ServerSettings {
    /// `http(s)://host[:port]` of the endpoint that answers `AssumeRole`, no path: the S3 endpoint, except at AWS.
    pub endpoint: String,
    /// The server's region.
    pub region: String,
    /// The parent identity: long-lived, not root, of no other use.
    pub access_key: String,
    /// Its secret.
    pub secret_key: SecretString,
    /// Bound on one call, connection included.
    pub timeout: Duration,
}

/// A double's address, and a parent that it believes.
#[cfg(test)]
pub(super) fn for_double(endpoint: &str) -> ServerSettings {
    ServerSettings {
        endpoint: endpoint.to_owned(),
        region: "us-east-1".to_owned(),
        access_key: "minter".to_owned(),
        secret_key: SecretString::from("mintersecret"),
        timeout: Duration::from_secs(20),
    }
}
