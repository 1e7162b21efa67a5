//! How long something has been silent, by the probes of this process alone: pure, told the time. An outage is what
//! probes saw without a gap, counted from the first that failed to the last, on the clock that only goes forward; so
//! neither a moved wall clock nor a prober that slept can make one.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use crate::audit::instant;

/// Fewer probes than this tell nothing, however far apart: one lost packet, one slow answer, one more of each.
const LEAST_PROBES: u32 = 3;
/// Between two probes at most: a process that was stopped, or whose machine slept, has seen nothing meanwhile, and what it
/// has not seen is no outage.
const LONGEST_GAP: Duration = Duration::from_secs(30);

/// Silence that probes saw, without one answer in it. Made by [`Conditions`](super::Conditions) alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outage {
    #[serde(with = "instant")]
    since: OffsetDateTime,
    #[serde(rename = "seconds", serialize_with = "whole_seconds")]
    lasted: Duration,
    probes: u32,
}

impl Outage {
    /// When the first of its probes had failed, by the wall clock of that moment. For people: nothing is judged by it.
    #[must_use]
    pub fn since(&self) -> OffsetDateTime {
        self.since
    }

    /// From the first failed probe to the last.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        self.lasted
    }

    /// How many probes failed in a row.
    #[must_use]
    pub fn probes(&self) -> u32 {
        self.probes
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (since, seconds) = (instant::format(self.since), self.lasted.as_secs());
        write!(f, "silent since {since}, for {seconds} s, at {} probes in a row", self.probes)
    }
}

fn whole_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

/// How something that is probed stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not probed yet, or not for a while: nothing follows from it.
    Unknown,
    /// It answered the last probe.
    Answers,
    /// It has been silent, but not for long enough, or at too few probes.
    Silent(Outage),
    /// It has been silent for the minimum time at least.
    Down(Outage),
}

/// What the probes of one thing brought so far.
#[derive(Debug, Default)]
pub(super) struct Silence {
    run: Option<Run>,
    answered: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    since: OffsetDateTime,
    first: Duration,
    last: Duration,
    probes: u32,
}

impl Silence {
    /// A probe ended at `elapsed` (which only goes forward) and `now` (which may not), answered or not. Whether that is a
    /// turn: the first silence after an answer, or the first answer after silence.
    pub(super) fn note(&mut self, answered: bool, elapsed: Duration, now: OffsetDateTime) -> bool {
        if answered {
            let turned = self.run.take().is_some();
            self.answered = Some(elapsed);
            return turned;
        }
        let fresh = Run { since: now, first: elapsed, last: elapsed, probes: 1 };
        let (run, turned) = match self.run {
            None => (fresh, true),
            Some(run) if elapsed.saturating_sub(run.last) > LONGEST_GAP => (fresh, false),
            Some(run) => (Run { last: elapsed, probes: run.probes.saturating_add(1), ..run }, false),
        };
        self.run = Some(run);
        turned
    }

