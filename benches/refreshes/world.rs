//! A world of clients: second by second, whoever is due asks, gets a lease, and is due again by its rule. The draws are stint's own
//! code; the rest is a clock.

use std::num::NonZeroU32;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stint::lease::{GoesBy, LeaseTerms, LengthRange, OpenCount, RefreshLoad, Smoothing};
use time::OffsetDateTime;
use time::macros::datetime;

use super::rules::{Fleet, Rule};

/// Seconds that are simulated.
pub(crate) const SECONDS: usize = 6 * 3600;
/// All start within these.
const START: usize = 10;
/// What is counted as refreshing: from here on.
const SETTLED: usize = 120;
const GRACE: Duration = Duration::from_mins(5);
const MINUTE: usize = 60;
const EPOCH: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

/// Who gives leases.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Server {
    /// An STS whose every lease lasts 60 minutes.
    Fixed {
        /// Whether SDKs have their jitter.
        client_jitter: bool,
    },
    /// stint's draws, `ttl = 60m`, `jitter = 0.2`, `grace = 5m`.
    Stint {
        /// `lease.mints_per_second`.
        cap: Option<u32>,
        /// Instances that share the clients evenly and see each other's leases once a minute.
        instances: usize,
    },
}

impl Server {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Fixed { client_jitter: false } => "none: 60 min for all".to_owned(),
            Self::Fixed { client_jitter: true } => "the SDKs' own jitter".to_owned(),
            Self::Stint { cap: None, .. } => "stint: jitter in the expiry".to_owned(),
            Self::Stint { cap: Some(_), instances: 1 } => "stint with the cap".to_owned(),
            Self::Stint { cap: Some(_), instances } => format!("stint with the cap, {instances} instances"),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Mints in each second.
    pub(crate) mints: Vec<u32>,
    /// Of the leases that were drawn under a cap after the start, the share that did not fit, in hundredths.
    pub(crate) over_cap: Option<f64>,
}

impl Outcome {
    fn refreshes(&self) -> &[u32] {
        &self.mints[SETTLED..]
    }

    /// The highest mean rate of so many seconds in a row, after the start.
    pub(crate) fn peak(&self, seconds: usize) -> f64 {
        let sums =
            self.refreshes().windows(seconds).map(|window| window.iter().map(|mints| u64::from(*mints)).sum::<u64>());
        sums.max().unwrap() as f64 / seconds as f64
    }

    pub(crate) fn mean(&self) -> f64 {
        let all: u64 = self.refreshes().iter().map(|mints| u64::from(*mints)).sum();
        all as f64 / self.refreshes().len() as f64
    }

    /// The fewest seconds in which half of all refreshes were.
    pub(crate) fn half_within(&self) -> usize {
        let mut seconds = self.refreshes().to_vec();
        seconds.sort_unstable_by(|a, b| b.cmp(a));
        let half: u64 = seconds.iter().map(|mints| u64::from(*mints)).sum::<u64>() / 2;
        let mut seen = 0;
        seconds
            .iter()
            .take_while(|mints| {
                let more = seen < half;
                seen += u64::from(**mints);
                more
            })
            .count()
    }
}

/// One instance, and what it has issued.
struct Instance {
    smoothing: Option<Smoothing>,
    rng: StdRng,
}

