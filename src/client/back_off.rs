//! When to try again after a failure: soon at first, seldom later, never all at once. A refusal is asked about less often
//! than an outage: it ends when somebody changes a policy, not when a server comes back.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::fault::{Fault, Kind};

/// First and longest wait while something is away, or the token file is being replaced.
const OUTAGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// First and longest wait after a refusal.
const REFUSAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// Longest wait that a server's `Retry-After` can ask for: it must not be able to switch a workload off.
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct BackOff(u32);

impl BackOff {
    /// It worked.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }

    /// How long to wait after this failure: the doubled wait, give or take a fifth, and never less than was asked for.
    pub(super) fn after(&mut self, fault: &Fault, rng: &mut dyn Rng) -> Duration {
        let (first, longest) = match fault.kind() {
            Kind::Outage => OUTAGE,
            Kind::Refusal => REFUSAL,
        };
        let doubled = first.saturating_mul(1_u32.checked_shl(self.0).unwrap_or(u32::MAX)).min(longest);
        self.0 = self.0.saturating_add(1).min(16);
        let spread = doubled.mul_f64(rng.random_range(0.8..1.2));
        spread.max(fault.retry_after().unwrap_or_default().min(LONGEST_ASKED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fault::{Answered, Fault};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn overloaded(seconds: u64) -> Fault {
        Fault::Unavailable(Answered {
            retry_after: Some(Duration::from_secs(seconds)),
            ..Answered::of(503, "overloaded")
        })
    }

    proptest! {
        #[test]
        fn waits_grow_and_stay_within_their_bounds(seed: u64, failures in 1_u32..40) {
            let (mut outages, mut refusals) = (BackOff::default(), BackOff::default());
            let rng = &mut StdRng::seed_from_u64(seed);
            for _ in 0..failures {
                let outage = outages.after(&Fault::Unreachable("refused".to_owned()), rng);
                prop_assert!(outage >= Duration::from_millis(800) && outage <= Duration::from_secs(36), "{outage:?}");
                let refusal = refusals.after(&Fault::Refused(Answered::of(403, "access_denied")), rng);
                prop_assert!(refusal >= Duration::from_secs(4) && refusal <= Duration::from_secs(72), "{refusal:?}");
            }
        }

        #[test]
        fn what_the_server_asks_for_is_kept_within_a_minute(seed: u64, asked in 0_u64..1_000_000) {
            let wait = BackOff::default().after(&overloaded(asked), &mut StdRng::seed_from_u64(seed));
            prop_assert!(wait >= Duration::from_secs(asked.min(60)) && wait <= Duration::from_mins(1), "{wait:?}");
        }
    }

    #[test]
    fn success_begins_anew() {
        let rng = &mut StdRng::seed_from_u64(1);
        let away = Fault::Unreachable("refused".to_owned());
        let mut back_off = BackOff::default();
        for _ in 0..10 {
            back_off.after(&away, rng);
        }
        assert!(back_off.after(&away, rng) > Duration::from_secs(20));
        back_off.reset();
        assert!(back_off.after(&away, rng) < Duration::from_secs(2));
    }
}
