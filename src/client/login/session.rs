//! A login as it is kept: the tokens, whose they are, and until when.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::grant::Granted;
use super::{Login, id_token};
use crate::client::fault::one_line;
use crate::client::token_source::WorkloadToken;

/// What is assumed of a token whose end the provider does not tell.
const SHORT: Duration = Duration::from_mins(5);
/// A token is asked for again after a day at the latest.
const LONGEST: Duration = Duration::from_hours(24);

/// Somebody's login.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    issuer: String,
    client_id: String,
    scope: String,
    access_token: SecretString,
    refresh_token: Option<SecretString>,
    /// Seconds since 1970.
    expires_at: i64,
}

/// What may be shown of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `iss`.
    pub issuer: String,
    /// The client.
    pub client_id: String,
    /// `sub`, as the token says it; nobody here has checked it.
    pub subject: String,
    /// When the token ends, RFC 3339.
    pub expires_at: String,
    /// It has ended.
    pub expired: bool,
    /// It can be renewed without the person.
    pub renewable: bool,
}

impl Session {
    pub(super) fn new(login: &Login, granted: Granted) -> Self {
        let lives = granted.expires_in.map_or(SHORT, Duration::from_secs).min(LONGEST);
        Self {
            issuer: login.issuer.clone(),
            client_id: login.client_id.clone(),
            scope: login.scope.clone(),
            access_token: granted.access_token,
            refresh_token: granted.refresh_token,
            expires_at: (login.clock.now() + lives).unix_timestamp(),
        }
    }

    /// The same with what was granted anew; a provider that sends no new refresh token means the old one (RFC 6749 section 6).
    pub(super) fn renewed(&self, login: &Login, granted: Granted) -> Self {
        let kept = self.refresh_token.clone();
        let renewed = Self::new(login, granted);
        Self { refresh_token: renewed.refresh_token.or(kept), ..renewed }
    }

    /// Issuer, client and scope: what a renewal needs to know.
    #[must_use]
    pub fn of(&self) -> (&str, &str, &str) {
        (&self.issuer, &self.client_id, &self.scope)
    }

    pub(super) fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(SecretString::expose_secret)
    }

    /// The token, if it can stand in a header.
    pub(super) fn token(&self) -> Option<SecretString> {
        WorkloadToken::new(self.access_token.expose_secret()).map(|_| self.access_token.clone())
    }

    pub(super) fn lives_for(&self, now: OffsetDateTime) -> Duration {
        let left = self.expires_at.saturating_sub(now.unix_timestamp());
        Duration::from_secs(u64::try_from(left).unwrap_or(0))
    }

    /// What may be shown.
    #[must_use]
    pub fn status(&self, now: OffsetDateTime) -> Status {
        let end = OffsetDateTime::from_unix_timestamp(self.expires_at).ok();
        Status {
            issuer: one_line(&self.issuer),
            client_id: one_line(&self.client_id),
            subject: one_line(&id_token::subject(self.access_token.expose_secret())),
            expires_at: end.and_then(|end| end.format(&Rfc3339).ok()).unwrap_or_default(),
            expired: self.lives_for(now).is_zero(),
            renewable: self.refresh_token.is_some(),
        }
    }

    /// What goes into the private file, wiped when dropped.
    pub(super) fn text(&self) -> Zeroizing<String> {
        let text = json!({
            "issuer": self.issuer, "client_id": self.client_id, "scope": self.scope,
            "access_token": self.access_token.expose_secret(), "refresh_token": self.refresh_token(),
            "expires_at": self.expires_at,
        });
        Zeroizing::new(text.to_string())
    }
}
