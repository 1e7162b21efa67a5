//! Emergency credentials: what the service does when the identity provider, or even PostgreSQL, is down. No one person can
//! use it, it works only in an emergency, and its every use is bounded, on record before the credential leaves, and
//! reviewed. It never decides what a role may do: that is the policy directory's.

pub mod ceremony;
pub mod desk;
pub mod journal;
pub mod watch;
