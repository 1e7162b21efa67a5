//! How often a holder may read of its own leases. Each reading is a row, and everybody with a token may read: without a bound
//! anyone could fill the log by asking what is theirs to ask.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::audit::question::HolderOnly;

/// Readings of one holder in a minute: enough for a person, and for a program that looks once in a while.
const A_MINUTE: u32 = 20;
const MINUTE: Duration = Duration::from_mins(1);
/// Holders told apart in a minute: some megabytes. What comes beyond waits for the next.
const MOST_HOLDERS: usize = 10_000;

/// Readings of this minute, by holder. Each instance counts its own.
#[derive(Debug, Default)]
pub(super) struct OwnReadings(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    began: Duration,
    holders: BTreeMap<(String, String), u32>,
}

impl OwnReadings {
    /// Takes one, if there is one left. `now` never steps back.
    pub(super) fn take(&self, holder: &HolderOnly, now: Duration) -> bool {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(minute.began) >= MINUTE {
            *minute = Minute { began: now, holders: BTreeMap::new() };
        }
        let key = (holder.issuer.clone(), holder.subject.clone());
        if minute.holders.len() >= MOST_HOLDERS && !minute.holders.contains_key(&key) {
            return false;
        }
        let taken = minute.holders.entry(key).or_default();
        *taken = taken.saturating_add(1);
        *taken <= A_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(subject: &str) -> HolderOnly {
        HolderOnly { issuer: "authentik".to_owned(), subject: subject.to_owned() }
    }

    #[test]
    fn a_holder_has_so_many_readings_a_minute_and_takes_nobody_elses() {
        let (readings, began) = (OwnReadings::default(), Duration::from_secs(1_000));
        assert!((0..A_MINUTE).all(|_| readings.take(&holder("ada"), began)));
        assert!(!readings.take(&holder("ada"), began + Duration::from_secs(59)));
        assert!(readings.take(&holder("eve"), began));
        assert!(readings.take(&holder("ada"), began + MINUTE));
    }

    #[test]
    fn no_number_of_holders_takes_memory_without_bound() {
        let (readings, now) = (OwnReadings::default(), Duration::ZERO);
        assert!((0..MOST_HOLDERS).all(|n| readings.take(&holder(&n.to_string()), now)));
        assert!(!readings.take(&holder("one more"), now));
        assert!(readings.take(&holder("0"), now), "whoever is known has its own");
        assert!(readings.take(&holder("one more"), MINUTE));
    }
}
