//! The lease desk: what is known of the leases that are out, and how one is ended before its time. It asks the log which
//! leases are open, keeps in memory the credentials of those that this process minted, and gives them for a committed row alone.
//!
//! Ending a lease is said first and done then: the log has the wish before the object server hears of it, and afterwards what
//! was seen. A lease counts as ended only when somebody saw that its credential is refused, or is not there any more.

mod absence;
mod access;
mod caller;
mod ending;
mod freeze_desk;
mod freeze_watch;
mod held;
mod key_index;
mod open_leases;
mod outstanding;
mod proof;
mod rates;
mod run;
mod selection;
mod shared_state;
mod shelf;
mod watch;
mod wide;

pub use access::{DeskRefusal, DeskRequest, LeaseDesk, LeaseDeskParts, Operators, Told};
pub use caller::{CallerIdentity, CallerRefusal, Callers, SignedRequest};
pub use ending::{Desk, DeskParts, Ended};
pub use freeze_desk::{FreezeDesk, FreezeDeskParts, FreezeRefusal, MOST_FREEZES};
pub use freeze_watch::{FreezeWatch, FreezesUnknown};
pub use held::{HeldCredentials, HeldKey, HeldLease};
pub use open_leases::{OpenLease, OpenLeases, OpenPage, Said};
pub use outstanding::{AllLeasesOut, LeasesOut, NoRoom, Outstanding, Room};
pub use proof::{FirstRefusal, Proof, SessionAnswer, SessionProbe, SessionProber};
pub use rates::{Limiter, Rates, UnderWay};
pub use run::{Pace, RunError, Summary, Whose};
pub use selection::{BadSelection, GivenSelection, Selection};
pub use shared_state::SharedState;
pub use shelf::{MintedLease, OnShelf};
pub use watch::{Watch, WatchParts};
