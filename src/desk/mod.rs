//! The lease desk: what is known of the leases that are out, and how one is ended before its time. It asks the log which
//! leases are open, keeps in memory the credentials of those that this process minted, and never hands one out by itself.

mod held;

pub use held::HeldCredentials;
