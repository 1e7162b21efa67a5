//! Whether there is an emergency, and who is told. It judges by what this service itself asked, never by what a caller
//! says; it hands nothing out and refuses nothing: the desk asks it.

mod alert;
mod alerts;
mod conditions;
mod delivery;
mod overdue;
mod silence;

pub use alert::{Alert, AlertKind, AlertMessage};
pub use alerts::{AlertParts, Alerts};
pub use conditions::{Conditions, Judged, ServiceProbe};
pub use delivery::{AlertSink, Undelivered};
pub use overdue::{Duties, LastDrill, OpenReview, Overdue, OverdueWatch, Owed, Terms};
pub use silence::{Outage, Standing};
