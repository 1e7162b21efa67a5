//! How often a credential is tried before it is handed out.

/// `lease.self_test` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SelfTesting {
    /// Never.
    Off,
    /// The first of each role, or combination of roles, under each policy set that a process loads.
    First,
    /// That, and each later one with this chance, above 0 and at most 1.
    Share(f64),
}

impl SelfTesting {
    /// Reads `off`, `first`, or a share as `0.01`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "off" => Some(Self::Off),
            "first" => Some(Self::First),
            share => share.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0).map(Self::Share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_above_nothing_and_at_most_all() {
        assert_eq!(SelfTesting::parse("off"), Some(SelfTesting::Off));
        assert_eq!(SelfTesting::parse("first"), Some(SelfTesting::First));
        assert_eq!(SelfTesting::parse("0.01"), Some(SelfTesting::Share(0.01)));
        assert_eq!(SelfTesting::parse("1"), Some(SelfTesting::Share(1.0)));
        for text in ["", "on", "First", "0", "-0.1", "1.01", "NaN", "inf", "1%"] {
            assert_eq!(SelfTesting::parse(text), None, "{text}");
        }
    }
}
