//! How one issuer's keys stand, and what that means for a request: pure, told the time, never waiting. These few rules
//! decide between an outage, a flood of fetches and a withdrawn key that lives on.

use std::time::Duration;

use crate::token::{KeyError, KeyId, KeySet, VerificationKey};

/// Keys this old are fetched again before they are used: a withdrawn key dies after this long at the latest.
const MAX_AGE: Duration = Duration::from_mins(10);
/// Keys this old are fetched again beside the request, so that few requests ever wait.
const REFRESH_AGE: Duration = Duration::from_mins(8);
/// At most one fetch per issuer in this time, failed ones included: the `kid` that asks for it is anyone's choice.
const COOLDOWN: Duration = Duration::from_secs(30);
/// While the provider fails, keys older than this are not believed any more.
const MAX_STALE: Duration = Duration::from_hours(1);

/// What a request needs beside the answer it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refresh {
    /// Nothing.
    No,
    /// A fetch, but not its result.
    Beside,
    /// A fetch, before the answer is final.
    First,
}

/// The keys of one issuer, as far as they are known. All times are those of [`crate::clock::Clock::elapsed`].
#[derive(Debug, Default)]
pub(super) struct Standing {
    keys: Option<(KeySet, Duration)>,
    attempted: Option<Duration>,
    fault: Option<String>,
    remark: Option<&'static str>,
}

impl Standing {
    /// The answer as things stand, and whether to fetch. Unknown kids are answered from memory during the cooldown.
    pub(super) fn consult(&self, kid: Option<&KeyId>, now: Duration) -> (Result<VerificationKey, KeyError>, Refresh) {
        let answer = self.find(kid, now);
        let age = self.age(now);
        let refresh = match &answer {
            // While the provider is known to fail there is nothing to wait for.
            Ok(_) if age >= MAX_AGE && self.fault.is_none() => Refresh::First,
            Ok(_) if age >= REFRESH_AGE => Refresh::Beside,
            Ok(_) => Refresh::No,
            Err(KeyError::Unknown | KeyError::Ambiguous | KeyError::Unavailable) => Refresh::First,
        };
        (answer, refresh)
    }

    /// The answer as things stand: known keys until they are too old to believe. While the provider fails, nobody can say
    /// that it does not publish a key: a token signed with its newest one is no forgery, and SDKs that are told so give
    /// up for good.
    pub(super) fn find(&self, kid: Option<&KeyId>, now: Duration) -> Result<VerificationKey, KeyError> {
        match &self.keys {
            Some((set, _)) if self.age(now) < MAX_STALE => set.find(kid).map_err(|error| match error {
                KeyError::Unknown if self.fault.is_some() => KeyError::Unavailable,
                KeyError::Unknown | KeyError::Ambiguous | KeyError::Unavailable => error,
            }),
            Some(_) | None => Err(KeyError::Unavailable),
        }
    }

    /// Whether the cooldown is over.
    pub(super) fn may_attempt(&self, now: Duration) -> bool {
        self.attempted.is_none_or(|at| now.saturating_sub(at) >= COOLDOWN)
    }

    /// A fetch starts: the cooldown counts from here, whatever becomes of it.
    pub(super) fn attempt(&mut self, now: Duration) {
        self.attempted = Some(now);
    }

    /// A fetch that started at `since` brought these keys; they replace all others, so that withdrawn keys die.
    pub(super) fn succeed(&mut self, keys: KeySet, since: Duration, remark: Option<&'static str>) {
        self.keys = Some((keys, since));
        self.fault = None;
        self.remark = remark;
    }

    /// A fetch failed; what is known stays, and ages.
    pub(super) fn fail(&mut self, fault: String) {
        self.fault = Some(fault);
    }

    /// Whether tokens could be verified: there are keys, and either they are young or nothing speaks against
    /// fetching them again (an idle night is no outage).
    pub(super) fn is_ready(&self, now: Duration) -> bool {
        let some = self.keys.as_ref().is_some_and(|(set, _)| !set.is_empty());
        some && (self.fault.is_none() || self.age(now) < MAX_STALE)
    }

