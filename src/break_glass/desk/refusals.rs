//! Which refusals become rows. Whoever has one true document, or one key, can send it again and again: each is on record once
//! an hour, and so many in an hour; the rest is counted. Neither may fill the journal.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a refusal is remembered.
const WINDOW: Duration = Duration::from_hours(1);
/// The most rows of a window.
const MOST: usize = 64;

/// What was refused in this window.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Duration,
    /// By what was sent, and why it was refused.
    told: BTreeSet<(String, &'static str)>,
}

impl Refusals {
    /// Whether this one is to be put on record. `sent` is a digest of what was sent, `elapsed` the monotonic clock.
    pub(super) fn is_news(&self, sent: &str, reason: &'static str, elapsed: Duration) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if elapsed.saturating_sub(window.began) >= WINDOW {
            *window = Window { began: elapsed, told: BTreeSet::new() };
        }
        window.told.len() < MOST && window.told.insert((sent.to_owned(), reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_refusal_is_news_once_an_hour_and_another_at_once() {
        let refusals = Refusals::default();
        assert!(refusals.is_news("a", "nonce_used", Duration::ZERO));
        assert!(!refusals.is_news("a", "nonce_used", Duration::from_mins(59)));
        assert!(refusals.is_news("a", "review_open", Duration::from_mins(59)));
        assert!(refusals.is_news("b", "nonce_used", Duration::from_mins(59)));
        assert!(refusals.is_news("a", "nonce_used", Duration::from_hours(1)));
    }

    #[test]
    fn no_key_holder_can_fill_the_journal() {
        let refusals = Refusals::default();
        let news = (0..10_000).filter(|n| refusals.is_news(&n.to_string(), "x", Duration::ZERO)).count();
        assert_eq!(news, MOST);
    }
}
