//! What auditors ask of the log, and the port that answers. Everything asked is parsed once, here, whether it came
//! through a door or the command line: closed names, explicit time zones, bounded text. Nothing here decides who may ask.

mod cursor;
mod filter;
mod given;
mod leases;
mod period;
mod rows;

use async_trait::async_trait;
use time::OffsetDateTime;

pub use cursor::{Cursor, Place};
pub use filter::{Driver, EventFilter, FingerprintRange};
pub use given::{BadQuestion, Given};
pub use leases::{HolderOnly, LeaseFilter, LeaseState, LeasesQuestion};
pub use period::Period;
pub use rows::{LeaseEvents, LeaseRecord, ListedLease, LivePolicy, PolicyInForce, RowPage};

use super::{AuditRow, StoreError};
use crate::lease::{LeaseId, OpenCount};

/// Most rows of one page.
pub const MOST: u16 = 1_000;
/// Rows of a page when nobody says.
pub const USUAL: u16 = 100;

/// In which order events are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By the clocks of the services, then by place: the order of `occurred_at, stream, seq`.
    Time,
    /// Stream by stream, as sealed: the order of `stream, seq`.
    Log,
}

impl Order {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Log => "log",
        }
    }
}

/// One page of events.
#[derive(Debug, Clone)]
pub struct EventsQuestion {
    /// Which events.
    pub filter: EventFilter,
    /// In which order.
    pub order: Order,
    /// Where the page before ended.
    pub after: Option<Place>,
    /// 1 to [`MOST`].
    pub limit: u16,
}

/// What a group or a subject got. One of the two is always there.
#[derive(Debug, Clone)]
pub struct GrantsQuestion {
    /// The `sub` claim, exact.
    pub subject: Option<String>,
    /// A group, exact.
    pub group: Option<String>,
    /// Narrows to one issuer: a subject is unique only together with it.
    pub issuer: Option<String>,
    /// When the leases were issued.
    pub period: Period,
    /// Where the page before ended.
    pub after: Option<Place>,
    /// 1 to [`MOST`].
    pub limit: u16,
}

/// Where the log answers questions.
///
/// An implementor MUST bound each call in time and in rows looked at, whatever is asked, and MUST only read.
#[async_trait]
pub trait Questions: std::fmt::Debug + Send + Sync {
    /// One page of events.
    async fn events(&self, question: &EventsQuestion) -> Result<RowPage<AuditRow>, StoreError>;

    /// Leases whose key has a fingerprint in the range, oldest first: at most [`MOST`].
    async fn key_leases(&self, range: &FingerprintRange) -> Result<Vec<LeaseRecord>, StoreError>;

    /// The session policies of the leases that were live at an instant, each with its number of leases.
    async fn live_policies(&self, at: OffsetDateTime) -> Result<Vec<LivePolicy>, StoreError>;

    /// Leases live at an instant under one of these session policies (SHA-256, hex), oldest first: at most `limit`.
    async fn live_leases(
        &self,
        at: OffsetDateTime,
        policies: &[String],
        limit: u16,
    ) -> Result<Vec<LeaseRecord>, StoreError>;

    /// The policy set that was loaded last at an instant.
    async fn policy_in_force(&self, at: OffsetDateTime) -> Result<Option<PolicyInForce>, StoreError>;

    /// One page of leases, oldest first.
    async fn grants(&self, question: &GrantsQuestion) -> Result<RowPage<LeaseRecord>, StoreError>;

    /// One page of leases, however they stand, the latest first.
    async fn leases(&self, question: &LeasesQuestion) -> Result<RowPage<ListedLease>, StoreError>;

    /// What is on record of one lease, if it is this holder's. Without a holder: whose ever it is.
    async fn lease(&self, lease: LeaseId, of: Option<&HolderOnly>) -> Result<LeaseEvents, StoreError>;

    /// How many leases are open at an instant, by when they began and end, all of them; but those of no holder, which nobody will
    /// ask for again.
    async fn open_counts(&self, at: OffsetDateTime) -> Result<Vec<OpenCount>, StoreError>;

    /// Every `break_glass.*` event of a period, oldest first: at most [`MOST`].
    async fn emergencies(&self, period: &Period) -> Result<Vec<AuditRow>, StoreError>;
}