    /// Whether keys should be fetched even if nobody asks for one.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.age(now) >= REFRESH_AGE
    }

    /// What an operator should know.
    pub(super) fn detail(&self) -> Option<String> {
        let unfetched = self.keys.is_none().then_some("not fetched yet");
        self.fault.clone().or_else(|| self.remark.or(unfetched).map(str::to_owned))
    }

    fn age(&self, now: Duration) -> Duration {
        self.keys.as_ref().map_or(Duration::MAX, |(_, since)| now.saturating_sub(*since))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Duration = Duration::from_secs(1000);

    fn kid(text: &str) -> Option<KeyId> {
        KeyId::parse(text)
    }

    fn keys() -> KeySet {
        let n = "w".repeat(341) + "Q";
        let set = KeySet::parse(format!(r#"{{"keys":[{{"kty":"RSA","kid":"a","n":"{n}","e":"AQAB"}}]}}"#).as_bytes());
        let set = set.unwrap();
        assert_eq!(set.len(), 1, "{:?}", set.faults());
        set
    }

    fn fetched() -> Standing {
        let mut standing = Standing::default();
        standing.attempt(START);
        standing.succeed(keys(), START, None);
        standing
    }

    fn consulted(standing: &Standing, name: &str, age: Duration) -> (Result<(), KeyError>, Refresh) {
        let (answer, refresh) = standing.consult(kid(name).as_ref(), START + age);
        (answer.map(drop), refresh)
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_mins(minutes)
    }

    #[test]
    fn nothing_known_asks_for_a_fetch_first() {
        let standing = Standing::default();
        assert_eq!(consulted(&standing, "a", Duration::ZERO), (Err(KeyError::Unavailable), Refresh::First));
        assert!(standing.may_attempt(START) && !standing.is_ready(START) && standing.is_due(START));
    }

    #[test]
    fn a_known_kid_waits_for_nothing_until_the_keys_are_too_old() {
        let standing = fetched();
        assert_eq!(consulted(&standing, "a", Duration::ZERO), (Ok(()), Refresh::No));
        assert_eq!(consulted(&standing, "a", Duration::from_secs(8 * 60 - 1)), (Ok(()), Refresh::No));
        assert_eq!(consulted(&standing, "a", minutes(8)), (Ok(()), Refresh::Beside));
        assert_eq!(consulted(&standing, "a", minutes(10)), (Ok(()), Refresh::First));
    }

    #[test]
    fn an_unknown_kid_asks_for_a_fetch_that_the_cooldown_bounds() {
        let standing = fetched();
        assert_eq!(consulted(&standing, "x", Duration::ZERO), (Err(KeyError::Unknown), Refresh::First));
        assert!(!standing.may_attempt(START + Duration::from_secs(29)));
        assert!(standing.may_attempt(START + Duration::from_secs(30)));
    }

    #[test]
    fn while_the_provider_fails_known_keys_are_served_for_an_hour_and_not_longer() {
        let mut standing = fetched();
        standing.attempt(START + minutes(10));
        standing.fail("down".to_owned());
        assert_eq!(consulted(&standing, "a", minutes(10)), (Ok(()), Refresh::Beside));
        assert_eq!(consulted(&standing, "a", Duration::from_secs(3599)), (Ok(()), Refresh::Beside));
        assert!(standing.is_ready(START + Duration::from_secs(3599)));
        assert_eq!(consulted(&standing, "a", minutes(60)), (Err(KeyError::Unavailable), Refresh::First));
        assert!(!standing.is_ready(START + minutes(60)));
        assert_eq!(standing.detail().as_deref(), Some("down"));
    }

    #[test]
    fn an_unknown_kid_is_not_called_unknown_while_the_provider_fails() {
        let mut standing = fetched();
        assert_eq!(consulted(&standing, "new", minutes(1)).0, Err(KeyError::Unknown));
        standing.fail("down".to_owned());
        assert_eq!(consulted(&standing, "new", minutes(1)).0, Err(KeyError::Unavailable));
        assert_eq!(consulted(&standing, "a", minutes(1)).0, Ok(()));
    }

    #[test]
    fn a_success_replaces_the_keys_and_forgets_the_fault() {
        let mut standing = fetched();
        standing.fail("down".to_owned());
        standing.succeed(KeySet::default(), START, Some("empty"));
        assert_eq!(consulted(&standing, "a", Duration::ZERO).0, Err(KeyError::Unknown));
        assert!(!standing.is_ready(START));
        assert_eq!(standing.detail().as_deref(), Some("empty"));
    }

    #[test]
    fn an_idle_night_is_no_outage() {
        let standing = fetched();
        assert!(standing.is_ready(START + minutes(600)) && standing.is_due(START + minutes(600)));
        assert_eq!(consulted(&standing, "a", minutes(600)), (Err(KeyError::Unavailable), Refresh::First));
    }

    #[test]
    fn a_clock_that_stands_before_the_fetch_makes_keys_young_not_old() {
        assert_eq!(fetched().consult(kid("a").as_ref(), Duration::ZERO).1, Refresh::No);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_fetches_keep_their_distance_and_old_keys_die(
            steps in proptest::collection::vec((0..1200_u64, any::<bool>(), any::<bool>()), 1..60),
        ) {
            let (mut standing, mut now) = (Standing::default(), START);
            let (mut attempts, mut good): (Vec<Duration>, Option<Duration>) = (Vec::new(), None);
            for (seconds, known, provider_is_up) in steps {
                now += Duration::from_secs(seconds);
                let name = kid(if known { "a" } else { "x" });
                let (_, refresh) = standing.consult(name.as_ref(), now);
                if refresh != Refresh::No && standing.may_attempt(now) {
                    standing.attempt(now);
                    attempts.push(now);
                    if provider_is_up {
                        standing.succeed(keys(), now, None);
                        good = Some(now);
                    } else {
                        standing.fail("down".to_owned());
                    }
                }
                let believed = good.is_some_and(|good| now < good + MAX_STALE);
                prop_assert_eq!(standing.find(kid("a").as_ref(), now).is_ok(), believed);
                prop_assert!(standing.find(kid("x").as_ref(), now).is_err());
            }
            prop_assert!(attempts.windows(2).all(|pair| pair[1] >= pair[0] + COOLDOWN));
        }
    }
}
