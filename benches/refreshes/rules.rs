//! When an SDK asks again, by its released rule, and how many clients use each. Every client is busy: it asks as soon as its rule
//! lets it.

use rand::RngExt;
use rand::rngs::StdRng;

/// A client's rule.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// boto3 and all on it: 15 minutes before the end.
    Boto,
    /// JavaScript, Go's container provider, `object_store`, pgBackRest: 5 minutes before.
    FiveMinutes,
    /// Go's web identity: at the end.
    AtTheEnd,
    /// Java's STS provider: 5 minutes before, and 0 to 3 earlier.
    JavaSts,
    /// Java's container provider: 15 minutes before or an hour after now, and 0 to 13 earlier.
    JavaContainer,
    /// Rust: 10 seconds before the end, and up to 5 later.
    Rust,
    /// minio-go: at 80 % of the life.
    MinioGo,
    /// C++ containers and minio-py: seconds before the end.
    Seconds,
    /// stint's own agent, and whoever reads `refresh_after`: then, and never later than 16 minutes before the end.
    Agent,
}

/// The mix, in hundredths.
const MIX: [(Rule, usize); 9] = [
    (Rule::Boto, 40),
    (Rule::FiveMinutes, 18),
    (Rule::AtTheEnd, 10),
    (Rule::JavaSts, 6),
    (Rule::JavaContainer, 4),
    (Rule::Rust, 5),
    (Rule::MinioGo, 5),
    (Rule::Seconds, 4),
    (Rule::Agent, 8),
];

/// Which clients there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fleet {
    /// The mix.
    Mixed,
    /// Programs that read `refresh_after` alone.
    Agents,
}

impl Rule {
    /// The rule of the nth client.
    pub(crate) fn of(client: usize, fleet: Fleet) -> Self {
        if fleet == Fleet::Agents {
            return Self::Agent;
        }
        let mut place = client % 100;
        for (rule, share) in MIX {
            if place < share {
                return rule;
            }
            place -= share;
        }
        Self::Boto
    }

    /// Seconds from the issue until it asks again. `life` is advertised; `refresh_after` only the agent sees.
    pub(crate) fn asks_after(self, life: i64, refresh_after: i64, jitter: bool, rng: &mut StdRng) -> i64 {
        let mut earlier = |seconds: i64| if jitter { rng.random_range(0..=seconds) } else { 0 };
        let wait = match self {
            Self::Boto => life - 900,
            Self::FiveMinutes => life - 300,
            Self::AtTheEnd => life,
            Self::JavaSts => life - 300 - earlier(180),
            Self::JavaContainer => (life - 900).min(3600) - earlier(780),
            Self::Rust => life - 10 + earlier(5),
            Self::MinioGo => life * 4 / 5,
            Self::Seconds => life - 7,
            Self::Agent if life > 32 * 60 => refresh_after.min(life - 16 * 60),
            Self::Agent => refresh_after,
        };
        wait.max(1)
    }
}
