//! Why nobody is logged in. No variant holds a token; what a provider said is cut to a line.

use std::path::PathBuf;

use crate::client::address::AddressFault;
use crate::client::fault::Answered;

/// Why there is no session, or no token of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginFault {
    /// The issuer's address is not one that a token may come from.
    #[error("--issuer {0}")]
    Issuer(AddressFault),
    /// The provider does not answer.
    #[error("the identity provider cannot be reached: {0}")]
    Unreachable(String),
    /// The discovery document is not this provider's, or lacks what is needed.
    #[error("the identity provider's discovery document {0}")]
    Discovery(&'static str),
    /// The provider refuses.
    #[error("the identity provider refuses: {0}")]
    Refused(Answered),
    /// The provider answered what this protocol does not know, or somebody else did.
    #[error("the identity provider's answer is not believed: {0}")]
    Nonsense(&'static str),
    /// The person said no.
    #[error("the login was refused")]
    Denied,
    /// The person took too long.
    #[error("nobody logged in in time; begin again")]
    TimedOut,
    /// No loopback port could be listened on.
    #[error("cannot listen on loopback: {0}")]
    Loopback(String),
    /// There is no session.
    #[error("nobody is logged in; `stint login --issuer URL --client-id ID` does it")]
    NotLoggedIn,
    /// The session cannot be renewed any more.
    #[error("the login is over; log in again")]
    Over,
    /// The session's file cannot be used.
    #[error("{}: {why}", path.display())]
    Store {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}
