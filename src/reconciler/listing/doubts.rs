//! What this process has itself seen out of place, and since when, on its own monotonic clock. A credential may be listed
//! before its outcome is on record: its exchange gives up within a receipt's life, so what is still without a lease after
//! twice that has none. No wall clock is compared with another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::audit::{KeyFingerprint, RECEIPT_LIFE};

/// How long something must have been out of place before it is told.
pub const DOUBT: Duration = RECEIPT_LIFE.saturating_mul(2);
/// How many are watched, some 150 bytes each; others are seen when these are in order again.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Doubts {
    since: BTreeMap<KeyFingerprint, Duration>,
}

impl Doubts {
    /// Takes what one pass saw out of place, forgets what is in order again, and answers what is beyond doubt.
    pub(super) fn see<'a>(
        &mut self,
        seen: impl Iterator<Item = &'a KeyFingerprint>,
        now: Duration,
    ) -> BTreeSet<KeyFingerprint> {
        let mut since = BTreeMap::new();
        for key in seen.take(MOST) {
            since.insert(key.clone(), self.since.get(key).copied().unwrap_or(now));
        }
        self.since = since;
        let beyond = self.since.iter().filter(|(_, since)| now.saturating_sub(**since) >= DOUBT);
        beyond.map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::FingerprintKey;

    fn key(name: &str) -> KeyFingerprint {
        FingerprintKey::derive(b"test").fingerprint(name)
    }

    #[test]
    fn only_what_stays_out_of_place_is_beyond_doubt() {
        let (a, b) = (key("a"), key("b"));
        let mut doubts = Doubts::default();
        assert!(doubts.see([&a, &b].into_iter(), Duration::ZERO).is_empty());
        assert!(doubts.see([&a].into_iter(), DOUBT * 9 / 10).is_empty());
        assert_eq!(doubts.see([&a, &b].into_iter(), DOUBT), BTreeSet::from([a.clone()]));
        assert_eq!(doubts.see([&a, &b].into_iter(), 2 * DOUBT), BTreeSet::from([a, b]));
    }

    #[test]
    fn what_is_watched_is_bounded() {
        let keys: Vec<_> = (0..MOST + 5).map(|number| key(&number.to_string())).collect();
        let mut doubts = Doubts::default();
        doubts.see(keys.iter(), Duration::ZERO);
        assert_eq!(doubts.see(keys.iter(), DOUBT).len(), MOST);
    }
}
