//! A key that signs: a long-lived one, or a leased one with its session token.

use std::fmt;

use aws_credential_types::Credentials;
use secrecy::{ExposeSecret, SecretString};

use super::super::TemporaryCredentials;

/// A key pair and perhaps a session token. No `Serialize`, a redacted `Debug`.
#[derive(Clone)]
pub struct S3Key {
    access_key: SecretString,
    secret_key: SecretString,
    session_token: Option<SecretString>,
}

impl S3Key {
    /// A long-lived key.
    #[must_use]
    pub fn long_lived(access_key: SecretString, secret_key: SecretString) -> Self {
        Self { access_key, secret_key, session_token: None }
    }

    /// The key of a lease.
    #[must_use]
    pub fn leased(credentials: &TemporaryCredentials) -> Self {
        Self {
            access_key: SecretString::from(credentials.access_key_id.expose()),
            secret_key: credentials.secret_access_key.clone(),
            session_token: Some(credentials.session_token.clone()),
        }
    }

    /// The same key pair without its session token: what must be worth nothing.
    #[must_use]
    pub fn without_token(&self) -> Self {
        Self { session_token: None, ..self.clone() }
    }

    /// The same key pair with the session token of another key: what must be worth nothing either.
    #[must_use]
    pub fn with_token_of(&self, other: &Self) -> Self {
        Self { session_token: other.session_token.clone(), ..self.clone() }
    }

    /// The access key id.
    pub(in crate::object_server) fn access_key(&self) -> &str {
        self.access_key.expose_secret()
    }

    /// The secret, for the one form of request body that is encrypted with it.
    pub(in crate::object_server) fn secret_key(&self) -> &SecretString {
        &self.secret_key
    }

    pub(super) fn credentials(&self) -> Credentials {
        let token = self.session_token.as_ref().map(|token| token.expose_secret().to_owned());
        Credentials::new(self.access_key.expose_secret(), self.secret_key.expose_secret(), token, None, "stint")
    }
}

impl fmt::Debug for S3Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.session_token.is_some() { "S3Key([leased])" } else { "S3Key([long-lived])" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_nothing_of_itself() {
        let key = S3Key::long_lived(SecretString::from("hunter1"), SecretString::from("hunter2"));
        assert_eq!(format!("{key:?}"), "S3Key([long-lived])");
    }
}