    /// How it stands at `elapsed`, where silence counts from `minimum` on.
    pub(super) fn standing(&self, elapsed: Duration, minimum: Duration) -> Standing {
        let recent = |at: Duration| elapsed.saturating_sub(at) <= LONGEST_GAP;
        match (self.run, self.answered) {
            (Some(run), _) if recent(run.last) => {
                let lasted = run.last.saturating_sub(run.first);
                let outage = Outage { since: run.since, lasted, probes: run.probes };
                let down = lasted >= minimum && run.probes >= LEAST_PROBES;
                if down { Standing::Down(outage) } else { Standing::Silent(outage) }
            }
            (None, Some(answered)) if recent(answered) => Standing::Answers,
            (Some(_) | None, _) => Standing::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MINIMUM: Duration = Duration::from_mins(5);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn wall(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    /// Probes that fail every five seconds, from `from` to `to`.
    fn silent(silence: &mut Silence, from: u64, to: u64) {
        for at in (from..=to).step_by(5) {
            silence.note(false, secs(at), wall(0));
        }
    }

    #[test]
    fn silence_of_the_minimum_time_is_an_outage_and_five_seconds_less_is_none() {
        let mut silence = Silence::default();
        silent(&mut silence, 100, 395);
        assert!(matches!(silence.standing(secs(399), MINIMUM), Standing::Silent(_)));
        silent(&mut silence, 400, 400);
        let Standing::Down(outage) = silence.standing(secs(400), MINIMUM) else { panic!("no outage") };
        assert_eq!((outage.lasted(), outage.probes(), outage.since()), (MINIMUM, 61, wall(0)));
    }

    #[test]
    fn one_answer_starts_the_count_anew() {
        let mut silence = Silence::default();
        silent(&mut silence, 0, 400);
        assert!(silence.note(true, secs(403), wall(0)));
        assert_eq!(silence.standing(secs(404), MINIMUM), Standing::Answers);
        silent(&mut silence, 405, 700);
        assert!(matches!(silence.standing(secs(700), MINIMUM), Standing::Silent(_)));
        silent(&mut silence, 705, 705);
        assert!(matches!(silence.standing(secs(705), MINIMUM), Standing::Down(_)));
    }

    #[test]
    fn two_probes_are_no_outage_however_short_the_minimum_and_three_are() {
        let mut silence = Silence::default();
        silence.note(false, secs(0), wall(0));
        silence.note(false, secs(30), wall(0));
        assert!(matches!(silence.standing(secs(30), secs(30)), Standing::Silent(_)));
        silence.note(false, secs(31), wall(0));
        assert!(matches!(silence.standing(secs(31), secs(30)), Standing::Down(_)));
    }

    #[test]
    fn time_in_which_nobody_probed_is_no_outage() {
        let mut silence = Silence::default();
        silent(&mut silence, 0, 10);
        silent(&mut silence, 3600, 3610);
        assert!(matches!(silence.standing(secs(3610), MINIMUM), Standing::Silent(outage) if outage.probes() == 3));
    }

    #[test]
    fn what_was_seen_long_ago_tells_nothing_now() {
        let mut silence = Silence::default();
        assert_eq!(silence.standing(secs(0), MINIMUM), Standing::Unknown);
        silent(&mut silence, 0, 400);
        assert!(matches!(silence.standing(secs(430), MINIMUM), Standing::Down(_)));
        assert_eq!(silence.standing(secs(431), MINIMUM), Standing::Unknown);
        silence.note(true, secs(500), wall(0));
        assert_eq!(silence.standing(secs(531), MINIMUM), Standing::Unknown);
    }

    #[test]
    fn a_turn_is_told_once() {
        let mut silence = Silence::default();
        let told: Vec<bool> = [true, true, false, false, true, true]
            .into_iter()
            .zip(1..)
            .map(|(answered, at)| silence.note(answered, secs(at * 5), wall(0)))
            .collect();
        assert_eq!(told, [false, false, true, false, true, false]);
    }

    proptest! {
        /// Whatever the wall clock does meanwhile, the same probes are judged the same.
        #[test]
        fn a_moved_wall_clock_changes_no_judgement(
            probes in vec((1_u64..60, any::<bool>(), -2_000_000_000_i64..4_000_000_000), 1..200),
            minimum in 30_u64..3600,
        ) {
            let (mut steady, mut moved, mut at) = (Silence::default(), Silence::default(), 0);
            for (pause, answered, now) in probes {
                at += pause;
                steady.note(answered, secs(at), wall(0));
                moved.note(answered, secs(at), wall(now));
                let judged = [&steady, &moved].map(|silence| match silence.standing(secs(at), secs(minimum)) {
                    Standing::Unknown => (0, None),
                    Standing::Answers => (1, None),
                    Standing::Silent(outage) => (2, Some((outage.lasted(), outage.probes()))),
                    Standing::Down(outage) => (3, Some((outage.lasted(), outage.probes()))),
                });
                prop_assert_eq!(judged[0], judged[1]);
            }
        }

        /// An outage is always this: no answer, three probes or more, no gap, as long as the minimum; told by looking at
        /// all probes from behind.
        #[test]
        fn an_outage_is_a_run_of_failed_probes_without_a_gap_that_lasted(
            probes in vec((1_u64..45, prop::bool::weighted(0.1)), 1..200),
            minimum in 30_u64..900,
        ) {
            let (mut silence, mut at, mut seen) = (Silence::default(), 0, Vec::new());
            for (pause, answered) in probes {
                at += pause;
                silence.note(answered, secs(at), wall(0));
                seen.push((at, answered));
            }
            let mut run: Vec<u64> = Vec::new();
            for (at, answered) in seen.into_iter().rev() {
                if answered || run.last().is_some_and(|later| later - at > 30) {
                    break;
                }
                run.push(at);
            }
            let lasted = run.first().zip(run.last()).map_or(0, |(last, first)| last - first);
            let expected = run.len() >= 3 && lasted >= minimum;
            let down = matches!(silence.standing(secs(at), secs(minimum)), Standing::Down(_));
            prop_assert_eq!(down, expected);
        }
    }
}