/// Runs it.
pub(crate) fn simulate(clients: usize, fleet: Fleet, server: Server, seed: u64) -> Outcome {
    let mut rng = StdRng::seed_from_u64(seed);
    let (cap, instances) = match server {
        Server::Fixed { .. } => (None, 1),
        Server::Stint { cap, instances } => (cap.and_then(NonZeroU32::new), instances),
    };
    let mut instances: Vec<Instance> = (0..instances)
        .map(|n| Instance {
            smoothing: cap.map(|cap| Smoothing::new(cap, EPOCH)),
            rng: StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(n as u64)),
        })
        .collect();
    let lengths = LengthRange::new(Duration::from_hours(1), 0.2, Duration::from_mins(15));
    let mut due: Vec<Vec<u32>> = vec![Vec::new(); SECONDS];
    for client in 0..clients {
        due[rng.random_range(0..START)].push(u32::try_from(client).unwrap());
    }
    // The log: leases that every instance will have read a minute later.
    let mut issued: Vec<LeaseCount> = Vec::new();
    let (mut mints, mut drawn, mut over) = (vec![0; SECONDS], 0_u64, 0_u64);
    for second in 0..SECONDS {
        let now = EPOCH + Duration::from_secs(second as u64);
        if cap.is_some() && second % MINUTE == 0 {
            read_log(&mut issued, &instances, now);
        }
        for client in std::mem::take(&mut due[second]) {
            mints[second] += 1;
            let rule = Rule::of(client as usize, fleet);
            let by = if matches!(rule, Rule::Agent) { GoesBy::RefreshAfter } else { GoesBy::Expiration };
            let at = client as usize / 100 % instances.len();
            let instance = &mut instances[at];
            let (life, refresh_after, client_jitter) = match server {
                Server::Fixed { client_jitter } => (3600, 2400, client_jitter),
                Server::Stint { .. } => {
                    let (length, draw) = match &instance.smoothing {
                        Some(smoothing) => {
                            let choice = smoothing.draw(lengths, GRACE, by, now, &mut instance.rng);
                            if second >= SETTLED {
                                drawn += 1;
                                over += u64::from(!choice.fits);
                            }
                            (choice.length, choice.refresh)
                        }
                        None => (lengths.draw(&mut instance.rng), instance.rng.random()),
                    };
                    if cap.is_some() {
                        issued.push(LeaseCount::new(now, length, by));
                    }
                    let terms = LeaseTerms::new(now, now + length, GRACE, draw, None).unwrap();
                    (terms.ttl_seconds(), (terms.refresh_after - now).whole_seconds(), true)
                }
            };
            let wait = rule.asks_after(life, refresh_after, client_jitter, &mut rng);
            if let Some(later) = due.get_mut(second + usize::try_from(wait).unwrap()) {
                later.push(client);
            }
        }
    }
    Outcome { mints, over_cap: cap.map(|_| 100.0 * over as f64 / drawn.max(1) as f64) }
}

/// A lease, as rough as the log's count of open leases is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct LeaseCount {
    issued_minute: u64,
    ends_five: u64,
    refreshes: bool,
}

impl LeaseCount {
    fn new(now: OffsetDateTime, length: Duration, by: GoesBy) -> Self {
        let issued = u64::try_from((now - EPOCH).whole_seconds()).unwrap();
        Self {
            issued_minute: issued / 60,
            ends_five: (issued + length.as_secs()) / 5,
            refreshes: by == GoesBy::RefreshAfter,
        }
    }
}

/// What each instance does once a minute.
fn read_log(issued: &mut Vec<LeaseCount>, instances: &[Instance], now: OffsetDateTime) {
    let seconds = u64::try_from((now - EPOCH).whole_seconds()).unwrap();
    issued.retain(|lease| lease.ends_five * 5 > seconds);
    issued.sort_unstable();
    let counts: Vec<OpenCount> = issued
        .chunk_by(|a, b| a == b)
        .map(|leases| OpenCount {
            issued_at: EPOCH + Duration::from_mins(leases[0].issued_minute),
            ends_at: EPOCH + Duration::from_secs(leases[0].ends_five * 5),
            by: if leases[0].refreshes { GoesBy::RefreshAfter } else { GoesBy::Expiration },
            leases: leases.len() as u64,
        })
        .collect();
    let load = RefreshLoad::of(&counts, GRACE, now);
    for smoothing in instances.iter().filter_map(|instance| instance.smoothing.as_ref()) {
        smoothing.ask(now);
        smoothing.learn(load.clone());
    }
}
