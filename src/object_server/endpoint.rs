//! The address of an object server: a scheme, a host and perhaps a port, and nothing more, so that the `Host` header
//! that is signed is the one that is sent.

use std::fmt;

use reqwest::Url;

/// Why the settings of an object server cannot be used; nothing was sent anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The endpoint cannot be used.
    #[error("the object server's endpoint {problem}: write http(s)://host[:port]")]
    Endpoint {
        /// What is wrong with it; never its text, which may hold a password.
        problem: &'static str,
    },
    /// A value that must be one short word of visible ASCII is not.
    #[error("the object server's {what} must be 1 to 128 characters of visible ASCII without spaces")]
    Word {
        /// Which one.
        what: &'static str,
    },
    /// The bound on one call must be more than nothing.
    #[error("the object server's timeout must be longer than zero")]
    Timeout,
    /// The HTTP client cannot be built: the machine's trust roots are unusable.
    #[error("the HTTP client for the object server cannot be built")]
    Client,
    /// Nobody to mint as.
    #[error("no parent is configured: set object_server.access_key and secret_key, or [[object_server.parent]] blocks")]
    NoParent,
}

/// A parsed endpoint.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Endpoint(Url);

impl Endpoint {
    /// Accepts `http(s)://host[:port]`, with at most a lone `/` behind it.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let problem = |problem| ConfigError::Endpoint { problem };
        // The URL parser mends what it is given (it drops tabs, turns `\` into `/`): what it would mend is refused.
        if text.bytes().any(|b| !b.is_ascii_graphic() || b == b'\\') {
            return Err(problem("holds a character that no address holds"));
        }
        let url = Url::parse(text).map_err(|_| problem("is not an address"))?;
        if !matches!(url.scheme(), "http" | "https") || !text.contains("://") {
            return Err(problem("is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
            return Err(problem("holds a user name"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(problem("has a query or a fragment"));
        }
        match (url.host_str(), url.path()) {
            (None | Some(""), _) => Err(problem("names no host")),
            (Some(_), "" | "/") => Ok(Self(url)),
            (Some(_), _) => Err(problem("has a path")),
        }
    }

    /// The address of `path_and_query`, which starts with `/` and is encoded already.
    pub(super) fn at(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_scheme_host_and_port_and_nothing_else() {
        for (good, at) in [
            ("http://minio:9000", "http://minio:9000/"),
            ("http://minio:9000/", "http://minio:9000/"),
            ("https://s3.example.org", "https://s3.example.org/"),
            // The default port is not sent in `Host`, so it must not be signed either.
            ("https://s3.example.org:443", "https://s3.example.org/"),
            ("http://[::1]:9000", "http://[::1]:9000/"),
        ] {
            assert_eq!(Endpoint::parse(good).unwrap().at("/"), at);
        }
        for bad in [
            "",
            "minio:9000",
            "ftp://minio",
            "http://",
            "http:minio",
            "http://minio/bucket",
            "http://minio?x",
            "http://minio/?",
            "http://minio#x",
            "http://user@minio",
            "http://user:word@minio",
            "http://@minio",
            " http://minio",
            "http://min io",
            "http:\\\\minio",
            "http://minio\n",
            "http://minio:99999",
            "file:///etc/passwd",
        ] {
            assert!(matches!(Endpoint::parse(bad), Err(ConfigError::Endpoint { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_refused_endpoint_never_shows_its_password() {
        let error = Endpoint::parse("http://minter:hunter2@minio:9000").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
