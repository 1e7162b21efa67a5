//! What the holder is told: when it ends, when to come back, and why it is shorter than asked.

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

/// Advertised life that should be left at `refresh_after`: boto3 starts to refresh with 15 minutes left, so a lease
/// handed out again with less would be asked for at every call.
const LEFT_AT_REFRESH: Duration = Duration::from_mins(20);
/// From this advertised life on, leaving [`LEFT_AT_REFRESH`] still lets a third of the lease be used.
const LONG_ENOUGH: Duration = Duration::from_mins(30);
/// The share of the time before the latest refresh over which refreshes are spread.
const SPREAD: f64 = 0.2;

/// The times of an issued lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms {
    /// When it was planned.
    pub issued_at: OffsetDateTime,
    /// The real end at the object server.
    pub ends_at: OffsetDateTime,
    /// The advertised end: the real one less the grace, so that a request signed in the last second still works.
    pub expiration: OffsetDateTime,
    /// When to ask again: drawn, so that clients started together do not come back together.
    pub refresh_after: OffsetDateTime,
    /// Why the lease is shorter than asked.
    pub shortened_by: Option<Shortening>,
}

impl LeaseTerms {
    /// Of a lease that really lasts from one instant to the other; `draw` (0 to 1) says where in its range `refresh_after` lies.
    /// Nothing where the grace leaves no second to advertise.
    #[must_use]
    pub fn new(
        issued_at: OffsetDateTime,
        ends_at: OffsetDateTime,
        grace: Duration,
        draw: f64,
        shortened_by: Option<Shortening>,
    ) -> Option<Self> {
        let whole = ends_at.replace_nanosecond(0).ok()?;
        let expiration = whole - grace;
        let life = Duration::try_from(expiration - issued_at).ok().filter(|life| !life.is_zero())?;
        let latest = if life >= LONG_ENOUGH { life.saturating_sub(LEFT_AT_REFRESH) } else { life / 2 };
        let wait = latest.mul_f64(1.0 - SPREAD * draw.clamp(0.0, 1.0));
        let refresh_after = issued_at + Duration::from_secs(wait.as_secs());
        Some(Self { issued_at, ends_at, expiration, refresh_after, shortened_by })
    }

    /// The same times, for a caller who is handed the lease later and asked for `requested`, `longest` of which the role
    /// allows, where `drawn` was drawn for it: only why it is shorter than asked is another.
    #[must_use]
    pub fn handed_out_again(
        self,
        requested: Option<Duration>,
        (longest, drawn): (Duration, Duration),
        now: OffsetDateTime,
    ) -> Self {
        let since = |from, to: OffsetDateTime| Duration::try_from(to - from).unwrap_or_default();
        let by_server = match self.shortened_by {
            Some(Shortening::ObjectServer) => drawn.saturating_sub(since(self.issued_at, self.ends_at)),
            Some(Shortening::RoleTtl | Shortening::Jitter | Shortening::Reuse) | None => Duration::ZERO,
        };
        let causes = |requested: Duration| {
            let causes = [
                (requested.saturating_sub(longest), Shortening::RoleTtl),
                (requested.min(longest).saturating_sub(drawn), Shortening::Jitter),
                (by_server, Shortening::ObjectServer),
                (since(self.issued_at, now), Shortening::Reuse),
            ];
            causes.into_iter().max_by_key(|(took, _)| *took).filter(|(took, _)| !took.is_zero())
        };
        Self { shortened_by: requested.and_then(causes).map(|(_, cause)| cause), ..self }
    }

    /// The advertised life, whole seconds.
    #[must_use]
    pub fn ttl_seconds(&self) -> i64 {
        (self.expiration - self.issued_at).whole_seconds()
    }
}

/// Why a lease is shorter than asked; the one cause that took the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortening {
    /// More was asked than the role, or the hour that no lease exceeds, allows.
    RoleTtl,
    /// The length was drawn shorter to spread refreshes.
    Jitter,
    /// The object server gave less.
    ObjectServer,
    /// It was handed out before, and part of it has passed.
    Reuse,
}

impl Shortening {
    pub(super) fn explain(requested: Option<Duration>, ceiling: Duration, granted: Duration) -> Option<Self> {
        let requested = requested?;
        let by_role = requested.saturating_sub(ceiling);
        let by_jitter = requested.min(ceiling).saturating_sub(granted);
        match (by_role.is_zero(), by_jitter.is_zero()) {
            (true, true) => None,
            _ if by_role >= by_jitter => Some(Self::RoleTtl),
            _ => Some(Self::Jitter),
        }
    }

