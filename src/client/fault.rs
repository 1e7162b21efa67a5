//! Why there is no lease at the moment. No variant holds a token or a secret; what a server said is cut to a line.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Longest text of a server that is repeated.
const LONGEST_SAID: usize = 400;

/// How a failure ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// By itself, soon: something is away or is being replaced.
    Outage,
    /// When somebody changes what may be had, or how it is asked for.
    Refusal,
}

/// What a server answered instead of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    /// The stable code (`access_denied`, `invalid_client`), or nothing.
    pub code: String,
    /// A sentence for people, or nothing.
    pub said: String,
    /// Finds the refusal in the service's log.
    pub request_id: Option<String>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

impl Answered {
    #[cfg(test)]
    pub(super) fn of(status: u16, code: &str) -> Self {
        Self { status, code: code.to_owned(), said: String::new(), request_id: None, retry_after: None }
    }
}

impl std::fmt::Display for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status)?;
        for said in [&self.code, &self.said] {
            if !said.is_empty() {
                write!(f, " {said}")?;
            }
        }
        self.request_id.as_ref().map_or(Ok(()), |id| write!(f, " (request {id})"))
    }
}

/// Why there is no lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A file that is read at each exchange cannot be read now.
    #[error("{}: {why}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The identity provider gave no token for reasons of its own.
    #[error("the identity provider: {0}")]
    ProviderUnavailable(String),
    /// The identity provider refuses this client.
    #[error("the identity provider refuses the client: {0}")]
    ProviderRefused(Answered),
    /// Nobody answers at the service's address.
    #[error("stint cannot be reached: {0}")]
    Unreachable(String),
    /// The service says to come back.
    #[error("stint issues nothing at the moment: {0}")]
    Unavailable(Answered),
    /// The service refuses the workload's token.
    #[error("stint refuses the workload's token: {0}")]
    TokenRefused(Answered),
    /// The service refuses what is asked for.
    #[error("stint refuses: {0}")]
    Refused(Answered),
    /// The answer is not a lease.
    #[error("the answer is not a lease: {0}")]
    Nonsense(&'static str),
    /// Nothing is known yet: the first exchange has not ended.
    #[error("the first lease is still being fetched")]
    NotYet,
}

impl Fault {
    /// A file that could not be read.
    pub(super) fn unread(path: &std::path::Path, error: &io::Error) -> Self {
        let kind = error.kind();
        let why = if kind == io::ErrorKind::NotFound {
            "there is no such file".to_owned()
        } else if kind == io::ErrorKind::PermissionDenied {
            "may not be read".to_owned()
        } else {
            error.to_string()
        };
        Self::File { path: path.to_owned(), why }
    }

    /// How it ends.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::File { .. }
            | Self::ProviderUnavailable(_)
            | Self::Unreachable(_)
            | Self::Unavailable(_)
            | Self::Nonsense(_)
            | Self::NotYet => Kind::Outage,
            Self::ProviderRefused(_) | Self::TokenRefused(_) | Self::Refused(_) => Kind::Refusal,
        }
    }

    /// When the server said to come back.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ProviderRefused(answered)
            | Self::Unavailable(answered)
            | Self::TokenRefused(answered)
            | Self::Refused(answered) => answered.retry_after,
            Self::File { .. }
            | Self::ProviderUnavailable(_)
            | Self::Unreachable(_)
            | Self::Nonsense(_)
            | Self::NotYet => None,
        }
    }

    /// A stable name for logs and programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "token_unavailable",
            Self::ProviderUnavailable(_) => "identity_provider_unavailable",
            Self::ProviderRefused(_) => "identity_provider_refused",
            Self::Unreachable(_) => "service_unreachable",
            Self::Unavailable(_) => "service_unavailable",
            Self::TokenRefused(_) => "token_refused",
            Self::Refused(_) => "refused",
            Self::Nonsense(_) => "service_answer_unreadable",
            Self::NotYet => "not_yet",
        }
    }
}

/// One line of what a server said: nobody's terminal or log should obey it.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_SAID).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_cut_to_a_harmless_line() {
        assert_eq!(one_line(" a\u{1b}[2Jb\nc "), "a [2Jb c");
        assert_eq!(one_line(&"x".repeat(10_000)).len(), LONGEST_SAID);
    }

    #[test]
    fn a_refusal_tells_its_code_and_where_to_look_for_it() {
        let answered = Answered { request_id: Some("r-1".to_owned()), ..Answered::of(403, "access_denied") };
        assert_eq!(Fault::Refused(answered).to_string(), "stint refuses: 403 access_denied (request r-1)");
    }
}
