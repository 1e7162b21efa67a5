//! Where the workload's token comes from. Each kind is read anew for each exchange: tokens rotate under a running
//! program. A further kind is one variant and one file more.

use secrecy::{ExposeSecret, SecretString};

use super::client_credentials::ClientCredentials;
use super::fault::Fault;
use super::login::PersonalToken;
use super::token_file::TokenFile;

/// A token on its way to the service.
#[derive(Debug)]
pub struct WorkloadToken(SecretString);

impl WorkloadToken {
    /// Takes a token as it goes into a header: no white space, nothing that ends a line.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        whole.then(|| Self(SecretString::from(text)))
    }

    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn same_as(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

/// Where tokens come from.
#[derive(Debug)]
pub enum TokenSource {
    /// A file that somebody else keeps fresh, as Kubernetes does with a projected service-account token.
    File(TokenFile),
    /// OAuth client credentials (RFC 6749 section 4.4).
    Client(Box<ClientCredentials>),
    /// Whoever is logged in.
    Person(Box<PersonalToken>),
}

impl TokenSource {
    /// A token for one exchange.
    pub(super) async fn token(&self) -> Result<WorkloadToken, Fault> {
        match self {
            Self::File(file) => file.read().await,
            Self::Client(client) => client.token().await,
            Self::Person(person) => person.token().await,
        }
    }

    /// Another token in place of one that the service has just refused, if there is one by now: the file may have been
    /// replaced between reading and exchanging, and a kept token may have been withdrawn.
    pub(super) async fn instead_of(&self, refused: &WorkloadToken) -> Option<WorkloadToken> {
        let other = match self {
            Self::File(file) => file.read().await,
            Self::Client(client) => {
                client.forget().await;
                client.token().await
            }
            Self::Person(person) => person.token().await,
        };
        other.ok().filter(|other| !other.same_as(refused))
    }

    /// Who asks, in words that hold no secret: part of the key under which a lease is kept between two processes. It
    /// names the file's present holder, so that a lease is never handed to another one who uses the same path later.
    pub(super) async fn identity(&self) -> String {
        match self {
            Self::File(file) => file.identity().await,
            Self::Client(client) => client.identity(),
            Self::Person(person) => person.identity(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_would_break_a_header_is_none() {
        for text in ["", "a b", "a\nb", "a\r\nx: y", "tökén", "a\0"] {
            assert!(WorkloadToken::new(text).is_none(), "{text:?}");
        }
        let token = WorkloadToken::new("a.b.planted").unwrap();
        assert!(!format!("{token:?}").contains("planted"));
    }
}
