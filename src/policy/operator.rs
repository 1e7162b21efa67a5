//! Condition operators: the ones that `MinIO`, `RustFS`, `SeaweedFS`, Ceph and AWS read alike.

use std::net::IpAddr;

use ipnet::IpNet;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::glob::{Case, matches};

/// How two strings are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Comparison {
    Equals,
    EqualsIgnoreCase,
    Like,
}

/// How two numbers or instants are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Order {
    Equals,
    NotEquals,
    LessThan,
    LessThanEquals,
    GreaterThan,
    GreaterThanEquals,
}

/// Whether the values are wanted or unwanted. Wanted: one of them must match. Unwanted: none may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Sense {
    Wanted,
    Unwanted,
}

/// A condition operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Operator {
    Text(Comparison, Sense),
    Number(Order),
    Date(Order),
    Bool,
    Ip(Sense),
    Null,
}

const NAMES: &[(&str, Operator)] = &[
    ("StringEquals", Operator::Text(Comparison::Equals, Sense::Wanted)),
    ("StringNotEquals", Operator::Text(Comparison::Equals, Sense::Unwanted)),
    ("StringEqualsIgnoreCase", Operator::Text(Comparison::EqualsIgnoreCase, Sense::Wanted)),
    ("StringNotEqualsIgnoreCase", Operator::Text(Comparison::EqualsIgnoreCase, Sense::Unwanted)),
    ("StringLike", Operator::Text(Comparison::Like, Sense::Wanted)),
    ("StringNotLike", Operator::Text(Comparison::Like, Sense::Unwanted)),
    ("NumericEquals", Operator::Number(Order::Equals)),
    ("NumericNotEquals", Operator::Number(Order::NotEquals)),
    ("NumericLessThan", Operator::Number(Order::LessThan)),
    ("NumericLessThanEquals", Operator::Number(Order::LessThanEquals)),
    ("NumericGreaterThan", Operator::Number(Order::GreaterThan)),
    ("NumericGreaterThanEquals", Operator::Number(Order::GreaterThanEquals)),
    ("DateEquals", Operator::Date(Order::Equals)),
    ("DateNotEquals", Operator::Date(Order::NotEquals)),
    ("DateLessThan", Operator::Date(Order::LessThan)),
    ("DateLessThanEquals", Operator::Date(Order::LessThanEquals)),
    ("DateGreaterThan", Operator::Date(Order::GreaterThan)),
    ("DateGreaterThanEquals", Operator::Date(Order::GreaterThanEquals)),
    ("Bool", Operator::Bool),
    ("IpAddress", Operator::Ip(Sense::Wanted)),
    ("NotIpAddress", Operator::Ip(Sense::Unwanted)),
    ("Null", Operator::Null),
];

impl Operator {
    /// The operator of this exact name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, operator)| *operator)
    }

    /// The name.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// True if the operator says what must not be: it holds when the key is absent.
    pub(super) fn is_negated(self) -> bool {
        match self {
            Self::Text(_, sense) | Self::Ip(sense) => sense == Sense::Unwanted,
            Self::Number(order) | Self::Date(order) => order == Order::NotEquals,
            Self::Bool | Self::Null => false,
        }
    }

    /// True if the operator takes several values. The others take one: MinIO refuses more.
    pub(super) fn takes_several(self) -> bool {
        matches!(self, Self::Text(..) | Self::Ip(_))
    }

    /// Checks a value written in a policy; the error says what to write.
    pub(super) fn check(self, value: &str) -> Result<(), &'static str> {
        match self {
            Self::Text(..) => Ok(()),
            Self::Number(_) => number(value).map(drop).ok_or("a whole number"),
            Self::Date(_) => {
                OffsetDateTime::parse(value, &Rfc3339).map(drop).map_err(|_| "an instant such as 2026-01-31T00:00:00Z")
            }
            Self::Bool | Self::Null if matches!(value, "true" | "false") => Ok(()),
            Self::Bool | Self::Null => Err("true or false"),
            Self::Ip(_) => match net(value) {
                // Addresses are compared after unmapping: such a network would never match, so a Deny of it would
                // protect nothing.
                Some(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => Err("the IPv4 network itself"),
                Some(_) => Ok(()),
                None => Err("a network such as 10.0.0.0/8"),
            },
        }
    }

    /// Whether `actual` satisfies this operator with these policy values. `None`: `actual` cannot be read as what the
    /// operator compares.
    pub(super) fn test(self, values: &[String], actual: &str) -> Option<bool> {
        let any = |f: &dyn Fn(&str) -> bool| values.iter().any(|value| f(value));
        match self {
            Self::Text(comparison, sense) => Some(sense.of(any(&|value| comparison.test(value, actual)))),
            Self::Number(order) => {
                let actual = number(actual)?;
                Some(any(&|value| number(value).is_some_and(|value| order.test(actual, value))))
            }
            Self::Date(order) => {
                let actual = instant(actual)?;
                Some(any(&|value| instant(value).is_some_and(|value| order.test(actual, value))))
            }
            Self::Bool => match actual.to_ascii_lowercase().as_str() {
                actual @ ("true" | "false") => Some(any(&|value| value == actual)),
                _ => None,
            },
            Self::Ip(sense) => {
                let actual = actual.parse::<IpAddr>().ok()?.to_canonical();
                Some(sense.of(any(&|value| net(value).is_some_and(|net| net.contains(&actual)))))
            }
            Self::Null => Some(any(&|value| value == "false")),
        }
    }
}

