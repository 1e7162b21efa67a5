//! Quotas: how often a holder or a role may be vended to, and how many leases may be out. This file says what a limit is and
//! what is told beyond it; what was used is counted elsewhere. Nothing is limited that is not configured.

use std::num::NonZeroU32;
use std::time::Duration;

/// The shortest a caller is told to stay away.
const SOONEST: Duration = Duration::from_secs(1);
/// The longest: whoever stays away for longer misses that somebody else's lease was revoked.
const LATEST: Duration = Duration::from_mins(15);

/// So many in so long, and no more at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    events: NonZeroU32,
    per: Duration,
}

impl Rate {
    /// Reads `60/m`: a number, and a second, minute or hour.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (events, per) = text.split_once('/')?;
        let per = match per {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return None,
        };
        if !events.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        Some(Self { events: events.parse().ok().filter(|events: &NonZeroU32| events.get() <= 1_000_000)?, per })
    }

    /// How many at once, and within [`Rate::per`].
    #[must_use]
    pub fn events(self) -> NonZeroU32 {
        self.events
    }

    /// Within how long.
    #[must_use]
    pub fn per(self) -> Duration {
        self.per
    }
}

/// The limits that are configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Exchanges of one holder.
    pub rate_per_subject: Option<Rate>,
    /// Exchanges under one role.
    pub rate_per_role: Option<Rate>,
    /// Leases of one holder that are out.
    pub max_outstanding_per_subject: Option<NonZeroU32>,
    /// Leases under one role that are out.
    pub max_outstanding_per_role: Option<NonZeroU32>,
    /// Leases that are out.
    pub max_outstanding: Option<NonZeroU32>,
}

/// What there is no more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Exchanges of the holder, in that time.
    RatePerSubject,
    /// Exchanges under a role, in that time.
    RatePerRole,
    /// Exchanges of the holder under way: one holder never takes all the places there are.
    AtOncePerSubject,
    /// Leases of the holder.
    OutstandingPerSubject,
    /// Leases under a role.
    OutstandingPerRole,
    /// Leases.
    Outstanding,
}

impl Quota {
    /// The stable reason code: in rows, counters and the log.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::RatePerSubject => "rate_per_subject",
            Self::RatePerRole => "rate_per_role",
            Self::AtOncePerSubject => "at_once_per_subject",
            Self::OutstandingPerSubject => "outstanding_per_subject",
            Self::OutstandingPerRole => "outstanding_per_role",
            Self::Outstanding => "outstanding",
        }
    }

    /// Whether it is about how often, rather than how many.
    #[must_use]
    pub fn is_rate(self) -> bool {
        match self {
            Self::RatePerSubject | Self::RatePerRole | Self::AtOncePerSubject => true,
            Self::OutstandingPerSubject | Self::OutstandingPerRole | Self::Outstanding => false,
        }
    }
}

/// A quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the quota {} is used up for {} s", .quota.code(), .retry_after.as_secs())]
pub struct OverQuota {
    /// Which.
    pub quota: Quota,
    /// When to come back: whole seconds, 1 to 900.
    pub retry_after: Duration,
}

impl OverQuota {
    /// With the time to come back rounded up to what can be told.
    #[must_use]
    pub fn new(quota: Quota, wait: Duration) -> Self {
        let whole = Duration::from_secs(wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)));
        Self { quota, retry_after: whole.clamp(SOONEST, LATEST) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_time() {
        for (text, events, seconds) in [("60/m", 60, 60), ("1/s", 1, 1), ("1000000/h", 1_000_000, 3600)] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!((rate.events().get(), rate.per().as_secs()), (events, seconds));
        }
        for wrong in ["", "60", "0/m", "60/", "/m", "60/min", "60 /m", "+60/m", "-1/m", "1.5/s", "1000001/h", "60/m/m"]
        {
            assert_eq!(Rate::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whoever_waits_as_told_waits_long_enough_or_a_quarter_of_an_hour(millis in 0_u64..10_000_000) {
            let wait = Duration::from_millis(millis);
            let told = OverQuota::new(Quota::Outstanding, wait).retry_after;
            prop_assert!(told >= wait.min(LATEST) && told >= SOONEST && told <= LATEST);
            prop_assert!(told.subsec_nanos() == 0);
        }
    }
}
