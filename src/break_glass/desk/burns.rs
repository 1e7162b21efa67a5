//! How many unknown nonces one custodian may burn: each is a row and an alert for ever, and a key that is stolen must not
//! fill the journal or drown the alerts that matter. Ending a known lease is never limited.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::refusal::BreakGlassRefusal;
use crate::policy::CustodianName;

/// How long a burn is remembered.
const WINDOW: Duration = Duration::from_hours(1);
/// The most burns of one custodian in a window: more than there are requests to stop.
const MOST: usize = 16;

/// What was burnt in this window, by whom.
#[derive(Debug, Default)]
pub(super) struct Burns(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Duration,
    by: BTreeMap<CustodianName, usize>,
}

impl Burns {
    /// One more, signed by these: as long as one of them has any left. `elapsed` is the monotonic clock.
    pub(super) fn take(&self, signers: &[CustodianName], elapsed: Duration) -> Result<(), BreakGlassRefusal> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if elapsed.saturating_sub(window.began) >= WINDOW {
            *window = Window { began: elapsed, by: BTreeMap::new() };
        }
        let used = |signer: &CustodianName| window.by.get(signer).copied().unwrap_or(0);
        if signers.iter().all(|signer| used(signer) >= MOST) {
            return Err(BreakGlassRefusal::TooMany(WINDOW.saturating_sub(elapsed.saturating_sub(window.began))));
        }
        for signer in signers {
            *window.by.entry(signer.clone()).or_default() += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> CustodianName {
        CustodianName::parse(name).unwrap()
    }

    #[test]
    fn one_custodian_burns_so_many_an_hour_and_another_still_can() {
        let (burns, start) = (Burns::default(), Duration::from_hours(9));
        for _ in 0..MOST {
            assert!(burns.take(&[name("alice")], start).is_ok());
        }
        assert!(matches!(burns.take(&[name("alice")], start), Err(BreakGlassRefusal::TooMany(_))));
        assert!(burns.take(&[name("alice"), name("bob")], start).is_ok());
        assert!(burns.take(&[name("alice")], start + WINDOW).is_ok());
    }

    #[test]
    fn a_document_that_nobody_signed_burns_nothing() {
        assert!(Burns::default().take(&[], Duration::ZERO).is_err());
    }
}