impl Comparison {
    fn test(self, wanted: &str, actual: &str) -> bool {
        match self {
            Self::Equals => wanted == actual,
            Self::EqualsIgnoreCase => wanted.to_lowercase() == actual.to_lowercase(),
            Self::Like => matches(wanted, actual, Case::Exact),
        }
    }
}

impl Sense {
    fn of(self, matched: bool) -> bool {
        matched == (self == Self::Wanted)
    }
}

impl Order {
    fn test<T: Ord>(self, actual: T, bound: T) -> bool {
        match self {
            Self::Equals => actual == bound,
            Self::NotEquals => actual != bound,
            Self::LessThan => actual < bound,
            Self::LessThanEquals => actual <= bound,
            Self::GreaterThan => actual > bound,
            Self::GreaterThanEquals => actual >= bound,
        }
    }
}

/// A whole number, as MinIO reads them.
pub(super) fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// An RFC 3339 instant, or seconds since 1970 as `aws:EpochTime` holds them.
pub(super) fn instant(text: &str) -> Option<OffsetDateTime> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
    parsed.or_else(|| OffsetDateTime::from_unix_timestamp(text.parse().ok()?).ok())
}

/// A network, or one address.
pub(super) fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(operator: &str, value: &str, actual: &str) -> Option<bool> {
        Operator::parse(operator).unwrap().test(&[value.to_owned()], actual)
    }

    #[test]
    fn every_operator_keeps_its_name() {
        for (name, _) in NAMES {
            assert_eq!(Operator::parse(name).unwrap().name(), *name);
        }
        for name in ["ArnLike", "StringLikeIfExists", "ForAnyValue:StringLike", "stringequals", "BinaryEquals"] {
            assert_eq!(Operator::parse(name), None);
        }
    }

    #[test]
    fn numbers_dates_and_networks_are_compared_as_such() {
        assert_eq!(test("NumericLessThan", "10", "9"), Some(true));
        assert_eq!(test("NumericLessThan", "10", "10"), Some(false));
        assert_eq!(test("DateGreaterThan", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+02:00"), Some(false));
        assert_eq!(test("DateGreaterThan", "2026-01-01T00:00:00Z", "1767225601"), Some(true));
        assert_eq!(test("IpAddress", "10.0.0.0/8", "10.1.2.3"), Some(true));
        assert_eq!(test("IpAddress", "10.0.0.0/8", "::ffff:10.1.2.3"), Some(true));
        assert_eq!(test("NotIpAddress", "10.0.0.0/8", "11.0.0.1"), Some(true));
        assert_eq!(test("StringEqualsIgnoreCase", "Ärger", "ÄRGER"), Some(true));
        assert_eq!(test("Bool", "true", "True"), Some(true));
    }

    #[test]
    fn what_cannot_be_read_is_neither_true_nor_false() {
        assert_eq!(test("NumericLessThan", "10", "many"), None);
        assert_eq!(test("DateLessThan", "2026-01-01T00:00:00Z", "soon"), None);
        assert_eq!(test("NotIpAddress", "10.0.0.0/8", "localhost"), None);
        assert_eq!(test("Bool", "true", "yes"), None);
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused() {
        for (operator, value) in
            [("NumericEquals", "1.5"), ("DateEquals", "2026"), ("Bool", "TRUE"), ("IpAddress", "10.0.0.0/33")]
        {
            assert!(Operator::parse(operator).unwrap().check(value).is_err(), "{operator}");
        }
        assert!(Operator::Ip(Sense::Wanted).check("::ffff:10.0.0.1").is_err());
        assert!(Operator::Ip(Sense::Wanted).check("::1").is_ok());
    }
}
