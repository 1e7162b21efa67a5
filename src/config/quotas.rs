//! The quotas of `[lease]`: rates, and how many leases may be out. A key that is missing limits nothing.

use std::num::NonZeroU32;

use super::section::Section;
use crate::lease::{Quotas, Rate};

const RATE: &str = "must be a number and a second, minute or hour, as in \"60/m\"; at most 1000000";
const COUNT: &str = "must be a whole number from 1 to 10000000";

pub(super) fn quotas(lease: &mut Section<'_>, warnings: &mut Vec<String>) -> Option<Quotas> {
    // All are read before the first fault ends it: a key that is not read is told to be unknown.
    let [rate_per_subject, rate_per_role] = ["rate_per_subject", "rate_per_role"].map(|key| rate(lease, key));
    let [per_subject, per_role, all] =
        ["max_outstanding_per_subject", "max_outstanding_per_role", "max_outstanding"].map(|key| count(lease, key));
    let quotas = Quotas {
        rate_per_subject: rate_per_subject.ok()?,
        rate_per_role: rate_per_role.ok()?,
        max_outstanding_per_subject: per_subject.ok()?,
        max_outstanding_per_role: per_role.ok()?,
        max_outstanding: all.ok()?,
    };
    if (quotas.rate_per_role.is_some() && quotas.rate_per_subject.is_none())
        || (quotas.max_outstanding_per_role.or(quotas.max_outstanding).is_some()
            && quotas.max_outstanding_per_subject.is_none())
    {
        warnings.push(
            "[lease] limits a role, or all, and no single subject: one workload can use up what is there for the others; set \
             rate_per_subject and max_outstanding_per_subject too"
                .to_owned(),
        );
    }
    Some(quotas)
}

/// The key is wrong, which is told.
struct Told;

fn rate(section: &mut Section<'_>, key: &str) -> Result<Option<Rate>, Told> {
    let given = section.has(key);
    let rate = section.parsed(key, RATE, Rate::parse);
    if given && rate.is_none() { Err(Told) } else { Ok(rate) }
}

fn count(section: &mut Section<'_>, key: &str) -> Result<Option<NonZeroU32>, Told> {
    let given = section.has(key);
    let count = section.integer(key, COUNT, |count| (1..=10_000_000).contains(&count)).and_then(NonZeroU32::new);
    if given && count.is_none() { Err(Told) } else { Ok(count) }
}
