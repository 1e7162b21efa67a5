//! When a holder is expected to ask again. Programs that read `refresh_after` come at that time. SDKs know only `Expiration`, and
//! each has a rule of its own; which one asks cannot be told from a request, so a mix of them is expected.

use std::time::Duration;

use time::OffsetDateTime;

use super::LeaseTerms;

/// One return, in the parts that it may be divided into. Whole numbers: a load that is added and taken away again is exact.
pub(super) const WHOLE: u32 = 96;

/// How long before `Expiration` SDKs ask, and how many of [`WHOLE`] do: botocore and all on it, and Java's container provider, at
/// 15 minutes; JS, Go's and C++'s container providers, Java's STS provider, `object_store` and pgBackRest at 5; Go's web identity,
/// Rust and minio-py at the end. Half, a third, a sixth.
const LEADS: [(Duration, u32); 3] =
    [(Duration::from_mins(15), WHOLE / 2), (Duration::from_mins(5), WHOLE / 3), (Duration::ZERO, WHOLE / 6)];

/// What a holder goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GoesBy {
    /// `refresh_after`.
    RefreshAfter,
    /// `Expiration` alone.
    Expiration,
}

impl GoesBy {
    /// The instants, each with its parts; together [`WHOLE`]. Whoever should have asked before it had the lease asks at once.
    pub(super) fn returns(self, terms: &LeaseTerms) -> impl Iterator<Item = (OffsetDateTime, u32)> {
        let (one, three) = match self {
            Self::RefreshAfter => (Some((terms.refresh_after, WHOLE)), None),
            Self::Expiration => {
                let (issued, end) = (terms.issued_at, terms.expiration);
                (None, Some(LEADS.map(|(lead, parts)| ((end - lead).max(issued), parts))))
            }
        };
        one.into_iter().chain(three.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_whole_and_never_before_the_lease() {
        let noon = time::macros::datetime!(2026-11-21 12:00 UTC);
        assert_eq!(LEADS.iter().map(|(_, parts)| parts).sum::<u32>(), WHOLE);
        for minutes in [15, 20, 60] {
            let end = noon + Duration::from_mins(minutes);
            let terms = LeaseTerms::new(noon, end, Duration::from_mins(5), 0.5, None).unwrap();
            for by in [GoesBy::RefreshAfter, GoesBy::Expiration] {
                let returns: Vec<(OffsetDateTime, u32)> = by.returns(&terms).collect();
                assert_eq!(returns.iter().map(|(_, parts)| parts).sum::<u32>(), WHOLE);
                assert!(returns.iter().all(|(at, _)| *at >= noon && *at <= terms.expiration), "{returns:?}");
            }
        }
    }
}