    /// The word used in answers and rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoleTtl => "role_ttl",
            Self::Jitter => "jitter",
            Self::ObjectServer => "object_server",
            Self::Reuse => "reuse",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: OffsetDateTime = time::macros::datetime!(2026-11-21 12:00 UTC);

    fn terms(minutes: u64, draw: f64) -> LeaseTerms {
        let end = NOON + Duration::from_mins(minutes);
        LeaseTerms::new(NOON, end, Duration::from_mins(5), draw, None).unwrap()
    }

    #[test]
    fn the_advertised_end_precedes_the_real_one_by_the_grace() {
        let terms = terms(60, 0.5);
        assert_eq!(terms.expiration, NOON + Duration::from_mins(55));
        assert_eq!(terms.ends_at, NOON + Duration::from_hours(1));
        assert_eq!(terms.ttl_seconds(), 55 * 60);
    }

    #[test]
    fn a_lease_that_leaves_nothing_to_advertise_is_none() {
        let grace = Duration::from_mins(5);
        assert!(LeaseTerms::new(NOON, NOON + grace, grace, 0.0, None).is_none());
        assert!(LeaseTerms::new(NOON, NOON - grace, grace, 0.0, None).is_none());
        assert!(LeaseTerms::new(NOON, NOON + grace + Duration::from_secs(1), grace, 0.0, None).is_some());
    }

    #[test]
    fn who_is_handed_it_later_is_told_why_it_is_shorter_than_they_asked() {
        let minutes = Duration::from_mins;
        let terms = terms(50, 0.0);
        let lengths = (minutes(60), minutes(50));
        let told = |asked: Option<u64>, passed| {
            terms.handed_out_again(asked.map(minutes), lengths, NOON + minutes(passed)).shortened_by
        };
        assert_eq!(told(None, 30), None);
        assert_eq!((told(Some(50), 0), told(Some(60), 5)), (None, Some(Shortening::Jitter)));
        assert_eq!((told(Some(60), 10), told(Some(50), 1)), (Some(Shortening::Reuse), Some(Shortening::Reuse)));
        assert_eq!(told(Some(120), 5), Some(Shortening::RoleTtl));
        let again = terms.handed_out_again(Some(minutes(60)), lengths, NOON + minutes(30));
        assert_eq!(LeaseTerms { shortened_by: None, ..again }, terms, "nothing else is another");
        let cut = LeaseTerms { shortened_by: Some(Shortening::ObjectServer), ..terms };
        let told = |passed| cut.handed_out_again(Some(minutes(60)), (minutes(60), minutes(60)), NOON + minutes(passed));
        assert_eq!(told(9).shortened_by, Some(Shortening::ObjectServer));
        assert_eq!(told(10).shortened_by, Some(Shortening::Reuse));
    }

    #[test]
    fn the_cause_that_took_the_most_is_named() {
        let minutes = Duration::from_mins;
        let explain = Shortening::explain;
        assert_eq!(explain(None, minutes(60), minutes(50)), None);
        assert_eq!(explain(Some(minutes(60)), minutes(60), minutes(60)), None);
        assert_eq!(explain(Some(minutes(60)), minutes(60), minutes(50)), Some(Shortening::Jitter));
        assert_eq!(explain(Some(minutes(60)), minutes(30), minutes(29)), Some(Shortening::RoleTtl));
        assert_eq!(explain(Some(minutes(720)), minutes(60), minutes(50)), Some(Shortening::RoleTtl));
    }

    proptest! {
        #[test]
        fn twenty_minutes_are_left_at_refresh_where_the_lease_is_long_enough(minutes in 35_u64..=60, draw in 0.0..=1.0) {
            let terms = terms(minutes, draw);
            prop_assert!(terms.expiration - terms.refresh_after >= Duration::from_mins(20));
            prop_assert!(terms.refresh_after > terms.issued_at);
        }

        #[test]
        fn a_shorter_lease_is_refreshed_by_half_its_life(minutes in 15_u64..35, draw in 0.0..=1.0) {
            let terms = terms(minutes, draw);
            let (used, left) = (terms.refresh_after - terms.issued_at, terms.expiration - terms.refresh_after);
            prop_assert!(used <= left);
            prop_assert!(terms.refresh_after > terms.issued_at);
        }
    }
}
